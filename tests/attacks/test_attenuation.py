"""What a delegate, a thief of traffic and a neighbour can do with narrowed credentials: nothing that was taken away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client import Credentials
from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import USE_CHANNEL, TargetRefusal, parse_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.tickets.attenuation import join_caveats, mix_discharges, pop_key_of, tail_after
from orthros_protocol.tickets.caveats import ExpiresCaveat, PeerCaveat, ScopesCaveat, parse_caveat
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.hand_over import HandedOver, open_hand_over
from tests.support.naive import dec, enc, kd, mac, seal, sha256
from tests.support.parties import ENDPOINT, HostClock, Parties, call, epoch_of, forge, refused_as

READ = ScopesCaveat(("read",)).to_bytes()


@pytest.fixture
def parties() -> Parties:
    return Parties()


def handed(parties: Parties, credentials: Credentials, *, sender: str = "web", receiver: str = "worker") -> HandedOver:
    """What `receiver` opens of what `sender` hands to it."""
    box = credentials.hand_over(parties.credentials(sender, receiver))
    return open_hand_over(box, parties.realm.keytab(receiver), now=parties.realm.clock.now())


def received(parties: Parties, credentials: Credentials) -> Credentials:
    """The worker's object, on the worker's host."""
    return Credentials.of(
        handed(parties, credentials).credential, clock=HostClock(parties.realm.clock), entropy=parties.realm.entropy
    )


def shown_under(
    parties: Parties, verifier: Verifier, credentials: Credentials, caveats: list[bytes], key: bytes
) -> None:
    """Presents `caveats` with the proof `key`; raises what the verifier raises."""
    epoch = epoch_of(verifier, credentials)
    pending = forge(parties, credentials.ticket, key, epoch=epoch, caveats=join_caveats(caveats))
    verifier.accept(pending.message, ENDPOINT, peer=None)


SECOND = 1_800_000_000
POOL = st.sampled_from(
    [
        READ,
        ScopesCaveat(("read", "write")).to_bytes(),
        ScopesCaveat(("write",)).to_bytes(),
        ExpiresCaveat(SECOND + 60).to_bytes(),
        ExpiresCaveat(SECOND + 6000).to_bytes(),
        PeerCaveat(("10.0.0.0/8",)).to_bytes(),
    ]
)


@pytest.mark.parity("L7", "L23")
@given(held=st.lists(POOL, min_size=1, max_size=6), shown=st.lists(POOL, max_size=7), data=st.data())
def test_removing_editing_or_reordering_any_fails(held: list[bytes], shown: list[bytes], data: st.DataObject) -> None:
    """With the tail behind a list, only lists that begin with it can be shown."""
    parties = Parties()
    credentials, verifier = parties.credentials("web", "orders"), parties.verifier()
    tail = tail_after(credentials.tail, held)
    wanted = list(data.draw(st.permutations(held)) if data.draw(st.booleans()) else shown)
    begins_with_it = wanted[: len(held)] == held
    if begins_with_it:
        tail = tail_after(tail, wanted[len(held) :])
    code = outcome(parties, verifier, credentials, wanted, pop_key_of(tail))
    # A peer caveat refuses here, where no address is known: after the MAC, and so in its own words.
    assert code in ({"accepted", "caveat-refused"} if begins_with_it else {"wrong-mac"})


def outcome(parties: Parties, verifier: Verifier, credentials: Credentials, caveats: list[bytes], key: bytes) -> str:
    """The code of what the verifier raises, or `accepted`."""
    try:
        shown_under(parties, verifier, credentials, caveats, key)
    except OrthrosError as error:
        return error.code
    return "accepted"


@pytest.mark.parity("L23")
def test_a_delegate_cannot_exceed(parties: Parties) -> None:
    """It holds ticket, caveats and tail, and can go on narrowing. Nothing leads back."""
    verifier = parties.verifier()
    credentials = parties.credentials("web", "orders")
    delegate = received(parties, credentials.narrow(scopes=["read"], lifetime=60))
    assert call(delegate, verifier).scopes == {"read"}
    assert call(delegate.narrow(scopes=[]), verifier).scopes == set()
    tail = delegate.tail
    guesses = [tail, pop_key_of(tail), kd(tail, "cav"), kd(tail, "chain0", sha256(delegate.ticket)), sha256(tail)]
    for guess in guesses:
        for key in (guess, pop_key_of(guess), mix_discharges(pop_key_of(guess), [tail])):
            for caveats in ([], [delegate.caveats[0]], list(reversed(delegate.caveats))):
                with pytest.raises(PeerMisbehaved, match="wrong-mac"):
                    shown_under(parties, verifier, delegate, caveats, key)


@pytest.mark.parity("B4")
def test_a_captured_request_is_worthless(parties: Parties) -> None:
    """Nothing bearer travels. Neither again, nor elsewhere, nor with fewer caveats, nor as a key."""
    verifier, another = parties.verifier(), parties.verifier()
    credentials = parties.credentials("web", "orders").narrow(scopes=["read"])
    epoch = epoch_of(verifier, credentials)
    pending = credentials.present(bind_raw(ENDPOINT))
    verifier.accept(pending.request, ENDPOINT)
    captured = pending.request
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(captured, ENDPOINT)
    with pytest.raises(Refused, match="epoch-required"):
        another.accept(captured, ENDPOINT)
    body, received_mac = dec(captured)
    fields = dec(body)
    for position, value in ((4, b""), (4, enc(READ, READ)), (7, b"m" * 16), (10, bind_raw("orders/cancel"))):
        changed = list(fields)
        changed[position] = value
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            verifier.accept(enc(enc(*changed), received_mac), ENDPOINT)
    for at in range(len(captured) - 31):
        key = captured[at : at + 32]
        for stolen in (key, kd(key, "pop")):
            forged = forge(parties, credentials.ticket, stolen, epoch=epoch)
            with pytest.raises(PeerMisbehaved, match="wrong-mac"):
                verifier.accept(forged.message, ENDPOINT)


@pytest.mark.parity("K9", "L14")
def test_a_token_moved_to_another_connection_fails(parties: Parties) -> None:
    """The channel is the target's own finding, and inside a channel of Orthros none holds."""
    verifier = parties.verifier()
    bound = parties.credentials("web", "orders").narrow(channel=b"c" * 32)
    call(bound, verifier, channel_binding=b"c" * 32)
    assert refused_as(bound, verifier, channel_binding=b"e" * 32) == "caveat-refused"
    pending = bound.present(bind_raw(ENDPOINT, channel_binding=b"e" * 32))
    with pytest.raises(Refused, match="wrong-binding"):  # what the thief binds is not what the target sees
        verifier.accept(pending.request, ENDPOINT, channel_binding=b"c" * 32)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verifier.accept(bound.present(None, use=USE_CHANNEL).request, ENDPOINT)


@pytest.mark.parity("L15")
def test_an_address_is_what_the_transport_says(parties: Parties) -> None:
    """The request carries none, and where the target knows none it refuses."""
    verifier = parties.verifier()
    confined = parties.credentials("web", "orders").narrow(peer=["10.0.0.0/8"])
    assert refused_as(confined, verifier, peer="192.0.2.1") == "caveat-refused"
    assert refused_as(confined, verifier) == "caveat-refused"
    assert refused_as(confined, verifier, peer="10.9.9.9") == "accepted"


@pytest.mark.parity("L24")
@pytest.mark.parametrize("caveat", [enc(10), enc(200, b"x"), enc(0), enc(2**63 - 1, [])])
def test_an_unknown_kind_is_critical(parties: Parties, caveat: bytes) -> None:
    """What a target does not understand it refuses, under its MAC."""
    verifier, credentials = parties.verifier(), parties.credentials("web", "orders")
    key = pop_key_of(tail_after(credentials.tail, [caveat]))
    with pytest.raises(Refused, match="caveat-unsupported") as refused:
        shown_under(parties, verifier, credentials, [caveat], key)
    assert refused.value.reply is not None


@pytest.mark.parity("L24")
@given(st.binary(min_size=1, max_size=40))
def test_a_caveat_of_any_bytes_never_grants_more(caveat: bytes) -> None:
    """fuzz. It parses as one that narrows, or the request is refused."""
    parties = Parties()
    verifier, credentials = parties.verifier(), parties.credentials("web", "orders", "read")
    key = pop_key_of(tail_after(credentials.tail, [caveat]))
    code = outcome(parties, verifier, credentials, [caveat], key)
    assert code in {"accepted", "malformed", "caveat-unsupported", "caveat-refused", "discharge-mismatch"}
    if code == "accepted":
        assert isinstance(parse_caveat(caveat), ExpiresCaveat | ScopesCaveat)


@pytest.mark.parametrize(
    "caveat",
    [enc(1, True), enc(True, 1), enc(2, [True]), enc(1, -1), enc(1, 1.5), enc(1, None), enc(1, {}), enc(1, 2, 3)],
)
def test_a_caveat_with_bool_for_int_or_of_wrong_arity(parties: Parties, caveat: bytes) -> None:
    """Bool for int, wrong arity."""
    verifier, credentials = parties.verifier(), parties.credentials("web", "orders")
    key = pop_key_of(tail_after(credentials.tail, [caveat]))
    with pytest.raises(Malformed):
        shown_under(parties, verifier, credentials, [caveat], key)


def test_seventeen_caveats_with_those_of_the_kdc(parties: Parties) -> None:
    """Section 17: 17th; the KDC's own count as well."""
    parties.realm.allow("web", "orders", "read", caveats=[ScopesCaveat(("read",))])
    verifier, credentials = parties.verifier(), parties.credentials("web", "orders")
    for _round in range(15):
        credentials = credentials.narrow(scopes=["read"])
    call(credentials, verifier)
    more = credentials.narrow(scopes=["read"])
    with pytest.raises(Malformed, match="more than 16"):
        verifier.accept(more.present(bind_raw(ENDPOINT)).request, ENDPOINT)


def test_what_the_kdc_wrote_binds_the_delegator_too(parties: Parties) -> None:
    """It sits in the sealed body, so nobody who holds the session key can leave it out."""
    parties.realm.allow("web", "orders", "read", "write", caveats=[ScopesCaveat(("read",))])
    verifier, credentials = parties.verifier(), parties.credentials("web", "orders")
    assert credentials.caveats == ()
    assert call(credentials, verifier).scopes == {"read"}
    limited = parties.credentials("web", "ledger", limits=join_caveats([PeerCaveat(("10.0.0.0/8",)).to_bytes()]))
    ledger = parties.verifier("ledger")
    assert refused_as(limited, ledger, peer="192.0.2.1") == "caveat-refused"
    assert refused_as(limited, ledger, peer="10.0.0.1") == "accepted"


@pytest.mark.parity("B4")
def test_a_hand_over_opens_for_its_receiver_alone(parties: Parties) -> None:
    """Eve sees the box pass, or is handed it."""
    box = parties.credentials("web", "orders").hand_over(parties.credentials("web", "worker"))
    now = parties.realm.clock.now()
    for name in ("eve", "web", "orders"):
        with pytest.raises(PeerMisbehaved, match="unknown-key"):
            open_hand_over(box, parties.realm.keytab(name), now=now)
    found = open_hand_over(box, parties.realm.keytab("worker"), now=now)
    assert found.sender == found.credential.client == parties.realm.principal("web")
    assert parties.realm.keytab("worker").principal.name == "worker"
    assert found.credential.pop_key not in box
    assert found.credential.ticket not in box


def test_a_hand_over_reflected_to_its_sender(parties: Parties) -> None:
    """From, to and ticket are in the context; a symmetric key alone has no direction."""
    now, keytab = parties.realm.clock.now(), parties.realm.keytab("web")
    box = parties.credentials("web", "orders").hand_over(parties.credentials("web", "worker"))
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        open_hand_over(box, keytab, now=now)
    version, _ticket, named, sealed = dec(box)
    back = parties.credentials("worker", "web")
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_hand_over(enc(version, back.ticket, named, sealed), keytab, now=now)


def test_a_hand_over_is_from_whom_the_kdc_says(parties: Parties) -> None:
    """Eve may hand over what is hers, not dress it as web's."""
    now, keytab = parties.realm.clock.now(), parties.realm.keytab("worker")
    found = handed(parties, parties.credentials("eve", "orders"), sender="eve")
    assert found.sender == parties.realm.principal("eve")
    to = parties.credentials("eve", "worker")
    box = parties.credentials("eve", "orders").hand_over(to)
    version, ticket, named, _sealed = dec(box)
    key = kd(pop_key_of(to.tail), "deleg")
    context = enc("deleg", "test.realm", "web", "worker", named)
    forged = enc(version, ticket, named, seal(key, "deleg", context, b"anything", bytes(24)))
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_hand_over(forged, keytab, now=now)


def test_every_flipped_bit_of_a_hand_over(parties: Parties) -> None:
    """Every single flipped bit of every message."""
    now, keytab = parties.realm.clock.now(), parties.realm.keytab("worker")
    box = parties.credentials("web", "orders").narrow(scopes=["read"]).hand_over(parties.credentials("web", "worker"))
    for bit in range(len(box) * 8):
        altered = bytearray(box)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PeerMisbehaved):
            open_hand_over(bytes(altered), keytab, now=now)
    for cut in (0, 1, len(box) // 2, len(box) - 1):
        with pytest.raises(PeerMisbehaved):
            open_hand_over(box[:cut], keytab, now=now)


def test_a_hand_over_says_nothing_once_its_ticket_has_ended(parties: Parties) -> None:
    """A captured box dies with the ticket that it is sealed with."""
    box = parties.credentials("web", "orders").hand_over(parties.credentials("web", "worker"))
    parties.realm.clock.advance(3600)
    with pytest.raises(Refused, match="ticket-expired"):
        open_hand_over(box, parties.realm.keytab("worker"), now=parties.realm.clock.now())


def test_only_a_plain_ticket_of_ones_own_seals_a_hand_over(parties: Parties) -> None:
    """A ticket with caveats says less than who the sender is; the sender is told, and the receiver refuses."""
    credentials, to = parties.credentials("web", "orders"), parties.credentials("web", "worker")
    with pytest.raises(LocalMisuse, match="not narrowed"):
        credentials.hand_over(to.narrow(scopes=["read"]))
    parties.realm.allow("web", "worker", caveats=[ScopesCaveat(())])
    box = credentials.hand_over(parties.credentials("web", "worker"))
    with pytest.raises(Refused, match="caveat-refused"):
        open_hand_over(box, parties.realm.keytab("worker"), now=parties.realm.clock.now())


def test_what_a_sender_claims_of_a_ticket_is_not_believed_by_the_target(parties: Parties) -> None:
    """A hand-over that promises more scopes, a longer life or other names than the ticket has."""
    credentials, verifier = parties.credentials("web", "orders", "read"), parties.verifier()
    boast = Credential(
        ticket=credentials.ticket, tail=credentials.tail, target=credentials.target,
        target_uid=99, client=parties.realm.principal("eve"), scopes=("admin", "read"),
        life=Life.until(parties.second + 10**9, 10**9),
    )  # fmt: skip
    got = Credentials.of(boast, clock=HostClock(parties.realm.clock), entropy=parties.realm.entropy)
    assert got.expires_in_s == 86_400
    caller = call(got, verifier)
    assert str(caller.client) == "web@test.realm"
    assert caller.scopes == {"read"}
    parties.realm.clock.advance(3600)
    with pytest.raises(TargetRefusal, match="ticket-expired"):
        call(got, verifier)


def test_the_mac_covers_the_caveats_that_are_shown(parties: Parties) -> None:
    """What is presented is a MAC over the request, caveats included."""
    credentials = parties.credentials("web", "orders").narrow(scopes=["read"])
    request = parse_ap_request(credentials.present(bind_raw(ENDPOINT)).request)
    assert request.caveats == join_caveats(credentials.caveats)
    assert request.mac == mac(pop_key_of(credentials.tail), "ap-req.0", request.body)
