"""Successors of held tickets before their time: for a reported refusal, for an operator, after a restart.

Asks the agent, and never takes a ticket away before its successor is here, unless told to forget it. Knows no peers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio
from attrs import frozen

from orthros_client.daemon.agent import MOST_DOUBT_S, Agent
from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential
from orthros_client.daemon.tickets.renewals import REPORT_INTERVAL_S
from orthros_client.errors import Failure

__all__ = ["Refreshing"]


@frozen
class Refreshing:
    """The early renewals of one agent. Times in seconds."""

    agent: Agent

    async def after_report(self, key: CacheKey, *, unless_worse: bool) -> HeldCredential | Failure | float:
        """Asks for the successor of a ticket that its target refused, by the rule of `Renewals.report`.

        The answer is the ticket that is held now, why there is no other, or the seconds until it is asked for. Waits 2
        s at most. A ticket on behalf of somebody is asked for with their next question.
        """
        agent = self.agent
        now = agent.clock.elapsed_s()
        plan = agent.renewals.report(key, now, unless_worse=unless_worse)
        if plan is None:
            return REPORT_INTERVAL_S
        if plan.at > now or key.behalf:
            agent.replan()
            return max(0.0, plan.at - now)
        agent.renewals.drop(key)
        flight = agent.join(key, asked_by_caller=False, plan=plan)
        if agent.pause_s(now) <= 0:
            with trio.move_on_after(MOST_DOUBT_S):
                await flight.done.wait()
        return flight.outcome or agent.last_failure or 0.0

    async def now(self, keys: Sequence[CacheKey], *, timeout_s: float) -> list[HeldCredential | Failure]:
        """Asks for successors of held tickets in the own name, whatever they allow; in the order of `keys`."""
        agent = self.agent
        for key in keys:
            agent.refusals.forget(key)
        agent.notice_news()
        flights = [agent.join(key, asked_by_caller=True) for key in keys]
        with trio.move_on_after(timeout_s):
            for flight in flights:
                await flight.done.wait()
        late = agent.last_failure or Failure.unavailable("timeout", f"within {timeout_s:g} s")
        return [flight.outcome or late for flight in flights]

    def all_in_background(self) -> None:
        """Asks for successors of everything in the own name; what is at hand serves meanwhile."""
        agent = self.agent
        now = agent.clock.elapsed_s()
        agent.renewals.plan([held.key for held in reversed(list(agent.cache.entries(now)))], now)
        agent.replan()

    def revive(self, tickets: Iterable[HeldCredential], policy_seq: int) -> None:
        """Takes over what a cache file held, the least used first; see `Renewals.revive`. All of it serves."""
        agent = self.agent
        now = agent.clock.elapsed_s()
        for held in tickets:
            agent.cache.put(held, now)
        kept = [(held.key, held.policy_seq) for held in reversed(list(agent.cache.entries(now)))]
        agent.renewals.revive(kept, policy_seq, now)
        agent.revived = frozenset([key for key, _policy_seq in kept])
        agent.replan()

    def forget(self, key: CacheKey) -> None:
        """Drops what is held for `key`, from memory and, a moment later, from the cache file."""
        agent = self.agent
        agent.cache_for(key).drop(key)
        agent.refusals_for(key).forget(key)
        agent.renewals.drop(key)
        agent.changed.set()
