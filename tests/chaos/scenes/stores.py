"""What befalls a replay store in Redis or Valkey: killed, restarted, flushed, failed over and back.

Each time the attacker delivers everything that it ever heard, and calls go on after one handshake.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import redis
from attrs import define

from tests.chaos.balancers import Balancer
from tests.chaos.callers import MAYBE, Caller
from tests.chaos.figures import Line, Report
from tests.chaos.hosts import Executions, Service
from tests.chaos.street import Street
from tests.support.peers import locate
from tests.support.ports import free_port
from tests.support.processes import eventually
from tests.support.redis_server import RedisServer
from workshop.stage import Stage

__all__ = ["failed_over", "lost"]

_HAPROXY = """\
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
frontend store
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    option tcp-check
    tcp-check send PING\\r\\n
    tcp-check expect string +PONG
    tcp-check send info\\ replication\\r\\n
    tcp-check expect string role:master
    default-server inter 100ms fall 1 rise 1 on-marked-down shutdown-sessions
{servers}
"""


# Enough that each of four workers is met, nearly always.
_MEETING = 12
# A worker whose store gave no answer asks it no more for a second; this is a little longer.
_RESTS_S = 1.2
_DEADLINE_S = 30.0
_BUSY = f"{MAYBE} busy"


@define(eq=False)
class _Stage:
    """Two replicas behind nginx with one store, and an honest caller that is overheard."""

    services: list[Service]
    caller: Caller
    executions: Executions

    def befalls(self, line: Line, event: Callable[[], None]) -> None:
        """What holds whenever something befalls the store."""
        before = self.caller.calls("POST", 10)
        line.add(before)
        line.check(before.failed == 0, "calls failed before")
        kept = [self.caller.capture("GET"), self.caller.capture("POST")]
        event()
        # A call that names a memory that is gone may have run, as far as its client knows: one for each client.
        maybe = self._meet()
        line.check(maybe <= 1, f"{maybe} calls were left open by one new memory")
        line.maybe += maybe
        for captured in self.caller.heard[-60:]:
            for service in self.services:
                captured.send(service.port)
        line.check(not any(self.executions.of(captured.name) for captured in kept), "what was kept ran later")
        after = self.caller.calls("POST", 20)
        line.add(after)
        line.check(after.failed == 0, "calls fail after the handshake")
        line.notes.append(f"after it: {after.calls} calls, {after.requests} requests")

    def _meet(self) -> int:
        """Calls with which the caller meets the new memory, until no worker rests any more; how many were left open.

        Which worker takes a connection is chance, so one that rests may be met late: only time tells that none does.
        """
        began_s = rested_s = time.monotonic()
        maybe = 0
        while time.monotonic() - rested_s < _RESTS_S:
            assert time.monotonic() - began_s < _DEADLINE_S, "the store does not answer"
            tally = self.caller.calls("POST", _MEETING)
            refused = tally.failures[_BUSY]
            maybe += tally.maybe - refused
            if refused:
                rested_s = time.monotonic()
        return maybe


@contextmanager
def _open(street: Street, url: str) -> Iterator[_Stage]:
    with street.scene() as scene:
        environ = {"ORTHROS_REPLAY_STORE": url}
        services = [scene.service(scene.host(), "gunicorn", workers=2, environ=environ) for _ in range(2)]
        port = scene.balancer(Balancer("nginx", "round_robin"), services)
        yield _Stage(services, scene.caller(port), street.executions)


def lost(street: Street, report: Report, *, quick: bool) -> None:
    """One server that loses its memory, or comes back with what it had written to disk."""
    variants = {"": (), " that writes everything to disk": ("--appendonly", "yes", "--appendfsync", "always")}
    for what, options in list(variants.items())[: 1 if quick else 2]:
        with RedisServer(*options) as server, _open(street, server.url) as stage:
            for did, event in (("killed and restarted", _restart), ("FLUSHALL", _flush), ("down for a while", _away)):
                with report.line("the store's server", f"a server{what}: {did}", street.executions) as line:
                    stage.befalls(line, partial(event, server, stage, line))


def _restart(server: RedisServer, _stage: _Stage, _line: Line) -> None:
    server.kill()
    server.start()


def _flush(server: RedisServer, _stage: _Stage, _line: Line) -> None:
    server.client.flushall()


def _away(server: RedisServer, stage: _Stage, line: Line) -> None:
    server.kill()
    down = stage.caller.calls("POST", 10)
    line.calls += down.calls
    line.notes.append(f"while it is down: {down}"[:400])
    line.check(down.failed == down.calls, "a call was executed without the store")
    line.check(down.slowest_s < 5, f"a call took {down.slowest_s:.1f} s")
    server.start()


def failed_over(street: Street, report: Report, *, quick: bool) -> None:
    """A master and its replica behind HAProxy, which leads to whichever is master."""
    del quick
    with ExitStack() as stack:
        first, second = (stack.enter_context(RedisServer()) for _ in range(2))
        second.client.replicaof("127.0.0.1", str(first.port))
        port = stack.enter_context(_haproxy(street.stage, first.port, second.port))
        _leads_to(port, first)
        stage = stack.enter_context(_open(street, f"redis://127.0.0.1:{port}/0"))
        for did, event, old, new in (
            ("the replica is promoted, and the master its replica", _swap, first, second),
            ("the same, back", _swap, second, first),
            ("the master is killed, the replica promoted", _fail_over, first, second),
            ("the same, back", _fail_over, second, first),
        ):
            with report.line("a master and its replica", did, street.executions) as line:
                stage.befalls(line, partial(event, old, new, port))


def _swap(old: RedisServer, new: RedisServer, port: int) -> None:
    """In this order no two masters answer at the same time; the old one's run goes on, as a replica."""
    _in_step(old, new)
    old.client.replicaof("127.0.0.1", str(new.port))
    new.client.replicaof("NO", "ONE")
    _leads_to(port, new)
    _in_step(new, old)


def _fail_over(old: RedisServer, new: RedisServer, port: int) -> None:
    old.kill()
    new.client.replicaof("NO", "ONE")
    _leads_to(port, new)
    old.start("--replicaof", f"127.0.0.1 {new.port}")
    _in_step(new, old)


def _in_step(master: RedisServer, replica: RedisServer) -> None:
    """Returns when the replica has everything that the master has."""

    def offset(server: RedisServer) -> object:
        return server.client.info("replication").get("master_repl_offset")

    eventually(
        lambda: (
            replica.client.info("replication").get("master_link_status") == "up" and offset(master) == offset(replica)
        ),
        "the replica has everything",
    )


def _leads_to(port: int, server: RedisServer) -> None:
    """Returns when HAProxy leads to this server."""
    wanted = server.client.info("server")["run_id"]

    def leads() -> bool:
        try:
            return bool(redis.Redis(port=port).info("server")["run_id"] == wanted)
        except redis.RedisError:
            return False

    eventually(leads, "HAProxy leads to the new master")


@contextmanager
def _haproxy(stage: Stage, *ports: int) -> Iterator[int]:
    program, port = locate("haproxy"), free_port()
    assert program is not None, "haproxy is not installed"
    config = stage.folder / f"haproxy-{port}.cfg"
    servers = "\n".join(f"    server s{each} 127.0.0.1:{each} check" for each in ports)
    config.write_text(_HAPROXY.format(port=port, servers=servers), "utf-8")
    process = stage.start("haproxy-tcp", program, "-db", "-f", str(config))
    yield port
    process.stop()
