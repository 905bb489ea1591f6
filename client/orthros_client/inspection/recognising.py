"""What some bytes are: each kind is tried by how it begins, in a fixed order, and nothing is guessed.

Never raises for what it is given. Bytes may also come in base64url, base64 or hex.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Final

from attrs import evolve

from orthros_client.credentials.credential_file import CREDENTIAL_FILE_MAGIC
from orthros_client.inspection.files import (
    look_at_cache,
    look_at_credentials,
    look_at_key_file,
    look_at_login,
    look_at_secret_text,
)
from orthros_client.inspection.findings import Eye, Finding
from orthros_client.inspection.headers import look_at_header, without_name
from orthros_client.inspection.messages import look_at_answer, look_at_demand, look_at_hand_over
from orthros_client.inspection.tickets import look_at_request, look_at_ticket
from orthros_client.inspection.tokens import look_at_jwk, look_at_token
from orthros_client.inspection.words import plain
from orthros_protocol.errors import OrthrosError
from orthros_protocol.keys.keytab import KEY_FILE_PREFIX

__all__ = ["inspect"]

Look = Callable[[bytes, Eye], Finding]

# How it begins -> what it claims to be, and who looks. Whatever begins so is nothing else.
_MAGIC: Final[tuple[tuple[bytes, str, Look], ...]] = (
    (b"ORTHROSK", "a key file", look_at_key_file),
    (KEY_FILE_PREFIX.encode("ascii"), "a key file in text form", look_at_key_file),
    (CREDENTIAL_FILE_MAGIC[:8], "a file of credentials", look_at_credentials),
    (b"ORTHROSL", "a worker's login file", look_at_login),
    (b"ORTHROSC", "a ticket cache", look_at_cache),
)
# Version and suite of a ticket; else the header of an array of 2, 4 or 5 items.
_BINARY: Final[dict[bytes, tuple[Look, ...]]] = {
    b"\x01": (look_at_ticket,),
    b"\x92": (look_at_request, look_at_answer, look_at_demand),
    b"\x94": (look_at_hand_over,),
    b"\x95": (look_at_demand,),
}
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){20,}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{20,}={0,2}")
_MOST_TEXT: Final = 512 * 1024


def inspect(data: bytes, eye: Eye) -> Finding:
    """What `data` is, and what it shows to `eye`; of kind `unknown` for what is not recognised. Never raises."""
    stripped = data.strip()
    for magic, name, look in _MAGIC:
        if data.startswith(magic) or (stripped.startswith(magic) and magic.islower()):
            try:
                return look(stripped if magic.islower() else data, eye)
            except OrthrosError as error:
                return _unknown(data, f"it begins as {name}, but: {plain(error.detail)}")
    return _binary(data, eye) or _text(stripped, eye) or _unknown(data, "")


def _binary(data: bytes, eye: Eye) -> Finding | None:
    for look in _BINARY.get(data[:1], ()):
        try:
            return look(data, eye)
        except OrthrosError:
            continue
    return None


def _text(data: bytes, eye: Eye) -> Finding | None:
    if not data.isascii() or len(data) > _MOST_TEXT:
        return None
    text = without_name(data.decode("ascii"))
    for look in (look_at_header, look_at_token, lambda one, _eye: look_at_secret_text(one)):
        try:
            return look(text, eye)
        except OrthrosError:
            continue
    if data.startswith(b"{"):
        try:
            return look_at_jwk(data, eye)
        except OrthrosError:
            return None
    return _decoded(data, eye)


def _decoded(data: bytes, eye: Eye) -> Finding | None:
    """Bytes in text form, possibly in several lines."""
    joined = b"".join(data.split())
    for name, raw in (("hex", _from_hex(joined)), ("base64", _from_base64(joined))):
        if raw is not None:
            found = _binary(raw, eye) or _filed(raw, eye)
            if found is not None:
                return evolve(found, facts={"came_as": name, **found.facts})
    return None


def _filed(raw: bytes, eye: Eye) -> Finding | None:
    for magic, _name, look in _MAGIC:
        if raw.startswith(magic):
            try:
                return look(raw, eye)
            except OrthrosError:
                return None
    return None


def _from_hex(text: bytes) -> bytes | None:
    return bytes.fromhex(text.decode("ascii")) if _HEX.fullmatch(text) else None


def _from_base64(text: bytes) -> bytes | None:
    if _BASE64.fullmatch(text) is None:
        return None
    standard = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _unknown(data: bytes, note: str) -> Finding:
    return Finding(kind="unknown", title="unknown", size=len(data), notes=(note,) if note else ())
