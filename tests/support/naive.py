"""The primitives and formats once more, written from docs/protocol/ with hmac, hashlib, msgpack and AESGCM.

Never imports the library: it is the second implementation that the first one is compared with, and the
forger that builds what the library refuses to build.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgpack
from attrs import frozen
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def enc(*items: Any) -> bytes:
    """An array of items; msgpack's Python packer always writes the shortest forms."""
    packed: bytes = msgpack.packb(list(items), use_bin_type=True)
    return packed


def dec(data: bytes) -> list[Any]:
    items: list[Any] = msgpack.unpackb(data, raw=False, strict_map_key=False)
    return items


def prf(key: bytes, label: str, message: bytes) -> bytes:
    return hmac.new(key, b"orthros1\x00" + label.encode() + b"\x00" + message, hashlib.sha512).digest()


def kd(key: bytes, label: str, context: bytes = b"", size: int = 32) -> bytes:
    return prf(key, "k." + label, size.to_bytes(2, "big") + context + b"\x01")[:size]


def mac(key: bytes, label: str, message: bytes) -> bytes:
    return prf(key, "m." + label, message)[:32]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def seal(key: bytes, label: str, context: bytes, plain: bytes, entropy: bytes) -> bytes:
    salt = prf(key, "s." + label, entropy + sha256(context) + sha256(plain))[:24]
    okm = prf(key, "b." + label, salt + sha256(context) + b"\x01")
    return salt + okm[32:] + AESGCM(okm[:32]).encrypt(bytes(12), plain, b"")


def unseal(key: bytes, label: str, context: bytes, box: bytes) -> bytes:
    """The plaintext; ValueError or InvalidTag when it does not open."""
    okm = prf(key, "b." + label, box[:24] + sha256(context) + b"\x01")
    if not hmac.compare_digest(okm[32:], box[24:56]):
        raise ValueError("commitment")
    return AESGCM(okm[:32]).decrypt(bytes(12), box[56:], b"")


@frozen
class Sealer:
    """A ticket key as plain bytes: what a thief, or a dishonest service, works with."""

    material: bytes
    ticket_type: int
    realm: str
    name: str
    uid: int
    kvno: int

    @property
    def header(self) -> bytes:
        return bytes([1, 1, self.ticket_type]) + self.kvno.to_bytes(4, "big") + kd(self.material, "kid", size=8)

    @property
    def _box_key(self) -> bytes:
        return kd(self.material, f"ticket.{self.ticket_type}")

    @property
    def _context(self) -> bytes:
        return enc(self.header, self.realm, self.name, self.uid)

    def seal(self, body: list[Any], entropy: bytes = bytes(24)) -> bytes:
        return self.header + seal(self._box_key, "ticket", self._context, enc(*body), entropy)

    def seal_bytes(self, body: bytes, entropy: bytes = bytes(24)) -> bytes:
        return self.header + seal(self._box_key, "ticket", self._context, body, entropy)

    def open(self, ticket: bytes) -> list[Any]:
        return dec(self.open_bytes(ticket))

    def open_bytes(self, ticket: bytes) -> bytes:
        return unseal(self._box_key, "ticket", self._context, ticket[15:])

    def mark(self, mac_key: bytes, body_without_mark: list[Any]) -> bytes:
        named = self.header + enc(self.realm, self.name, self.uid)
        return mac(mac_key, "ticket", named + enc(*body_without_mark))[:16]


def pop_key(session_key: bytes, ticket: bytes, caveats: tuple[bytes, ...] = ()) -> bytes:
    tail = kd(session_key, "chain0", sha256(ticket))
    for caveat in caveats:
        tail = kd(tail, "cav", caveat)
    return kd(tail, "pop")


def ap_request(
    key: bytes,
    ticket: bytes,
    *,
    ts: int,
    use: Any = 0,
    caveats: Any = b"",
    dis: Any = (),
    nonce: Any = b"n" * 16,
    epoch: Any = None,
    flags: Any = 0,
    bind: Any = None,
    user: Any = None,
    crit: Any = (),
    opt: Any = (),
    kind: int = 3,
    label: str | None = None,
) -> bytes:
    """An AP-REQ of any content, allowed or not, with a right MAC under `key`."""
    body = enc(1, kind, use, ticket, caveats, list(dis), ts, nonce, epoch, flags, bind, user, list(crit), list(opt))
    return enc(body, mac(key, label or f"ap-req.{use}", body))


def raw_bind(endpoint: str, payload: bytes = b"") -> bytes:
    return sha256(enc("raw/1", endpoint, None, sha256(payload)))


def strict(data: bytes) -> list[Any]:
    """The array in `data`, read byte by byte by docs/protocol/encoding.md; ValueError for anything else."""
    value, end = _item(data, 0, 1)
    if end != len(data) or not isinstance(value, list):
        raise ValueError("not exactly one array")
    return value


def _sized(data: bytes, at: int, width: int, least: int) -> tuple[int, int]:
    number, end = int.from_bytes(data[at : at + width], "big"), at + width
    if end > len(data) or number < least:
        raise ValueError("cut short, or not the shortest form")
    return number, end


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    first = data[at] if at < len(data) else 0xC1
    at += 1
    if first < 0x80:
        return first, at
    if first == 0xC0:
        return None, at
    if 0xCC <= first <= 0xCF:
        width = 1 << (first - 0xCC)
        number, at = _sized(data, at, width, (0x80, 0x100, 0x10000, 0x100000000)[first - 0xCC])
        if number > 2**63 - 1:
            raise ValueError("too large")
        return number, at
    if first & 0xF0 == 0x90 or first == 0xDC:
        count, at = (first & 0x0F, at) if first != 0xDC else _sized(data, at, 2, 16)
        if count > 64 or depth > 6:
            raise ValueError("too long or too deep")
        items = []
        for _ in range(count):
            value, at = _item(data, at, depth + 1)
            items.append(value)
        return items, at
    if first & 0xE0 == 0xA0:
        size, text = first & 0x1F, True
    elif first in (0xD9, 0xDA, 0xDB):
        (size, at), text = _sized(data, at, 1 << (first - 0xD9), (32, 0x100, 0x10000)[first - 0xD9]), True
    elif first in (0xC4, 0xC5, 0xC6):
        (size, at), text = _sized(data, at, 1 << (first - 0xC4), (0, 0x100, 0x10000)[first - 0xC4]), False
    else:
        raise ValueError("a forbidden kind")
    raw = data[at : at + size]
    if len(raw) != size or (text and (not raw or any(byte > 0x7F for byte in raw))):
        raise ValueError("cut short, empty or not ASCII")
    return raw.decode("ascii") if text else raw, at + size
