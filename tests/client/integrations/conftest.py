"""What the tests of both HTTP libraries share."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest


@pytest.fixture(params=["httpx", "httpx2"])
def either_httpx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The test runs with both libraries: what its module calls `httpx` is either."""
    chosen = {"httpx": httpx, "httpx2": httpx2}[request.param]
    monkeypatch.setattr(request.module, "httpx", chosen)
    return chosen
