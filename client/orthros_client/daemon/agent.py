"""The agent: answers local questions from the cache, and asks the KDC once for everybody who waits.

Knows the cache, the session and time; no sockets, no files and no peers. One flight per cache key, what is
wanted at the same moment travels in one batch, and every failure backs off. What is asked on behalf of others keeps to
itself: flights, batches, answers and refusals are per lineage, in a cache of their own that nobody renews or saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

import structlog
import trio
from attrs import define, evolve, field

from orthros_client.backoff import Backoff
from orthros_client.clocks import Clock, Entropy, fraction
from orthros_client.errors import Failure, LocalMisuse, OrthrosError, Refused, Unavailable
from orthros_client.kdc_session import KdcSession, Login, Obtained
from orthros_client.refusal_memory import RefusalMemory
from orthros_client.ticket_cache import CacheKey, Held, TicketCache
from orthros_protocol import Behalf, Granted, KdcRefusal, NotGranted

__all__ = ["Agent"]

log = structlog.get_logger()

MAX_BATCH: Final = 32
# Scopes travel in the request, in the ticket and in the result, limits in the first two: this much of them leaves every
# message below 64 KiB.
_MOST_KEY_BYTES: Final = 16 * 1024
# Long enough for callers that start together to share a batch, short beside any round trip.
_LINGER_S: Final = 0.002
_RENEWAL_LEASE_S: Final = 30.0
# Short enough to notice soon that the machine slept or that its clock was set.
_IDLE_NAP_S: Final = 30.0
_PROBE_AFTER_S: Final = 30.0
MOST_ON_BEHALF: Final = 1024
# Each lineage asks on a connection of its own.
_AT_ONCE_ON_BEHALF: Final = 32
# Whole refusals of a request on behalf of somebody that are about this client or its KDC all the same. Every other one
# is of this caller's evidence: whoever shows bad evidence shall not make the others wait.
_NOT_ABOUT_BEHALF: Final = frozenset(
    {"key-retired", "principal-disabled", "clock-skew", "tgt-expired", "rate-limited", "kdc-fault", "source-refused"}
)


@define(eq=False)
class _Flight:
    key: CacheKey
    asked_by_caller: bool
    behalf: Behalf | None = field(default=None, repr=False)  # only until the flight has landed: it holds a proof
    waiting: int = 0
    done: trio.Event = field(factory=trio.Event, init=False)
    outcome: Held | Failure | None = field(default=None, init=False)


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
    changed: trio.Event = field(factory=trio.Event, init=False)
    last_failure: Failure | None = field(default=None, init=False)
    last_success: float | None = field(default=None, init=False)
    # Tickets pause by a count of their own: where logins work and tickets do not, each login would undo the other.
    _ticket_backoff: Backoff = field(init=False, repr=False)
    _refused_on_behalf: RefusalMemory = field(init=False, repr=False)
    _login_failed: bool = field(default=False, init=False, repr=False)
    _told_of: OrthrosError | None = field(default=None, init=False, repr=False)
    _flights: dict[CacheKey, _Flight] = field(factory=dict, init=False, repr=False)
    _queue: list[_Flight] = field(factory=list, init=False, repr=False)
    _wake: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _replan: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _no_pause: trio.Event = field(factory=trio.Event, init=False, repr=False)
    _turns: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(_AT_ONCE_ON_BEHALF), init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        self._ticket_backoff = Backoff(self.backoff.first_s, self.backoff.most_s)
        self._refused_on_behalf = RefusalMemory(self.refusals.first_s, self.refusals.most_s, MOST_ON_BEHALF)

    async def obtain(self, key: CacheKey, *, timeout_s: float, behalf: Behalf | None = None) -> Held:
        """A ticket or JWT with life left, from the cache or from the KDC.

        `key.behalf` is the lineage of `behalf`. Raises TicketRefused, TicketUnavailable (after `timeout_s` at the
        latest), or another OrthrosError.
        """
        if key.behalf != (b"" if behalf is None else behalf.lineage):
            raise LocalMisuse("wrong-state", "a question of another lineage than its behalf")
        now = self.clock.elapsed_s()
        held = self._cache_for(key).get(key, now)
        if held is not None:
            return held
        self._notice_news()
        standing = self._refusals_for(key).recall(key, now) or self._standing_failure(now, timeout_s)
        if standing is not None:
            raise self._with_remaining(key, standing).to_error()
        flight = self._join(key, asked_by_caller=True, behalf=behalf)
        flight.waiting += 1
        try:
            with trio.move_on_after(timeout_s):
                await flight.done.wait()
        finally:
            flight.waiting -= 1
        if isinstance(flight.outcome, Held):
            return flight.outcome
        failure = flight.outcome or self.last_failure or Failure.unavailable("timeout", f"within {timeout_s:g} s")
        raise self._with_remaining(key, failure).to_error()

    def knows_answer_to(self, key: CacheKey) -> bool:
        """Whether `obtain` would answer without one more question to the KDC."""
        if key in self._flights:
            return True
        now = self.clock.elapsed_s()
        held = self._cache_for(key).peek(key)
        return (held is not None and held.is_servable(now)) or self._refusals_for(key).recall(key, now) is not None

    async def login(self, *, timeout_s: float) -> Login:
        """The daemon's own login, with life left. Raises as `obtain` does."""
        self._notice_news()
        standing = self._standing_failure(self.clock.elapsed_s(), timeout_s)
        if standing is not None:
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
            task_status.started()

    def reconsider(self) -> None:
        """Forgets back-off and refusals: something was changed on purpose, so the next attempt may succeed."""
        self.refusals.clear()
        self._refused_on_behalf.clear()
        self.backoff.succeeded()
        self._ticket_backoff.succeeded()
        self._end_pause()
        self._replan.set()

    async def not_ready_because(self, *, timeout_s: float) -> Failure | None:
        """None when a fresh ticket could be served now. Asks the KDC when the last sealed answer is old."""
        now = self.clock.elapsed_s()
        if self._can_obtain(now) and self.last_success is not None and now - self.last_success < _PROBE_AFTER_S:
            return None
        if self.backoff.wait_s(now) <= 0:
            with trio.move_on_after(timeout_s):
                await self._log_in()
        if self._can_obtain(self.clock.elapsed_s()):
            return None
        return self.last_failure or Failure.unavailable("kdc-unreachable", "no KDC has answered yet")

    def _notice_news(self) -> None:
        # While nothing fails, a new login is taken in passing.
        if self.backoff.failures and self.session.has_news():
            self.reconsider()

    def _cache_for(self, key: CacheKey) -> TicketCache:
        return self.on_behalf if key.behalf else self.cache

    def _refusals_for(self, key: CacheKey) -> RefusalMemory:
        return self._refused_on_behalf if key.behalf else self.refusals

    def _can_obtain(self, now: float) -> bool:
        login = self.session.login
        return self.backoff.failures == 0 and self._pause_s(now) <= 0 and login is not None and login.expires > now

    def _pause_s(self, now: float) -> float:
        return max(self.backoff.wait_s(now), self._ticket_backoff.wait_s(now))

    def _standing_failure(self, now: float, timeout_s: float) -> Failure | None:
        # A refusal under seal stands until its back-off has passed; an outage is waited for, if the caller can.
        wait_s = self._pause_s(now)
        if wait_s <= 0 or self.last_failure is None:
            return None
        if self.last_failure.family == Unavailable.family and wait_s < timeout_s:
            return None
        return evolve(self.last_failure, retry_s=ceil(wait_s))

    def _with_remaining(self, key: CacheKey, failure: Failure) -> Failure:
        if key.behalf:  # a ticket in the own name is no help to somebody who was asked to act for another
            return failure
        return evolve(failure, remaining_s=int(self.cache.remaining_for(key.target, self.clock.elapsed_s())))

    def _join(self, key: CacheKey, *, asked_by_caller: bool, behalf: Behalf | None = None) -> _Flight:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(key, asked_by_caller, behalf)
            self._queue.append(flight)
            self._wake.set()
        flight.asked_by_caller |= asked_by_caller
        return flight

    async def _fetch_what_is_wanted(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._wake.wait()
                await trio.sleep(_LINGER_S)
                while (wait_s := self._pause_s(self.clock.elapsed_s())) > 0:
                    with trio.move_on_after(wait_s):
                        await self._no_pause.wait()
                self._wake = trio.Event()
                wanted, self._queue = self._queue, []
                for batch in _batches(wanted):
                    nursery.start_soon(self._fetch_on_behalf if batch[0].key.behalf else self._fetch, batch)

    async def _fetch_on_behalf(self, flights: Sequence[_Flight]) -> None:
        """In turn, because there may be any number of callers; and not for those who have stopped waiting meanwhile."""
        async with self._turns:
            waited_for = [flight for flight in flights if flight.waiting]
            for flight in flights:
                if not flight.waiting:
                    self._settle(flight, Failure.unavailable("timeout", "nobody waited any more"), 0)
            if waited_for:
                await self._fetch(waited_for)

    async def _fetch(self, flights: Sequence[_Flight]) -> None:
        behalf = flights[0].behalf
        try:
            obtained = await self.session.obtain([flight.key.want() for flight in flights], behalf)
        except OrthrosError as error:
            if behalf is not None and _is_about(behalf, error):
                for flight in flights:
                    self._refuse(flight, Failure.of(error))
                return
            self._exchange_failed(error)
            now = self.clock.elapsed_s()
            if self._ticket_backoff.wait_s(now) <= 0:
                self._ticket_backoff.failed(now, chance=fraction(self.entropy))
            retry_at = now + self._pause_s(now)
            for flight in flights:
                self._settle(flight, Failure.of(error), retry_at)
        else:
            self._ticket_backoff.succeeded()
            self._exchange_succeeded()
            for flight, result in zip(flights, obtained.results, strict=True):
                self._take(flight, result, obtained)
            self.changed.set()
        self._replan.set()

    def _take(self, flight: _Flight, result: Granted | NotGranted, obtained: Obtained) -> None:
        now = self.clock.elapsed_s()
        if isinstance(result, NotGranted):
            failure = Failure(family=Refused.family, reason=result.reason, retry_s=result.retry_s, ref=result.ref.hex())
            self._refuse(flight, failure)
            return
        ahead_s = self.session.realm_now() / 1000 - now
        chance = fraction(self.entropy)
        held = Held.of(flight.key, result, obtained.asked_at, ahead_s=ahead_s, chance=chance)
        if flight.key.limits and held.expires <= now:
            self._refuse(flight, Failure.refused("excluded-by-your-caveat", "the limits asked for have ended already"))
            return
        self._refusals_for(flight.key).forget(flight.key)
        self._cache_for(flight.key).put(held, now, used=flight.asked_by_caller)
        self._settle(flight, held, held.renew_at)

    def _refuse(self, flight: _Flight, failure: Failure) -> None:
        now = self.clock.elapsed_s()
        memory = self._refusals_for(flight.key)
        retry_at = memory.remember(flight.key, failure, now, chance=fraction(self.entropy))
        log.info(
            "ticket refused",
            target=str(flight.key.target),
            code=failure.reason.name,
            ref=failure.ref,
            on_behalf=bool(flight.key.behalf),
        )
        self._settle(flight, evolve(failure, retry_s=ceil(retry_at - now)), retry_at)

    def _settle(self, flight: _Flight, outcome: Held | Failure, retry_at: float) -> None:
        if isinstance(outcome, Failure):
            # The held ticket, if any, stays: only its own end takes it away.
            self._cache_for(flight.key).postpone(flight.key, retry_at)
        flight.outcome, flight.behalf = outcome, None
        del self._flights[flight.key]
        flight.done.set()

    def _exchange_failed(self, error: OrthrosError) -> None:
        failure = Failure.of(error)
        now = self.clock.elapsed_s()
        if self.backoff.wait_s(now) <= 0:  # several batches that fail together are one failure
            self.backoff.failed(now, chance=fraction(self.entropy), at_least_s=failure.retry_s)
        self.last_failure = failure
        log.warning("kdc exchange failed", code=error.code, detail=error.detail, failures=self.backoff.failures)

    def _exchange_succeeded(self) -> None:
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
            held = self.session.kvno
            if login.newest_kvno > held:
                log.warning("the key file is outdated", newest_kvno=login.newest_kvno, held_kvno=held)

    async def _renew_ahead(self) -> None:
        while True:
            now = self.clock.elapsed_s()
            if self.backoff.wait_s(now) <= 0:
                # While exchanges fail, the login is also how the end of the outage is noticed.
                if self.session.login_is_due() or self.backoff.failures:
                    await self._log_in()
                for key in self.cache.due(now, idle_after_s=self.idle_after_s):
                    self.cache.postpone(key, now + _RENEWAL_LEASE_S)
                    self._join(key, asked_by_caller=False)
            self.cache.purge(now)
            self.on_behalf.purge(now)
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
        if next_ticket is not None:
            moments.append(next_ticket)
        return max(_LINGER_S, min(moments) - now)


def _is_about(behalf: Behalf, error: OrthrosError) -> bool:
    """Also a refusal without a seal: the KDC speaks so of evidence that it cannot open."""
    if isinstance(error, KdcRefusal):
        return error.code not in _NOT_ABOUT_BEHALF
    return behalf.evidence is not None and error.code == "unauthenticated-refusal"


def _batches(flights: Sequence[_Flight]) -> Iterator[list[_Flight]]:
    """What may travel together: a request is on one behalf as a whole."""
    by_behalf: dict[bytes, list[_Flight]] = {}
    for flight in flights:
        by_behalf.setdefault(flight.key.behalf, []).append(flight)
    for group in by_behalf.values():
        yield from _sized(group)


def _sized(flights: Sequence[_Flight]) -> Iterator[list[_Flight]]:
    batch: list[_Flight] = []
    size = 0
    for flight in flights:
        if batch and (len(batch) == MAX_BATCH or size + flight.key.size > _MOST_KEY_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(flight)
        size += flight.key.size
    if batch:
        yield batch
