"""README.md, typed in from top to bottom against a real realm, and its samples run in it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
from attrs import define, field

from orthros_client import Client, TargetRefusal
from tests.docs.pages import README, ROOT, blocks, matches, transcript


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@define
class Terminal:
    """A shell in an empty folder; the port of the page is exchanged for a free one."""

    folder: Path
    port: str = field(factory=free_port)
    exports: list[str] = field(factory=list)
    running: list[subprocess.Popen[str]] = field(factory=list)

    def type(self, command: str, shown: str) -> None:
        command, shown = command.replace("7788", self.port), shown.replace("7788", self.port)
        if command.startswith("export "):
            self.exports.append(command)
            return
        if command.startswith("curl") and shutil.which("curl") is None:
            return
        found = self._start(command[:-1]) if command.endswith("&") else self._run(command)
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
        return clean | {"PATH": f"{programs}:{clean['PATH']}", "ORTHROS_LISTEN_TCP": f"127.0.0.1:{self.port}"}

    def _run(self, command: str) -> str:
        done = subprocess.run(
            self._words(command), cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout

    def _start(self, command: str) -> str:
        with (self.folder / f"{len(self.running)}.log").open("w") as log:
            process = subprocess.Popen(
                self._words(f"exec {command}"), cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.running.append(process)
        assert process.stdout is not None
        return process.stdout.readline()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the page's commands have been typed; KDC and daemon are still running."""
    _make, by_hand = blocks(README, "console")
    terminal = Terminal(tmp_path_factory.mktemp("t"))
    try:
        for command, shown in transcript(by_hand):
            terminal.type(command, shown)
        yield terminal.folder
    finally:
        terminal.close()


@pytest.fixture
def names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A namespace in which the service of the page is defined and wired to the transports of its clients."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ORTHROS_KEY_FILE", "orders.verify.key")
    monkeypatch.setenv("ORTHROS_SOCKET", os.fspath(folder / "shop.sock"))
    found: dict[str, Any] = {}
    run(0, found)

    async def async_transport(request: bytes, order: bytes) -> tuple[bytes, bytes]:
        answer: tuple[bytes, bytes] = found["serve"](request, order)
        return answer

    return found | {"transport": found["serve"], "async_transport": async_transport}


def run(number: int, names: dict[str, Any]) -> str:
    sample = blocks(README, "python")[number]
    assert len(sample.splitlines()) <= 12
    exec(compile(sample, f"README.md, sample {number}", "exec"), names)
    return sample


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    make, _by_hand = blocks(README, "console")
    typed = [command.removeprefix("make ") for command, _shown in transcript(make)]
    assert typed == ["demo", "test"]
    assert targets.issuperset(typed)


def test_client_sample_calls_service_sample(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """P17: ten-line samples, executed."""
    run(1, names)
    names["client"].close()
    assert names["answer"] == b"packed for shop"
    assert capsys.readouterr().out == "b'packed for shop'\n"


def test_service_sample_refuses_in_words(names: dict[str, Any]) -> None:
    with Client() as client, pytest.raises(TargetRefusal, match="insufficient-scope"):
        client.credentials("orders", ["read"]).call(lambda request: names["serve"](request, b"")[0], "orders/submit")
    assert names["serve"](b"nothing", b"") == (b"", b"")


def test_async_sample_runs_under_both_loops(names: dict[str, Any]) -> None:
    run(2, names)
    assert asyncio.run(names["submit"](b"one book")) == b"packed for shop"
    assert trio.run(names["submit"], b"one book") == b"packed for shop"


def test_jwt_sample_needs_pyjwt_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    assert "orthros_" not in run(3, found)
    with Client(folder / "shop.sock") as client:
        token = client.token("orders", ["read"]).value
    claims = found["claims_of"](token)
    assert (claims["sub"], claims["scope"]) == ("shop@corp.example", "read")
    head, body, mark = token.split(".")
    with pytest.raises(jwt.InvalidSignatureError):
        found["claims_of"](f"{head}.{body}.{'B' if mark[0] == 'A' else 'A'}{mark[1:]}")
