from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest
import trio
from attrs import define, field

from orthros_client import Credentials, MaybeExecuted, TargetRefusal, Verifier
from orthros_client.credentials.credentials import KnownTargets
from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy, InMemoryRealm, ManualClock
from orthros_protocol.tickets.attenuation import tail_of
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.notes import Note
from tests.support.http_target import CallerRest

ENDPOINT = "orders/submit"


@define
class CallerClock:
    """The caller's clocks: `wrong_ms` off the realm's, elapsing with it."""

    realm: ManualClock
    wrong_ms: int = 0

    def wall_ms(self) -> Timestamp:
        return Timestamp(self.realm.now() + self.wrong_ms)

    def elapsed_s(self) -> float:
        return self.realm.now() / 1000


@define
class Target:
    """A process of `orders`; `restart` makes it another one. Counts what it executed."""

    realm: InMemoryRealm
    wrong_ms: int = 0
    executed: int = 0
    seen: list[bytes] = field(factory=list)
    verifier: Verifier = field(init=False)
    generation: int = 0

    def __attrs_post_init__(self) -> None:
        self.restart()

    def now(self) -> Timestamp:
        return Timestamp(self.realm.clock.now() + self.wrong_ms)

    def restart(self, **options: Any) -> None:
        self.generation += 1
        entropy = CountingEntropy(b"process %d" % self.generation)
        self.verifier = Verifier(
            self.realm.keytab("orders"), clock=self.now, monotonic_ms=self.now, entropy=entropy, **options
        )

    def answer(self, request: bytes, payload: bytes = b"") -> bytes:
        self.seen.append(request)
        try:
            caller = self.verifier.accept(request, ENDPOINT, payload)
        except Refused as refusal:
            return refusal.reply or b""
        self.executed += 1
        return caller.reply


@pytest.fixture
def realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("web", "orders", "billing"):
        realm.add(name)
    return realm


@pytest.fixture
def target(realm: InMemoryRealm) -> Target:
    return Target(realm)


def credentials_of(realm: InMemoryRealm, *, wrong_ms: int = 0, offset_ms: int = 0, **changes: Any) -> Credentials:
    issued = realm.issue("web", "orders", scopes=("read",))
    facts: dict[str, Any] = {
        "target": issued.target,
        "client": issued.client,
        "scopes": issued.scopes,
        "ticket": issued.ticket,
        "tail": tail_of(issued.session_key, issued.ticket),
        "life": Life(3600, realm.clock.now() / 1000 + 3600),
        "realm_offset_ms": offset_ms,
        "clock": CallerClock(realm.clock, wrong_ms),
        "entropy": realm.entropy,
    }
    return Credentials(**facts | changes)


@pytest.mark.parity("K7", "K10")
def test_first_contact_learns_the_epoch_and_later_calls_carry_it(realm: InMemoryRealm, target: Target) -> None:
    """The first call takes one repeat, the next none."""
    credentials = credentials_of(realm)
    confirmed = credentials.call(target.answer, ENDPOINT)
    assert confirmed.target == realm.principal("orders")
    assert (target.executed, len(target.seen)) == (1, 2)
    credentials.call(target.answer, ENDPOINT)
    assert (target.executed, len(target.seen)) == (2, 3)


@pytest.mark.parity("K7")
def test_a_payload_is_bound(realm: InMemoryRealm, target: Target) -> None:
    """Authorised for these bytes at this endpoint and nothing else."""
    credentials = credentials_of(realm)
    credentials.call(lambda request: target.answer(request, b"pay 1"), ENDPOINT, b"pay 1")
    with pytest.raises(TargetRefusal, match="wrong-binding"):
        credentials.call(lambda request: target.answer(request, b"pay 9"), ENDPOINT, b"pay 1")
    with pytest.raises(TargetRefusal, match="wrong-binding"):
        credentials.call(target.answer, "orders/cancel")
    assert target.executed == 1


@pytest.mark.parity("L11", "K7")
def test_a_fake_target_is_detected(realm: InMemoryRealm, target: Target) -> None:
    """No valid AP-REP, no result; and nothing is learnt from it."""
    credentials = credentials_of(realm)
    call = credentials.authenticate(ENDPOINT)
    genuine = target.answer(call.request)
    for fake in (b"", b"ok", genuine[:-1], genuine[:-1] + bytes([genuine[-1] ^ 1]), call.request):
        with pytest.raises((Malformed, PeerMisbehaved)):
            call.finish(fake)
    assert credentials.peer.read() == (None, 0)


@pytest.mark.parity("K7")
def test_the_answer_to_another_request_is_refused(realm: InMemoryRealm, target: Target) -> None:
    """A recorded answer proves nothing."""
    credentials = credentials_of(realm)
    credentials.call(target.answer, ENDPOINT)
    earlier = target.answer(credentials.authenticate(ENDPOINT).request)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        credentials.authenticate(ENDPOINT).finish(earlier)


@pytest.mark.parity("K10")
def test_an_unsafe_call_that_named_an_epoch_is_not_repeated(realm: InMemoryRealm, target: Target) -> None:
    """Another process may have executed a copy, so the caller decides."""
    credentials = credentials_of(realm)
    credentials.call(target.answer, ENDPOINT)
    target.restart()
    with pytest.raises(MaybeExecuted, match="maybe-executed") as caught:
        credentials.call(target.answer, ENDPOINT)
    assert caught.value.refusal.code == "epoch-required"
    assert (target.executed, len(target.seen)) == (1, 3)
    credentials.call(target.answer, ENDPOINT)
    assert (target.executed, len(target.seen)) == (2, 4)


@pytest.mark.parity("K10")
def test_a_safe_call_is_repeated_after_a_restart(realm: InMemoryRealm, target: Target) -> None:
    """Executing it twice does no harm."""
    credentials = credentials_of(realm)
    credentials.call(target.answer, ENDPOINT, safe=True)
    target.restart()
    credentials.call(target.answer, ENDPOINT, safe=True)
    assert (target.executed, len(target.seen)) == (2, 4)


@pytest.mark.parity("K11")
@pytest.mark.parametrize("wrong_ms", [50_000, -200_000])
def test_a_target_with_a_wrong_clock_is_served(realm: InMemoryRealm, wrong_ms: int) -> None:
    """Its time is learnt from its MACed refusal, for this target only."""
    target = Target(realm, wrong_ms)
    credentials = credentials_of(realm)
    credentials.call(target.answer, ENDPOINT)
    assert credentials.peer.read()[1] == wrong_ms
    assert (target.executed, len(target.seen)) == (1, 2)


@pytest.mark.parity("K11")
def test_a_target_cannot_push_the_offset_beyond_300_s(realm: InMemoryRealm) -> None:
    """An authenticator dated an hour ahead would be worth an hour to a thief."""
    target = Target(realm, 400_000)
    credentials = credentials_of(realm)
    with pytest.raises((TargetRefusal, MaybeExecuted)):
        credentials.call(target.answer, ENDPOINT)
    assert credentials.peer.read()[1] == 0
    assert target.executed == 0


@pytest.mark.parity("K11")
def test_a_caller_with_a_wrong_clock_uses_the_realm_offset(realm: InMemoryRealm, target: Target) -> None:
    """What the daemon learnt from the KDC serves the first call already."""
    credentials = credentials_of(realm, wrong_ms=-900_000, offset_ms=900_000)
    credentials.call(target.answer, ENDPOINT)
    assert (target.executed, len(target.seen)) == (1, 2)
    assert credentials.peer.read()[1] == 0


@pytest.mark.parity("K11")
def test_a_slow_answer_teaches_no_time(realm: InMemoryRealm, target: Target) -> None:
    """6 s of round trip."""
    credentials = credentials_of(realm)
    target.wrong_ms = 100_000

    def slowly(request: bytes) -> bytes:
        reply = target.answer(request)
        realm.clock.advance(6)
        return reply

    with pytest.raises((TargetRefusal, MaybeExecuted)):
        credentials.call(slowly, ENDPOINT)
    assert credentials.peer.read()[1] == 0


def test_a_call_dated_after_its_tickets_end_has_certainly_not_run(realm: InMemoryRealm, target: Target) -> None:
    """The target answers without a look at its replay store; no clock makes such a request acceptable."""
    credentials = credentials_of(realm)
    credentials.call(target.answer, ENDPOINT, safe=True)
    realm.clock.advance(3_700)
    with pytest.raises(TargetRefusal, match="ticket-expired"):
        credentials.call(target.answer, ENDPOINT)


@pytest.mark.parity("K10")
def test_busy_is_repeated_twice_and_then_said(realm: InMemoryRealm, target: Target) -> None:
    """A full replay set refuses; the library does not hammer it."""
    target.restart(replay_capacity=1, replay_per_client=2, replay_per_ticket=2)
    credentials = credentials_of(realm)
    target.answer(credentials.authenticate(ENDPOINT).request)
    rest = CallerRest(realm, [])
    with pytest.raises(TargetRefusal, match="busy"):
        credentials_of(realm, rest=rest).call(target.answer, ENDPOINT, safe=True)
    assert (len(target.seen), rest.waits) == (4, [1.25])


@pytest.mark.parity("K10")
def test_an_unsafe_call_is_not_repeated_after_busy(realm: InMemoryRealm, target: Target) -> None:
    """At first contact `busy` says that nothing ran, which a second refusal could not."""
    target.restart(replay_capacity=1, replay_per_client=2, replay_per_ticket=2)
    target.answer(credentials_of(realm).authenticate(ENDPOINT).request)
    credentials = credentials_of(realm)
    with pytest.raises(TargetRefusal, match="busy"):
        credentials.call(target.answer, ENDPOINT)
    assert len(target.seen) == 2
    # What a full replay set refuses is not burnt: a copy of a request that names the epoch could still run.
    credentials = credentials_of(realm, peers=credentials.peers)
    with pytest.raises(MaybeExecuted, match="refused as busy"):
        credentials.call(target.answer, ENDPOINT)
    assert (target.executed, len(target.seen)) == (0, 3)


@pytest.mark.parity("B2")
def test_a_refusal_of_the_request_itself_is_not_repeated(realm: InMemoryRealm, target: Target) -> None:
    """An expired ticket stays expired; code, cause and remedy reach the caller."""
    credentials = credentials_of(realm)
    realm.clock.advance(3601)
    with pytest.raises(TargetRefusal) as caught:
        credentials.call(target.answer, ENDPOINT)
    assert caught.value.code == "ticket-expired"
    assert len(target.seen) == 1
    assert credentials.expires_in_s == 0.0


@pytest.mark.parity("K7")
async def test_sync_and_async_share_the_flow(realm: InMemoryRealm, target: Target) -> None:
    """The same generator drives both."""

    async def send(request: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return target.answer(request)

    await credentials_of(realm).acall(send, ENDPOINT)
    flow = credentials_of(realm).calls(ENDPOINT)
    first = next(flow)
    assert isinstance(first, bytes)
    with_epoch = flow.send(target.answer(first))
    assert isinstance(with_epoch, bytes)
    with pytest.raises(StopIteration) as done:
        flow.send(target.answer(with_epoch))
    assert done.value.value.target == realm.principal("orders")
    assert target.executed == 2


@pytest.mark.parity("K10")
def test_renewed_credentials_share_what_was_learnt(realm: InMemoryRealm, target: Target) -> None:
    """A renewal does not cost another first contact."""
    peers = KnownTargets()
    credentials_of(realm, peers=peers).call(target.answer, ENDPOINT)
    credentials_of(realm, peers=peers).call(target.answer, ENDPOINT)
    assert len(target.seen) == 3


@pytest.mark.parity("K10")
def test_threads_may_share_credentials(realm: InMemoryRealm, target: Target) -> None:
    """The target accepts each call once."""
    credentials = credentials_of(realm)
    credentials.call(target.answer, ENDPOINT)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                credentials.call(target.answer, ENDPOINT)
        except BaseException as error:  # noqa: BLE001  # handed to the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(target.seen)) == len(target.seen) == 402


@pytest.mark.parity("K4")
def test_secrets_stay_inside(realm: InMemoryRealm) -> None:
    """Neither repr nor pickle nor copy gives a key away."""
    credentials = credentials_of(realm)
    call = credentials.authenticate(ENDPOINT)
    shown = repr(credentials) + repr(call) + repr(credentials.peer)
    for secret in (credentials.tail, credentials.ticket, call.request):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(credentials)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        copy.deepcopy(credentials)


@pytest.mark.parity("B3")
def test_notes_become_sentences(realm: InMemoryRealm) -> None:
    """What was cut, and by what."""
    credentials = credentials_of(realm, notes=(Note(1, 1, 0), Note(2, 3)))
    assert credentials.describe_notes(("delete",)) == [
        "Scope delete was not granted: the rules for this pair do not allow it.",
        "The lifetime was shortened: a limit of the realm does not allow it.",
    ]


@pytest.mark.parity("K7")
def test_an_endpoint_must_be_named(realm: InMemoryRealm) -> None:
    """Misuse is a local error, before anything travels."""
    for endpoint in ("", "x" * 256, "naïve", "a\nb"):
        with pytest.raises(LocalMisuse):
            credentials_of(realm).authenticate(endpoint)
