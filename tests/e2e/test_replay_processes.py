"""What is captured is accepted once, and honest calls do not fail: real workers, replicas, balancers and a real Redis.

The short forms of scenes of `make chaos`, each with the real default: no option, and a host of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.chaos.balancers import Balancer
from tests.chaos.callers import at_once
from tests.chaos.figures import Line
from tests.chaos.hosts import Service
from tests.chaos.scenes.workers import stopped_inside
from tests.chaos.street import Street, open_street
from tests.support.peers import require
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.stories

BALANCERS = (Balancer("nginx", "round_robin"), Balancer("haproxy", "roundrobin"))


@pytest.fixture(scope="module")
def whole_street() -> Iterator[Street]:
    with open_street() as street:
        yield street


@pytest.fixture
def street(whole_street: Street) -> Iterator[Street]:
    """What is opened on it is closed with the test."""
    with whole_street.scene() as scene:
        yield scene
    assert whole_street.executions.doubled() == []


def two_replicas(street: Street, store: str) -> list[Service]:
    environ = {"ORTHROS_REPLAY_STORE": store}
    services = [street.service(street.host(), "gunicorn", start=False, environ=environ) for _ in range(2)]
    for service in services:
        service.start()
    for service in services:
        service.await_ready()
    return services


@pytest.mark.parity("O1")
@pytest.mark.parametrize("options", ["-k gthread --threads 4", pytest.param("--preload", marks=pytest.mark.campaign)])
def test_workers_of_a_host_accept_a_captured_request_once_also_after_a_restart(street: Street, options: str) -> None:
    """The other servers are in `make chaos`."""
    service = street.service(street.host(), "gunicorn", workers=4, options=options)
    caller = street.caller(service.port)
    assert caller.calls("POST", 4).failed == 0
    for method in ("POST", "GET"):
        captured = caller.capture(method)
        statuses = at_once(captured, [service.port] * 100)
        assert statuses == {200: 1, 401: 99}
        assert street.executions.of(captured.name) == 1
    captured = caller.capture("POST")
    service.restart()
    service.await_ready()
    assert at_once(captured, [service.port] * 20) == {200: 1, 401: 19}, "the memory outlives the processes"
    assert at_once(caller.heard[-2], [service.port] * 20) == {401: 20}
    assert caller.calls("POST", 10).failed == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
def test_a_worker_that_is_killed_or_stopped_inside_an_admission_stops_no_other(
    street: Street, number: signal.Signals
) -> None:
    trigger = street.stage.folder / f"trigger-{number.name}"
    armed = {"CHAOS_ARMED": number.name, "CHAOS_TRIGGER": str(trigger)}
    service = street.service(street.host(), "gunicorn", workers=3, environ=armed)
    caller = street.caller(service.port)
    assert caller.calls("POST", 2).failed == 0
    line = Line("gunicorn", f"{number.name} inside an admission")
    stopped_inside(line, service, caller, trigger, number)
    assert line.broken == []


def test_two_sync_workers_leave_no_post_open(street: Street) -> None:
    service = street.service(street.host(), "gunicorn", workers=2)
    posts = street.caller(service.port).calls("POST", 200)
    assert (posts.calls, str(posts)) == (200, "")


@pytest.mark.parity("O2")
@pytest.mark.parametrize("balancer", [BALANCERS[0], pytest.param(BALANCERS[1], marks=pytest.mark.campaign)], ids=str)
def test_reads_through_a_balancer_need_no_shared_store(street: Street, balancer: Balancer) -> None:
    require(balancer.program)
    services = two_replicas(street, "")
    port = street.balancer(balancer, services)
    for kept in (False, True):
        reads = street.caller(port, kept=kept).calls("GET", 60, in_flight=10)
        assert (reads.calls, str(reads)) == (60, "")
    captured = street.caller(port).capture("POST")
    at_once(captured, [port] * 20)
    assert street.executions.of(captured.name) == 0, "it names no epoch"


@pytest.mark.parity("O2")
def test_with_one_store_nothing_fails_and_what_befalls_it_revives_no_request(street: Street) -> None:
    for balancer in BALANCERS:
        require(balancer.program)
    with RedisServer() as redis, street.scene() as scene:
        services = two_replicas(scene, redis.url)
        callers = [scene.caller(scene.balancer(balancer, services)) for balancer in BALANCERS]
        for caller in callers:
            for method in ("GET", "POST"):
                calls = caller.calls(method, 30, in_flight=10)
                assert (calls.calls, str(calls)) == (30, "")
        caller = callers[0]
        for event in ("flush", "restart"):
            kept = caller.capture("POST")
            if event == "flush":
                redis.client.flushall()
            else:
                redis.kill()
                assert caller.calls("POST", 3).failed == 3, "nothing runs without the store"
                redis.start()
            for captured in (kept, *caller.heard[-20:]):
                for service in services:
                    captured.send(service.port)
            assert street.executions.doubled() == []
            assert street.executions.of(kept.name) == 0
            handshake = caller.calls("GET", 1)
            while handshake.failures == {"TargetRefusal busy": 1}:  # for a second after the store did not answer
                handshake = caller.calls("GET", 1)
            assert str(handshake) == ""
            assert str(caller.calls("POST", 10)) == ""
