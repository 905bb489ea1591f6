from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from orthros_client import MaybeExecuted, OrthrosError, TargetRefusal
from orthros_client.credentials.credentials import Credentials, KnownTargets, Pause
from orthros_client.credentials.known_targets import NO_EPOCH, PeerState
from orthros_client.flows import HostRest
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.acceptance import Accepted, build_ap_error, build_ap_reply
from orthros_protocol.exchanges.ap_exchange import USE_RAW, parse_ap_request
from orthros_protocol.reasons.table import REASONS, reason_by_number
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.tickets.presented import open_presented
from tests.docs.pages import ROOT
from tests.support.http_target import RealmSource

E, OTHER, THIRD = b"epoch e.", b"epoch o.", b"epoch t."
ENDPOINT = "orders/submit"
SHARED = {reason.name: reason for reason in REASONS}


@pytest.fixture
def realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    return realm


@pytest.fixture
def source(realm: InMemoryRealm) -> RealmSource:
    return RealmSource(realm)


class Script:
    """A target that answers each request with the next line: an acceptance, or a refusal and whose it is."""

    def __init__(self, realm: InMemoryRealm, *lines: tuple[str, bytes] | tuple[str, bytes, int]) -> None:
        self.realm = realm
        self.lines = list(lines)
        self.named: list[bytes | None] = []

    def __call__(self, request: bytes) -> bytes:
        parsed = parse_ap_request(request)
        self.named.append(parsed.epoch)
        presented = open_presented(parsed.ticket, parsed.caveats, self.realm.keytab("orders"))
        code, epoch, *ready = self.lines.pop(0)
        now = self.realm.clock.now()
        if code == "accepted":
            accepted = Accepted(
                ticket=presented.ticket,
                scopes=(),
                user=None,
                request=parsed,
                pop_key=presented.pop_key,
                epoch=epoch,
                now=now,
            )
            return build_ap_reply(accepted, now=now)
        number = code.removeprefix("code-")
        refusal = Refused(reason_by_number(int(number)) if number != code else SHARED[code.partition(" ")[0]])
        refusal.before_handler = code.endswith("before")
        refusal.ready_in_ms = ready[0] if ready else None
        return build_ap_error(parsed, presented.pop_key, refusal, now=now, epoch=epoch)


def acquainted(source: RealmSource, *epochs: bytes) -> Credentials:
    """Credentials of somebody who has met these instances of the target, in this order."""
    credentials = source.credentials("orders")
    now_s = source.realm.clock.now() / 1000
    for epoch in epochs:
        credentials.peer.learn(epoch, None, sent_s=now_s, now_s=now_s)
    return credentials


CODES = {
    "every other code": ["ticket-expired", "ticket-times-invalid", "unsupported-critical", "wrong-binding",
                         "discharge-mismatch", "caveat-refused", "caveat-unsupported", "chain-refused",
                         "user-not-accepted", "insufficient-scope", "not-covered", "vetoed", "revoked", "kdc-fault"],
    "unknown": ["code-999"],
    "`ticket-expired` with eight zero bytes as epoch: dated after the ticket's end": ["ticket-expired unseen"],
    "`body-mismatch` before the handler began": ["body-mismatch before"],
    "`body-mismatch` otherwise": ["body-mismatch"],
}  # fmt: skip


def table() -> Iterator[tuple[str, str, str]]:
    """Code, circumstances, outcome: the table of the page, a row for each cell."""
    page = (ROOT / "docs/protocol/ap_exchange.md").read_text()
    lines = page.partition("**What follows a refusal**")[2].partition("\n\n* *repeat*")[0].strip().splitlines()
    _words, _blank, head, _rule, *rows = lines
    columns = [cell.strip() for cell in head.strip("|").split("|")][1:]
    for row in rows:
        first, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        codes = CODES.get(first)
        if codes is None:
            codes = [code for name in first.split(", ") for code in CODES.get(name, [name.strip("`")])]
        for code in codes:
            yield from ((code, column, cell) for column, cell in zip(columns, cells, strict=True) if cell)


def outcome(credentials: Credentials, target: Script, *, safe: bool = False) -> str:
    try:
        credentials.call(target, ENDPOINT, safe=safe)
    except (MaybeExecuted, TargetRefusal) as error:
        return "maybe executed" if isinstance(error, MaybeExecuted) else "refused"
    return "done"


@pytest.mark.parity("L6", "K10")
@pytest.mark.parametrize(("code", "circumstances", "cell"), list(table()))
def test_what_follows_a_refusal(code: str, circumstances: str, cell: str, source: RealmSource) -> None:
    """Every cell of the table in docs/protocol/ap_exchange.md."""
    answering_epochs = (OTHER, NO_EPOCH) if "another epoch" in circumstances else (E,)
    if code.startswith("ticket-expired"):
        answering_epochs = (NO_EPOCH,) if code.endswith("unseen") else (OTHER if len(answering_epochs) > 1 else E,)
    for answering in answering_epochs:
        source.peers.clear()
        names_none = "named none" in circumstances or (circumstances == "repeatable" and code == "not-repeatable")
        credentials = acquainted(source) if names_none else acquainted(source, E)
        target = Script(source.realm, (code, answering), ("accepted", answering))
        expected = "done" if cell.startswith("repeat") else cell
        assert outcome(credentials, target, safe=circumstances == "repeatable") == expected
        assert target.named[0] == (None if names_none else E)
        if expected == "done":
            asks_first = circumstances == "repeatable" and code in ("replayed", "too-far-ahead", "busy")
            assert target.named[1:] == [None if asks_first else answering]


def test_the_table_of_the_page_is_read() -> None:
    """The test above has rows of all kinds."""
    rows = list(table())
    assert len({code for code, _column, _cell in rows}) == 26
    assert len(rows) == 4 * 26 - 1
    assert {cell.partition(",")[0].partition(" if")[0] for _code, _column, cell in rows} == {
        "repeat", "refused", "maybe executed",
    }  # fmt: skip


@pytest.mark.parity("L6")
def test_a_read_gets_through_where_every_process_is_busy_for_a_second(source: RealmSource) -> None:
    """Another process may answer at once; if it is busy as well, the client waits until that is over, once."""
    target = Script(source.realm, ("busy", NO_EPOCH), ("busy", NO_EPOCH), ("accepted", E))
    assert outcome(acquainted(source, E), target, safe=True) == "done"
    assert source.waits == [1.25]
    source.waits.clear()
    assert outcome(acquainted(source, E), Script(source.realm, *[("busy", NO_EPOCH)] * 3), safe=True) == "refused"
    assert source.waits == [1.25]


@pytest.mark.parity("L6")
@pytest.mark.parametrize("code", ["clock-skew", "replayed", "too-far-ahead"])
def test_a_repeatable_call_is_signed_anew_once_for_each_code(code: str, source: RealmSource) -> None:
    """The second refusal for the same reason is the result."""
    target = Script(source.realm, (code, E), (code, E))
    assert outcome(acquainted(source, E), target, safe=True) == "refused"
    target = Script(source.realm, (code, E), ("epoch-required", OTHER), ("accepted", OTHER))
    assert outcome(acquainted(source, E), target, safe=True) == "done"
    assert target.named == [E, E if code == "clock-skew" else None, OTHER]


@pytest.mark.parity("L6")
def test_a_read_gets_through_when_every_instance_is_new(source: RealmSource) -> None:
    """The first refusal teaches an epoch; after the second, the client waits for the latest birth it was told."""
    target = Script(source.realm, ("epoch-required", E, 4_000), ("epoch-required", OTHER, 2_500), ("accepted", THIRD))
    began = source.realm.clock.now()
    assert outcome(acquainted(source, b"the past"), target, safe=True) == "done"
    assert target.named == [b"the past", E, OTHER]
    assert source.waits == [4.25]
    assert source.realm.clock.now() - began == 4_250


@pytest.mark.parity("L6")
def test_a_younger_instance_is_waited_for_as_well(source: RealmSource) -> None:
    """Until all are old enough that were there when the call began; one that came later is named."""
    target = Script(
        source.realm,
        ("epoch-required", E, 1_000), ("epoch-required", OTHER, 2_000), ("epoch-required", THIRD, 100),
        ("epoch-required", E, 4_999), ("accepted", E),
    )  # fmt: skip
    assert outcome(acquainted(source), target, safe=True) == "done"
    assert target.named == [None, E, OTHER, THIRD, E]
    assert source.waits == [2.25, 3.0]


@pytest.mark.parity("L6")
def test_a_wait_has_an_end(source: RealmSource) -> None:
    """6 s, whatever is told; no wait where nothing is."""
    refusals = [("epoch-required", epoch, 2**32 - 1) for epoch in (E, OTHER, THIRD, E, OTHER)]
    assert outcome(acquainted(source), Script(source.realm, *refusals), safe=True) == "refused"
    assert source.waits == [6.0]
    source.waits.clear()
    source.peers.clear()
    silent = Script(source.realm, ("epoch-required", E), ("epoch-required", OTHER), ("accepted", OTHER))
    assert outcome(acquainted(source), silent, safe=True) == "done"
    assert source.waits == []


@pytest.mark.parity("L6")
def test_a_call_that_must_not_run_twice_waits_for_nothing(source: RealmSource) -> None:
    """It is refused or open after its second request."""
    target = Script(source.realm, ("epoch-required", E, 4_000), ("epoch-required", OTHER, 4_000))
    assert outcome(acquainted(source), target) == "maybe executed"
    assert source.waits == []


@pytest.mark.parity("L6")
async def test_a_wait_of_a_task_can_be_cancelled(source: RealmSource) -> None:
    """`acall` waits in its task."""
    target = Script(source.realm, ("epoch-required", E, 900), ("epoch-required", OTHER, 100), ("accepted", E))

    async def send(request: bytes) -> bytes:
        return target(request)

    await acquainted(source).acall(send, ENDPOINT, safe=True)
    assert source.waits == [1.15]


@pytest.mark.parity("L6")
def test_a_task_waits_under_every_loop() -> None:
    """Without a library for both; a cancelled task does not go on."""

    async def cancelled() -> bool:
        with anyio.move_on_after(0) as scope:
            await Pause(3600, HostRest()).sleep()
        return scope.cancelled_caught

    async def waits() -> None:
        await Pause(0, HostRest()).sleep()
        assert await cancelled()

    for backend in ("asyncio", "trio"):
        anyio.run(waits, backend=backend)
    Pause(0, HostRest()).block()


@pytest.mark.parity("K7")
def test_by_hand_a_pause_is_an_effect(source: RealmSource) -> None:
    """Whoever drives `calls` alone waits as it likes."""
    target = Script(source.realm, ("epoch-required", E, 900), ("epoch-required", OTHER, 100), ("accepted", E))
    flow = acquainted(source).calls(ENDPOINT, safe=True)
    first = next(flow)
    assert isinstance(first, bytes)
    second = flow.send(target(first))
    assert isinstance(second, bytes)
    pause = flow.send(target(second))
    assert isinstance(pause, Pause)
    assert pause.seconds == pytest.approx(1.15)
    last = flow.send(None)
    assert isinstance(last, bytes)
    with pytest.raises(StopIteration):
        flow.send(target(last))


@pytest.mark.parity("L6")
def test_what_must_not_run_twice_is_remembered(source: RealmSource) -> None:
    """After not-repeatable the same call counts as unsafe, whatever its caller says."""
    target = Script(
        source.realm,
        ("not-repeatable", E), ("accepted", E),  # at first contact no request has named an epoch
        ("epoch-required", OTHER),
    )  # fmt: skip
    credentials = acquainted(source)
    assert outcome(credentials, target, safe=True) == "done"
    assert outcome(credentials, target, safe=True) == "maybe executed"
    assert target.named == [None, E, E]
    others = Script(source.realm, ("epoch-required", E), ("accepted", E))
    credentials.call(others, "orders/list", safe=True)


@pytest.mark.parity("L6")
def test_a_read_that_must_not_run_twice_is_open_once_it_named_an_epoch(source: RealmSource) -> None:
    """Also when it was an earlier request of the call that named one, and the refused one did not."""
    target = Script(source.realm, ("epoch-required", NO_EPOCH), ("not-repeatable", OTHER))
    credentials = acquainted(source, E)
    assert outcome(credentials, target, safe=True) == "maybe executed"
    with pytest.raises(MaybeExecuted):
        credentials.call(Script(source.realm, ("epoch-required", OTHER)), ENDPOINT, safe=True)


@pytest.mark.parity("L6")
@pytest.mark.parametrize("code", ["replayed", "busy", "too-far-ahead"])
def test_a_read_that_a_target_does_not_repeat_is_not_run_twice(code: str, source: RealmSource) -> None:
    """Nobody has told its caller yet. The repeat names no epoch, so it does not run, and the target says so."""
    target = Script(source.realm, (code, E), ("not-repeatable", E))
    assert outcome(acquainted(source, E), target, safe=True) == "maybe executed"
    assert target.named == [E, None]


@pytest.mark.parity("B2")
def test_what_leaves_a_call_open_is_said(source: RealmSource) -> None:
    """Which request, for how long, and what to do about it."""
    with pytest.raises(MaybeExecuted) as caught:
        acquainted(source, E).call(Script(source.realm, ("too-far-ahead", E)), ENDPOINT)
    until = caught.value.until
    assert until is not None
    assert until - source.realm.clock.now() == 60_000
    assert re.search(r"can run until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", str(caught.value))
    for words in ("replay store", "`repeatable`", "balancer"):
        assert words in caught.value.remedy
    with pytest.raises(MaybeExecuted, match="a transport or proxy repeated this request below the auth") as caught:
        acquainted(source, E).call(Script(source.realm, ("replayed", E)), ENDPOINT)
    assert "turn off what sends a request again" in caught.value.remedy


EPOCHS = {
    "one": (E, E, E),
    "a restart": (E, OTHER, OTHER),
    "restarts": (E, OTHER, THIRD, THIRD),
    "no epoch between": (E, NO_EPOCH, E),
}


@pytest.mark.parity("L6")
@pytest.mark.parametrize("heard", EPOCHS)
def test_a_restart_is_no_second_instance(heard: str) -> None:
    """Nor is an answer that names no epoch."""
    peer = PeerState()
    for second, epoch in enumerate(EPOCHS[heard]):
        peer.learn(epoch, None, sent_s=second, now_s=second + 0.5)
        assert not peer.is_plural(second + 0.6)
    assert peer.read() == (EPOCHS[heard][-1], 0)


@pytest.mark.parity("L6")
def test_an_earlier_epoch_that_answers_again_is_another_instance() -> None:
    """For an hour after the last time."""
    peer = PeerState()
    for second, epoch in enumerate((E, OTHER, E)):
        assert not peer.is_plural(second)
        peer.learn(epoch, None, sent_s=second, now_s=second)
    assert peer.is_plural(3)
    assert (peer.epoch_to_name(3, repeatable=True), peer.epoch_to_name(3, repeatable=False)) == (E, None)
    assert peer.is_plural(3601.9)
    assert not peer.is_plural(3602)


@pytest.mark.parity("L6")
def test_an_answer_that_was_under_way_while_the_target_restarted_is_no_news() -> None:
    """Its request left before the new epoch was met."""
    peer = PeerState()
    peer.learn(E, 0, sent_s=0, now_s=0)
    peer.learn(OTHER, 0, sent_s=10, now_s=11)
    peer.learn(E, 7, sent_s=10.5, now_s=12)
    assert not peer.is_plural(12)
    assert peer.read(12) == (OTHER, 7)


@pytest.mark.parity("L6")
def test_an_epoch_is_kept_for_an_hour() -> None:
    """Since it was heard last; what comes later is a first contact."""
    peer = PeerState()
    peer.learn(E, 5, sent_s=0, now_s=0)
    peer.learn(E, None, sent_s=1000, now_s=1000)
    assert peer.read(4599) == (E, 5)
    assert peer.read(4600) == (None, 5)
    peer.learn(OTHER, None, sent_s=4600, now_s=4600)
    peer.learn(E, None, sent_s=4601, now_s=4601)
    assert not peer.is_plural(4602)


@pytest.mark.parity("L6")
def test_what_is_kept_is_bounded() -> None:
    """Epochs, calls and places of one target."""
    peer = PeerState()
    for number in range(1, 100):
        peer.learn(number.to_bytes(8, "big"), None, sent_s=number, now_s=number)
        peer.learn((number + 1000).to_bytes(8, "big"), None, sent_s=number, now_s=number)
    assert len(peer._known.earlier) == 15
    for number in range(300):
        peer.count_as_unsafe("GET", f"/{number}")
        peer.count_as_unsafe("GET", "/299")
    assert len(peer._unsafe) == 256
    assert peer.is_unsafe("GET", "/299")
    assert not peer.is_unsafe("GET", "/1")
    peers = KnownTargets()
    raw, first = peers.at(), peers.at("https://0.example")
    for number in range(100):
        peers.at(f"https://{number}.example")
    assert peers.at() is raw
    assert peers.at("https://0.example") is not first
    assert len(peers._states) == 63  # and the one of raw calls


@pytest.mark.parity("L6")
def test_origins_are_apart(source: RealmSource) -> None:
    """What one taught serves it alone."""
    credentials = source.credentials("orders")
    now_s = source.realm.clock.now() / 1000
    credentials.peers.at("https://a.example").learn(E, 5, sent_s=now_s, now_s=now_s)
    calls: list[Any] = [
        credentials.present(bytes(32), use=USE_RAW, place=place) for place in ("https://a.example", "https://b.example")
    ]
    assert [parse_ap_request(call.request).epoch for call in calls] == [E, None]


def test_the_refusals_of_the_table_exist() -> None:
    """Names that nobody sends would test nothing."""
    names = {code.partition(" ")[0] for code, _column, _cell in table()} - {"code-999"}
    for name in names:
        assert SHARED[name].number, name
    with pytest.raises((KeyError, OrthrosError)):
        Refused("no-such-code")  # type: ignore[arg-type]  # mypy finds it, too
