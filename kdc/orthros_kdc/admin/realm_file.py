"""Use cases on realm files: read one, compare it with the realm, make the realm as it says, write the realm down.

Knows no TOML and no paths; a file becomes true in one transaction, or nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from attrs import evolve, field, frozen

from orthros_kdc.admin import groups, jwt_keys, oauth_secrets, principals, realm
from orthros_kdc.admin.context import Admin, Fact, change_as_planned, require_seen
from orthros_kdc.admin.principal_facts import check_token_claims
from orthros_kdc.admin.rules import removal_facts, rule_facts
from orthros_kdc.policy.realm_diff import Change, Plan, plan_changes, require_few_removals
from orthros_kdc.policy.realm_document import JwtFacts, PrincipalFacts, RealmDocument, RealmState
from orthros_kdc.policy.realm_file import FactChecks, parse_realm
from orthros_kdc.realm.vault import JWT_ALGORITHMS
from orthros_kdc.store.base import PrincipalRecord, Transaction
from orthros_protocol.errors import Misconfigured

__all__ = ["apply", "diff", "foresee", "read", "state"]

_PAGE: Final = 1000


def read(text: str, *, source: str = "realm file") -> RealmDocument:
    """What `text` says; needs no realm. Raises Misconfigured with file, line and remedy, as `parse_realm`."""
    return parse_realm(text, _CHECKS, source=source)


async def state(admin: Admin) -> RealmState:
    """The realm as a realm file would describe it."""
    return await admin.store.read(_state)


async def diff(admin: Admin, document: RealmDocument, *, prune: bool = False) -> Plan:
    """What `apply` would do. Raises Misconfigured as `plan_changes`."""
    return await admin.store.read(lambda tx: plan_changes(document, _state(tx), prune=prune))


async def foresee(
    admin: Admin, document: RealmDocument, *, prune: bool = False, most_removals: int | None = None
) -> Plan:
    """What `apply` would do. Raises as `apply`."""
    return await admin.store.read(lambda tx: _allowed(tx, document, prune, most_removals))


async def apply(
    admin: Admin,
    document: RealmDocument,
    *,
    prune: bool = False,
    most_removals: int | None = None,
    seen: Plan | None = None,
) -> Plan:
    """Makes the realm as `document` says, and returns what had to change for that.

    All of it happens, with one audit event for each change, or nothing. New principals get key version 1, which
    `keys.export` hands over. With `seen`, exactly these changes are made: Misconfigured `conflict` when the realm has
    changed meanwhile. Raises as `plan_changes` and `require_few_removals`, too.
    """

    def plan(tx: Transaction) -> Plan:
        found = _allowed(tx, document, prune, most_removals)
        require_seen(found, seen)
        return found

    def make(tx: Transaction, planned: Plan) -> Plan:
        events = _Events()
        noting = evolve(admin, audit=events)
        for event, changes in groupby(planned.changes, attrgetter("event")):
            if event in _STEPS_FOR_MANY:
                _STEPS_FOR_MANY[event](tx, noting, tuple(changes))
            else:
                for change in changes:
                    _STEPS[event](tx, noting, change)
        if events.kept:
            admin.audit.record_all(tx, events.kept)  # only now: what fails above leaves no trace in the log
        return planned

    return await change_as_planned(admin.store, plan, make)


def _allowed(tx: Transaction, document: RealmDocument, prune: bool, most_removals: int | None) -> Plan:
    before = _state(tx)
    plan = plan_changes(document, before, prune=prune)
    require_few_removals(plan, before, most=most_removals)
    return plan


@frozen
class _Events:
    """An audit trail that is handed on when all is done."""

    kept: list[tuple[str, Mapping[str, Fact]]] = field(factory=list)

    def record_all(self, _tx: Transaction, changes: Sequence[tuple[str, Mapping[str, Fact]]]) -> None:
        self.kept.extend(changes)


# The realm as it is


def _state(tx: Transaction) -> RealmState:
    record, policy = tx.realm(), tx.policy()
    return RealmState(
        realm=record.realm,
        issuer=record.issuer,
        limits=record.limits,
        principals={one.name: _facts(one) for one in _all_principals(tx)},
        groups=policy.groups,
        rules=policy.rules,
    )


def _all_principals(tx: Transaction) -> list[PrincipalRecord]:
    found: list[PrincipalRecord] = []
    while page := tx.principals(after=found[-1].name if found else "", most=_PAGE):
        found += page
    return found


def _facts(record: PrincipalRecord) -> PrincipalFacts:
    return PrincipalFacts(
        disabled=record.disabled,
        max_ticket_s=record.max_ticket_s,
        max_jwt_s=record.max_jwt_s,
        sources=record.sources,
        oauth=record.oauth,
        jwt=None if record.jwt_alg is None else JwtFacts(alg=record.jwt_alg, audience=record.jwt_audience),
        token_claims=record.token_claims,
        default_audience=record.default_audience,
    )


# One step for each event that a plan can hold


def _change_realm(tx: Transaction, admin: Admin, change: Change) -> None:
    caps = {name: seconds for name, seconds in change.value.items() if name != "issuer"}
    realm.change_in(tx, admin, issuer=change.value.get("issuer"), limits=caps)


def _cap(tx: Transaction, admin: Admin, change: Change) -> None:
    caps = {name: value for name, value in change.value.items() if name != "sources"}
    principals.set_caps_in(tx, admin, change.name, caps, change.value["sources"])


def _add_principal(tx: Transaction, admin: Admin, change: Change) -> None:
    principals.add_in(tx, admin, change.name, change.value)  # its key stays sealed until it is exported


def _add_rules(tx: Transaction, admin: Admin, changes: Sequence[Change]) -> None:
    added = [change.value for change in changes]
    numbers = tx.add_rules(added)
    admin.record_all(
        tx, (("rule.added", rule_facts(rule, number)) for rule, number in zip(added, numbers, strict=True))
    )


def _remove_rules(tx: Transaction, admin: Admin, changes: Sequence[Change]) -> None:
    gone = [change.value for change in changes]
    tx.delete_rules([rule.rule_id for rule in gone])
    admin.record_all(tx, (("rule.removed", removal_facts([rule])) for rule in gone))


_STEPS: Final[Mapping[str, Callable[[Transaction, Admin, Change], object]]] = {
    "realm.changed": _change_realm,
    "principal.added": _add_principal,
    "principal.capped": _cap,
    "principal.disabled": lambda tx, admin, one: principals.set_disabled_in(tx, admin, one.name, disabled=True),
    "principal.enabled": lambda tx, admin, one: principals.set_disabled_in(tx, admin, one.name, disabled=False),
    "principal.deleted": lambda tx, admin, one: principals.delete_in(tx, admin, one.name),
    "jwt.enabled": lambda tx, admin, one: jwt_keys.enable_in(tx, admin, one.name, **one.value),
    "jwt.disabled": lambda tx, admin, one: jwt_keys.disable_in(tx, admin, one.name),
    "jwt.claims-changed": lambda tx, admin, one: jwt_keys.set_claims_in(tx, admin, one.name, one.value),
    "oauth.enabled": lambda tx, admin, one: oauth_secrets.enable_without_secret_in(tx, admin, one.name),
    "oauth.disabled": lambda tx, admin, one: oauth_secrets.disable_in(tx, admin, one.name),
    "oauth.audience-changed": lambda tx, admin, one: oauth_secrets.set_default_audience_in(
        tx, admin, one.name, one.value
    ),
    "group.added": lambda tx, admin, one: groups.add_in(tx, admin, one.name),
    "group.deleted": lambda tx, admin, one: groups.delete_in(tx, admin, one.name),
    "group.member-added": lambda tx, admin, one: groups.add_member_in(tx, admin, one.name, one.value),
    "group.member-removed": lambda tx, admin, one: groups.remove_member_in(tx, admin, one.name, one.value),
}
# A realm can have 100,000 rules: they are written in one go.
_STEPS_FOR_MANY: Final[Mapping[str, Callable[[Transaction, Admin, Sequence[Change]], object]]] = {
    "rule.added": _add_rules,
    "rule.removed": _remove_rules,
}


def _check_alg(alg: str) -> str:
    if alg not in JWT_ALGORITHMS:
        raise Misconfigured("value-invalid", f"JWT algorithm {alg!r}; choose {', '.join(JWT_ALGORITHMS)}")
    return alg


_CHECKS: Final = FactChecks(
    issuer=realm.check_issuer,
    jwt_alg=_check_alg,
    jwt_audience=jwt_keys.check_audience,
    token_claims=check_token_claims,
)
