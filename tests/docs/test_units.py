"""The unit files for systemd: systemd reads them, finds them closed enough, and never gives a service up."""

from __future__ import annotations

import subprocess
import tomllib
from configparser import RawConfigParser
from pathlib import Path

import pytest

from orthros_kdc.realm.master_key import CREDENTIAL_NAME
from tests.docs.pages import ROOT
from tests.support.peers import require

FOLDER = ROOT / "docs" / "examples" / "systemd"
UNITS = ("orthros-kdc", "orthros-daemon")
MOST_EXPOSED = 20
"""Tenths of the scale of `systemd-analyze security`, which ends at 100; below 30 it says OK."""


def settings(unit: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((FOLDER / f"{unit}.service").read_text("utf-8"))
    return parser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units as an administrator copies them, with programs that are there."""
    for unit in UNITS:
        program = tmp_path / unit
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        text = (FOLDER / f"{unit}.service").read_text("utf-8")
        (tmp_path / f"{unit}.service").write_text(text.replace(f"/opt/orthros/bin/{unit}", str(program)))
    return tmp_path


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_about_a_unit(folder: Path, unit: str) -> None:
    verify = [require("systemd-analyze"), "verify", "--man=no", str(folder / f"{unit}.service")]
    told = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_gives_its_service_no_more_than_it_needs(folder: Path, unit: str) -> None:
    judge = [require("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager"]
    told = subprocess.run([*judge, str(folder / f"{unit}.service")], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_is_started_again_for_ever(unit: str) -> None:
    found = settings(unit)
    assert (found["Unit"]["StartLimitIntervalSec"], found["Service"]["Restart"]) == ("0", "always")
    assert found["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert found["Service"]["LimitCORE"] == "0"
    assert found["Service"]["Type"] == "notify"  # systemd knows notify-reload since 253 only
    program = Path(found["Service"]["ExecStart"].split()[0])
    assert program.name == unit
    assert unit in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]


def test_the_credential_is_the_one_that_the_kdc_looks_for() -> None:
    assert settings("orthros-kdc")["Service"]["LoadCredential"].split(":")[0] == CREDENTIAL_NAME


def test_the_page_leads_to_every_unit() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert {path.name for path in FOLDER.iterdir()} == {f"{unit}.service" for unit in UNITS}
    assert [unit for unit in UNITS if f"(examples/systemd/{unit}.service)" not in page] == []
