"""`policy explain` and `policy test` foretell what the KDC answers, also where no rule is the reason."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_kdc.admin import decisions, principals, rules
from orthros_kdc.policy.ask_and_grant import Ask, Denial, Grant, acting_for
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_protocol.exchanges.wants import Granted, NotGranted
from orthros_protocol.primitives.messages import KdcRefusal
from tests.support.behalf_bench import Journey, open_journey


@pytest.fixture
async def journey() -> Journey:
    """orders may call ledger for anybody, and vault only with a discharge of approvals."""
    journey = await open_journey()
    await journey.kdc.add("approvals")
    demanded: dict[str, Any] = {"discharges": (RequiredDischarge("approvals", "four-eyes"),)}
    await rules.allow(journey.kdc.admin, "orders", "vault", scopes=("read",), **demanded)
    return journey


async def foretold(journey: Journey, target: str, address: str, via: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The code that explaining and testing agree on, empty for a grant, and the remedies."""
    admin = journey.kdc.admin
    subject, path = acting_for("orders", behalf=None, via=via)
    ask = Ask(target=target, subject=subject, proven=subject is not None, path=path)
    found = await decisions.explain(admin, "orders", ask, address=address)
    code = found.decision.code if isinstance(found.decision, Denial) else ""
    outcome = f'refused = "{code}"' if code else 'granted = ["read"]'
    table = f'[[expect]]\nclient = "orders"\ntarget = "{target}"\nfrom = "{address}"\nvia = {list(via)}\n{outcome}\n'
    report = await decisions.check(
        admin, table.replace('["read"]', '["read", "write"]') if target == "ledger" else table
    )
    assert report.failures == ()
    assert isinstance(found.decision, Grant) or found.caps == ()
    return code, found.remedies


async def answered(journey: Journey, target: str, **want: Any) -> str:
    try:
        answer = await journey.ask("orders", target, **want)
    except KdcRefusal as refusal:
        return refusal.code
    assert isinstance(answer, Granted | NotGranted)
    return answer.reason.name if isinstance(answer, NotGranted) else ""


@pytest.mark.parity("B3")
@pytest.mark.parametrize("who", ["", "orders", "web", "approvals"])
@pytest.mark.parametrize("target", ["ledger", "vault"])
@pytest.mark.parametrize("through", [(), ("web",)])
async def test_somebody_who_is_disabled(journey: Journey, who: str, target: str, through: tuple[str, ...]) -> None:
    """What explain says is granted, the KDC grants."""
    if through and target == "vault":
        await rules.allow(journey.kdc.admin, "orders", "vault", scopes=("read",), behalf=("web",),
                          discharges=(RequiredDischarge("approvals", "seen"),))  # fmt: skip
    behalf = journey.evidence(await journey.obtain("web", "orders")) if through else None
    await journey.login("orders")
    if who:
        await principals.disable(journey.kdc.admin, who)
    code, remedies = await foretold(journey, target, journey.kdc.address, through)
    assert code == await answered(journey, target, behalf=behalf)
    assert remedies == ((f"orthros-admin principal enable {who}",) if code else ())
    assert bool(code) == (
        who == "orders" or (who == "web" and bool(through)) or (who, target) == ("approvals", "vault")
    )


@pytest.mark.parity("H5", "B3")
async def test_a_client_that_asks_from_elsewhere(journey: Journey) -> None:
    """The border of a principal holds for tickets as well as that of a rule."""
    await journey.login("orders")
    await principals.set_caps(journey.kdc.admin, "orders", max_ticket_s=None, max_jwt_s=None, sources=("10.0.0.0/8",))
    code, remedies = await foretold(journey, "ledger", "192.0.2.1", ())
    assert code == await answered(journey, "ledger") == "source-refused"
    assert remedies == ("orthros-admin principal limit orders --from 10.0.0.0/8 --from 192.0.2.1",)
    journey.kdc.address = "10.1.2.3"
    code, _ = await foretold(journey, "ledger", "10.1.2.3", ())
    assert code == await answered(journey, "ledger") == ""
