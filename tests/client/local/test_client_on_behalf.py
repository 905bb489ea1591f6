"""What a program says of whom it acts for, and what its client keeps: the conversation, and whole calls through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from attrs import evolve

from orthros_client import AsyncClient, Client, Credentials, Refused, TicketRefused, Verifier
from orthros_client.daemon.listeners.allow_list import AllowRule
from orthros_client.errors import Failure, LocalMisuse, Malformed, Misconfigured, OrthrosError, PeerMisbehaved
from orthros_client.http.propagation import serving
from orthros_client.local.api.messages import encode_request
from orthros_client.local.api.values import CredentialGrant, Op, ReceiveRequest, WantRequest
from orthros_client.local.conversation import Conversation
from orthros_client.local.on_behalf import OnBehalfOf
from orthros_client.verifier.bearer import BearerCaller
from orthros_protocol.exchanges.ap_exchange import SAFE, USE_RAW, ApRequest, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.wants import WANT_DELEGABLE
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.table import Code
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.hand_over import seal_hand_over
from orthros_protocol.tickets.ticket import DELEGABLE, Subject, open_ticket
from tests.client.daemon.listeners.test_local_server import ask as talk
from tests.client.daemon.listeners.test_local_server import needs_root
from tests.client.house import NOBODY, House, as_user, open_house
from tests.client.local.test_client import StillClock, grant
from tests.client.world import evidence_of, new_realm

ALICE = Principal("test.realm", "alice")
SHOP = Subject(Principal("test.realm", "shop"), 22, 1)
ENDPOINT = "web/serve"


def ask(
    conversation: Conversation, reply: CredentialGrant | Exception | None, **options: Any
) -> tuple[WantRequest | None, Any]:
    """Drives one question; `reply` None: the daemon must not be asked. Returns what was asked, and the answer."""
    flow = conversation.credentials("ledger", None, 0, **options)
    request: WantRequest | None = None
    try:
        asked = next(flow)
        assert isinstance(asked, WantRequest)
        request = asked
        assert reply is not None, "the daemon was asked"
        flow.throw(reply) if isinstance(reply, Exception) else flow.send(reply)
    except StopIteration as done:
        return request, done.value
    raise AssertionError("one question, one answer")


def for_shop(number: int) -> CredentialGrant:
    return grant(number=number, subject=SHOP)


@pytest.mark.parity("K5")
def test_what_is_kept_belongs_to_one_lineage() -> None:
    """Own calls, two pieces of evidence and two spellings of a subject: five questions, each asked once."""
    conversation = Conversation(10, clock=StillClock())
    realm = new_realm()
    first, second = evidence_of(realm, "shop"), evidence_of(realm, "kiosk")
    cases: list[tuple[OnBehalfOf, CredentialGrant]] = [
        (None, grant(number=1)),
        (first, for_shop(2)),
        (second, for_shop(3)),
        ("alice", for_shop(4)),
        (ALICE, for_shop(5)),
    ]
    answers = [ask(conversation, reply, behalf=behalf)[1] for behalf, reply in cases]
    assert len({one.ticket for one in answers}) == 5
    assert [ask(conversation, None, behalf=behalf)[1] for behalf, _ in cases] == answers
    again = Behalf(evidence=first.evidence, proof=first.proof, caveats=first.caveats)
    assert ask(conversation, None, behalf=again)[1] is answers[1]
    sniffed = Behalf(evidence=first.evidence, proof=bytes(32))
    with pytest.raises(TicketRefused, match="evidence-refused"):
        ask(conversation, refused("evidence-refused"), behalf=sniffed)


def refused(code: Code) -> OrthrosError:
    return Failure.refused(code).to_error()


@pytest.mark.parity("B7")
def test_no_proof_is_kept() -> None:
    """The client keeps tickets under a digest; the evidence goes with the request that it came with."""
    conversation = Conversation(10, clock=StillClock())
    ask(conversation, for_shop(1), behalf=evidence_of(new_realm(), "shop"))
    assert [want.behalf for want, _ in conversation._kept._on_behalf] == [None]


@pytest.mark.parity("L23")
def test_answers_in_another_name_than_asked_for_are_no_answers() -> None:
    """A faulty daemon cannot make a program act in the wrong name unnoticed."""
    conversation = Conversation(10, clock=StillClock())
    for behalf, reply in ((None, for_shop(1)), ("alice", grant()), (evidence_of(new_realm(), "shop"), grant())):
        with pytest.raises(Malformed):
            ask(conversation, reply, behalf=behalf)
    assert not conversation._kept._own
    assert not conversation._kept._on_behalf


@pytest.mark.parity("K5")
def test_callers_do_not_push_out_what_the_program_needs_itself() -> None:
    """Each has its own place."""
    conversation = Conversation(10, clock=StillClock())
    own = ask(conversation, grant())[1]
    for number in range(1100):
        ask(conversation, for_shop(number), behalf=f"user-{number}")
    assert ask(conversation, None)[1] is own
    assert len(conversation._kept._on_behalf) == 1024


@pytest.mark.parity("K5")
def test_delegable_is_part_of_the_question() -> None:
    """One ticket lets its target act for us, the other does not."""
    conversation = Conversation(10, clock=StillClock())
    plain = ask(conversation, grant(number=1))
    open_to_use = ask(conversation, grant(number=2, flags=DELEGABLE), delegable=True)
    assert plain[0] is not None
    assert open_to_use[0] is not None
    assert (plain[0].flags, open_to_use[0].flags) == (0, WANT_DELEGABLE)
    assert (plain[1].delegable, open_to_use[1].delegable) == (False, True)


@pytest.mark.parity("K4")
@pytest.mark.parametrize(
    ("behalf", "error"),
    [("Alice", Misconfigured), ("alice@", Misconfigured), ("", Misconfigured), (7, LocalMisuse), (b"x", LocalMisuse)],
)
def test_whom_one_can_act_for(behalf: Any, error: type[OrthrosError]) -> None:
    """A name, a caller or evidence; nothing is asked for anything else."""
    with pytest.raises(error):
        next(Conversation(10).credentials("ledger", None, 0, behalf=behalf))


def bearer() -> BearerCaller:
    return BearerCaller(
        client=Principal("test.realm", "shop"), scopes=frozenset(), subject=None, act=(), transaction_id="",
        expires_at=0, token_id="", claims={},
    )  # fmt: skip


@pytest.mark.parity("L23")
def test_a_caller_with_a_token_can_not_be_spoken_for() -> None:
    """Fails closed; whoever means the own name says so."""
    conversation = Conversation(10, propagate=True, clock=StillClock())
    with serving(bearer()):
        with pytest.raises(Refused, match="evidence-refused"):
            ask(conversation, grant())
        assert ask(conversation, grant(), behalf=None)[0] is not None


@pytest.mark.parity("L23")
def test_without_propagation_a_request_changes_nothing() -> None:
    """opt-in, per client."""
    with serving(bearer()):
        request, _ = ask(Conversation(10, clock=StillClock()), grant())
    assert request is not None
    assert request.behalf is None


@pytest.mark.parity("L23")
def test_outside_of_requests_and_for_nobody_it_is_the_own_name_where_that_is_said() -> None:
    """A background job, and a public route."""
    conversation = Conversation(10, propagate="or-own-name", clock=StillClock())
    _, own = ask(conversation, grant())
    with serving(None):
        assert ask(conversation, None)[1] is own
    assert ask(conversation, None)[1] is own


@pytest.mark.parity("L23")
def test_a_process_that_serves_requests_does_not_fall_back_on_its_own_name() -> None:
    """An executor, a thread, a public route, observe mode: there the caller is missing, and nobody meant none."""
    conversation = Conversation(10, propagate=True, clock=StillClock())
    _, own = ask(conversation, grant())  # a program that serves nobody may use the same client
    with serving(None), pytest.raises(LocalMisuse, match="wrong-state"):
        ask(conversation, None)
    with pytest.raises(LocalMisuse, match="or-own-name"):
        ask(conversation, None)
    assert ask(conversation, None, behalf=None)[1] is own


@pytest.mark.parametrize("unknown", ["own", "True", "", 1, None])
def test_another_word_for_propagation_is_refused(unknown: Any) -> None:
    with pytest.raises(LocalMisuse, match="propagate: True, False or 'or-own-name'"):
        Conversation(10, propagate=unknown)


@pytest.mark.parity("L23")
def test_code_that_outlived_its_request_has_nobodys_authority() -> None:
    """Neither its caller's, which has ended, nor this service's own, which was not meant."""
    conversation = Conversation(10, propagate=True, clock=StillClock())
    with serving(bearer()) as request:
        pass
    with request.active(), pytest.raises(LocalMisuse, match="wrong-state"):
        ask(conversation, grant())


# Whole calls: `shop` calls `web`, which calls `ledger` through the daemon.


@contextmanager
def as_served(realm: InMemoryRealm, caller: str, *, flags: int = DELEGABLE) -> Iterator[None]:
    """What runs inside serves a verified call of `caller`."""
    shown = realm.issue(caller, "web", flags=flags)
    verifier = Verifier(realm.keytab("web").verify_only(), replay=ManualStore(realm.clock.now), clock=realm.clock.now)
    request = ApRequest(
        use=USE_RAW, ticket=shown.ticket, bind=bind_raw(ENDPOINT, b""), ts=realm.clock.now(), nonce=realm.entropy(16),
        flags=SAFE,
    )  # fmt: skip
    with serving(verifier.accept(sign_ap_request(request, shown.pop_key).message, ENDPOINT)):
        yield


def subject_of(realm: InMemoryRealm, credentials: Credentials) -> str | None:
    """In whose name the ticket is, as its target reads it."""
    subject = open_ticket(credentials.ticket, realm.root(credentials.target.name).ticket_key()).subject
    assert subject == credentials.subject
    return None if subject is None else subject.principal.name


@pytest.mark.parity("L20", "L23")
async def test_a_client_that_propagates_asks_for_whom_it_serves() -> None:
    """Through sockets and daemon to the ticket; the program says nothing but `propagate`."""
    async with open_house() as house:
        realm = house.world.realm
        with Client(house.socket, propagate="or-own-name") as client:

            def seen(**options: Any) -> str | None:
                return subject_of(realm, client.credentials("ledger", **options))

            # Threads of trio copy the context of their task, as those of every framework do.
            with as_served(realm, "shop"):
                assert await house.in_thread(seen) == "shop"
                assert await house.in_thread(lambda: seen(behalf=None)) is None
                assert await house.in_thread(lambda: seen(behalf="alice")) == "alice"
            with as_served(realm, "kiosk"):
                assert await house.in_thread(seen) == "kiosk"
            assert await house.in_thread(seen) is None
            with as_served(realm, "shop", flags=0), pytest.raises(Refused, match="evidence-refused"):
                await house.in_thread(seen)


@pytest.mark.parity("L23")
async def test_requests_served_at_once_by_one_client_stay_apart() -> None:
    """30 tasks of three callers through one client, answered out of order; nobody's ticket is another's."""
    async with open_house() as house, AsyncClient(house.socket, propagate="or-own-name") as client:
        realm, seen = house.world.realm, []

        async def serve(caller: str | None) -> None:
            if caller is None:
                credentials = await client.credentials("ledger")
            else:
                with as_served(realm, caller):
                    credentials = await client.credentials("ledger")
                    await trio.lowlevel.checkpoint()
                    assert (await client.credentials("ledger")) is credentials
            seen.append((caller, subject_of(realm, credentials)))

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(serve, ("shop", "kiosk", None)[number % 3])
        assert len(seen) == 30
        assert all(caller == subject for caller, subject in seen)


@pytest.mark.parity("L20")
async def test_a_token_can_be_on_behalf_of_somebody_as_well() -> None:
    """Where the realm exports them."""
    async with open_house() as house:
        house.world.realm.allow("web", "orders", "read", jwt=True, behalf=True)
        with Client(house.socket) as client:
            behalf = evidence_of(house.world.realm, "shop")
            own = await house.in_thread(lambda: client.token("orders"))
            other = await house.in_thread(lambda: client.token("orders", behalf=behalf))
        assert own.subject is None
        assert other.subject is not None
        assert other.value != own.value


# Hand-overs: `shop` gives `web` narrowed credentials of its own for `orders`.


def credentials_of(house: House, client: str, target: str, *scopes: str, **changes: Any) -> Credentials:
    realm = house.world.realm
    shown = realm.issue(client, target, scopes=scopes, **changes)
    return Credentials(
        target=shown.target, client=shown.client, scopes=scopes, ticket=shown.ticket,
        tail=tail_of(shown.session_key, shown.ticket), life=Life(3600, house.world.clock.elapsed_s() + 3600),
        clock=house.world.clock,
    )  # fmt: skip


@pytest.mark.parity("B4", "L23")
async def test_what_was_handed_over_is_opened_by_the_daemon_and_stays_narrow() -> None:
    """Nothing bearer travels; the receiver acts in the giver's name, within the giver's caveats."""
    async with open_house() as house:
        narrowed = credentials_of(house, "shop", "orders", "read", "write").narrow(scopes=["read"], methods=["GET"])
        box = narrowed.hand_over(credentials_of(house, "shop", "web"))
        with Client(house.socket) as client:
            received = await house.in_thread(lambda: client.receive(box))
        async with AsyncClient(house.socket) as client:
            again = await client.receive(box)
        for one in (received, again):
            assert (one.client.name, one.target.name, one.scopes) == ("shop", "orders", ("read",))
            assert one.caveats == narrowed.caveats
            assert one.tail == narrowed.tail
            assert 3590 < one.expires_in_s <= 3600
        assert house.world.realm.handled <= 1


@pytest.mark.parity("B4")
def test_whoever_hands_over_teaches_nothing_about_the_target() -> None:
    """He knows the key of what he gave, so he can answer as its target, with any epoch and any time."""
    conversation = Conversation(10, clock=StillClock())
    own = ask(conversation, grant())[1]
    flow = conversation.receive(bytes(64))
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(grant(number=2))
    received = done.value.value
    assert (received.target, received.target_uid) == (own.target, own.target_uid)
    received.peer.learn(b"wrongone", 300_000, sent_s=0, now_s=0)
    assert own.peer.read() == (None, 0)


@pytest.mark.parity("B4")
async def test_boxes_that_are_not_for_us_stay_closed() -> None:
    """For another service, altered, narrowed senders, ended contents, and something else than a ticket inside."""
    async with open_house() as house:
        realm = house.world.realm
        given, to_web = credentials_of(house, "shop", "orders"), credentials_of(house, "shop", "web")
        for_kiosk = given.hand_over(credentials_of(house, "shop", "kiosk"))
        good = given.hand_over(to_web)

        def sealed(**changes: Any) -> bytes:
            return seal_hand_over(
                evolve(given, **changes), ticket=to_web.ticket, pop_key=pop_key_of(to_web.tail),
                sender=to_web.client, receiver=to_web.target, entropy=realm.entropy(24),
            )  # fmt: skip

        tgt = bytes((1, 1, 1)) + given.ticket[3:]
        cases: list[tuple[bytes, type[OrthrosError], str]] = [
            (for_kiosk, PeerMisbehaved, "unknown-key"),
            (good[:-1] + bytes((good[-1] ^ 1,)), PeerMisbehaved, "box-unopened"),
            (sealed(life=Life.until(1, 3600)), TicketRefused, "ticket-expired"),
            (sealed(ticket=tgt), PeerMisbehaved, "wrong-ticket-type"),
            (bytes(64), PeerMisbehaved, "malformed"),
        ]
        with Client(house.socket) as client:
            for box, error, code in cases:
                with pytest.raises(error, match=code):
                    await house.in_thread(lambda box=box: client.receive(box))  # type: ignore[misc]


@pytest.mark.parity("K4")
@needs_root
async def test_a_hand_over_opens_no_target_that_is_closed_to_the_peer() -> None:
    """The allow-list decides about what is inside."""
    rules = (AllowRule(uid=NOBODY, targets=frozenset({Principal("test.realm", "billing")})),)
    async with open_house(rules=rules) as house:
        to_web = credentials_of(house, "shop", "web")
        boxes = [credentials_of(house, "shop", target).hand_over(to_web) for target in ("billing", "orders")]
        with as_user(NOBODY):
            stream = await trio.open_unix_socket(house.socket)
        async with stream:
            answers = [await talk(stream, Op.RECEIVE, encode_request(ReceiveRequest(hand_over=box))) for box in boxes]
        assert isinstance(answers[0], CredentialGrant)
        assert isinstance(answers[1], Failure)
        assert answers[1].reason.name == "peer-not-allowed"
