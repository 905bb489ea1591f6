"""tests/vectors/README.md describes every vector, and nothing that does not occur."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vectors.pages import MOST_EXACT, PAGE, read_page
from workshop.vectors import integers

README = read_page(PAGE.read_text(encoding="utf-8"))
VECTORS: list[dict[str, Any]] = [
    vector
    for path in sorted(Path(__file__).parent.glob("*.json"))
    for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]
]
DERIVED = {
    "name": "a", "op": "derive", "in": {"key": "00", "label": "a", "context": "", "size": 32}, "out": {"output": "00"}
}  # fmt: skip


def test_every_vector_is_as_the_page_says() -> None:
    assert [(one["op"], one["name"], found) for one in VECTORS if (found := README.problems(one))] == []


def test_every_operation_of_the_page_has_vectors() -> None:
    assert set(README.operations) == {one["op"] for one in VECTORS}


def test_every_refusal_of_the_page_has_a_vector() -> None:
    for op, section in README.operations.items():
        made = {f"{one['stage']}/{one['code']}" for one in VECTORS if one["op"] == op and "code" in one}
        named = {one.replace("/*", "/") for one in section.refused}
        assert {pair for pair in named if not any(one.startswith(pair) for one in made)} == set(), op


def test_every_field_of_the_page_occurs() -> None:
    for op, section in README.operations.items():
        for side, fields in section.fields.items():
            seen = {name for one in VECTORS if one["op"] == op for name in one.get(side, {})}
            named = {name.removesuffix("?") for name in fields if name != "*"}
            assert named <= seen, (op, side)


def test_every_shape_of_the_page_is_used_and_every_type_is_known() -> None:
    sections = [*README.operations.values(), *README.shapes.values()]
    types = [kind for one in sections for fields in one.fields.values() for kind in fields.values()]
    words = {word for kind in types for word in kind.replace("(", " ").replace("[", " ").split()}
    assert set(README.shapes) <= {word.strip(",)]") for word in words}
    for kind in types:
        README.fits(None, kind)


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (DERIVED, []),
        (DERIVED | {"op": "unheard-of"}, ["unheard-of has no section"]),
        (DERIVED | {"in": DERIVED["in"] | {"size": "32"}}, ["in.size is not int"]),  # type: ignore[operator]
        (DERIVED | {"in": DERIVED["in"] | {"size": 2**53}}, ["in.size is not int"]),  # type: ignore[operator]
        (DERIVED | {"in": DERIVED["in"] | {"more": 1}}, ["in.more is not documented"]),  # type: ignore[operator]
        (DERIVED | {"out": {}}, ["out.output is missing"]),
        (DERIVED | {"out": {"output": "0"}}, ["out.output is not hex"]),
        ({"op": "open", "in": {}, "stage": "box", "code": "wrong-mac"}, ["box/wrong-mac is not listed"]),
    ],
)
def test_a_vector_that_differs_from_the_page_is_found(vector: dict[str, Any], expected: list[str]) -> None:
    assert [found for found in README.problems(vector) if "in." not in found or vector["op"] == "derive"] == expected


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("hex or null", ["", "00", None], ["0", "AA", 0]),
        ("list of [text, hex]", [[], [["a", "00"]]], [["a"], [["a"]], [["a", "0"]], None]),
        ("list of (granted or refused)", [[]], [[{}]]),
        ("map of hex", [{}, {"1": "00"}], [{"1": 1}, []]),
        ("bool", [True], [1, None]),
        ("int", [0, {"int": str(2**63)}], [True, 2**53, {"int": 5}, {"int": "05"}, {"int": "5"}]),
        ("item", [None, [[{"bin": "00"}, "a", 1]]], [{"bin": "0"}, 1.5, True]),
        ("subject", [["a@b", 0, 1]], [["a@b", 0]]),
    ],
)
def test_types_of_the_page_are_told_apart(kind: str, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not README.fits(value, kind)] == []
    assert [value for value in bad if README.fits(value, kind)] == []


def test_no_number_in_the_files_is_one_that_a_double_would_round() -> None:
    for path in Path(__file__).parent.glob("*.json"):
        numbers: list[str] = []
        json.loads(path.read_text(encoding="utf-8"), parse_int=numbers.append)
        assert all(abs(int(one)) <= MOST_EXACT for one in numbers), path.name


def test_large_integers_are_written_as_digits_and_read_back() -> None:
    value = {"a": [0, True, None, "9", 2**53 - 1, 2**53, [2**63 - 1]]}
    shown = {"a": [0, True, None, "9", 2**53 - 1, {"int": "9007199254740992"}, [{"int": "9223372036854775807"}]]}
    assert integers.written(value) == shown
    assert integers.read(shown) == value
