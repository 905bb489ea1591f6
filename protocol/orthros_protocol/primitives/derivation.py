"""The one PRF and everything derived with it: sub-keys, MACs, digests.

The only module that computes an HMAC or a hash over keys; knows labels, not messages.
Construction: HMAC-SHA-512 with a fixed prefix, a label and a separator; sub-keys are one block of
HKDF-Expand (RFC 5869 section 2.3) with SHA-512.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from typing import Final

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved

__all__ = ["RunningDigest", "checksum", "derive", "digest", "mac", "mac_matches", "prf", "require_mac"]

_PREFIX: Final = b"orthros1\0"
_LABEL = re.compile(r"[a-z0-9.-]{1,40}", re.ASCII)
_COUNTER: Final = b"\x01"
KEY_BYTES: Final = 32
MAC_BYTES: Final = 32


# Labels are constants of this code base, hence few.
@lru_cache(maxsize=256)
def _encoded(kind: str, label: str) -> bytes:
    label = kind + label
    if _LABEL.fullmatch(label) is None:
        raise LocalMisuse("value-invalid", f"PRF label {label!r}")
    return _PREFIX + label.encode("ascii") + b"\0"


def prf(key: bytes, label: str, message: bytes) -> bytes:
    """F(k, lab, m): 64 bytes.

    Raises LocalMisuse unless `key` is exactly 32 bytes: HMAC pads short keys with zeros and hashes
    long ones, so keys of other lengths would collide.
    """
    if type(key) is not bytes or len(key) != KEY_BYTES:
        raise LocalMisuse("key-misuse", "a PRF key is exactly 32 bytes")
    return hmac.digest(key, _encoded("", label) + message, "sha512")


def derive(key: bytes, label: str, context: bytes = b"", size: int = 32) -> bytes:
    """KD(k, l, ctx, n): `size` bytes (at most 64) of key material for the purpose `label`."""
    if not 1 <= size <= 64:
        raise LocalMisuse("value-invalid", "a derived key has 1 to 64 bytes")
    return prf(key, "k." + label, size.to_bytes(2, "big") + context + _COUNTER)[:size]


def mac(key: bytes, label: str, message: bytes) -> bytes:
    """MAC(k, l, m): 32 bytes."""
    if type(key) is not bytes or len(key) != KEY_BYTES:
        raise LocalMisuse("key-misuse", "a MAC key is exactly 32 bytes")
    return hmac.digest(key, _encoded("m.", label) + message, "sha512")[:MAC_BYTES]


def mac_matches(expected: bytes, received: bytes) -> bool:
    """Constant-time comparison of two MACs, or of any two secrets of equal length."""
    return hmac.compare_digest(expected, received)


def require_mac(key: bytes, label: str, message: bytes, received: bytes) -> None:
    """Raises PeerMisbehaved `wrong-mac` unless `received` is the MAC of `message`."""
    if not hmac.compare_digest(mac(key, label, message), received):
        raise PeerMisbehaved("wrong-mac")


def digest(data: bytes) -> bytes:
    """H(b): SHA-256, for unkeyed digests only."""
    return hashlib.sha256(data).digest()


class RunningDigest:
    """H over bytes that come in pieces."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """The next piece."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """SHA-256 of all pieces so far, 32 bytes."""
        return self._hash.digest()


def checksum(data: bytes) -> str:
    """SHA-256 as hex, for hash chains of text and file checksums."""
    return hashlib.sha256(data).hexdigest()
