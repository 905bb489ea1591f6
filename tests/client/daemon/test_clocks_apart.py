"""A caller and a target whose clocks are apart: what runs, and whose clock both sides name."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field

from orthros_client import Credentials, MaybeExecuted, TargetRefusal, Verifier
from orthros_client.credentials.refusal_reports import Reports
from orthros_client.local.answer_cache import AnswerCache
from orthros_client.local.api.values import CredentialGrant, Op, WantRequest
from orthros_client.local.conversation import Conversation
from orthros_protocol.errors import Refused, Unavailable
from orthros_protocol.exchanges.whose_clock import name_clock_at_service, words_for_caller
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.reasons.table import Code
from orthros_protocol.testing import CountingEntropy, InMemoryRealm, ManualClock
from orthros_protocol.tickets.attenuation import tail_of
from orthros_protocol.tickets.credential import Credential, Life
from tests.support.http_target import CallerRest

pytestmark = pytest.mark.parity("O6")


ENDPOINT = "orders/submit"
LIFE_S = 3600
APART = [600, -600, 3600 * 2, -3600]


@define
class CallerClock:
    """The caller's host: its wall clock is `wrong_ms` off the realm's."""

    realm: ManualClock
    wrong_ms: int = 0

    def wall_ms(self) -> Timestamp:
        return Timestamp(self.realm.now() + self.wrong_ms)

    def elapsed_s(self) -> float:
        return self.realm.now() / 1000


@define
class House:
    """`web` and one process of `orders`, whose clock is `wrong_s` off; `sees_steps`: its boot clock is right."""

    sees_steps: bool = True
    wrong_s: int = 0
    realm: InMemoryRealm = field(factory=InMemoryRealm)
    executed: int = 0
    asked: int = 0
    refused: list[Refused] = field(factory=list)
    verifier: Verifier = field(init=False)
    host: CallerClock = field(init=False)

    def __attrs_post_init__(self) -> None:
        for name in ("web", "orders"):
            self.realm.add(name)
        self.host = CallerClock(self.realm.clock)
        boot = self.realm.clock.now if self.sees_steps else self.now
        self.verifier = Verifier(
            self.realm.keytab("orders"), clock=self.now, monotonic_ms=boot, entropy=CountingEntropy(b"target")
        )

    def now(self) -> Timestamp:
        return Timestamp(self.realm.clock.now() + self.wrong_s * 1000)

    def credentials(self, **changes: Any) -> Credentials:
        issued = self.realm.issue("web", "orders")
        told: dict[str, Any] = {
            "target": self.realm.principal("orders"),
            "client": self.realm.principal("web"),
            "scopes": (),
            "realm_offset_ms": -self.host.wrong_ms,
            "ticket": issued.ticket,
            "tail": tail_of(issued.session_key, issued.ticket),
            "life": Life(LIFE_S, self.host.elapsed_s() + LIFE_S),
            "clock": self.host,
            "rest": CallerRest(self.realm, []),
            "entropy": CountingEntropy(b"caller"),
        }
        return Credentials(**told | changes)

    def grant(self) -> CredentialGrant:
        """What the daemon answers."""
        issued = self.realm.issue("web", "orders")
        credential = Credential(
            target=self.realm.principal("orders"),
            target_uid=self.realm.root("orders").uid,
            client=self.realm.principal("web"),
            ticket=issued.ticket,
            tail=tail_of(issued.session_key, issued.ticket),
            life=Life.left(LIFE_S * 1000, LIFE_S),
            kvno=1,
        )
        return CredentialGrant(
            credential=credential,
            fresh_ms=LIFE_S * 1000,
            offset_ms=-self.host.wrong_ms,
        )

    def answer(self, request: bytes) -> bytes:
        self.asked += 1
        try:
            caller = self.verifier.accept(request, ENDPOINT)
        except Refused as refusal:
            self.refused.append(refusal)
            return refusal.reply or b""
        self.executed += 1
        return caller.reply

    def call(self, credentials: Credentials, *, safe: bool = False) -> str:
        """`done`, or what the caller reads."""
        try:
            credentials.call(self.answer, ENDPOINT, safe=safe)
        except (TargetRefusal, MaybeExecuted) as error:
            return str(error)
        return "done"


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("wrong_s", APART)
def test_a_call_to_a_target_with_a_wrong_clock_says_whose_it_is(wrong_s: int, safe: bool) -> None:
    """Nothing ran and nothing will: no `maybe-executed`. As soon as the clock is right, calls run."""
    house = House(wrong_s=wrong_s)
    credentials = house.credentials()
    way = "ahead of" if wrong_s > 0 else "behind"
    for _ in range(3):
        said = house.call(credentials, safe=safe)
        assert "maybe-executed" not in said
        assert f"the target's clock is {abs(wrong_s)} s {way} the KDC's and this host's" in said
        assert "Fix time synchronisation on the host of orders@test.realm" in said
    assert house.executed == 0
    house.wrong_s = 0
    assert [house.call(credentials, safe=safe) for _ in range(3)] == ["done"] * 3
    assert house.executed == 3


@pytest.mark.parametrize("sees_steps", [True, False])
@pytest.mark.parametrize("wrong_s", APART)
def test_a_clock_that_jumps_under_known_epochs_is_open_once(wrong_s: int, sees_steps: bool) -> None:
    """The first request named the instance that was there before. After its answer none is named until dates fit."""
    house = House(sees_steps=sees_steps)
    credentials = house.credentials()
    assert house.call(credentials) == "done"
    house.wrong_s = wrong_s
    said = [house.call(credentials) for _ in range(4)]
    assert sum("maybe-executed" in one for one in said) <= 1
    assert all("maybe-executed" not in one and "the target's clock is" in one for one in said[1:])
    assert house.executed == 1
    if not sees_steps:  # no boot clock goes back
        return
    house.wrong_s = 0
    credentials = house.credentials(peers=credentials.peers)
    assert house.call(credentials) == "done"
    assert house.executed == 2


def test_a_request_that_was_never_in_time_has_not_run() -> None:
    """The named instance itself says that the request is too old by more than a client follows: so was every copy."""
    house = House(sees_steps=False)
    credentials = house.credentials()
    assert house.call(credentials) == "done"
    house.wrong_s = 600
    said = house.call(credentials)
    assert said.startswith("replayed: ")
    assert "the target's clock is 600 s ahead of the KDC's and this host's" in said


@pytest.mark.parametrize("apart_s", [200, -200])
def test_what_a_client_follows_needs_no_words(apart_s: int) -> None:
    house = House(wrong_s=apart_s)
    credentials = house.credentials()
    assert [house.call(credentials) for _ in range(3)] == ["done"] * 3
    assert all(not one.log_detail for one in house.refused)


def test_a_step_of_the_callers_clock_is_no_matter() -> None:
    """The realm's time is counted on the monotonic clock, also in what was narrowed before and after."""
    house = House()
    credentials = house.credentials()
    narrowed = credentials.narrow(lifetime=600)
    assert house.call(credentials) == "done"
    asked = house.asked
    for wrong_s in (3600, -3600, 600):
        house.host.wrong_ms = wrong_s * 1000
        assert house.call(credentials) == house.call(narrowed) == "done"
        assert house.call(credentials.narrow(lifetime=60)) == "done"
        assert credentials.life.second == house.realm.clock.now() // 1000 + LIFE_S
    assert house.asked - asked == 9


def test_what_is_kept_is_asked_for_again_after_a_step() -> None:
    """A process that was paused with its host does not go on with what has ended meanwhile."""
    house = House()
    kept = AnswerCache(house.host)
    question = (WantRequest(op=Op.TICKET, target="orders"), b"")
    kept.keep(question, house.credentials(), 60.0)
    assert kept.look_up(question, 10.0)[1]
    house.host.wrong_ms = 900
    assert kept.look_up(question, 10.0)[1]
    house.host.wrong_ms = 3600_000
    assert not kept.look_up(question, 10.0)[1]
    assert kept.look_up(question, 10.0)[1]  # one asks; the others go on


@pytest.mark.parametrize(("wrong_ms", "rest_s"), [(0, 30), (3600_000, 2)])
def test_after_a_step_the_daemon_is_asked_again_soon(wrong_ms: int, rest_s: int) -> None:
    """What is in hand may have ended: it serves where the daemon cannot help, for a moment only."""
    house = House()
    conversation = Conversation(1.0, clock=house.host)
    first = conversation.credentials("orders", None, 0)
    next(first)
    with pytest.raises(StopIteration) as got:
        first.send(house.grant())
    house.realm.clock.advance(61)
    house.host.wrong_ms = wrong_ms
    second = conversation.credentials("orders", None, 0)
    next(second)
    with pytest.raises(StopIteration) as kept:
        second.throw(Unavailable("timeout"))
    assert kept.value.value is got.value.value
    house.realm.clock.advance(rest_s - 1)
    with pytest.raises(StopIteration):
        next(conversation.credentials("orders", None, 0))
    house.realm.clock.advance(2)
    assert next(conversation.credentials("orders", None, 0)) is not None


@pytest.mark.parametrize("safe", [False, True])
def test_the_last_minutes_of_a_ticket_belong_to_the_callers_clock(safe: bool) -> None:
    """Dated after the ticket's end by a clock that is ahead: the answer teaches it, and the call runs once."""
    house = House()
    credentials = house.credentials(realm_offset_ms=200_000)
    house.realm.clock.advance(LIFE_S - 100)
    assert house.call(credentials, safe=safe) == "done"
    assert house.executed == 1
    first = house.refused[0]
    assert (first.code, first.log_detail) == (
        "ticket-expired", "the caller's clock is 200 s ahead of this one and the KDC's",
    )  # fmt: skip
    assert "by this clock the ticket lives 100 s more" in first.detail
    assert "caller's host" in first.log_remedy


def test_a_kdc_that_was_ahead_is_named_on_both_sides() -> None:
    """Its ticket and its time are from the future; the caller's host and the target agree."""
    house = House()
    house.realm.clock.advance(600)
    credentials = house.credentials()
    house.realm.clock.advance(-600)
    said = house.call(Credentials(**_as_told(credentials, house, 600_000)))
    assert "the KDC's clock is 600 s ahead of the target's and this host's" in said
    said = house.call(Credentials(**_as_told(credentials, house, 0)))
    assert said.startswith("ticket-times-invalid")
    assert house.refused[-1].log_detail == "the KDC's clock was 600 s ahead of this one and the caller's"
    assert "KDC's host" in house.refused[-1].log_remedy


def _as_told(credentials: Credentials, house: House, offset_ms: int) -> dict[str, Any]:
    names = ("target", "client", "scopes", "ticket", "tail")
    told: dict[str, Any] = {name: getattr(credentials, name) for name in names}
    return told | {
        "realm_offset_ms": offset_ms,
        "life": Life(3600, house.host.elapsed_s() + 3600),
        "clock": house.host,
        "rest": CallerRest(house.realm, []),
        "entropy": CountingEntropy(b"told"),
    }


@pytest.mark.parametrize("wrong_s", [600, -600])
def test_the_daemon_is_told_of_clocks_whatever_the_target_calls_it(wrong_s: int) -> None:
    """`too-far-ahead` and `replayed` are about dates when the clocks are far apart."""
    house = House(wrong_s=wrong_s)
    reports = Reports(house.host, CallerRest(house.realm, []))
    house.call(house.credentials(reports=reports))
    taken = reports.take()
    assert taken is not None
    assert taken[0].code == "clock-skew"
    assert house.refused[0].code == ("replayed" if wrong_s > 0 else "too-far-ahead")


NOW, IAT, EXP = 1_800_000_000_000, 1_799_999_000, 1_800_002_600


@pytest.mark.parametrize(
    ("code", "dated_s", "now_s", "words"),
    [
        ("clock-skew", 1000, 1400, "this service's clock is 400 s ahead of the caller's, which follows the KDC's"),
        ("clock-skew", 1000, 1200, ""),
        ("too-far-ahead", 1000, -800, "this service's clock is 1800 s behind the caller's and the KDC's"),
        ("replayed", 1000, 4600, "this service's clock is 3600 s ahead of the caller's and the KDC's"),
        ("replayed", 1000, 1001, ""),
        ("ticket-expired", 1000, 4600, "this service's clock is 3600 s ahead of the caller's and the KDC's"),
        ("ticket-expired", 3650, 3651, ""),
        ("ticket-times-invalid", -600, -600, "the KDC's clock was 600 s ahead of this one and the caller's"),
        ("too-far-ahead", 7200, 1000, "the caller's clock is 6200 s ahead of this one and the KDC's"),
        ("replayed", 9000, 5000, "the caller's clock is 4000 s ahead of this one, and the ticket fits neither"),
        ("wrong-binding", 1000, 4600, ""),
    ],
)  # fmt: skip
def test_the_service_names_the_clock_that_two_others_contradict(
    code: Code, dated_s: int, now_s: int, words: str
) -> None:
    """Seconds after the ticket's issue; it lives an hour."""
    refusal = Refused(code)
    name_clock_at_service(
        refusal, dated=Timestamp((IAT + dated_s) * 1000), iat=IAT, exp=EXP, now=Timestamp((IAT + now_s) * 1000)
    )
    assert refusal.log_detail == words
    assert bool(refusal.log_remedy) == bool(words)


def test_the_caller_names_the_clock_that_two_others_contradict() -> None:
    def words(target_s: int, realm_s: int, host_s: int) -> str:
        return words_for_caller(NOW + target_s * 1000, NOW + realm_s * 1000, NOW + host_s * 1000, target="orders")[0]

    assert words(0, 0, 600) == words(59, 0, 600) == ""
    assert words(600, 0, 0) == "the target's clock is 600 s ahead of the KDC's and this host's"
    assert words(-600, 0, 300) == "the target's clock is 600 s behind the KDC's"
    assert (
        words(0, -600, 2) == "the KDC's clock is 600 s behind the target's and this host's, as the daemon measured it"
    )
