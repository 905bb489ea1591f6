"""What the path of a call may look like."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.call_chain import ChainRule, path_of
from orthros_protocol.tickets.ticket import Hop, open_ticket
from tests.support.exchange_pair import ExchangePair, principal

NAMES = ["gateway", "orders", "ledger", "mail"]
paths = st.lists(st.sampled_from(NAMES), min_size=0, max_size=9).filter(lambda path: len(path) != 1)
rules = st.builds(
    ChainRule, deny_via=st.sets(st.sampled_from(NAMES)), require_via=st.sets(st.sampled_from(NAMES)),
    max_depth=st.integers(0, 8), callbacks=st.booleans(),
)  # fmt: skip


def test_no_rule_allows_any_path_but_a_loop() -> None:
    rule = ChainRule()
    assert rule.objection((), "ledger") is None
    assert rule.objection(("gateway", "orders"), "ledger") is None
    assert rule.objection(tuple("abcdefghi"), "z") is None


def test_a_path_through_somebody_can_be_denied() -> None:
    """Section 11: deny-via names any member of the path, the caller itself included."""
    rule = ChainRule(deny_via=["mail"])
    assert rule.objection(("gateway", "orders"), "ledger") is None
    for path in (("mail", "orders"), ("gateway", "mail"), ("gateway", "mail", "orders")):
        assert "mail" in (rule.objection(path, "ledger") or "")
    assert rule.objection((), "ledger") is None, "an own call has no path"


def test_a_path_through_somebody_can_be_required() -> None:
    """Section 11: require-via wants all of them, so own calls are refused."""
    rule = ChainRule(require_via=["gateway", "orders"])
    assert rule.objection(("gateway", "orders"), "ledger") is None
    for path in ((), ("gateway", "mail"), ("mail", "orders")):
        assert "did not come through" in (rule.objection(path, "ledger") or "")


@pytest.mark.parametrize("most", range(9))
def test_the_depth_counts_the_hops_before_the_caller(most: int) -> None:
    """Section 17: depth 9, and any depth that a rule sets."""
    rule = ChainRule(max_depth=most, callbacks=True)
    for hops in range(1, 10):
        path = (*(f"h{number}" for number in range(hops)), "orders")
        assert (rule.objection(path, "ledger") is None) == (hops <= most)
    assert rule.objection((), "ledger") is None


@pytest.mark.parametrize("path", [("ledger", "orders"), ("orders", "orders"), ("orders", "mail", "orders")])
def test_nobody_is_called_twice_unless_it_may_be(path: tuple[str, ...]) -> None:
    """Section 17: target in chain, self in chain."""
    assert "called again" in (ChainRule().objection(path, "ledger") or "")
    assert ChainRule(callbacks=True).objection(path, "ledger") is None


def test_a_rule_may_know_somebody_under_further_names() -> None:
    def groups(name: str) -> list[str]:
        return ["edge"] if name in ("gateway", "mail") else []

    path = ("gateway", "orders")
    assert ChainRule(require_via=["edge"]).objection(path, "ledger", also=groups) is None
    assert ChainRule(require_via=["edge"]).objection(("orders", "ledger"), "x", also=groups)
    assert "gateway" in (ChainRule(deny_via=["edge"]).objection(path, "ledger", also=groups) or "")
    assert ChainRule(deny_via=["edge"]).objection(path, "ledger") is None


@given(paths, rules, rules)
def test_a_rule_says_what_its_four_sentences_say(path: list[str], rule: ChainRule, other: ChainRule) -> None:
    allowed = (
        not set(path) & set(rule.deny_via)
        and set(rule.require_via) <= set(path)
        and max(len(path) - 1, 0) <= rule.max_depth
        and (rule.callbacks or (len(set(path)) == len(path) and "ledger" not in path))
    )
    assert (rule.objection(path, "ledger") is None) == allowed
    both = ChainRule(
        deny_via=rule.deny_via + other.deny_via, require_via=rule.require_via + other.require_via,
        max_depth=min(rule.max_depth, other.max_depth), callbacks=rule.callbacks and other.callbacks,
    )  # fmt: skip
    if both.objection(path, "ledger") is None:
        assert allowed


@pytest.mark.parametrize("changes", [
    {"max_depth": -1}, {"max_depth": 9}, {"max_depth": True}, {"max_depth": "2"}, {"deny_via": "mail"},
    {"require_via": b"mail"}, {"deny_via": [principal("mail")]}, {"require_via": [""]}, {"deny_via": [None]},
])  # fmt: skip
def test_a_rule_that_would_forbid_nothing_is_not_written(changes: dict[str, Any]) -> None:
    """A name as a plain string would be its letters, and an object that is no name would match nobody."""
    with pytest.raises(LocalMisuse):
        ChainRule(**changes)


def test_the_path_of_a_ticket_is_its_chain_and_its_client() -> None:
    pair = ExchangePair()
    key = pair.realm.root("payroll").ticket_key()
    assert path_of(open_ticket(pair.issue().ticket, key)) == ()
    chain = (Hop(principal("gateway"), 1), Hop(Principal("other.realm", "orders"), 2))
    issued = pair.issue(chain=chain)
    assert path_of(open_ticket(issued.ticket, key)) == ("gateway", "orders@other.realm", "billing")
