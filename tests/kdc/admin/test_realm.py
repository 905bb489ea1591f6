"""Creating a realm, changing its limits, rotating its own keys."""

import pytest

from orthros_kdc.admin import realm
from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.realm.vault import open_vault
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import KDC_ADMIN, KDC_KEYS, KDC_TGT

DAY = 24 * 3600


def numbers(shown):
    return sorted({key.number for key in shown.keys})


async def test_init_makes_a_realm_with_all_its_keys(nobodys_realm, trail, vault):
    record = await realm.init(nobodys_realm)
    assert (record.realm, record.issuer, record.limits) == ("example.org", "https://example.org", RealmLimits())
    shown = await realm.show(nobodys_realm)
    assert shown.record == record
    by_name = {(key.role, key.name): key for key in shown.keys}
    assert set(by_name) == {("tgt", KDC_TGT), ("ticket", KDC_KEYS), ("ticket", KDC_ADMIN), ("kdcmac", "kdc")}
    materials = {
        vault.tgt_key(by_name["tgt", KDC_TGT]).material,
        vault.service_key(by_name["ticket", KDC_KEYS]).material,
        vault.service_key(by_name["ticket", KDC_ADMIN]).material,
        vault.kdcmac_key(by_name["kdcmac", "kdc"]).material,
    }
    assert len(materials) == 4
    assert trail.names == ["realm.initialised"]


async def test_init_takes_issuer_and_limits(nobodys_realm):
    limits = RealmLimits(max_ticket_s=600, max_tgt_s=1200, max_jwt_s=60)
    record = await realm.init(nobodys_realm, issuer="https://id.example.org/orthros", limits=limits)
    assert (record.issuer, record.limits) == ("https://id.example.org/orthros", limits)


async def test_init_runs_once(admin, trail, store):
    before = await realm.show(admin)
    with pytest.raises(Misconfigured, match="already-exists"):
        await realm.init(admin, issuer="https://other")
    assert await realm.show(admin) == before
    assert trail.names == []


async def test_the_master_key_is_recognised_afterwards(admin, store, vault):
    assert (await open_vault(store, vault.master)).realm == "example.org"


@pytest.mark.parametrize("issuer", ["", "example.org", "ftp://example.org", "https://", "https://a b", "https://ä"])
async def test_the_issuer_is_a_url(nobodys_realm, issuer):
    with pytest.raises(Misconfigured, match="value-invalid"):
        await realm.init(nobodys_realm, issuer=issuer)


async def test_issuer_and_limits_change_one_at_a_time(admin, trail):
    limits = {"max_ticket_s": 600}
    await realm.change(admin, limits=limits)
    after = await realm.change(admin, issuer="https://id.example.org")
    assert (after.issuer, after.limits) == ("https://id.example.org", RealmLimits(**limits))
    assert trail.names == ["realm.changed", "realm.changed"]


async def test_limits_are_positive():
    with pytest.raises(Misconfigured, match="value-invalid"):
        RealmLimits(max_tgt_s=0)


async def test_realm_keys_rotate_together_and_old_ones_stay(admin, trail):
    """Section 8: TGT and kdcmac keys rotate on their own: next, current, previous by kid."""
    assert await realm.rotate_keys(admin) == 2
    shown = await realm.show(admin)
    assert numbers(shown) == [1, 2]
    assert len(shown.keys) == 8
    assert trail.names == ["realm.key-rotated"]


async def test_a_realm_key_goes_when_no_ticket_can_need_it_any_more(admin, trail, clock):
    clock.seconds += 30 * DAY  # an old key without a successor stays however old it is
    assert await realm.erase_old_keys(admin) == 0
    await realm.rotate_keys(admin)
    clock.seconds += 3600 + 300
    assert await realm.erase_old_keys(admin) == 0
    assert numbers(await realm.show(admin)) == [1, 2]
    clock.seconds += 1
    assert await realm.erase_old_keys(admin) == 4
    assert numbers(await realm.show(admin)) == [2]
    assert trail.names == ["realm.key-rotated", "realm.key-erased"]


async def test_a_realm_key_stays_while_a_token_with_its_mark_lives(admin, clock):
    """A live token whose mark cannot be checked could neither be introspected nor revoked."""
    await realm.change(admin, limits={"max_jwt_s": 2 * 3600})
    await realm.rotate_keys(admin)
    clock.seconds += 2 * 3600 + 300
    assert await realm.erase_old_keys(admin) == 0
    clock.seconds += 1
    assert await realm.erase_old_keys(admin) == 4
