"""docs/testing.md: its samples are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "testing.md"
REALM = """\
version = 1
[realm]
name = "corp.example"
[principals.shop]
sources = ["10.0.0.0/8"]
[principals.orders]
[[rules]]
client = "shop"
target = "orders"
scopes = ["read"]
until = "2027-01-31"
"""


def sample(word: str) -> str:
    """The sample of the page that holds `word`."""
    (found,) = [block for block in blocks(PAGE, "python") if word in block]
    return found


@pytest.mark.parity("B13")
def test_the_sample_about_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "realm.toml").write_text(REALM)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(sample("orthros_kdc.testing"), str(PAGE), "exec"), found)
    found["test_the_shop_reads_orders_and_no_more"]()
