"""Which held tickets are asked for again before their planned renewal, and when.

A ticket says what the rules were when it was issued. Three things make the daemon doubt that: a caller reports that its
target refused it, an operator asks, or a reply says that policy has changed since a cache file was written. What is
doubted serves until its successor is here; only the KDC is asked sooner than it would be.

Reports come from local processes, and any number of calls can be refused for the same cause. So the KDC is asked at
most once per target and interval because of them, in one request for all tickets that were reported meanwhile. A
report within the interval is not lost: its ticket is asked for when the interval ends. Rejected: to count per ticket,
since one user can hold many tickets for one target.

Pure: moments are monotonic seconds. Knows no KDC and no caller.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from attrs import define, field, frozen

from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential, TicketCache
from orthros_client.daemon.tickets.flights import MAX_BATCH, Flight
from orthros_client.errors import Failure, Unavailable
from orthros_protocol.primitives.names import Principal

__all__ = ["REPORT_INTERVAL_S", "Planned", "Renewals"]

REPORT_INTERVAL_S: Final = 10.0
# Thousands of tickets shall not reach the KDC at one moment; one request of 32 each half second is no load.
_BATCH_INTERVAL_S: Final = 0.5


@frozen
class Planned:
    """When a ticket is asked for again. `unless_worse`: the answer replaces it only if it is no worse; `early` is a
    plan that a report has made."""

    at: float
    unless_worse: bool = False
    early: bool = False


@define(eq=False)
class Renewals:
    """The plans of one daemon: at most one for each cached ticket.

    `policy_seq` is the highest number of a policy that a reply has carried; it grows with every change of the realm.
    """

    policy_seq: int = field(default=0, init=False)
    # From the cache file, with the number of their policy, and not compared yet with a reply of this process.
    _revived: dict[CacheKey, int] = field(factory=dict, init=False)
    _plans: dict[CacheKey, Planned] = field(factory=dict, init=False)
    _asked: OrderedDict[Principal, float] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._plans)

    def report(self, key: CacheKey, now: float, *, unless_worse: bool) -> Planned | None:
        """Plans the successor of a ticket that its target refused: now, or when the interval of that target is over.

        None: the request of that moment is full. Report again later.
        """
        known = self._plans.get(key)
        if known is not None and known.early:
            if known.unless_worse and not unless_worse:  # any successor is better than what is refused as a whole
                known = self._plans[key] = Planned(known.at, early=True)
            return known
        at = self._next_for(key.target, now)
        if known is not None:  # a plan for all tickets, which takes a while
            at, unless_worse = min(at, known.at), False
        if sum(plan.early and one.target == key.target for one, plan in self._plans.items()) >= MAX_BATCH:
            return None
        self._asked[key.target] = at
        self._asked.move_to_end(key.target)
        plan = self._plans[key] = Planned(at, unless_worse, early=True)
        return plan

    def plan(self, keys: Iterable[CacheKey], now: float) -> None:
        """Plans successors for all of `keys`, whatever they allow: 32 at once, the others half a second later each."""
        for number, key in enumerate(keys):
            self._plans[key] = Planned(now + number // MAX_BATCH * _BATCH_INTERVAL_S)

    def revive(self, tickets: Iterable[tuple[CacheKey, int]], policy_seq: int, now: float) -> None:
        """Plans for what a cache file held, the last used first, with the numbers of their policies.

        What was issued under an older policy than `policy_seq`, which the writer of the file had heard of, is asked for
        again. So is the last used ticket: its reply says whether policy has changed since, and then the others follow.
        """
        self._revived = dict(tickets)
        newest = next(iter(self._revived), None)
        self.learn(policy_seq, now)
        if newest is not None and newest not in self._plans:
            self.plan([newest], now)

    def learn(self, policy_seq: int, now: float) -> None:
        """Takes note of the policy of a reply, and plans successors for what came from the cache file and is older."""
        self.policy_seq = max(self.policy_seq, policy_seq)
        if self._revived:
            older = [key for key, seq in self._revived.items() if seq < self.policy_seq]
            self.plan(older, now)
            self._revived = {key: seq for key, seq in self._revived.items() if seq >= self.policy_seq}

    def take_due(self, now: float) -> list[tuple[CacheKey, Planned]]:
        """The plans whose moment has come, in the own name: they are taken off the list."""
        due = [(key, plan) for key, plan in self._plans.items() if plan.at <= now and not key.behalf]
        for key, _plan in due:
            del self._plans[key]
        return due

    def take(self, key: CacheKey, now: float) -> bool:
        """Whether `key` is due; takes it off the list. What is on behalf of others is asked for with their next
        question, because it takes their evidence."""
        if not self.is_due(key, now):
            return False
        del self._plans[key]
        return True

    def is_due(self, key: CacheKey, now: float) -> bool:
        """Whether the moment of `key` has come."""
        plan = self._plans.get(key) if self._plans else None
        return plan is not None and plan.at <= now

    def moment_of(self, key: CacheKey) -> float | None:
        """When `key` is asked for again, None without a plan."""
        plan = self._plans.get(key) if self._plans else None
        return None if plan is None else plan.at

    def next_moment(self) -> float | None:
        """The earliest moment of a plan in the own name, or None."""
        return min((plan.at for key, plan in self._plans.items() if not key.behalf), default=None)

    def landed(self, flight: Flight, outcome: HeldCredential | Failure, retry_at: float) -> None:
        """The KDC has answered, or nobody did. What was reported is asked for again after an outage, and when the time
        is in doubt, but not after another refusal: that says what the rules are."""
        self.drop(flight.key)
        if flight.early and isinstance(outcome, Failure) and _passes(outcome):
            at = max(retry_at, self._asked.get(flight.key.target, retry_at) + REPORT_INTERVAL_S)
            self._asked[flight.key.target] = at
            self._plans[flight.key] = Planned(at, flight.unless_worse, early=True)

    def drop(self, key: CacheKey) -> None:
        """Forgets the plan of a ticket that is not held any more, or that has a successor."""
        self._plans.pop(key, None)
        self._revived.pop(key, None)

    def keep_only(self, *caches: TicketCache) -> None:
        """Forgets the plans of all tickets that none of `caches` holds any more."""
        for key in [key for key in (*self._plans, *self._revived) if all(one.peek(key) is None for one in caches)]:
            self.drop(key)

    def _next_for(self, target: Principal, now: float) -> float:
        while self._asked and next(iter(self._asked.values())) <= now - REPORT_INTERVAL_S:
            self._asked.popitem(last=False)
        last = self._asked.get(target)
        if last is None or last <= now - REPORT_INTERVAL_S:
            return now
        return last if last >= now else last + REPORT_INTERVAL_S


def _passes(failure: Failure) -> bool:
    return failure.family == Unavailable.family or failure.reason.name == "clock-skew"
