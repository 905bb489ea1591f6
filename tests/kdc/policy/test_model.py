"""Patterns of subjects: what may be written, what it covers, and what it never covers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.policy.model import Rule, Selector, check_subject_patterns, subject_matches
from orthros_protocol import Misconfigured

SEGMENTS = st.sampled_from(["a", "ab", "b", "kdc", "users", "a.b", "0"])
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("ada", "ada", True),
        ("ada", "ada/x", False),
        ("ada", "adam", False),
        ("users/ada", "users/ada", True),
        ("users/*", "users/ada", True),
        ("users/*", "users/ada/phone", True),
        ("users/*", "users", False),
        ("users/*", "usersx/ada", False),
        ("users/*", "other/users/ada", False),
        ("users/staff/*", "users/ada", False),
        ("*", "ada", True),
        ("*", "users/ada", True),
    ],
)
def test_a_pattern_covers_whole_segments(pattern, name, covered):
    """P6: exact, or all below a prefix of whole segments."""
    assert subject_matches((pattern,), name) is covered


@pytest.mark.parametrize(
    "name", ["", "*", "users/*", "Ada", "users//ada", "users/", "/users/x", "a b", "ada@corp", "a" * 129]
)
def test_what_is_no_name_is_nobody(name):
    """A subject is compared only when it is canonical, so no second spelling of it can slip through."""
    assert not subject_matches(("*", "users/*", "users/ada"), name)


@pytest.mark.parametrize("name", ["kdc", "kdc/tgt", "kdc/keys", "kdc/admin", "kdc/x/y"])
def test_the_kdc_itself_is_nobodys_subject(name):
    assert not subject_matches(("*",), name)
    with pytest.raises(Misconfigured, match="value-invalid"):
        check_subject_patterns((name,))


def test_names_that_only_look_like_the_kdcs_are_ordinary():
    assert subject_matches(("*",), "kdc-backup/one")
    assert check_subject_patterns(("kdc-backup/*",)) == ("kdc-backup/*",)


def test_no_pattern_covers_nobody():
    assert not subject_matches((), "ada")


@pytest.mark.parametrize(
    "wrong",
    ["", "**", "users*", "*/ada", "users/*/x", "/*", "users/", "users//*", "Users/*", "kdc/*", "kdc", "a b", None, 7],
)
def test_other_patterns_are_refused(wrong):
    with pytest.raises(Misconfigured, match="value-invalid"):
        check_subject_patterns(["ada", wrong])


@pytest.mark.parametrize("wrong", ["ada", b"ada", None, [f"user-{at}" for at in range(33)]])
def test_a_bare_text_or_too_many_are_refused(wrong):
    with pytest.raises(Misconfigured, match="value-invalid"):
        check_subject_patterns(wrong)


def test_patterns_are_a_set_in_one_order():
    assert check_subject_patterns(["users/*", "ada", "*", "ada"]) == ("*", "ada", "users/*")
    rule = Rule(rule_id=1, client=Selector("a"), target=Selector("b"), scopes=(), jwt=True, subjects=("users/*", "ada"))
    assert str(rule) == "rule 1: a -> b [no scopes] (jwt, for ada users/*)"


@given(NAMES, NAMES)
def test_a_prefix_pattern_is_a_path_prefix(prefix, name):
    if prefix.split("/")[0] == "kdc":
        return
    below = name.split("/")[: len(prefix.split("/"))] == prefix.split("/") and name != prefix
    assert subject_matches((f"{prefix}/*",), name) is (below and name.split("/")[0] != "kdc")
    assert subject_matches((prefix,), name) is (name == prefix)
