"""The ticket cache at rest: one box under a key derived from the host's root, records inside.

Bytes in, bytes out: knows neither files nor clocks. The root's version is in clear, so that the right key
is selected and never guessed.

Layout: b"ORTHROSC", version byte 3, u32be kvno, SEAL(KD(root, "cache"), "cache", enc(header, realm, name, uid), body).
Body: u64be saved_ms, u64be ahead_ms, u64be behind_ms, u64be policy_seq, records (u32be length, canonical bytes).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_SCOPES, MAX_U32
from orthros_protocol.primitives.names import is_scope
from orthros_protocol.primitives.schema import Message, integer, message, optional, spread, text_set
from orthros_protocol.primitives.sealing import open_box, seal
from orthros_protocol.tickets.credential import Credential

__all__ = ["MAX_CACHE_BYTES", "CacheSnapshot", "CachedTicket", "cache_kvno", "open_cache", "seal_cache"]

MAX_CACHE_BYTES: Final = 3 * 1024 * 1024
_MAGIC: Final = b"ORTHROSC\x03"
_HEADER_BYTES: Final = len(_MAGIC) + 4
_PREAMBLE_BYTES: Final = 32


@message("cached ticket")
class CachedTicket(Message):
    """One entry: what was asked (`asked_*`) and the ticket or JWT that was granted; its life is told by the realm's
    clock. `policy_seq` is the number of the policy that it was issued under."""

    credential: Credential = spread(Credential)
    asked_scopes: tuple[str, ...] | None = optional(text_set(is_scope, MAX_SCOPES))
    asked_ttl_s: int = integer(MAX_U32)
    asked_flags: int = integer(MAX_U32)
    policy_seq: int = integer(default=0)


@frozen(eq=False, kw_only=True)
class CacheSnapshot:
    """What the file held: entries, the offset of the realm's clock, the realm's time of writing, and the highest number
    of a policy that its writer had heard of."""

    entries: tuple[CachedTicket, ...]
    offset_ms: int
    saved_ms: Timestamp
    policy_seq: int = 0


def seal_cache(snapshot: CacheSnapshot, root: RootKey, *, entropy: bytes) -> bytes:
    """The file. `entropy` is 24 fresh random bytes. Raises LocalMisuse beyond 3 MiB."""
    header = _MAGIC + root.kvno.to_bytes(4, "big")
    offsets = (max(snapshot.offset_ms, 0), max(-snapshot.offset_ms, 0))
    body = bytearray(
        b"".join(number.to_bytes(8, "big") for number in (snapshot.saved_ms, *offsets, snapshot.policy_seq))
    )
    for record in [entry.encode() for entry in snapshot.entries]:
        body += len(record).to_bytes(4, "big") + record
    if len(body) > MAX_CACHE_BYTES:
        raise LocalMisuse("value-invalid", f"the ticket cache is larger than {MAX_CACHE_BYTES} bytes")
    return header + seal(_key(root), "cache", _context(header, root), bytes(body), entropy=entropy)


def cache_kvno(data: bytes) -> int:
    """The version of the root that the file is sealed under; nothing is verified yet. Raises Malformed."""
    if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
        raise Malformed("it does not start as a ticket cache of version 3")
    return int.from_bytes(data[len(_MAGIC) : _HEADER_BYTES], "big")


def open_cache(data: bytes, root: RootKey) -> CacheSnapshot:
    """The content. Raises Malformed, or PeerMisbehaved `box-unopened` for altered bytes or another root."""
    cache_kvno(data)
    header = data[:_HEADER_BYTES]
    body = open_box(_key(root), "cache", _context(header, root), data[_HEADER_BYTES:], limit=MAX_CACHE_BYTES + 72)
    if len(body) < _PREAMBLE_BYTES:
        raise Malformed("a ticket cache without its times")
    saved_ms, ahead_ms, behind_ms, policy_seq = (int.from_bytes(body[at : at + 8], "big") for at in (0, 8, 16, 24))
    return CacheSnapshot(
        entries=tuple(_records(body)),
        offset_ms=ahead_ms - behind_ms,
        saved_ms=Timestamp(saved_ms),
        policy_seq=policy_seq,
    )


def _key(root: RootKey) -> bytes:
    return derive(root.material, "cache")


def _context(header: bytes, root: RootKey) -> bytes:
    return encode(header, root.principal.realm, root.principal.name, root.uid)


def _records(body: bytes) -> Iterable[CachedTicket]:
    at = _PREAMBLE_BYTES
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        record = body[at + 4 : at + 4 + size]
        if len(record) != size:
            raise Malformed("a record of the ticket cache is cut short")
        yield CachedTicket.decode(record)
        at += 4 + size
