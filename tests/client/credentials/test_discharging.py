from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable

import pytest
import trio
from attrs import define, evolve, field

from orthros_client import Attested, Credentials, Discharger, DischargeRefused, Discharges, Question
from orthros_client.credentials.discharging import DischargeExchange, aask, ask
from orthros_client.credentials.narrowing import Demanded
from orthros_client.reasons import TARGET_UNREACHABLE
from orthros_protocol.errors import LocalMisuse, Misconfigured, OrthrosError, PeerMisbehaved, Unavailable
from orthros_protocol.tickets.discharges import Discharge
from orthros_protocol.tickets.ticket import Subject
from tests.support.parties import PREDICATE, HostClock, Parties, approve, deliver, refused_as


@define(eq=False)
class Scene:
    """web, what it holds of dischargers, and a discharger with moods: up, down, no, garbage."""

    parties: Parties = field(factory=Parties)
    mood: str = "up"
    asked: list[str] = field(factory=list)
    held: Discharges = field(init=False)
    discharger: Discharger = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.parties.realm.allow("web", "orders", "read", "write", discharges=[("approvals", PREDICATE)])
        self.held = Discharges(clock=HostClock(self.parties.realm.clock))
        self.discharger = self.parties.discharger(self.attest)

    def attest(self, question: Question) -> Attested | None:
        return None if self.mood == "no" else approve(question)

    def credentials(self) -> Credentials:
        return self.parties.credentials("web", "orders")

    def obtain(self, demanded: Demanded) -> Discharge:
        assert demanded.discharger is not None
        self.asked.append(demanded.discharger.name)
        if self.mood == "down":
            raise Unavailable(TARGET_UNREACHABLE, "approvals")
        if self.mood == "garbage":
            return ask(self._to_discharger(), demanded.cid, lambda _exchange: (b"\x90", b""))
        return ask(self._to_discharger(), demanded.cid, deliver(self.discharger))

    def _to_discharger(self) -> Credentials:
        return self.parties.credentials("web", "approvals")

    def collect(self, credentials: Credentials) -> Credentials:
        return self.held.collect(credentials, self.obtain)

    def wait(self, seconds: int) -> None:
        self.parties.realm.clock.advance(seconds)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parity("L8")
def test_what_was_collected_is_kept(scene: Scene) -> None:
    """One question for many calls, and for every narrowed form of one ticket."""
    credentials, verifier = scene.credentials(), scene.parties.verifier()
    for narrowed in (credentials, credentials.narrow(scopes=["read"]), credentials):
        assert refused_as(scene.collect(narrowed), verifier) == "accepted"
    assert scene.asked == ["approvals"]
    assert credentials.discharges == ()


def test_what_demands_nothing_asks_nobody(scene: Scene) -> None:
    plain = scene.parties.credentials("web", "ledger")
    assert scene.collect(plain) is plain
    assert scene.asked == []


def test_several_are_asked_in_order(scene: Scene) -> None:
    """The KDC's first, then those of holders in the order of their caveats."""
    source = scene.parties.credentials("web", "approvals")
    credentials = scene.credentials().demand(source, PREDICATE).demand(source, PREDICATE)
    full = scene.collect(credentials)
    assert [one.cid_digest for one in full.discharges] == [one.cid_digest for one in credentials.demanded]
    assert refused_as(full, scene.parties.verifier()) == "accepted"
    assert len(scene.asked) == 3


def test_it_is_asked_for_again_before_the_end(scene: Scene) -> None:
    """A discharge of a minute is used for fifty seconds, so that none ends on its way."""
    credentials = scene.credentials()
    scene.collect(credentials)
    scene.wait(49)
    scene.collect(credentials)
    assert len(scene.asked) == 1
    scene.wait(1)
    full = scene.collect(credentials)
    assert len(scene.asked) == 2
    assert full.expires_in_s == 60


def test_while_the_discharger_is_away_what_is_in_hand_serves_until_its_end(scene: Scene) -> None:
    credentials, verifier = scene.credentials(), scene.parties.verifier()
    scene.collect(credentials)
    scene.mood = "down"
    scene.wait(55)
    assert refused_as(scene.collect(credentials), verifier) == "accepted"
    scene.wait(5)
    with pytest.raises(Unavailable, match="target-unreachable"):
        scene.collect(credentials)


def test_a_refusal_is_remembered_for_a_short_while(scene: Scene) -> None:
    """A loop of callers asks once; whoever approves in the meantime need not wait long."""
    credentials = scene.credentials()
    for_alice = evolve(credentials, subject=Subject(scene.parties.realm.principal("alice"), 0, 2))
    scene.mood = "no"
    errors = []
    for each in (credentials, credentials, for_alice):
        with pytest.raises(DischargeRefused, match="release 7 approved") as refused:
            scene.collect(each)
        errors.append(refused.value)
    assert len(scene.asked) == 1
    assert [error.on_behalf for error in errors] == [False, False, True]
    assert errors[0] is not errors[1]
    assert {error.discharger.name for error in errors} == {"approvals"}
    scene.mood = "up"
    scene.wait(5)
    scene.collect(credentials)
    assert len(scene.asked) == 2


def test_a_refusal_ends_what_is_in_hand(scene: Scene) -> None:
    """The discharger's newest word counts."""
    credentials = scene.credentials()
    scene.collect(credentials)
    scene.mood = "no"
    scene.wait(55)
    with pytest.raises(DischargeRefused):
        scene.collect(credentials)
    assert len(scene.held) == 0


@pytest.mark.parity("L11")
def test_an_answer_that_proves_nothing_is_neither_kept_nor_remembered(scene: Scene) -> None:
    """A fake discharger can delay, no more."""
    credentials = scene.credentials()
    scene.mood = "garbage"
    for _attempt in range(2):
        with pytest.raises(PeerMisbehaved):
            scene.collect(credentials)
    assert len(scene.asked) == 2
    scene.mood = "up"
    scene.collect(credentials)


def test_the_target_may_refuse_what_is_held(scene: Scene) -> None:
    """After `forget` it is asked for again."""
    credentials = scene.credentials()
    scene.collect(credentials)
    scene.held.forget(credentials)
    assert len(scene.held) == 0
    scene.collect(credentials)
    assert len(scene.asked) == 2


def test_what_is_held_is_bounded(scene: Scene) -> None:
    """The least used goes first, refusals included."""
    scene.held = Discharges(capacity=2, clock=HostClock(scene.parties.realm.clock))
    first, second, third = (scene.credentials() for _ in range(3))
    for one in (first, second, first, third, first):
        scene.collect(one)
    assert (len(scene.held), len(scene.asked)) == (2, 3)
    scene.collect(second)
    assert len(scene.asked) == 4
    scene.mood = "no"
    fresh = [scene.credentials() for _ in range(3)]
    for one in fresh:
        with pytest.raises(DischargeRefused):
            scene.collect(one)
    scene.asked.clear()
    for one in reversed(fresh):
        with pytest.raises(DischargeRefused):
            scene.collect(one)
    assert len(scene.asked) == 1
    with pytest.raises(LocalMisuse):
        Discharges(capacity=0)


def test_a_demand_that_names_nobody(scene: Scene) -> None:
    """A hand-over of a newer version: the error says what to do."""
    strange = evolve(scene.credentials(), demands=(b"\xff\xff",))
    with pytest.raises(Misconfigured, match="discharger-unknown"):
        scene.collect(strange)


def test_an_answer_to_another_demand_is_a_bug_here(scene: Scene) -> None:
    other = scene.collect(scene.credentials()).discharges[0]
    with pytest.raises(LocalMisuse, match="another demand"):
        scene.held.collect(scene.credentials(), lambda _demanded: other)


def test_blocking_and_async_drivers_agree(scene: Scene) -> None:
    """Any event loop; first contact costs the discharger's client one repeat, as everywhere."""
    parties = scene.parties
    sent: list[DischargeExchange] = []

    async def send(exchange: DischargeExchange) -> tuple[bytes, bytes]:
        sent.append(exchange)
        return deliver(scene.discharger)(exchange)

    async def obtain(demanded: Demanded) -> Discharge:
        return await aask(parties.credentials("web", "approvals"), demanded.cid, send)

    async def collect() -> Credentials:
        return await Discharges(clock=HostClock(parties.realm.clock)).acollect(credentials, obtain)

    credentials, verifier = scene.credentials(), parties.verifier()
    for full in (asyncio.run(collect()), trio.run(collect), scene.collect(credentials)):
        assert refused_as(full, verifier) == "accepted"
    assert len(sent) == 4

    async def fails(_demanded: Demanded) -> Discharge:
        raise Unavailable(TARGET_UNREACHABLE)

    with pytest.raises(Unavailable):
        asyncio.run(Discharges(clock=HostClock(parties.realm.clock)).acollect(credentials, fails))


def test_a_discharger_that_only_ever_asks_for_its_epoch(scene: Scene) -> None:
    """It is asked five times, then that is the answer."""
    to, cid = scene.parties.credentials("web", "approvals"), scene.credentials().demands[0]
    sent = 0

    def restarting(exchange: DischargeExchange) -> tuple[bytes, bytes]:
        nonlocal sent
        sent += 1
        return scene.parties.discharger().serve(exchange.request, exchange.cid)

    with pytest.raises(DischargeRefused, match="epoch-required"):
        ask(to, cid, restarting)
    assert sent == 5


def test_a_reply_without_its_box(scene: Scene) -> None:
    """The AP-REP proves the discharger; the discharge still has to be there."""
    to, cid = scene.parties.credentials("web", "approvals"), scene.credentials().demands[0]

    def without(change: Callable[[bytes], bytes]) -> Callable[[DischargeExchange], tuple[bytes, bytes]]:
        def send(exchange: DischargeExchange) -> tuple[bytes, bytes]:
            reply, box = scene.discharger.serve(exchange.request, exchange.cid)
            return reply, change(box)

        return send

    for change in (lambda _box: b"", lambda box: box[:-1], lambda box: box + b"\0", lambda box: box[::-1]):
        with pytest.raises(OrthrosError) as told:
            ask(to, cid, without(change))
        assert told.value.code in {"box-unopened", "malformed"}


def test_a_discharge_shows_no_tail(scene: Scene) -> None:
    full = scene.collect(scene.credentials())
    tail = full.discharges[0].tail
    for text in (repr(full), repr(full.discharges), repr(scene.held.__dict__)):
        assert repr(tail)[2:-1] not in text
        assert tail.hex() not in text
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        copy.deepcopy(full.discharges[0])
