"""Every reason of the product: said once, told well, and raised by somebody."""

import re
from pathlib import Path

import pytest

from orthros_client import reasons as client
from orthros_kdc import reasons as kdc
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import REASONS as SHARED
from orthros_runtime.command_line import USAGE
from orthros_runtime.extras import EXTRA_MISSING
from orthros_tools import reasons as tools

ROOT = Path(__file__).parents[2]
OWN = {"client": client, "kdc": kdc, "tools": tools}
EVERY = (*SHARED, EXTRA_MISSING, USAGE, *client.REASONS, *kdc.REASONS, *tools.REASONS)


def source_of(*packages: str) -> str:
    paths = (path for package in packages for path in (ROOT / package).rglob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in paths if "reasons" not in str(path))


def test_a_name_means_one_reason_in_all_packages() -> None:
    assert sorted(tools.CATALOGUE) == sorted(row.name for row in EVERY)
    assert tuple(tools.CATALOGUE.values()) == EVERY


@pytest.mark.parametrize("reason", EVERY, ids=lambda reason: reason.name)
def test_every_reason_has_a_cause_and_a_remedy(reason: Reason) -> None:
    """A message that a person reads says cause and remedy."""
    for sentence in (reason.cause, reason.remedy):
        assert sentence.endswith(".")
        assert sentence[0] == "`" or sentence[0].isupper()
        assert "  " not in sentence
    assert set(reason.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert reason.number == 0 or reason in SHARED


@pytest.mark.parametrize("package", OWN)
def test_a_package_raises_what_stands_in_its_table(package: str) -> None:
    """Under the reason's own name, so that a search for either finds the other."""
    source = source_of(package)
    for constant, row in vars(OWN[package]).items():
        if isinstance(row, Reason) and row in OWN[package].REASONS:
            assert constant == row.name.upper().replace("-", "_")
            assert re.search(rf"\b{constant}\b", source), f"nothing raises {constant}"


def test_the_shared_table_has_no_reason_that_nobody_raises() -> None:
    source = source_of("protocol", "kdc", "client")
    for row in SHARED:
        assert f'"{row.name}"' in source, f"nothing raises {row.name}"
