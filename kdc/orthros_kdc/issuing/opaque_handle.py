"""Opaque handles: tokens that only the KDC can read, for targets that introspect.

The same claims as in a JWT, in a box whose key never leaves the KDC. Knows no policy and no JWS.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from orthros_kdc.realm.vault import OPAQUE, JwtKey
from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.sealing import BOX_OVERHEAD, open_box, seal

__all__ = ["HANDLE_PREFIX", "is_handle", "open_handle", "peek_unverified_handle_kid", "seal_handle"]

HANDLE_PREFIX: Final = "ort1h_"
_KID_BYTES: Final = 8
_MAX_BOX_BYTES: Final = 12 * 1024
_TEXT = re.compile(rf"{HANDLE_PREFIX}([A-Za-z0-9_-]{{1,{(_KID_BYTES + _MAX_BOX_BYTES) * 4 // 3 + 1}}})", re.ASCII)


def is_handle(text: str) -> bool:
    """Whether `text` claims to be a handle."""
    return text.startswith(HANDLE_PREFIX)


def seal_handle(key: JwtKey, claims: bytes, *, entropy: bytes) -> str:
    """A handle for `claims`, which are canonical JSON. `entropy` is 24 fresh random bytes."""
    kid = bytes.fromhex(_require_opaque(key).kid)
    box = seal(key.material, "handle", encode("handle", kid), claims, entropy=entropy)
    return HANDLE_PREFIX + urlsafe_b64encode(kid + box).decode("ascii").rstrip("=")


def peek_unverified_handle_kid(text: str) -> str:
    """The kid that `text` names; nothing is verified. Raises Malformed."""
    return _split(text)[0].hex()


def open_handle(key: JwtKey, text: str) -> bytes:
    """The claims that `text` was sealed with.

    Raises PeerMisbehaved `box-unopened` for one that was altered or sealed with another key, Malformed for what is
    no handle.
    """
    kid, box = _split(text)
    # A foreign kid is another context.
    return open_box(_require_opaque(key).material, "handle", encode("handle", kid), box, limit=_MAX_BOX_BYTES)


def _split(text: str) -> tuple[bytes, bytes]:
    encoded = _TEXT.fullmatch(text)
    if encoded is None or len(encoded[1]) % 4 == 1:
        raise Malformed("not a handle")
    content = urlsafe_b64decode(encoded[1] + "=" * (-len(encoded[1]) % 4))
    # One handle, one text: stray bits behind the last byte would make a second one.
    if urlsafe_b64encode(content).decode("ascii").rstrip("=") != encoded[1]:
        raise Malformed("not a handle")
    if len(content) < _KID_BYTES + BOX_OVERHEAD:
        raise Malformed("not a handle")
    return content[:_KID_BYTES], content[_KID_BYTES:]


def _require_opaque(key: JwtKey) -> JwtKey:
    if key.alg != OPAQUE:
        raise LocalMisuse("key-misuse", f"a JWT key for {key.alg} seals no handles")
    return key
