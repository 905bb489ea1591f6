"""Third-party discharges under attack: by the client, by neighbours, by other dischargers and by those who listen."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve

from orthros_client import Credentials, DischargeRefused, Discharges
from orthros_client.credentials.discharging import DischargeExchange, ask, asking
from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import USE_RAW, TargetRefusal, parse_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.tickets.attenuation import join_caveats, mix_discharges, pop_key_of, split_caveats, tail_after
from orthros_protocol.tickets.caveats import ExpiresCaveat, PathCaveat, ScopesCaveat, ThirdPartyCaveat, parse_caveat
from orthros_protocol.tickets.discharges import DISCHARGE_ENDPOINT, Discharge, narrow_discharge, open_demand
from tests.support.naive import dec, enc, kd, sha256
from tests.support.parties import (
    ENDPOINT,
    PREDICATE,
    HostClock,
    Parties,
    call,
    deliver,
    epoch_of,
    forge,
    refused_as,
)


@pytest.fixture
def parties() -> Parties:
    """The KDC demands a discharge of `approvals` for web's calls of orders; ledger is called without."""
    parties = Parties()
    parties.realm.allow("web", "orders", "read", "write", discharges=[("approvals", PREDICATE)])
    return parties


def given(parties: Parties, credentials: Credentials, who: str = "web") -> list[Discharge]:
    """Real discharges for everything that `credentials` demand, in order."""
    obtain = parties.obtain(who, parties.discharger())
    return [obtain(demanded) for demanded in credentials.demanded]


def by_holder(parties: Parties, credentials: Credentials) -> Credentials:
    return credentials.demand(parties.credentials("web", "approvals"), PREDICATE)


def present(
    parties: Parties,
    verifier: Verifier,
    credentials: Credentials,
    discharges: list[Discharge],
    *,
    shown: list[bytes] | None = None,
) -> None:
    """Presents by hand whatever an attacker mixes and shows; raises what the verifier raises."""
    key = mix_discharges(pop_key_of(credentials.tail), [one.tail for one in discharges])
    fields = [one.caveats for one in discharges] if shown is None else shown
    pending = forge(
        parties, credentials.ticket, key, epoch=epoch_of(verifier, credentials),
        caveats=join_caveats(credentials.caveats), discharges=fields,
    )  # fmt: skip
    verifier.accept(pending.message, ENDPOINT)


def self_made(root: bytes, cid: bytes, *caveats: bytes) -> Discharge:
    """What somebody who believes in `root` makes of it: `caveats`, or five minutes."""
    shown = caveats or (ExpiresCaveat(1_800_000_300).to_bytes(),)
    tail = tail_after(kd(root, "dis", sha256(cid)), shown)
    return Discharge(cid_digest=digest(cid), caveats=join_caveats(shown), tail=tail)


@pytest.mark.parity("L8")
def test_missing(parties: Parties) -> None:
    """The target refuses under MAC, and says of whom; half of them are not enough."""
    verifier = parties.verifier()
    credentials = by_holder(parties, parties.credentials("web", "orders"))
    with pytest.raises(TargetRefusal, match=r"0 presented, demanded of approvals@test\.realm, approvals@test\.realm"):
        call(credentials, verifier)
    first, second = given(parties, credentials)
    assert refused_as(credentials.with_discharges([first]), verifier) == "discharge-mismatch"
    assert refused_as(credentials.with_discharges([second]), verifier) == "discharge-mismatch"
    assert refused_as(credentials.with_discharges([second, first]), verifier) == "accepted"


def test_extra(parties: Parties) -> None:
    """Exact count, also where none is demanded."""
    verifier, ledger = parties.verifier(), parties.verifier("ledger")
    credentials = parties.credentials("web", "orders")
    (one,) = given(parties, credentials)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        present(parties, verifier, credentials, [one, one])
    key = mix_discharges(pop_key_of(credentials.tail), [one.tail])
    epoch = epoch_of(verifier, credentials)
    pending = forge(parties, credentials.ticket, key, epoch=epoch, discharges=[one.caveats, one.caveats])
    with pytest.raises(Refused, match="discharge-mismatch"):
        verifier.accept(pending.message, ENDPOINT)
    plain = parties.credentials("web", "ledger")
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        present(parties, ledger, plain, [one])
    with pytest.raises(LocalMisuse, match="does not demand"):
        plain.with_discharges([one])


@pytest.mark.parity("L8")
def test_foreign(parties: Parties) -> None:
    """A discharge of another ticket, even of the same client, target, predicate and second."""
    verifier = parties.verifier()
    credentials, another = parties.credentials("web", "orders"), parties.credentials("web", "orders")
    (theirs,) = given(parties, another)
    with pytest.raises(LocalMisuse, match="does not demand"):
        credentials.with_discharges([theirs])
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        present(parties, verifier, credentials, [theirs])
    renamed = theirs.altered(cid_digest=credentials.demanded[0].cid_digest)
    epoch_of(verifier, credentials)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verifier.accept(credentials.with_discharges([renamed]).present(bind_raw(ENDPOINT)).request, ENDPOINT)


@pytest.mark.parity("L8")
def test_expired(parties: Parties) -> None:
    """It ends when its discharger said, whatever is left of the ticket."""
    verifier = parties.verifier()
    credentials = parties.credentials("web", "orders")
    full = credentials.with_discharges(given(parties, credentials))
    assert full.expires_in_s == 60
    call(full, verifier)
    parties.realm.clock.advance(60)
    assert full.expires_in_s == 0
    assert refused_as(full, verifier) == "caveat-refused"
    assert refused_as(credentials.with_discharges(given(parties, credentials)), verifier) == "accepted"


@pytest.mark.parametrize("caveats", [(), (ScopesCaveat(("read",)).to_bytes(),)], ids=["bare", "scopes-only"])
def test_without_an_end(parties: Parties, caveats: tuple[bytes, ...]) -> None:
    """A discharge always carries an expires caveat; a discharger that forgets it gives nothing."""
    credentials = parties.credentials("web", "orders")
    (cid,) = credentials.demands
    demand = open_demand(cid, parties.realm.keytab("approvals"), now=parties.realm.clock.now())
    tail = tail_after(kd(demand.root, "dis", sha256(cid)), caveats)
    endless = Discharge(cid_digest=sha256(cid), caveats=join_caveats(caveats), tail=tail)
    with pytest.raises(Refused, match="without an end"):
        present(parties, parties.verifier(), credentials, [endless])
    with pytest.raises(Refused, match="without an end"):
        credentials.with_discharges([endless])


def test_nested(parties: Parties) -> None:
    """No nesting, whoever made it."""
    credentials = parties.credentials("web", "orders")
    (cid,) = credentials.demands
    demand = open_demand(cid, parties.realm.keytab("approvals"), now=parties.realm.clock.now())
    inner = ThirdPartyCaveat(parties.realm.principal("auditors"), bytes(16), None, bytes(32))
    nested = self_made(demand.root, cid, ExpiresCaveat(1_800_000_300).to_bytes(), inner.to_bytes())
    with pytest.raises(Refused, match="demands a discharge"):
        present(parties, parties.verifier(), credentials, [nested])
    (honest,) = given(parties, credentials)
    with pytest.raises(LocalMisuse, match="demands no discharge"):
        narrow_discharge(honest, inner)


def test_reordered(parties: Parties) -> None:
    """Each in order, the KDC's first. The library sorts them; an attacker's order fails."""
    verifier = parties.verifier()
    credentials = by_holder(parties, by_holder(parties, parties.credentials("web", "orders")))
    three = given(parties, credentials)
    for order in itertools.permutations(three):
        assert refused_as(credentials.with_discharges(order), verifier) == "accepted"
        if list(order) != three:
            with pytest.raises(PeerMisbehaved, match="wrong-mac"):
                present(parties, verifier, credentials, list(order))
    present(parties, verifier, credentials, three)


def test_the_order_is_the_kdcs_first_and_then_that_of_the_caveats(parties: Parties) -> None:
    """Tails of KDC-written third-party caveats are mixed before those of holders."""
    parties.realm.allow(
        "web", "orders", "read", discharges=[("approvals", PREDICATE), ("auditors", "signed off")]
    )  # fmt: skip
    credentials = parties.credentials("web", "orders").narrow(scopes=["read"])
    credentials = credentials.demand(parties.credentials("web", "auditors"), "second look").narrow(lifetime=600)
    credentials = by_holder(parties, credentials)
    named = [one.discharger.name for one in credentials.demanded if one.discharger is not None]
    assert named == ["approvals", "auditors", "auditors", "approvals"]
    assert len(credentials.demanded) == 4
    with pytest.raises(LocalMisuse, match="at most 4"):
        by_holder(parties, credentials)


@pytest.mark.parity("L8")
def test_the_client_cannot_discharge_what_the_kdc_demands(parties: Parties) -> None:
    """The named attack: the client knows k32, all tails, the demand and its own keys. The root is none of them."""
    granted = parties.granted("web", "orders")
    assert granted.session_key is not None
    (cid,) = granted.demands
    credentials = parties.credentials("web", "orders")
    credentials = evolve(
        credentials, ticket=granted.credential, demands=granted.demands,
        tail=kd(granted.session_key, "chain0", sha256(granted.credential)),
    )  # fmt: skip
    verifier = parties.verifier()
    t0, k32 = credentials.tail, granted.session_key
    _realm, _name, _kvno, _kid, box = dec(cid)
    loc = ["test.realm", "approvals"]
    to_discharger = parties.credentials("web", "approvals")
    own = parties.realm.root("web").material
    known = [
        k32, t0, pop_key_of(t0), kd(t0, "3p"), to_discharger.tail, pop_key_of(to_discharger.tail),
        own, sha256(cid), sha256(box), sha256(credentials.ticket), bytes(32), box[:32], box[24:56], box[-32:],
    ]  # fmt: skip
    salts = [bytes(16), sha256(cid)[:16], box[:16]]
    roots = list(known)
    for key in known:
        roots += [kd(key, "3p-root", enc(loc, salt)) for salt in salts]
        roots += [kd(key, "3p-root"), kd(key, "3p"), kd(key, "dis", sha256(cid)), kd(key, "cav", cid)]
    for root in roots:
        forged = self_made(root, cid)
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            present(parties, verifier, credentials, [forged])
        bare = forged.altered(tail=root)  # the guess as the tail itself
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            present(parties, verifier, credentials, [bare])
    for without in ([], [join_caveats([ExpiresCaveat(1_800_000_300).to_bytes()])]):
        with pytest.raises((PeerMisbehaved, Refused), match=r"wrong-mac|discharge-mismatch"):
            present(parties, verifier, credentials, [], shown=without)
    assert refused_as(credentials.with_discharges(given(parties, credentials)), verifier) == "accepted"


def test_the_kdcs_demand_dressed_as_a_holders(parties: Parties) -> None:
    """A caveat of the client's own for the KDC's demand does not stand in for the sealed one: its root is another."""
    verifier, credentials = parties.verifier(), parties.credentials("web", "orders")
    (cid,) = credentials.demands
    caveat = ThirdPartyCaveat(parties.realm.principal("approvals"), bytes(16), None, sha256(cid)).to_bytes()
    root = kd(credentials.tail, "3p-root", enc(["test.realm", "approvals"], bytes(16)))
    dressed = evolve(
        credentials,
        caveats=(caveat,),
        tail=type(credentials.tail)(tail_after(credentials.tail, [caveat])),
    )
    mine = self_made(root, cid)
    with pytest.raises(Refused, match="discharge-mismatch"):
        present(parties, verifier, dressed, [], shown=[])
    for pair in ([mine], [mine, mine]):
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            present(parties, verifier, dressed, pair)


def test_a_root_outside_the_sealed_body_is_no_caveat(parties: Parties) -> None:
    """A holder who writes a root of his own where only the KDC may."""
    credentials = parties.credentials("web", "ledger")
    root = b"r" * 32
    caveat = ThirdPartyCaveat(parties.realm.principal("approvals"), None, root, sha256(b"cid")).to_bytes()
    chosen = evolve(credentials, caveats=(caveat,), tail=type(credentials.tail)(tail_after(credentials.tail, [caveat])))
    with pytest.raises(Malformed):
        present(parties, parties.verifier("ledger"), chosen, [self_made(root, b"cid")])


def test_a_holder_can_discharge_what_he_adds_himself(parties: Parties) -> None:
    """Section 10, inherent and documented: whoever holds the tail before the caveat. Whoever is behind it cannot."""
    ledger = parties.verifier("ledger")
    before = parties.credentials("web", "ledger")
    after = by_holder(parties, before)
    parsed = parse_caveat(after.caveats[0])
    assert isinstance(parsed, ThirdPartyCaveat)
    place = enc(["test.realm", "approvals"], parsed.salt)
    mine = self_made(kd(before.tail, "3p-root", place), after.demands[0])
    assert refused_as(after.with_discharges([mine]), ledger) == "accepted"
    for key in (after.tail, pop_key_of(after.tail), sha256(after.ticket)):
        behind = self_made(kd(key, "3p-root", place), after.demands[0])
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            present(parties, ledger, after, [behind])


def test_edited_caveats_of_a_discharge(parties: Parties) -> None:
    """Shown are caveats, proven is the tail behind them."""
    verifier = parties.verifier()
    credentials = parties.credentials("web", "orders")
    (honest,) = given(parties, credentials)
    strict = narrow_discharge(honest, ScopesCaveat(("read",)))
    assert call(credentials.with_discharges([strict]), verifier).scopes == {"read"}
    end, scopes = split_caveats(strict.caveats)
    later = ExpiresCaveat(1_800_009_000).to_bytes()
    for edited in ((end,), (scopes,), (scopes, end), (later, scopes), (end, scopes, scopes), ()):
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            present(parties, verifier, credentials, [strict], shown=[join_caveats(edited)])
    assert refused_as(credentials.with_discharges([narrow_discharge(honest, PathCaveat("/a"))]), verifier) == (
        "caveat-refused"
    )


def test_the_demand_of_another_ticket(parties: Parties) -> None:
    """The digest of the demand is in the caveat: swapping demands in hand swaps nothing at the target."""
    verifier = parties.verifier()
    credentials, another = parties.credentials("web", "orders"), parties.credentials("web", "orders")
    swapped = evolve(credentials, demands=another.demands)
    full = Discharges(clock=HostClock(parties.realm.clock)).collect(
        swapped, parties.obtain("web", parties.discharger())
    )
    epoch_of(verifier, credentials)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verifier.accept(full.present(bind_raw(ENDPOINT)).request, ENDPOINT)


def test_a_discharger_does_not_speak_about_who_did_not_ask(parties: Parties) -> None:
    """Eve shows web's demand; replays web's question; puts another demand into it."""
    discharger, verifier = parties.discharger(), parties.verifier("approvals")
    (cid,) = parties.credentials("web", "orders").demands
    (other,) = parties.credentials("web", "orders").demands
    with pytest.raises(DischargeRefused, match=r"eve@test\.realm may not ask about web@test\.realm"):
        ask(parties.credentials("eve", "approvals"), cid, deliver(discharger))
    web = parties.credentials("web", "approvals")
    epoch_of(verifier, web)
    asked = web.authenticate(DISCHARGE_ENDPOINT, cid, safe=True)
    verifier.accept(asked.request, DISCHARGE_ENDPOINT, cid)
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(asked.request, DISCHARGE_ENDPOINT, cid)
    again = web.authenticate(DISCHARGE_ENDPOINT, cid, safe=True)
    with pytest.raises(Refused, match="wrong-binding"):
        verifier.accept(again.request, DISCHARGE_ENDPOINT, other)
    elsewhere = web.authenticate(ENDPOINT, cid, safe=True)
    with pytest.raises(Refused, match="wrong-binding"):
        verifier.accept(elsewhere.request, DISCHARGE_ENDPOINT, cid)


@pytest.mark.parity("B4")
def test_a_stolen_answer_is_worthless(parties: Parties) -> None:
    """The box opens for the very request that asked, and its caveats alone prove nothing."""
    discharger, verifier = parties.discharger(), parties.verifier()
    credentials, web, eve = (
        parties.credentials("web", "orders"),
        parties.credentials("web", "approvals"),
        parties.credentials("eve", "approvals"),
    )
    (cid,) = credentials.demands
    taken: list[tuple[bytes, bytes]] = []

    def tap(exchange: DischargeExchange) -> tuple[bytes, bytes]:
        taken.append(deliver(discharger)(exchange))
        return taken[-1]

    honest = ask(web, cid, tap)
    box = taken[-1][1]
    assert honest.tail not in box
    for one in (web, eve):
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            one.authenticate(DISCHARGE_ENDPOINT, cid, safe=True).finish_discharge(cid, box)
    known = honest.altered(tail=bytes(32))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        present(parties, verifier, credentials, [known])
    full = credentials.with_discharges([honest])
    epoch_of(verifier, credentials)
    captured = full.present(bind_raw(ENDPOINT)).request
    verifier.accept(captured, ENDPOINT)
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(captured, ENDPOINT)
    shown = parse_ap_request(captured).discharges
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        present(parties, verifier, credentials, [], shown=list(shown))


def test_a_demand_reflected_to_its_adder(parties: Parties) -> None:
    """A symmetric key has no direction, so the context has: the adder, though a discharger itself, opens none."""
    demanding = by_holder(parties, parties.credentials("web", "ledger"))
    (cid,) = demanding.demands
    own = parties.discharger(service="web")
    with pytest.raises(DischargeRefused, match="unknown-key"):
        ask(parties.credentials("worker", "web"), cid, deliver(own))
    _ticket, box = dec(cid)
    parties.realm.allow("approvals", "web")
    back = parties.credentials("approvals", "web")
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_demand(enc(back.ticket, box), parties.realm.keytab("web"), now=parties.realm.clock.now())


def test_an_answer_reflected_as_a_question(parties: Parties) -> None:
    """What a discharger answers is no request, no demand and no discharge of another."""
    discharger = parties.discharger()
    web = parties.credentials("web", "approvals")
    (cid,) = parties.credentials("web", "orders").demands
    epoch_of(parties.verifier("approvals"), web)
    exchange = next(asking(web, cid))
    assert isinstance(exchange, DischargeExchange)
    with pytest.raises(Refused, match="epoch-required") as told:
        parties.verifier("approvals").accept(exchange.request, DISCHARGE_ENDPOINT, cid)
    assert told.value.reply is not None
    reply, box = discharger.serve(exchange.request, cid)
    assert box == b""
    for message in (reply, box, cid):
        with pytest.raises(PeerMisbehaved):
            discharger.serve(message, cid)
    for bogus in (b"", reply, exchange.request, web.ticket):
        with pytest.raises(DischargeRefused, match="the demand"):
            ask(web, bogus, deliver(discharger))


def test_a_demand_for_another_discharger(parties: Parties) -> None:
    """`auditors` can neither read nor answer what is demanded of `approvals`."""
    (cid,) = parties.credentials("web", "orders").demands
    auditors = parties.discharger(service="auditors")
    with pytest.raises(DischargeRefused, match="unknown-key"):
        ask(parties.credentials("web", "auditors"), cid, deliver(auditors))


def test_every_changed_byte_of_a_demand(parties: Parties) -> None:
    """A bit flipped anywhere; the kind of error is the discharger's own business."""
    keytab, now = parties.realm.keytab("approvals"), parties.realm.clock.now()
    of_kdc = parties.credentials("web", "orders").demands[0]
    of_holder = by_holder(parties, parties.credentials("web", "ledger")).demands[0]
    for cid in (of_kdc, of_holder):
        open_demand(cid, keytab, now=now)
        for at in range(len(cid)):
            altered = bytearray(cid)
            altered[at] ^= 0x04
            with pytest.raises((PeerMisbehaved, Refused)):
                open_demand(bytes(altered), keytab, now=now)


def test_a_malicious_discharger_cannot_widen(parties: Parties) -> None:
    """A discharger attests or does not; it adds neither scopes nor life, and cannot use the ticket itself."""
    verifier = parties.verifier()
    credentials = parties.credentials("web", "orders").narrow(scopes=["read"], lifetime=30)
    (cid,) = credentials.demands
    demand = open_demand(cid, parties.realm.keytab("approvals"), now=parties.realm.clock.now())
    generous = self_made(
        demand.root, cid, ExpiresCaveat(2**40).to_bytes(), ScopesCaveat(("admin", "read", "write")).to_bytes()
    )
    full = credentials.with_discharges([generous])
    assert full.expires_in_s == 30
    assert call(full, verifier).scopes == {"read"}
    for key in (demand.root, generous.tail, kd(demand.root, "chain0", sha256(credentials.ticket))):
        pending = forge(
            parties, credentials.ticket, mix_discharges(pop_key_of(key), [generous.tail]), use=USE_RAW,
            epoch=epoch_of(verifier, credentials), discharges=[generous.caveats],
        )  # fmt: skip
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            verifier.accept(pending.message, ENDPOINT)
