"""What a request knows of the realm: facts of one moment, gathered in one go.

A request must not put together what was never true together: a rule of before it was removed, and a principal of after
it was enabled. So it says what it needs as a function that only looks, and is run again from its beginning, under the
snapshot that is in force then, each time that a principal it asks for has to be read first. What it returns is of one
moment; a change of the realm after that is another moment.

Rows are read in threads, once for all who wait for the same one; policy is never read here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio
from attrs import define, field, frozen

from orthros_kdc.audit.chain import Head
from orthros_kdc.realm.known_kids import KnownKids
from orthros_kdc.realm.loader import RealmLoader
from orthros_kdc.realm.principal_cache import PrincipalCache
from orthros_kdc.realm.principals import (
    ClientView,
    Key,
    KnownPrincipal,
    LoginView,
    OAuthClientView,
    TargetView,
    rows_of,
)
from orthros_kdc.realm.snapshot import RealmFacts, RealmStep, Unrecorded
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.base import PrincipalRecord, Store

__all__ = ["RealmMoment", "RealmView"]

T = TypeVar("T")

_CAPACITY: Final = 16_384


class _NotAtHand(Exception):  # no error: control flow between `RealmMoment` and `settled`
    def __init__(self, key: Key) -> None:
        self.key = key


@frozen(eq=False)
class RealmMoment:
    """The realm at one moment, for a function that only looks. An unknown principal is None.

    Use it before the function returns, and let its exceptions pass.
    """

    facts: RealmFacts
    """Realm record, keys and policy."""
    _kids: KnownKids
    _at_hand: PrincipalCache
    _nobody: dict[Key, int]

    def login(self, kid: bytes) -> LoginView | None:
        """Whose login key `kid` names. Nothing is read for an id that no key has."""
        if kid not in self._kids:
            return None
        known = self._known(("kid", kid))
        return None if known is None else known.login(kid)

    def client(self, uid: int) -> ClientView | None:
        """The client with this uid."""
        known = self._known(("uid", uid))
        return None if known is None else known.client

    def principal(self, name: str) -> PrincipalRecord | None:
        """The principal of this name."""
        known = self._known(("name", name))
        return None if known is None else known.principal

    def target(self, name: str) -> TargetView | None:
        """The target of this name. Only asked for where a rule exists: policy comes before existence."""
        known = self._known(("name", name))
        return None if known is None else known.target

    def oauth_client(self, name: str) -> OAuthClientView | None:
        """The principal of this name as an OAuth client."""
        known = self._known(("name", name))
        return None if known is None else known.oauth_client

    def jwt_holder(self, kid: str) -> TargetView | None:
        """The one target whose live JWT key `kid` names."""
        known = self._known(("jwt", kid))
        return None if known is None else known.target

    def target_name(self, audience: str) -> str | None:
        """The name of the one target with this `aud`. Says nothing of what it may receive."""
        known = self._known(("audience", audience))
        return None if known is None else known.principal.name

    def _known(self, key: Key) -> KnownPrincipal | None:
        known = self._at_hand.get(key)
        if known is None and (key not in self._nobody or self._at_hand.has_changed(key, self._nobody[key])):
            raise _NotAtHand(key)
        return known


@define(eq=False)
class _Read:
    """A read under way; `nobody_at` is the change after which there was no principal of this key."""

    done: trio.Event = field(factory=trio.Event)
    nobody_at: int | None = None


class RealmView:
    """The realm in `store`. `loader.serve` has to run, or `loader.look` to be called, beside `settled`."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        *,
        capacity: int = _CAPACITY,
        applied: Callable[[RealmFacts], None] = lambda _: None,
        unrecorded: Callable[[Unrecorded], None] = lambda _: None,
    ) -> None:
        """`applied` is called with each realm before the first decision by it, and `unrecorded` with what has changed
        in it without an entry of administration's record; when either raises, there is no such decision."""
        self._store = store
        self._vault = vault
        self._at_hand = PrincipalCache(capacity)
        self._reads: dict[Key, _Read] = {}
        self._applied = applied
        self._unrecorded = unrecorded
        self._changed_by: Head | None = None
        self.loader = RealmLoader(store, vault, self._take)

    async def settled(self, gather: Callable[[RealmMoment], T]) -> T:
        """What `gather` finds, all of one moment. It may run several times, so it must change nothing.

        Raises what it raises, and Misconfigured or Unavailable when the realm cannot be read.
        """
        if not self.loader.is_fresh:
            await self.loader.confirmed()
        nobody: dict[Key, int] = {}
        try:
            now = self.loader.snapshot
            return gather(RealmMoment(now.facts, now.kids, self._at_hand, nobody))
        except _NotAtHand as first:
            missing = first.key
        with self._at_hand.reading():
            while True:
                await self._fetch(missing, nobody)
                try:
                    now = self.loader.snapshot
                    return gather(RealmMoment(now.facts, now.kids, self._at_hand, nobody))
                except _NotAtHand as another:
                    missing = another.key

    def _take(self, step: RealmStep) -> None:
        facts = step.snapshot.facts
        for one in step.unrecorded:
            self._unrecorded(one)
        if facts.changed_by != self._changed_by:
            self._applied(facts)
            self._changed_by = facts.changed_by
        self._at_hand.follow(step)

    def is_at_hand(self, name: str) -> bool:
        """Whether `settled` finds the principal of this name without a read."""
        return self._at_hand.get(("name", name)) is not None

    async def _fetch(self, key: Key, nobody: dict[Key, int]) -> None:
        """Has `key` at hand or in `nobody`, unless it has changed meanwhile: the request that needs it asks again."""
        read = self._reads.get(key)
        if read is not None:
            await read.done.wait()
        else:
            read = self._reads[key] = _Read()
            try:
                seq, rows = await self._store.read(lambda tx: (tx.head().seq, rows_of(tx, key)))
                await self.loader.reached(seq)
                # From here to the next look of `gather` nothing waits, so nothing changes.
                if rows is None:
                    read.nobody_at = seq
                else:
                    self._at_hand.put(key, KnownPrincipal(rows, self._vault), seq)
            finally:
                del self._reads[key]
                read.done.set()
        if read.nobody_at is not None:
            nobody[key] = read.nobody_at
