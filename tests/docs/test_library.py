"""docs/library.md: its samples, run in the realm of README.md and wired to each other."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
import trio

from orthros_client import Client, TargetRefusal
from tests.docs.pages import ROOT, blocks
from tests.docs.terminal import Terminal

SERVICE, CALLER, ASYNC_CALLER = range(3)


def run(number: int, names: dict[str, Any]) -> None:
    text = blocks(ROOT / "docs" / "library.md", "python")[number]
    assert len(text.splitlines()) <= 12
    exec(compile(text, f"library.md, sample {number}", "exec"), names)


@pytest.fixture
def names(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A namespace in which the service of the page is defined and wired to the transports of its clients."""
    monkeypatch.chdir(terminal.folder)
    monkeypatch.setenv("ORTHROS_KEY_FILE", "orders.verify.key")
    monkeypatch.setenv("ORTHROS_SOCKET", os.fspath(terminal.folder / "shop.sock"))
    found: dict[str, Any] = {}
    run(SERVICE, found)

    async def async_transport(request: bytes, order: bytes) -> tuple[bytes, bytes]:
        answer: tuple[bytes, bytes] = found["serve"](request, order)
        return answer

    return found | {"transport": found["serve"], "async_transport": async_transport}


@pytest.mark.parity("P17")
def test_client_sample_calls_service_sample(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """ten-line samples, executed."""
    run(CALLER, names)
    names["client"].close()
    assert names["answer"] == b"packed for shop"
    assert capsys.readouterr().out == "b'packed for shop'\n"


def test_service_sample_refuses_in_words(names: dict[str, Any]) -> None:
    with Client() as client, pytest.raises(TargetRefusal, match="insufficient-scope"):
        client.credentials("orders", ["read"]).call(lambda request: names["serve"](request, b"")[0], "orders/submit")
    assert names["serve"](b"nothing", b"") == (b"", b"")


def test_async_sample_runs_under_both_loops(names: dict[str, Any]) -> None:
    run(ASYNC_CALLER, names)
    assert asyncio.run(names["submit"](b"one book")) == b"packed for shop"
    assert trio.run(names["submit"], b"one book") == b"packed for shop"
