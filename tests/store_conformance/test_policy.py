"""Rules and groups, on every store."""

import pytest
from attrs import evolve

from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_protocol.errors import Misconfigured

BILLING, PAYROLL, CALLERS = Selector("billing"), Selector("payroll"), Selector("callers", is_group=True)


@pytest.fixture
async def store(store):
    def fill(tx):
        tx.add_principal(name="billing", created=1)
        tx.add_principal(name="payroll", created=1)
        tx.add_group("callers")

    await store.change(fill)
    return store


async def added(store, rule):
    (number,) = await store.change(lambda tx: tx.add_rules([rule]))
    return evolve(rule, rule_id=number)


async def allow(store, client, target, *scopes, **terms):
    return await added(store, Rule(rule_id=0, client=client, target=target, scopes=scopes, **terms))


async def test_a_rule_comes_back_as_it_was_added(store):
    rule = await allow(store, CALLERS, PAYROLL, "write", "read", max_ttl_s=60, jwt=True, delegable=True)
    assert (rule.client, rule.target) == (CALLERS, PAYROLL)
    assert rule.scopes == ("read", "write")
    assert (rule.max_ttl_s, rule.jwt, rule.delegable) == (60, True, True)
    assert (await store.read(lambda tx: tx.policy())).rules == (rule,)


@pytest.mark.parity("P6", "M5", "M6", "K18")
async def test_every_word_of_a_rule_comes_back(store):
    """Conditions and caveats are kept whole; the number that a rule comes with says nothing."""
    wanted = Rule(
        rule_id=77,
        client=CALLERS,
        target=PAYROLL,
        scopes=("read", "write"),
        max_ttl_s=60,
        until="2027-01-31T00:00:00Z",
        delegable=True,
        subjects=("users/*", "ada"),
        behalf=("*",),
        within_subject=True,
        sources=("10.0.0.0/8", "2001:db8::/32"),
        deny_via=("group:edge", "web@other.test"),
        require_via=("gone",),
        max_depth=0,
        callbacks=True,
        methods=("GET", "HEAD"),
        path="/",
        peers=("192.0.2.7/32",),
        discharges=(RequiredDischarge("approvals", "a"), RequiredDischarge("approvals", "b")),
    )
    rule = await added(store, wanted)
    assert rule == evolve(wanted, rule_id=1)
    assert (await store.read(lambda tx: tx.policy())).rules == (rule,)
    assert await store.read(lambda tx: tx.rules_between(CALLERS, PAYROLL)) == (rule,)


@pytest.mark.parity("M6")
@pytest.mark.parametrize("depth", [0, 3, 8])
async def test_a_depth_is_kept_to_the_number(store, depth):
    """None at all is a depth of its own."""
    added = await allow(store, BILLING, PAYROLL, max_depth=depth)
    assert (await store.read(lambda tx: tx.policy())).rules[0].chain.max_depth == added.chain.max_depth == depth


async def test_a_rule_without_scopes_has_none(store):
    rule = await allow(store, BILLING, PAYROLL)
    assert rule.scopes == ()
    assert await store.read(lambda tx: tx.rules_between(BILLING, PAYROLL)) == (rule,)


@pytest.mark.parity("P6")
async def test_rules_between_are_those_of_this_direction_and_kind(store):
    """Rules are directional."""
    await store.change(lambda tx: tx.add_group("billing"))
    rules = [await allow(store, BILLING, PAYROLL, scope) for scope in ("b", "a")]
    back = await allow(store, PAYROLL, BILLING)
    by_group = await allow(store, Selector("billing", is_group=True), PAYROLL)
    assert await store.read(lambda tx: tx.rules_between(BILLING, PAYROLL)) == tuple(rules)
    assert (await store.read(lambda tx: tx.policy())).rules == (*rules, back, by_group)


@pytest.mark.parametrize(
    ("client", "target"),
    [
        (Selector("nobody"), PAYROLL),
        (BILLING, Selector("nobody")),
        (Selector("billing", is_group=True), PAYROLL),
        (BILLING, Selector("callers")),
    ],
)
async def test_a_rule_names_only_who_exists(store, client, target):
    with pytest.raises(Misconfigured, match="not-found"):
        await allow(store, client, target)


async def test_a_rule_that_could_not_be_read_back_is_not_stored(store):
    with pytest.raises(Misconfigured, match="scope-invalid"):
        await allow(store, BILLING, PAYROLL, "not a scope")
    with pytest.raises(Misconfigured, match="value-invalid"):
        await allow(store, BILLING, PAYROLL, max_ttl_s=0)
    assert (await store.read(lambda tx: tx.policy())).rules == ()


async def test_rule_numbers_are_never_reused(store):
    first = await allow(store, BILLING, PAYROLL)
    await store.change(lambda tx: tx.delete_rules([first.rule_id]))
    second = await allow(store, BILLING, PAYROLL)
    assert second.rule_id > first.rule_id
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.delete_rules([first.rule_id]))


async def test_members_come_and_go(store):
    await store.change(lambda tx: tx.add_member("callers", "billing"))
    await store.change(lambda tx: tx.add_member("callers", "payroll"))
    await store.change(lambda tx: tx.remove_member("callers", "billing"))
    assert (await store.read(lambda tx: tx.policy())).groups == {"callers": frozenset({"payroll"})}


async def test_an_empty_group_is_a_group(store):
    assert (await store.read(lambda tx: tx.policy())).groups == {"callers": frozenset()}


async def test_memberships_are_exact(store):
    await store.change(lambda tx: tx.add_member("callers", "billing"))
    with pytest.raises(Misconfigured, match="already-exists"):
        await store.change(lambda tx: tx.add_member("callers", "billing"))
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.remove_member("callers", "payroll"))
    for group, principal in (("callers", "nobody"), ("nobody", "billing")):
        with pytest.raises(Misconfigured, match="not-found"):
            await store.change(lambda tx, group=group, principal=principal: tx.add_member(group, principal))
        with pytest.raises(Misconfigured, match="not-found"):
            await store.change(lambda tx, group=group, principal=principal: tx.remove_member(group, principal))


async def test_group_names_are_canonical_and_taken_once(store):
    with pytest.raises(Misconfigured, match="already-exists"):
        await store.change(lambda tx: tx.add_group("callers"))
    with pytest.raises(Misconfigured, match="name-invalid"):
        await store.change(lambda tx: tx.add_group("Callers"))


@pytest.mark.parity("K20")
async def test_a_deleted_group_takes_its_rules_along_and_a_new_one_inherits_nothing(store):
    """For groups."""
    await store.change(lambda tx: tx.add_member("callers", "billing"))
    await allow(store, CALLERS, PAYROLL)
    await allow(store, PAYROLL, CALLERS)
    kept = await allow(store, BILLING, PAYROLL)
    await store.change(lambda tx: tx.delete_group("callers"))
    await store.change(lambda tx: tx.add_group("callers"))
    policy = await store.read(lambda tx: tx.policy())
    assert (policy.rules, policy.groups) == ((kept,), {"callers": frozenset()})


async def test_only_an_existing_group_can_be_deleted(store):
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.delete_group("nobody"))


async def test_a_policy_once_read_does_not_change(store):
    before = await store.read(lambda tx: tx.policy())
    await store.change(lambda tx: tx.add_member("callers", "billing"))
    await allow(store, BILLING, PAYROLL)
    assert (before.rules, before.groups) == ((), {"callers": frozenset()})
