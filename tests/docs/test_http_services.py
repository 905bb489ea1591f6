"""docs/http-services.md: its samples run, and the names that it gives exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from attrs import fields

from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.routes import Route
from orthros_protocol.errors import Refused
from orthros_protocol.reasons.table import Code
from orthros_protocol.testing import InMemoryRealm
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "http-services.md"


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is left when every sample of the page has run, in order."""
    realm = InMemoryRealm()
    realm.add("orders").verify_only().save(tmp_path / "orders.key")
    monkeypatch.setenv("ORTHROS_KEY_FILE", str(tmp_path / "orders.key"))
    found: dict[str, Any] = {}
    for sample in blocks(PAGE, "python"):
        exec(compile(sample, str(PAGE), "exec"), found)
    return found


def test_samples_run(names: dict[str, Any]) -> None:
    assert [route.path for route in names["routes"]][:2] == ["/health", "/orders/*"]
    assert names["app"].user_middleware[0].kwargs["origins"] == ["https://orders.example"]


def test_the_sample_of_a_hook_vetoes(names: dict[str, Any]) -> None:
    class Caller:
        scopes = frozenset({"read"})

        def refusal(self, code: Code, detail: str) -> Refused:
            return Refused(code, detail)

    request = IncomingRequest(method="DELETE", target=b"/", headers=())
    with pytest.raises(Refused, match="vetoed"):
        names["on_verify"](Caller(), request)
    Caller.scopes = frozenset({"admin"})
    assert names["on_verify"](Caller(), request) is None


def test_the_table_of_settings_is_complete() -> None:
    shown = re.findall(r"^\| `([a-z_]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert set(shown) == {one.name for one in fields(Route)} - {"path"}
