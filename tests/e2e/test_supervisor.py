"""What KDC and daemon tell their supervisor: a datagram socket stands where systemd's stands."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.processes import Estate
from workshop.stage import Process

DEADLINE_S = 60.0
_CREDENTIALS = struct.Struct("3i")


@frozen
class Told:
    """The socket, and what the programs know it as."""

    sock: socket.socket
    name: str

    def next(self, process: Process) -> dict[str, str]:
        """The next message, which the program itself has sent: systemd takes none of its children."""
        said, extra, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        ((_, _, credentials),) = extra
        assert _CREDENTIALS.unpack(credentials)[0] == process.popen.pid
        return dict(line.split("=", 1) for line in said.decode("ascii").splitlines())


@pytest.fixture(params=["path", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Told]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@orthros-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.settimeout(DEADLINE_S)
        sock.bind(name.replace("@", "\0", 1))
        yield Told(sock, name)


@pytest.mark.parametrize("program", ["kdc", "daemon"])
def test_a_supervisor_is_told_of_each_step(estate: Estate, told: Told, program: str) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    if program == "kdc":
        process = estate.start_kdc(NOTIFY_SOCKET=told.name)
    else:
        process = estate.start_daemon(environ={"NOTIFY_SOCKET": told.name})
    assert told.next(process) == {"READY": "1"}
    process.send(signal.SIGHUP)
    reloading = told.next(process)
    assert reloading.pop("RELOADING") == "1"
    assert before < int(reloading.pop("MONOTONIC_USEC")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert reloading == {}
    assert told.next(process) == {"READY": "1"}
    process.popen.terminate()
    assert told.next(process) == {"STOPPING": "1"}
    assert process.stop() == 0


def test_a_reload_that_is_refused_ends_as_well(estate: Estate, told: Told) -> None:
    process = estate.start_kdc(NOTIFY_SOCKET=told.name)
    estate.config.write_text("no configuration", encoding="utf-8")
    told.next(process)
    process.send(signal.SIGHUP)
    assert "RELOADING" in told.next(process)
    assert told.next(process) == {"READY": "1"}
    assert process.stop() == 0


def test_a_supervisor_that_is_not_there_ends_nothing(estate: Estate) -> None:
    kdc = estate.start_kdc(NOTIFY_SOCKET=f"{estate.folder}/nothing")
    daemon = estate.start_daemon(environ={"NOTIFY_SOCKET": "x" * 500})
    assert (daemon.stop(), kdc.stop()) == (0, 0)
    assert all("the supervisor could not be told" in process.errors() for process in (kdc, daemon))
