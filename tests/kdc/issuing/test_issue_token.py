"""From a decision to a token: what is issued is what was decided, in nobody else's name."""

from typing import Any

import pytest
from attrs import define, evolve

from orthros_kdc.admin import jwt_keys, rules
from orthros_kdc.issuing.jwt_export import Issued, Lineage, OwnToken, Requester, issue_token, open_own_token
from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, Kind
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.rule_caveats import RuleCaveat
from orthros_kdc.realm.principals import TargetView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, WANT_JWT, Granted
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.caveats import MethodsCaveat
from orthros_protocol.tickets.ticket import DELEGABLE
from tests.support.kdc_bench import REALM, KdcBench, open_bench
from tests.support.realm_views import PromptView

NAMES = ("billing", "gate", "ledger", "orders")


@define(eq=False)
class Desk:
    """Gathers, decides and issues as the token service does, without any transport."""

    bench: KdcBench
    realm: RealmFacts
    targets: dict[str, TargetView]

    def decided(self, client: str, target: str, *, remaining_s: int = 3600, **wish: Any) -> Grant | Denial:
        return decide(
            Ask(target=target, kind=Kind.JWT, **wish),
            self.realm.policy.rules_for(client, target),
            Circumstances(
                address=None,
                target=self.targets[target].facts,
                limits=self.realm.record.limits,
                remaining_tgt_s=remaining_s,
            ),
        )

    def granted(self, client: str, target: str, **wish: Any) -> Grant:
        result = self.decided(client, target, **wish)
        assert isinstance(result, Grant), result
        return result

    def issue(
        self, client: str, target: str, grant: Grant, *, exchanged: OwnToken | Lineage | None = None, **more: Any
    ) -> Issued:
        now = self.bench.clock.now()
        return issue_token(
            grant,
            self.targets[target],
            self.realm,
            Requester(Principal(REALM, client), now // 1000, self.bench.entropy(16), exchanged),
            jti=self.bench.entropy(16),
            now=now,
            entropy=self.bench.entropy(24),
            **more,
        )

    def opened(self, text: str, target: str) -> OwnToken:
        view = self.targets[target]
        return open_own_token(
            text,
            {key.kid: key for key in view.jwt_keys},
            self.realm.keys.mac_keys,
            issuer=self.realm.record.issuer,
            audience=str(view.principal.jwt_audience),
            now=self.bench.clock.now(),
        )


@pytest.fixture
async def desk() -> Desk:
    """gate asks ledger for users; ledger may go on to orders for users and for billing; orders takes handles."""
    bench = await open_bench()
    await bench.add(*NAMES)
    await jwt_keys.enable(bench.admin, "ledger")
    await jwt_keys.enable(bench.admin, "orders", alg="opaque")
    await rules.allow(bench.admin, "gate", "ledger", scopes=("read",), jwt=True, delegable=True, subjects=("user/*",))
    await rules.allow(bench.admin, "billing", "ledger", scopes=("pay",), jwt=True, delegable=True)
    await rules.allow(bench.admin, "billing", "orders", scopes=("list",), jwt=True)
    await rules.allow(bench.admin, "ledger", "orders", scopes=("find",), jwt=True, subjects=("user/*", "billing"))
    view = PromptView(bench.store, bench.admin.vault)
    realm = await view.settled(lambda moment: moment.facts)
    found = await view.settled(lambda moment: {name: moment.target(name) for name in NAMES})
    targets = {name: target for name, target in found.items() if target is not None}
    return Desk(bench, realm, targets)


@pytest.mark.parity("P8")
async def test_a_token_in_the_own_name(desk: Desk) -> None:
    """Nobody named, so it is the client itself, and nobody acts."""
    issued = desk.issue("billing", "ledger", desk.granted("billing", "ledger"))
    token = desk.opened(issued.text, "ledger")
    assert (token.subject, token.act, token.may_act) == ("billing@corp.test", (), None)
    assert (token.scopes, token.exp - token.iat) == (("pay",), 300)
    assert issued.text not in repr(issued)


@pytest.mark.parity("P8")
async def test_a_token_in_the_name_that_was_decided(desk: Desk) -> None:
    """The subject is the grant's; there is no other way to name one."""
    issued = desk.issue("gate", "ledger", desk.granted("gate", "ledger", subject="user/ada", delegable=True))
    token = desk.opened(issued.text, "ledger")
    assert (token.subject, token.act, token.may_act) == ("user/ada", ("gate@corp.test",), "ledger@corp.test")
    assert isinstance(desk.decided("billing", "ledger", subject="user/ada"), Denial)


async def test_what_is_exchanged_keeps_its_subject_its_login_and_its_transaction(desk: Desk) -> None:
    """The chain grows by the actor, and what was said at the first token stays."""
    first = desk.issue("gate", "ledger", desk.granted("gate", "ledger", subject="user/ada", delegable=True))
    held = desk.opened(first.text, "ledger")
    desk.bench.clock.advance(60)
    grant = desk.granted("ledger", "orders", subject="user/ada", remaining_s=240)
    second = desk.opened(desk.issue("ledger", "orders", grant, exchanged=held).text, "orders")
    assert (second.subject, second.act) == ("user/ada", ("ledger@corp.test", "gate@corp.test"))
    assert (second.auth_time, second.txn, second.may_act) == (held.auth_time, held.txn, None)
    assert second.exp == held.exp
    assert second.jti != held.jti


async def test_a_client_proven_by_its_token_becomes_the_subject(desk: Desk) -> None:
    """Rules know it by its name, and the next target by name and realm."""
    held = desk.opened(desk.issue("billing", "ledger", desk.granted("billing", "ledger")).text, "ledger")
    grant = desk.granted("ledger", "orders", subject="billing", remaining_s=300)
    token = desk.opened(desk.issue("ledger", "orders", grant, exchanged=held).text, "orders")
    assert (token.subject, token.act) == ("billing@corp.test", ("ledger@corp.test",))
    asserted = desk.opened(desk.issue("ledger", "orders", grant).text, "orders")
    assert asserted.subject == "billing"  # said, not proven: it cannot be taken for the principal


@pytest.mark.parity("P8")
async def test_a_decision_for_one_subject_issues_nothing_for_another(desk: Desk) -> None:
    """A mix-up on this side is a bug, not a token."""
    ada = desk.issue("gate", "ledger", desk.granted("gate", "ledger", subject="user/ada"))
    held = desk.opened(ada.text, "ledger")
    for other in (desk.granted("ledger", "orders", subject="user/bob"), desk.granted("ledger", "orders")):
        with pytest.raises(LocalMisuse, match="another subject"):
            desk.issue("ledger", "orders", evolve(other, ttl_s=1), exchanged=held)


@pytest.mark.parity("P3")
async def test_nothing_outlives_what_it_was_exchanged_for(desk: Desk) -> None:
    """Exp of the one is at most exp of the other."""
    held = desk.opened(desk.issue("gate", "ledger", desk.granted("gate", "ledger", subject="user/ada")).text, "ledger")
    desk.bench.clock.advance(1)
    grant = desk.granted("ledger", "orders", subject="user/ada")
    with pytest.raises(LocalMisuse, match="outlives"):
        desk.issue("ledger", "orders", grant, exchanged=held)


@pytest.mark.parity("K18", "L20")
async def test_what_evidence_proves_stands_in_the_token(desk: Desk) -> None:
    """Subject, actors, login and transaction of the lineage; the client acts last, hence first."""
    lineage = Lineage(subject="billing@corp.test", act=("gate@corp.test",), auth_time=7, txn=b"e" * 16, exp=2**40)
    grant = desk.granted("ledger", "orders", subject="billing")
    token = desk.opened(desk.issue("ledger", "orders", grant, exchanged=lineage).text, "orders")
    assert (token.subject, token.act) == ("billing@corp.test", ("ledger@corp.test", "gate@corp.test"))
    assert (token.auth_time, token.txn) == (7, b"e" * 16)
    for wrong in (evolve(lineage, subject="gate@corp.test"), evolve(lineage, exp=desk.bench.clock.now() // 1000)):
        with pytest.raises(LocalMisuse):
            desk.issue("ledger", "orders", grant, exchanged=wrong)


@pytest.mark.parity("P6")
async def test_a_grant_with_caveats_never_becomes_a_token(desk: Desk) -> None:
    """Fail closed, although policy keeps such rules apart: what cannot be carried must not be lost."""
    grant = desk.granted("billing", "ledger")
    with pytest.raises(LocalMisuse, match="caveats"):
        desk.issue("billing", "ledger", evolve(grant, caveats=(RuleCaveat("methods GET", MethodsCaveat(("GET",))),)))


async def test_a_target_without_key_or_audience_is_a_fault_of_the_database(desk: Desk) -> None:
    """Fail closed: no token under no key."""
    grant = desk.granted("billing", "ledger")
    whole = desk.targets["ledger"]
    for broken in (evolve(whole, jwt_keys=()), evolve(whole, principal=evolve(whole.principal, jwt_audience=None))):
        desk.targets["ledger"] = broken
        with pytest.raises(Misconfigured, match="database-invalid"):
            desk.issue("billing", "ledger", grant)


@pytest.mark.parity("P7")
async def test_extra_claims_reach_the_token(desk: Desk) -> None:
    """As they were checked."""
    issued = desk.issue("billing", "ledger", desk.granted("billing", "ledger"), extra={"tenant": "blue"})
    assert desk.opened(issued.text, "ledger").ext == {"tenant": "blue"}


@pytest.mark.parity("H2")
async def test_the_native_port_issues_the_same_tokens(desk: Desk) -> None:
    """Marked, by the one function; delegable wants carry `may_act`."""
    login = await desk.bench.log_in("billing")
    plain = await desk.bench.ask_one(login, "ledger", kind=WANT_JWT)
    handed = await desk.bench.ask_one(login, "ledger", kind=WANT_JWT, flags=WANT_DELEGABLE)
    assert isinstance(plain, Granted)
    assert isinstance(handed, Granted)
    assert (plain.flags, handed.flags) == (0, DELEGABLE)
    tokens = [desk.opened(one.credential.decode(), "ledger") for one in (plain, handed)]
    assert [token.may_act for token in tokens] == [None, "ledger@corp.test"]
    assert {token.subject for token in tokens} == {"billing@corp.test"}


@pytest.mark.parity("L2", "H2")
async def test_the_native_port_hands_out_handles_for_targets_that_introspect(desk: Desk) -> None:
    """The target's record decides, on either port."""
    granted = await desk.bench.ask_one(await desk.bench.log_in("billing"), "orders", kind=WANT_JWT)
    assert isinstance(granted, Granted)
    handle = granted.credential.decode()
    assert handle.startswith("ort1h_")
    token = desk.opened(handle, "orders")
    assert (token.subject, token.scopes) == ("billing@corp.test", ("list",))
