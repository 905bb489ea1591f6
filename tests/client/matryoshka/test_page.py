"""docs/matryoshka.md: its sample, run; its remarks and numbers, compared with the code."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from attrs import fields

from orthros_client.matryoshka import READING, WRITING, Remark
from orthros_client.matryoshka.values import StackLimits
from orthros_protocol.errors import LocalMisuse
from tests.client.matryoshka.test_export import caller_of
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "matryoshka.md"


@pytest.mark.parity("P17")
def test_the_sample_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Samples are executed."""
    (sample,) = blocks(PAGE, "python")
    names: dict[str, Any] = {"shared": bytes(range(32)), "caller": caller_of(2), "now": 1_900_000_000}
    exec(compile(sample, PAGE.name, "exec"), names)
    assert capsys.readouterr().out == "service-0@corp.test > service-1@corp.test > last@corp.test True\n"
    assert names["onward"].count(".") == 2


def test_every_remark_is_explained() -> None:
    rows = [row.split("|")[1] for row in PAGE.read_text("utf-8").splitlines() if row.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`([a-z-]+)`", row)) == sorted(get_args(Remark))


def test_the_limits_are_those_of_the_code() -> None:
    rows = [row.split("|")[1:-1] for row in PAGE.read_text("utf-8").splitlines() if re.search(r"\| [0-9,]+ \|$", row)]
    found = [[int(cell.replace(",", "").strip() or -1) for cell in row[1:]] for row in rows]
    names = [one.name for one in fields(StackLimits)]
    assert len(found) == len(names)
    for name, (reading, writing, most) in zip(names, found, strict=True):
        assert getattr(READING, name) == reading
        assert writing in {getattr(WRITING, name), -1}
        StackLimits(**{name: most})
        with pytest.raises(LocalMisuse, match="value-invalid"):
            StackLimits(**{name: most + 1})
