import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.store.base import PolicyRows
from tests.kdc.policy.rows import rule


def snapshot(*rules, **groups):
    members = {name: frozenset(names) for name, names in groups.items()}
    return PolicySnapshot(PolicyRows(seq=7, rules=rules, groups=members))


def ids(found):
    return [one.rule_id for one in found]


@pytest.mark.parity("P6")
def test_rules_are_directional() -> None:
    """A may call B says nothing about B calling A."""
    policy = snapshot(rule(1, "read"))
    assert ids(policy.rules_for("billing", "ledger")) == [1]
    assert policy.rules_for("ledger", "billing") == ()


def test_names_match_whole_or_not_at_all() -> None:
    """CVE-2014-9422, CVE-2018-5730: no prefixes, no patterns, no wildcards."""
    policy = snapshot(rule(1, client="admin", target="ledger"))
    for name in ("admi", "admin/x", "admin.x", "adm*", "*", "", "ADMIN", "admin\0", "group:admin"):
        assert policy.rules_for(name, "ledger") == ()
        assert policy.rules_for("admin", name) == ()


@pytest.mark.parity("P6")
def test_groups_have_explicit_members_on_both_sides() -> None:
    """Membership is a row, never part of a name."""
    policy = snapshot(
        rule(1, client="group:front", target="ledger"),
        rule(2, client="billing", target="group:money"),
        rule(3, client="group:front", target="group:money"),
        front=["billing", "web"],
        money=["ledger"],
    )
    assert ids(policy.rules_for("billing", "ledger")) == [1, 2, 3]
    assert ids(policy.rules_for("web", "ledger")) == [1, 3]
    assert policy.rules_for("front", "ledger") == ()
    assert policy.rules_for("group:front", "ledger") == ()
    assert policy.seq == 7


def test_a_group_and_a_principal_of_one_name_are_strangers() -> None:
    """CVE-2022-0336: names of different kinds do not collide."""
    policy = snapshot(rule(1, client="ops"), rule(2, client="group:ops"), ops=["deploy"])
    assert ids(policy.rules_for("ops", "ledger")) == [1]
    assert ids(policy.rules_for("deploy", "ledger")) == [2]


def test_the_memo_is_bounded_and_keeps_only_pairs_that_exist() -> None:
    """Whoever guesses names can neither fill memory nor push out the pairs that work."""
    policy = snapshot(*(rule(n, client=f"c{n}") for n in range(1, 5001)))
    for number in range(1, 5001):
        assert ids(policy.rules_for(f"c{number}", "ledger")) == [number]
        assert policy.rules_for(f"c{number}", "unknown") == ()
    assert len(policy._memo) == 4096
    assert ids(policy.rules_for("c1", "ledger")) == [1]


names = st.sampled_from(["a", "b", "c", "d"])
selectors = names | names.map(lambda name: f"group:g{name}")


@pytest.mark.parity("P6")
@given(
    st.lists(st.tuples(selectors, selectors), max_size=8),
    st.dictionaries(names.map(lambda name: f"g{name}"), st.frozensets(names)),
    names,
    names,
)
def test_the_index_finds_what_a_plain_search_finds(pairs, groups, client, target) -> None:
    """An index is an optimisation, never an opinion."""
    rules = [rule(number, client=one, target=other) for number, (one, other) in enumerate(pairs, 1)]

    def matches(selector, name):
        return name in groups.get(selector.name, ()) if selector.is_group else selector.name == name

    policy = PolicySnapshot(PolicyRows(seq=1, rules=tuple(rules), groups=groups))
    expected = [one.rule_id for one in rules if matches(one.client, client) and matches(one.target, target)]
    assert ids(policy.rules_for(client, target)) == expected
    assert ids(policy.rules_for(client, target)) == expected
