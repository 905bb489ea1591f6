"""Tickets and tokens on behalf of others: what a chain says at its end, and what the KDC writes down about it."""

from __future__ import annotations

from typing import Any

import jwt as pyjwt
import pytest

from orthros_kdc.admin import jwt_keys, keys, principals, rules
from orthros_protocol.exchanges.tgs_exchange import open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, WANT_JWT, Granted, NotGranted, Want
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.call_chain import path_of
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.ticket import DELEGABLE
from tests.support.behalf_bench import Journey, open_journey, principal
from tests.support.oauth_bench import body_of, open_tokens

USER = Behalf(subject=principal("user/ada"))


@pytest.fixture
async def journey() -> Journey:
    return await open_journey()


@pytest.mark.parity("K18", "L20")
async def test_a_ticket_on_behalf_names_the_caller_and_the_chain(journey: Journey) -> None:
    """S4U2Proxy by evidence; who asked first, whom it came through, one transaction from end to end."""
    first = await journey.obtain("web", "orders")
    journey.kdc.clock.advance(10)
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    journey.kdc.clock.advance(10)
    third = await journey.obtain("ledger", "vault", behalf=journey.evidence(second), flags=0)
    seen, deep, last = (journey.opened(one) for one in (first, second, third))
    assert seen.subject is None
    assert seen.chain == ()
    assert deep.client == principal("orders")
    assert deep.subject is not None
    assert (deep.subject.principal, deep.subject.uid, deep.subject.how) == (principal("web"), seen.client_uid, 1)
    assert [(hop.principal, hop.auth_time) for hop in deep.chain] == [(principal("web"), seen.auth_time)]
    assert last.subject == deep.subject
    assert path_of(last) == ("web", "orders", "ledger")
    assert last.chain == (*deep.chain, type(deep.chain[0])(deep.client, deep.auth_time))
    assert seen.txn == deep.txn == last.txn
    assert (second.subject, third.subject) == (deep.subject, last.subject)
    # What is new in each ticket is of its own client's login.
    logins = [journey.logins[name] for name in ("web", "orders", "ledger")]
    assert [ticket.ckid for ticket in (seen, deep, last)] == [
        journey.kdc.as_key(name).kid for name in ("web", "orders", "ledger")
    ]
    assert [ticket.auth_time for ticket in (seen, deep, last)] == [login.reply.kdc_time // 1000 for login in logins]
    assert seen.session_key != deep.session_key


@pytest.mark.parity("L23")
async def test_nothing_on_behalf_outlives_the_evidence(journey: Journey) -> None:
    """Nor the login of either side; the note says so."""
    first = await journey.obtain("web", "orders", ttl_s=300)
    journey.kdc.clock.advance(100)
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first), ttl_s=900)
    assert second.ttl_s == 200
    assert journey.opened(second).exp == journey.opened(first).exp
    assert [(note.field, note.cause) for note in second.notes] == [(2, 4)]


@pytest.mark.parity("B4", "Z1")
async def test_caveats_of_a_caller_follow_into_the_next_ticket(journey: Journey) -> None:
    """What the caller of orders had given up, orders cannot use elsewhere."""
    first = await journey.obtain("web", "orders")
    end = journey.kdc.clock.now() // 1000 + 60
    shown = journey.evidence(first, [ScopesCaveat(("read", "erase")).to_bytes(), ExpiresCaveat(end).to_bytes()])
    second = await journey.obtain("orders", "ledger", behalf=shown)
    assert (second.scopes, journey.opened(second).exp) == (("read",), end)
    assert {(note.field, note.cause) for note in second.notes} == {(1, 5)}
    third = await journey.obtain("ledger", "vault", behalf=journey.evidence(second), flags=0)
    assert journey.opened(third).exp == end


@pytest.mark.parity("B4")
async def test_limits_inside_the_evidence_follow_as_well(journey: Journey) -> None:
    """Also those that the KDC wrote, which nobody can shed."""
    end = journey.kdc.clock.now() // 1000 + 60
    limits = [ScopesCaveat(("write",)).to_bytes(), ExpiresCaveat(end).to_bytes()]
    first = await journey.obtain("web", "orders", limits=join_caveats(limits))
    assert journey.opened(first).caveats == tuple(limits)
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    assert (second.scopes, journey.opened(second).exp) == (("write",), end)


@pytest.mark.parity("P8")
async def test_a_subject_may_be_asserted_where_a_rule_says_so(journey: Journey) -> None:
    """`how` says that nobody proved it, and it stays so however often it is proven later who asserted it."""
    first = await journey.obtain("web", "orders", behalf=USER)
    ticket = journey.opened(first)
    assert ticket.subject is not None
    assert (ticket.subject.principal, ticket.subject.uid, ticket.subject.how) == (principal("user/ada"), 0, 2)
    assert ticket.chain == ()
    assert path_of(ticket) == ()
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    assert second.subject == ticket.subject
    assert path_of(journey.opened(second)) == ("web", "orders")


@pytest.mark.parity("P8")
async def test_an_asserted_name_is_only_a_name(journey: Journey) -> None:
    """Also when a principal has it, the ticket does not say that it is that principal."""
    await journey.kdc.add("user/eve")
    await principals.disable(journey.kdc.admin, "user/eve")
    first = await journey.obtain("web", "orders", behalf=Behalf(subject=principal("user/eve")))
    assert first.subject is not None
    assert (first.subject.uid, first.subject.how) == (0, 2)


@pytest.mark.parity("P8")
async def test_a_rule_on_behalf_does_not_let_anybody_be_asserted(journey: Journey) -> None:
    """`behalf` demands proof, `subjects` does not."""
    assert await journey.refusal("orders", "ledger", behalf=USER) == "subject-refused"
    first = await journey.obtain("web", "orders", behalf=USER)
    assert isinstance(await journey.ask("orders", "ledger", behalf=journey.evidence(first)), Granted)


@pytest.mark.parity("K18")
async def test_delegation_is_opt_in_on_both_sides(journey: Journey) -> None:
    """The rule of the first pair must delegate, the caller must want it, and the second rule must name the
    subject."""
    plain = await journey.obtain("web", "orders", flags=0)
    assert (await journey.refusal("orders", "ledger", behalf=journey.evidence(plain))).startswith("evidence-refused")
    await rules.deny(journey.kdc.admin, "orders", "ledger")
    await rules.allow(journey.kdc.admin, "orders", "ledger", scopes=("read",))
    first = await journey.obtain("web", "orders")
    assert await journey.refusal("orders", "ledger", behalf=journey.evidence(first)) == "subject-refused"
    await rules.allow(journey.kdc.admin, "orders", "ledger", scopes=("write",), behalf=("web",))
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    assert (second.scopes, second.flags) == (("write",), 0)


@pytest.mark.parity("K3")
async def test_a_batch_on_behalf_decides_each_want_alone(journey: Journey) -> None:
    """`behalf` holds for every want, and policy decides each."""
    await rules.allow(journey.kdc.admin, "orders", "vault", scopes=("get",), behalf=("user/*",))
    first = await journey.obtain("web", "orders")
    wants = [Want(target=principal(name)) for name in ("ledger", "vault", "nobody")]
    reply = await journey.kdc.ask(await journey.login("orders"), *wants, behalf=journey.evidence(first))
    assert [isinstance(one, Granted) for one in reply.results] == [True, False, False]
    codes = [one.reason.name for one in reply.results if isinstance(one, NotGranted)]
    assert codes == ["subject-refused", "not-granted"]


@pytest.mark.parity("K2")
async def test_evidence_under_a_draining_key_counts(journey: Journey) -> None:
    """While tickets of the version before live, they also are evidence; once it is retired they open for nobody."""
    first = await journey.obtain("web", "orders")
    admin = journey.kdc.admin
    shown = journey.evidence(first)
    journey.kdc.keytabs["orders"] = await keys.rotate(admin, "orders")
    await keys.activate(admin, "orders")
    newer = await journey.obtain("web", "orders")
    assert (first.kvno, newer.kvno) == (1, 2)
    for evidence in (shown, journey.evidence(newer)):
        assert isinstance(await journey.ask("orders", "ledger", behalf=evidence), Granted)


async def test_the_same_login_asks_for_itself_and_for_others(journey: Journey) -> None:
    """What was opened once is remembered without any evidence: an own call stays the own."""
    first = await journey.obtain("web", "orders")
    for behalf in (None, journey.evidence(first), None, journey.evidence(first)):
        ticket = journey.opened(await journey.obtain("orders", "ledger", behalf=behalf))
        assert (ticket.subject is None, ticket.chain == ()) == (behalf is None, behalf is None)


async def jwt_realm() -> tuple[Journey, dict[str, Any]]:
    journey = await open_journey()
    admin = journey.kdc.admin
    await jwt_keys.enable(admin, "ledger")
    await rules.allow(admin, "orders", "ledger", scopes=("export",), jwt=True, delegable=True, behalf=("*",))
    return journey, await jwt_keys.export(admin, "ledger")


def claims_of(granted: Granted, jwk: dict[str, Any]) -> dict[str, Any]:
    checks = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}  # the test's clock is not the machine's
    return pyjwt.decode(
        granted.credential.decode(),
        pyjwt.PyJWK(jwk).key,
        ["HS256"],
        audience="ledger@corp.test",
        options=checks,  # type: ignore[arg-type]
    )


@pytest.mark.parity("K18", "L20", "L23")
async def test_a_jwt_on_behalf_names_the_subject_and_who_acts() -> None:
    """RFC 8693 `act`: the present actor outermost; whoever is the subject does not act for it."""
    journey, jwk = await jwt_realm()
    first = await journey.obtain("web", "orders")
    journey.kdc.clock.advance(30)
    token = await journey.obtain("orders", "ledger", behalf=journey.evidence(first), kind=WANT_JWT, scopes=("export",))
    claims, seen = claims_of(token, jwk), journey.opened(first)
    assert (claims["sub"], claims["client_id"]) == ("web@corp.test", "orders@corp.test")
    assert claims["act"] == {"sub": "orders@corp.test"}
    assert claims["may_act"] == {"sub": "ledger@corp.test"}
    assert (claims["txn"], claims["auth_time"]) == (seen.txn.hex(), seen.auth_time)
    assert claims["exp"] <= seen.exp


@pytest.mark.parity("P8")
async def test_a_jwt_for_an_asserted_subject_names_everybody_behind_it() -> None:
    """A name without a realm is nobody whom the KDC knows; those who act are known."""
    journey, jwk = await jwt_realm()
    await journey.kdc.add("edge")
    await rules.allow(journey.kdc.admin, "edge", "web", delegable=True, subjects=("user/*",))
    await rules.deny(journey.kdc.admin, "web", "orders")
    await rules.allow(journey.kdc.admin, "web", "orders", delegable=True, behalf=("user/*",))
    first = await journey.obtain("edge", "web", behalf=USER)
    journey.kdc.clock.advance(30)
    second = await journey.obtain("web", "orders", behalf=journey.evidence(first))
    token = await journey.obtain("orders", "ledger", behalf=journey.evidence(second), kind=WANT_JWT)
    claims = claims_of(token, jwk)
    assert claims["sub"] == "user/ada"
    assert claims["auth_time"] == journey.opened(first).auth_time
    assert claims["act"] == {
        "sub": "orders@corp.test", "act": {"sub": "web@corp.test", "act": {"sub": "edge@corp.test"}},
    }  # fmt: skip
    assert token.subject is not None


@pytest.mark.parity("P12", "L20")
async def test_introspection_tells_the_same_of_a_token_on_behalf() -> None:
    """`act` among the claims; and the token ends with the rule that let its path through."""
    tokens = await open_tokens()
    await tokens.add_client("web", "orders", "ledger")
    await tokens.add_target("ledger")
    admin = tokens.kdc.admin
    await rules.allow(admin, "web", "orders", delegable=True, subjects=("user/*",))
    rule = await rules.allow(admin, "orders", "ledger", scopes=("read",), jwt=True, behalf=("web", "user/*"))
    journey, token = Journey(tokens.kdc), ""
    for behalf in (None, USER):
        first = await journey.obtain("web", "orders", behalf=behalf)
        granted = await journey.obtain("orders", "ledger", behalf=journey.evidence(first), kind=WANT_JWT)
        token = granted.credential.decode()
        told = body_of(await tokens.post("introspect", {"token": token}, tokens.basic("ledger")))
        claims = tokens.claims(token, "ledger")
        del claims["kdc"]
        assert told == {**claims, "active": True, "token_type": "Bearer", "username": claims["sub"]}
    await rules.remove(admin, rule.rule_id)
    await rules.allow(admin, "orders", "ledger", jwt=True, behalf=("web", "user/*"), deny_via=("web",))
    ended = await tokens.post("introspect", {"token": token}, tokens.basic("ledger"))
    assert body_of(ended) == {"active": False}
    assert tokens.events("token-introspected")[-1]["code"] == "chain-refused"


@pytest.mark.parity("K16", "B2")
async def test_every_decision_on_behalf_leaves_one_event_that_says_for_whom(journey: Journey) -> None:
    """Subject, path, evidence and transaction, of what is granted and of what is refused."""
    first = await journey.obtain("web", "orders", behalf=USER)
    shown = journey.evidence(first)
    await journey.kdc.ask(
        await journey.login("orders"), *(Want(target=principal(name)) for name in ("ledger", "nobody")), behalf=shown
    )
    plain = journey.evidence(await journey.obtain("web", "orders", flags=0))
    await journey.refusal("orders", "ledger", behalf=plain)
    ticket = journey.opened(first)
    named = {
        "subject": "user/ada", "how": 2, "chain": ["web"], "evidence": ticket.tid.hex(), "txn": ticket.txn.hex(),
    }  # fmt: skip
    asserted, granted, _ = journey.events("tgs-issued")
    refused, whole = journey.events("tgs-refused")
    assert (asserted["subject"], asserted["how"]) == ("user/ada", 2)
    assert not {"chain", "evidence"} & asserted.keys()
    for event in (granted, refused):
        assert {name: event[name] for name in named} == named
    assert (refused["code"], refused["target"]) == ("not-granted", "nobody@corp.test")
    assert (whole["code"], whole["detail"], whole["subject"]) == ("evidence-refused", "it is not delegable", "web")
    assert "target" not in whole
    assert whole["chain"] == ["web"]


@pytest.mark.parity("M6", "B5")
async def test_a_path_of_eight_hops_is_the_longest() -> None:
    """Depth; and every hop is in the last ticket, in order."""
    journey = await open_journey(hops=10)
    granted = await journey.obtain("web", "hop-0")
    for number in range(8):
        granted = await journey.obtain(f"hop-{number}", f"hop-{number + 1}", behalf=journey.evidence(granted))
    ticket = journey.opened(granted)
    assert path_of(ticket) == ("web", *(f"hop-{number}" for number in range(8)))
    assert len(ticket.chain) == 8
    code = await journey.refusal("hop-8", "hop-9", behalf=journey.evidence(granted))
    assert code.startswith("chain-refused")


@pytest.mark.parity("M6")
async def test_a_jwt_at_the_end_of_the_longest_path_is_refused_cleanly() -> None:
    """At most eight act in a token, the present actor included."""
    journey = await open_journey(hops=10)
    admin = journey.kdc.admin
    await jwt_keys.enable(admin, "hop-8")
    await rules.allow(admin, "hop-7", "hop-8", scopes=("x",), jwt=True, behalf=("*",))
    answers = []
    for behalf in (None, USER):
        granted = await journey.obtain("web", "hop-0", behalf=behalf)
        for number in range(7):
            granted = await journey.obtain(f"hop-{number}", f"hop-{number + 1}", behalf=journey.evidence(granted))
        answers.append(await journey.ask("hop-7", "hop-8", behalf=journey.evidence(granted), kind=WANT_JWT))
    proven, asserted = answers
    assert isinstance(proven, Granted)
    assert isinstance(asserted, NotGranted)
    assert asserted.reason.name == "chain-refused"


async def test_a_reply_with_long_chains_never_overflows() -> None:
    """What does not fit is asked for again, also when each ticket carries the longest chain."""
    journey = await open_journey(hops=8)
    admin = journey.kdc.admin
    granted = await journey.obtain("web", "hop-0")
    for number in range(7):
        granted = await journey.obtain(f"hop-{number}", f"hop-{number + 1}", behalf=journey.evidence(granted))
    scopes = tuple(f"scope-{number:02}-{'x' * 54}" for number in range(32))
    names = [f"{'t' * 100}-{number}" for number in range(32)]
    await journey.kdc.add(*names)
    for name in names:
        await rules.allow(admin, "hop-7", name, scopes=scopes, behalf=("*",))
    wants = [Want(target=principal(name)) for name in names]
    login = await journey.login("hop-7")
    pending = journey.kdc.tgs_request(login, *wants, behalf=journey.evidence(granted))
    answer = await journey.kdc.send(pending.message)
    assert len(answer) <= MAX_FRAME_BYTES
    results = open_tgs_reply(pending, answer).results
    fitting = [one for one in results if isinstance(one, Granted)]
    assert 4 <= len(fitting) < 32
    assert {len(journey.opened(one).chain) for one in fitting} == {8}
    assert {one.reason.name for one in results if isinstance(one, NotGranted)} == {"not-attempted"}


async def test_the_rule_about_the_service_decides_and_not_the_rights_of_its_caller(journey: Journey) -> None:
    """As README and the threat model say: neither the scopes of the call nor what the caller may do elsewhere bound it;
    what the caller took away does."""
    assert await journey.refusal("web", "ledger") == "not-granted"
    first = await journey.obtain("web", "orders", scopes=("read",))
    assert first.scopes == ("read",)
    assert (await journey.obtain("orders", "ledger", behalf=journey.evidence(first))).scopes == ("read", "write")
    less = journey.evidence(first, [ScopesCaveat(("read",)).to_bytes()])
    assert (await journey.obtain("orders", "ledger", behalf=less)).scopes == ("read",)


@pytest.mark.parity("L23")
async def test_on_behalf_is_never_wider_than_the_own_call(journey: Journey) -> None:
    """The same rules, and the caller's own."""
    own = await journey.obtain("orders", "ledger")
    first = await journey.obtain("web", "orders")
    other = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    assert set(other.scopes) <= set(own.scopes)
    assert other.ttl_s <= own.ttl_s
    assert other.flags & ~DELEGABLE == 0
    assert await journey.refusal("orders", "web", behalf=journey.evidence(first), flags=WANT_DELEGABLE) == "not-granted"


@pytest.mark.parity("K18")
async def test_a_service_gets_for_its_caller_at_most_what_the_caller_may_itself(journey: Journey) -> None:
    """From login to ticket: the bound is asked of the rules that are in force."""
    admin = journey.kdc.admin
    await rules.allow(admin, "orders", "vault", scopes=("read", "write"), behalf=("web",), within_subject=True)
    evidence = journey.evidence(await journey.obtain("web", "orders"))
    login = await journey.login("orders")
    want: dict[str, Any] = {"scopes": ("read", "write"), "behalf": evidence}
    refused = await journey.kdc.ask_one(login, "vault", **want)
    assert isinstance(refused, NotGranted)
    await rules.allow(admin, "web", "vault", scopes=("read",))
    granted = await journey.kdc.ask_one(login, "vault", **want)
    assert isinstance(granted, Granted)
    assert granted.scopes == ("read",)
