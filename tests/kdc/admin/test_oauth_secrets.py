"""OAuth clients: enabled once, two secrets at a time, nothing left behind."""

import inspect

import pytest
from attrs import evolve

from orthros_kdc.admin import oauth_secrets, principals
from orthros_protocol.errors import Misconfigured


@pytest.fixture
async def admin(admin, trail):
    for name in ("billing", "orders"):
        await principals.add(admin, name)
    trail.events.clear()
    return admin


async def ids(admin, name="billing"):
    (client,) = await oauth_secrets.listed(admin, name)
    return [held.secret_id for held in client.secrets]


async def test_nobody_is_an_oauth_client_until_it_is_enabled(admin, trail):
    assert not (await principals.show(admin, "billing")).record.oauth
    assert await oauth_secrets.listed(admin) == ()
    for case in (oauth_secrets.rotate, oauth_secrets.disable, oauth_secrets.listed):
        with pytest.raises(Misconfigured, match="not-found"):
            await case(admin, "billing")
    with pytest.raises(Misconfigured, match="not-found"):
        await oauth_secrets.retire(admin, "billing", "0" * 16)
    assert trail.names == []


async def test_an_enabled_client_has_one_secret_that_its_row_opens_to(admin, vault):
    secret = await oauth_secrets.enable(admin, "billing")
    (client,) = await oauth_secrets.listed(admin)
    assert (client.record.name, client.record.oauth) == ("billing", True)
    assert [vault.oauth_secret(held).text for held in client.secrets] == [secret.text]
    assert (await principals.show(admin, "billing")).oauth_secrets == client.secrets
    with pytest.raises(Misconfigured, match="already-exists"):
        await oauth_secrets.enable(admin, "billing")
    assert await ids(admin) == [secret.secret_id]


async def test_two_secrets_live_and_a_third_pushes_out_the_oldest(admin, trail):
    first = await oauth_secrets.enable(admin, "billing")
    second = await oauth_secrets.rotate(admin, "billing")
    assert await ids(admin) == [second.secret_id, first.secret_id]
    third = await oauth_secrets.rotate(admin, "billing")
    assert await ids(admin) == [third.secret_id, second.secret_id]
    assert [facts["erased"] for name, facts in trail.events if name == "oauth.secret-added"] == [0, 1]


async def test_a_retired_secret_is_gone_at_once_and_the_other_stays(admin, trail):
    first = await oauth_secrets.enable(admin, "billing")
    second = await oauth_secrets.rotate(admin, "billing")
    assert await oauth_secrets.retire(admin, "billing", first.secret_id) == 1
    assert await ids(admin) == [second.secret_id]
    with pytest.raises(Misconfigured, match="not-found"):
        await oauth_secrets.retire(admin, "billing", first.secret_id)
    assert await oauth_secrets.retire(admin, "billing", second.secret_id) == 0
    assert await ids(admin) == []
    assert trail.names == ["oauth.enabled", "oauth.secret-added", "oauth.secret-retired", "oauth.secret-retired"]


async def test_a_secret_is_retired_for_its_own_principal_alone(admin):
    await oauth_secrets.enable(admin, "billing")
    theirs = await oauth_secrets.enable(admin, "orders")
    with pytest.raises(Misconfigured, match="not-found"):
        await oauth_secrets.retire(admin, "billing", theirs.secret_id)
    assert await ids(admin, "orders") == [theirs.secret_id]


async def test_disabling_erases_the_secrets_and_enabling_again_makes_another(admin):
    first = await oauth_secrets.enable(admin, "billing")
    await oauth_secrets.disable(admin, "billing")
    shown = await principals.show(admin, "billing")
    assert (shown.record.oauth, shown.oauth_secrets) == (False, ())
    again = await oauth_secrets.enable(admin, "billing")
    assert again.text != first.text
    assert await ids(admin) == [again.secret_id]


async def test_all_clients_are_listed_in_name_order_page_by_page(admin, monkeypatch):
    monkeypatch.setattr("orthros_kdc.admin.oauth_secrets._PAGE", 1)
    for name in ("orders", "billing"):
        await oauth_secrets.enable(admin, name)
    assert [client.record.name for client in await oauth_secrets.listed(admin)] == ["billing", "orders"]


async def test_nobody_is_not_found(admin):
    for case in (oauth_secrets.enable, oauth_secrets.disable, oauth_secrets.rotate, oauth_secrets.listed):
        with pytest.raises(Misconfigured, match="not-found"):
            await case(admin, "nobody")


@pytest.mark.parity("L2", "L3")
def test_no_use_case_takes_a_secret():
    """Secrets are generated only; there is no way to choose one."""
    assert list(inspect.signature(oauth_secrets.enable).parameters) == ["admin", "name", "default_audience"]
    assert list(inspect.signature(oauth_secrets.rotate).parameters) == ["admin", "name"]


async def test_a_client_has_a_default_target_until_it_is_taken_away(admin, trail):
    await oauth_secrets.enable(admin, "billing", default_audience="orders")
    assert (await principals.show(admin, "billing")).record.default_audience == "orders"
    assert (await principals.foresee_deletion(admin, "orders")).clients == ("billing",)
    await oauth_secrets.set_default_audience(admin, "billing", "billing")
    await oauth_secrets.set_default_audience(admin, "billing", None)
    assert (await principals.show(admin, "billing")).record.default_audience is None
    assert (await principals.foresee_deletion(admin, "orders")).clients == ()
    assert [(name, facts["target"]) for name, facts in trail.events] == [
        ("oauth.enabled", "orders"), ("oauth.audience-changed", "billing"), ("oauth.audience-changed", None),
    ]  # fmt: skip


async def test_a_default_target_must_be_there_when_it_is_named(admin, trail):
    with pytest.raises(Misconfigured, match="principal nobody"):
        await oauth_secrets.enable(admin, "billing", default_audience="nobody")
    with pytest.raises(Misconfigured, match="oauth enable"):
        await oauth_secrets.set_default_audience(admin, "billing", "orders")
    await oauth_secrets.enable(admin, "billing", default_audience="orders")
    with pytest.raises(Misconfigured, match="principal nobody"):
        await oauth_secrets.set_default_audience(admin, "billing", "nobody")
    assert (await principals.show(admin, "billing")).record.default_audience == "orders"
    assert trail.names == ["oauth.enabled"]


@pytest.mark.parity("K20")
async def test_a_default_target_goes_with_the_principal(admin, trail):
    """A later principal of the name is not asked for tokens in place of the one that was meant."""
    await oauth_secrets.enable(admin, "billing", default_audience="orders")
    await principals.delete(admin, "orders")
    assert trail.events[-1][1]["default_audience_of"] == "billing"
    await principals.add(admin, "orders")
    (client,) = await oauth_secrets.listed(admin)
    assert (client.record.default_audience, client.default_is_gone) == (None, False)


async def test_a_default_target_that_an_older_program_left_is_told(admin):
    await oauth_secrets.enable(admin, "billing", default_audience="orders")
    record = (await principals.show(admin, "billing")).record
    await admin.store.change(lambda tx: tx.set_principal(evolve(record, default_audience="gone")))
    (client,) = await oauth_secrets.listed(admin)
    assert (client.record.default_audience, client.default_is_gone) == ("gone", True)


async def test_disabling_takes_the_default_away(admin):
    await oauth_secrets.enable(admin, "billing", default_audience="orders")
    await oauth_secrets.disable(admin, "billing")
    await oauth_secrets.enable(admin, "billing")
    assert (await principals.show(admin, "billing")).record.default_audience is None
