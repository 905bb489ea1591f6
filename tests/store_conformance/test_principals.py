"""The realm and its principals, on every store."""

import pytest
from attrs import evolve

from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.rule import Rule
from orthros_protocol.errors import Misconfigured


async def test_a_new_store_has_no_realm(store):
    with pytest.raises(Misconfigured, match="database-invalid"):
        await store.read(lambda tx: tx.realm())


async def test_the_realm_comes_back_as_it_was_created(store, realm_record):
    await store.change(lambda tx: tx.create_realm(realm_record))
    assert await store.read(lambda tx: tx.realm()) == realm_record


async def test_there_is_one_realm_per_store(store, realm_record):
    await store.change(lambda tx: tx.create_realm(realm_record))
    with pytest.raises(Misconfigured, match="already-exists"):
        await store.change(lambda tx: tx.create_realm(evolve(realm_record, realm="example.net")))


async def test_issuer_and_limits_change_and_nothing_else(store, realm_record):
    limits = RealmLimits(max_ticket_s=1, max_tgt_s=2, max_jwt_s=3)
    await store.change(lambda tx: tx.create_realm(realm_record))
    await store.change(lambda tx: tx.set_realm(issuer="https://id.example.org", limits=limits))
    after = await store.read(lambda tx: tx.realm())
    assert after == evolve(realm_record, issuer="https://id.example.org", limits=limits)


async def test_limits_need_a_realm(store):
    with pytest.raises(Misconfigured, match="database-invalid"):
        await store.change(lambda tx: tx.set_realm(issuer="https://a", limits=RealmLimits()))


async def test_a_principal_is_found_by_name_and_by_uid(store):
    added = await store.change(lambda tx: tx.add_principal(name="billing", created=7))
    assert (added.name, added.created, added.disabled, added.jwt_alg) == ("billing", 7, False, None)
    assert await store.read(lambda tx: tx.principal_by_name("billing")) == added
    assert await store.read(lambda tx: tx.principal_by_uid(added.uid)) == added


async def test_what_is_not_there_is_none_or_empty(store):
    def work(tx):
        return (
            tx.principal_by_name("nobody"),
            tx.principal_by_uid(16),
            tx.key_by_as_kid(bytes(8)),
            tx.keys_of(16),
            tx.jwt_keys_of(16),
            tx.realm_keys(),
            tx.principals(),
            tx.rules_between(Selector("nobody"), Selector("group", is_group=True)),
            tx.anchor("kdc-1"),
            tx.anchors(),
        )

    assert await store.read(work) == (None, None, None, (), (), (), (), (), None, ())


async def test_a_principal_keeps_what_was_set(store):
    added = await store.change(lambda tx: tx.add_principal(name="billing", created=7))
    wanted = evolve(
        added, disabled=True, max_ticket_s=60, max_jwt_s=30, jwt_alg="HS256", jwt_audience="https://b",
        sources=("10.0.0.0/8", "2001:db8::/32"), oauth=True, token_claims=("region", "tenant"), default_audience="b/c",
    )  # fmt: skip
    await store.change(lambda tx: tx.set_principal(wanted))
    assert await store.read(lambda tx: tx.principal_by_uid(added.uid)) == wanted
    await store.change(lambda tx: tx.set_principal(added))
    assert await store.read(lambda tx: tx.principal_by_uid(added.uid)) == added


async def test_a_default_audience_is_a_name_that_outlives_its_principal(store):
    """What is meant by default does not silently become nothing; who comes later under that name is no part of it."""
    shop, orders = [
        await store.change(lambda tx, name=name: tx.add_principal(name=name, created=7)) for name in ("shop", "orders")
    ]
    await store.change(lambda tx: tx.set_principal(evolve(shop, default_audience="orders")))
    await store.change(lambda tx: tx.delete_principal(orders.uid))
    assert (await store.read(lambda tx: tx.principal_by_name("shop"))).default_audience == "orders"


@pytest.mark.parity("K20")
@pytest.mark.parametrize("changes", [{"name": "other"}, {"created": 8}])
async def test_a_principal_cannot_become_another(store, changes):
    """The id belongs to one name for ever."""
    added = await store.change(lambda tx: tx.add_principal(name="billing", created=7))
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.set_principal(evolve(added, **changes)))
    assert await store.read(lambda tx: tx.principal_by_uid(added.uid)) == added


@pytest.mark.parity("K20")
async def test_uids_start_behind_the_reserved_ones_and_are_never_reused(store):
    """A re-created name is a new principal."""
    first = await store.change(lambda tx: tx.add_principal(name="a", created=1))
    second = await store.change(lambda tx: tx.add_principal(name="b", created=1))
    await store.change(lambda tx: tx.delete_principal(second.uid))
    again = await store.change(lambda tx: tx.add_principal(name="b", created=1))
    assert [first.uid, second.uid, again.uid] == [16, 17, 18]


async def test_a_uid_given_out_by_a_failed_change_may_come_back_but_never_twice(store):
    def fail(tx):
        tx.add_principal(name="a", created=1)
        raise ValueError("the change fails")

    with pytest.raises(ValueError, match="the change fails"):
        await store.change(fail)
    first = await store.change(lambda tx: tx.add_principal(name="b", created=1))
    second = await store.change(lambda tx: tx.add_principal(name="c", created=1))
    assert 16 <= first.uid < second.uid


@pytest.mark.parametrize("name", ["kdc", "kdc/tgt", "kdc/keys", "kdc/anything"])
async def test_names_of_the_kdc_cannot_be_taken(store, name):
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_principal(name=name, created=1))


async def test_a_name_that_only_begins_like_the_kdc_is_ordinary(store):
    """Lesson 14: exact names, no prefixes."""
    added = await store.change(lambda tx: tx.add_principal(name="kdc-backup", created=1))
    assert await store.read(lambda tx: tx.principal_by_name("kdc-backup")) == added


@pytest.mark.parametrize("name", ["", "Billing", "a//b", "-a", "a b", "ä", "a" * 129])
async def test_names_are_canonical(store, name):
    with pytest.raises(Misconfigured, match="name-invalid"):
        await store.change(lambda tx: tx.add_principal(name=name, created=1))


async def test_a_name_is_taken_once(store):
    await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    with pytest.raises(Misconfigured, match="already-exists"):
        await store.change(lambda tx: tx.add_principal(name="billing", created=2))


async def test_principals_come_in_pages_of_name_order(store):
    def fill(tx):
        for name in ("c", "a", "b/x", "b", "d"):
            tx.add_principal(name=name, created=1)

    await store.change(fill)
    assert [p.name for p in await store.read(lambda tx: tx.principals())] == ["a", "b", "b/x", "c", "d"]
    assert [p.name for p in await store.read(lambda tx: tx.principals(most=2))] == ["a", "b"]
    assert [p.name for p in await store.read(lambda tx: tx.principals(after="b", most=2))] == ["b/x", "c"]


async def test_only_what_exists_can_be_deleted_or_set(store):
    added = await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.delete_principal(added.uid + 1))
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.set_principal(evolve(added, uid=added.uid + 1)))


@pytest.mark.parity("K20")
async def test_deleting_a_principal_takes_all_that_hangs_on_it(store, key_of):
    """Nothing is left for a later principal of that name."""

    def fill(tx):
        billing, payroll = (tx.add_principal(name=name, created=1) for name in ("billing", "payroll"))
        for mark, principal in enumerate((billing, payroll)):
            tx.add_key(key_of(principal.uid, 1, mark))
        tx.add_group("callers")
        tx.add_member("callers", "billing")
        tx.add_member("callers", "payroll")
        pairs = [("billing", "payroll"), ("payroll", "billing"), ("payroll", "payroll")]
        for client, target in pairs:
            tx.add_rules([Rule(rule_id=0, client=Selector(client), target=Selector(target), scopes=())])
        return billing, payroll

    billing, payroll = await store.change(fill)
    await store.change(lambda tx: tx.delete_principal(billing.uid))
    again = await store.change(lambda tx: tx.add_principal(name="billing", created=2))

    policy = await store.read(lambda tx: tx.policy())
    assert [(str(rule.client), str(rule.target)) for rule in policy.rules] == [("payroll", "payroll")]
    assert policy.groups == {"callers": frozenset({"payroll"})}
    assert await store.read(lambda tx: tx.keys_of(billing.uid) + tx.keys_of(again.uid)) == ()
    assert await store.read(lambda tx: tx.key_by_as_kid(key_of(0, 1, 0).kid_as)) is None
    assert len(await store.read(lambda tx: tx.keys_of(payroll.uid))) == 1
