"""Adding, disabling, capping and deleting principals."""

import pytest

from orthros_kdc.admin import groups, jwt_keys, oauth_secrets, principals, rules
from orthros_kdc.store.base import KEY_ACTIVE
from orthros_protocol.errors import Misconfigured


async def test_a_new_principal_gets_a_full_key_file_of_version_one(admin, vault, trail):
    keytab = await principals.add(admin, "billing")
    assert str(keytab.principal) == "billing@example.org"
    assert (keytab.kvnos, keytab.is_verify_only) == ((1,), False)
    shown = await principals.show(admin, "billing")
    assert (shown.record.uid, shown.record.disabled) == (keytab.uid, False)
    (key,) = shown.keys
    assert key.state == KEY_ACTIVE
    assert vault.root_key(shown.record, key).material == keytab.root_key().material
    assert trail.names == ["principal.added"]


async def test_a_key_in_the_file_is_the_one_that_the_kdc_looks_up(admin, store, vault):
    keytab = await principals.add(admin, "billing")
    login = keytab.as_key()
    record = await store.read(lambda tx: tx.key_by_as_kid(login.kid))
    shown = await principals.show(admin, "billing")
    assert vault.as_key(shown.record, record).material == login.material


@pytest.mark.parametrize(
    ("name", "code"),
    [("billing", "already-exists"), ("kdc/keys", "conflict"), ("kdc", "conflict"), ("Billing", "name-invalid")],
)
async def test_a_name_that_cannot_be_had_gives_no_key_and_no_event(admin, trail, name, code):
    await principals.add(admin, "billing")
    with pytest.raises(Misconfigured, match=code):
        await principals.add(admin, name)
    assert trail.names == ["principal.added"]


async def test_no_principal_before_the_realm(nobodys_realm):
    with pytest.raises(Misconfigured, match="database-invalid"):
        await principals.add(nobodys_realm, "billing")


async def test_principals_are_listed_in_pages(admin):
    for name in ("c", "a", "b"):
        await principals.add(admin, name)
    assert [record.name for record in await principals.page(admin, most=2)] == ["a", "b"]
    assert [record.name for record in await principals.page(admin, after="b")] == ["c"]


async def test_showing_a_principal_shows_what_reaches_it_through_groups(admin):
    for name in ("billing", "payroll", "audit"):
        await principals.add(admin, name)
    for group in ("callers", "others"):
        await groups.add(admin, group)
    await groups.add_member(admin, "callers", "billing")
    mine = await rules.allow(admin, "billing", "payroll")
    through = await rules.allow(admin, "audit", "group:callers")
    await rules.allow(admin, "audit", "group:others")
    shown = await principals.show(admin, "billing")
    assert (shown.groups, shown.rules) == (("callers",), (mine, through))


@pytest.mark.parity("P10")
async def test_disable_and_enable_each_leave_one_event(admin, trail):
    """One command, audited."""
    await principals.add(admin, "billing")
    assert await principals.disable(admin, "billing")
    assert (await principals.show(admin, "billing")).record.disabled
    assert not await principals.disable(admin, "billing")
    assert await principals.enable(admin, "billing")
    assert not await principals.enable(admin, "billing")
    assert not (await principals.show(admin, "billing")).record.disabled
    assert trail.names == ["principal.added", "principal.disabled", "principal.enabled"]


async def test_caps_are_set_and_lifted(admin, trail):
    await principals.add(admin, "billing")
    await principals.set_caps(admin, "billing", max_ticket_s=600, max_jwt_s=None)
    record = (await principals.show(admin, "billing")).record
    assert (record.max_ticket_s, record.max_jwt_s) == (600, None)
    record = await principals.set_caps(admin, "billing", max_ticket_s=None, max_jwt_s=60)
    assert (record.max_ticket_s, record.max_jwt_s) == (None, 60)
    for beyond in (0, 2**63):
        with pytest.raises(Misconfigured, match="value-invalid"):
            await principals.set_caps(admin, "billing", max_ticket_s=beyond, max_jwt_s=None)
    assert trail.names == ["principal.added", "principal.capped", "principal.capped"]


@pytest.mark.parity("H5")
async def test_networks_are_set_in_canonical_form_and_lifted(admin, trail):
    """An IP rule per principal; what is not named stays."""
    await principals.add(admin, "billing")
    record = await principals.set_caps(
        admin,
        "billing",
        max_ticket_s=60,
        max_jwt_s=None,
        sources=["2001:DB8:0::/32", "::ffff:10.0.0.0/104", "192.0.2.7"],
    )
    assert record.sources == ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
    assert (await principals.show(admin, "billing")).record == record
    assert (await principals.set_caps(admin, "billing", max_ticket_s=9, max_jwt_s=9)).sources == record.sources
    with pytest.raises(Misconfigured, match="value-invalid"):
        await principals.set_caps(admin, "billing", max_ticket_s=9, max_jwt_s=9, sources=["10.0.0.1/8"])
    assert (await principals.set_caps(admin, "billing", max_ticket_s=9, max_jwt_s=9, sources=[])).sources == ()
    told = [facts["sources"] for name, facts in trail.events if name == "principal.capped"]
    assert told == [" ".join(record.sources), " ".join(record.sources), ""]


async def test_a_limit_that_is_not_named_stays_as_another_admin_left_it(admin):
    """An acknowledged limit is not undone by the next admin, who has read the record before it was set."""
    await principals.add(admin, "billing")
    await principals.set_caps(admin, "billing", max_jwt_s=60, sources=["10.0.0.0/8"])
    record = await principals.set_caps(admin, "billing", max_ticket_s=600)
    assert (record.max_ticket_s, record.max_jwt_s, record.sources) == (600, 60, ("10.0.0.0/8",))


@pytest.mark.parity("K20")
async def test_a_recreated_name_is_somebody_else(admin, store):
    """A re-created name does not inherit rights: no rule, no membership, no key, no JWTs."""
    old = await principals.add(admin, "billing")
    await principals.add(admin, "payroll")
    await groups.add(admin, "callers")
    await groups.add_member(admin, "callers", "billing")
    await rules.allow(admin, "billing", "payroll", scopes=("read",))
    await rules.allow(admin, "payroll", "billing")
    kept = await rules.allow(admin, "group:callers", "payroll")
    await jwt_keys.enable(admin, "billing", claims=["tenant"])
    await oauth_secrets.enable(admin, "billing")
    await principals.set_caps(admin, "billing", max_ticket_s=None, max_jwt_s=None, sources=["10.0.0.0/8"])

    await principals.delete(admin, "billing")
    new = await principals.add(admin, "billing")

    assert new.uid > old.uid
    shown = await principals.show(admin, "billing")
    assert (shown.groups, shown.rules, shown.jwt_keys, shown.record.jwt_alg) == ((), (), (), None)
    assert (shown.record.oauth, shown.oauth_secrets, shown.record.sources, shown.record.token_claims) == (
        False, (), (), (),
    )  # fmt: skip
    assert await rules.listed(admin) == (kept,)
    assert await groups.show(admin, "callers") == frozenset()
    assert await store.read(lambda tx: tx.key_by_as_kid(old.as_key().kid)) is None


async def test_deleting_leaves_one_event_whatever_goes_along(admin, trail):
    await principals.add(admin, "billing")
    await principals.add(admin, "payroll")
    for pair in (("payroll", "payroll"), ("billing", "payroll"), ("payroll", "billing")):
        await rules.allow(admin, *pair)
    await groups.add(admin, "callers")
    await groups.add_member(admin, "callers", "billing")
    trail.events.clear()
    await principals.delete(admin, "billing")
    ((event, facts),) = trail.events
    assert (event, facts["rules"], facts["groups"]) == ("principal.deleted", "2 3", "callers")


@pytest.mark.parametrize("case", ["show", "disable", "enable", "delete"])
async def test_nobody_is_not_found(admin, trail, case):
    with pytest.raises(Misconfigured, match="not-found"):
        await getattr(principals, case)(admin, "nobody")
    with pytest.raises(Misconfigured, match="not-found"):
        await principals.set_caps(admin, "nobody", max_ticket_s=1, max_jwt_s=1)
    assert trail.names == []


@pytest.mark.parity("B2")
async def test_a_deletion_that_was_agreed_to_is_not_of_a_later_principal_of_the_name(admin):
    """What a person has read is about the one principal."""
    await principals.add(admin, "shop")
    seen = await principals.foresee_deletion(admin, "shop")
    await principals.delete(admin, "shop")
    later = (await principals.add(admin, "shop")).uid
    with pytest.raises(Misconfigured, match="conflict"):
        await principals.delete(admin, "shop", seen=seen)
    assert (await principals.delete(admin, "shop", seen=await principals.foresee_deletion(admin, "shop"))).uid == later
