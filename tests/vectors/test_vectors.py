"""Every published vector, by the library and by a second implementation that never imports it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import second_implementation
from workshop.vectors.__main__ import main
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.run import disagreement

FOLDER = Path(__file__).parent
FILES = sorted(path.name for path in FOLDER.glob("*.json"))
STAGES = [
    "size", "encoding", "header", "kid", "box", "body", "caveats", "mac", "replay", "ticket-times", "window",
    "critical", "epoch", "bind", "discharges", "caveat", "user", "kdc-mark", "answer", "nak", "refused-by-peer",
    "key-file", "name", "carry", "demand", "chain", "build",
    "frame", "claim", "subject", "token", "covered", "wants",
]  # fmt: skip


def vectors_of(file: str) -> list[dict[str, Any]]:
    content = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    assert content["protocol"] == "orthros/1"
    vectors: list[dict[str, Any]] = content["vectors"]
    return vectors


EVERY_VECTOR = [vector for file in FILES for vector in vectors_of(file)]


@pytest.mark.parametrize("file", FILES)
def test_the_library_agrees(file: str) -> None:
    assert [found for vector in vectors_of(file) if (found := disagreement(vector))] == []


@pytest.mark.parametrize("file", FILES)
def test_a_second_implementation_agrees(file: str) -> None:
    for vector in vectors_of(file):
        expected = {key: vector[key] for key in ("out", "code") if key in vector}
        assert second_implementation.outcome(vector["op"], vector["in"]) == expected, vector["name"]


def test_every_operation_and_every_stage_has_vectors() -> None:
    assert {vector["op"] for vector in EVERY_VECTOR} == set(OPERATIONS) == set(second_implementation.OPERATIONS)
    assert {vector["stage"] for vector in EVERY_VECTOR if "stage" in vector} == set(STAGES)


def test_names_of_vectors_are_unique_within_a_file_and_operation() -> None:
    for file in FILES:
        names = [(vector["op"], vector["name"], json.dumps(vector["in"])) for vector in vectors_of(file)]
        assert len(names) == len(set(names))


def test_the_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert f"{len(EVERY_VECTOR)} vectors" in capsys.readouterr().out


def test_what_is_written_passes_the_check_and_any_change_fails_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--write", "--folder", str(tmp_path)]) == 0
    assert main(["--check", "--folder", str(tmp_path)]) == 0
    changed = tmp_path / "normative.json"
    changed.write_text(changed.read_text().replace("8949da72cc9d113d", "8949da72cc9d113e", 1))
    (tmp_path / "keys.json").unlink()
    (tmp_path / "stray.json").write_text("{}")
    capsys.readouterr()
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    complaint = capsys.readouterr().err
    for expected in ("8949da72cc9d113e", "keys.json: missing", "stray.json: not made by this tool", "--write"):
        assert expected in complaint


def test_a_change_of_everything_is_reported_in_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--write", "--folder", str(tmp_path)]) == 0
    (tmp_path / "exchanges.json").write_text("[]\n")
    capsys.readouterr()
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    complaint = capsys.readouterr().err
    assert "more lines" in complaint
    assert complaint.count("\n") < 60


def test_a_vector_that_the_code_contradicts_is_named() -> None:
    vector = next(one for one in EVERY_VECTOR if one["op"] == "derive")
    assert disagreement(vector) is None
    assert vector["name"] in (disagreement(vector | {"out": {"output": ""}}) or "")
