"""The lookaside cache: which requests were seen before, so that copies are told from what their maker has sent.

Shared by both exchanges of the native port; issues nothing and knows no streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orthros_kdc.audit.events import RequestReplayed
from orthros_kdc.service.native import NativeCase
from orthros_kdc.service.shell import Maker, Shell
from orthros_protocol.exchanges.as_exchange import AsRequest
from orthros_protocol.exchanges.replay import Admission, Entry, ReplaySet
from orthros_protocol.exchanges.tgs_exchange import TgsRequest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import KDC_SKEW_MS
from orthros_runtime.bounded import BoundedMap

__all__ = ["LookasideCache"]

# More requests than one process answers while a copy of them is young enough to count, and for one client more than its
# rate allows in that time. A million takes 80 MB, of a thousand clients 270 MB. Of requests beyond them the KDC
# cannot tell whether they are copies, and a client that keeps to its rate would be refused.
_REQUESTS: Final = 1_000_000
_REQUESTS_PER_CLIENT: Final = 500_000
# More keys than can be used first while a copy of a request is young enough to count.
_FIRST_USES: Final = 65_536


class LookasideCache:
    """Tells the maker of a request from those who copied it. `now` is the time of the KDC's start.

    Replays are harmless here, since a reply opens only for the first asker; they are charged and reported.

    A copy of a request from before the start passes for its maker's, once, if the stamp of the request lies behind the
    start: a client whose clock is ahead made it. That is left so. The copy costs the client no more than the request
    did, out of a share that is full again since the start, and a login proves nothing. From their first login on,
    Orthros's own clients stamp by the realm's time, so what they asked before the start is older than the start. What
    was rejected: to take every request of the first five minutes for a copy. Then makers would pay out of the share
    that copies can use up, and any copy from before the start could keep its maker out.
    """

    def __init__(self, shell: Shell, now: Timestamp, monotonic: Callable[[], float]) -> None:
        self._shell = shell
        self._started = now
        self._monotonic = monotonic
        # By then no copy of a request from before the start is young enough to count.
        self._knows_all_at = monotonic() + KDC_SKEW_MS / 1000
        # Forgets by an earlier time than `now` after a jump of the clock, so what is ahead of that may be in time.
        self._seen = _memory()
        # While the clock is behind one that the memory was pruned by, what is dated before that is kept here.
        self._seen_below = _memory()
        self._first_used = BoundedMap[bytes, int](_FIRST_USES)

    def maker_of(self, case: NativeCase, request: AsRequest | TgsRequest, exchange: str) -> Maker:
        """Whether the client of `case` has sent it itself: what was seen before, or is out of its time, any sender may
        copy. Raises RateLimited for a copy for which the log has no room.

        Nothing can be told of a request for which the memory has no room, nor of one from before the start.
        """
        # Times that the window refuses take no room either: nothing would ever free it.
        now = case.now
        if abs(request.ts - now) > KDC_SKEW_MS:
            return Maker.COPIER
        entry, forgotten = Entry(request.replay_tag, request.ts, case.client), self._shell.for_forgetting(now)
        admission = self._seen.admit(entry, forgotten)
        if admission is Admission.STALE:
            admission = self._seen_below.admit(entry, forgotten)
        if admission is Admission.SEEN:
            replayed = RequestReplayed(about=case.sender.of_client(case.client), exchange=exchange)
            self._shell.replayed(case.client, replayed)
            return Maker.COPIER
        is_older = request.ts < self._started and self._monotonic() < self._knows_all_at
        return Maker.SELF if admission is Admission.FRESH and not is_older else Maker.UNKNOWN

    def is_first_here(self, key: bytes, connection: int) -> bool:
        """Whether the session key with the digest `key` was never used over another connection.

        Only then does a request prove whose connection this is, and only if its maker sent it. A copy of a request can
        be as good as its original, where the original is late. But no sender can copy the first request under a key
        before it is sent; and a login proves nothing, for its reply opens for its maker only.
        """
        used = self._first_used.setdefault(key, connection)
        self._first_used.move_to_end(key)
        return used == connection


def _memory() -> ReplaySet:
    return ReplaySet(capacity=_REQUESTS, per_client=_REQUESTS_PER_CLIENT, past_ms=KDC_SKEW_MS, ahead_ms=None)
