"""The agent: answers local questions from the cache, and asks the KDC once for everybody who waits.

Knows the cache, the session and time; no sockets, no files and no peers. One flight per cache key, what is
wanted at the same moment travels in one batch, and every failure backs off. What is asked on behalf of others keeps to
itself: flights, batches, answers and refusals are per lineage, in a cache of their own that nobody renews or saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

import structlog
import trio
from attrs import define, evolve, field

from orthros_client.backoff import Backoff
from orthros_client.daemon.clock_watch import ClockWatch
from orthros_client.daemon.kdc.session import KdcSession, Login, Obtained
from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential, TicketCache
from orthros_client.daemon.tickets.flights import Flight, batches, is_about
from orthros_client.daemon.tickets.refusal_memory import RefusalMemory
from orthros_client.daemon.tickets.renewals import Planned, Renewals
from orthros_client.errors import Failure, LocalMisuse, OrthrosError, Refused, Unavailable
from orthros_protocol.exchanges.wants import Granted, NotGranted
from orthros_protocol.tickets.evidence import Behalf
from orthros_runtime.clocks import Clock, Entropy, fraction

__all__ = ["MOST_DOUBT_S", "Agent"]

log = structlog.get_logger()

# Long enough for callers that start together to share a batch, short beside any round trip.
_LINGER_S: Final = 0.002
_RENEWAL_LEASE_S: Final = 30.0
_IDLE_NAP_S: Final = 30.0
_PROBE_AFTER_S: Final = 30.0
# How long a question waits for the successor of a ticket that still serves.
MOST_DOUBT_S: Final = 2.0
_PLAIN: Final = Planned(0.0)
MOST_ON_BEHALF: Final = 1024
_AT_ONCE: Final = 32  # each lineage asks on a connection of its own


@define(eq=False)
class Agent:
    """Serves tickets and keeps them fresh while `run` runs. Times in seconds."""

    session: KdcSession
    clock: Clock
    entropy: Entropy = field(repr=False)
    cache: TicketCache = field(factory=TicketCache)
    on_behalf: TicketCache = field(factory=lambda: TicketCache(MOST_ON_BEHALF))
    refusals: RefusalMemory = field(factory=RefusalMemory)
    backoff: Backoff = field(factory=Backoff)
    idle_after_s: float = 7200.0
    renewals: Renewals = field(factory=Renewals)
    revived: frozenset[CacheKey] = frozenset()  # what a cache file held
    watch: ClockWatch = field(init=False, repr=False)
    changed: trio.Event = field(factory=trio.Event, init=False)
    last_failure: Failure | None = field(default=None, init=False)
    last_success: float | None = field(default=None, init=False)
    # Tickets pause by a count of their own: where logins work and tickets do not, each login would undo the other.
    _ticket_backoff: Backoff = field(init=False, repr=False)
    _refused_on_behalf: RefusalMemory = field(init=False, repr=False)
    _login_failed: bool = field(default=False, init=False, repr=False)
    _told_of: OrthrosError | None = field(default=None, init=False, repr=False)
    _flights: dict[CacheKey, Flight] = field(factory=dict, init=False, repr=False)
    _queue: list[Flight] = field(factory=list, init=False, repr=False)
    _wake: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _replan: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _no_pause: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _turns: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(_AT_ONCE), init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.watch = ClockWatch(self.session, self.clock, (self.cache, self.on_behalf), self.renewals, self._on_news)
        self._ticket_backoff = Backoff(self.backoff.first_s, self.backoff.most_s)
        self._refused_on_behalf = RefusalMemory(self.refusals.first_s, self.refusals.most_s, MOST_ON_BEHALF)

    async def obtain(self, key: CacheKey, *, timeout_s: float, behalf: Behalf | None = None) -> HeldCredential:
        """A ticket or JWT with life left, from the cache or from the KDC.

        `key.behalf` is the lineage of `behalf`. Raises TicketRefused, TicketUnavailable (after `timeout_s` at the
        latest), or another OrthrosError.
        """
        if key.behalf != (b"" if behalf is None else behalf.lineage):
            raise LocalMisuse("wrong-state", "a question of another lineage than its behalf")
        self.watch.look()
        if self.session.realm.has_stepped and self.pause_s(self.clock.elapsed_s()) <= 0:
            await self.watch.know(timeout_s)
        now = self.clock.elapsed_s()
        held = self.cache_for(key).get(key, now)
        if held is None:
            return await self._ask(key, timeout_s=timeout_s, behalf=behalf)
        if behalf is not None and self.renewals.take(key, now):
            try:
                return await self._ask(key, timeout_s=min(timeout_s, MOST_DOUBT_S), behalf=behalf)
            except OrthrosError as error:
                log.info("no other ticket", target=str(key.target), code=error.code, on_behalf=True)
        return held

    async def _ask(self, key: CacheKey, *, timeout_s: float, behalf: Behalf | None) -> HeldCredential:
        now = self.clock.elapsed_s()
        self.notice_news()
        standing = self.refusals_for(key).recall(key, now) or self._standing_failure(now, timeout_s)
        if standing is not None:
            raise self._with_remaining(key, standing).to_error()
        flight = self.join(key, asked_by_caller=True, behalf=behalf)
        flight.waiting += 1
        try:
            with trio.move_on_after(timeout_s):
                await flight.done.wait()
        finally:
            flight.waiting -= 1
        if isinstance(flight.outcome, HeldCredential):
            return flight.outcome
        failure = flight.outcome or self.last_failure or Failure.unavailable("timeout", f"within {timeout_s:g} s")
        raise self._with_remaining(key, failure).to_error()

    def knows_answer_to(self, key: CacheKey) -> bool:
        """Whether `obtain` would answer without one more question to the KDC."""
        if key in self._flights:
            return True
        now = self.clock.elapsed_s()
        held = self.cache_for(key).peek(key)
        if key.behalf and self.renewals.is_due(key, now):
            return False
        return (held is not None and held.is_servable(now)) or self.refusals_for(key).recall(key, now) is not None

    async def login(self, *, timeout_s: float) -> Login:
        """The daemon's own login, with life left. Raises as `obtain` does."""
        self.notice_news()
        if (standing := self._standing_failure(self.clock.elapsed_s(), timeout_s)) is not None:
            raise standing.to_error()
        with trio.move_on_after(timeout_s):
            try:
                return await self.session.login_with_life_left()
            except OrthrosError as error:
                self._exchange_failed(error)
                raise
        raise Unavailable("timeout", f"within {timeout_s:g} s")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetches and renews until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fetch_what_is_wanted)
            nursery.start_soon(self._renew_ahead)
            nursery.start_soon(self.watch.run)
            task_status.started()

    def early_moment_of(self, key: CacheKey) -> float | None:
        """When the successor of a held ticket is asked for before its planned renewal; None: it is not.

        A moment that is past means that the question is on its way.
        """
        flight = self._flights.get(key)
        return 0.0 if flight is not None and flight.early else self.renewals.moment_of(key)

    def replan(self) -> None:
        """Looks at once at what is to be renewed."""
        self._replan.set()

    def reconsider(self) -> None:
        """Forgets back-off and refusals: something was changed on purpose, so the next attempt may succeed."""
        self.refusals.clear()
        self._refused_on_behalf.clear()
        self.end_backoff()
        self._replan.set()

    async def not_ready_because(self, *, timeout_s: float) -> Failure | None:
        """None when a fresh ticket could be served now. Asks the KDC when the last sealed answer is old."""
        now = self.clock.elapsed_s()
        if self._can_obtain(now) and self.last_success is not None and now - self.last_success < _PROBE_AFTER_S:
            return None
        if self.backoff.wait_s(now) <= 0:
            with trio.move_on_after(timeout_s):
                await self._log_in()
        return None if self._can_obtain(self.clock.elapsed_s()) else self.watch.trouble(self.last_failure)

    def _on_news(self) -> None:
        if self.session.realm.has_stepped:
            self.end_backoff()
        self.changed.set()
        self._replan.set()

    def notice_news(self) -> None:
        # While nothing fails, a new login is taken in passing.
        if self.backoff.failures and self.session.has_news():
            self.reconsider()

    def cache_for(self, key: CacheKey) -> TicketCache:
        return self.on_behalf if key.behalf else self.cache

    def refusals_for(self, key: CacheKey) -> RefusalMemory:
        return self._refused_on_behalf if key.behalf else self.refusals

    def _can_obtain(self, now: float) -> bool:
        login = self.session.login
        is_out = bool(self.session.doubt or self.backoff.failures) or self.pause_s(now) > 0
        return not is_out and login is not None and login.credential.life.end > now

    def pause_s(self, now: float) -> float:
        return max(self.backoff.wait_s(now), self._ticket_backoff.wait_s(now))

    def _standing_failure(self, now: float, timeout_s: float) -> Failure | None:
        # A refusal under seal stands until its back-off has passed; an outage is waited for, if the caller can.
        wait_s = self.pause_s(now)
        if wait_s <= 0 or self.last_failure is None:
            return None
        if self.last_failure.family == Unavailable.family and wait_s < timeout_s:
            return None
        return evolve(self.last_failure, retry_s=ceil(wait_s))

    def _with_remaining(self, key: CacheKey, failure: Failure) -> Failure:
        if key.behalf:  # a ticket in the own name is no help to somebody who was asked to act for another
            return failure
        return evolve(failure, remaining_s=int(self.cache.remaining_for(key.target, self.clock.elapsed_s())))

    def join(
        self, key: CacheKey, *, asked_by_caller: bool, behalf: Behalf | None = None, plan: Planned | None = None
    ) -> Flight:
        """The question about `key` that is on its way, or a new one. `plan` is why, where no caller waits for it."""
        plan = plan or _PLAIN
        flight = self._flights.get(key)
        if flight is None:
            flight = Flight(key, asked_by_caller, behalf, early=plan.early, unless_worse=plan.unless_worse)
            self._flights[key] = flight
            self._queue.append(flight)
            self._wake.set()
        flight.asked_by_caller |= asked_by_caller
        flight.early &= plan.early
        flight.unless_worse &= plan.unless_worse
        return flight

    async def _fetch_what_is_wanted(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._wake.wait()
                await trio.sleep(_LINGER_S)
                while (wait_s := self.pause_s(self.clock.elapsed_s())) > 0:
                    with trio.move_on_after(wait_s):
                        await self._no_pause.wait()
                self._wake = trio.Event()
                wanted, self._queue = self._queue, []
                for batch in batches(wanted):
                    nursery.start_soon(self._fetch_on_behalf if batch[0].key.behalf else self._fetch, batch)

    async def _fetch_on_behalf(self, flights: Sequence[Flight]) -> None:
        """In turn, because there may be any number of callers; and not for those who have stopped waiting meanwhile."""
        async with self._turns:
            waited_for = [flight for flight in flights if flight.waiting]
            for flight in flights:
                if not flight.waiting:
                    self._settle(flight, Failure.unavailable("timeout", "nobody waited any more"), 0)
            if waited_for:
                await self._fetch(waited_for)

    async def _fetch(self, flights: Sequence[Flight]) -> None:
        behalf = flights[0].behalf
        try:
            obtained = await self.session.obtain([flight.key.want() for flight in flights], behalf)
        except OrthrosError as error:
            if behalf is not None and is_about(behalf, error):
                for flight in flights:
                    self._refuse(flight, Failure.of(error))
                return
            self._exchange_failed(error)
            now = self.clock.elapsed_s()
            self._back_off(self._ticket_backoff, error, now)
            retry_at = now + self.pause_s(now)
            for flight in flights:
                self._settle(flight, Failure.of(error), retry_at)
        else:
            self._ticket_backoff.succeeded()
            self._exchange_succeeded()
            self.renewals.learn(obtained.policy_seq, self.clock.elapsed_s())
            for flight, result in zip(flights, obtained.results, strict=True):
                self._take(flight, result, obtained)
            self.changed.set()
        self._replan.set()

    def _take(self, flight: Flight, result: Granted | NotGranted, obtained: Obtained) -> None:
        now = self.clock.elapsed_s()
        if isinstance(result, NotGranted):
            failure = Failure(family=Refused.family, reason=result.reason, retry_s=result.retry_s, ref=result.ref.hex())
            self._refuse(flight, failure)
            return
        held = self.watch.held(flight.key, result, obtained, chance=fraction(self.entropy))
        if flight.key.limits and held.credential.life.end <= now:
            self._refuse(flight, Failure.refused("excluded-by-your-caveat", "the limits asked for have ended already"))
            return
        self.refusals_for(flight.key).forget(flight.key)
        before = self.cache_for(flight.key).peek(flight.key)
        if flight.unless_worse and before is not None and before.is_servable(now) and not held.is_no_worse_than(before):
            self._settle(flight, before, before.renew_at)
            return
        self.cache_for(flight.key).put(held, now, used=flight.asked_by_caller)
        self._settle(flight, held, held.renew_at)

    def _refuse(self, flight: Flight, failure: Failure) -> None:
        now = self.clock.elapsed_s()
        memory = self.refusals_for(flight.key)
        retry_at = memory.remember(flight.key, failure, now, chance=fraction(self.entropy))
        log.info(
            "ticket refused",
            target=str(flight.key.target),
            code=failure.reason.name,
            ref=failure.ref,
            on_behalf=bool(flight.key.behalf),
        )
        self._settle(flight, evolve(failure, retry_s=ceil(retry_at - now)), retry_at)

    def _settle(self, flight: Flight, outcome: HeldCredential | Failure, retry_at: float) -> None:
        self.renewals.landed(flight, outcome, retry_at)
        if isinstance(outcome, Failure) and not flight.early:
            # The held ticket, if any, stays: only its own end takes it away.
            self.cache_for(flight.key).postpone(flight.key, retry_at)
        flight.outcome, flight.behalf = outcome, None
        del self._flights[flight.key]
        flight.done.set()

    def _exchange_failed(self, error: OrthrosError) -> None:
        self._back_off(self.backoff, error, self.clock.elapsed_s())
        self.last_failure = Failure.of(error)
        self.watch.look()
        log.warning("kdc exchange failed", code=error.code, detail=error.detail, failures=self.backoff.failures)

    def _back_off(self, backoff: Backoff, error: OrthrosError, now: float) -> None:
        if backoff.wait_s(now) <= 0:  # several batches that fail together are one failure
            at_least_s, at_most_s = self.watch.pause_bounds_s(error, now)
            backoff.failed(now, chance=fraction(self.entropy), at_least_s=at_least_s, at_most_s=at_most_s)

    def _exchange_succeeded(self) -> None:
        self.watch.look()
        self.backoff.succeeded()
        trouble = self.session.trouble
        if trouble is not None and trouble is not self._told_of:
            self._told_of = trouble
            log.warning("login file not taken", code=trouble.code, detail=trouble.detail)
        if self._login_failed:
            self._ticket_backoff.succeeded()  # the end of an outage: whoever waits for a ticket may have it now
        self._login_failed = False
        self._end_pause()
        if self._ticket_backoff.failures == 0:
            self.last_failure = None
        self.last_success = self.clock.elapsed_s()

    def end_backoff(self) -> None:
        self.backoff.succeeded()
        self._ticket_backoff.succeeded()
        self._end_pause()

    def _end_pause(self) -> None:
        self._no_pause.set()
        self._no_pause = trio.Event()

    async def _log_in(self) -> None:
        try:
            login = await self.session.ensure_login(renew=True)
        except OrthrosError as error:
            self._login_failed = True
            self._exchange_failed(error)
        else:
            self._exchange_succeeded()
            if login.newest_kvno > (held := self.session.kvno):
                log.warning("the key file is outdated", newest_kvno=login.newest_kvno, held_kvno=held)

    async def _renew_ahead(self) -> None:
        while True:
            now = self.clock.elapsed_s()
            if self.backoff.wait_s(now) <= 0:
                # While exchanges fail, the login is also how the end of the outage is noticed.
                if self.session.login_is_due() or self.backoff.failures:
                    await self._log_in()
                for key, plan in self.renewals.take_due(now):
                    if self.cache.peek(key) is not None:
                        self.join(key, asked_by_caller=False, plan=plan)
                for key in self.cache.due(now, idle_after_s=self.idle_after_s):
                    self.cache.postpone(key, now + _RENEWAL_LEASE_S)
                    self.join(key, asked_by_caller=False)
            if not self.session.realm.has_stepped:  # else what seems to have ended may be good
                self.cache.purge(now)
                self.on_behalf.purge(now)
            self.renewals.keep_only(self.cache, self.on_behalf)
            with trio.move_on_after(self._nap_s()):
                await self._replan.wait()
            self._replan = trio.Event()

    def _nap_s(self) -> float:
        now = self.clock.elapsed_s()
        if self.backoff.failures:
            return max(_LINGER_S, self.backoff.wait_s(now))
        moments = [now + _IDLE_NAP_S]
        if self.session.login is not None:
            moments.append(self.session.login.renew_at)
        next_ticket = self.cache.next_due(now, idle_after_s=self.idle_after_s)
        others = (next_ticket, self.renewals.next_moment(), self.watch.next_moment(now))
        moments += [moment for moment in others if moment is not None]
        return max(_LINGER_S, min(moments) - now)
