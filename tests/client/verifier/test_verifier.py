"""The verifier as a service embeds it: offline, burning what it has seen, silent about nothing it refuses."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse, Misconfigured, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import (
    SAFE,
    USE_RAW,
    ApRequest,
    AssertedUser,
    PendingAp,
    TargetRefusal,
    open_ap_reply,
    sign_ap_request,
)
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy, InMemoryRealm, IssuedTicket

ENDPOINT = "orders/submit"


@define(eq=False)
class Scene:
    """A client `billing`, a service `orders`, and one clock for wall and monotonic time."""

    realm: InMemoryRealm = field(factory=InMemoryRealm)
    wall_ahead_ms: int = 0

    def __attrs_post_init__(self) -> None:
        for name in ("billing", "orders", "payroll"):
            self.realm.add(name)

    def verifier(self, service: str = "orders", **options: object) -> Verifier:
        return Verifier(
            self.realm.keytab(service).verify_only(),
            clock=self.realm.clock.now,
            monotonic_ms=lambda: self.realm.clock.now() - self.wall_ahead_ms,
            **options,  # type: ignore[arg-type]
        )

    def ticket(self, *scopes: str, **changes: object) -> IssuedTicket:
        return self.realm.issue("billing", "orders", scopes=scopes, **changes)  # type: ignore[arg-type]

    def request(
        self,
        ticket: IssuedTicket,
        epoch: bytes | None = None,
        *,
        payload: bytes = b"",
        ts_ahead_ms: int = 0,
        flags: int = 0,
        user: AssertedUser | None = None,
    ) -> PendingAp:
        request = ApRequest(
            use=USE_RAW,
            ticket=ticket.ticket,
            bind=bind_raw(ENDPOINT, payload),
            ts=Timestamp(self.realm.clock.now() + ts_ahead_ms),
            nonce=self.realm.entropy(16),
            epoch=epoch,
            flags=flags,
            user=user,
        )
        return sign_ap_request(request, ticket.pop_key)

    def step_wall_clock(self, seconds: int) -> None:
        """Moves the wall clock only; the monotonic one stays."""
        self.realm.clock.advance(seconds)
        self.wall_ahead_ms += seconds * 1000


@pytest.fixture
def scene() -> Scene:
    return Scene()


def epoch_of(verifier: Verifier, scene: Scene, ticket: IssuedTicket) -> bytes:
    """What a first contact learns."""
    first = scene.request(ticket)
    with pytest.raises(Refused, match="epoch-required") as refused:
        verifier.accept(first.message, ENDPOINT)
    assert refused.value.reply is not None
    with pytest.raises(TargetRefusal) as learnt:
        open_ap_reply(first, refused.value.reply)
    return learnt.value.epoch


@pytest.mark.parity("K7")
def test_a_first_contact_learns_the_epoch_and_then_is_accepted(scene: Scene) -> None:
    """The reply proves the service to the caller."""
    verifier, ticket = scene.verifier(), scene.ticket("read")
    pending = scene.request(ticket, epoch_of(verifier, scene, ticket), payload=b"one book")
    caller = verifier.accept(pending.message, ENDPOINT, b"one book")
    assert str(caller.client) == "billing@test.realm"
    assert caller.scopes == {"read"}
    assert caller.expires_at == ticket.exp
    assert (caller.subject, caller.user, caller.chain) == (None, None, ())
    assert open_ap_reply(pending, caller.reply).target_time == scene.realm.clock.now()


@pytest.mark.parity("L19")
def test_require_names_the_missing_scope_to_both_sides(scene: Scene) -> None:
    """Scopes travel in the ticket and are demanded by the handler."""
    verifier, ticket = scene.verifier(), scene.ticket("read")
    pending = scene.request(ticket, epoch_of(verifier, scene, ticket))
    caller = verifier.accept(pending.message, ENDPOINT)
    caller.require("read")
    with pytest.raises(Refused, match="insufficient-scope") as refused:
        caller.require("write")
    assert refused.value.reply is not None
    with pytest.raises(TargetRefusal, match="insufficient-scope"):
        open_ap_reply(pending, refused.value.reply)


def test_a_request_runs_once_in_a_process(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    request = scene.request(ticket, epoch_of(verifier, scene, ticket)).message
    verifier.accept(request, ENDPOINT)
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(request, ENDPOINT)


@pytest.mark.parity("B8")
def test_a_captured_request_is_dead_on_another_worker_and_after_a_restart(scene: Scene) -> None:
    """Replay safety for replicas without a shared store."""
    first, second, ticket = scene.verifier(), scene.verifier(), scene.ticket()
    request = scene.request(ticket, epoch_of(first, scene, ticket)).message
    first.accept(request, ENDPOINT)
    with pytest.raises(Refused, match="epoch-required"):
        second.accept(request, ENDPOINT)


@pytest.mark.parity("K10")
def test_one_hundred_threads_present_the_same_request_and_one_is_accepted(scene: Scene) -> None:
    """Atomic, also from threads."""
    verifier, ticket = scene.verifier(), scene.ticket()
    request = scene.request(ticket, epoch_of(verifier, scene, ticket)).message
    verdicts: list[str] = []
    start = threading.Barrier(100)

    def present() -> None:
        start.wait()
        try:
            verifier.accept(request, ENDPOINT)
            verdicts.append("accepted")
        except Refused as refusal:
            verdicts.append(refusal.code)

    threads = [threading.Thread(target=present) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdicts) == ["accepted"] + ["replayed"] * 99


def test_a_forked_child_has_an_epoch_of_its_own(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    request = scene.request(ticket, epoch_of(verifier, scene, ticket)).message
    verifier.accept(request, ENDPOINT)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            verifier.accept(request, ENDPOINT)
            verdict = "accepted"
        except Refused as refusal:
            verdict = refusal.code
        os.write(write, verdict.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"epoch-required"


def test_a_backward_clock_step_ends_the_epoch(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    request = scene.request(ticket, epoch_of(verifier, scene, ticket)).message
    verifier.accept(request, ENDPOINT)
    scene.step_wall_clock(-10)
    with pytest.raises(Refused, match=r"epoch-required|clock-skew"):
        verifier.accept(request, ENDPOINT)
    again = scene.request(ticket, epoch_of(verifier, scene, ticket))
    assert verifier.accept(again.message, ENDPOINT).client == ticket.client


def test_a_forward_glitch_heals(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    epoch_of(verifier, scene, ticket)
    scene.step_wall_clock(86_400)
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(scene.request(ticket, ts_ahead_ms=-86_400_000).message, ENDPOINT)
    scene.step_wall_clock(-86_400)
    request = scene.request(ticket, epoch_of(verifier, scene, ticket)).message
    assert verifier.accept(request, ENDPOINT).client == ticket.client


@pytest.mark.parametrize(("ahead_ms", "code"), [(-60_001, "replayed"), (5_001, "clock-skew")])
def test_the_window_has_two_sides(scene: Scene, ahead_ms: int, code: str) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    epoch = epoch_of(verifier, scene, ticket)
    with pytest.raises(Refused, match=code):
        verifier.accept(scene.request(ticket, epoch, ts_ahead_ms=ahead_ms).message, ENDPOINT)


def test_a_request_refused_as_too_early_stays_refused_when_its_time_comes(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    request = scene.request(ticket, epoch_of(verifier, scene, ticket), ts_ahead_ms=6_000).message
    with pytest.raises(Refused, match="clock-skew"):
        verifier.accept(request, ENDPOINT)
    scene.realm.clock.advance(6)
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(request, ENDPOINT)


@pytest.mark.parametrize(("endpoint", "payload"), [("orders/cancel", b"one"), (ENDPOINT, b"two"), (ENDPOINT, b"")])
def test_a_request_is_bound_to_endpoint_and_payload(scene: Scene, endpoint: str, payload: bytes) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    request = scene.request(ticket, epoch_of(verifier, scene, ticket), payload=b"one").message
    with pytest.raises(Refused, match="wrong-binding"):
        verifier.accept(request, endpoint, payload)


def test_another_service_cannot_open_the_ticket(scene: Scene) -> None:
    with pytest.raises(PeerMisbehaved, match="unknown-key") as refused:
        scene.verifier("payroll").accept(scene.request(scene.ticket()).message, ENDPOINT)
    assert "the key file here is of payroll@test.realm, kvno 1" in str(refused.value)
    assert refused.value.reply is None


def test_an_opened_ticket_is_still_judged_at_every_call(scene: Scene) -> None:
    """The LRU saves opening the box, never a verdict."""
    verifier, ticket = scene.verifier(), scene.ticket(lifetime_s=60)
    epoch = epoch_of(verifier, scene, ticket)
    verifier.accept(scene.request(ticket, epoch).message, ENDPOINT)
    scene.realm.clock.advance(60)
    with pytest.raises(Refused, match="ticket-expired"):
        verifier.accept(scene.request(ticket, epoch, ts_ahead_ms=-1000).message, ENDPOINT)


@pytest.mark.parity("L21")
def test_the_opened_ticket_cache_is_bounded_and_correct_beyond_its_bound(scene: Scene) -> None:
    """Bounded state."""
    verifier = scene.verifier(opened_capacity=2)
    tickets = [scene.ticket("read") for _ in range(5)]
    epoch = epoch_of(verifier, scene, tickets[0])
    for ticket in tickets * 2:
        assert verifier.accept(scene.request(ticket, epoch).message, ENDPOINT).scopes == {"read"}
    assert len(verifier._opened) <= 2


def test_one_client_cannot_use_up_the_replay_set_of_another(scene: Scene) -> None:
    verifier = scene.verifier(replay_capacity=10, replay_per_client=3, replay_per_ticket=3)
    mine, theirs = scene.ticket(), scene.realm.issue("payroll", "orders")
    epoch = epoch_of(verifier, scene, mine)
    for _ in range(2):
        verifier.accept(scene.request(mine, epoch).message, ENDPOINT)
    with pytest.raises(Refused, match="quota"):
        verifier.accept(scene.request(mine, epoch).message, ENDPOINT)
    assert verifier.accept(scene.request(theirs, epoch).message, ENDPOINT).client == theirs.client


def test_a_named_user_is_refused_unless_the_handler_opts_in_and_the_scope_is_there(scene: Scene) -> None:
    verifier, plain, gateway = scene.verifier(), scene.ticket(), scene.ticket("assert-user")
    epoch, user = epoch_of(verifier, scene, plain), AssertedUser("alice", 2)
    with pytest.raises(Refused, match="user-not-accepted"):
        verifier.accept(scene.request(gateway, epoch, user=user).message, ENDPOINT)
    with pytest.raises(Refused, match="user-not-accepted"):
        verifier.accept(scene.request(plain, epoch, user=user).message, ENDPOINT, accept_user=True)
    caller = verifier.accept(scene.request(gateway, epoch, user=user).message, ENDPOINT, accept_user=True)
    assert caller.user == user


def test_a_life_over_the_maximum_is_refused(scene: Scene) -> None:
    verifier, ticket = scene.verifier(max_ticket_life_s=600), scene.ticket(lifetime_s=601)
    with pytest.raises(Refused, match="ticket-times-invalid"):
        verifier.accept(scene.request(ticket).message, ENDPOINT)


def test_safe_requests_need_no_epoch_at_an_instance_that_is_five_seconds_old(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    scene.realm.clock.advance(5.001)
    request = scene.request(ticket, flags=SAFE).message
    assert not verifier.accept(request, ENDPOINT).named_this_instance
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(request, ENDPOINT)
    with pytest.raises(Refused, match="epoch-required"):
        verifier.accept(scene.request(ticket).message, ENDPOINT)
    epoch = epoch_of(verifier, scene, ticket)
    assert verifier.accept(scene.request(ticket, epoch).message, ENDPOINT).named_this_instance


@pytest.mark.parametrize(
    ("switch", "repeatable", "flags", "outcome"),
    [
        (True, None, SAFE, "accepted"), (True, None, 0, "epoch-required"), (True, True, 0, "accepted"),
        (True, False, SAFE, "not-repeatable"), (True, False, 0, "epoch-required"),
        (False, None, SAFE, "not-repeatable"), (False, None, 0, "epoch-required"), (False, True, 0, "accepted"),
    ],
)  # fmt: skip
def test_a_target_says_which_calls_may_be_repeated(
    scene: Scene, switch: bool, repeatable: bool | None, flags: int, outcome: str
) -> None:
    """By its client's word, which a target can switch off, or method by method."""
    verifier, ticket = scene.verifier(repeat_safe_calls=switch), scene.ticket()
    scene.realm.clock.advance(6)
    request = scene.request(ticket, flags=flags).message
    if outcome == "accepted":
        verifier.accept(request, ENDPOINT, repeatable=repeatable)
        return
    with pytest.raises(Refused, match=outcome):
        verifier.accept(request, ENDPOINT, repeatable=repeatable)


def test_workers_that_share_a_store_are_one_instance(scene: Scene) -> None:
    store = scene.verifier().store
    first, second, ticket = scene.verifier(replay=store), scene.verifier(replay=store), scene.ticket()
    request = scene.request(ticket, epoch_of(first, scene, ticket)).message
    first.accept(request, ENDPOINT)
    with pytest.raises(Refused, match="replayed"):
        second.accept(request, ENDPOINT)
    second.accept(scene.request(ticket, epoch_of(first, scene, ticket)).message, ENDPOINT)


def test_after_a_step_of_the_clock_epochs_are_wanted_until_what_it_had_reached_has_passed(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket()
    scene.realm.clock.advance(6)
    request = scene.request(ticket, flags=SAFE).message
    verifier.accept(request, ENDPOINT)
    scene.step_wall_clock(-10)
    with pytest.raises(Refused, match=r"clock-skew|epoch-required"):
        verifier.accept(request, ENDPOINT)
    with pytest.raises(Refused, match="epoch-required"):
        verifier.accept(scene.request(ticket, flags=SAFE).message, ENDPOINT)
    scene.realm.clock.advance(16)
    verifier.accept(scene.request(ticket, flags=SAFE).message, ENDPOINT)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"max_ticket_life_s": 0}, "max_ticket_life_s"), ({"replay_capacity": 0}, "capacity"),
        ({"replay_per_client": 0}, "per_client"), ({"replay_per_ticket": -1}, "per_ticket"),
        ({"opened_capacity": 0}, "opened_capacity"), ({"replay": "disk"}, "memory"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(scene: Scene, options: dict[str, Any], word: str) -> None:
    with pytest.raises(LocalMisuse, match=word):
        scene.verifier(**options)


def test_the_key_comes_from_a_file_or_from_the_environment(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keytab = scene.realm.keytab("orders").verify_only()
    keytab.save(tmp_path / "orders.key")
    assert str(Verifier.from_file(tmp_path / "orders.key").principal) == "orders@test.realm"
    monkeypatch.delenv("ORTHROS_KEY", raising=False)
    monkeypatch.delenv("ORTHROS_KEY_FILE", raising=False)
    with pytest.raises(Misconfigured, match="key-missing"):
        Verifier.from_environment()
    monkeypatch.setenv("ORTHROS_KEY", keytab.to_text())
    assert str(Verifier.from_environment().principal) == "orders@test.realm"
    monkeypatch.setenv("ORTHROS_KEY_FILE", str(tmp_path / "orders.key"))
    with pytest.raises(Misconfigured, match="key-missing"):
        Verifier.from_environment()
    monkeypatch.delenv("ORTHROS_KEY")
    assert str(Verifier.from_environment().principal) == "orders@test.realm"


@pytest.mark.parity("P16")
def test_keys_are_exchanged_while_it_serves(scene: Scene) -> None:
    """What was opened under a key that is gone is refused at once; epoch and memory stay."""
    first, second = (
        scene.realm.root("orders"),
        RootKey(b"\x07" * 32, principal=scene.realm.principal("orders"), uid=17, kvno=2),
    )
    assert first.uid == second.uid
    verifier, ticket = scene.verifier(), scene.ticket("read")
    epoch = epoch_of(verifier, scene, ticket)
    seen = scene.request(ticket, epoch).message
    verifier.accept(seen, ENDPOINT)
    verifier.replace_keytab(Keytab.of(first, second))
    with pytest.raises(Refused, match="replayed"):
        verifier.accept(seen, ENDPOINT)
    verifier.accept(scene.request(ticket, epoch).message, ENDPOINT)
    verifier.replace_keytab(Keytab.of(second))
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        verifier.accept(scene.request(ticket, epoch).message, ENDPOINT)
    for other in (
        scene.realm.keytab("payroll"),
        Keytab.of(RootKey(bytes(32), principal=second.principal, uid=99, kvno=1)),
    ):
        with pytest.raises(Misconfigured, match="conflict"):
            verifier.replace_keytab(other)
    assert repr(verifier) == "<Verifier orders@test.realm kvno=(2,)>"


def test_nothing_that_a_handler_holds_shows_a_key(scene: Scene) -> None:
    verifier, ticket = scene.verifier(), scene.ticket("read")
    caller = verifier.accept(scene.request(ticket, epoch_of(verifier, scene, ticket)).message, ENDPOINT)
    shown = repr((verifier, caller, ticket, CountingEntropy()))
    for secret in (ticket.session_key, ticket.pop_key, scene.realm.root("orders").material):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
