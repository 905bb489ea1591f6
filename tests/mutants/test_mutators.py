"""What the mutators break, and what they leave alone: on sources of a few lines, and on the protocol itself."""

import ast
import re
import subprocess
import sys
import textwrap

import pytest

from tests.mutants.entries import Entry
from tests.mutants.mutators import numbered, sites
from tests.mutants.sources import ROOT, Source
from tests.mutants.survivors import KNOWN, reason_of


def faults(text: str, owner: str = "") -> dict[str, str]:
    """Each fault by its label, as the text would then be."""
    source = Source("", owner, "", textwrap.dedent(text))
    labels = [site.label for site in source.faults(ast.parse(source.text))]
    return {label: ast.unparse(source.broken(number)) for number, label in enumerate(labels)}


def test_each_comparison_is_changed_by_itself() -> None:
    made = faults("def f(a, b):\n    return a < b <= a\n")
    assert made == {
        "f: a < b <= a -> a <= b <= a": "def f(a, b):\n    return a <= b <= a",
        "f: a < b <= a -> a < b < a": "def f(a, b):\n    return a < b < a",
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [("<", "<="), ("<=", "<"), (">", ">="), (">=", ">"), ("==", "!="), ("!=", "=="), ("in", "not in"),
     ("not in", "in"), ("is", "is not"), ("is not", "is")],
)  # fmt: skip
def test_every_comparison_has_its_counterpart(before: str, after: str) -> None:
    assert list(faults(f"def f(a, b):\n    return a {before} b\n").values()) == [
        f"def f(a, b):\n    return a {after} b"
    ]


def test_a_computed_limit_is_one_more_and_one_less() -> None:
    assert faults("MOST = 64 * 1024\n") == {
        "MOST: 64 * 1024 -> 65537": "MOST = 65537", "MOST: 64 * 1024 -> 65535": "MOST = 65535"
    }  # fmt: skip


def test_limits_in_defaults_and_in_patterns_are_changed() -> None:
    assert "f: 3 -> 4" in faults("def f(most=3):\n    pass\n")
    assert [*faults("P = re.compile('[a]{1,20}')\n").values()] == [
        "P = re.compile('[a]{2,20}')", "P = re.compile('[a]{0,20}')", "P = re.compile('[a]{1,21}')",
        "P = re.compile('[a]{1,19}')",
    ]  # fmt: skip


def test_a_guard_that_raises_or_returns_a_constant_is_left_out() -> None:
    made = faults(
        """
        def f(a):
            if a:
                raise ValueError
            if not a:
                return None
            if a:
                a = g(a)
            return a
        """
    )
    assert list(made) == ["f: without `if a`", "f: without `if not a`"]
    assert "if False:\n        raise ValueError" in made["f: without `if a`"]


def test_a_call_whose_result_nobody_uses_is_left_out() -> None:
    made = faults("def f(a):\n    check(a)\n    return size(a)\n")
    assert made == {"f: without `check(a)`": "def f(a):\n    pass\n    return size(a)"}


def test_each_part_of_a_condition_is_left_out() -> None:
    made = faults("def f(a, b):\n    return a and b\n")
    assert list(made.values()) == ["def f(a, b):\n    return b", "def f(a, b):\n    return a"]


def test_positions_words_for_people_and_truth_values_stay() -> None:
    assert faults("def f(a):\n    return a[0], f'{a[:80]} of {8}', True\n") == {}


def test_equal_faults_are_numbered_and_belong_to_their_function() -> None:
    found = numbered(sites(ast.parse("class C:\n    def f(self, a):\n        return a == 1, a == 1\n")))
    assert [site.label for site in found][::3] == ["C.f: a == 1 -> a != 1", "C.f: a == 1 -> a != 1 (2)"]
    assert {site.function for site in found} == {"C.f"}
    assert {site.function for site in sites(ast.parse("A = 1\n"))} == {""}


def declared(field: str) -> list[str]:
    """A field as its faults would have it."""
    made = faults(f"@message('M')\nclass M(Message):\n    x: int = {field}\n")
    assert all(label.startswith("M.x: ") for label in made)
    return [source.partition(" = ")[2] for source in made.values()]


def test_the_range_of_a_field_is_changed_and_what_may_be_nil() -> None:
    assert declared("integer(MOST)") == ["integer(MOST + 1)", "integer(MOST - 1)", "optional(integer(MOST))"]
    assert declared("integer(3)") == ["integer(4)", "integer(2)", "optional(integer(3))"]
    assert declared("binary(1, MOST, default=b'')") == [
        "binary(2, MOST, default=b'')", "binary(0, MOST, default=b'')", "binary(1, MOST + 1, default=b'')",
        "binary(1, MOST - 1, default=b'')", "optional(binary(1, MOST), default=b'')",
    ]  # fmt: skip
    assert declared("optional(instant(), default=None)") == ["instant(default=None)"]
    assert declared("const(ONE)") == ["const(ONE + 1)", "const(ONE - 1)"]


def test_an_exact_size_a_judge_and_an_order_are_left_out() -> None:
    assert "binary(0, SIZE)" in declared("binary(SIZE)")
    assert "binary(0, SIZE)" in declared("secret(SIZE)")
    assert "text(len, MOST)" in declared("text(PATTERN, MOST)")
    assert "array(record_of(R), MOST, 1)" in declared("record_set(record_of(R), MOST)")


def test_what_is_declared_within_a_field_is_changed_as_well() -> None:
    made = declared("array(binary(LEAST), MOST)")
    assert {"array(binary(0, LEAST), MOST)", "array(optional(binary(LEAST)), MOST)"} < set(made)


def test_fields_change_their_places_and_a_limit_is_changed() -> None:
    text = "@message('M', limit=MOST)\nclass M:\n    x: int = integer()\n    y: int = offset()\n    z: int = field()\n"
    made = faults(text)
    assert list(made) == ["M: MOST -> MOST + 1", "M: MOST -> MOST - 1", "M.x: integer() -> optional(integer())",
                          "M: y before x"]  # fmt: skip
    assert "limit=MOST + 1)" in made["M: MOST -> MOST + 1"]
    assert "limit=MOST - 1)" in made["M: MOST -> MOST - 1"]
    assert made["M: y before x"].split() == [
        "@message('M',", "limit=MOST)", "class", "M:", "y:", "int", "=", "offset()", "x:", "int", "=", "integer()",
        "z:", "int", "=", "field()",
    ]  # fmt: skip


def test_fields_of_several_messages_are_changed_where_their_class_declares_them() -> None:
    text = "class C:\n    x: int = field(metadata=wire(binary(SIZE)), repr=False)\n    y: int = field(default=MOST)\n"
    assert "C.x: binary(SIZE) -> binary(0, SIZE)" in faults(text)
    assert not any(label.startswith("C.y") for label in faults(text))


def test_what_is_written_for_a_message_takes_the_item_beside_the_right_one() -> None:
    text = "def decode(items):\n    return M(items[1])\n"
    assert faults(text, "M") == {
        "decode: items[1] -> items[2]": "def decode(items):\n    return M(items[2])",
        "decode: items[1] -> items[0]": "def decode(items):\n    return M(items[0])",
    }
    assert faults(text) == {}


@pytest.mark.timeout(600)
def test_every_fault_of_a_module_is_seen_or_has_its_reason() -> None:
    """`make mutants` takes them all; here is whether it still can, and whether the table names what is there."""
    # This module has faults of each kind: in functions, in what runs at import, in fields, in what is written.
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "authenticators"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 that none sees" in done.stdout


def test_an_entry_of_the_table_names_faults_by_a_pattern() -> None:
    entry = Entry("names.f: a[0] -> *", "a reason")
    assert entry.names("names.f: a[0] -> b")
    assert not entry.names("names.f: a0 -> b")


def test_every_entry_of_the_table_has_a_reason_of_its_own() -> None:
    assert all(len(entry.reason) > 20 for entry in KNOWN)
    assert len({entry.pattern for entry in KNOWN}) == len(KNOWN)
    assert reason_of("no fault at all") is None
    named = {path for entry in KNOWN for path in re.findall(r"tests/[\w/.]*[\w/]", entry.reason)}
    assert {path for path in named if not (ROOT / path).exists()} == set()
