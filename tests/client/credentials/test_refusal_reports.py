"""What a client tells its daemon of proven refusals, and what the caller reads: by a turned clock, without a daemon."""

from __future__ import annotations

import pytest
from attrs import define, frozen

from orthros_client.credentials.refusal_reports import NO_DAEMON, Reports
from orthros_client.flows import Pause
from orthros_client.local.api.values import Reported, ReportOutcome
from orthros_protocol.exchanges.ap_exchange import TargetRefusal
from orthros_protocol.exchanges.replay import NO_EPOCH
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.table import Code, reason_for
from orthros_protocol.tickets.ticket import Subject

NOW = Timestamp(1_800_000_000_000)


@define
class StillClock:
    at_s: float = 100.0

    def wall_ms(self) -> Timestamp:
        return NOW

    def elapsed_s(self) -> float:
        return self.at_s


class Front:
    """A front that never has to wait: the tests answer by hand."""

    def block(self, seconds: float) -> None:
        raise AssertionError(seconds)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


WEB = Principal("test.realm", "web")


@frozen
class Shown:
    target: Principal
    ticket: bytes = b"a ticket"
    client: Principal = WEB
    subject: Subject | None = None


ORDERS = Shown(Principal("test.realm", "orders"))


def refusal(code: Code = "insufficient-scope", detail: str = "web@test.realm lacks refund") -> TargetRefusal:
    return TargetRefusal(reason_for(code).number, detail, target_time=NOW, epoch=NO_EPOCH)


def noted(
    reports: Reports, shown: Shown = ORDERS, code: Code = "insufficient-scope", detail: str = ""
) -> TargetRefusal:
    told = refusal(code, detail or "web@test.realm lacks refund")
    reports.note(shown, told)
    return told


def answer(reports: Reports, outcome: ReportOutcome | None, retry_s: int = 0) -> None:
    taken = reports.take()
    assert taken is not None
    taken[1](None if outcome is None else Reported(outcome=outcome, retry_s=retry_s))


def open_reports() -> tuple[Reports, StillClock, list[Principal]]:
    clock, doubted = StillClock(), list[Principal]()
    return Reports(clock, Front(), doubted.append), clock, doubted


def test_a_report_says_which_ticket_and_why() -> None:
    reports, _clock, doubted = open_reports()
    noted(reports)
    assert [type(one) for one in reports.telling()] == [Pause]
    assert reports.is_noted(None, "orders")
    assert reports.is_noted("test.realm", "orders")
    assert not reports.is_noted("other.realm", "orders")
    taken = reports.take()
    assert taken is not None
    request = taken[0]
    assert (request.target, request.ticket) == (ORDERS.target, digest(b"a ticket"))
    assert (request.code, request.time) == ("insufficient-scope", NOW)
    assert doubted == [ORDERS.target]
    assert reports.take() is None
    assert list(reports.telling()) == []


@pytest.mark.parametrize("code", ["replayed", "epoch-required", "caveat-refused", "vetoed", "busy"])
def test_what_another_ticket_cannot_mend_is_not_reported(code: Code) -> None:
    reports, _clock, doubted = open_reports()
    told = noted(reports, code=code)
    assert (list(reports.telling()), doubted, told.advice) == ([], [], "")


def test_the_daemon_hears_of_a_target_once_in_a_second() -> None:
    """And not at all until it asks the KDC, if it has said when."""
    reports, clock, doubted = open_reports()
    noted(reports)
    answer(reports, ReportOutcome.UNCHANGED)
    noted(reports)
    assert not reports.is_noted(None, "orders")
    clock.at_s += 1
    late = noted(reports)
    answer(reports, ReportOutcome.LATER, 7)
    assert "a call in 7 s works by itself" in late.remedy
    clock.at_s += 6
    assert "the next call or the one after it works by itself" in noted(reports).remedy
    assert not reports.is_noted(None, "orders")
    clock.at_s += 1
    noted(reports)
    assert reports.is_noted(None, "orders")
    assert set(doubted) == {ORDERS.target}  # with each refusal the next question goes to the daemon


def test_a_daemon_that_does_not_answer_is_left_alone_for_a_second() -> None:
    reports, clock, _doubted = open_reports()
    first = noted(reports)
    before = first.remedy
    answer(reports, None)
    assert first.remedy == before
    noted(reports)
    assert not reports.is_noted(None, "orders")
    clock.at_s += 1
    noted(reports)
    assert reports.is_noted(None, "orders")


def test_a_thousand_targets_take_bounded_memory() -> None:
    reports, _clock, _doubted = open_reports()
    for number in range(1000):
        noted(reports, Shown(Principal("test.realm", f"shard-{number}")))
        if number % 100 == 0:
            while reports._noted:
                answer(reports, ReportOutcome.LATER, 10)
    assert len(reports._noted) <= 64
    assert len(reports._quiet) <= 64


@pytest.mark.parametrize(
    ("outcome", "beginning"),
    [
        (ReportOutcome.IGNORED, "If a rule was changed a moment ago, the next call or the one after it works by "),
        (ReportOutcome.RENEWED, "If a rule was changed a moment ago, the next call works: the daemon has obtained "),
        (ReportOutcome.UNCHANGED, "The daemon has just asked the KDC again, and the rules grant no more than "),
        (ReportOutcome.FAILED, "If a rule was changed a moment ago, call again later: the daemon has just asked "),
    ],
)  # fmt: skip
def test_the_remedy_names_the_likelier_cause_first_and_then_the_commands(
    outcome: ReportOutcome, beginning: str
) -> None:
    reports, _clock, _doubted = open_reports()
    told = noted(reports, detail="web@test.realm lacks refund write")
    answer(reports, outcome)
    assert told.remedy.startswith(beginning)
    rest = "`orthros-admin policy allow web orders --scope refund --scope write` grants the scope, and "
    assert rest + "`orthros-admin policy explain web orders` says what the rules grant." in told.remedy
    assert told.remedy in str(told)


def test_on_behalf_of_somebody_the_commands_say_so() -> None:
    reports, _clock, _doubted = open_reports()
    alice = Subject(Principal("test.realm", "alice"), 0, 2)
    told = noted(reports, Shown(ORDERS.target, subject=alice))
    assert "`orthros-admin policy allow web orders --scope refund --subject alice`" in told.remedy
    assert "`orthros-admin policy explain web orders --subject alice`" in told.remedy
    shop = Subject(Principal("test.realm", "shop"), 17, 1)
    told = noted(reports, Shown(ORDERS.target, client=Principal("other.realm", "web"), subject=shop))
    assert "`orthros-admin policy allow web@other.realm orders --scope refund --behalf shop`" in told.remedy


@pytest.mark.parametrize("detail", ["", "no", "web lacks everything!", "web lacks $(reboot)"])
def test_words_of_another_verifier_become_no_command(detail: str) -> None:
    """What is pasted is a scope, or a placeholder."""
    reports, _clock, _doubted = open_reports()
    told = refusal(detail=detail)
    reports.note(ORDERS, told)
    assert "`orthros-admin policy allow web orders --scope SCOPE`" in told.remedy


def test_without_a_daemon_nothing_is_kept_and_nothing_promised() -> None:
    told = noted(NO_DAEMON)
    assert told.remedy.startswith("This ticket was not obtained from a daemon")
    assert list(NO_DAEMON.telling()) == []
    assert not NO_DAEMON.is_noted(None, "orders")
