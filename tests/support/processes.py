"""Real programs for end-to-end tests: a realm in a folder of its own, started, awaited by its ready lines, stopped.

Nothing here waits for a fixed time: for a line, a file or the end of a process, each with a deadline.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from attrs import define, field

from orthros_client import Client
from orthros_tools.admin.__main__ import main as orthros_admin
from workshop.stage import Outcome, Process, Stage

__all__ = [
    "REALM", "Dialogue", "Estate", "Founded", "eventually", "file_hashes", "found_realm", "isolation", "open_estate",
]  # fmt: skip

REALM: Final = "corp.test"
_DEADLINE_S: Final = 60.0
_CLIENTS: Final = ("shop", "spy")
# spy is known and may call nobody.
_SCRIPT: Final = """\
principal add shop --out {keys}/shop.key
principal add spy --out {keys}/spy.key
principal add orders --out {keys}/orders.key --verify-only-out {keys}/orders.verify.key
principal add ledger --out {keys}/ledger.key --verify-only-out {keys}/ledger.verify.key
policy allow shop orders --scope read --scope write
policy allow shop ledger --scope post --jwt
jwt enable ledger
jwt export ledger --out {keys}/ledger.jwk
"""
_DAEMON: Final = """\
version = 1
keytab = "{folder}/keys/{client}.key"
kdcs = ["{kdc}"]
socket = "{folder}/{client}.sock"
cache_file = "{folder}/{client}.cache"
backoff_most_s = 1.0
"""


@define(frozen=True)
class Founded:
    """A realm on disk, to be copied: `kdc/` as `orthros-kdc init` left it, and `keys/`."""

    folder: Path


@define(eq=False)
class Estate:
    """A realm with its own copy of everything, and the programs that run on it."""

    stage: Stage
    kdc: Process | None = None
    kdc_addresses: tuple[str, ...] = ()
    daemons: dict[str, Process] = field(factory=dict)
    _clients: dict[str, Client] = field(factory=dict, init=False)

    @property
    def folder(self) -> Path:
        return self.stage.folder

    @property
    def config(self) -> Path:
        return self.folder / "kdc" / "kdc.toml"

    def key_file(self, name: str) -> Path:
        return self.folder / "keys" / name

    def run(self, line: str, **environ: str) -> Outcome:
        """One command, as a person would type it."""
        return self.run_all([line], **environ)[0]

    def run_all(self, lines: Sequence[str], **environ: str) -> list[Outcome]:
        """Commands that do not depend on each other, side by side."""
        commands = [tuple(shlex.split(line.format(folder=self.folder))) for line in lines]
        started = [self.stage.start(words[0], *words, environ=environ) for words in commands]
        for process in started:
            assert process.ends(_DEADLINE_S), f"{process.name} did not end"
        return [
            Outcome(words, process.popen.returncode, process.text(), process.errors())
            for words, process in zip(commands, started, strict=True)
        ]

    def admin(self, line: str) -> Outcome:
        return self.run(f"orthros-admin --config {self.config} {line}")

    def orthros(self, line: str, *, host: str = "shop") -> Outcome:
        """The `orthros` command, in front of the daemon of one host."""
        return self.run(f"orthros {line}", ORTHROS_SOCKET=f"unix://{self.folder}/{host}.sock")

    def start_kdc(self, files: int | None = None, /, **environ: str) -> Process:
        """The KDC, on a TCP port of the system's choice and on a Unix socket that stays the same; `files` is how many
        it may have open."""
        unix = f"{self.folder}/kdc.sock"
        words: tuple[str, ...] = ("orthros-kdc", "serve", "--config", str(self.config), "--unix", unix)
        if files is not None:
            program = Path(sys.executable).with_name(words[0])
            words = ("/bin/sh", "-c", f'ulimit -n {files} && exec "$0" "$@"', str(program), *words[1:])
        self.kdc = self.stage.start("kdc", *words, environ=environ)
        ready = self.kdc.await_line(rf"^orthros-kdc ready: realm {re.escape(REALM)} at (.+)$")
        self.kdc_addresses = tuple(ready[1].split())
        return self.kdc

    @property
    def kdc_port(self) -> int:
        return int(self.kdc_addresses[0].rpartition(":")[2])

    def start_daemon(
        self, client: str = "shop", *, kdc: str | None = None, environ: Mapping[str, str] | None = None, more: str = ""
    ) -> Process:
        """The daemon of one host; it finds the KDC by the Unix socket unless told otherwise. `more` are further lines
        of its configuration."""
        config = self.folder / f"{client}.toml"
        address = kdc or f"unix://{self.folder}/kdc.sock"
        config.write_text(_DAEMON.format(folder=self.folder, client=client, kdc=address) + more, encoding="utf-8")
        words = ("orthros-daemon", "--config", str(config))
        self.daemons[client] = self.stage.start(f"{client}-daemon", *words, environ=environ)
        self.daemons[client].await_line("^orthros-daemon ready: ")
        return self.daemons[client]

    def client(self, host: str = "shop") -> Client:
        """The one client of a host, closed with the estate."""
        if host not in self._clients:
            self._clients[host] = Client(self.folder / f"{host}.sock", 10.0)
        return self._clients[host]

    def close(self) -> None:
        """Closes the clients; the stage ends the programs."""
        for client in self._clients.values():
            client.close()


class Dialogue:
    """A program that answers each line on its standard input with a line: JSON objects, both ways."""

    def __init__(self, *words: str | Path, environ: Mapping[str, str] | None = None) -> None:
        self._popen = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environ or {})},
        )

    def ask(self, question: dict[str, Any], within_s: float = _DEADLINE_S) -> dict[str, Any]:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(question).encode() + b"\n")
        self._popen.stdin.flush()
        answer: dict[str, Any] = json.loads(self._next_line(within_s))
        return answer

    def kill(self) -> None:
        """SIGKILL: nothing is flushed or closed."""
        self._popen.kill()
        self._popen.communicate()

    def _next_line(self, within_s: float) -> bytes:
        assert self._popen.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._popen.stdout], [], [], within_s)
            piece = os.read(self._popen.stdout.fileno(), 65536) if ready else b""
            if not piece:
                self._popen.kill()
                _, errors = self._popen.communicate()
                raise AssertionError(f"no answer within {within_s:g} s: {errors.decode()}")
            line += piece
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def found_realm(folder: Path) -> Founded:
    """A realm with four principals and two rules."""
    with Stage("orthros-e2e-") as stage:
        stage.run(
            "orthros-kdc", "init", "--realm", REALM, "--data", str(folder / "kdc"), "--listen", "127.0.0.1:0"
        ).require()
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    config = str(folder / "kdc" / "kdc.toml")
    for line in _SCRIPT.splitlines():
        assert orthros_admin(["--config", config, "--quiet", *shlex.split(line.format(keys=keys))]) == 0
    return Founded(folder)


@contextmanager
def open_estate(founded: Founded) -> Iterator[Estate]:
    """A copy of `founded`, with nothing running; everything started is ended and removed at the end."""
    with Stage("orthros-e2e-") as stage:
        shutil.copytree(founded.folder, stage.folder, dirs_exist_ok=True)
        config = stage.folder / "kdc" / "kdc.toml"
        config.write_text(config.read_text("utf-8").replace(str(founded.folder), str(stage.folder)), encoding="utf-8")
        with closing(Estate(stage)) as estate:
            yield estate


def eventually(holds: Callable[[], Any], what: str, within_s: float = _DEADLINE_S) -> Any:
    """The first true value of `holds()`. It is asked again and again, and must come true before the deadline."""
    deadline = time.monotonic() + within_s
    while not (value := holds()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(min(0.01, within_s))
    return value


def isolation() -> tuple[str, ...]:
    """Words that take the network away from a program, where this user may do that."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], capture_output=True, check=False).returncode:
        return ()
    return (unshare, "-n")


def file_hashes(folder: Path) -> dict[str, str]:
    """Every file below `folder` by the hash of its content: to show that nothing was changed."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
