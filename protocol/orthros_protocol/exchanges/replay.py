"""What a target asks its replay store: may this request, whose MAC is right, be judged, and by which epoch?

The problem. A request proves that its sender held a key when it was made; a copy proves the same. A timestamp bounds
for how long, and a memory of what was seen closes the rest, while that memory is unbroken and everybody who accepts
shares it. Services have workers, replicas and restarts, so it is neither by itself.

The mechanism. A store burns each request on first sight, by the first 16 bytes of its verified MAC, for as long as its
timestamp could be accepted. It belongs to every process that shares it, and so does its *epoch*, eight bytes that live
exactly as long as its memory is unbroken (`epochs.py`): together they are one replay instance. A request names the
epoch that its client has learnt, and is then good at this instance alone. One that may be repeated needs none: it is
taken where the instance existed when the request was made, since the copy would have been burnt there.

Entries lie in buckets by the request's own timestamp, not by the time of arrival: when a bucket is dropped, no request
that belongs into it can be accepted any more, whatever the clock does. One call asks, prunes, refuses what is older
than the floor, and inserts, with the time by which the window is judged afterwards. A store that is full refuses; it
never forgets early. Shares per client and ticket keep one caller from filling it for all.

Rejected: check and then add (two copies pass between them); eviction of the oldest (an attacker fills the store and
replays); a Bloom filter (refuses honest requests at random); an epoch per process (docs/adr/0003).

What would break it: a memory that comes back from yesterday under its old epoch; a store and a window that read
different clocks; an entry that lives shorter than its timestamp is acceptable.

Knows tags and times, not messages.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from enum import Enum
from typing import Final, Protocol, TypeVar

from attrs import field, frozen

from orthros_protocol.errors import Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import TOO_FAR_AHEAD_MS, WINDOW_PAST_MS

__all__ = ["NO_EPOCH", "Admission", "Entry", "ReplaySet", "ReplayStore", "Standing", "check_admission"]

NO_EPOCH: Final = bytes(8)
"""The epoch of an answer that was made without a look at the store: it names no instance, and teaches nothing."""

_K = TypeVar("_K", bound=Hashable)
_BUCKET_MS: Final = 1_000


class Admission(Enum):
    """What a store says of one request. Only FRESH goes on."""

    FRESH = "fresh"
    SEEN = "seen"
    STALE = "stale"  # older than what the store remembers, so nothing can be said about it
    AHEAD = "ahead"  # dated too far ahead: not burnt
    QUOTA = "quota"  # the ticket's or the client's share is full: not burnt
    FULL = "full"  # no room, or no store: not burnt


@frozen
class Entry:
    """One request for the store: the first 16 bytes of its verified MAC, its timestamp, and whose share it takes.

    `client` is the text of a principal, `ticket` the 16-byte id of its ticket, empty where there is none.
    """

    tag: bytes
    ts: Timestamp
    client: str
    ticket: bytes = b""


@frozen
class Standing:
    """The store's answer, all of one moment. The request is judged by this `epoch`, 8 bytes, and by this `now`.

    `born` is the store's time when its memory began, or the highest that it had reached before, if that is later.
    """

    admission: Admission
    epoch: bytes = field(repr=False)
    born: Timestamp
    now: Timestamp

    @classmethod
    def unavailable(cls, now: Timestamp) -> Standing:
        """The answer of a store that could not be asked: `busy`, and no epoch."""
        return cls(Admission.FULL, NO_EPOCH, now, now)


def check_admission(ts: Timestamp, standing: Standing) -> None:
    """Raises Refused unless the store took the request as new."""
    admission = standing.admission
    if admission is Admission.FRESH:
        return
    if admission is Admission.SEEN:
        raise Refused("replayed")
    if admission is Admission.STALE:
        # Not `clock-skew`: that says that the request was burnt just now, and was not executed before.
        raise Refused("replayed", f"{(standing.now - ts) / 1000:.1f} s old: it may have been presented before")
    if admission is Admission.AHEAD:
        raise Refused("too-far-ahead", f"dated {(ts - standing.now) / 1000:.1f} s ahead of this clock")
    raise Refused("quota" if admission is Admission.QUOTA else "busy")


class ReplayStore(Protocol):
    """What burns requests: this process's memory, a file that the processes of a host share, or a server."""

    def admit(self, entry: Entry) -> Standing:
        """Burns `entry` and says whether it was new, in one atomic step. Of equal tags, one is FRESH per epoch.

        Raises nothing: a store that fails answers `Standing.unavailable`.
        """
        ...


class ReplaySet:
    """A bounded, thread-safe set of burnt requests in memory.

    A tag is kept until its own timestamp plus the window has passed. A timestamp below the prune floor is STALE (its
    bucket is gone). A full set refuses rather than evicts: `capacity` entries in all, `per_client` for one client and
    `per_ticket` for one ticket. `ahead_ms`: timestamps further ahead of `now` take no room, None: all may.
    """

    def __init__(
        self,
        *,
        capacity: int = 1_000_000,
        per_client: int = 250_000,
        per_ticket: int | None = None,
        past_ms: int = WINDOW_PAST_MS,
        ahead_ms: int | None = TOO_FAR_AHEAD_MS,
    ) -> None:
        self._past_ms = past_ms
        self._ahead_ms = ahead_ms
        self._capacity = capacity
        self._per_client = per_client
        self._per_ticket = per_client if per_ticket is None else per_ticket
        # The lock also makes the set safe without a global interpreter lock.
        self._lock = threading.Lock()
        self._buckets: dict[int, dict[tuple[str, bytes], set[int]]] = {}
        self._count = 0
        self._of_client: dict[str, int] = {}
        self._of_ticket: dict[tuple[str, bytes], int] = {}
        self._floor = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, entry: Entry, now: Timestamp) -> Admission:
        """Prunes with `now`, then burns the tag in the bucket of its timestamp."""
        number = int.from_bytes(entry.tag, "big")
        second = entry.ts // _BUCKET_MS
        owner = (entry.client, entry.ticket)
        with self._lock:
            floor = (now - self._past_ms) // _BUCKET_MS
            if floor > self._floor:
                self._prune(floor)
            if second < self._floor:
                return Admission.STALE
            if number in self._buckets.get(second, {}).get(owner, ()):
                return Admission.SEEN
            if self._ahead_ms is not None and entry.ts > now + self._ahead_ms:
                return Admission.AHEAD
            of_client, of_ticket = self._of_client.get(entry.client, 0), self._of_ticket.get(owner, 0)
            # What is refused leaves no trace: it costs no memory.
            if of_ticket >= self._per_ticket or of_client >= self._per_client:
                return Admission.QUOTA
            if self._count >= self._capacity:
                return Admission.FULL
            self._buckets.setdefault(second, {}).setdefault(owner, set()).add(number)
            self._count += 1
            self._of_client[entry.client] = of_client + 1
            self._of_ticket[owner] = of_ticket + 1
            return Admission.FRESH

    def _prune(self, floor: int) -> None:
        for second in [second for second in self._buckets if second < floor]:
            for owner, tags in self._buckets.pop(second).items():
                self._count -= len(tags)
                _lower(self._of_client, owner[0], len(tags))
                _lower(self._of_ticket, owner, len(tags))
        self._floor = floor


def _lower(counts: dict[_K, int], key: _K, by: int) -> None:
    left = counts[key] - by
    if left:
        counts[key] = left
    else:
        del counts[key]
