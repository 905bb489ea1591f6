"""The stage: a folder and the processes in it, all of which are gone when it closes, however that comes about.

Knows how programs start, become ready and end; not what they are for.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attrs import define, frozen

from orthros_client.verifier.stores.folder import STATE_VARIABLE, find_folder
from orthros_protocol.errors import Misconfigured

__all__ = ["INTERRUPTIONS", "Outcome", "Process", "Stage", "StageError", "uninterrupted"]

INTERRUPTIONS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
# For a busy machine: many programs start at once.
_READY_S: Final = 60.0
_RUN_S: Final = 60.0
_STOP_S: Final = 5.0
_POLL_S: Final = 0.01
# A Unix socket's path has at most 107 bytes; the longest name on stage needs half of that.
_MOST_FOLDER_BYTES: Final = 60
_PR_SET_PDEATHSIG: Final = 1
_PRCTL: Final = getattr(ctypes.CDLL(None), "prctl", None)  # Linux; elsewhere `close` alone has to do
_MODULES: Final = {
    "orthros-kdc": "orthros_kdc",
    "orthros-admin": "orthros_tools.admin",
    "orthros-daemon": "orthros_client.daemon",
    "orthros": "orthros_client.cli",
}


class StageError(Exception):
    """A program did not start, answer or end as it must."""


@frozen
class Outcome:
    """How a command ended and what it said."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def require(self, code: int = 0) -> Self:
        """Raises StageError unless the command ended with `code`."""
        if self.code != code:
            said = (self.err or self.out).strip()
            raise StageError(f"`{' '.join(self.words)}` ended with {self.code} instead of {code}: {said}")
        return self


@define(eq=False)
class Process:
    """One running program. Its standard output and error are files, so that it never waits for a reader."""

    name: str
    popen: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def text(self) -> str:
        """Everything it has written to standard output."""
        return self.out.read_text("utf-8", "replace")

    def errors(self) -> str:
        """Everything it has written to standard error."""
        return self.err.read_text("utf-8", "replace")

    def lines(self) -> list[str]:
        """Its complete lines on standard output."""
        return self.text().split("\n")[:-1]

    def await_line(self, pattern: str, *, after: int = 0, within_s: float = _READY_S) -> re.Match[str]:
        """The first line, not counting the first `after`, in which `pattern` is found.

        Raises StageError when the process ends first, or at the deadline.
        """
        deadline = time.monotonic() + within_s
        while True:
            ended = not self.is_running
            for line in self.lines()[after:]:
                if (found := re.search(pattern, line)) is not None:
                    return found
            if ended:
                said = self.errors().strip() or "nothing in its log"
                raise StageError(f"{self.name} ended with {self.popen.returncode} before saying {pattern!r}: {said}")
            if time.monotonic() > deadline:
                raise StageError(f"{self.name} did not say {pattern!r} within {within_s:g} s")
            self.ends(_POLL_S)

    def send(self, number: signal.Signals) -> None:
        """A signal, unless it has ended already."""
        self.popen.send_signal(number)

    def stop(self, within_s: float = _STOP_S) -> int:
        """SIGTERM, and SIGKILL when that does not help in time; returns the exit code."""
        self.send(signal.SIGTERM)
        if not self.ends(within_s):
            self.kill()
        return self.popen.wait()

    def kill(self) -> None:
        """SIGKILL: the program gets no chance to say goodbye."""
        self.popen.kill()
        self.popen.wait()

    def ends(self, within_s: float) -> bool:
        """Whether it ends within so many seconds."""
        try:
            self.popen.wait(max(0.0, within_s))
        except subprocess.TimeoutExpired:
            return False
        return True


class Stage:
    """A fresh folder and the processes started on it. Use as a context manager; closing removes both."""

    def __init__(self, prefix: str = "orthros-demo-") -> None:
        self._prefix = prefix
        self._folder: Path | None = None
        self._shared: Path | None = None
        self.processes: list[Process] = []

    @property
    def folder(self) -> Path:
        """Where everything on stage keeps its files."""
        if self._folder is None:
            raise StageError("the stage is not open")
        return self._folder

    def start(
        self,
        name: str,
        *words: str,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        listener: socket.socket | None = None,
    ) -> Process:
        """Starts a program, which inherits `listener`; `name` is for its log files and for error messages."""
        out, err = (self.folder / f"{name}-{len(self.processes)}.{kind}" for kind in ("out", "err"))
        with out.open("wb") as to, err.open("wb") as errors, uninterrupted():
            popen = subprocess.Popen(
                [*_program(words[0]), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=errors,
                env=self._environment() | dict(environ or {}),
                cwd=cwd or self.folder,
                pass_fds=() if listener is None else (listener.fileno(),),
                preexec_fn=partial(_become_child, os.getpid()),  # noqa: PLW1509  # it takes no lock that another thread could hold
                process_group=0,  # Ctrl-C is for the one who tells the story, and he ends the others
            )
            process = Process(name, popen, out, err)
            self.processes.append(process)
        return process

    def run(
        self, *words: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None, within_s: float = _RUN_S
    ) -> Outcome:
        """Runs a command to its end. Raises StageError at the deadline."""
        process = self.start(Path(words[0]).name, *words, environ=environ, cwd=cwd)
        if not process.ends(within_s):
            raise StageError(f"`{' '.join(words)}` did not end within {within_s:g} s")
        return Outcome(words, process.popen.returncode, process.text(), process.errors())

    def close(self) -> None:
        """Ends every process and removes the folder. Cannot be interrupted."""
        with uninterrupted():
            running = [process for process in self.processes if process.is_running]
            for process in running:
                process.send(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_S
            for process in running:
                if not process.ends(deadline - time.monotonic()):
                    process.kill()
            for folder in (self._folder, self._shared):
                if folder is not None:
                    shutil.rmtree(folder)
            self._folder = self._shared = None

    def _environment(self) -> dict[str, str]:
        """What the programs inherit: nothing of the user's own Orthros settings, and a replay store of this stage."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("ORTHROS_")}
        if self._shared is None:
            return others | {"ORTHROS_REPLAY_STORE": "memory"}
        return others | {"ORTHROS_STATE_DIR": str(self._shared)}

    def logs(self, most_lines: int = 20) -> Iterator[tuple[str, list[str]]]:
        """The last lines of every process that said anything, for a report of what went wrong."""
        for process in self.processes:
            for label, text in (("output", process.text()), ("log", process.errors())):
                if text:
                    yield f"{process.name}, pid {process.popen.pid}, {label}", text.splitlines()[-most_lines:]

    def __enter__(self) -> Self:
        try:
            with uninterrupted():
                self._folder = Path(tempfile.mkdtemp(prefix=self._prefix)).resolve()
                self._shared = _folder_in_memory(self._prefix)
            if len(os.fsencode(self.folder)) > _MOST_FOLDER_BYTES:
                raise StageError(f"{self.folder} is too long for Unix sockets; set TMPDIR to a shorter path")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals wait: none comes between starting a process and knowing that it was started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become_child(stage_pid: int) -> None:
    """Runs between fork and exec: hear signals again, and do not outlive the stage even if that is killed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != stage_pid:  # it was killed before this could be asked for
            os._exit(1)


def _program(name: str) -> tuple[str, ...]:
    """The installed program of this name, or its module where no programs are installed."""
    if name not in _MODULES:
        return (name,)
    installed = Path(sys.executable).with_name(name)
    return (str(installed),) if installed.exists() else (sys.executable, "-m", _MODULES[name])


def _folder_in_memory(prefix: str) -> Path | None:
    """A folder on tmpfs, where the workers of a service share what they have seen; None on a host without one."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/dev/shm"))  # made for this stage alone
        find_folder({STATE_VARIABLE: str(folder)})
    except (OSError, Misconfigured):
        return None
    return folder
