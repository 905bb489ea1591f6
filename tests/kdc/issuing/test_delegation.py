"""What TGT and evidence leave to the tickets that are obtained with them: never more than either."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.audit.chain import genesis
from orthros_kdc.audit.events import TgsFacts
from orthros_kdc.issuing.delegation import Delegation, Parties, delegation_of
from orthros_kdc.issuing.tgs_exchange import (
    ENTROPY_PER_WANT,
    EXCLUDED,
    Gathered,
    WantFacts,
    WantGranted,
    WantRefused,
    decide_want,
    is_excluded,
)
from orthros_kdc.policy.ask_and_grant import PrincipalCaps, TargetFacts
from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.realm.principals import ClientView, TargetView
from orthros_kdc.realm.snapshot import RealmFacts, RealmKeys
from orthros_kdc.store.base import PolicyRows, PrincipalRecord, RealmRecord
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.tgs_exchange import OpenedTgt, TgsRequest
from orthros_protocol.exchanges.wants import Granted, Want
from orthros_protocol.keys.role_keys import KdcMacKey, RootKey, TgtKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal, scope_order
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat, TargetsCaveat, parse_caveat
from orthros_protocol.tickets.evidence import OpenedEvidence
from orthros_protocol.tickets.ticket import DELEGABLE, Hop, Subject, Ticket, open_ticket

REALM, NOW = "corp.test", 1_800_000_000
WEB, ORDERS, LEDGER = (Principal(REALM, name) for name in ("web", "orders", "ledger"))
SCOPES = ("read", "write", "admin")
KID = b"k" * 8
LEDGER_KEY = RootKey(bytes(range(32)), principal=LEDGER, uid=18, kvno=1).ticket_key()
MARK = KdcMacKey(bytes(range(32)), number=1)
TGT_KEY = TgtKey(bytes(range(1, 33)), principal=Principal(REALM, "kdc/tgt"), uid=1, kvno=1)


def record(name: str, uid: int, **facts: Any) -> PrincipalRecord:
    known: dict[str, Any] = {"uid": uid, "name": name, "created": NOW - 5000} | facts
    return PrincipalRecord(**known)


def client_view(name: str, uid: int, **facts: Any) -> ClientView:
    return ClientView(
        principal=record(name, uid, **facts), caps=PrincipalCaps(), live_login_kids=frozenset({KID}), ticket_keys={}
    )


def ticket(client: Principal, uid: int, server: Principal, **fields: Any) -> Ticket:
    known: dict[str, Any] = {
        "ticket_type": 2, "server": server, "server_uid": 17, "kvno": 1, "tid": bytes(16), "client": client,
        "client_uid": uid, "session_key": bytes(32), "iat": NOW - 60, "exp": NOW + 600, "auth_time": NOW - 100,
        "ckid": KID, "flags": DELEGABLE, "scopes": (), "txn": b"e" * 16, "mac_number": 1,
        "kmac": bytes(16), "caveats_field": join_caveats(fields.pop("caveats", ())),
    }  # fmt: skip
    return Ticket(**known | fields)


def request(
    *, tgt: dict[str, Any] | None = None, tgt_caveats: tuple[bytes, ...] = (), shown: Ticket | None = None,
    shown_caveats: tuple[bytes, ...] = (), asserted: Subject | None = None,
) -> TgsRequest:  # fmt: skip
    login = ticket(ORDERS, 17, TGT_KEY.principal, **{"txn": b"t" * 16, "flags": 1} | (tgt or {}))
    opened = OpenedTgt(ticket=login, caveats=tgt_caveats, pop_key=b"", reply_key=b"", error_key=b"")
    evidence = None if shown is None else OpenedEvidence(ticket=shown, caveats=shown_caveats, proof=b"")
    return TgsRequest(
        tgt=opened, evidence=evidence, asserted=asserted, ts=Timestamp(NOW * 1000), nonce=bytes(16), wants=b"",
        context=b"", replay_tag=b"", reply_key=b"", error_key=b"",
    )  # fmt: skip


PARTIES = Parties(not_before=0, caller=client_view("web", 16), subject=None, hops=())


def delegation(parties: Parties | None = PARTIES, **asked: Any) -> Delegation:
    return delegation_of(request(**asked), parties, Timestamp(NOW * 1000))


def detail_of(parties: Parties | None = PARTIES, **asked: Any) -> str:
    with pytest.raises(Refused) as refused:
        delegation(parties, **asked)
    return f"{refused.value.code}: {refused.value.detail}"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"exp": NOW}, "ticket-expired"),
        ({"iat": NOW - 86_400}, "ticket-times-invalid"),
        ({"iat": NOW + 301, "exp": NOW + 400}, "ticket-times-invalid"),
        ({"iat": NOW + 10, "exp": NOW + 5}, "ticket-times-invalid"),
        ({"flags": 0}, "it is not delegable"),
        ({"flags": 1}, "it is not delegable"),
        ({"ckid": b"o" * 8}, "the key of its login has been retired"),
        ({"auth_time": NOW - 5001}, "web@corp.test is somebody else now"),
        ({"client": LEDGER}, "ledger@corp.test no longer exists"),
    ],
)
def test_evidence_must_count_today(fields: dict[str, Any], why: str) -> None:
    """What the KDC's mark says was true then; the rest is judged now."""
    shown = ticket(WEB, 16, ORDERS).altered(**fields)
    assert detail_of(shown=shown).startswith("evidence-refused: ")
    assert why in detail_of(shown=shown)


@pytest.mark.parametrize(("login", "hop", "counts"), [(0, 0, True), (-1, 0, False), (0, -1, False)])
def test_evidence_of_a_login_from_before_a_restore_counts_no_more(login: int, hop: int, counts: bool) -> None:
    """That of its caller, and that of every hop; one in the very second counts."""
    since = NOW - 100
    shown = ticket(WEB, 16, ORDERS, auth_time=since + login, chain=(Hop(Principal(REALM, "edge"), since + hop),))
    parties = Parties(not_before=since, caller=client_view("web", 16), subject=None, hops=(client_view("edge", 21),))
    if counts:
        assert delegation(parties, shown=shown).path == ("edge", "web", "orders")
    else:
        assert detail_of(parties, shown=shown).startswith("evidence-refused: the realm takes no login")


@pytest.mark.parity("P10", "K20")
def test_everybody_whom_evidence_names_is_judged() -> None:
    """Caller, subject and every hop; and each of them alone is enough."""
    subject = Subject(Principal(REALM, "mobile"), 20, 1)
    chain = (Hop(Principal(REALM, "mobile"), NOW - 300), Hop(Principal(REALM, "edge"), NOW - 200))
    shown = ticket(WEB, 16, ORDERS, subject=subject, chain=chain)
    mobile, edge = client_view("mobile", 20), client_view("edge", 21)
    good = Parties(not_before=0, caller=client_view("web", 16), subject=client_view("mobile", 20), hops=(mobile, edge))
    assert delegation(good, shown=shown).path == ("mobile", "edge", "web", "orders")
    for parties, why in (
        (evolve(good, caller=None), "web@corp.test no longer exists"),
        (evolve(good, caller=client_view("web", 16, disabled=True)), "web@corp.test is disabled"),
        (evolve(good, subject=None), "mobile@corp.test no longer exists"),
        (evolve(good, subject=client_view("renamed", 20)), "mobile@corp.test no longer exists"),
        (evolve(good, subject=client_view("mobile", 20, disabled=True)), "mobile@corp.test is disabled"),
        (evolve(good, hops=(mobile, None)), "edge@corp.test no longer exists"),
        (evolve(good, hops=(mobile, client_view("edge", 21, disabled=True))), "edge@corp.test is disabled"),
        (
            evolve(good, hops=(mobile, client_view("edge", 21, created=NOW - 199))),
            "edge@corp.test is somebody else now",
        ),
        (
            evolve(good, hops=(mobile, evolve(edge, logins_since=NOW - 199))),
            "edge@corp.test: the key of its login has been retired",
        ),
        (evolve(good, hops=(client_view("mobile", 20, created=NOW), edge)), "mobile@corp.test is somebody else now"),
    ):
        assert detail_of(parties, shown=shown) == f"evidence-refused: {why}"
    assert detail_of(None, shown=shown).startswith("evidence-refused")


@pytest.mark.parity("P8")
def test_an_asserted_subject_is_nobody_to_look_for() -> None:
    """Number 0."""
    shown = ticket(WEB, 16, ORDERS, subject=Subject(Principal(REALM, "user/ada"), 0, 2))
    found = delegation(shown=shown)
    assert found.subject == shown.subject
    assert found.lineage is not None
    assert (found.lineage.subject, found.lineage.act) == ("user/ada", ("web@corp.test",))


@pytest.mark.parity("M6")
def test_a_chain_of_eight_is_full() -> None:
    """The client of the evidence would be the ninth."""
    hops = tuple(Hop(Principal(REALM, f"h{number}"), NOW) for number in range(8))
    records = tuple(client_view(f"h{number}", 30 + number) for number in range(8))
    seven = ticket(WEB, 16, ORDERS, chain=hops[:7])
    assert len(delegation(evolve(PARTIES, hops=records[:7]), shown=seven).chain) == 8
    eight = ticket(WEB, 16, ORDERS, chain=hops)
    assert detail_of(evolve(PARTIES, hops=records), shown=eight).startswith("chain-refused")


def test_a_tgt_with_caveats_asks_for_itself_alone() -> None:
    narrowed = (ScopesCaveat(("read",)).to_bytes(),)
    assert delegation(None, tgt_caveats=narrowed).scopes == frozenset({"read"})
    ada = Subject(Principal(REALM, "user/ada"), 0, 2)
    assert detail_of(None, tgt_caveats=narrowed, asserted=ada).startswith("subject-refused")
    assert detail_of(tgt_caveats=narrowed, shown=ticket(WEB, 16, ORDERS)).startswith("subject-refused")


def test_targets_on_evidence_are_not_carried() -> None:
    """That caveat is for TGTs alone."""
    targets = TargetsCaveat((LEDGER,)).to_bytes()
    assert delegation(None, tgt_caveats=(targets,)).targets == frozenset({LEDGER})
    assert detail_of(shown=ticket(WEB, 16, ORDERS), shown_caveats=(targets,)).startswith("caveat-not-carried")
    assert detail_of(shown=ticket(WEB, 16, ORDERS, caveats=(targets,))).startswith("caveat-not-carried")


# From what was shown to what is sealed

KEYS = RealmKeys(
    seq=1, tgt_keys={TGT_KEY.kid: TGT_KEY}, mac_keys={1: MARK}, services={}, newest_tgt=TGT_KEY, newest_mac=MARK
)
TARGET = TargetView(principal=record("ledger", 18), facts=TargetFacts(), ticket_key=LEDGER_KEY)


def realm_of(*rules: Rule) -> RealmFacts:
    limits = RealmLimits(max_ticket_s=86_400)
    about = RealmRecord(realm=REALM, issuer="https://corp.test", limits=limits, created=NOW, key_check=b"")
    policy = PolicySnapshot(PolicyRows(seq=1, rules=rules, groups={}))
    return RealmFacts(record=about, not_before=0, keys=KEYS, policy=policy, changed_by=genesis("admin"))


def rule(**terms: Any) -> Rule:
    known: dict[str, Any] = {
        "rule_id": 1, "client": Selector("orders"), "target": Selector("ledger"), "scopes": SCOPES, "delegable": True,
        "behalf": ("*",), "subjects": ("user/*",),
    }  # fmt: skip
    return Rule(**known | terms)


def decided(found: Delegation, want: Want, *rules: Rule) -> WantGranted | WantRefused:
    about = TgsFacts(at=Timestamp(NOW * 1000), kdc_id="kdc-1", client="orders")
    gathered = Gathered(
        realm=realm_of(*rules), caller=client_view("orders", 17), delegation=found, about=about, address=""
    )
    facts = EXCLUDED if is_excluded(want, found, about.at) else WantFacts(rules, TARGET)
    return decide_want(want, facts, gathered, entropy=bytes(ENTROPY_PER_WANT))


scope_sets = st.lists(st.sampled_from(SCOPES), max_size=3).map(tuple)
expires = st.integers(NOW + 1, NOW + 2000).map(ExpiresCaveat)
carried = st.lists(expires | scope_sets.map(ScopesCaveat), max_size=4).map(
    lambda caveats: tuple(caveat.to_bytes() for caveat in caveats)
)
seconds = st.integers(NOW + 1, NOW + 3000)
subjects = st.none() | st.just(Subject(Principal(REALM, "user/ada"), 0, 2)) | st.just(Subject(WEB, 16, 1))
hop_times = st.lists(st.integers(NOW - 4000, NOW), max_size=5)


def scopes_left(*blobs: tuple[bytes, ...]) -> set[str]:
    left = set(SCOPES)
    for blob in blobs:
        for one in map(parse_caveat, blob):
            left &= set(one.scopes) if isinstance(one, ScopesCaveat) else left
    return left


def ends(*blobs: tuple[bytes, ...]) -> list[int]:
    return [one.at for blob in blobs for one in map(parse_caveat, blob) if isinstance(one, ExpiresCaveat)]


@frozen
class Case:
    """Evidence with caveats inside and beside it, a login, and a rule."""

    inside: tuple[bytes, ...]
    beside: tuple[bytes, ...]
    tgt_exp: int
    exp: int
    subject: Subject | None
    times: list[int]
    max_ttl: int | None
    ttl: int
    flags: int


cases = st.builds(
    Case, inside=carried, beside=carried, tgt_exp=seconds, exp=seconds, subject=subjects, times=hop_times,
    max_ttl=st.none() | st.integers(1, 3000), ttl=st.integers(0, 5000), flags=st.sampled_from((0, 2)),
)  # fmt: skip


@pytest.mark.parity("K18", "L23", "B5")
@given(cases)
def test_a_ticket_on_behalf_never_exceeds_what_it_rests_on(case: Case) -> None:
    """Exp, scopes and caveats are within evidence, TGT and rule; chain and txn are copied exactly."""
    chain = tuple(Hop(Principal(REALM, f"h{number}"), at) for number, at in enumerate(case.times))
    shown = ticket(WEB, 16, ORDERS, exp=case.exp, caveats=case.inside, subject=case.subject, chain=chain)
    parties = Parties(
        not_before=0,
        caller=client_view("web", 16),
        subject=client_view("web", 16),
        hops=tuple(client_view(hop.principal.name, 30) for hop in chain),
    )
    found = delegation(parties, tgt={"exp": case.tgt_exp}, shown=shown, shown_caveats=case.beside)
    written = rule(max_ttl_s=case.max_ttl, methods=("GET",))
    result = decided(found, Want(target=LEDGER, ttl_s=case.ttl, flags=case.flags), written).result
    assert isinstance(result, Granted)
    sealed = open_ticket(result.credential, LEDGER_KEY)
    caps = [case.tgt_exp, case.exp, *ends(case.inside, case.beside), NOW + 86_400]
    caps += [NOW + cap for cap in (case.max_ttl, case.ttl or None) if cap is not None]
    assert sealed.exp == min(caps)
    assert set(sealed.scopes) == scopes_left(case.inside, case.beside)
    assert sealed.scopes == tuple(sorted(sealed.scopes, key=scope_order)) == result.scopes
    # What may go further keeps the scopes caveat.
    limited = any(isinstance(parse_caveat(one), ScopesCaveat) for one in (*case.inside, *case.beside))
    kinds = ["ScopesCaveat", "MethodsCaveat"] if limited and case.flags else ["MethodsCaveat"]
    assert [type(parse_caveat(one)).__name__ for one in sealed.caveats] == kinds
    assert scopes_left(sealed.caveats) == (set(sealed.scopes) if case.flags else set(SCOPES))
    assert sealed.chain == (*chain, Hop(WEB, shown.auth_time))
    assert sealed.txn == shown.txn
    assert sealed.subject == result.subject == (case.subject or Subject(WEB, 16, 1))
    assert (sealed.client, sealed.client_uid, sealed.auth_time) == (ORDERS, 17, NOW - 100)
    assert sealed.flags & ~case.flags == 0


@pytest.mark.parity("B4", "L7")
@given(caveats=carried, tgt_exp=seconds, scopes=st.none() | scope_sets)
def test_a_narrowed_tgt_never_obtains_more_than_is_left(
    caveats: tuple[bytes, ...], tgt_exp: int, scopes: tuple[str, ...] | None
) -> None:
    """Adding any caveat never grants more."""
    want = Want(target=LEDGER, scopes=scopes)
    whole = decided(delegation(None, tgt={"exp": tgt_exp}), want, rule()).result
    result = decided(delegation(None, tgt={"exp": tgt_exp}, tgt_caveats=caveats), want, rule()).result
    assert isinstance(whole, Granted)
    if not isinstance(result, Granted):
        assert scopes
        assert not set(scopes) & scopes_left(caveats)
        return
    assert NOW + result.ttl_s == min([tgt_exp, NOW + 86_400, *ends(caveats)])
    assert set(result.scopes) == set(whole.scopes) & scopes_left(caveats)
    for more in (ScopesCaveat(("read",)).to_bytes(), ExpiresCaveat(NOW + 50).to_bytes()):
        less = decided(delegation(None, tgt={"exp": tgt_exp}, tgt_caveats=(*caveats, more)), want, rule()).result
        if isinstance(less, Granted):
            assert set(less.scopes) <= set(result.scopes)
            assert less.ttl_s <= result.ttl_s


def test_limits_come_behind_the_caveats_of_rules() -> None:
    """Both bind; the order is that of the rules, and then of the request."""
    limits = [ScopesCaveat(("read",)).to_bytes(), ExpiresCaveat(NOW + 5).to_bytes()]
    written = rule(methods=("GET",), path="/x")
    result = decided(delegation(None), Want(target=LEDGER, limits=join_caveats(limits)), written).result
    assert isinstance(result, Granted)
    sealed = open_ticket(result.credential, LEDGER_KEY)
    assert [one[1] for one in sealed.caveats] == [3, 4, 2, 1]
    assert sealed.caveats[2:] == tuple(limits)
