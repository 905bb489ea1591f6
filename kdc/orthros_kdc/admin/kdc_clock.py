"""The operator's word that a KDC's clock is right after a jump.

It is remembered in the store for two minutes, where each KDC of the realm on this machine looks while it has stopped.
"""

from __future__ import annotations

from typing import Final

from orthros_kdc.admin.context import Admin
from orthros_kdc.store.base import Store, Transaction
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp, seconds_of

__all__ = ["VALID_S", "accept", "is_accepted"]

_KIND: Final = "clock"
VALID_S: Final = 120
"""For how many seconds the operator's word is remembered."""
_LONGEST_STOP_S: Final = 120


async def accept(admin: Admin) -> int:
    """What this host's wall clock shows now is right, for every KDC that stopped because of a jump to it.

    Returns the Unix second that it shows.
    """

    def work(tx: Transaction) -> int:
        second = admin.now()
        # Second 0: nothing that is remembered shall end by a clock that has just jumped.
        tx.remember(_KIND, 0, _name(second), until=second + VALID_S, now=0)
        admin.record(tx, "kdc.clock-accepted", second=second)
        return second

    return await admin.store.change(work)


async def is_accepted(store: Store, *, since: Timestamp, now: Timestamp) -> bool:
    """Whether the operator has said so since the wall clock showed `since`; it shows `now`."""
    last = seconds_of(now)
    seconds = range(max(seconds_of(since), last - _LONGEST_STOP_S), last + 1)
    return await store.read(lambda tx: any(tx.recalls(_KIND, _name(one), now=one) for one in seconds))


def _name(second: int) -> bytes:
    return digest(encode("clock-accepted", second))
