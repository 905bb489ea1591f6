"""Attenuation: the chain of keys that hangs off a ticket, T0, T(i+1), K_pop, and the field that carries caveats.

The problem. Whoever holds a ticket should be able to give a part of its power away, offline: for ten minutes, for
reading, for one path. The KDC is not asked, and the service that is called later must still be able to verify.

The mechanism is that of macaroons with one change. From the session key comes T0, the tail of the ticket without
caveats. Each caveat makes the next tail: T(i+1) = KD(T(i), "cav", caveat). The target knows the session key, walks the
same caveats and arrives at the same tail. Whoever was given only T(i+1) cannot compute T(i), so caveats can be added
and never dropped, edited or moved. In macaroons the last tail is the credential itself and travels with each request;
here it is a key. It derives K_pop, which makes the MAC of the request. So the tail never leaves whom it was given to,
and what is captured on the way proves nothing twice.

Everything hangs off the tail, also where there is no caveat: no key of the AP exchange is derived from the session key
directly, or a holder of it would have a way around. Discharges of third parties are mixed into K_pop one after the
other, so that one MAC proves possession of all of them.

Rejected: signatures (symmetric keys alone); the tail as a bearer secret (a log line would be a leak); a list of caveats
under one MAC of the first holder (the second could take away what the first had added).

What would break it: a key of the exchange that skips the chain; caveats that widen, since an attacker adds as many as
he likes; a caveat whose type the target skips because it does not know it.

Inherent, and documented: whoever holds an earlier tail can compute the later ones, so who delegates can read what the
delegate sends.

Structure only; knows no types of caveats and judges none. Source: Birgisson et al., "Macaroons", NDSS 2014
(docs/protocol/attenuation.md).
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
