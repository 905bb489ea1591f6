"""The realm as the token service sees it: OAuth clients and the keys that tokens were made with."""

import pytest
from attrs import evolve

from orthros_kdc.admin import Admin, jwt_keys, keys, oauth_secrets, principals, realm
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_protocol.primitives.instants import Timestamp
from tests.support.realm_views import PromptView
from tests.support.stores import scratch_store


class NoTrail:
    def record_all(self, tx, changes):
        """These tests are not about the audit log."""


@pytest.fixture
async def admin():
    vault = Vault(realm="example.org", master=MasterKey(bytes(range(32)), number=1))
    now = Timestamp(1_800_000_000_000)
    made = Admin(store=scratch_store(), vault=vault, audit=NoTrail(), now_ms=lambda: now, actor="ada")
    await realm.init(made)
    await principals.add(made, "billing", max_jwt_s=60)
    return made


@pytest.fixture
def view(admin):
    return PromptView(admin.store, admin.vault)


async def client(view, name="billing"):
    return await view.settled(lambda moment: moment.oauth_client(name))


async def test_an_oauth_client_is_seen_with_its_live_secrets(admin, view):
    assert await client(view, "nobody") is None
    assert (await client(view)).secrets == ()
    first = await oauth_secrets.enable(admin, "billing")
    second = await oauth_secrets.rotate(admin, "billing")
    seen = await client(view)
    assert [secret.text for secret in seen.secrets] == [second.text, first.text]
    assert (seen.principal.oauth, seen.caps.max_jwt_s) == (True, 60)
    assert first.text not in repr(seen)


async def test_what_was_seen_is_remembered_until_something_changes(admin, view):
    await oauth_secrets.enable(admin, "billing")
    seen = await client(view)
    assert await client(view) is seen
    uid = seen.principal.uid
    await admin.store.change(lambda tx: tx.remember("assertion", uid, b"jti", until=9, now=1))
    assert await client(view) is seen
    (secret,) = seen.secrets
    await oauth_secrets.retire(admin, "billing", secret.secret_id)
    assert (await client(view)).secrets == ()


async def test_a_disabled_principal_is_still_seen_as_such(admin, view):
    """The view tells facts; who may ask is decided elsewhere."""
    await oauth_secrets.enable(admin, "billing")
    await principals.disable(admin, "billing")
    seen = await client(view)
    assert (seen.principal.disabled, len(seen.secrets)) == (True, 1)


async def test_secrets_of_a_principal_that_is_no_client_are_not_opened(admin, view):
    await oauth_secrets.enable(admin, "billing")
    record = (await principals.show(admin, "billing")).record
    await admin.store.change(lambda tx: tx.set_principal(evolve(record, oauth=False)))
    assert (await client(view)).secrets == ()


async def test_a_target_is_seen_with_all_its_live_keys(admin, view):
    """Tokens made before a rotation are introspected with the key that made them."""
    before = await view.settled(lambda moment: moment.target("billing"))
    assert (before.jwt_key, before.jwt_keys, before.facts.jwt_alg) == (None, (), None)
    first = await jwt_keys.enable(admin, "billing", alg="opaque")
    second = await jwt_keys.rotate(admin, "billing")
    seen = await view.settled(lambda moment: moment.target("billing"))
    assert [key.kid for key in seen.jwt_keys] == [second.kid, first.kid]
    assert (seen.jwt_key, seen.facts.jwt_alg) == (seen.jwt_keys[0], "opaque")


@pytest.mark.parity("K2")
async def test_a_client_is_seen_with_every_key_that_tickets_for_it_may_be_under(admin, view):
    """Evidence of before a rotation opens, as long as that version has not been retired."""
    uid = (await principals.show(admin, "billing")).record.uid
    await keys.rotate(admin, "billing")
    await keys.activate(admin, "billing")
    seen = await view.settled(lambda moment: moment.client(uid))
    assert sorted(key.kvno for key in seen.ticket_keys.values()) == [1, 2]
    assert all(key.kid == kid for kid, key in seen.ticket_keys.items())
    assert "TicketKey" not in repr(seen)
    await keys.retire(admin, "billing", 1)
    seen = await view.settled(lambda moment: moment.client(uid))
    assert [key.kvno for key in seen.ticket_keys.values()] == [2]
    assert len(seen.live_login_kids) == 1


async def test_a_principal_is_remembered_until_something_changes(admin, view):
    assert await view.settled(lambda moment: moment.principal("nobody")) is None
    seen = await view.settled(lambda moment: moment.principal("billing"))
    assert await view.settled(lambda moment: moment.principal("billing")) is seen
    await principals.disable(admin, "billing")
    assert (await view.settled(lambda moment: moment.principal("billing"))).disabled
