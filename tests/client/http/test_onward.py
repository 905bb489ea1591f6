"""What a handler's own refused and failed calls become: a status, a code, and nothing that is none of the caller's."""

from __future__ import annotations

import json

import pytest

from orthros_client import DischargeRefused
from orthros_client.errors import Failure, MaybeExecuted, TicketRefused
from orthros_client.http.server.failed_calls import answer_onward, onward_answer
from orthros_client.http.server.refusal_log import who
from orthros_client.reasons import DAEMON_UNREACHABLE, KDC_UNREACHABLE, ORIGIN_UNKNOWN, RESPONSE_UNPROVEN, reason_named
from orthros_client.remedies import Asked
from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured, PeerMisbehaved, Refused, Unavailable
from orthros_protocol.exchanges.ap_exchange import TargetRefusal
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.table import Code, reason_for
from orthros_protocol.tickets.presenters import Presenter
from orthros_protocol.tickets.ticket import Subject
from tests.client.http.world import Lines

APPROVALS = Principal("test.realm", "approvals")
PRIVATE = "ledger: only group:auditors"
ALICE = Asked(target="ledger", client="orders", subject="users/ada", path=("gateway",), on_behalf=True)
OWN = Asked(target="ledger", client="orders")


def by_kdc(code: Code, asked: Asked | None = ALICE, retry_s: int = 0) -> TicketRefused:
    error = TicketRefused(Failure.refused(code, PRIVATE, retry_s=retry_s))
    error.asked = asked
    return error


def by_target(code: Code, *, on_behalf: bool = True) -> TargetRefusal:
    error = TargetRefusal(reason_for(code).number, PRIVATE, target_time=Timestamp(0), epoch=bytes(8))
    error.on_behalf = on_behalf
    return error


def by_discharger(*, on_behalf: bool) -> DischargeRefused:
    error = DischargeRefused(APPROVALS, "vetoed", PRIVATE)
    error.on_behalf = on_behalf
    return error


def told(error: BaseException) -> tuple[int, str, str] | None:
    answer = onward_answer(error, "0f")
    if answer is None:
        return None
    content = json.loads(answer.body)
    assert (dict(answer.headers).get("retry-after") is not None) is (answer.status == 503)
    return answer.status, content["error"], content["code"]


CASES: dict[str, tuple[BaseException, tuple[int, str, str] | None]] = {
    "no rule for the caller": (by_kdc("not-granted"), (403, "onward_refused", "not-granted")),
    "its path": (by_kdc("chain-refused"), (403, "onward_refused", "chain-refused")),
    "at the target": (by_target("caveat-refused"), (403, "onward_refused", "caveat-refused")),
    "no approval": (by_discharger(on_behalf=True), (403, "onward_refused", "discharge-refused")),
    "no approval for the service": (by_discharger(on_behalf=False), (502, "onward_refused", "discharge-refused")),
    "no rule for the service": (by_kdc("not-granted", OWN), (502, "onward_refused", "not-granted")),
    "nobody knows for whom": (by_kdc("not-granted", None), (502, "onward_refused", "not-granted")),
    "the service at the target": (
        by_target("caveat-refused", on_behalf=False),
        (502, "onward_refused", "caveat-refused"),
    ),
    "too often": (by_kdc("rate-limited", retry_s=30), (503, "onward_unavailable", "rate-limited")),
    "a full target": (by_target("busy"), (503, "onward_unavailable", "busy")),
    "no KDC": (
        Failure.unavailable(KDC_UNREACHABLE, PRIVATE).to_error(),
        (503, "onward_unavailable", "kdc-unreachable"),
    ),
    "no daemon": (Unavailable(DAEMON_UNREACHABLE, PRIVATE), (503, "onward_unavailable", "daemon-unreachable")),
    "perhaps executed": (MaybeExecuted(by_target("epoch-required")), (502, "onward_failed", "maybe-executed")),
    "somebody in between": (
        PeerMisbehaved(RESPONSE_UNPROVEN, PRIVATE),
        (502, "onward_failed", "response-unproven"),
    ),
    "bytes of anybody": (Malformed(PRIVATE), None),
    "of the own caller": (Refused("insufficient-scope"), None),
    "a bug": (LocalMisuse("wrong-state"), None),
    "a setting": (Misconfigured(ORIGIN_UNKNOWN), None),
    "something else": (KeyError("ledger"), None),
    "a group": (
        ExceptionGroup("", [by_kdc("not-granted"), ExceptionGroup("", [Unavailable("timeout")])]),
        (503, "onward_unavailable", "timeout"),
    ),
    "a group with more in it": (ExceptionGroup("", [by_kdc("not-granted"), KeyError("ledger")]), None),
}


@pytest.mark.parametrize("case", CASES)
def test_each_family_has_its_status(case: str) -> None:
    error, expected = CASES[case]
    assert told(error) == expected


@pytest.mark.parity("B2")
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_told_but_the_code_and_what_it_means(case: str) -> None:
    """No detail, no remedy, no name of whom it was for, through whom and to whom."""
    answer = onward_answer(CASES[case][0], "0f")
    if answer is not None:
        content = json.loads(answer.body)
        assert content.keys() == {"error", "error_description", "code", "reference"}
        reason = reason_named(content["code"])
        assert reason is not None
        assert reason.cause in content["error_description"]
        for secret in (b"auditors", b"orders", b"users/ada", b"gateway", b"orthros-admin", b"approvals"):
            assert secret not in answer.body
        assert not any(name in ("www-authenticate", "orthros-reply") for name, _value in answer.headers)


def test_how_long_to_wait() -> None:
    """RFC 9110, section 10.2.3: what the refusal says, else a few seconds."""
    for error, expected in (
        (by_kdc("rate-limited", retry_s=30), b"30"),
        (Failure.unavailable("timeout", retry_s=7).to_error(), b"7"),
        (Unavailable("timeout"), b"5"),
    ):
        answer = onward_answer(error, "0f")
        assert answer is not None
        assert dict(answer.headers)["retry-after"] == expected


@pytest.mark.parity("B2", "L20")
def test_the_log_has_what_the_answer_leaves_out() -> None:
    """Found by the reference that the caller was given."""
    log = Lines()
    caller = Presenter(
        client=Principal("test.realm", "gateway"), subject=Subject(Principal("test.realm", "users/ada"), 0, 2),
        act=("gateway@test.realm",), transaction_id="ab" * 16,
    )  # fmt: skip
    answer = answer_onward(by_kdc("chain-refused"), caller, log=log)
    assert answer is not None
    ((event, facts),) = log.lines
    assert (event, facts["reason"], facts["detail"], facts["status"]) == (
        "onward-refused", "chain-refused", PRIVATE, 403,
    )  # fmt: skip
    assert "policy explain orders ledger --behalf users/ada --via gateway" in str(facts["remedy"])
    assert facts["ref"] == json.loads(answer.body)["reference"]
    assert {name: facts[name] for name in who(caller)} == who(caller)
    assert answer_onward(KeyError("ledger"), caller, log=log) is None
    assert len(log.lines) == 1


@pytest.mark.parity("B7")
def test_no_secret_of_a_detail_reaches_the_log() -> None:
    """Details come from others."""
    log, secret = Lines(), "ort1h_" + "A" * 80
    answer_onward(Unavailable(KDC_UNREACHABLE, secret), None, log=log)
    ((_event, facts),) = log.lines
    assert "A" * 40 not in str(facts)
