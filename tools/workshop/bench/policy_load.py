"""Deciding under a large policy, beside a small one: the look-up of the pair's rules and the decision.

In one process, without store or messages. The answer is compared with what the rules say.
"""

from __future__ import annotations

from functools import partial

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Grant, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.store.base import PolicyRows
from workshop.bench.figures import Figure, best_of

__all__ = ["decided", "measure_policy", "policy_of"]

_SMALL, _LARGE = 10, 10_000
_GROUPS = 1_000
_MEMBERSHIPS = 3
_SCOPES = ("read", "write")


def policy_of(rules: int, groups: int) -> PolicySnapshot:
    """Rules from groups to groups; `billing` and `orders` are in three groups each, as in the small policy."""
    clients, targets = max(groups // 2, _MEMBERSHIPS), max(groups // 2, _MEMBERSHIPS)
    rows = [
        Rule(
            rule_id=number + 1,
            client=Selector(f"clients-{number % clients}", is_group=True),
            target=Selector(f"targets-{number // clients % targets}", is_group=True),
            scopes=_SCOPES if number == 0 else ("read",),
        )
        for number in range(rules)
    ]
    members = {f"clients-{number}": frozenset({f"client-{number}"}) for number in range(clients)}
    members |= {f"targets-{number}": frozenset({f"target-{number}"}) for number in range(targets)}
    for number in range(_MEMBERSHIPS):
        members[f"clients-{number}"] |= {"billing"}
        members[f"targets-{number}"] |= {"orders"}
    return PolicySnapshot(PolicyRows(seq=1, rules=tuple(rows), groups=members))


def decided(policy: PolicySnapshot, *, again: bool) -> Grant:
    """What `policy` says of `billing` and `orders`; `again`, with the pair's rules looked up before."""
    if not again:
        policy._memo.clear()
    answer = decide(
        Ask(target="orders", scopes=_SCOPES),
        policy.rules_for("billing", "orders"),
        Circumstances(address="", groups_of=policy.groups_of, target=TargetFacts(), remaining_tgt_s=3600),
    )
    if not isinstance(answer, Grant) or answer.scopes != _SCOPES:
        raise RuntimeError("the policy decided otherwise than its rules say")
    return answer


def measure_policy() -> list[Figure]:
    """A pair's first decision and its next ones: 10,000 rules and 1,000 groups beside 10 rules."""
    small, large = policy_of(_SMALL, 2 * _MEMBERSHIPS), policy_of(_LARGE, _GROUPS)
    found = {name: len(policy.rules_for("billing", "orders")) for name, policy in (("s", small), ("l", large))}
    figures = []
    for words, again in (("pair not seen before", False), ("pair seen before", True)):
        few, many = (best_of(partial(decided, one, again=again), number=5000) for one in (small, large))
        figures.append(
            Figure(
                name=f"decide by 10,000 rules, {words}", us=many, beside="the same by 10 rules", beside_us=few,
                goal="<= 1.20", remark=f"{found['l']} and {found['s']} rules hold for the pair",
            )
        )  # fmt: skip
    return figures
