"""The KDC as a process at its edges: signals before it serves, standard streams that are closed, few open files."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_kdc_process import DEADLINE_S, Caller
from tests.support.processes import Estate, eventually

# Sends a signal to itself as soon as it can: before anything large is loaded, the configuration is read, or a file
# is open.
_EAGER = """\
import os, sys
from orthros_kdc import __main__ as program
hold = program.hold_signals
def hold_and_send(*numbers):
    hold(*numbers)
    os.kill(os.getpid(), int(sys.argv.pop()))
program.hold_signals = hold_and_send
sys.exit(program.main())
"""


@contextmanager
def running(estate: Estate, *words: str, more: tuple[str, ...] = (), **popen: int) -> Iterator[subprocess.Popen[str]]:
    serve = ("serve", "--config", str(estate.config), "--unix", f"{estate.folder}/kdc.sock", *more)
    process = subprocess.Popen([*words, *serve], stderr=subprocess.PIPE, text=True, **popen)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    """What it wrote to standard error, once it has ended well."""
    _out, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
    return said


def test_sigterm_before_it_serves_ends_it_well(estate: Estate) -> None:
    with running(estate, sys.executable, "-c", _EAGER, more=(str(int(signal.SIGTERM)),)) as process:
        assert "stopped before it served" in ended(process)
    assert not (estate.folder / "kdc.sock").exists()


def test_sighup_before_it_serves_is_a_reload_once_it_does(estate: Estate) -> None:
    """It used to end the KDC, which its supervisor had just started."""
    with running(estate, sys.executable, "-c", _EAGER, more=(str(int(signal.SIGHUP)),)) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "configuration" in line)
        assert "configuration reloaded" in said
        process.terminate()
        assert "orthros-kdc stopped" in ended(process)


def program() -> str:
    return str(Path(sys.executable).with_name("orthros-kdc"))


def test_a_reader_of_its_ready_line_that_has_gone_is_no_reason_to_end(estate: Estate) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with running(estate, program(), stdout=writer) as process:
        os.close(writer)
        eventually((estate.folder / "kdc.sock").exists, "the KDC's socket")
        process.terminate()
        assert "orthros-kdc stopped" in ended(process)


def test_no_file_of_the_kdc_takes_the_place_of_a_standard_stream(estate: Estate) -> None:
    """What a library prints would be written into the database, or to a client."""
    with running(estate, "/bin/sh", "-c", f'exec {program()} "$@" <&- >&- 2>&-', "sh") as process:
        eventually((estate.folder / "kdc.sock").exists, "the KDC's socket")
        streams = {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (0, 1, 2)}
        assert streams == {os.devnull}
        process.terminate()
        ended(process)


def test_more_connections_than_open_files_leave_room_for_a_login(estate: Estate) -> None:
    """Under `ulimit -n 1024`, 1,001 connections ended both ports for good."""
    limited = f'ulimit -n 256; exec {program()} "$@"'
    with running(
        estate, "/bin/sh", "-c", limited, "sh", more=("--tcp", "127.0.0.1:0"), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        estate.kdc_addresses = tuple(ready.split(" at ")[1].split())
        with ExitStack() as silent:
            for _ in range(400):
                silent.enter_context(socket.create_connection(("127.0.0.1", estate.kdc_port), DEADLINE_S))
            with Caller(estate) as caller:
                assert caller.log_in().ttl_s
        process.terminate()
        said = ended(process)
    assert "the limit of open files allows fewer connections" in said
    assert '"max_connections": 160, "open_files": 256' in said
    assert '"reserved": 64' in said
    assert "accepting connections failed" not in said


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE"])
def test_sigterm_with_a_locked_database_ends_in_time_and_says_why(estate: Estate, mode: str) -> None:
    kdc = estate.start_kdc()
    with Caller(estate) as caller:
        caller.log_in()
    with closing(sqlite3.connect(estate.folder / "kdc" / "kdc.db", isolation_level=None)) as other:
        other.execute(f"BEGIN {mode}")
        kdc.send(signal.SIGTERM)
        assert kdc.ends(DEADLINE_S)
    said = kdc.errors()
    assert kdc.popen.returncode == 0, said
    assert "Traceback" not in said
    assert "audit log not anchored" in said
    assert "orthros-kdc stopped" in said
