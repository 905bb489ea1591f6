"""Strangers and logs: refusals that anybody can cause fill no disk, and hide none of a proven caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
from attrs import evolve

from orthros_client.daemon.listeners.forward_auth_dialects import PATH, ProxyQuestion
from orthros_client.http.server.guard import Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.refusal_log import Journal
from orthros_client.http.server.routes import Route
from tests.client.forwarding import Gate, judged
from tests.client.http.world import House
from tests.support.http_caller import Call, Received

MANY = 500


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def guarded(house: House, clock: Clock, **options: Any) -> Guard:
    guard = Guard(**house.settings(**options))
    guard.journal = Journal(observing=guard.observing, log=house.log, monotonic_s=clock)
    return guard


def incoming(call: Call) -> IncomingRequest:
    return IncomingRequest(method=call.method, target=call.target, headers=call.headers)


def stranger(path: bytes = b"/", authorization: bytes = b'Orthros v=1, h="", r="AAAA"') -> IncomingRequest:
    headers = (("host", b"orders.test"), ("authorization", authorization))
    return IncomingRequest(method="GET", target=path, headers=headers)


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_refusals_of_strangers_are_counted_past_a_rate(mode: str) -> None:
    house, clock = House(), Clock()
    guard = guarded(house, clock, mode=mode, routes=[Route("/a/*"), Route("/b/*")])
    for number in range(MANY):
        guard.judge(stranger(f"/a/{number}".encode()))
        guard.judge(stranger(b"/b", b"Basic x"))
    refused = "would-refuse" if mode == "observe" else "refused"
    lines = [facts for event, facts in house.log.lines if event == refused]
    assert len(lines) == 40
    assert guard.counts() == {("/a/*", "malformed"): MANY, ("/b/*", "credentials-missing"): MANY}
    house.log.lines.clear()
    clock.now = 60.0
    last = guard.judge(stranger(b"/elsewhere"))
    assert isinstance(last, Denied)
    told = [(facts["route"], facts["reason"], facts.get("left_out")) for _event, facts in house.log.lines]
    assert told == [
        ("/a/*", "malformed", MANY - 20), ("/b/*", "credentials-missing", MANY - 20), ("/*", "malformed", None),
    ]  # fmt: skip
    assert house.log.lines[-1][1]["ref"] == last.ref


def test_a_flood_of_strangers_hides_no_refusal_of_a_proven_caller() -> None:
    """Not even one on more routes than are counted one by one."""
    house, clock = House(), Clock()
    guard = guarded(house, clock, routes=[Route(f"/{number}/*") for number in range(600)])
    caller = house.caller()
    met = caller.call("OPTIONS", flags=0)
    first = guard.judge(incoming(met))
    assert isinstance(first, Denied)
    caller.refusal(met, Received(status=401, headers=first.answer.headers, body=b""))
    for number in range(600):
        for _ in range(2):
            guard.judge(stranger(f"/{number}".encode()))
    house.log.lines.clear()
    for _ in range(130):
        guard.judge(evolve(incoming(caller.call()), target=b"/0"))
    lines = [facts for _event, facts in house.log.lines]
    assert [(facts["reason"], facts["client"]) for facts in lines] == [("wrong-binding", "billing@test.realm")] * 100
    assert guard.counts()["/0/*", "wrong-binding"] == 130


def test_a_verifier_that_fails_is_told_at_a_rate_as_well() -> None:
    house, clock = House(), Clock()
    guard = guarded(house, clock)
    for _ in range(MANY):
        guard.judge(IncomingRequest(method="GET", target=None, headers=()))
    assert house.log.events == ["verifier-failed"] * 20
    assert sum(guard.counts().values()) == MANY


@pytest.mark.parametrize(
    "headers",
    [
        (("x-orthros-client", b"root"),),
        (("x-forwarded-uri", b"/"),),
        (("x-forwarded-method", b"GET"), ("x-forwarded-host", b"orders.example"), ("x-forwarded-uri", b"/a//b")),
    ],
    ids=["spoofed", "misdirected", "refused"],
)
def test_forward_auth_writes_so_many_lines(headers: tuple[tuple[str, bytes], ...], tmp_path: Path) -> None:
    gate = Gate.open(tmp_path, "traefik", met=False)
    with structlog.testing.capture_logs() as lines:
        for _ in range(MANY):
            judged(gate.endpoint, ProxyQuestion(method="GET", target=PATH.encode("ascii"), headers=headers))
    assert len(lines) == 20
    assert lines[-1]["further"] == "counted"
