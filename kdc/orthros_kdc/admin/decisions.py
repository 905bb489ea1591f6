"""Use cases on decisions: what would the KDC answer, and does policy keep what was expected of it.

Changes nothing and decides nothing: facts come from one view of the store, answers from `policy.explain`.
"""

from __future__ import annotations

from attrs import evolve

from orthros_kdc.admin.context import Admin, require_principal
from orthros_kdc.policy.ask_and_grant import Ask, Denial, TargetFacts
from orthros_kdc.policy.expectations import Report, run_expectations
from orthros_kdc.policy.explain import Explanation, forecast
from orthros_kdc.policy.obstacles import FactsOf, revivals
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.store.base import KEY_ACTIVE, PrincipalRecord, Transaction
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import check_scopes

__all__ = ["check", "explain"]


async def explain(admin: Admin, client: str, ask: Ask, *, address: str | None = None) -> Explanation:
    """What `client` would get for `ask` with a fresh TGT, and why. Raises Misconfigured `not-found`, or
    `scope-invalid`.

    `address` is the IP address it asks from, empty for a local socket; None holds nothing against it. Whoever of this
    realm is on the path of `ask` must exist. Raises Misconfigured `value-invalid` for a `name@realm` of this realm.
    """
    check_scopes(ask.scopes or ())

    def work(tx: Transaction) -> Explanation:
        require_principal(tx, client)
        called = require_principal(tx, ask.target)
        _require_callers(tx, ask.path)
        facts_of, limits = _facts_by_name(tx), tx.realm().limits
        found = forecast(
            client, ask, PolicySnapshot.read(tx), facts_of=facts_of, limits=limits, now=admin.now(), address=address
        )
        if isinstance(found.decision, Denial) and found.decision.code == "target-unavailable":
            return evolve(found, remedies=revivals(ask.target, _facts_of(tx, called)))
        return found

    return await admin.store.read(work)


async def check(admin: Admin, text: str, *, source: str = "expectations") -> Report:
    """Every expectation of `text` against one view of the store. Raises Misconfigured `value-invalid`."""

    def work(tx: Transaction) -> Report:
        limits = tx.realm().limits
        return run_expectations(
            text, PolicySnapshot.read(tx), facts_of=_facts_by_name(tx), limits=limits, source=source, now=admin.now()
        )

    return await admin.store.read(work)


def _require_callers(tx: Transaction, path: tuple[str, ...]) -> None:
    for caller in path:
        name, _, realm = caller.partition("@")
        if not realm:
            require_principal(tx, name)
        elif realm == tx.realm().realm:
            raise Misconfigured("value-invalid", f"{caller} is of this realm: write {name}")


def _facts_by_name(tx: Transaction) -> FactsOf:
    def facts_of(name: str) -> TargetFacts | None:
        record = tx.principal_by_name(name)
        return None if record is None else _facts_of(tx, record)

    return facts_of


def _facts_of(tx: Transaction, record: PrincipalRecord) -> TargetFacts:
    return TargetFacts(
        max_ticket_s=record.max_ticket_s,
        max_jwt_s=record.max_jwt_s,
        disabled=record.disabled,
        has_key=any(key.state == KEY_ACTIVE for key in tx.keys_of(record.uid)),
        jwt_alg=record.jwt_alg if tx.jwt_keys_of(record.uid) else None,
        sources=record.sources,
    )
