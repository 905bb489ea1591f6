"""What the mutators break, and what they leave alone: on sources of a few lines."""

import ast
import textwrap

import pytest

from tests.mutants.mutators import sites
from tests.mutants.survivors import KNOWN, Entry, reason_of


def faults(source: str) -> dict[str, str]:
    """Each fault by its label, as the source would then be."""
    source = textwrap.dedent(source)
    labels = [site.label for site in sites(ast.parse(source))]
    found = {}
    for number, label in enumerate(labels):
        tree = ast.parse(source)
        sites(tree)[number].apply()
        found[label] = ast.unparse(tree)
    return found


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
    found = sites(ast.parse("class C:\n    def f(self, a):\n        return a == 1, a == 1\n"))
    assert [site.label for site in found][::3] == ["C.f: a == 1 -> a != 1", "C.f: a == 1 -> a != 1 (2)"]
    assert {site.function for site in found} == {"C.f"}
    assert {site.function for site in sites(ast.parse("A = 1\n"))} == {""}


def test_an_entry_of_the_table_names_faults_by_a_pattern() -> None:
    entry = Entry("names.f: a[0] -> *", "a reason")
    assert entry.names("names.f: a[0] -> b")
    assert not entry.names("names.f: a0 -> b")


def test_every_entry_of_the_table_has_a_reason_of_its_own() -> None:
    assert all(len(entry.reason) > 20 for entry in KNOWN)
    assert len({entry.pattern for entry in KNOWN}) == len(KNOWN)
    assert reason_of("no fault at all") is None
