"""A shell in an empty folder, in which pages are typed in. Knows consoles, not what they are about.

The ports of the pages are exchanged for free ones, in commands, in what is shown and in the samples.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import define, field

from tests.docs.pages import matches
from tests.support.processes import eventually

__all__ = ["Terminal"]

_KDC, _KDC_HTTP, _SERVICE = "7788", "7789", "7790"
_PORT: Final = re.compile(r"--port (\d+)")


def _free_ports() -> dict[str, str]:
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        found = {}
        for name, probe in ((_KDC, first), (_KDC_HTTP, second), (_SERVICE, third)):
            probe.bind(("127.0.0.1", 0))
            found[name] = str(probe.getsockname()[1])
        return found


@define
class Terminal:
    """`type` runs a command of a page and compares what it says with what the page shows."""

    folder: Path
    ports: dict[str, str] = field(factory=_free_ports)
    exports: list[str] = field(factory=list)
    running: list[subprocess.Popen[str]] = field(factory=list)

    def moved(self, text: str) -> str:
        """`text` with the free ports in the place of the page's."""
        return re.sub(rf"\b({'|'.join(self.ports)})\b", lambda found: self.ports[found[1]], text)

    def type(self, command: str, shown: str) -> None:
        command, shown = self.moved(command), self.moved(shown)
        if command.startswith("export "):
            self.exports.append(command)
            return
        if command.startswith("curl") and shutil.which("curl") is None:
            return
        found = self._start(command[:-1], shown) if command.endswith("&") else self._run(command)
        # A response body ends where it ends; what is typed next begins on a line of its own.
        found += "" if found.endswith("\n") or not found else "\n"
        assert matches(shown, found), f"$ {command}\n{found}"

    def close(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(20)
            assert process.stdout is not None
            process.stdout.close()

    def _words(self, command: str) -> list[str]:
        return ["sh", "-c", "; ".join([*self.exports, command])]

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ORTHROS_")}
        programs = os.fspath(Path(sys.executable).parent)
        listen = f"127.0.0.1:{self.ports[_KDC]}"
        return clean | {"PATH": f"{programs}:{clean['PATH']}", "ORTHROS_LISTEN_TCP": listen}

    def _run(self, command: str) -> str:
        done = subprocess.run(
            self._words(command), cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout

    def _start(self, command: str, shown: str) -> str:
        with (self.folder / f"{len(self.running)}.log").open("w") as log:
            process = subprocess.Popen(
                self._words(f"exec {command}"), cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.running.append(process)
        assert process.stdout is not None
        if shown:
            return process.stdout.readline()
        found = _PORT.search(command)
        assert found is not None, f"{command}: neither a line is shown nor a port named"
        eventually(lambda: _accepts(int(found[1])), command)
        return ""


def _accepts(port: int) -> bool:
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False
