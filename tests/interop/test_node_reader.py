"""A reader in JavaScript, written from docs/protocol, runs every vector: Node's own crypto and a msgpack of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.interop.house import ROOT
from tests.support.peers import NODE_FOLDER, require

READER = NODE_FOLDER / "reader"
VECTORS = ROOT / "tests" / "vectors"
FILES = sorted(path.name for path in VECTORS.glob("*.json"))


@pytest.fixture(scope="module")
def node() -> str:
    return require("node")


def run_vectors(node: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node, READER / "vectors.mjs", folder], capture_output=True, text=True, timeout=120, check=False
    )


def content_of(file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / file).read_text("utf-8"))
    return content


def folder_with(folder: Path, vector: dict[str, Any]) -> Path:
    content = content_of("normative.json") | {"vectors": [vector]}
    (folder / "one.json").write_text(json.dumps(content), "utf-8")
    return folder


def test_the_reader_runs_every_vector_of_every_file_and_agrees(node: str) -> None:
    ended = run_vectors(node, VECTORS)
    expected = [f"{file}: {len(content_of(file)['vectors'])} run, 0 failed" for file in FILES]
    assert (ended.stdout.splitlines(), ended.stderr, ended.returncode) == (expected, "", 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"out": {"bytes": "91a3637479"}}, 'got {"out":{"bytes":"91a3637478"}}'),
        ({"op": "encode-twice"}, "no operation encode-twice"),
        ({"in": {"items": ["ctx"], "limit": 5}}, "not a known field: limit"),
        ({"in": {}}, "not an object with items"),
        ({"note": ""}, "not out alone, nor stage and code alone: note,out"),
        ({"code": "malformed", "stage": "size"}, "not out alone, nor stage and code alone: code,out,stage"),
    ],
    ids=["output", "operation", "unknown input", "missing input", "unknown key", "output and refusal"],
)
def test_a_vector_that_is_wrong_or_not_understood_fails_the_run(
    node: str, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    (vector,) = [one for one in content_of("normative.json")["vectors"] if one["name"] == "context enc(ctx)"]
    assert run_vectors(node, folder_with(tmp_path, vector)).stdout == "one.json: 1 run, 0 failed\n"
    ended = run_vectors(node, folder_with(tmp_path, vector | changes))
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (1, "one.json: 1 run, 1 failed")
    assert said in ended.stdout


@pytest.mark.parametrize("change", [{"code": "box-unopened"}, {"stage": "size"}], ids=["code", "stage"])
def test_a_refusal_for_another_reason_fails_the_run(node: str, tmp_path: Path, change: dict[str, str]) -> None:
    (vector,) = [one for one in content_of("refused-primitives.json")["vectors"] if one["name"] == "bool"]
    assert run_vectors(node, folder_with(tmp_path, vector)).returncode == 0
    assert run_vectors(node, folder_with(tmp_path, vector | change)).returncode == 1


def test_a_folder_without_vectors_is_an_error(node: str, tmp_path: Path) -> None:
    ended = run_vectors(node, tmp_path)
    assert ended.returncode == 1
    assert "no vectors in" in ended.stderr


def test_a_key_of_a_file_that_is_not_known_is_an_error(node: str, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(content_of("normative.json") | {"more": []}), "utf-8")
    ended = run_vectors(node, tmp_path)
    assert ended.returncode == 1
    assert "unknown keys: more" in ended.stderr


def test_vectors_in_a_subfolder_are_an_error(node: str, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(content_of("normative.json")), "utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two.json").write_text("{}", "utf-8")
    ended = run_vectors(node, tmp_path)
    assert ended.returncode == 1
    assert "vectors in a subfolder: more/two.json" in ended.stderr
