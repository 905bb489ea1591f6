"""A real daemon process: a cached ticket to a local process over its Unix socket, beside a bare echo.

The library's own short cache is left out: every question crosses the socket.
"""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orthros_client.local.api.blocking import BlockingLocal
from orthros_client.local.api.values import CredentialGrant, Op, WantRequest
from workshop.bench.figures import Figure, cpu_seconds
from workshop.bench.kdc_load import KDC_TARGETS, RunningKdc

__all__ = ["measure_daemon"]

_QUESTIONS = 4000


@contextmanager
def _running_daemon(folder: Path, kdc: RunningKdc) -> Iterator[tuple[int, str]]:
    kdc.keytab.save(folder / "client.key")
    path = str(folder / "daemon.sock")
    options = {"--keytab": folder / "client.key", "--kdcs": f"unix://{kdc.socket_path}", "--socket": path}
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "orthros_client.daemon", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None or b"ready" not in process.stdout.readline():
                raise RuntimeError("the daemon did not start")
            yield process.pid, path
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _median_us(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(_QUESTIONS):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


def _echo_us(size: int) -> float:
    """The floor: one message there and back between two threads of this process over a Unix socket pair."""
    here, there = socket.socketpair()

    def answer() -> None:
        while data := there.recv(4096):
            there.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()
    message = bytes(size)

    def ask() -> None:
        here.sendall(message)
        here.recv(4096)

    median = _median_us(ask)
    here.close()
    thread.join()
    there.close()
    return median


def measure_daemon(folder: Path, kdc: RunningKdc) -> list[Figure]:
    """Median round trip of a cache hit, and the daemon's CPU for it."""
    with _running_daemon(folder, kdc) as (pid, path):
        local = BlockingLocal(path)
        want = WantRequest(
            op=Op.TICKET, realm=None, target=KDC_TARGETS[0], scopes=None, ttl_s=0, flags=0, timeout_ms=5000
        )

        def ask() -> None:
            if not isinstance(local.ask(want, 5.0), CredentialGrant):
                raise RuntimeError("the daemon did not grant the ticket")

        ask()
        cpu = cpu_seconds(pid)
        median = _median_us(ask)
        used = (cpu_seconds(pid) - cpu) / _QUESTIONS * 1e6
        local.close()
    echo = _echo_us(400)
    return [
        Figure(
            name="daemon, cached ticket over the socket", us=median, beside="bare echo, 400 B", beside_us=echo,
            goal="<= 60 us", remark=f"daemon CPU {used:.0f} us, {1e6 / median:,.0f}/s",
        )
    ]  # fmt: skip
