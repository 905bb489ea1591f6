"""The vault: keys come out of records as they went in, and out of no other record."""

import base64
import copy
import hashlib
import pickle
import re

import pytest
from attrs import evolve

from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import ROLE_KDCMAC, ROLE_TGT, ROLE_TICKET, JwtKey, OAuthSecret, Vault, open_vault
from orthros_kdc.store.base import KDC_UIDS, KEY_ACTIVE, KEY_RETIRED, PrincipalRecord, RealmRecord
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.keys.role_keys import AsKey, TgtKey, TicketKey
from orthros_protocol.primitives.names import KDC_ADMIN, KDC_KEYS, KDC_TGT
from orthros_protocol.primitives.redaction import redact
from tests.support.stores import scratch_store

NOW = 1_800_000_000
BILLING = PrincipalRecord(uid=16, name="billing", created=NOW)
PAYROLL = PrincipalRecord(uid=17, name="payroll", created=NOW)


@pytest.fixture
def vault():
    return Vault(realm="example.org", master=MasterKey(bytes(range(32)), number=1))


@pytest.fixture
def new_key(vault):
    return vault.new_root(BILLING, kvno=1, state=KEY_ACTIVE, now=NOW)


def test_a_root_comes_back_from_its_record(vault, new_key):
    record, root = new_key
    again = vault.root_key(BILLING, record)
    assert again.material == root.material
    assert (str(again.principal), again.uid, again.kvno) == ("billing@example.org", 16, 1)


def test_the_role_keys_come_from_the_root_and_carry_the_recorded_ids(vault, new_key):
    record, root = new_key
    assert vault.as_key(BILLING, record).material == root.as_key().material
    assert vault.ticket_key(BILLING, record).material == root.ticket_key().material
    assert vault.sync_key(BILLING, record).material == root.sync_key().material
    ids = (root.as_key().kid, root.ticket_key().kid, root.sync_key().kid)
    assert (record.kid_as, record.kid_ticket, record.kid_sync) == ids


def test_new_keys_are_new(vault):
    roots = {vault.new_root(BILLING, kvno=1, state=KEY_ACTIVE, now=NOW)[1].material for _ in range(8)}
    assert len(roots) == 8


@pytest.mark.parity("K13")
@pytest.mark.parametrize("changes", [{"kvno": 2}, {"created": NOW + 1}, {"sealed": bytes(108)}])
@pytest.mark.parametrize("opener", ["root_key", "as_key", "ticket_key", "sync_key"])
def test_an_edited_record_does_not_open(vault, new_key, changes, opener):
    """Rows cannot be swapped."""
    with pytest.raises(Misconfigured, match=r"database-invalid|master-key-wrong"):
        getattr(vault, opener)(BILLING, evolve(new_key[0], **changes))


def test_a_record_moved_to_another_principal_does_not_open(vault, new_key):
    with pytest.raises(Misconfigured, match="database-invalid"):
        vault.root_key(PAYROLL, evolve(new_key[0], uid=PAYROLL.uid))
    with pytest.raises(LocalMisuse, match="key-misuse"):
        vault.root_key(PAYROLL, new_key[0])


@pytest.mark.parametrize(
    ("field", "opener"), [("kid_as", "as_key"), ("kid_ticket", "ticket_key"), ("kid_sync", "sync_key")]
)
def test_a_key_id_that_was_edited_in_the_database_is_noticed(vault, new_key, field, opener):
    edited = evolve(new_key[0], **{field: bytes(8)})
    for each in (opener, "root_key"):
        with pytest.raises(Misconfigured, match="database-invalid"):
            getattr(vault, each)(BILLING, edited)


def test_a_tombstone_keeps_the_login_key_and_nothing_else(vault, new_key):
    """A late user of a retired key gets a sealed KEY_RETIRED."""
    record, root = new_key
    tombstone = vault.tombstone(BILLING, record, now=NOW + 9)
    assert (tombstone.state, tombstone.retired, tombstone.sealed) == (KEY_RETIRED, NOW + 9, b"")
    login = vault.as_key(BILLING, tombstone)
    assert isinstance(login, AsKey)
    assert login.material == root.as_key().material
    for opener in (vault.root_key, vault.ticket_key, vault.sync_key):
        with pytest.raises(Misconfigured, match="key-missing"):
            opener(BILLING, tombstone)


def test_a_tombstone_cannot_pose_as_a_living_key(vault, new_key):
    """A login key put in the root's place is another table's row."""
    tombstone = vault.tombstone(BILLING, new_key[0], now=NOW)
    revived = evolve(tombstone, state=KEY_ACTIVE, sealed=tombstone.sealed_as, sealed_as=b"")
    with pytest.raises(Misconfigured, match="database-invalid"):
        vault.root_key(BILLING, revived)


def test_an_emptied_tombstone_has_no_login_key(vault, new_key):
    tombstone = evolve(vault.tombstone(BILLING, new_key[0], now=NOW), sealed_as=b"")
    with pytest.raises(Misconfigured, match="key-missing"):
        vault.as_key(BILLING, tombstone)


def test_realm_keys_come_back_typed_by_role(vault):
    """Lesson 5: a service's key can never be a TGT key."""
    tgt = vault.tgt_key(vault.new_realm_key(ROLE_TGT, KDC_TGT, number=3, now=NOW))
    assert isinstance(tgt, TgtKey)
    assert (tgt.principal.name, tgt.uid, tgt.kvno) == (KDC_TGT, KDC_UIDS[KDC_TGT], 3)
    for name in (KDC_KEYS, KDC_ADMIN):
        service = vault.service_key(vault.new_realm_key(ROLE_TICKET, name, number=1, now=NOW))
        assert isinstance(service, TicketKey)
        assert (service.principal.name, service.uid) == (name, KDC_UIDS[name])
    assert vault.kdcmac_key(vault.new_realm_key(ROLE_KDCMAC, "kdc", number=2, now=NOW)).number == 2


def test_a_realm_key_does_no_other_roles_work(vault):
    record = vault.new_realm_key(ROLE_TGT, KDC_TGT, number=1, now=NOW)
    for opener in (vault.service_key, vault.kdcmac_key):
        with pytest.raises(LocalMisuse, match="key-misuse"):
            opener(record)
        with pytest.raises(Misconfigured, match="database-invalid"):
            opener(evolve(record, role=ROLE_TICKET if opener == vault.service_key else ROLE_KDCMAC))


@pytest.mark.parametrize("changes", [{"name": KDC_ADMIN}, {"number": 2}, {"created": NOW + 1}])
def test_realm_keys_cannot_be_swapped(vault, changes):
    record = vault.new_realm_key(ROLE_TICKET, KDC_KEYS, number=1, now=NOW)
    with pytest.raises(Misconfigured, match="database-invalid"):
        vault.service_key(evolve(record, **changes))


@pytest.mark.parametrize(("alg", "size"), [("HS256", 32), ("HS512", 64), ("opaque", 32)])
def test_a_jwt_key_is_as_long_as_its_hash(vault, alg, size):
    record, key = vault.new_jwt_key(16, alg, now=NOW)
    assert len(key.material) == size
    again = vault.jwt_key(record)
    assert (again.material, again.kid, again.alg) == (key.material, record.kid, alg)


@pytest.mark.parity("L28")
@pytest.mark.parametrize("alg", ["none", "HS384", "RS256", "hs256", ""])
def test_there_are_no_other_jwt_algorithms(vault, alg):
    with pytest.raises(Misconfigured, match="value-invalid"):
        vault.new_jwt_key(16, alg, now=NOW)


@pytest.mark.parity("L28")
@pytest.mark.parametrize("changes", [{"uid": 17}, {"kid": "0" * 16}, {"alg": "HS512"}, {"created": NOW + 1}])
def test_jwt_keys_cannot_be_swapped_or_change_their_algorithm(vault, changes):
    """The algorithm belongs to the key record."""
    record, _ = vault.new_jwt_key(16, "HS256", now=NOW)
    with pytest.raises(Misconfigured, match="database-invalid"):
        vault.jwt_key(evolve(record, **changes))


def test_a_jwt_key_of_the_wrong_length_cannot_exist():
    for alg, size in (("HS256", 64), ("HS512", 32), ("none", 32)):
        with pytest.raises(LocalMisuse, match="key-misuse"):
            JwtKey(bytes(size), kid="a", alg=alg)


def test_a_client_secret_comes_back_from_its_record(vault):
    record, secret = vault.new_oauth_secret(16, NOW)
    again = vault.oauth_secret(record)
    assert (again.text, again.secret_id) == (secret.text, record.secret_id)
    assert (record.uid, record.created, len(bytes.fromhex(record.secret_id))) == (16, NOW, 8)


@pytest.mark.parity("L2")
def test_client_secrets_are_256_random_bits_in_64_characters(vault):
    """Generated, never chosen; as text long enough for HS512 (RFC 7518 section 3.2)."""
    secrets = [vault.new_oauth_secret(16, NOW)[1] for _ in range(8)]
    assert len({secret.text for secret in secrets}) == len({secret.secret_id for secret in secrets}) == 8
    for secret in secrets:
        assert re.fullmatch(r"ort1s_[a-z2-7]{58}", secret.text)
        content = base64.b32decode(secret.text[6:].upper() + "======")
        assert content == secret.material + hashlib.sha256(secret.material).digest()[:4]
        assert len(secret.material) == 32


@pytest.mark.parity("L3")
@pytest.mark.parametrize("material", [bytes(31), bytes(33), b"", b"correct horse battery staple"])
def test_a_client_secret_of_another_length_cannot_exist(material):
    """No passwords."""
    with pytest.raises(LocalMisuse, match="key-misuse"):
        OAuthSecret(material, secret_id="0" * 16)


def test_a_client_secret_knows_its_own_text_alone(vault):
    secret, other = (vault.new_oauth_secret(16, NOW)[1] for _ in range(2))
    assert secret.is_text(secret.text)
    for wrong in (other.text, secret.text.upper(), secret.text[:-1], secret.text + "a", "", "ä", "\ud800"):
        assert not secret.is_text(wrong)


@pytest.mark.parity("K13")
@pytest.mark.parametrize("changes", [{"uid": 17}, {"secret_id": "0" * 16}, {"created": NOW + 1}])
def test_client_secrets_cannot_be_swapped(vault, changes):
    record, _ = vault.new_oauth_secret(16, NOW)
    with pytest.raises(Misconfigured, match="database-invalid"):
        vault.oauth_secret(evolve(record, **changes))


def test_a_client_secret_and_a_jwt_key_cannot_take_each_others_place(vault):
    jwt_row, _ = vault.new_jwt_key(16, "HS256", now=NOW)
    row, _ = vault.new_oauth_secret(16, NOW)
    with pytest.raises(Misconfigured, match="database-invalid"):
        vault.oauth_secret(evolve(row, sealed=jwt_row.sealed))
    with pytest.raises(Misconfigured, match="database-invalid"):
        vault.jwt_key(evolve(jwt_row, sealed=row.sealed))


def test_nothing_of_a_client_secret_shows_it(vault):
    """Lesson 11."""
    record, secret = vault.new_oauth_secret(16, NOW)
    shown = f"{secret} {[secret, record]} {redact({'secret': secret, 'text': secret.text})}"
    for form in (secret.text, secret.material.hex(), repr(secret.material)[2:-1]):
        assert form not in shown
    assert repr(secret) == f"<OAuthSecret id={secret.secret_id} redacted>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy, OAuthSecret.__getstate__):
        with pytest.raises(LocalMisuse, match="secret-not-exported"):
            leak(secret)


def test_nothing_of_a_vault_shows_a_secret(vault, new_key):
    """Lesson 11."""
    record, jwt_key = vault.new_jwt_key(16, "HS256", now=NOW)
    shown = repr([vault, *new_key, record, jwt_key])
    for secret in (bytes(range(32)), new_key[1].material, jwt_key.material, new_key[0].sealed, record.sealed):
        for form in (secret.hex(), repr(secret)[2:-1], repr(secret[4:])[2:-1]):
            assert form not in shown
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(jwt_key)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        jwt_key.__getstate__()


async def create_realm(store, vault):
    check = vault.master.key_check(vault.realm)
    record = RealmRecord(realm=vault.realm, issuer="https://a", limits=RealmLimits(), created=NOW, key_check=check)
    await store.change(lambda tx: tx.create_realm(record))


async def test_a_vault_opens_with_the_master_key_of_its_database(vault):
    store = scratch_store()
    await create_realm(store, vault)
    opened = await open_vault(store, vault.master)
    assert opened.realm == "example.org"


@pytest.mark.parity("K13")
async def test_a_wrong_master_key_is_refused_and_changes_nothing(vault):
    """Wrong master key: refuses, nothing changed."""
    store = scratch_store()
    await create_realm(store, vault)
    before = store.peek_head()
    with pytest.raises(Misconfigured, match="master-key-wrong"):
        await open_vault(store, MasterKey(bytes(32), number=1))
    assert store.peek_head() == before


async def test_a_store_without_a_realm_has_no_vault(vault):
    with pytest.raises(Misconfigured, match="database-invalid"):
        await open_vault(scratch_store(), vault.master)
