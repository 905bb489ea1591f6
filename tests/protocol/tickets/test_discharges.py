"""Demands and discharges: who can make one, who can read one, and what it takes to use one."""

import pickle
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import join_caveats, split_caveats, tail_after, tail_of
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    Caveat,
    ExpiresCaveat,
    ScopesCaveat,
    ThirdPartyCaveat,
    parse_caveat,
)
from orthros_protocol.tickets.discharges import (
    MAX_DEMAND_BYTES,
    Discharge,
    discharge_root,
    judge_discharge,
    make_discharge,
    narrow_discharge,
    open_discharge,
    peek_unverified_discharger,
    seal_discharge,
)
from tests.support.exchange_pair import principal
from tests.support.naive import dec, enc, kd, seal, sha256
from tests.support.third_parties import APPROVALS, PREDICATE, ThirdParties

TAIL = bytes(range(32))


def third_party(encoded: bytes) -> ThirdPartyCaveat:
    caveat = parse_caveat(encoded)
    assert isinstance(caveat, ThirdPartyCaveat)
    return caveat


@pytest.mark.parity("L8")
def test_what_a_holder_demands_the_discharger_reads() -> None:
    """The discharger learns whom and what it attests, and who asks for it."""
    pair = ThirdParties()
    made = pair.by_holder(TAIL, about=principal("alice"))
    demand = pair.opened(made.cid)
    assert (demand.about, demand.predicate, demand.expires) == (principal("alice"), PREDICATE, pair.second + 300)
    assert demand.adder == principal("billing")
    caveat = third_party(made.caveat)
    assert (caveat.discharger, caveat.root, caveat.cid_digest) == (APPROVALS, None, sha256(made.cid))
    assert peek_unverified_discharger(made.cid) is None


@pytest.mark.parity("L8")
def test_what_the_kdc_demands_the_discharger_reads() -> None:
    """Written by the KDC, for a rule that demands a discharge."""
    pair = ThirdParties()
    made = pair.by_kdc()
    demand = pair.opened(made.cid)
    assert (demand.about, demand.predicate, demand.adder) == (principal("billing"), PREDICATE, None)
    caveat = third_party(made.caveat)
    assert (caveat.discharger, caveat.salt, caveat.root) == (APPROVALS, None, demand.root)
    assert peek_unverified_discharger(made.cid) == APPROVALS


def test_both_constructions_lead_to_the_same_key() -> None:
    """Section 10: D0 = KD(r, "dis", H(cid)), whether r hangs off T(i) or is sealed in the ticket."""
    pair = ThirdParties()
    for made, tail in ((pair.by_holder(TAIL), TAIL), (pair.by_kdc(), bytes(32))):
        given_back = pair.discharge(made.cid, ScopesCaveat(("read",)))
        root = discharge_root(third_party(made.caveat), tail)
        assert given_back.tail == tail_after(root, split_caveats(given_back.caveats))
        assert root == kd(pair.opened(made.cid).root, "dis", sha256(made.cid))


def test_the_root_of_a_holder_depends_on_tail_place_and_salt() -> None:
    """R = KD(T(i), "3p-root", enc(loc, salt16))."""
    pair = ThirdParties()
    made = pair.by_holder(TAIL, salt=b"s" * 16)
    loc = ["test.realm", "approvals"]
    assert pair.opened(made.cid).root == kd(TAIL, "3p-root", enc(loc, b"s" * 16))
    roots = {pair.opened(pair.by_holder(tail, salt=salt).cid).root for tail in (TAIL, bytes(32))
             for salt in (bytes(16), b"s" * 16)}  # fmt: skip
    assert len(roots) == 4


def test_the_holder_can_discharge_what_he_adds_himself() -> None:
    """Inherent, and documented. It binds whoever gets the tail behind it, not him."""
    pair = ThirdParties()
    made = pair.by_holder(TAIL)
    root = discharge_root(third_party(made.caveat), TAIL)
    until = join_caveats([ExpiresCaveat(pair.second + 9).to_bytes()])
    own = Discharge(cid_digest=sha256(made.cid), caveats=until, tail=tail_after(root, split_caveats(until)))
    issued = pair.issue()
    tail = tail_of(issued.session_key, issued.ticket)
    made = pair.by_holder(tail)
    own = own.altered(tail=tail_after(discharge_root(third_party(made.caveat), tail), split_caveats(until)))
    accepted, _reply = pair.call(pair.present(issued, [own], caveats=(made.caveat,)))
    assert accepted.scopes == ("read", "write")


def test_a_client_cannot_discharge_what_the_kdc_demands() -> None:
    """The attack of section 10: were the root derived from k32, its own client could make the discharge itself.

    It tries every secret that it has, in both constructions; none of them is the root.
    """
    pair = ThirdParties()
    made = pair.by_kdc()
    issued = pair.issue(caveats=[made.caveat])
    until = join_caveats([ExpiresCaveat(pair.second + 60).to_bytes()])
    session, tail = issued.session_key, tail_of(issued.session_key, issued.ticket)
    place = enc(["test.realm", "approvals"], b"s" * 16)
    known = [session, tail, issued.pop_key, kd(session, "3p-root", place), kd(tail, "3p-root", place),
             kd(issued.pop_key, "3p"), sha256(made.cid), bytes(32)]  # fmt: skip
    for root in known:
        for start in (root, kd(root, "dis", sha256(made.cid))):
            forged = Discharge(cid_digest=sha256(made.cid), caveats=until, tail=tail_after(start, split_caveats(until)))
            with pytest.raises(PeerMisbehaved, match="wrong-mac"):
                pair.target.accept(pair.present(issued, [forged]).message)
    accepted, _reply = pair.call(pair.present(issued, [pair.discharge(made.cid)]))
    assert accepted.scopes == ("read", "write")


def test_only_the_discharger_opens_a_demand() -> None:
    pair = ThirdParties()
    for made in (pair.by_holder(TAIL), pair.by_kdc()):
        for name in ("billing", "payroll", "orders"):
            evolved = ThirdParties()
            evolved.keytab = pair.realm.keytab(name)
            with pytest.raises(PeerMisbehaved, match="unknown-key"):
                evolved.opened(made.cid)


def test_a_demand_ends() -> None:
    pair = ThirdParties()
    made = pair.by_kdc(expires=pair.second)
    with pytest.raises(Refused, match=r"discharge-refused.*ended"):
        pair.opened(made.cid)
    assert pair.opened(pair.by_kdc(expires=pair.second + 1).cid).expires == pair.second + 1


def test_a_demand_is_sealed_under_a_ticket_that_says_who_seals() -> None:
    """A ticket with caveats or in another's name would lend the adder's name to somebody who may not use it."""
    pair = ThirdParties()
    subject = [None, "alice", 0, 1]
    sealer = pair.sealer("approvals")
    body = sealer.open(pair.source().ticket)
    body[14] = subject
    issued = pair.realm.issue("billing", "approvals", caveats=[ScopesCaveat(()).to_bytes()])
    narrowed = evolve(pair.source(), ticket=issued.ticket, pop_key=issued.pop_key)
    with pytest.raises(Refused, match="caveat-refused"):
        pair.opened(pair.by_holder(TAIL, narrowed).cid)
    with pytest.raises(Refused, match="user-not-accepted"):
        pair.opened(pair.by_holder(TAIL, evolve(narrowed, ticket=sealer.seal(body))).cid)


def test_a_demand_names_its_adder_to_the_discharger() -> None:
    """Enc("3p", realm, adder, P) is bound, so nobody passes another's demand off as his own."""
    pair = ThirdParties()
    lying = evolve(pair.source(), adder=principal("payroll"))
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        pair.opened(pair.by_holder(TAIL, lying).cid)
    elsewhere = evolve(pair.source(), discharger=principal("orders"))
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        pair.opened(pair.by_holder(TAIL, elsewhere).cid)


def test_a_demand_of_the_kdc_is_for_one_discharger_and_version() -> None:
    pair = ThirdParties()
    realm, name, kvno, kid, box = dec(pair.by_kdc().cid)
    for forged in ((realm, "orders", kvno, kid, box), ("other.realm", name, kvno, kid, box),
                   (realm, name, 2, kid, box), (realm, name, kvno, bytes(8), box)):  # fmt: skip
        with pytest.raises(PeerMisbehaved, match="unknown-key"):
            pair.opened(enc(*forged))
    for shape in (b"", b"\x92", b"\x95", enc(), enc(realm, name, kvno, kid), enc(realm, name, 0, b"", box),
                  enc(pair.source().ticket, box, 1), enc(b"", box)):  # fmt: skip
        with pytest.raises(Malformed):
            pair.opened(shape)


@pytest.mark.parametrize("by_kdc", [True, False])
def test_every_flipped_bit_of_a_demand_is_noticed(by_kdc: bool) -> None:
    """Every single flipped bit of every message."""
    pair = ThirdParties()
    cid = (pair.by_kdc() if by_kdc else pair.by_holder(TAIL)).cid
    for at in range(len(cid) * 8):
        flipped = bytearray(cid)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(PeerMisbehaved):
            pair.opened(bytes(flipped))


@pytest.mark.parametrize(
    "changes",
    [{"predicate": ""}, {"predicate": "x" * 201}, {"predicate": "caf\u00e9"}, {"predicate": "a\nb"}, {"expires": -1},
     {"expires": 2**63}, {"entropy": b""}],
)  # fmt: skip
def test_a_demand_that_nobody_could_read_is_not_written(changes: dict[str, Any]) -> None:
    pair = ThirdParties()
    for build in (pair.by_kdc, lambda **given: pair.by_holder(TAIL, **given)):
        with pytest.raises(LocalMisuse):
            build(**changes)
    with pytest.raises(LocalMisuse):
        pair.by_kdc(root=bytes(31))
    with pytest.raises(LocalMisuse):
        pair.by_holder(TAIL, salt=bytes(15))


def test_the_longest_demands_fit() -> None:
    """Names of 128 characters and 200 of predicate; a ticket of a holder may take what is left of 4 KiB."""
    pair = ThirdParties()
    long = Principal("r" * 128, "n" * 128)
    assert len(pair.by_kdc(about=long, predicate="p" * 200).cid) < 1024
    scopes = tuple(sorted(f"{n:02}" + "x" * 62 for n in range(32)))
    made = pair.by_holder(TAIL, pair.source(scopes=scopes), about=long, predicate="p" * 200)
    assert len(made.cid) < MAX_DEMAND_BYTES
    assert pair.opened(made.cid).about == long


def test_a_discharge_never_outlives_its_demand() -> None:
    pair = ThirdParties()
    made = pair.by_kdc(expires=pair.second + 30)
    assert pair.discharge(made.cid, lifetime_s=600).expires == pair.second + 30
    assert pair.discharge(made.cid, lifetime_s=10).expires == pair.second + 10
    tighter = pair.discharge(made.cid, ExpiresCaveat(pair.second + 5))
    assert tighter.expires == pair.second + 5
    assert narrow_discharge(tighter, ExpiresCaveat(pair.second + 3)).expires == pair.second + 3


def test_a_discharge_demands_no_discharge() -> None:
    """No nesting."""
    pair = ThirdParties()
    made = pair.by_kdc()
    nested = third_party(pair.by_holder(TAIL).caveat)
    demand = pair.opened(made.cid)
    with pytest.raises(LocalMisuse, match="demands no discharge"):
        make_discharge(demand, made.cid, [nested], expires=pair.second + 9)
    with pytest.raises(LocalMisuse, match="demands no discharge"):
        narrow_discharge(pair.discharge(made.cid), nested)
    with pytest.raises(LocalMisuse):
        make_discharge(demand, made.cid, [ScopesCaveat(())] * 16, expires=pair.second + 9)


UNTIL = ExpiresCaveat(9).to_bytes()
BAD_DISCHARGES = {
    "no end": (join_caveats([ScopesCaveat(()).to_bytes()]), "discharge-mismatch"),
    "no caveat": (b"", "discharge-mismatch"),
    "nested": (
        join_caveats([UNTIL, ThirdPartyCaveat(APPROVALS, bytes(16), None, bytes(32)).to_bytes()]), "discharge-mismatch"
    ),
    "no list": (b"\xc0", "discharge-mismatch"),
    "empty list": (enc(), "discharge-mismatch"),
    "another shape": (enc(UNTIL, enc(2)), "discharge-mismatch"),
    "unknown type": (enc(UNTIL, enc(77)), "caveat-unsupported"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DISCHARGES)
def test_a_discharge_has_an_end_and_a_shape(name: str) -> None:
    """A discharge always carries at least an expires caveat; one without is refused."""
    field, code = BAD_DISCHARGES[name]
    with pytest.raises(Refused, match=code):
        judge_discharge(field)
    assert judge_discharge(join_caveats([UNTIL])) == (ExpiresCaveat(9),)


CAVEATS: list[Caveat] = [ScopesCaveat(("read",)), ScopesCaveat(()), ExpiresCaveat(2_000_000_000), AppCaveat("a/b", b"")]


@given(st.lists(st.sampled_from(CAVEATS), max_size=6))
def test_a_discharge_comes_back_from_its_box(caveats: list[Caveat]) -> None:
    pair = ThirdParties()
    made = pair.by_kdc()
    discharge = pair.discharge(made.cid, *caveats)
    box = seal_discharge(TAIL, bytes(32), discharge, entropy=pair.realm.entropy(24))
    assert open_discharge(TAIL, bytes(32), made.cid, box) == discharge
    assert judge_discharge(discharge.caveats)[1:] == tuple(caveats)


def test_every_flipped_bit_of_a_discharge_is_noticed() -> None:
    """Every single flipped bit of every message."""
    pair = ThirdParties()
    made = pair.by_kdc()
    box = seal_discharge(TAIL, bytes(32), pair.discharge(made.cid), entropy=bytes(24))
    for at in range(len(box) * 8):
        flipped = bytearray(box)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            open_discharge(TAIL, bytes(32), made.cid, bytes(flipped))


def test_a_discharge_answers_one_request() -> None:
    """Returned over the caller's own AP exchange, so a box of another request or caller does not open."""
    pair = ThirdParties()
    made = pair.by_kdc()
    box = seal_discharge(TAIL, bytes(32), pair.discharge(made.cid), entropy=bytes(24))
    for key, context in ((bytes(32), bytes(32)), (TAIL, b"x" * 32)):
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            open_discharge(key, context, made.cid, box)
    for cut in (b"", box[:-1], box + b"\0", box + bytes(9000)):
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            open_discharge(TAIL, bytes(32), made.cid, cut)


@pytest.mark.parametrize("plain", [enc(), enc(b"", TAIL), enc(b"x", b""), enc(b"x", TAIL, 1), enc("x", TAIL), b""])
def test_a_discharger_that_answers_something_else_is_not_believed(plain: bytes) -> None:
    box = seal(kd(TAIL, "dis-rep"), "dis-rep", bytes(32), plain, bytes(24))
    with pytest.raises(Malformed):
        open_discharge(TAIL, bytes(32), b"cid", box)


def test_a_discharge_without_end_is_not_taken_home() -> None:
    for field, code in BAD_DISCHARGES.values():
        if field:
            box = seal(kd(TAIL, "dis-rep"), "dis-rep", bytes(32), enc(field, TAIL), bytes(24))
            with pytest.raises(Refused, match=code):
                open_discharge(TAIL, bytes(32), b"cid", box)


def test_a_caveat_without_salt_and_root_leads_nowhere() -> None:
    with pytest.raises(Malformed, match="either a salt or a root"):
        discharge_root(ThirdPartyCaveat(APPROVALS, None, None, bytes(32)), TAIL)


def test_secrets_of_demands_and_discharges_do_not_show_or_travel() -> None:
    """Key material is excluded from repr and pickling."""
    pair = ThirdParties()
    source, made = pair.source(), pair.by_kdc()
    demand, discharge = pair.opened(made.cid), pair.discharge(made.cid)
    for holder, secret in (
        (source, source.pop_key), (made, demand.root), (demand, demand.root), (discharge, discharge.tail),
    ):  # fmt: skip
        assert repr(secret)[2:20] not in repr(holder)
        assert secret.hex()[:20] not in repr(holder)
        with pytest.raises(OrthrosError, match="secret-not-exported"):
            pickle.dumps(holder)
    issued = pair.issue(caveats=[made.caveat])
    assert repr(demand.root)[2:20] not in repr(pair.target.accept(pair.present(issued, [discharge]).message))
