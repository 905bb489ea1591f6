"""README.md, typed in from top to bottom against a real realm, and its samples run in it."""

from __future__ import annotations

import os
import re
from typing import Any

import jwt
import pytest

from orthros_client import Client
from tests.docs.pages import README, ROOT, blocks, transcript
from tests.docs.terminal import Terminal

SERVICE, CALLER, BEARER = range(3)


def sample(number: int, terminal: Terminal) -> str:
    text = blocks(README, "python")[number]
    assert len(text.splitlines()) <= 12
    return terminal.moved(text)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = [command.removeprefix("make ") for command, _shown in transcript(blocks(README, "console")[0])]
    assert typed == ["demo", "test"]
    assert targets.issuperset(typed)


def test_client_sample_calls_service_sample(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """P17: ten-line samples, executed; the service runs under uvicorn."""
    monkeypatch.setenv("ORTHROS_SOCKET", os.fspath(terminal.folder / "shop.sock"))
    found: dict[str, Any] = {}
    exec(compile(sample(CALLER, terminal), "README.md", "exec"), found)
    found["auth"].close()
    assert found["order"] == {"order": "1138", "for": "shop"}


def test_protection_is_one_line(terminal: Terminal) -> None:
    lines = [line for line in sample(SERVICE, terminal).splitlines() if "OrthrosMiddleware" in line]
    assert [line.startswith("app.add_middleware(") for line in lines] == [False, True]


def test_jwt_sample_needs_pyjwt_only(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(terminal.folder)
    text = sample(BEARER, terminal)
    assert "orthros_" not in text
    found: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), found)
    with Client(terminal.folder / "shop.sock") as client:
        token = client.token("orders", ["read"]).value
    claims = found["claims_of"](token)
    assert (claims["sub"], claims["scope"]) == ("shop@corp.example", "read")
    head, body, mark = token.split(".")
    with pytest.raises(jwt.InvalidSignatureError):
        found["claims_of"](f"{head}.{body}.{'B' if mark[0] == 'A' else 'A'}{mark[1:]}")
