"""Key files in the hands of others, and keys in files that are not safe."""

from pathlib import Path

import pytest

from orthros_protocol.errors import Misconfigured, PeerMisbehaved
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply, parse_as_request, verify_as_request
from orthros_protocol.keys.keytab import Keytab
from tests.support.exchange_pair import ExchangePair
from tests.support.naive import enc, kd, mac


def test_a_group_readable_key_file_is_not_loaded(tmp_path: Path) -> None:
    """Section 17: key file group-readable."""
    pair = ExchangePair()
    pair.target.keytab.save(tmp_path / "payroll.keytab")
    (tmp_path / "payroll.keytab").chmod(0o640)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        Keytab.load(tmp_path / "payroll.keytab")


def test_a_symlinked_key_file_is_not_loaded(tmp_path: Path) -> None:
    """Section 17: key file symlinked."""
    pair = ExchangePair()
    pair.target.keytab.save(tmp_path / "payroll.keytab")
    (tmp_path / "link").symlink_to("payroll.keytab")
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        Keytab.load(tmp_path / "link")


def test_a_stolen_verify_only_file_cannot_log_in() -> None:
    """Section 3: its thief can open and forge tickets to that target, but cannot log in as it or fetch new keys."""
    pair = ExchangePair()
    stolen = Keytab.from_text(pair.realm.keytab("payroll").verify_only().to_text())
    with pytest.raises(Misconfigured, match="key-missing"):
        stolen.as_key()
    as_key = pair.realm.keytab("payroll").as_key()
    for entry in stolen.entries:
        key = entry.key.material
        body = enc(1, 1, "test.realm", as_key.kid, bytes(16), pair.now, "kdc/tgt", 0, 0, bytes(16), [], [])
        for guess in (key, kd(key, "role.as"), kd(key, "as-req")):
            forged = enc(body, mac(guess, "as-req", body))
            with pytest.raises(PeerMisbehaved, match="wrong-mac"):
                verify_as_request(parse_as_request(forged), as_key)


def test_one_services_key_opens_nothing_of_another() -> None:
    """Kite and MUNGE: one shared key is a single point of total loss."""
    pair = ExchangePair()
    theirs, mine = pair.realm.keytab("orders").as_key(), pair.realm.keytab("billing").as_key()
    asked = build_as_request(mine, service="kdc/tgt", ttl_s=0, instance=bytes(16), now=pair.now, nonce=bytes(16))
    reply = pair.realm.handle(asked.message)
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_as_reply(asked, theirs, reply)
    assert pair.target.keytab.ticket_key(pair.realm.root("orders").ticket_key().kid) is None


def test_no_error_about_a_key_file_shows_a_key(tmp_path: Path) -> None:
    """CVE-2018-16889: keys in logs. A damaged file is described, not quoted."""
    text = ExchangePair().target.keytab.to_text()
    (tmp_path / "damaged").write_text(text[:-4] + "aaaa")
    (tmp_path / "damaged").chmod(0o600)
    with pytest.raises(Misconfigured) as caught:
        Keytab.load(tmp_path / "damaged")
    assert not any(text[at : at + 12] in str(caught.value) for at in range(6, len(text) - 12))
