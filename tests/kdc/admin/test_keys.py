"""Rotating, activating, retiring and exporting key versions."""

import pytest

from orthros_kdc.admin import keys, principals
from orthros_kdc.store.base import KEY_ACTIVE, KEY_DRAINING, KEY_PREPARED, KEY_RETIRED
from orthros_protocol.errors import Misconfigured

DAY = 24 * 3600


@pytest.fixture
async def first(admin, trail):
    """The key file that billing was created with."""
    keytab = await principals.add(admin, "billing")
    trail.events.clear()
    return keytab


async def states(admin):
    return {key.kvno: key.state for key in await keys.listed(admin, "billing")}


@pytest.mark.parity("K2")
async def test_rotation_prepares_a_version_and_hands_out_both(admin, first, trail):
    """The old version stays in use until the new one is activated."""
    keytab = await keys.rotate(admin, "billing")
    assert keytab.kvnos == (1, 2)
    assert keytab.root_key().kvno == 2
    assert keytab.ticket_key(first.root_key().ticket_key().kid) is not None
    assert await states(admin) == {1: KEY_ACTIVE, 2: KEY_PREPARED}
    assert trail.names == ["key.rotated"]


@pytest.mark.parity("K2", "B1")
async def test_the_full_life_of_a_version(admin, first, trail):
    """Next, current, previous, gone."""
    await keys.rotate(admin, "billing")
    assert await keys.activate(admin, "billing") == 2
    assert await states(admin) == {1: KEY_DRAINING, 2: KEY_ACTIVE}
    await keys.retire(admin, "billing", 1)
    assert await states(admin) == {1: KEY_RETIRED, 2: KEY_ACTIVE}
    assert (await keys.export(admin, "billing")).kvnos == (2,)
    assert trail.names == ["key.rotated", "key.activated", "key.retired", "key.exported"]


async def test_one_version_is_prepared_at_a_time(admin, first, trail):
    await keys.rotate(admin, "billing")
    with pytest.raises(Misconfigured, match="conflict"):
        await keys.rotate(admin, "billing")
    assert await states(admin) == {1: KEY_ACTIVE, 2: KEY_PREPARED}
    assert trail.names == ["key.rotated"]


async def test_a_prepared_version_can_be_given_up_and_its_number_is_not_reused(admin, first):
    await keys.rotate(admin, "billing")
    await keys.retire(admin, "billing", 2)
    assert (await keys.rotate(admin, "billing")).kvnos == (1, 3)


async def test_there_must_be_something_to_activate(admin, first, trail):
    with pytest.raises(Misconfigured, match="not-found"):
        await keys.activate(admin, "billing")
    assert trail.names == []


async def test_the_active_version_is_not_retired_by_accident(admin, first, trail):
    with pytest.raises(Misconfigured, match="conflict"):
        await keys.retire(admin, "billing", 1)
    assert await states(admin) == {1: KEY_ACTIVE}
    await keys.retire(admin, "billing", 1, force=True)
    assert await states(admin) == {1: KEY_RETIRED}
    with pytest.raises(Misconfigured, match="key-missing"):
        await keys.export(admin, "billing")
    assert trail.names == ["key.retired"]


async def test_a_version_retires_once_and_only_if_it_exists(admin, first):
    await keys.retire(admin, "billing", 1, force=True)
    with pytest.raises(Misconfigured, match="conflict"):
        await keys.retire(admin, "billing", 1)
    with pytest.raises(Misconfigured, match="not-found"):
        await keys.retire(admin, "billing", 2)


async def test_a_retired_root_is_gone_but_its_login_key_explains_for_thirty_days(admin, first, vault, clock, trail):
    """Tombstones."""
    await keys.rotate(admin, "billing")
    await keys.activate(admin, "billing")
    await keys.retire(admin, "billing", 1)
    record = (await principals.show(admin, "billing")).record
    tombstone = (await keys.listed(admin, "billing"))[0]
    assert tombstone.sealed == b""
    assert vault.as_key(record, tombstone).material == first.as_key().material

    clock.seconds += 30 * DAY
    assert await keys.erase_tombstones(admin) == 0
    clock.seconds += 1
    assert await keys.erase_tombstones(admin) == 1
    assert await keys.erase_tombstones(admin) == 0
    assert await states(admin) == {2: KEY_ACTIVE}
    assert trail.names[3:] == ["key.tombstones-erased"]


@pytest.mark.parametrize(
    "change", [keys.rotate, lambda admin, name: keys.retire(admin, name, 1)], ids=["rotate", "retire"]
)
async def test_rotate_and_retire_erase_old_tombstones_of_the_whole_realm(admin, first, clock, trail, change):
    await principals.add(admin, "orders")
    for name in ("billing", "orders"):
        await keys.rotate(admin, name)
        await keys.activate(admin, name)
    await keys.retire(admin, "orders", 1)
    clock.seconds += 30 * DAY
    trail.events.clear()
    await keys.rotate(admin, "orders")
    clock.seconds += 1
    await change(admin, "billing")
    assert [key.kvno for key in await keys.listed(admin, "orders")] == [2, 3]
    assert [facts["tombstones_erased"] for _, facts in trail.events] == [0, 1]


async def test_export_hands_out_the_stored_versions_again(admin, first):
    await keys.rotate(admin, "billing")
    exported = await keys.export(admin, "billing")
    assert exported.kvnos == (1, 2)
    assert exported.as_key().kvno == 2
    assert exported.ticket_key(first.root_key().ticket_key().kid) is not None


@pytest.mark.parity("B9", "Z3")
async def test_a_verify_only_export_opens_tickets_and_cannot_log_in(admin, first):
    exported = await keys.export(admin, "billing", verify_only=True)
    assert exported.is_verify_only
    assert exported.ticket_key(first.root_key().ticket_key().kid) is not None
    with pytest.raises(Misconfigured, match="key-missing"):
        exported.as_key()
    with pytest.raises(Misconfigured, match="key-missing"):
        exported.root_key()


async def test_exports_are_events_of_their_own(admin, first, trail):
    """Lesson 22: a stored key does not leave unseen."""
    await keys.export(admin, "billing")
    await keys.export(admin, "billing", verify_only=True)
    assert trail.names == ["key.exported", "key.exported"]
    assert [facts["kind"] for _, facts in trail.events] == ["full", "verify-only"]


async def test_no_export_when_it_cannot_be_recorded(admin, first, trail):
    trail.broken = True
    with pytest.raises(OSError, match="full"):
        await keys.export(admin, "billing")


@pytest.mark.parametrize("case", ["listed", "rotate", "activate", "export"])
async def test_nobody_is_not_found(admin, trail, case):
    with pytest.raises(Misconfigured, match="not-found"):
        await getattr(keys, case)(admin, "nobody")
    assert trail.names == []
