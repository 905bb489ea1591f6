"""The public fakes behave like a realm, so that tests written with them mean something."""

from typing import Any

import pytest

from orthros_protocol.errors import PeerMisbehaved, Refused
from orthros_protocol.exchanges.as_exchange import AsReply, build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, WANT_JWT, Granted, NotGranted
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.testing import CountingEntropy, InMemoryRealm, IssuedTicket, ManualClock
from orthros_protocol.tickets.attenuation import join_caveats, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    Caveat,
    ExpiresCaveat,
    MethodsCaveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
)
from orthros_protocol.tickets.discharges import make_discharge, open_demand
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from orthros_protocol.tickets.ticket import BY_ASSERTION, BY_EVIDENCE, DELEGABLE, Hop, Subject, Ticket, open_ticket
from tests.support.exchange_pair import ExchangePair, ask_tgs, principal
from tests.support.naive import dec


def code_of(pair: ExchangePair, **want: Any) -> str:
    result = pair.obtain(pair.login(), pair.want(**want)).results[0]
    return "granted" if isinstance(result, Granted) else result.reason.name


@pytest.mark.parity("B13")
def test_each_refusal_has_its_code() -> None:
    pair = ExchangePair()
    assert code_of(pair) == "granted"
    assert code_of(pair, scopes=("admin",)) == "no-scope-left"
    assert code_of(pair, kind=WANT_JWT) == "jwt-not-enabled"
    pair.realm.disable("payroll")
    assert code_of(pair) == "target-unavailable"
    pair.realm.enable("payroll")
    pair.realm.deny("billing", "payroll")
    assert code_of(pair) == "not-granted"


def test_a_request_from_another_time_is_refused_under_seal() -> None:
    pair = ExchangePair()
    asked = ask_tgs(pair)
    pair.realm.clock.advance(-301)
    reply = pair.realm.handle(asked.message)
    assert dec(reply)[:2] == [1, 1]


def test_a_disabled_client_cannot_log_in() -> None:
    realm = InMemoryRealm("other.realm")
    key = realm.add("host").as_key()
    realm.disable("host")
    asked = build_as_request(
        key, service="kdc/tgt", ttl_s=0, instance=bytes(16), now=realm.clock.now(), nonce=bytes(16)
    )
    with pytest.raises(KdcRefusal, match="principal-disabled"):
        open_as_reply(asked, key, realm.handle(asked.message))
    assert realm.handled == 1


def test_entropy_is_the_same_in_every_run_and_never_repeats() -> None:
    one, two = CountingEntropy(), CountingEntropy()
    drawn = [one(32) for _ in range(100)]
    assert drawn == [two(32) for _ in range(100)]
    assert len(set(drawn)) == 100
    assert len(one(100)) == 100


@pytest.mark.parity("B13")
def test_the_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    start = clock.now()
    clock.advance(1.5)
    clock.advance(-0.5)
    assert clock.now() == start + 1000


def test_a_refusal_can_be_looked_up() -> None:
    pair = ExchangePair()
    result = pair.obtain(pair.login(), pair.want("orders")).results[0]
    assert isinstance(result, NotGranted)
    assert len(result.ref) == 8


class Acting(ExchangePair):
    """gateway calls billing, billing calls payroll, payroll calls ledger: each on behalf of the one before."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("gateway", "ledger", "approvals"):
            self.realm.add(name)
        self.realm.allow("gateway", "billing", "read", "write", delegable=True)
        self.realm.allow("billing", "payroll", "read", "write", delegable=True, behalf=True, subjects=["alice"])
        self.realm.allow("payroll", "ledger", "read", behalf=True)

    def ask(
        self, client: str, target: str, behalf: Behalf | None = None, *caveats: Caveat, **want: Any
    ) -> Granted | NotGranted:
        """One want of `client`, under its TGT narrowed by `caveats`."""
        return self.asked(self.login(client), target, behalf, *caveats, **want)

    def asked(
        self, login: AsReply, target: str, behalf: Behalf | None = None, *caveats: Caveat, **want: Any
    ) -> Granted | NotGranted:
        rows = [one.to_bytes() for one in caveats]
        pending = build_tgs_request(
            login.ticket, pop_key_of(tail_after(tail_of(login.session_key, login.ticket), rows)),
            [self.want(target, **want)], now=self.now, nonce=self.realm.entropy(16), caveats=join_caveats(rows),
            behalf=behalf,
        )  # fmt: skip
        return open_tgs_reply(pending, self.realm.handle(pending.message)).results[0]

    def granted(self, *asked: Any, **want: Any) -> Granted:
        result = self.ask(*asked, **want)
        assert isinstance(result, Granted), result
        return result

    def code(self, *asked: Any, **want: Any) -> str:
        """Why nothing is granted, whether the want or the whole request was refused."""
        try:
            result = self.ask(*asked, **want)
        except Refused as refusal:
            return refusal.code
        assert isinstance(result, NotGranted)
        return result.reason.name

    def opened(self, target: str, result: Granted) -> Ticket:
        return open_ticket(result.credential, self.realm.root(target).ticket_key())

    def evidence(self, result: Granted | IssuedTicket, *caveats: Caveat) -> Behalf:
        """What the target of a ticket shows of it, together with the caveats that came with it."""
        ticket = result.credential if isinstance(result, Granted) else result.ticket
        return Behalf(
            evidence=ticket, caveats=join_caveats([one.to_bytes() for one in caveats]),
            proof=evidence_proof(result.session_key or b"", ticket),
        )  # fmt: skip


DELEGABLE_WANT = {"flags": WANT_DELEGABLE}


@pytest.mark.parity("L19")
def test_a_call_on_behalf_carries_whom_it_is_for_and_whom_it_came_through() -> None:
    """Subject, chain and txn of the first call; auth_time and login key of the caller."""
    pair = Acting()
    first = pair.granted("gateway", "billing", **DELEGABLE_WANT)
    pair.realm.clock.advance(5)
    second = pair.granted("billing", "payroll", pair.evidence(first), **DELEGABLE_WANT)
    third = pair.granted("payroll", "ledger", pair.evidence(second))
    one, two, three = pair.opened("billing", first), pair.opened("payroll", second), pair.opened("ledger", third)
    gateway = Subject(principal("gateway"), pair.realm.root("gateway").uid, BY_EVIDENCE)
    assert (one.subject, two.subject, three.subject) == (None, gateway, gateway)
    assert second.subject == third.subject == gateway
    assert two.chain == (Hop(principal("gateway"), one.auth_time),)
    assert three.chain == (*two.chain, Hop(principal("billing"), two.auth_time))
    assert one.txn == two.txn == three.txn
    assert (three.client, three.flags) == (principal("payroll"), 0)
    assert (two.auth_time, two.flags) == (one.auth_time + 5, DELEGABLE)
    assert two.exp == one.exp
    assert two.ckid == pair.realm.root("billing").as_key().kid


def test_evidence_entitles_only_where_both_rules_say_so() -> None:
    """Evidence not delegable; the second rule must allow to act for others as well."""
    pair = Acting()
    plain = pair.granted("gateway", "billing")
    assert pair.code("billing", "payroll", pair.evidence(plain)) == "evidence-refused"
    delegable = pair.granted("gateway", "billing", **DELEGABLE_WANT)
    pair.realm.allow("billing", "payroll", "read")
    assert pair.code("billing", "payroll", pair.evidence(delegable)) == "subject-refused"
    pair.realm.allow("gateway", "billing", "read")
    assert pair.granted("gateway", "billing", **DELEGABLE_WANT).flags == 0


def test_evidence_ends() -> None:
    pair = Acting()
    short = pair.realm.issue("gateway", "billing", flags=DELEGABLE, lifetime_s=10)
    login = pair.login("billing")
    pair.realm.clock.advance(4)
    result = pair.asked(login, "payroll", pair.evidence(short))
    assert isinstance(result, Granted)
    assert result.ttl_s == 6
    pair.realm.clock.advance(6)
    with pytest.raises(KdcRefusal, match="evidence-refused"):
        pair.asked(login, "payroll", pair.evidence(short))
    for end in (0, pair.second):
        live = pair.realm.issue("gateway", "billing", flags=DELEGABLE)
        assert pair.code("billing", "payroll", pair.evidence(live, ExpiresCaveat(end))) == "evidence-refused"


def test_caveats_of_the_evidence_are_not_shed_by_an_honest_service() -> None:
    """Section 17, confused deputy: an honest service called by a restricted worker cannot shed the restriction."""
    pair = Acting()
    sealed = pair.realm.issue(
        "gateway", "billing", flags=DELEGABLE, caveats=[ExpiresCaveat(pair.second + 60).to_bytes()]
    )
    kept = pair.granted("billing", "payroll", pair.evidence(sealed, ScopesCaveat(("read",))))
    assert (kept.scopes, kept.ttl_s) == (("read",), 60)
    both = pair.evidence(sealed, ExpiresCaveat(pair.second + 30), ScopesCaveat(("read", "x")), ScopesCaveat(("write",)))
    left = pair.granted("billing", "payroll", both)
    assert (left.scopes, left.ttl_s) == ((), 30)
    for caveat in (MethodsCaveat(("GET",)), TargetsCaveat((principal("payroll"),)), AppCaveat("a/b", b"")):
        assert pair.code("billing", "payroll", pair.evidence(sealed, caveat)) == "caveat-not-carried"
        written = pair.realm.issue("gateway", "billing", flags=DELEGABLE, caveats=[caveat.to_bytes()])
        assert pair.code("billing", "payroll", pair.evidence(written)) == "caveat-not-carried"


def test_scopes_that_a_caveat_took_away_stay_away_along_the_chain() -> None:
    """Intersected, at the next hop as well: what is handed on keeps the caveat, what is not needs none."""
    pair = Acting()
    evidence = pair.evidence(pair.granted("gateway", "billing", **DELEGABLE_WANT), ScopesCaveat(("write",)))
    last = pair.granted("billing", "payroll", evidence)
    handed_on = pair.granted("billing", "payroll", evidence, **DELEGABLE_WANT)
    assert pair.opened("payroll", last).caveats == ()
    assert pair.opened("payroll", handed_on).caveats == (ScopesCaveat(("write",)).to_bytes(),)
    pair.realm.allow("payroll", "ledger", "read", "write", behalf=True)
    assert pair.granted("payroll", "ledger", pair.evidence(handed_on)).scopes == ("write",)


def test_loops_and_depth_end_at_the_kdc() -> None:
    """Target in chain, self in chain, depth 9."""
    pair = Acting()
    alice = Subject(principal("alice"), 0, BY_EVIDENCE)

    def came_through(*names: str) -> Behalf:
        chain = tuple(Hop(principal(name), 1) for name in names)
        ticket = pair.realm.issue("gateway", "billing", flags=DELEGABLE, chain=chain, subject=alice)
        return pair.evidence(ticket)

    assert pair.granted("billing", "payroll", came_through("a")).subject == alice
    assert pair.code("billing", "payroll", came_through("payroll")) == "chain-refused"
    assert pair.code("billing", "payroll", came_through("billing")) == "chain-refused"
    assert pair.granted("billing", "payroll", came_through(*"abcdefg")).ttl_s
    assert pair.code("billing", "payroll", came_through(*"abcdefgh")) == "chain-refused"


def test_a_subject_is_asserted_only_by_whom_the_rule_allows() -> None:
    pair = Acting()
    asserted = pair.granted("billing", "payroll", Behalf(subject=principal("alice")))
    assert asserted.subject == Subject(principal("alice"), 0, BY_ASSERTION)
    assert pair.opened("payroll", asserted).chain == ()
    assert pair.code("billing", "payroll", Behalf(subject=principal("bob"))) == "subject-refused"
    assert pair.code("gateway", "billing", Behalf(subject=principal("alice"))) == "subject-refused"


def test_a_narrowed_tgt_obtains_narrowed_tickets_and_nothing_else() -> None:
    """Neither delegable tickets, nor JWTs, nor behalf: a restricted worker stays one."""
    pair = Acting()
    pair.realm.allow("billing", "payroll", "read", "write", jwt=True, delegable=True, behalf=True, subjects=["alice"])
    narrow: list[Caveat] = [
        ScopesCaveat(("read",)), ExpiresCaveat(pair.second + 90), TargetsCaveat((principal("payroll"),))
    ]  # fmt: skip
    ok = pair.granted("billing", "payroll", None, *narrow)
    assert (ok.scopes, ok.ttl_s, pair.opened("payroll", ok).caveats) == (("read",), 90, ())
    assert pair.code("billing", "orders", None, *narrow) == "excluded-by-your-caveat"
    assert pair.code("billing", "payroll", None, *narrow, **DELEGABLE_WANT) == "excluded-by-your-caveat"
    assert pair.code("billing", "payroll", None, *narrow, kind=WANT_JWT) == "excluded-by-your-caveat"
    evidence = pair.evidence(pair.granted("gateway", "billing", **DELEGABLE_WANT))
    for behalf in (evidence, Behalf(subject=principal("alice"))):
        assert pair.code("billing", "payroll", behalf, *narrow) == "subject-refused"
    for lost in (MethodsCaveat(("GET",)), AppCaveat("a/b", b"")):
        assert pair.code("billing", "payroll", None, lost) == "caveat-not-carried"
    for end in (0, pair.second):
        assert pair.code("billing", "payroll", None, ExpiresCaveat(end)) == "excluded-by-your-caveat"


@pytest.mark.parity("L8")
def test_what_a_rule_demands_is_written_and_can_be_discharged() -> None:
    """The client learns the demands beside its ticket, in the order of their caveats."""
    pair = Acting()
    pair.realm.allow(
        "billing", "payroll", "read", caveats=[MethodsCaveat(("GET",))],
        discharges=[("approvals", "release"), ("ledger", "funds")],
    )  # fmt: skip
    result = pair.granted("billing", "payroll", limits=join_caveats([ScopesCaveat(()).to_bytes()]))
    rows = pair.opened("payroll", result).caveats
    assert rows[0] == MethodsCaveat(("GET",)).to_bytes()
    assert rows[3] == ScopesCaveat(()).to_bytes()
    for name, predicate, cid in zip(("approvals", "ledger"), ("release", "funds"), result.demands, strict=True):
        demand = open_demand(cid, pair.realm.keytab(name), now=pair.now)
        assert (demand.predicate, demand.about, demand.adder) == (predicate, principal("billing"), None)
        assert make_discharge(demand, cid, [], expires=pair.second + 9).expires == pair.second + 9
    pair.realm.allow("billing", "payroll", "read", discharges=[("nobody", "release")])
    assert pair.code("billing", "payroll") == "discharger-unavailable"


def test_what_a_client_has_written_into_its_ticket() -> None:
    """Want.limits: types 1 to 4, 6, 7 and 9, as many as there is room for."""
    pair = Acting()
    demand = ThirdPartyCaveat(principal("approvals"), None, bytes(32), bytes(32))
    for lost in (demand, TargetsCaveat((principal("payroll"),))):
        assert pair.code("billing", "payroll", limits=join_caveats([lost.to_bytes()])) == "caveat-not-carried"
    many = join_caveats([ScopesCaveat(()).to_bytes()] * 16)
    assert len(pair.opened("payroll", pair.granted("billing", "payroll", limits=many)).caveats) == 16
    pair.realm.allow("billing", "payroll", "read", caveats=[ScopesCaveat(("read",))])
    assert pair.code("billing", "payroll", limits=many) == "caveat-not-carried"


def test_evidence_for_somebody_else_gets_a_nak() -> None:
    pair = Acting()
    for ticket in (pair.realm.issue("gateway", "orders", flags=DELEGABLE), pair.realm.issue("billing", "payroll")):
        with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
            pair.ask("billing", "payroll", pair.evidence(ticket))
        assert any("unknown-key" in reason for reason in pair.realm.refusals.values())
