"""Keys: typed by role, silent about themselves."""

import copy
import pickle

import pytest

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved
from orthros_protocol.keys.role_keys import AsKey, KdcMacKey, RootKey, SyncKey, TgtKey, TicketKey, key_id
from orthros_protocol.primitives.derivation import derive
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.secrets import Secret
from orthros_protocol.tickets.ticket import open_ticket
from tests.support import naive
from tests.support.exchange_pair import ExchangePair

MATERIAL = bytes(range(32))
BILLING = Principal("test.realm", "billing")
ROOT = RootKey(MATERIAL, principal=BILLING, uid=7, kvno=3)
EVERY_KEY = [
    ROOT,
    ROOT.as_key(),
    ROOT.ticket_key(),
    ROOT.sync_key(),
    TgtKey(MATERIAL, principal=BILLING, uid=1, kvno=1),
    KdcMacKey(MATERIAL, number=1),
    Secret(MATERIAL),
]
each_key = pytest.mark.parametrize("key", EVERY_KEY, ids=lambda key: type(key).__name__)


@each_key
def test_a_key_does_not_print_itself(key: Secret) -> None:
    """CVE-2018-16889: keys in logs."""
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key}), f"{key!r:>200}"):
        assert "redacted" in shown
        assert key.material.hex() not in shown
        assert repr(key.material)[2:20] not in shown


@each_key
def test_a_key_cannot_be_pickled(key: Secret) -> None:
    for attempt in (pickle.dumps, lambda key: key.__getstate__(), lambda key: key.__reduce__()):
        with pytest.raises((LocalMisuse, TypeError)):
            attempt(key)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps({"nested": [key]})


@each_key
def test_copying_a_key_gives_the_same_object(key: Secret) -> None:
    assert copy.copy(key) is key
    assert copy.deepcopy([key])[0] is key


def test_keys_compare_by_identity_only() -> None:
    """`==` on key material is neither constant-time nor meant."""
    assert Secret(MATERIAL) != Secret(MATERIAL)
    assert len({ROOT.as_key(), ROOT.as_key()}) == 2


@each_key
def test_a_key_cannot_be_changed(key: Secret) -> None:
    with pytest.raises(AttributeError):
        key.material = bytes(32)  # type: ignore[misc]


@pytest.mark.parametrize("material", [b"", bytes(31), bytes(33), bytearray(32), "x" * 32, None])
def test_key_material_is_exactly_32_bytes(material: object) -> None:
    """Section 17: key file ... 31-byte key."""
    with pytest.raises(LocalMisuse, match="key-misuse"):
        RootKey(material, principal=BILLING, uid=7, kvno=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("kvno", [0, -1, 2**32])
def test_a_key_version_is_1_to_u32(kvno: int) -> None:
    with pytest.raises(LocalMisuse, match="kvno"):
        TicketKey(MATERIAL, principal=BILLING, uid=7, kvno=kvno)


def test_role_keys_and_their_ids_are_derived_as_specified() -> None:
    for key, label in ((ROOT.as_key(), "role.as"), (ROOT.ticket_key(), "role.ticket"), (ROOT.sync_key(), "role.sync")):
        assert key.material == naive.kd(MATERIAL, label)
        assert key.kid == naive.kd(key.material, "kid", size=8) == key_id(key.material)
        assert (key.principal, key.uid, key.kvno) == (BILLING, 7, 3)
    as_key = ROOT.as_key()
    assert as_key.reply_key == derive(as_key.material, "as-rep")
    assert as_key.error_key == derive(as_key.material, "as-err")


def test_every_role_has_a_key_of_its_own() -> None:
    keys = [AsKey, SyncKey, TgtKey, TicketKey]
    assert len({key.role for key in keys}) == 4
    same = [kind(MATERIAL, principal=BILLING, uid=7, kvno=1) for kind in (TgtKey, TicketKey)]
    assert len({key.box_key for key in same}) == 2
    assert len({key.header for key in same}) == 2
    derived = [ROOT.as_key(), ROOT.ticket_key(), ROOT.sync_key()]
    assert len({key.material for key in derived} | {MATERIAL}) == 4


def test_a_service_key_cannot_open_a_tgt_nor_the_other_way_round() -> None:
    """CVE-2022-2031: shared keys let each role open the other's tickets."""
    pair = ExchangePair()
    login, issued = pair.login(), pair.issue()
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        open_ticket(login.ticket, pair.realm.root("payroll").ticket_key())
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        open_ticket(issued.ticket, pair.realm.tgt_key)
