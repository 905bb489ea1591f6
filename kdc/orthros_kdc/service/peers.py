"""The sender of a native request: where it sits, who pays, whether it made the request itself, what it may learn.

Shared by both exchanges; issues nothing and knows no streams.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Final

import structlog
from attrs import frozen

from orthros_kdc.audit.events import RequestReplayed, SenderFacts
from orthros_kdc.policy.sources import source_allowed
from orthros_kdc.service.gate import Gate
from orthros_kdc.store.base import PrincipalRecord
from orthros_protocol import (
    Admission,
    AsRequest,
    Code,
    Entry,
    OrthrosError,
    Reason,
    Refused,
    ReplaySet,
    TgsRequest,
    Timestamp,
)
from orthros_protocol.primitives.limits import KDC_SKEW_MS

__all__ = ["Copies", "Maker", "Peer", "Sealable", "payer_of", "require_source", "sealable"]

# More requests than one process answers while a copy of them is young enough to count, and for one client more than its
# rate allows in that time. A million takes 80 MB, of a thousand clients 270 MB. Of requests beyond them the KDC
# cannot tell whether they are copies, and a client that keeps to its rate would be refused.
_REQUESTS: Final = 1_000_000
_REQUESTS_PER_CLIENT: Final = 500_000
# More keys than can be used first while a copy of a request is young enough to count.
_FIRST_USES: Final = 65_536
_log = structlog.get_logger(__name__)


@frozen
class Peer:
    """Whom to charge, where it sits, and which connection it asks over: a number that no other connection has."""

    source: str
    address: str
    connection: int = 0


@frozen
class Sealable:
    """What the caller may learn of why it is refused."""

    code: Code | Reason
    detail: str
    retry_s: int


class Maker(Enum):
    """Who has sent a request: its maker, or a copier."""

    SELF = "self"
    COPIER = "copier"
    UNKNOWN = "unknown"  # what was seen before is not known here, so it may be a copy


class Copies:
    """Tells the maker of a request from those who copied it. `now` is the time of the KDC's start.

    Replays are harmless here, since a reply opens only for the first asker; they are charged and reported.

    A copy of a request from before the start passes for its maker's, once, if the stamp of the request lies behind the
    start: a client whose clock is ahead made it. That is left so. The copy costs the client no more than the request
    did, out of a share that is full again since the start, and a login proves nothing. From their first login on,
    Orthros's own clients stamp by the realm's time, so what they asked before the start is older than the start. What
    was rejected: to take every request of the first five minutes for a copy. Then makers would pay out of the share
    that copies can use up, and any copy from before the start could keep its maker out.
    """

    def __init__(self, gate: Gate, now: Timestamp, monotonic: Callable[[], float]) -> None:
        self._gate = gate
        self._started = now
        self._monotonic = monotonic
        # By then no copy of a request from before the start is young enough to count.
        self._knows_all_at = monotonic() + KDC_SKEW_MS / 1000
        # Forgets by an earlier time than `now` after a jump of the clock, so what is ahead of that may be in time.
        self._seen = _memory()
        # While the clock is behind one that the memory was pruned by, what is dated before that is kept here.
        self._seen_below = _memory()
        self._first_used: OrderedDict[bytes, int] = OrderedDict()

    def maker_of(self, request: AsRequest | TgsRequest, sender: SenderFacts, client: str, exchange: str) -> Maker:
        """Whether the sender proved the key himself: what was seen before, or is out of its time, any sender may copy.

        Nothing can be told of a request for which the memory has no room, nor of one from before the start.
        """
        # Times that the window refuses take no room either: nothing would ever free it.
        now = sender.at
        if abs(request.ts - now) > KDC_SKEW_MS:
            return Maker.COPIER
        entry, forgotten = Entry(request.replay_tag, request.ts, client), self._gate.for_forgetting(now)
        admission = self._seen.admit(entry, forgotten)
        if admission is Admission.STALE:
            admission = self._seen_below.admit(entry, forgotten)
        if admission is Admission.SEEN:
            self._gate.replayed(RequestReplayed(about=sender.of_client(client), exchange=exchange))
            return Maker.COPIER
        is_older = request.ts < self._started and self._monotonic() < self._knows_all_at
        return Maker.SELF if admission is Admission.FRESH and not is_older else Maker.UNKNOWN

    def is_first_here(self, key: bytes, peer: Peer) -> bool:
        """Whether the session key with the digest `key` was never used over another connection.

        Only then does a request prove whose connection this is, and only if its maker sent it. A copy of a request can
        be as good as its original, where the original is late. But no sender can copy the first request under a key
        before it is sent; and a login proves nothing, for its reply opens for its maker only.
        """
        used = self._first_used.setdefault(key, peer.connection)
        self._first_used.move_to_end(key)
        if len(self._first_used) > _FIRST_USES:
            self._first_used.popitem(last=False)
        return used == peer.connection


def _memory() -> ReplaySet:
    return ReplaySet(capacity=_REQUESTS, per_client=_REQUESTS_PER_CLIENT, past_ms=KDC_SKEW_MS, ahead_ms=None)


def require_source(principal: PrincipalRecord, peer: Peer) -> None:
    """H5: a key that was copied to elsewhere is of no use there. Raises Refused `source-refused`."""
    if not source_allowed(principal.sources, peer.address):
        raise Refused("source-refused")


def payer_of(client: str, maker: Maker) -> Hashable:
    """Copies are answered, for the answer opens for the maker only; but they must not use up the maker's share. Nor do
    copies that are known as such pay with what is left for those that may be none."""
    return client if maker is Maker.SELF else (f"maker-{maker.value}", client)


def sealable(error: OrthrosError, ref: bytes) -> Sealable:
    """What the caller may learn: refusals as they are, troubles of the KDC only as such."""
    if isinstance(error, Refused) and error.reason.number:
        return Sealable(error.reason, error.detail, getattr(error, "retry_s", 0))
    _log.error("request failed", code=error.code, detail=error.detail, ref=ref.hex())
    return Sealable("kdc-fault", f"reference {ref.hex()}", 1)
