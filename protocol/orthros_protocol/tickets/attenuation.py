"""Attenuation: the chain of keys that hangs off a ticket, T0, T(i+1), K_pop, and the field that carries caveats.

Structure only; knows no types of caveats and judges none. The tail is a key and is never sent.
Source: Birgisson et al., "Macaroons", NDSS 2014, with proof of possession in place of a bearer signature.
"""

from __future__ import annotations

from collections.abc import Iterable

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.canonical import decode, encode
from orthros_protocol.primitives.derivation import derive, digest
from orthros_protocol.primitives.limits import MAX_CAVEAT_BYTES, MAX_CAVEATS, MAX_CAVEATS_BLOB_BYTES

__all__ = [
    "add_caveat",
    "join_caveats",
    "mix_discharges",
    "pop_key_of",
    "split_caveats",
    "tail_after",
    "tail_of",
]


def split_caveats(blob: bytes) -> tuple[bytes, ...]:
    """The caveats in a `caveats` field: empty for none, else an array of 1 to 16 bins of 1 to 512 bytes.

    Structure only; raises Malformed.
    """
    if blob == b"":
        return ()
    items = decode(blob, MAX_CAVEATS_BLOB_BYTES)
    if not 1 <= len(items) <= MAX_CAVEATS:
        raise Malformed(f"{len(items)} caveats, 1 to {MAX_CAVEATS} allowed")
    for item in items:
        if type(item) is not bytes or not 1 <= len(item) <= MAX_CAVEAT_BYTES:
            raise Malformed(f"a caveat is a bin of 1 to {MAX_CAVEAT_BYTES} bytes")
    return tuple(items)


def join_caveats(caveats: Iterable[bytes]) -> bytes:
    """The `caveats` field for these caveats. Raises LocalMisuse for more than 16."""
    items = list(caveats)
    if not items:
        return b""
    if len(items) > MAX_CAVEATS or any(not 1 <= len(item) <= MAX_CAVEAT_BYTES for item in items):
        raise LocalMisuse("value-invalid", f"at most {MAX_CAVEATS} caveats of at most {MAX_CAVEAT_BYTES} bytes")
    return encode(*items)


def tail_of(session_key: bytes, ticket: bytes) -> bytes:
    """T0: the tail of a ticket without caveats. 32 bytes, secret."""
    return derive(session_key, "chain0", digest(ticket))


def add_caveat(tail: bytes, caveat: bytes) -> bytes:
    """T(i+1): the tail behind one more caveat. Its holder cannot go back. 32 bytes, secret."""
    return derive(tail, "cav", caveat)


def tail_after(tail: bytes, caveats: Iterable[bytes]) -> bytes:
    """The tail behind all of `caveats`, in order."""
    for caveat in caveats:
        tail = add_caveat(tail, caveat)
    return tail


def pop_key_of(tail: bytes) -> bytes:
    """K_pop: the key that proves possession of a tail. 32 bytes, secret."""
    return derive(tail, "pop")


def mix_discharges(pop_key: bytes, tails: Iterable[bytes]) -> bytes:
    """K_pop once the tails of all discharges are mixed in, in the order of their caveats. 32 bytes, secret."""
    for tail in tails:
        pop_key = derive(pop_key, "mix", tail)
    return pop_key
