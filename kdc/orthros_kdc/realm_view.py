"""What the KDC knows of its realm right now: bounded snapshots of the store that a change invalidates at once.

Gathers facts and opens keys; decides nothing. Every view is dropped as soon as the store's generation moves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from attrs import field, frozen

from orthros_kdc.policy.decide import PolicySnapshot, PrincipalCaps, TargetFacts
from orthros_kdc.store.base import (
    KEY_ACTIVE,
    KEY_RETIRED,
    OAuthSecretRecord,
    PrincipalRecord,
    RealmRecord,
    Store,
    Transaction,
)
from orthros_kdc.vault import ROLE_KDCMAC, ROLE_TGT, ROLE_TICKET, JwtKey, OAuthSecret, Vault
from orthros_protocol import AsKey, KdcMacKey, Misconfigured, TgtKey, TicketKey
from orthros_protocol.limits import MAX_INT

__all__ = ["ClientView", "LoginView", "OAuthClientView", "RealmFacts", "RealmKeys", "RealmView", "TargetView"]

K = TypeVar("K")
V = TypeVar("V")

_CAPACITY: Final = 16_384
_NOBODY: Final = 0


class _Bounded(Generic[K, V]):
    """A mapping that forgets what was used longest ago."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._items[key] = value
        if len(self._items) > self._capacity:
            self._items.popitem(last=False)

    def clear(self) -> None:
        self._items.clear()


@frozen(eq=False, kw_only=True)
class LoginView:
    """Who a login key belongs to. A retired key only serves to say so under seal; `retired` is since when."""

    principal: PrincipalRecord
    key: AsKey
    is_retired: bool
    retired: int | None
    newest_kvno: int


@frozen(eq=False, kw_only=True)
class ClientView:
    """A client of the ticket-granting exchange and the ids of the login keys that still count.

    `ticket_keys` are its own by kid, those of draining versions too: evidence that it shows opens with one of them.
    `logins_since` is the Unix second from which its oldest live version can have logged in.
    """

    principal: PrincipalRecord
    caps: PrincipalCaps
    live_login_kids: frozenset[bytes]
    ticket_keys: Mapping[bytes, TicketKey] = field(repr=False)
    logins_since: int = 0


@frozen(eq=False, kw_only=True)
class OAuthClientView:
    """A client that authenticates by secret: newest first, and none unless OAuth is enabled for it. Whether it may
    ask at all (disabled, sources) is for the caller to judge by `principal`."""

    principal: PrincipalRecord
    caps: PrincipalCaps
    secrets: tuple[OAuthSecret, ...]


@frozen(eq=False, kw_only=True)
class TargetView:
    """A target: what policy must know of it, and the keys that its credentials are sealed or signed with.

    `jwt_keys` are all that live, newest first; the first one, `jwt_key`, signs.
    """

    principal: PrincipalRecord
    facts: TargetFacts
    ticket_key: TicketKey | None
    jwt_keys: tuple[JwtKey, ...] = ()

    @property
    def jwt_key(self) -> JwtKey | None:
        """The key that signs, if JWTs are enabled."""
        return self.jwt_keys[0] if self.jwt_keys else None


@frozen(eq=False, kw_only=True)
class RealmKeys:
    """The realm's own keys; the newest of each seals, all of them open."""

    tgt_keys: Mapping[bytes, TgtKey]
    mac_keys: Mapping[int, KdcMacKey]
    services: Mapping[str, TicketKey]
    newest_tgt: TgtKey
    newest_mac: KdcMacKey


@frozen(eq=False, kw_only=True)
class RealmFacts:
    """The realm record, its keys and its policy, all of one moment."""

    record: RealmRecord
    keys: RealmKeys
    policy: PolicySnapshot


def _newest(keys: Mapping[int, V], what: str) -> V:
    if not keys:
        raise Misconfigured("database-invalid", f"the realm has no {what} key")
    return keys[max(keys)]


def _oauth_rows(tx: Transaction, name: str) -> tuple[PrincipalRecord | None, tuple[OAuthSecretRecord, ...]]:
    principal = tx.principal_by_name(name)
    # Also for nobody: names can be guessed, unlike keys, so what is asked must not depend on who is there.
    secrets = tx.oauth_secrets_of(_NOBODY if principal is None else principal.uid)
    return principal, secrets if principal is not None and principal.oauth else ()


def _caps_of(principal: PrincipalRecord) -> PrincipalCaps:
    return PrincipalCaps(max_ticket_s=principal.max_ticket_s, max_jwt_s=principal.max_jwt_s)


class RealmView:
    """Reads through to the store, remembers a bounded number of principals, and all of policy."""

    def __init__(self, store: Store, vault: Vault, *, capacity: int = _CAPACITY) -> None:
        self._store = store
        self._vault = vault
        self._generation = -1
        self._realm: RealmFacts | None = None
        self._logins: _Bounded[bytes, LoginView] = _Bounded(capacity)
        self._clients: _Bounded[int, ClientView] = _Bounded(capacity)
        self._principals: _Bounded[str, PrincipalRecord] = _Bounded(capacity)
        self._targets: _Bounded[str, TargetView] = _Bounded(capacity)
        self._oauth_clients: _Bounded[str, OAuthClientView] = _Bounded(capacity)
        self._jwt_holders: _Bounded[str, str] = _Bounded(capacity)

    @property
    def generation(self) -> int:
        """Changes whenever anything that was handed out may be out of date."""
        return self._generation

    async def realm(self) -> RealmFacts:
        """Realm record, keys and policy as of now. Also the one place that notices changes: call it first."""
        generation = self._store.peek_generation()
        if generation == self._generation and self._realm is not None:
            return self._realm
        loaded = await self._store.read(self._load_realm)
        if generation != self._generation:
            self._logins.clear()
            self._clients.clear()
            self._principals.clear()
            self._targets.clear()
            self._oauth_clients.clear()
            self._jwt_holders.clear()
        self._generation = generation
        self._realm = loaded
        return loaded

    async def login(self, kid: bytes) -> LoginView | None:
        """Whose login key `kid` names."""
        known = self._logins.get(kid)
        if known is not None:
            return known
        generation = self._generation
        loaded = await self._store.read(lambda tx: self._load_login(tx, kid))
        if loaded is not None and generation == self._generation:
            self._logins.put(kid, loaded)
        return loaded

    async def client(self, uid: int) -> ClientView | None:
        """The client with this uid."""
        known = self._clients.get(uid)
        if known is not None:
            return known
        generation = self._generation
        loaded = await self._store.read(lambda tx: self._load_client(tx, uid))
        if loaded is not None and generation == self._generation:
            self._clients.put(uid, loaded)
        return loaded

    async def principal(self, name: str) -> PrincipalRecord | None:
        """The principal of this name, without its keys: for those whom the KDC itself has named."""
        known = self._principals.get(name)
        if known is not None:
            return known
        generation = self._generation
        loaded = await self._store.read(lambda tx: tx.principal_by_name(name))
        if loaded is not None and generation == self._generation:
            self._principals.put(name, loaded)
        return loaded

    async def target(self, name: str) -> TargetView | None:
        """The target of this name. Only asked for where a rule exists: policy comes before existence."""
        known = self._targets.get(name)
        if known is not None:
            return known
        generation = self._generation
        loaded = await self._store.read(lambda tx: self._load_target(tx, name))
        if loaded is not None and generation == self._generation:
            self._targets.put(name, loaded)
        return loaded

    async def oauth_client(self, name: str) -> OAuthClientView | None:
        """The principal of this name as an OAuth client; None when there is none of this name."""
        known = self._oauth_clients.get(name)
        if known is not None:
            return known
        generation = self._generation
        principal, rows = await self._store.read(lambda tx: _oauth_rows(tx, name))
        loaded = None if principal is None else self._as_oauth_client(principal, rows)
        if loaded is not None and generation == self._generation:
            self._oauth_clients.put(name, loaded)
        return loaded

    def remembered_oauth_client(self, name: str) -> OAuthClientView | None:
        """As `oauth_client` as far as it is at hand; the store is not asked. Nobody is never remembered."""
        return self._oauth_clients.get(name)

    async def jwt_holder(self, kid: str) -> TargetView | None:
        """The target whose live JWT key `kid` names."""
        name = self._jwt_holders.get(kid)
        if name is None:
            generation = self._generation
            principal = await self._store.read(lambda tx: tx.principal_by_jwt_kid(kid))
            if principal is None:
                return None
            name = principal.name
            if generation == self._generation:
                self._jwt_holders.put(kid, name)
        return await self.target(name)

    async def target_name(self, audience: str) -> str | None:
        """The name of the one target with this `aud`. Says nothing of what it may receive."""
        principal = await self._store.read(lambda tx: tx.principal_by_jwt_audience(audience))
        return None if principal is None else principal.name

    def _load_realm(self, tx: Transaction) -> RealmFacts:
        records = tx.realm_keys()
        tgt = {row.number: self._vault.tgt_key(row) for row in records if row.role == ROLE_TGT}
        mac = {row.number: self._vault.kdcmac_key(row) for row in records if row.role == ROLE_KDCMAC}
        services: dict[str, TicketKey] = {}
        for row in sorted(records, key=lambda record: record.number):
            if row.role == ROLE_TICKET:
                services[row.name] = self._vault.service_key(row)
        keys = RealmKeys(
            tgt_keys={key.kid: key for key in tgt.values()},
            mac_keys=mac,
            services=services,
            newest_tgt=_newest(tgt, "ticket-granting"),
            newest_mac=_newest(mac, "marking"),
        )
        return RealmFacts(record=tx.realm(), keys=keys, policy=PolicySnapshot(tx.policy()))

    def _load_login(self, tx: Transaction, kid: bytes) -> LoginView | None:
        row = tx.key_by_as_kid(kid)
        principal = None if row is None else tx.principal_by_uid(row.uid)
        if row is None or principal is None:
            return None
        if row.state == KEY_RETIRED and not row.sealed_as:
            return None
        return LoginView(
            principal=principal,
            key=self._vault.as_key(principal, row),
            is_retired=row.state == KEY_RETIRED,
            retired=row.retired,
            newest_kvno=max(key.kvno for key in tx.keys_of(row.uid)),
        )

    def _load_client(self, tx: Transaction, uid: int) -> ClientView | None:
        principal = tx.principal_by_uid(uid)
        if principal is None:
            return None
        live = [row for row in tx.keys_of(uid) if row.state != KEY_RETIRED]
        return ClientView(
            principal=principal,
            caps=_caps_of(principal),
            live_login_kids=frozenset(row.kid_as for row in live),
            ticket_keys={row.kid_ticket: self._vault.ticket_key(principal, row) for row in live},
            logins_since=min((row.created for row in live), default=MAX_INT),
        )

    def _as_oauth_client(self, principal: PrincipalRecord, rows: tuple[OAuthSecretRecord, ...]) -> OAuthClientView:
        secrets = tuple(map(self._vault.oauth_secret, rows))
        return OAuthClientView(principal=principal, caps=_caps_of(principal), secrets=secrets)

    def _load_target(self, tx: Transaction, name: str) -> TargetView | None:
        principal = tx.principal_by_name(name)
        if principal is None:
            return None
        active = [row for row in tx.keys_of(principal.uid) if row.state == KEY_ACTIVE]
        ticket_key = self._vault.ticket_key(principal, max(active, key=lambda row: row.kvno)) if active else None
        jwt_keys = tuple(map(self._vault.jwt_key, tx.jwt_keys_of(principal.uid) if principal.jwt_alg else ()))
        return TargetView(
            principal=principal,
            facts=TargetFacts(
                max_ticket_s=principal.max_ticket_s,
                max_jwt_s=principal.max_jwt_s,
                disabled=principal.disabled,
                has_key=ticket_key is not None,
                jwt_alg=jwt_keys[0].alg if jwt_keys else None,
            ),
            ticket_key=ticket_key,
            jwt_keys=jwt_keys,
        )
