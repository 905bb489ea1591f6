"""The tickets held for local callers: a bounded LRU with remaining lives and planned renewals.

Pure: moments are monotonic seconds and chance is an argument. Knows no KDC, no disk and no caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from math import ceil
from typing import Final

from attrs import define, evolve, field, frozen

from orthros_client.credentials.narrowing import left_by
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.credential import Credential
from orthros_runtime.bounded import BoundedMap

__all__ = ["CacheKey", "HeldCredential", "TicketCache", "plan_renewal"]

RENEW_FROM: Final = 0.70
RENEW_TO: Final = 0.85
# Serving a ticket that dies on its way helps nobody; short ones keep most of their life.
_MARGIN_S: Final = 5.0
_MARGIN_SHARE: Final = 0.1
_WARM_LIVES: Final = 2
# By how much the clocks of two KDCs may differ, each of which is kept in time.
_AHEAD_S: Final = 5.0


def plan_renewal(obtained: float, ttl_s: float, *, chance: float) -> float:
    """When to fetch the successor: at 70 to 85 % of the life, spread by `chance` in [0, 1)."""
    return obtained + ttl_s * (RENEW_FROM + (RENEW_TO - RENEW_FROM) * chance)


@frozen(kw_only=True)
class CacheKey:
    """Everything that was asked for: two questions share an answer only when they are the same.

    `scopes` None means what the rules allow unasked, which differs from every list. `behalf` is the lineage of whom the
    ticket was obtained for (`Behalf.lineage`), empty in the own name. `limits` is the `caveats` field that the KDC
    writes into it.
    """

    kind: int
    target: Principal
    scopes: tuple[str, ...] | None = None
    ttl_s: int = 0
    flags: int = 0
    behalf: bytes = b""
    limits: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """Bytes of what has no small bound in it: scopes and limits."""
        return sum(map(len, self.scopes or ())) + len(self.limits)

    def want(self) -> Want:
        """The same, as an item of a TGS request."""
        return Want(
            kind=self.kind,
            target=self.target,
            scopes=self.scopes,
            ttl_s=self.ttl_s,
            flags=self.flags,
            limits=self.limits,
        )


@frozen(kw_only=True)
class HeldCredential:
    """The answer to one question: a ticket or JWT in the cache.

    Its life is known by both clocks, and by the realm's as the second that stands in it, by the clock of the KDC that
    issued it. `renew_at` is in monotonic seconds, `policy_seq` the number of the policy that it was issued under.
    """

    key: CacheKey
    credential: Credential
    renew_at: float
    policy_seq: int = 0
    name: bytes = field(init=False)
    """SHA-256 of the ticket or JWT: what a local process calls it by. Its tid is sealed, for its target alone."""

    @classmethod
    def of(
        cls, key: CacheKey, granted: Credential, asked_at: float, *, chance: float, policy_seq: int
    ) -> HeldCredential:
        """What was granted at `asked_at`, with what the limits of the question leave of it."""
        whole = granted.life
        scopes, second = left_by(key.limits, granted.scopes)
        life = whole
        if second is not None:
            life = whole.no_later(boot_end=second - whole.ahead_s, realm_end=second)
        # A successor needs evidence, which is not kept; and where a limit ends the ticket, it would end no later.
        ends_for_good = bool(key.behalf) or life.boot_end < whole.boot_end
        if life.boot_end < whole.boot_end:
            life = evolve(life, whole_s=max(0, ceil(life.boot_end - asked_at)))
        shift = life.end - life.boot_end
        planned = life.boot_end if ends_for_good else plan_renewal(asked_at, whole.whole_s, chance=chance)
        return cls(
            key=key,
            credential=evolve(granted, scopes=scopes, life=life),
            renew_at=planned + shift,
            policy_seq=policy_seq,
        )

    def __attrs_post_init__(self) -> None:
        # Once per ticket, not once per caller.
        object.__setattr__(self, "name", digest(self.credential.ticket))

    def seen(self, ahead_s: float) -> HeldCredential:
        """The same when the realm's Unix time is `ahead_s` ahead of the monotonic clock: ends and renewal move."""
        before = self.credential.life
        if before.ahead_s == ahead_s:
            return self
        life = before.seen(ahead_s)
        credential = evolve(self.credential, life=life)
        return evolve(self, credential=credential, renew_at=self.renew_at + life.end - before.end)

    def is_from_future(self, realm_s: float) -> bool:
        """Whether it was issued by a clock that was ahead of the realm's, which shows `realm_s`: targets refuse it."""
        life = self.credential.life
        return realm_s + _AHEAD_S < life.realm_end - life.whole_s < math.inf

    def is_servable(self, now: float) -> bool:
        """Whether enough life is left to reach the target with it."""
        life = self.credential.life
        return life.end - now > min(_MARGIN_S, life.whole_s * _MARGIN_SHARE)

    def is_no_worse_than(self, other: HeldCredential) -> bool:
        """Whether it allows something that `other` does not, or the same for at least as long."""
        mine, its = self.credential, other.credential
        if set(mine.scopes) - set(its.scopes) or mine.flags & ~its.flags or mine.target_uid != its.target_uid:
            return True
        return set(mine.scopes) == set(its.scopes) and mine.life.end >= its.life.end


@define
class _Slot:
    held: HeldCredential
    last_used: float


class TicketCache:
    """At most `capacity` entries; the expired go first, then the least recently used."""

    def __init__(self, capacity: int = 4096) -> None:
        self.capacity = capacity
        self._slots = BoundedMap[CacheKey, _Slot](capacity)

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, key: CacheKey, now: float) -> HeldCredential | None:
        """The entry, if it can still be served; marks it as used."""
        slot = self._slots.get(key)
        if slot is None or not slot.held.is_servable(now):
            return None
        slot.last_used = now
        self._slots.move_to_end(key)
        return slot.held

    def peek(self, key: CacheKey) -> HeldCredential | None:
        """The entry, which may be at its end; not a use of it."""
        slot = self._slots.get(key)
        return None if slot is None else slot.held

    def put(self, held: HeldCredential, now: float, *, used: bool = True) -> None:
        """Inserts or replaces. A renewal nobody asked for (`used` False) does not count as use."""
        before = self._slots.get(held.key)
        if before is None and len(self._slots) >= self.capacity:
            self.purge(now)
        last_used = now if used or before is None else before.last_used
        self._slots[held.key] = _Slot(held, last_used)
        if used:
            self._slots.move_to_end(held.key)

    def postpone(self, key: CacheKey, until: float) -> None:
        """Plans the next renewal attempt of an entry whose renewal failed."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.held = evolve(slot.held, renew_at=until)

    def drop(self, key: CacheKey) -> HeldCredential | None:
        """Takes an entry away; returns it."""
        slot = self._slots.pop(key, None)
        return None if slot is None else slot.held

    def look(self, ahead_s: float) -> list[HeldCredential]:
        """Looks at all of them when the realm's Unix time is `ahead_s` ahead of the monotonic clock; returns all."""
        for slot in self._slots.values():
            slot.held = slot.held.seen(ahead_s)
        return [slot.held for slot in self._slots.values()]

    def purge(self, now: float) -> int:
        """Drops what can no longer be served; returns how many."""
        dead = [key for key, slot in self._slots.items() if not slot.held.is_servable(now)]
        for key in dead:
            del self._slots[key]
        return len(dead)

    def due(self, now: float, *, idle_after_s: float) -> list[CacheKey]:
        """The entries to renew now: planned for, alive, and used within `idle_after_s` and two of their lives."""
        return [
            key
            for key, slot in self._slots.items()
            if slot.held.renew_at <= now and self._is_warm(slot, now, idle_after_s)
        ]

    def next_due(self, now: float, *, idle_after_s: float) -> float | None:
        """The earliest planned renewal among entries in use, or None."""
        moments = [slot.held.renew_at for slot in self._slots.values() if self._is_warm(slot, now, idle_after_s)]
        return min(moments, default=None)

    def remaining_for(self, target: Principal, now: float) -> float:
        """The longest life left among entries for `target`, whatever was asked; 0 for none."""
        lives = [held.credential.life for held in self.entries(now) if held.key.target == target]
        return max([life.left_s(now) for life in lives], default=0.0)

    def entries(self, now: float) -> Iterator[HeldCredential]:
        """Everything that can be served, least recently used first."""
        return iter([slot.held for slot in self._slots.values() if slot.held.is_servable(now)])

    def _is_warm(self, slot: _Slot, now: float, idle_after_s: float) -> bool:
        # Whoever asked once for a ticket of a second shall not have it renewed every second for hours.
        idle_after_s = min(idle_after_s, _WARM_LIVES * slot.held.credential.life.whole_s)
        return slot.held.is_servable(now) and now - slot.last_used < idle_after_s
