"""docs/testing.md: its samples are run."""

from __future__ import annotations

import os
import subprocess
import sys
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


SAMPLES = {
    "conftest.py": "pytest_plugins =",
    "test_fastapi.py": "from fastapi_service import app\nfrom orthros",
    "test_flask.py": "from flask_service import app\nfrom orthros",
    "test_django.py": "from django_service import application",
    "shop_service.py": "OrthrosAuth",
    "test_httpx.py": "import fastapi_service, shop_service",
}


def run(folder: Path, *words: str) -> str:
    """What a program says that a reader of the page would start, without any key."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ORTHROS")}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "docs" / "examples"), str(folder)])
    command = [sys.executable, "-m", *words]
    ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parity("O7")
def test_the_samples_for_each_framework(tmp_path: Path) -> None:
    """As pytest files of a service's own repository: FastAPI, Flask, Django, and a service that calls with httpx."""
    for name, word in SAMPLES.items():
        (tmp_path / name).write_text(sample(word))
    (settings,) = blocks(PAGE, "toml")
    (tmp_path / "pyproject.toml").write_text(settings)
    said = run(tmp_path, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert "4 passed" in said
    assert max(len(sample(word).strip().splitlines()) for name, word in SAMPLES.items() if "test_" in name) <= 10


def test_the_sample_for_unittest(tmp_path: Path) -> None:
    (tmp_path / "test_orders.py").write_text(sample("import unittest"))
    assert "Ran 1 test" in run(tmp_path, "unittest", "test_orders")
