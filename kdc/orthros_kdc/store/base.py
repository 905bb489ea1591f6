"""The store's interface and its rows. Secrets pass through as sealed bytes; nothing here can open them.

`read` and `change` run a function over a `Transaction` off the event loop; it happens whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from attrs import field, frozen
from attrs.validators import in_

from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.store.change_log import ChangeEntry, ChangeHead
from orthros_kdc.store.rule_rows import RuleRow
from orthros_protocol.primitives.names import KDC_ADMIN, KDC_KEYS, KDC_TGT

T = TypeVar("T")

KDC_UIDS: Final = {KDC_TGT: 1, KDC_KEYS: 2, KDC_ADMIN: 3}
"""The KDC's own services have fixed ids; 4 to 15 are kept free, and principals begin at 16."""

KEY_PREPARED, KEY_ACTIVE, KEY_DRAINING, KEY_RETIRED = "prepared", "active", "draining", "retired"
KEY_STATES: Final = (KEY_PREPARED, KEY_ACTIVE, KEY_DRAINING, KEY_RETIRED)
"""A version is prepared when exported, active when tickets are sealed under it, draining while older
tickets live, and retired when its root is erased. Only the newest active one seals; all but retired log in."""

REMEMBER_ASSERTION, REMEMBER_REVOKED = "assertion", "revoked"
"""What is remembered until it ends: client assertions that were used, and tokens that were revoked."""
MOST_REMEMBERED: Final = 10_000
"""How many live entries of one kind one principal can have."""
REMEMBER_MARGIN_S: Final = 2 * 3600
"""How long what has ended is kept: a clock that steps back by less, or is behind another KDC's, brings nothing back."""

TOMBSTONE_S: Final = 30 * 24 * 3600
"""How long a retired version still earns its late user a sealed KEY_RETIRED; after that it is unknown."""


def default_issuer(realm: str) -> str:
    """The issuer of a realm that is founded without one."""
    return f"https://{realm}"


@frozen(kw_only=True)
class RealmRecord:
    """The realm itself. `issuer` is the URL that JWTs carry as `iss`; `created` is a Unix second."""

    realm: str
    issuer: str
    limits: RealmLimits
    created: int
    key_check: bytes = field(repr=False)


@frozen(kw_only=True)
class PrincipalRecord:
    """A principal. `uid` is never reused, so a re-created name is another principal.

    `sources` are the networks that it may ask from, canonical and sorted; none means anywhere. `oauth` tells
    whether it may ask as an OAuth client, and `default_audience` is the name of the target of its requests that name
    none: a name, which is taken away when the principal of this name is deleted. As a target: `jwt_alg` is HS256,
    HS512 or opaque, `jwt_audience` the one `aud`, and `token_claims` name the extra claims that clients may have put
    into tokens for it.
    """

    uid: int
    name: str
    created: int
    disabled: bool = False
    max_ticket_s: int | None = None
    max_jwt_s: int | None = None
    jwt_alg: str | None = None
    jwt_audience: str | None = None
    sources: tuple[str, ...] = ()
    oauth: bool = False
    token_claims: tuple[str, ...] = ()
    default_audience: str | None = None


@frozen(kw_only=True)
class KeyRecord:
    """One version of a principal's root, sealed. A retired one is a tombstone: `sealed` is erased, and
    `sealed_as` keeps its AS role key for 30 days, so that a late user gets a sealed KEY_RETIRED."""

    uid: int
    kvno: int
    kid_as: bytes
    kid_ticket: bytes
    kid_sync: bytes
    state: str = field(validator=in_(KEY_STATES))
    created: int
    retired: int | None = None
    sealed: bytes = field(repr=False)
    sealed_as: bytes = field(repr=False, default=b"")


@frozen(kw_only=True)
class RealmKeyRecord:
    """A key of the realm: `role` is tgt (a `name` of kdc/tgt), ticket (kdc/keys, kdc/admin) or kdcmac."""

    role: str
    name: str
    number: int
    created: int
    sealed: bytes = field(repr=False)


@frozen(kw_only=True)
class JwtKeyRecord:
    """A target's JWT key: its own random record, named by `kid` in the JWT header."""

    uid: int
    kid: str
    alg: str
    created: int
    sealed: bytes = field(repr=False)


@frozen(kw_only=True)
class OAuthSecretRecord:
    """A client secret of a principal, sealed; `secret_id` (16 hex digits) names it and tells nothing about it."""

    uid: int
    secret_id: str
    created: int
    sealed: bytes = field(repr=False)


@frozen(kw_only=True)
class PolicyRows:
    """All of policy at one moment; `seq` is `ChangeHead.feed_seq`."""

    seq: int
    rules: tuple[Rule, ...]
    groups: dict[str, frozenset[str]]


@frozen(kw_only=True)
class AuditAnchor:
    """The head of one writer's audit chain: its last sequence number and hash."""

    writer: str
    seq: int
    head: str


@frozen(kw_only=True)
class AdminLine:
    """One entry of administration's record, chained like an audit log: its number, hash, time in milliseconds, and
    the line itself with its newline."""

    seq: int
    hash: str
    at: int
    line: bytes


class Transaction(Protocol):
    """Synchronous rows of one transaction. Writers raise Misconfigured `already-exists`, `not-found` or
    `conflict`, and LocalMisuse `wrong-state` inside `Store.read`; readers return None or an empty tuple for
    what is not there. May be used from another thread, and only until `work` returns."""

    def realm(self) -> RealmRecord:
        """Raises Misconfigured `database-invalid` before `create_realm`."""
        ...

    def create_realm(self, record: RealmRecord) -> None: ...
    def set_realm(self, *, issuer: str, limits: RealmLimits) -> None: ...
    def not_before(self) -> int:
        """The Unix second before which no login counts any more (protocol.md section 15); 0 without one.

        No part of `realm`, which is read of databases of earlier versions as well.
        """
        ...

    def raise_not_before(self, second: int) -> None:
        """No login before this Unix second counts from now on; one below the present second changes nothing."""
        ...

    def set_key_check(self, key_check: bytes) -> None:
        """Only when no secret is left under the master key before it."""
        ...

    def count_secrets_without(self, head: bytes) -> int:
        """How many stored secrets, erased ones apart, do not begin with `head`."""
        ...

    def principal_by_name(self, name: str) -> PrincipalRecord | None: ...
    def principal_by_uid(self, uid: int) -> PrincipalRecord | None: ...
    def principal_by_jwt_kid(self, kid: str) -> PrincipalRecord | None:
        """Whose JWT key `kid` names; None also when it names several keys, which chance does not bring about."""
        ...

    def principal_by_jwt_audience(self, audience: str) -> PrincipalRecord | None:
        """The one target with this `aud`; None also when several share it."""
        ...

    def has_jwt_audience(self, audience: str) -> bool:
        """Whether any target has this `aud`."""
        ...

    def principals_with_default(self, target: str) -> tuple[PrincipalRecord, ...]:
        """The OAuth clients whose `default_audience` is `target`, in name order."""
        ...

    def principals(self, *, after: str = "", most: int = 1000) -> tuple[PrincipalRecord, ...]:
        """At most `most` principals in name order, beginning behind `after`."""
        ...

    def add_principal(self, *, name: str, created: int) -> PrincipalRecord:
        """A new principal with a fresh uid that no principal had before (16 or above)."""
        ...

    def jump_uids(self, least: int) -> int:
        """Every later principal gets a uid of at least `least`, and none that was given before. Returns the next."""
        ...

    def set_principal(self, record: PrincipalRecord) -> None:
        """Raises `conflict` when the name or the time of creation would change."""
        ...

    def delete_principal(self, uid: int) -> None:
        """Removes it with its keys, JWT keys, client secrets, group memberships and rules. What was remembered of it
        stays until it ends: nothing that was revoked comes back."""
        ...

    def key_by_as_kid(self, kid: bytes) -> KeyRecord | None: ...
    def keys_of(self, uid: int) -> tuple[KeyRecord, ...]:
        """Every version, oldest first, tombstones included."""
        ...

    def has_login_kid(self, kid: bytes) -> bool: ...
    def login_kids(self) -> bytes:
        """The id of every login key, tombstones included, in ascending order, one behind the other: 8 bytes each."""
        ...

    def add_key(self, record: KeyRecord) -> None:
        """Raises `conflict` when any of its key ids or its kvno is taken."""
        ...

    def set_key(self, record: KeyRecord) -> None:
        """Raises `conflict` when a key id or the time of creation would change."""
        ...

    def delete_tombstones(self, *, retired_before: int) -> int:
        """Removes the versions retired before that Unix second and returns how many.

        A principal's newest version stays, without any secret, so that its number is not used again.
        """
        ...

    def realm_keys(self) -> tuple[RealmKeyRecord, ...]:
        """In the order of role, name and number."""
        ...

    def add_realm_key(self, record: RealmKeyRecord) -> None: ...
    def delete_realm_key(self, role: str, name: str, number: int) -> None: ...

    def jwt_keys_of(self, uid: int) -> tuple[JwtKeyRecord, ...]:
        """Newest first; the first one signs."""
        ...

    def add_jwt_key(self, record: JwtKeyRecord) -> None: ...
    def delete_jwt_key(self, uid: int, kid: str) -> None: ...

    def oauth_secrets_of(self, uid: int) -> tuple[OAuthSecretRecord, ...]:
        """Newest first; any of them is accepted."""
        ...

    def add_oauth_secret(self, record: OAuthSecretRecord) -> None:
        """Raises `conflict` when its id is taken, `not-found` without its principal."""
        ...

    def delete_oauth_secret(self, uid: int, secret_id: str) -> None: ...

    def head(self) -> ChangeHead: ...
    def first_change(self) -> int:
        """The number that the first change of this transaction has, or would have."""
        ...

    def changes(self, *, after: int) -> tuple[ChangeEntry, ...]:
        """The entries of the change log with a greater number than `after`, as far as they are kept."""
        ...

    def policy(self) -> PolicyRows: ...
    def rule_rows(self) -> Iterable[RuleRow]:
        """Every rule, oldest first."""
        ...

    def rule_row(self, rule_id: int) -> RuleRow | None: ...
    def memberships(self) -> Iterable[tuple[str, str]]:
        """Each group with each of its members."""
        ...

    def is_member(self, group: str, principal: str) -> bool: ...
    def members_of(self, group: str) -> frozenset[str] | None: ...
    def rules_mentioning(self, name: str) -> tuple[Rule, ...]:
        """The rules in whose conditions or caveats `name` occurs, also as a part of another name, oldest first."""
        ...

    def rules_between(self, client: Selector, target: Selector) -> tuple[Rule, ...]:
        """The rules that name exactly these two, oldest first."""
        ...

    def rules_naming(self, selector: Selector) -> tuple[Rule, ...]:
        """The rules whose client or target is `selector`, oldest first: those that its deletion takes along."""
        ...

    def groups_with(self, principal: str) -> tuple[str, ...]:
        """The groups that this principal is a member of, in name order."""
        ...

    def add_rules(self, rules: Sequence[Rule]) -> range:
        """Adds rules, and returns the numbers that they are given, which no rule had before. Raises `not-found` when a
        client or target is nobody; other names that a rule mentions are kept as they are."""
        ...

    def delete_rules(self, rule_ids: Sequence[int]) -> None: ...
    def add_group(self, name: str) -> None: ...
    def delete_group(self, name: str) -> None:
        """Removes it with the rules that name it."""
        ...

    def add_member(self, group: str, principal: str) -> None: ...
    def remove_member(self, group: str, principal: str) -> None: ...

    def remember(self, kind: str, uid: int, digest: bytes, *, until: int, now: int) -> bool:
        """Notes `digest` for principal `uid` until that Unix second, and says whether it was new. False also for what
        has ended at `now`. What has ended `REMEMBER_MARGIN_S` ago is dropped first.

        A digest counts once per kind, so it must be one of everything that makes the thing unique, its holder too.
        No change of the realm: it takes no number. Raises Refused `busy` when `uid` has 10,000 live entries of this
        kind.
        """
        ...

    def recalls(self, kind: str, digest: bytes, *, now: int) -> bool:
        """Whether `digest` was remembered and has not ended at `now`."""
        ...

    def anchor(self, writer: str) -> AuditAnchor | None: ...
    def anchors(self) -> tuple[AuditAnchor, ...]: ...
    def set_anchor(self, anchor: AuditAnchor) -> None:
        """No change of the realm: it takes no number."""
        ...

    def admin_head(self) -> AdminLine | None:
        """The newest entry of administration's record."""
        ...

    def admin_lines(self, *, after: int = 0, most: int = 1000) -> tuple[AdminLine, ...]:
        """At most `most` entries behind number `after`, oldest first."""
        ...

    def add_admin_lines(self, lines: Sequence[AdminLine]) -> None:
        """Raises `conflict` when a number is taken. Does not count as a change by itself."""
        ...


class Store(Protocol):
    """A realm's storage.

    One that an older program wrote can be read with `Transaction.realm` and `Transaction.realm_keys` alone, and
    refuses changes, until `upgrade`: so that a master key can be checked before anything is touched.
    """

    async def upgrade(self) -> None:
        """Brings the storage up to this program's version. Nothing happens when it is that already."""
        ...

    def peek_head(self) -> int:
        """`ChangeHead.seq` as of now, also after a change by another process. Never blocks on I/O.

        Raises LocalMisuse `wrong-state` before `upgrade`.
        """
        ...

    async def check(self) -> None:
        """Reads all of it. Raises Misconfigured `database-invalid` when it is damaged."""
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` over one consistent view."""
        ...

    async def change(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` in one write transaction: committed durably when it returns, undone when it raises.

        Raises Unavailable `timeout` when another process holds the lock, and `change-too-large` when `work` holds the
        lock for longer than this store allows.
        """
        ...

    async def aclose(self) -> None:
        """Releases files and threads. Idempotent."""
        ...
