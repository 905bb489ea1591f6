"""Limits: what a client has the KDC write into its ticket, from the program through the daemon to the target."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, evolve

from orthros_client import AsyncClient, Client, Credentials, Limits, Verifier
from orthros_client.credentials.narrowing import limits_field
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_client.daemon.kdc.session import KdcSession
from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential
from orthros_client.errors import Failure, LocalMisuse, TicketRefused
from orthros_client.local.api.values import Op, Reply, WantRequest
from orthros_client.local.conversation import Conversation
from orthros_protocol.exchanges.wants import WANT_DELEGABLE
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.tickets.attenuation import join_caveats, split_caveats
from orthros_protocol.tickets.caveats import ScopesCaveat, TargetsCaveat, ThirdPartyCaveat
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from orthros_protocol.tickets.presented import open_presented
from orthros_protocol.tickets.ticket import DELEGABLE, Ticket, open_ticket
from orthros_runtime.clocks import RealmTime
from orthros_runtime.serving.peers import Peer
from tests.client.daemon.tickets.test_persistence import store_of
from tests.client.house import open_house
from tests.client.local.test_client import StillClock, grant
from tests.client.world import elapse, open_world
from tests.support.behalf_bench import Journey, open_journey, principal
from tests.support.kdc_bench import KdcBench
from tests.support.parties import call, refused_as

ROOT = Peer(0, frozenset())
READ_ORDERS = Limits(scopes=["read"], methods=["GET"], path="/orders")
FIELD = limits_field(READ_ORDERS)


# --- the program


def ask(conversation: Conversation, number: int | None, limits: Limits | None) -> tuple[bytes | None, Credentials]:
    """One question; `number` None: the daemon must not be asked. Returns the limits that were asked with."""
    flow = conversation.credentials("orders", None, 0, limits=limits)
    asked: bytes | None = None
    try:
        request = next(flow)
        assert isinstance(request, WantRequest)
        assert number is not None, "the daemon was asked"
        asked = request.limits
        flow.send(grant(number=number))
    except StopIteration as done:
        return asked, done.value
    raise AssertionError("one question, one answer")


@pytest.mark.parity("L7")
def test_limits_are_part_of_the_question() -> None:
    """Two limits are two tickets, none is a third; what is written the same way is the same."""
    conversation = Conversation(10, clock=StillClock())
    cases: list[Limits | None] = [None, READ_ORDERS, Limits(scopes=["read"]), Limits(scopes=[])]
    answers = [ask(conversation, number, limits) for number, limits in enumerate(cases)]
    assert [asked for asked, _ in answers] == [b"", *(limits_field(one) for one in cases[1:])]
    assert len({one.ticket for _, one in answers}) == len(cases)
    assert [ask(conversation, None, limits)[1] for limits in cases] == [one for _, one in answers]
    again = Limits(path="/orders", methods=(name for name in ["GET"]), scopes=("read",))
    for _ in range(2):  # a value, whatever it was made of
        assert ask(conversation, None, again)[1] is answers[1][1]
    assert ask(conversation, None, Limits())[1] is answers[0][1]


@pytest.mark.parity("L23")
@pytest.mark.parametrize(
    "limits",
    [
        Limits(targets=[Principal("test.realm", "orders")]),
        Limits(app={f"shop/{number}": bytes(300) for number in range(4)}),
        Limits(app={f"shop/{number}": b"" for number in range(17)}),
        Limits(channel=b"short"),
        Limits(path="orders"),
        {"methods": ["GET"]},
        b"\x91\xc4\x01\x90",
    ],
    ids=["targets", "too-large", "too-many", "channel", "path", "dict", "bytes"],
)
def test_what_is_no_limit_of_a_ticket_is_not_asked(limits: Any) -> None:
    """The program is told at once."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        next(Conversation(10).credentials("orders", None, 0, limits=limits))


# --- the daemon


def opened(realm: InMemoryRealm, credentials: Credentials) -> tuple[bytes, ...]:
    return open_ticket(credentials.ticket, realm.root(credentials.target.name).ticket_key()).caveats


@pytest.mark.parity("L7", "L23", "B4")
async def test_limits_are_in_the_ticket_and_bind_its_holder() -> None:
    """Through sockets, daemon and KDC to the target; nothing beside the ticket says them, so nothing can
    be left out, not even by somebody who has the key of the ticket itself."""
    async with open_house() as house, AsyncClient(house.socket) as client:
        realm, clock = house.world.realm, house.world.clock
        limited = await client.credentials("orders", limits=READ_ORDERS)
        plain = await client.credentials("orders")
        with Client(house.socket) as blocking:
            same = await house.in_thread(lambda: blocking.credentials("orders", limits=READ_ORDERS))
            listed = await house.in_thread(blocking.list)
        assert same.ticket == limited.ticket
        assert opened(realm, limited) == split_caveats(FIELD)
        assert opened(realm, plain) == limited.caveats == ()
        assert (limited.scopes, plain.scopes) == (("read",), ("read", "write"))
        assert sorted(entry.scopes for entry in listed) == [("read",), ("read", "write")]
        verifier = Verifier(realm.keytab("orders").verify_only(), clock=realm.clock.now, monotonic_ms=realm.clock.now)
        held = evolve(limited, clock=clock, time=RealmTime.of(clock, 0), life=Life(60, clock.elapsed_s() + 60))
        assert call(held, verifier, method="GET", path="/orders/7").scopes == {"read"}
        wider = evolve(held, scopes=("read", "write"), caveats=())
        for options in ({"method": "PUT", "path": "/orders/7"}, {"method": "GET", "path": "/users"}, {}):
            assert refused_as(wider, verifier, **options) == "caveat-refused"
        handed = Credentials.of(wider, clock=clock)
        assert refused_as(handed, verifier, method="PUT", path="/orders/7") == "caveat-refused"


@pytest.mark.parity("L24")
@pytest.mark.parametrize(
    "limit",
    [
        TargetsCaveat((Principal("test.realm", "orders"),)).to_bytes(),
        ThirdPartyCaveat(Principal("test.realm", "orders"), bytes(16), None, bytes(32)).to_bytes(),
        encode(99, "later"),
    ],
    ids=["targets", "third-party", "unknown"],
)
async def test_kinds_that_the_kdc_does_not_write_are_refused_at_the_desk(limit: bytes) -> None:
    """With the KDC's own code, and without a question that the whole host would pay for."""
    async with open_house() as house:
        limits = join_caveats([ScopesCaveat(("read",)).to_bytes(), limit])
        reply = await house.desk.answer(ROOT, WantRequest(op=Op.TICKET, target="orders", limits=limits))
        assert code_of(reply) == "caveat-not-carried"
        assert house.world.realm.handled <= 1


@pytest.mark.parity("L24")
async def test_a_token_has_no_place_for_limits() -> None:
    """The library writes no such request, and the daemon would not understand one."""
    async with open_house() as house:
        request = WantRequest(op=Op.TOKEN, target="orders", limits=FIELD)
        with Client(house.socket) as client, pytest.raises(LocalMisuse, match="token"):
            client._local.ask(request, 5.0)
        assert house.world.realm.handled <= 1


def code_of(reply: Reply) -> str:
    return reply.reason.name if isinstance(reply, Failure) else type(reply).__name__


@pytest.mark.parity("L15")
async def test_an_end_among_the_limits_is_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """The caller is told what is really left, on a host whose clock is wrong; nothing is renewed to end no later,
    and what has ended is refused from memory, while all others are served."""
    async with open_world(wrong_ms=600_000) as world:
        second = world.realm.clock.now() // 1000 + 100
        key = world.key("orders", limits=limits_field(Limits(expires_at=second)))
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        held = await world.agent.obtain(key, timeout_s=10)
        assert second - 1 < world.realm.clock.now() / 1000 + held.credential.life.left_s(trio.current_time()) <= second
        assert held.credential.life.whole_s <= 100
        late = world.key("orders", limits=limits_field(Limits(expires_at=second + 3400)))
        assert (ending := await world.agent.obtain(late, timeout_s=10)).renew_at == ending.credential.life.end
        handled = world.realm.handled
        await elapse(80)
        assert await world.agent.obtain(key, timeout_s=10) is held
        assert world.realm.handled == handled
        await elapse(20)
        for _ in range(5):
            assert await world.outcome(key) == "excluded-by-your-caveat"
        assert world.realm.handled == handled + 1
        assert await world.outcome(world.key("billing"), timeout_s=0.1) == "held"


@pytest.mark.parity("K5")
async def test_limited_tickets_are_renewed_as_others_are(autojump_clock: trio.testing.MockClock) -> None:
    """With the same limits."""
    async with open_world() as world:
        key = world.key("orders", limits=FIELD)
        first = await world.agent.obtain(key, timeout_s=10)
        await elapse(0.86 * first.credential.life.whole_s)
        second = await world.agent.obtain(key, timeout_s=0)
        assert second.name != first.name
        assert world.opened(second).caveats == split_caveats(FIELD)


@pytest.mark.parity("K5")
async def test_refusals_are_remembered_for_the_limits_that_they_were_about(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One question's refusal is not the next one's."""
    async with open_world() as world:
        one, other = (world.key("payroll", limits=limits_field(Limits(path=path))) for path in ("/a", "/b"))
        assert await world.outcome(one) == "not-granted"
        world.realm.allow("web", "payroll", "read")
        assert await world.outcome(one) == "not-granted"
        assert await world.outcome(other) == "held"


@pytest.mark.parity("K6")
async def test_many_long_limits_at_once_fit_their_messages(autojump_clock: trio.testing.MockClock) -> None:
    """With long scopes beside them they are shared out over requests; all answers fit into their frames."""
    scopes = tuple(f"{number}" + "s" * 59 for number in range(8))
    async with open_world() as world:
        world.realm.allow("web", "orders", *scopes)
        outcomes: list[str] = []

        async def one(number: int) -> None:
            app = {f"shop/{part}-{number:02}": bytes(320) for part in range(3)}
            key = world.key("orders", *scopes, limits=limits_field(Limits(app=app)))
            outcomes.append(await world.outcome(key))

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(one, number)
        assert outcomes == ["held"] * 40
        assert max(map(len, world.network.sent)) < MAX_FRAME_BYTES // 2


@pytest.mark.parity("L7")
async def test_limited_tickets_are_not_written_to_disk(autojump_clock: trio.testing.MockClock, tmp_path: Any) -> None:
    """The file does not say limits, so what it holds would come back as the answer to another question."""
    async with open_world() as world:
        await world.agent.obtain(world.key("orders", limits=FIELD), timeout_s=10)
        await world.agent.obtain(world.key("billing"), timeout_s=10)
        store = store_of(world, tmp_path / "cache")
        store.save()
        world.agent.cache = type(world.agent.cache)()
        assert store.load() == 1
        (entry,) = world.agent.cache.entries(trio.current_time())
        assert entry.key == world.key("billing")


# --- the KDC


@define
class BenchClock:
    """The host's clock beside a whole KDC."""

    kdc: KdcBench

    def wall_ms(self) -> Timestamp:
        return self.kdc.clock.now()

    def elapsed_s(self) -> float:
        return self.kdc.clock.now() / 1000


async def agent_of(journey: Journey, name: str, nursery: trio.Nursery) -> Agent:
    """A daemon's agent of `name`, whose KDC is the journey's."""

    async def serve(stream: trio.abc.Stream) -> None:
        reader = FrameReader()
        while data := bytes(await stream.receive_some(65536)):
            reader.feed(data)
            for message in reader.messages():
                await stream.send_all(frame(await journey.kdc.send(message)))

    async def connect(_address: KdcAddress) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve, theirs)
        return ours

    clock, entropy = BenchClock(journey.kdc), journey.kdc.entropy
    pool = KdcPool((KdcAddress.parse("tcp://kdc-a:1"),), clock, connect)
    agent = Agent(KdcSession(journey.kdc.keytabs[name], pool, clock, entropy), clock, entropy)
    await nursery.start(agent.run)
    return agent


async def obtain(agent: Agent, limits: Limits | None) -> HeldCredential:
    key = CacheKey(kind=0, target=principal("orders"), flags=WANT_DELEGABLE, limits=limits_field(limits))
    return await agent.obtain(key, timeout_s=10)


def opened_at_orders(journey: Journey, held: HeldCredential) -> Ticket:
    """What the target reads in the ticket."""
    return open_presented(held.credential.ticket, b"", journey.kdc.keytabs["orders"]).ticket


def evidence_without_caveats(journey: Journey, held: HeldCredential) -> Behalf:
    """What orders shows that leaves out whatever its caller's presentation carried; it knows the ticket's key."""
    ticket = held.credential.ticket
    return Behalf(evidence=ticket, proof=evidence_proof(opened_at_orders(journey, held).session_key, ticket))


@pytest.mark.parity("L7", "L23", "B4")
async def test_a_delegate_sheds_what_was_narrowed_and_never_what_was_limited() -> None:
    """The whole KDC; orders acts for web, and leaves away what it can."""
    journey = await open_journey()
    async with trio.open_nursery() as nursery:
        agent = await agent_of(journey, "web", nursery)
        end = journey.kdc.clock.now() // 1000 + 60
        limited = await obtain(agent, Limits(scopes=["read"], expires_at=end))
        plain = await obtain(agent, None)
        assert limited.credential.flags == plain.credential.flags == DELEGABLE
        assert limited.credential.scopes == ("read",)
        assert limited.credential.life.left_s(agent.clock.elapsed_s()) == 60
        shed = await journey.obtain("orders", "ledger", behalf=evidence_without_caveats(journey, plain))
        kept = await journey.obtain("orders", "ledger", behalf=evidence_without_caveats(journey, limited))
        assert shed.scopes == ("read", "write")
        assert (kept.scopes, journey.opened(kept).exp) == (("read",), end)
        bound = await obtain(agent, Limits(methods=["GET"]))
        refusal = await journey.refusal("orders", "ledger", behalf=evidence_without_caveats(journey, bound))
        assert refusal.startswith("caveat-not-carried")
        nursery.cancel_scope.cancel()


@pytest.mark.parity("L7", "B4")
async def test_the_kdc_writes_limits_of_every_kind_that_a_target_judges() -> None:
    """And a verifier of the target holds whoever presents the ticket to them."""
    journey = await open_journey()
    limits = Limits(
        scopes=["read"], methods=["GET"], path="/orders", peer=["192.0.2.0/24"], channel=bytes(32),
        app={"shop/rows": b"9"}, expires_at=journey.kdc.clock.now() // 1000 + 60,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        agent = await agent_of(journey, "web", nursery)
        held = await obtain(agent, limits)
        assert opened_at_orders(journey, held).caveats == limits.to_caveats()
        clock = journey.kdc.clock.now
        verifier = Verifier(
            journey.kdc.keytabs["orders"], clock=clock, monotonic_ms=clock,
            app_caveats={"shop/rows": lambda payload, _access: None if payload == b"9" else "other rows"},
        )  # fmt: skip
        told = evolve(held.credential, life=Life.left(60_000, 60), scopes=("read", "write"))
        credentials = Credentials.of(told, clock=agent.clock)
        good: dict[str, Any] = {"method": "GET", "path": "/orders", "peer": "192.0.2.7", "channel": bytes(32)}
        assert call(credentials, verifier, **good).scopes == {"read"}
        for change in ({"method": "PUT"}, {"path": "/"}, {"peer": "198.51.100.1"}, {"channel": b"c" * 32}):
            assert refused_as(credentials, verifier, **good | change) == "caveat-refused"
        journey.kdc.clock.advance(60)
        assert refused_as(credentials, verifier, **good) == "caveat-refused"
        nursery.cancel_scope.cancel()


@pytest.mark.parity("L24")
async def test_what_the_kdc_refuses_is_the_callers_refusal() -> None:
    """Kinds that it does not write, should a daemon ask for them."""
    journey = await open_journey()
    async with trio.open_nursery() as nursery:
        agent = await agent_of(journey, "web", nursery)
        key = CacheKey(kind=0, target=principal("orders"), limits=join_caveats([encode(99, "later")]))
        with pytest.raises(TicketRefused, match="caveat-not-carried"):
            await agent.obtain(key, timeout_s=10)
        nursery.cancel_scope.cancel()
