"""Patterns of subjects and conditions of rules: what may be written, what it covers, and what it never covers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.policy.model import Selector, check_subject_patterns, subject_matches
from orthros_kdc.policy.rule import Rule
from orthros_protocol.errors import Misconfigured

SEGMENTS = st.sampled_from(["a", "ab", "b", "kdc", "users", "a.b", "0"])
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


@pytest.mark.parity("P6")
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
    """Exact, or all below a prefix of whole segments."""
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


@pytest.mark.parity("M5", "M6")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"deny_via": ["Web"]}, "name-invalid"),
        ({"deny_via": ["group:Edge"]}, "name-invalid"),
        ({"deny_via": ["group:edge@corp.test"]}, "name-invalid"),
        ({"deny_via": ["web@"]}, "name-invalid"),
        ({"require_via": ["users/*"]}, "name-invalid"),
        ({"require_via": [""]}, "name-invalid"),
        ({"require_via": [3]}, "name-invalid"),
        ({"deny_via": "web"}, "value-invalid"),
        ({"deny_via": [f"s{at}" for at in range(33)]}, "value-invalid"),
        ({"deny_via": ["web"], "require_via": ["gate", "web"]}, "value-invalid"),
        ({"max_depth": 9}, "value-invalid"),
        ({"max_depth": -1}, "value-invalid"),
        ({"max_depth": True}, "value-invalid"),
    ],
)
def test_conditions_on_a_path_are_refused_where_they_are_written(changes, code):
    """A condition that could never hold, or always would, is a slip of the pen."""
    with pytest.raises(Misconfigured, match=code):
        Rule(rule_id=1, client=Selector("a"), target=Selector("b"), scopes=(), **changes)


@pytest.mark.parity("B5")
def test_rules_that_say_the_same_are_equal():
    """Rules are compared by what they say: every list is a set in one order."""

    def written(**terms):
        return Rule(rule_id=1, client=Selector("a"), target=Selector("b"), scopes=(), **terms)

    ways = [
        written(behalf=["u/*", "ada"], sources=["192.0.2.7", "10.0.0.0/8"],
                deny_via=["web", "group:edge", "far@other.test"], require_via=["z", "y"]),
        written(behalf=["ada", "u/*", "ada"], sources=["10.0.0.0/8", "::ffff:192.0.2.7"],
                deny_via=["far@other.test", "group:edge", "web"], require_via=["y", "z"]),
    ]  # fmt: skip
    assert ways[0] == ways[1]
    assert str(ways[0]) == (
        "rule 1: a -> b [no scopes] (on behalf of ada u/*, from 10.0.0.0/8 192.0.2.7/32,"
        " never via far@other.test group:edge web, only via y z)"
    )
