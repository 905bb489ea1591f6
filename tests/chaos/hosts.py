"""Hosts and the services on them, as real processes: a host is a mount namespace with a /dev/shm of its own.

What the default finds on a host is there for all processes of that host, across restarts, and for no other; so the
replay stores of this machine are not touched either. Where this user may not make namespaces, a host is a folder.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from tests.support.ports import free_port
from tests.support.processes import eventually
from workshop.stage import Process, Stage

__all__ = ["HOST", "Executions", "Host", "Service", "is_open"]

HOST: Final = "orders.example"
PROGRAMS: Final = Path(__file__).with_name("programs")
_PATIENCE_S: Final = 60.0
_SHM: Final = "64m"  # what containers have
# gunicorn takes over a socket, so that connections wait while it is restarted. "$0" is Python.
SERVERS: Final = {
    "gunicorn": '"$0" -m gunicorn -b fd://{fd} --no-control-socket -w {workers} {options} flask_target:app',
    "uvicorn": '"$0" -m uvicorn --port {port} --workers {workers} --no-proxy-headers {options} fastapi_target:app',
    "hypercorn": '"$0" -m hypercorn -b 127.0.0.1:{port} --workers {workers} {options} fastapi_target:app',
    "granian": '"$0" -m granian --interface asgi --port {port} --workers {workers} {options} fastapi_target:app',
    "uwsgi": '"${{0%/*}}/uwsgi" --http-socket 127.0.0.1:{port} --module flask_target:app --need-app --die-on-term '
    "--disable-logging --master --lazy-apps --processes {workers} {options}",
}
# What a server says of each worker that serves, beside what the application says itself.
_SAID: Final = {"gunicorn": "Booting worker", "uvicorn": "Application startup complete"}


@cache
def may_unshare() -> bool:
    """Whether this user can have mount namespaces with file systems of their own."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return False
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@frozen
class Executions:
    """What was executed, by all processes of a scene."""

    path: Path

    def all(self) -> list[tuple[str, str, str]]:
        """Method, name of the order and replica of each execution, in order."""
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        return [(method, name, replica) for method, name, replica, _pid in map(str.split, lines)]

    def of(self, name: str) -> int:
        """How often the call with this name ran."""
        return sum(found == name for _method, found, _replica in self.all())

    def doubled(self) -> list[str]:
        """What ran twice although it must not: an order, or a read at one replica."""
        counts = Counter((method, name, replica if method == "GET" else "") for method, name, replica in self.all())
        return [f"{method} {name} ran {count} times" for (method, name, _), count in counts.items() if count > 1]


@define(eq=False)
class Host:
    """One host. `enter` are the words in front of a command that is to run there."""

    stage: Stage
    name: str
    enter: tuple[str, ...] = ()
    environ: dict[str, str] = field(factory=dict)

    @classmethod
    @contextmanager
    def opened(cls, stage: Stage, name: str, *, shm: str = _SHM) -> Iterator[Host]:
        """A host with a /dev/shm of `shm` bytes (a size of mount(8))."""
        # Nothing of the session's is found there: only what a host has by default.
        environ = {"ORTHROS_REPLAY_STORE": "", "XDG_RUNTIME_DIR": "", "RUNTIME_DIRECTORY": ""}
        if not may_unshare():
            with tempfile.TemporaryDirectory(prefix="orthros-chaos-", dir="/dev/shm") as folder:
                yield cls(stage, name, (), environ | {"ORTHROS_STATE_DIR": folder})
            return
        mount = f"mount -t tmpfs -o size={shm} tmpfs /dev/shm && echo ready && exec sleep infinity"
        holder = stage.start(f"host-{name}", "unshare", "-m", "sh", "-c", mount)
        holder.await_line("^ready$")
        yield cls(stage, name, ("nsenter", "-m", "-t", str(holder.popen.pid)), environ)
        holder.kill()

    def run(self, command: str) -> str:
        """A command of the shell, on this host."""
        done = subprocess.run([*self.enter, "sh", "-c", command], capture_output=True, text=True, check=True)
        return done.stdout


@define(eq=False)
class Service:
    """`orders` on one host behind one server, which can be started again at the same port."""

    host: Host
    key: Path
    executions: Executions
    server: str
    workers: int = 1
    options: str = ""
    replica: str = "0"
    environ: dict[str, str] = field(factory=dict)
    port: int = field(init=False)
    process: Process | None = field(init=False, default=None)
    _listener: socket.socket | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        if self.server == "gunicorn":
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
            self.port = self._listener.getsockname()[1]
        else:
            self.port = free_port()

    def start(self) -> None:
        """Returns as soon as it is being started."""
        fd = -1 if self._listener is None else self._listener.fileno()
        command = SERVERS[self.server].format(fd=fd, port=self.port, workers=self.workers, options=self.options)
        environ = {
            "ORTHROS_KEY_FILE": str(self.key),
            "CHAOS_EXECUTED": str(self.executions.path),
            "CHAOS_REPLICA": self.replica,
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONUNBUFFERED": "1",
            **self.host.environ,
            **self.environ,
        }
        words = (*self.host.enter, "sh", "-c", f"exec {command} 2>&1", sys.executable)
        name = f"{self.server}-{self.replica}"
        self.process = self.host.stage.start(name, *words, environ=environ, listener=self._listener)

    def await_ready(self) -> None:
        """Returns when all its workers are there."""
        process = self.process
        assert process is not None
        forked = "--preload" in self.options
        expected = {"target ready": 1 if forked else self.workers}
        if self.server in _SAID:
            expected[_SAID[self.server]] = self.workers

        def is_ready() -> bool:
            said = process.text()
            return all(said.count(words) >= times for words, times in expected.items()) or not process.is_running

        eventually(is_ready, f"{process.name} is ready")
        assert process.is_running, process.text()
        eventually(lambda: is_open(self.port), f"{process.name} accepts connections")

    def said(self) -> str:
        """Everything that it has said."""
        return "" if self.process is None else self.process.text()

    def complaints(self) -> list[str]:
        """What it said about its replay store, shortened."""
        said = [] if self.process is None else self.process.lines()
        return [f"{self.replica}: {line[:200]}" for line in said if "replay-store" in line]

    def stop(self) -> None:
        """SIGTERM, and waits for its end."""
        if self.process is not None:
            self.process.stop(_PATIENCE_S)

    def close(self) -> None:
        """Ends it for good."""
        self.stop()
        if self._listener is not None:
            self._listener.close()

    def restart(self) -> None:
        """Ends it in order, and starts it again; connections wait meanwhile."""
        self.stop()
        self.start()

    def worker_pids(self) -> list[int]:
        """The processes that answer: the children of its first one."""
        assert self.process is not None
        pid = self.process.popen.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        tracker = b"multiprocessing.resource_tracker"
        return [int(child) for child in children if tracker not in Path(f"/proc/{child}/cmdline").read_bytes()]

    def await_workers(self) -> None:
        """Returns when as many as there should be answer."""
        eventually(lambda: len(self.worker_pids()) == self.workers, f"{self.workers} workers are there")

    def signal_worker(self, number: signal.Signals) -> int:
        """A signal to one of its workers, chosen by chance; returns which."""
        pid = random.choice(self.worker_pids())
        os.kill(pid, number)
        return pid


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True
