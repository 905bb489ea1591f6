"""Key records of principals, of the realm and for JWTs, on every store."""

import pytest
from attrs import evolve

from orthros_kdc.store.base import (
    KEY_ACTIVE,
    KEY_DRAINING,
    KEY_PREPARED,
    KEY_RETIRED,
    JwtKeyRecord,
    RealmKeyRecord,
)
from orthros_protocol.errors import Misconfigured


@pytest.fixture
async def billing(store):
    return await store.change(lambda tx: tx.add_principal(name="billing", created=1))


@pytest.fixture
async def payroll(store, billing):
    return await store.change(lambda tx: tx.add_principal(name="payroll", created=1))


def jwt_key(uid, kid, **changes):
    return evolve(JwtKeyRecord(uid=uid, kid=kid, alg="HS256", created=5, sealed=b"sealed " + kid.encode()), **changes)


@pytest.mark.parity("K2")
async def test_a_key_is_found_by_the_key_id_of_its_role_alone(store, billing, key_of):
    """Exact look-up, no trial decryption."""
    record = key_of(billing.uid, 1, 9)
    await store.change(lambda tx: tx.add_key(record))
    assert await store.read(lambda tx: tx.key_by_as_kid(record.kid_as)) == record
    for other in (record.kid_ticket, record.kid_sync):
        assert await store.read(lambda tx, other=other: tx.key_by_as_kid(other)) is None


async def test_versions_come_oldest_first_in_whatever_order_they_were_added(store, billing, key_of):
    for kvno in (3, 1, 2):
        record = key_of(billing.uid, kvno, kvno)
        await store.change(lambda tx, record=record: tx.add_key(record))
    assert [key.kvno for key in await store.read(lambda tx: tx.keys_of(billing.uid))] == [1, 2, 3]


@pytest.mark.parametrize("field", ["kid_as", "kid_ticket", "kid_sync"])
async def test_a_key_id_belongs_to_one_key(store, billing, payroll, key_of, field):
    """The KDC refuses collisions, so a key id selects exactly one key."""
    first = key_of(billing.uid, 1, 1)
    await store.change(lambda tx: tx.add_key(first))
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_key(key_of(payroll.uid, 1, 2, **{field: getattr(first, field)})))
    assert await store.read(lambda tx: tx.keys_of(payroll.uid)) == ()


async def test_a_version_number_is_taken_once(store, billing, key_of):
    await store.change(lambda tx: tx.add_key(key_of(billing.uid, 1, 1)))
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_key(key_of(billing.uid, 1, 2)))


async def test_a_refused_key_leaves_the_rest_of_the_change_intact(store, billing, key_of):
    def work(tx):
        tx.add_key(key_of(billing.uid, 1, 1))
        with pytest.raises(Misconfigured, match="conflict"):
            tx.add_key(key_of(billing.uid, 2, 1))
        tx.add_key(key_of(billing.uid, 2, 2))

    await store.change(work)
    assert [key.kvno for key in await store.read(lambda tx: tx.keys_of(billing.uid))] == [1, 2]


async def test_a_key_needs_its_principal(store, billing, key_of):
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.add_key(key_of(billing.uid + 1, 1, 1)))


async def test_a_key_goes_through_its_states(store, billing, key_of):
    record = key_of(billing.uid, 1, 1, state=KEY_PREPARED)
    await store.change(lambda tx: tx.add_key(record))
    for state in (KEY_ACTIVE, KEY_DRAINING):
        record = evolve(record, state=state)
        await store.change(lambda tx, record=record: tx.set_key(record))
        assert await store.read(lambda tx: tx.keys_of(billing.uid)) == (record,)
    tombstone = evolve(record, state=KEY_RETIRED, retired=99, sealed=b"", sealed_as=b"login")
    await store.change(lambda tx: tx.set_key(tombstone))
    assert await store.read(lambda tx: tx.key_by_as_kid(record.kid_as)) == tombstone


async def test_there_is_no_state_but_these(billing, key_of):
    with pytest.raises(ValueError, match="state"):
        key_of(billing.uid, 1, 1, state="resting")


@pytest.mark.parametrize(
    "changes", [{"kid_as": bytes(8)}, {"kid_ticket": bytes(8)}, {"kid_sync": bytes(8)}, {"created": 1}]
)
async def test_what_names_a_key_cannot_change(store, billing, key_of, changes):
    record = key_of(billing.uid, 1, 1)
    await store.change(lambda tx: tx.add_key(record))
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.set_key(evolve(record, **changes)))
    assert await store.read(lambda tx: tx.keys_of(billing.uid)) == (record,)


async def test_only_a_stored_key_can_be_set(store, billing, key_of):
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.set_key(key_of(billing.uid, 1, 1)))


async def test_old_tombstones_go_but_the_newest_version_keeps_its_number(store, billing, payroll, key_of):
    def fill(tx):
        for kvno in (1, 2):
            tx.add_key(key_of(billing.uid, kvno, kvno, state=KEY_RETIRED, retired=kvno, sealed=b"", sealed_as=b"as"))
        tx.add_key(key_of(payroll.uid, 1, 3, state=KEY_RETIRED, retired=50, sealed=b"", sealed_as=b"as"))
        tx.add_key(key_of(payroll.uid, 2, 4))

    await store.change(fill)
    assert await store.change(lambda tx: tx.delete_tombstones(retired_before=50)) == 2
    (left,) = await store.read(lambda tx: tx.keys_of(billing.uid))
    assert (left.kvno, left.sealed, left.sealed_as) == (2, b"", b"")
    assert [key.kvno for key in await store.read(lambda tx: tx.keys_of(payroll.uid))] == [1, 2]
    assert await store.read(lambda tx: tx.key_by_as_kid(key_of(0, 1, 1).kid_as)) is None


async def test_erasing_tombstones_twice_finds_nothing_the_second_time(store, billing, key_of):
    record = key_of(billing.uid, 1, 1, state=KEY_RETIRED, retired=1, sealed=b"", sealed_as=b"as")
    await store.change(lambda tx: tx.add_key(record))
    assert await store.change(lambda tx: tx.delete_tombstones(retired_before=2)) == 1
    before = store.peek_head()
    assert await store.change(lambda tx: tx.delete_tombstones(retired_before=2)) == 0
    assert store.peek_head() == before


async def test_realm_keys_come_in_order_and_can_be_erased(store):
    def key(role, name, number):
        return RealmKeyRecord(role=role, name=name, number=number, created=1, sealed=b"s%d" % number)

    added = [key("tgt", "kdc/tgt", 2), key("ticket", "kdc/keys", 1), key("kdcmac", "kdc", 1), key("tgt", "kdc/tgt", 1)]

    def fill(tx):
        for record in added:
            tx.add_realm_key(record)

    await store.change(fill)
    assert await store.read(lambda tx: tx.realm_keys()) == (added[2], added[3], added[0], added[1])
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_realm_key(evolve(added[0], sealed=b"other")))
    await store.change(lambda tx: tx.delete_realm_key("tgt", "kdc/tgt", 1))
    assert added[3] not in await store.read(lambda tx: tx.realm_keys())
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.delete_realm_key("tgt", "kdc/tgt", 1))


async def test_the_newest_jwt_key_comes_first_even_within_one_second(store, billing):
    for kid in ("old", "new"):
        await store.change(lambda tx, kid=kid: tx.add_jwt_key(jwt_key(billing.uid, kid)))
    found = await store.read(lambda tx: tx.jwt_keys_of(billing.uid))
    assert found == (jwt_key(billing.uid, "new"), jwt_key(billing.uid, "old"))


async def test_jwt_keys_are_named_once_per_target(store, billing, payroll):
    await store.change(lambda tx: tx.add_jwt_key(jwt_key(billing.uid, "a")))
    await store.change(lambda tx: tx.add_jwt_key(jwt_key(payroll.uid, "a")))
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_jwt_key(jwt_key(billing.uid, "a", alg="HS512")))
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.add_jwt_key(jwt_key(payroll.uid + 1, "a")))


async def test_a_deleted_jwt_key_is_gone_and_the_other_stays(store, billing):
    for kid in ("a", "b"):
        await store.change(lambda tx, kid=kid: tx.add_jwt_key(jwt_key(billing.uid, kid)))
    await store.change(lambda tx: tx.delete_jwt_key(billing.uid, "b"))
    assert await store.read(lambda tx: tx.jwt_keys_of(billing.uid)) == (jwt_key(billing.uid, "a"),)
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.delete_jwt_key(billing.uid, "b"))


async def test_jwt_keys_go_with_their_target(store, billing):
    await store.change(lambda tx: tx.add_jwt_key(jwt_key(billing.uid, "a")))
    await store.change(lambda tx: tx.delete_principal(billing.uid))
    assert await store.read(lambda tx: tx.jwt_keys_of(billing.uid)) == ()


async def test_sealed_bytes_are_not_shown(billing, key_of):
    """Lesson 11: not even sealed secrets in a log."""
    shown = repr([key_of(billing.uid, 1, 1, sealed=b"secret"), jwt_key(billing.uid, "a", sealed=b"secret")])
    assert "secret" not in shown


@pytest.mark.parity("K13")
async def test_secrets_are_counted_by_how_they_begin_and_erased_ones_are_not(store, billing, key_of):
    """The master key may go when nothing is left that another one than the next has sealed."""

    def fill(tx):
        tx.add_key(key_of(billing.uid, 1, 1, state=KEY_RETIRED, retired=1, sealed=b"", sealed_as=b"old as"))
        tx.add_key(key_of(billing.uid, 2, 2, state=KEY_RETIRED, retired=1, sealed=b"", sealed_as=b""))
        tx.add_key(key_of(billing.uid, 3, 3, sealed=b"new root"))
        tx.add_key(key_of(billing.uid, 4, 4, sealed=b"ne"))
        tx.add_realm_key(RealmKeyRecord(role="tgt", name="kdc/tgt", number=1, created=1, sealed=b"old tgt"))
        tx.add_jwt_key(jwt_key(billing.uid, "a", sealed=b"new jwt"))

    assert await store.read(lambda tx: tx.count_secrets_without(b"new")) == 0
    await store.change(fill)
    assert await store.read(lambda tx: tx.count_secrets_without(b"new")) == 3
    assert await store.read(lambda tx: tx.count_secrets_without(b"old")) == 3
    await store.change(lambda tx: tx.delete_realm_key("tgt", "kdc/tgt", 1))
    assert await store.read(lambda tx: tx.count_secrets_without(b"new")) == 2


async def test_the_key_check_can_be_replaced_and_nothing_else_with_it(store, realm_record):
    with pytest.raises(Misconfigured, match="database-invalid"):
        await store.change(lambda tx: tx.set_key_check(b"d" * 32))
    await store.change(lambda tx: tx.create_realm(realm_record))
    before = store.peek_head()
    await store.change(lambda tx: tx.set_key_check(b"d" * 32))
    assert store.peek_head() != before
    assert await store.read(lambda tx: tx.realm()) == evolve(realm_record, key_check=b"d" * 32)
