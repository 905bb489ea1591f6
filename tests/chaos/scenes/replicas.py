"""Several hosts behind a load balancer: reads need no shared store, and with one nothing fails."""

from __future__ import annotations

import itertools
import threading

from tests.chaos.balancers import BALANCERS, Balancer, installed
from tests.chaos.callers import Tally, at_once
from tests.chaos.figures import Report
from tests.chaos.hosts import Service
from tests.chaos.street import Street
from tests.support.redis_server import RedisServer

__all__ = ["newborn", "two_hosts", "with_a_store", "without_a_store"]

QUICK = (Balancer("nginx", "round_robin"), Balancer("haproxy", "roundrobin"))
_IN_FLIGHT = 10
_NEWBORN_S = 8.0  # an instance takes reads that do not name it five seconds after its birth


def _replicas(scene: Street, count: int, store: str = "", *, server: str = "", workers: int = 1) -> list[Service]:
    """So many hosts with a service each, started side by side; twelve of FastAPI are too large for small machines."""
    server = server or ("uvicorn" if count < 12 else "gunicorn")
    environ = {"ORTHROS_REPLAY_STORE": store}
    services = [
        scene.service(scene.host(), server, workers=workers, start=False, environ=environ) for _ in range(count)
    ]
    for service in services:
        service.start()
    for service in services:
        service.await_ready()
    return services


def _balancers(report: Report, *, quick: bool) -> list[Balancer]:
    if quick:
        return list(QUICK)
    missing = [balancer for balancer in BALANCERS if not installed(balancer)]
    if missing:
        with report.line("balancers", ", ".join(map(str, missing))) as line:
            line.check(False, "not installed: make peers-all")
    return [balancer for balancer in BALANCERS if balancer not in missing]


def _behind(
    street: Street, report: Report, services: list[Service], balancer: Balancer, *, store: str, calls: int
) -> None:
    """Reads and writes by each balancer, over connections that are kept and that are not."""
    for kept in (False, True):
        with street.scene() as scene:
            port = scene.balancer(balancer, services)
            caller = scene.caller(port, kept=kept)
            each = f"{len(services)} times {services[0].server} -w {services[0].workers}"
            how = f"{each}, {store}, {'kept' if kept else 'one call each'}"
            with report.line(str(balancer), f"{how}: GET", street.executions) as line:
                line.add(caller.calls("GET", calls, in_flight=_IN_FLIGHT))
                line.check(line.failed == 0, "reads fail", services)
            with report.line(str(balancer), f"{how}: POST", street.executions) as line:
                posts = caller.calls("POST", calls // 2, in_flight=_IN_FLIGHT)
                line.add(posts)
                line.check(store == "none" or line.failed == 0, "calls fail", services)
                # Without a store unsafe calls through a balancer that takes turns fail by design; they never run twice.
                line.check(posts.failed == posts.maybe, f"a call failed otherwise: {posts}")
            with report.line(str(balancer), f"{how}: captured", street.executions) as line:
                for method in ("GET", "POST"):
                    captured = caller.capture(method)
                    line.notes.append(f"{method}: {dict(at_once(captured, [port] * 50))}")
                    line.calls += 50
                    most = len(services) if method == "GET" and store == "none" else 1
                    ran = street.executions.of(captured.name)
                    line.check(ran <= most, f"ran {ran} times")


def without_a_store(street: Street, report: Report, *, quick: bool) -> None:
    """Each replica remembers for itself."""
    for count in (2,) if quick else (2, 3, 12):
        with street.scene() as scene:
            services = _replicas(scene, count)
            for balancer in _balancers(report, quick=quick):
                _behind(street, report, services, balancer, store="none", calls=100 if quick else 200)


def with_a_store(street: Street, report: Report, *, quick: bool) -> None:
    """All replicas share a Redis or Valkey server."""
    with RedisServer() as redis:
        for count in (2,) if quick else (2, 3, 12):
            with street.scene() as scene:
                services = _replicas(scene, count, redis.url)
                for balancer in _balancers(report, quick=quick):
                    _behind(street, report, services, balancer, store="one store", calls=100 if quick else 200)


def newborn(street: Street, report: Report, *, quick: bool) -> None:
    """Replicas that have just been born, one after the other, take reads from the first moment on."""
    count = 3 if quick else 12
    with street.scene() as scene:
        services = [scene.service(scene.host(), "gunicorn", start=False) for _ in range(count)]
        port = scene.balancer(QUICK[0], services, serves=False)
        for service in services:
            service.start()
        with report.line(str(QUICK[0]), f"{count} newborn replicas: GET", street.executions) as line:
            tally, ended = Tally(), threading.Event()
            reading = threading.Thread(target=scene.caller(port).paced, args=(("GET",), tally, ended, 20.0))
            reading.start()
            for service in services:
                service.await_ready()
            ended.wait(_NEWBORN_S)
            ended.set()
            reading.join()
            line.add(tally)
            line.notes.append(f"the slowest read took {tally.slowest_s:.1f} s")
            line.check(line.failed == 0, "reads fail")


def two_hosts(street: Street, report: Report, *, quick: bool) -> None:
    """Two hosts with four workers each, behind nginx that takes turns, for Flask and for FastAPI."""
    with RedisServer() as redis:
        for server, url in itertools.product(("gunicorn",) if quick else ("gunicorn", "uvicorn"), ("", redis.url)):
            with street.scene() as scene:
                services = _replicas(scene, 2, url, server=server, workers=4)
                store = "one store" if url else "none"
                _behind(street, report, services, QUICK[0], store=store, calls=50 if quick else 200)
