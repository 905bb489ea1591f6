"""What the token service must look up: clients, targets, and tokens that come back.

Gathers only; decides nothing and records nothing. The store is asked in the same way whatever there is to find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from attrs import frozen

from orthros_kdc.issuing.jwt_export import open_own_token, peek_unverified_kid
from orthros_kdc.issuing.token_claims import OwnToken
from orthros_kdc.oauth.client_authentication import SingleUse, client_name
from orthros_kdc.oauth.errors import OAuthError
from orthros_kdc.oauth.introspection import TokenStanding
from orthros_kdc.oauth.issuance import TargetRules
from orthros_kdc.oauth.request_parameters import TargetWish
from orthros_kdc.realm.principals import OAuthClientView, TargetView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.view import RealmMoment, RealmView
from orthros_kdc.store.base import REMEMBER_ASSERTION, REMEMBER_REVOKED, Store
from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp, seconds_of

__all__ = ["Pair", "TokenFacts"]

T = TypeVar("T")

_NOBODY: Final = ""


@frozen(eq=False)
class Pair:
    """What deciding takes, all of one moment; `client` is None when it is there no more."""

    realm: RealmFacts
    client: OAuthClientView | None
    facts: TargetRules


class TokenFacts:
    """Reads through the realm's view, and remembers what must not come again.

    `for_forgetting` turns the KDC's time into the one by which what is remembered has ended.
    """

    def __init__(self, view: RealmView, store: Store, for_forgetting: Callable[[Timestamp], Timestamp]) -> None:
        self._view = view
        self._store = store
        self._for_forgetting = for_forgetting

    async def realm(self) -> RealmFacts:
        """Realm record, keys and policy as of now."""
        return await self._view.settled(lambda moment: moment.facts)

    async def client(self, client_id: str, realm: RealmFacts) -> OAuthClientView | None:
        """The client that `client_id` means, enabled or not; None when there is none."""
        name = client_name(client_id, realm.record.realm)
        return None if name is None else await self._named(name)

    async def _named(self, name: str) -> OAuthClientView | None:
        return await self._view.settled(lambda moment: moment.oauth_client(name))

    async def judged(
        self, client_id: str, realm: RealmFacts, judge: Callable[[OAuthClientView | None], T]
    ) -> tuple[OAuthClientView | None, T]:
        """Whom `client_id` means, and what `judge` says of it. Raises the OAuthError of `judge`.

        A refusal has cost the store the same whoever was meant, also when he is remembered: else those who are
        there would be refused faster than those who are not.
        """
        name = client_name(client_id, realm.record.realm)
        was_at_hand = name is not None and self._view.is_at_hand(name)
        client = None if name is None else await self._named(name)
        try:
            return client, judge(client)
        except OAuthError:
            if was_at_hand:
                await self._named(_NOBODY)
            raise

    async def pair(self, wish: TargetWish, client: str) -> Pair:
        """The rules between `client` and the target, and the target only if there are any."""

        def gather(moment: RealmMoment) -> Pair:
            name = wish.name
            if wish.resource is not None:
                found = moment.target_name(wish.resource) or _NOBODY
                name = found if name in (None, found) else _NOBODY
            name = name or _NOBODY
            rules = moment.facts.policy.rules_for(client, name)
            facts = TargetRules(name=name, rules=rules, target=moment.target(name) if rules else None)
            return Pair(moment.facts, moment.oauth_client(client), facts)

        return await self._view.settled(gather)

    async def opened(self, text: str, now: Timestamp) -> tuple[TokenStanding, RealmFacts]:
        """A token that this KDC issued and that has not ended, what has become of it, and the realm of that moment.

        Raises Malformed, PeerMisbehaved and Refused as `open_own_token`.
        """
        kid = peek_unverified_kid(text)

        def gather(moment: RealmMoment) -> tuple[OwnToken, TargetView, dict[str, OAuthClientView | None], RealmFacts]:
            target, realm = moment.jwt_holder(kid), moment.facts
            if target is None or target.principal.jwt_audience is None:
                raise PeerMisbehaved("unknown-key")
            token = open_own_token(
                text,
                {key.kid: key for key in target.jwt_keys},
                realm.keys.mac_keys,
                issuer=realm.record.issuer,
                audience=target.principal.jwt_audience,
                now=now,
            )
            names = {one: client_name(one, realm.record.realm) for one in _proven(token)}
            parties = {one: None if name is None else moment.oauth_client(name) for one, name in names.items()}
            return token, target, parties, realm

        token, target, parties, realm = await self._view.settled(gather)
        revocation, second = _revocation(token), seconds_of(self._for_forgetting(now))
        is_revoked = await self._store.read(lambda tx: tx.recalls(REMEMBER_REVOKED, revocation, now=second))
        return TokenStanding(token=token, target=target, parties=parties, is_revoked=is_revoked), realm

    async def use_once(self, used: SingleUse, now: Timestamp) -> bool:
        """Whether this assertion is used for the first time. Raises Refused `busy`."""
        second = seconds_of(self._for_forgetting(now))
        return await self._store.change(
            lambda tx: tx.remember(REMEMBER_ASSERTION, used.uid, used.digest, until=used.until, now=second)
        )

    async def revoke(self, token: OwnToken, uid: int, now: Timestamp) -> None:
        """Remembers that `token` does not count any more, until it would have ended. Raises Refused `busy`."""
        revocation, second = _revocation(token), seconds_of(self._for_forgetting(now))
        await self._store.change(lambda tx: tx.remember(REMEMBER_REVOKED, uid, revocation, until=token.exp, now=second))


def _proven(token: OwnToken) -> set[str]:
    """Whom the token names as known to the KDC; a name without a realm is only what a client said."""
    return {one for one in (str(token.client), token.subject, *token.act) if "@" in one}


def _revocation(token: OwnToken) -> bytes:
    return digest(encode("revoked", token.jti))
