"""A service that is killed and comes back accepts no request that its predecessor may have accepted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from orthros_client import Credentials, TargetRefusal
from tests.support.processes import Dialogue, Estate

pytestmark = pytest.mark.parity("K10")


ENDPOINT = "orders/get"


class Service:
    """A verifier process that can be killed and started again, and a wire on which everything can be heard."""

    def __init__(self, estate: Estate, program: Path, *options: str) -> None:
        key = estate.key_file("orders.verify.key")
        self._words: tuple[str | Path, ...] = (sys.executable, "-P", program, "--key", key, *options)
        self.heard: list[bytes] = []
        self._dialogue = Dialogue(*self._words)

    def restart(self) -> None:
        self._dialogue.kill()
        self._dialogue = Dialogue(*self._words)

    def receive(self, request: bytes) -> dict[str, Any]:
        self.heard.append(request)
        return self._dialogue.ask({"request": request.hex(), "endpoint": ENDPOINT, "payload": "{}"})

    def send(self, request: bytes) -> bytes:
        return bytes.fromhex(self.receive(request)["reply"])

    def close(self) -> None:
        self._dialogue.kill()


def test_captured_requests_are_dead_after_a_restart(running: Estate, programs: Path) -> None:
    """A store in memory; with a shared one, a restart changes nothing (tests/replay_stores)."""
    service = Service(running, programs / "verifier.py", "--replay", "memory")
    try:
        ticket = running.client().credentials("orders")
        for _ in range(5):
            ticket.call(service.send, ENDPOINT, b"{}", safe=True)
        captured = list(service.heard)
        accepted = captured[-5:]

        service.restart()
        codes = [service.receive(request)["code"] for request in captured]
        assert set(codes[-5:]) == {"epoch-required"}
        assert "accepted" not in codes
        assert [service.receive(request)["code"] for request in accepted] == ["replayed"] * 5

        # The honest client goes on: one round trip more, and it knows the new process.
        ticket.call(service.send, ENDPOINT, b"{}", safe=True)
        assert [service.receive(request)["code"] for request in captured].count("accepted") == 0
    finally:
        service.close()


def test_captured_requests_are_dead_before_and_after(running: Estate, programs: Path) -> None:
    """The same request, shown before the restart, right after it, and again."""
    service = Service(running, programs / "verifier.py")
    try:
        ticket: Credentials = running.client().credentials("orders")
        ticket.call(service.send, ENDPOINT, b"{}", safe=True)
        call = ticket.authenticate(ENDPOINT, b"{}", safe=True)
        call.finish(service.send(call.request))
        for expected in ("replayed", "epoch-required", "replayed"):
            if expected == "epoch-required":
                service.restart()
            with pytest.raises(TargetRefusal, match=expected):
                call.finish(service.send(call.request))
    finally:
        service.close()
