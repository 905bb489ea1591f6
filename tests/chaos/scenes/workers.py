"""One host, several workers, and the default without any option: what is captured is accepted once."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.chaos.callers import Caller, Captured, Tally, at_once
from tests.chaos.figures import Line, Report
from tests.chaos.hosts import Service
from tests.chaos.street import Street
from tests.support.processes import eventually

__all__ = ["copies", "every_server", "inside_an_admission", "no_room", "posts", "restarted", "stopped_inside"]

COPIES = 100
SERVERS = {
    "gunicorn -w 4": ("gunicorn", ""),
    "gunicorn -w 4 -k gthread": ("gunicorn", "-k gthread --threads 8"),
    "gunicorn -w 4 --preload": ("gunicorn", "--preload"),
    "uvicorn --workers 4": ("uvicorn", ""),
}
OTHERS = ("uvicorn", "hypercorn", "granian", "uwsgi")
QUICK = ("gunicorn -w 4 -k gthread", "uvicorn --workers 4")


def _all_at_once(line: Line, service: Service, captured: Captured, *, at_least: int = 1) -> None:
    """A hundred copies, of which one runs."""
    statuses = at_once(captured, [service.port] * COPIES)
    line.calls += COPIES
    line.notes.append(f"{captured.name}: answered {_words(statuses)}")
    ran = service.executions.of(captured.name)
    line.check(at_least <= ran <= 1, f"ran {ran} times")


def _words(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} times {status or 'nothing'}" for status, count in sorted(statuses.items()))


def copies(street: Street, report: Report, *, quick: bool) -> None:
    """A request that the attacker kept is delivered a hundred times at once, before and after a restart."""
    for name in QUICK if quick else SERVERS:
        server, options = SERVERS[name]
        with street.scene() as scene:
            service = scene.service(scene.host(), server, workers=4, options=options)
            caller = scene.caller(service.port)
            caller.calls("POST", 2)
            for method in ("POST", "GET"):
                with report.line(name, f"{COPIES} copies of one {method} at once", street.executions) as line:
                    captured = caller.capture(method)
                    _all_at_once(line, service, captured)
            with report.line(name, "a restart, then 100 copies of each again", street.executions) as line:
                captured = caller.capture("POST")
                service.restart()
                service.await_ready()
                _all_at_once(line, service, captured)
                for earlier in caller.heard[-6:]:
                    _all_at_once(line, service, earlier)
            with report.line(name, "workers killed among 100 copies, ten times", street.executions) as line:
                for _ in range(3 if quick else 10):
                    captured = caller.capture("POST")
                    with ThreadPoolExecutor(1) as pool:
                        sent = pool.submit(at_once, captured, [service.port] * COPIES)
                        for _ in range(3):
                            with suppress(OSError, IndexError):
                                service.signal_worker(signal.SIGKILL)
                        sent.result()
                    line.calls += COPIES
                    service.await_workers()
                    statuses = at_once(captured, [service.port] * COPIES)
                    line.check(401 in statuses or 200 in statuses, f"answered {_words(statuses)}")
                    line.check(street.executions.of(captured.name) <= 1, "ran more than once")


def inside_an_admission(street: Street, report: Report, *, quick: bool) -> None:
    """A worker is killed, or stopped, in the middle of the store's transaction, while it holds the lock."""
    for name in ("gunicorn -w 4",) if quick else ("gunicorn -w 4", "uvicorn --workers 4"):
        server, options = SERVERS[name]
        for number in (signal.SIGKILL, signal.SIGSTOP):
            with street.scene() as scene:
                trigger = street.stage.folder / f"trigger-{number.name}-{server}"
                armed = {"CHAOS_ARMED": number.name, "CHAOS_TRIGGER": str(trigger)}
                service = scene.service(scene.host(), server, workers=4, options=options, environ=armed)
                caller = scene.caller(service.port)
                caller.calls("POST", 2)
                with report.line(name, f"{number.name} inside an admission", street.executions) as line:
                    stopped_inside(line, service, caller, trigger, number)


def stopped_inside(line: Line, service: Service, caller: Caller, trigger: Path, number: signal.Signals) -> None:
    """Has the service's worker that is inside an admission next hit by the signal, and looks on."""
    captured = caller.capture("POST")
    before = set(service.worker_pids())
    trigger.touch()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(at_once, captured, [service.port] * 20)
        eventually(lambda: not trigger.exists(), "a worker is inside")
        stopped = [pid for pid in before if number is signal.SIGSTOP and _state(pid) == "T"]
        line.check(bool(stopped) or number is signal.SIGKILL, "no worker is stopped")
        if stopped:
            # The others answer, and do not wait for the one that holds the lock.
            others = Tally()
            for _ in range(5):
                caller.call("GET", others)
            line.add(others)
            line.check(others.slowest_s < 5, f"a call took {others.slowest_s:.1f} s")
            line.check(others.failed == others.calls, "a call was admitted although the lock was held")
            line.failed -= others.failed  # as it must be
            os.kill(stopped[0], signal.SIGCONT)
        statuses = sent.result()
    line.calls += 20
    line.notes.append(f"answered {_words(statuses)}")
    service.await_workers()
    line.check(service.executions.of(captured.name) <= 1, "ran more than once")
    again = at_once(captured, [service.port] * 20)
    line.calls += 20
    line.notes.append(f"then {_words(again)}")
    line.check(set(again) <= {200, 401, 503}, f"answered {_words(again)}")
    line.check(service.executions.of(captured.name) == 1, f"ran {service.executions.of(captured.name)} times")
    after = caller.calls("POST", 20)
    line.add(after)
    line.check(after.failed == 0, "calls fail afterwards")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2][0]


def no_room(street: Street, report: Report, *, quick: bool) -> None:
    """A tmpfs that is full, and one that is too small from the start: busy, or no sharing; no process dies."""
    del quick
    with street.scene() as scene:
        host = scene.host(shm="24m")
        service = scene.service(host, "gunicorn", workers=2)
        caller = scene.caller(service.port)
        caller.calls("POST", 2)
        with report.line("gunicorn -w 2", "/dev/shm of 24 MB is filled up, then emptied", street.executions) as line:
            pids = service.worker_pids()
            host.run("cat /dev/zero >/dev/shm/filler 2>/dev/null || true")
            full = caller.calls("POST", 1500 if host.enter else 100, in_flight=4)
            line.notes.append(f"while it is full: {full.calls} calls, {full}"[:400])
            line.calls += full.calls
            refused = full.failures["TargetRefusal busy"] + full.maybe
            line.check(full.failed == refused and "epoch" not in str(full), "a call failed otherwise")
            line.check(full.failed > 0, "there was room")
            host.run("rm -f /dev/shm/filler")
            eventually(lambda: caller.calls("POST", 1).failed == 0, "calls go on")
            line.add(caller.calls("POST", 20))
            line.check(line.failed == 0, "calls fail afterwards")
            line.check(service.worker_pids() == pids, "a worker has died")
    with street.scene() as scene:
        host = scene.host(shm="8m")
        with report.line("gunicorn -w 2", "/dev/shm of 8 MB is too small", street.executions) as line:
            service = scene.service(host, "gunicorn", workers=2)
            caller = scene.caller(service.port)
            line.add(caller.calls("GET", 20))
            line.check(line.failed == 0, "reads fail")
            # Each worker remembers for itself, so a POST runs only where its turn comes; and never twice.
            _all_at_once(line, service, caller.capture("POST"), at_least=0)


def posts(street: Street, report: Report, *, quick: bool) -> None:
    """Two sync workers take turns, and no POST is left open."""
    del quick
    with street.scene() as scene:
        service = scene.service(scene.host(), "gunicorn", workers=2)
        for kept, in_flight in ((False, 1), (True, 1), (False, 10)):
            caller = scene.caller(service.port, kept=kept)
            with report.line("gunicorn -w 2", f"200 POSTs, {in_flight} in flight", street.executions) as line:
                line.add(caller.calls("POST", 200, in_flight=in_flight))
                line.check(line.failed == 0, "calls fail")


def every_server(street: Street, report: Report, *, quick: bool) -> None:
    """Workers of each server share what they remember: no call fails, and what is captured runs once."""
    for server in OTHERS[1:] if quick else ("gunicorn", *OTHERS):
        for workers in (2,) if quick else (2, 4):
            with street.scene() as scene:
                service = scene.service(scene.host(), server, workers=workers)
                name = f"{server}, {workers} workers"
                # uWSGI closes each connection of its own HTTP, and does not say so first.
                callers = {"a connection a call": scene.caller(service.port)}
                if server != "uwsgi":
                    callers["kept connections"] = scene.caller(service.port, kept=True)
                for how, caller in callers.items():
                    with report.line(name, f"60 POSTs, 60 GETs, {how}", street.executions) as line:
                        for method in ("POST", "GET"):
                            line.add(caller.calls(method, 60, in_flight=4))
                        line.check(line.failed == 0, "calls fail", [service])
                with report.line(name, f"{COPIES} copies of one POST, a restart, again", street.executions) as line:
                    captured = callers["a connection a call"].capture("POST")
                    _all_at_once(line, service, captured)
                    service.restart()
                    service.await_ready()
                    _all_at_once(line, service, captured)


def restarted(street: Street, report: Report, *, quick: bool) -> None:
    """A service is restarted again and again under load; its connections wait in the socket that outlives it."""
    times = 5 if quick else 20
    with street.scene() as scene:
        service = scene.service(scene.host(), "gunicorn", workers=2)
        caller = scene.caller(service.port)
        with report.line("gunicorn -w 2", f"{times} restarts under 50 calls a second", street.executions) as line:
            tally, ended = Tally(), threading.Event()
            paced = threading.Thread(target=caller.paced, args=(("GET", "POST"), tally, ended, 50.0))
            paced.start()
            try:
                for _ in range(times):
                    service.restart()
                    service.await_ready()
            finally:
                ended.set()
                paced.join()
            line.add(tally)
            line.notes.append(f"the slowest call took {tally.slowest_s:.1f} s")
            line.check(line.failed == 0, "calls fail")
            line.check(line.calls > times, "there was no load")
