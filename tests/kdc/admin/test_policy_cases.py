"""Groups and rules as administrators handle them."""

from typing import Any

import pytest

from orthros_kdc.admin import groups, principals, rules
from orthros_kdc.policy.model import second_of
from orthros_protocol.errors import Misconfigured


@pytest.fixture
async def admin(admin, trail):
    for name in ("billing", "payroll"):
        await principals.add(admin, name)
    await groups.add(admin, "callers")
    trail.events.clear()
    return admin


@pytest.mark.parity("P6")
async def test_allowing_one_direction_allows_no_other(admin, trail):
    """Directional, default deny."""
    rule = await rules.allow(admin, "billing", "payroll", scopes=("write", "read"), max_ttl_s=60, jwt=True)
    assert (str(rule.client), str(rule.target), rule.scopes) == ("billing", "payroll", ("read", "write"))
    assert (rule.max_ttl_s, rule.jwt, rule.delegable) == (60, True, False)
    assert await rules.listed(admin) == (rule,)
    assert await rules.listed(admin, client="payroll") == ()
    assert trail.names == ["rule.added"]


async def test_the_same_rule_twice_already_exists_and_other_scopes_make_another(admin, trail):
    first = await rules.allow(admin, "billing", "payroll", scopes=("read", "write"))
    with pytest.raises(Misconfigured, match="already-exists"):
        await rules.allow(admin, "billing", "payroll", scopes=("write", "read", "read"))
    second = await rules.allow(admin, "billing", "payroll", scopes=("read",))
    third = await rules.allow(admin, "billing", "payroll", scopes=("read",), delegable=True)
    assert await rules.listed(admin) == (first, second, third)
    assert trail.names == ["rule.added"] * 3


@pytest.mark.parity("P6")
async def test_a_rule_says_in_whose_name_its_client_may_ask(admin, trail):
    """Nobody's by default; other subjects make another rule."""
    own = await rules.allow(admin, "billing", "payroll", jwt=True)
    users = await rules.allow(admin, "billing", "payroll", jwt=True, subjects=("users/*", "ada", "users/*"))
    assert (own.subjects, users.subjects) == ((), ("ada", "users/*"))
    assert await rules.listed(admin) == (own, users)
    assert str(users).endswith("(jwt, for ada users/*)")
    with pytest.raises(Misconfigured, match="already-exists"):
        await rules.allow(admin, "billing", "payroll", jwt=True, subjects=("ada", "users/*"))
    with pytest.raises(Misconfigured, match="value-invalid"):
        await rules.allow(admin, "billing", "payroll", jwt=True, subjects=("users*",))
    assert trail.names == ["rule.added"] * 2
    assert trail.events[1][1]["subjects"] == "ada users/*"


@pytest.mark.parity("P6", "B3")
async def test_a_rule_with_conditions_is_recorded_with_all_of_them(admin, trail):
    """The trail says under which conditions somebody was let in."""
    rule = await rules.allow(
        admin, "billing", "payroll", behalf=("users/*",), sources=("10.0.0.0/8",),
        deny_via=["group:callers"], max_depth=2, callbacks=True,
        methods=["GET"], path="/pay", peers=["192.0.2.0/24"], discharges=["payroll=four-eyes"],
    )  # fmt: skip
    ((event, facts),) = trail.events
    told = {name: facts[name] for name in ("behalf", "sources", "chain", "caveats")}
    assert (event, facts["rule"], told) == ("rule.added", rule.rule_id, {
        "behalf": "users/*",
        "sources": "10.0.0.0/8",
        "chain": "never via group:callers, at most 2 before the client, callbacks",
        "caveats": "methods GET, path /pay, peers 192.0.2.0/24, discharge payroll=four-eyes",
    })  # fmt: skip
    with pytest.raises(Misconfigured, match="already-exists"):
        await rules.allow(
            admin, "billing", "payroll", behalf=("users/*",), sources=("10.0.0.0/8",),
            deny_via=["group:callers"], max_depth=2, callbacks=True,
            methods=["GET"], path="/pay", peers=["192.0.2.0/24"], discharges=["payroll=four-eyes"],
        )  # fmt: skip
    await rules.allow(admin, "billing", "payroll", behalf=("users/*",), sources=("10.0.0.0/8",), max_depth=2)
    assert len(await rules.listed(admin)) == 2


@pytest.mark.parity("M5")
@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"deny_via": ["wbe"]}, "not-found"),
        ({"require_via": ["group:wbe"]}, "not-found"),
        ({"deny_via": ["callers"]}, "not-found"),
        ({"deny_via": ["billing@example.org"]}, "value-invalid"),
        ({"discharges": ["approvals=four-eyes"]}, "not-found"),
        ({"discharges": ["kdc/tgt=four-eyes"]}, "not-found"),
        ({"path": "/a", "jwt": True}, "value-invalid"),
        ({"behalf": ("users*",)}, "value-invalid"),
        ({"sources": ("10.0.0.1/8",)}, "value-invalid"),
    ],
)
async def test_a_slip_of_the_pen_in_a_condition_is_no_open_door(admin, trail, terms, code):
    """A name that nobody has would be forbidden in vain."""
    with pytest.raises(Misconfigured, match=code):
        await rules.allow(admin, "billing", "payroll", **terms)
    assert (await rules.listed(admin), trail.names) == ((), [])


@pytest.mark.parity("M5", "K20")
async def test_who_stands_in_a_condition_does_not_vanish_from_under_it(admin, trail):
    """Neither a forbidden path nor a required one falls to a later bearer of the name."""
    await principals.add(admin, "web")
    chain: dict[str, Any] = {"deny_via": ["web", "group:callers", "far@other.test"]}
    rule = await rules.allow(admin, "billing", "payroll", **chain)
    asking = await rules.allow(admin, "billing", "payroll", discharges=["web=seen"])
    with pytest.raises(Misconfigured, match=r"conflict.*rule 1: "):
        await principals.delete(admin, "web")
    with pytest.raises(Misconfigured, match=r"conflict.*rule 1: "):
        await groups.delete(admin, "callers")
    await rules.remove(admin, rule.rule_id)
    await groups.delete(admin, "callers")
    with pytest.raises(Misconfigured, match=r"conflict.*rule 2: "):
        await principals.delete(admin, "web")
    await rules.remove(admin, asking.rule_id)
    await principals.delete(admin, "web")


@pytest.mark.parity("K20")
@pytest.mark.parametrize("condition", ["subjects", "behalf"])
async def test_a_subject_that_a_rule_names_does_not_vanish_from_under_it(admin, condition):
    """A later principal of the name would be acted for by a rule that meant the one before it."""
    await principals.add(admin, "web")
    named: dict[str, Any] = {condition: ("web",)}
    everybody: dict[str, Any] = {condition: ("*",)}  # a pattern means later names as well
    rule = await rules.allow(admin, "billing", "payroll", **named)
    await rules.allow(admin, "billing", "payroll", **everybody)
    with pytest.raises(Misconfigured, match=r"conflict.*rule 1: .*remove it before web"):
        await principals.delete(admin, "web")
    await rules.remove(admin, rule.rule_id)
    await principals.delete(admin, "web")


async def test_only_what_was_seen_goes_along(admin):
    """Another administrator adds a rule while the first one reads what would be removed."""
    await rules.allow(admin, "group:callers", "payroll")
    group, principal = (
        await groups.foresee_deletion(admin, "callers"),
        await principals.foresee_deletion(admin, "payroll"),
    )
    pair = await rules.foresee_denial(admin, "group:callers", "payroll")
    await rules.allow(admin, "group:callers", "payroll", scopes=("read",))
    for deleted in (
        groups.delete(admin, "callers", seen=group),
        principals.delete(admin, "payroll", seen=principal),
        rules.deny(admin, "group:callers", "payroll", seen=pair),
    ):
        with pytest.raises(Misconfigured, match=r"conflict.*meanwhile"):
            await deleted
    assert len(await rules.listed(admin)) == 2
    pair = await rules.foresee_denial(admin, "group:callers", "payroll")
    assert await rules.deny(admin, "group:callers", "payroll", seen=pair) == pair


@pytest.mark.parity("K20")
async def test_a_rule_that_goes_along_does_not_hold_anybody_back(admin):
    """Who is client or target of the rule as well takes it along."""
    await rules.allow(admin, "billing", "payroll", discharges=["payroll=seen"])
    await principals.delete(admin, "payroll")
    assert await rules.listed(admin) == ()


async def test_denying_removes_the_rules_of_the_pair_with_one_event(admin, trail):
    for scope in ("read", "write"):
        await rules.allow(admin, "billing", "payroll", scopes=(scope,))
    back = await rules.allow(admin, "payroll", "billing")
    through = await rules.allow(admin, "group:callers", "payroll")
    trail.events.clear()
    gone = await rules.deny(admin, "billing", "payroll")
    assert len(gone) == 2
    assert await rules.listed(admin) == (back, through)
    assert trail.names == ["rule.removed"]
    with pytest.raises(Misconfigured, match="not-found"):
        await rules.deny(admin, "billing", "payroll")


async def test_one_rule_is_removed_by_its_number(admin, trail):
    kept = await rules.allow(admin, "billing", "payroll", scopes=("read",))
    gone = await rules.allow(admin, "billing", "payroll", scopes=("write",))
    assert await rules.remove(admin, gone.rule_id) == gone
    assert await rules.listed(admin) == (kept,)
    with pytest.raises(Misconfigured, match="not-found"):
        await rules.remove(admin, gone.rule_id)
    assert trail.names == ["rule.added", "rule.added", "rule.removed"]


async def test_rules_are_listed_by_either_side(admin):
    by_group = await rules.allow(admin, "group:callers", "payroll")
    direct = await rules.allow(admin, "billing", "payroll")
    assert await rules.listed(admin, target="payroll") == (by_group, direct)
    assert await rules.listed(admin, client="group:callers") == (by_group,)
    assert await rules.listed(admin, client="billing", target="billing") == ()


@pytest.mark.parametrize(
    ("pair", "changes", "code"),
    [
        (("nobody", "payroll"), {}, "not-found"),
        (("billing", "nobody"), {}, "not-found"),
        (("callers", "payroll"), {}, "not-found"),
        (("group:billing", "payroll"), {}, "not-found"),
        (("billing", "kdc/tgt"), {}, "not-found"),
        (("Billing", "payroll"), {}, "name-invalid"),
        (("*", "payroll"), {}, "name-invalid"),
        (("billing", "payroll"), {"scopes": ("*",)}, "scope-invalid"),
        (("billing", "payroll"), {"scopes": tuple(f"s{n}" for n in range(33))}, "scope-invalid"),
        (("billing", "payroll"), {"max_ttl_s": 0}, "value-invalid"),
        (("billing", "payroll"), {"max_ttl_s": 2**63}, "value-invalid"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_without_an_event(admin, trail, pair, changes, code):
    with pytest.raises(Misconfigured, match=code):
        await rules.allow(admin, *pair, **changes)
    assert await rules.listed(admin) == ()
    assert trail.names == []


async def test_members_come_and_go(admin, trail):
    await groups.add_member(admin, "callers", "billing")
    await groups.add_member(admin, "callers", "payroll")
    await groups.remove_member(admin, "callers", "billing")
    assert await groups.show(admin, "callers") == {"payroll"}
    assert trail.names == ["group.member-added", "group.member-added", "group.member-removed"]


async def test_groups_are_listed_in_name_order(admin):
    await groups.add(admin, "auditors")
    assert list((await groups.listed(admin)).items()) == [("auditors", frozenset()), ("callers", frozenset())]


async def test_deleting_a_group_says_what_went_along(admin, trail):
    await groups.add_member(admin, "callers", "billing")
    await rules.allow(admin, "billing", "payroll")
    await rules.allow(admin, "group:callers", "payroll")
    await rules.allow(admin, "billing", "group:callers")
    trail.events.clear()
    await groups.delete(admin, "callers")
    ((event, facts),) = trail.events
    assert (event, facts["members"], facts["rules"]) == ("group.deleted", 1, "2 3")
    await rules.deny(admin, "billing", "payroll")
    assert await rules.listed(admin) == ()


async def test_group_mistakes_are_typed_and_leave_no_event(admin, trail):
    with pytest.raises(Misconfigured, match="already-exists"):
        await groups.add(admin, "callers")
    for look in (groups.show, groups.delete):
        with pytest.raises(Misconfigured, match="not-found"):
            await look(admin, "nobody")
    for move in (groups.add_member, groups.remove_member):
        for group, principal in (("callers", "nobody"), ("nobody", "billing")):
            with pytest.raises(Misconfigured, match="not-found"):
                await move(admin, group, principal)
    assert trail.names == []


@pytest.mark.parity("B3")
async def test_rules_that_ended_or_end_soon_are_found(admin):
    ended = await rules.allow(admin, "billing", "payroll", until="1999-12-31")
    soon = await rules.allow(admin, "billing", "payroll", until="2999-12-31")
    await rules.allow(admin, "billing", "payroll")
    left = second_of(soon.until) - admin.now()
    assert await rules.listed(admin, ending_s=left - 1) == (ended,)
    assert await rules.listed(admin, ending_s=left) == (ended, soon)
    assert await rules.listed(admin, client="payroll", ending_s=left) == ()
