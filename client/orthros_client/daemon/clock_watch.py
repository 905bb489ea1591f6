"""What the daemon does when the time is in doubt: looks at all tickets, asks the realm, and asks again in time.

Three things bring doubt: a step of one clock of this host against the other, a reply that contradicts what is known of
the realm's time, and a target that refuses a ticket because of its times. Tickets stay until the realm was asked; what
has ended by either clock is not given out meanwhile. Knows no agent, no sockets and no peers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import structlog
import trio
from attrs import define, field

from orthros_client.daemon.kdc.realm_clock import CONFIRM_AFTER_S
from orthros_client.daemon.kdc.session import KdcSession, Obtained
from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential, TicketCache
from orthros_client.daemon.tickets.renewals import Renewals
from orthros_client.errors import Failure, OrthrosError
from orthros_client.reasons import KDC_UNREACHABLE
from orthros_protocol.exchanges.wants import Granted
from orthros_protocol.tickets.credential import Life
from orthros_runtime.clocks import Clock

__all__ = ["ClockWatch"]

log = structlog.get_logger()

# How often both clocks are compared when no local program asks anything.
_WATCH_S: Final = 2.0
_SOONEST_S: Final = 0.002
_MOST_WAIT_S: Final = 2.0
# What a clock causes is over as soon as the clock is right, here or at the KDC: the pause does not grow.
_OF_CLOCKS: Final = frozenset({"clock-skew", "kdc-fault"})


@define(eq=False)
class ClockWatch:
    """The watch over the tickets in `caches`. Times in seconds; `clock` is the daemon's.

    `on_news` is called when more, or less, is known of the time.
    """

    session: KdcSession
    clock: Clock
    caches: tuple[TicketCache, ...]
    renewals: Renewals
    on_news: Callable[[], None]
    _seen: tuple[int, int] = field(default=(0, 0), init=False)
    _known: trio.Event = field(factory=trio.Event, init=False)

    async def know(self, timeout_s: float) -> None:
        """Waits for the realm's word while one clock contradicts the other, 2 s at most.

        Not to be called while the KDC does not answer: the tickets that are good by both clocks serve without its word.
        """
        with trio.move_on_after(min(timeout_s, _MOST_WAIT_S)):
            await self._known.wait()

    def held(self, key: CacheKey, granted: Granted, obtained: Obtained, *, chance: float) -> HeldCredential:
        """What the KDC granted, with its end on both clocks."""
        issued_s = obtained.kdc_time / 1000
        life = Life(
            granted.ttl_s,
            obtained.asked_at + granted.ttl_s,
            issued_s + granted.ttl_s,
            self.session.realm.latest_ahead_s,
        )
        credential = granted.to_credential(self.session.keytab.principal, life)
        return HeldCredential.of(key, credential, obtained.asked_at, chance=chance, policy_seq=obtained.policy_seq)

    async def run(self) -> None:
        """Compares the clocks until cancelled."""
        while True:
            await trio.sleep(_WATCH_S)
            self.look()

    def look(self) -> None:
        """Looks at all tickets if more, or less, is known of the time than when that was done last. Cheap otherwise.

        What was issued by a clock that was ahead of the realm's is asked for again: targets refuse it.
        """
        realm = self.session.realm
        if realm.state == self._seen:
            return
        self._seen = realm.state
        now = self.clock.elapsed_s()
        held = [one for cache in self.caches for one in cache.look(realm.latest_ahead_s)]
        if realm.has_stepped:
            log.warning("the time is in doubt", detail=realm.doubt)
            self._known = trio.Event()
            if self.session.login_file is not None:  # a worker cannot log in, so a ticket has to ask for the time
                self.renewals.plan([one.key for one in held[-1:]], now)
        else:
            self._known.set()
            early = [one.key for one in held if one.is_from_future(now + realm.ahead_s)]
            log.info("the time is known", offset_ms=realm.offset_ms, tickets=len(held), from_future=len(early))
            self.renewals.plan(early, now)
        self.on_news()

    def trouble(self, failure: Failure | None) -> Failure | None:
        """Why no fresh ticket could be served, as far as that is known without asking; `failure` was the last one."""
        doubt = self.session.doubt
        if doubt and (failure is None or failure.reason.name in _OF_CLOCKS):
            return Failure.refused("clock-skew", doubt)
        if failure is None and self.session.login is None:
            return Failure.unavailable(KDC_UNREACHABLE, "no KDC has answered yet")
        return failure

    def next_moment(self, now: float) -> float | None:
        """When an exchange can confirm a claim about the time; None without one."""
        confirms_at = self.session.realm.confirms_at
        return confirms_at if confirms_at is not None and confirms_at > now else None

    def pause_bounds_s(self, error: OrthrosError, now: float) -> tuple[float, float]:
        """How long the KDC is left alone after `error`, at least and at most."""
        confirms_at = self.next_moment(now)
        if error.code in _OF_CLOCKS and confirms_at is not None:
            return max(_SOONEST_S, confirms_at - now), 0.0
        return Failure.of(error).retry_s, CONFIRM_AFTER_S if error.code in _OF_CLOCKS else math.inf
