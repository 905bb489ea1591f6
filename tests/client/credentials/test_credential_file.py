from __future__ import annotations

import os
from pathlib import Path

import pytest

from orthros_client import Credentials, Discharges, load_credentials, save_credentials
from orthros_client.credentials.credential_file import CREDENTIAL_FILE_MAGIC, read_credentials
from orthros_protocol.errors import Misconfigured, Refused
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.derivation import digest
from tests.support.naive import dec, enc
from tests.support.parties import PREDICATE, HostClock, Parties, call, refused_as


@pytest.fixture
def parties() -> Parties:
    return Parties()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.credentials"


def load(parties: Parties, path: Path, *, wrong_ms: int = 0, realm_offset_ms: int | None = None) -> Credentials:
    clock = HostClock(parties.realm.clock, wrong_ms)
    return load_credentials(path, realm_offset_ms=realm_offset_ms, clock=clock, entropy=parties.realm.entropy)


@pytest.mark.parity("L23", "B4")
def test_another_program_uses_what_was_narrowed_for_it(parties: Parties, path: Path) -> None:
    """Within the caveats, until the end, and it can narrow on."""
    narrowed = parties.credentials("web", "orders").narrow(scopes=["read"], lifetime=600)
    save_credentials(narrowed, path)
    assert path.stat().st_mode & 0o777 == 0o600
    parties.realm.clock.advance(100)
    loaded, verifier = load(parties, path), parties.verifier()
    assert (loaded.target, loaded.client, loaded.scopes) == (narrowed.target, narrowed.client, ("read",))
    assert (loaded.caveats, loaded.life.whole_s, loaded.target_uid) == (narrowed.caveats, 3600, narrowed.target_uid)
    assert loaded.expires_in_s == 500
    assert call(loaded, verifier).scopes == {"read"}
    assert call(loaded.narrow(scopes=[]), verifier).scopes == set()
    parties.realm.clock.advance(500)
    assert refused_as(loaded, verifier) == "caveat-refused"
    with pytest.raises(Refused, match="ticket-expired"):
        load(parties, path)
    assert read_credentials(path)[0].life.second == parties.second


@pytest.mark.parity("L8")
def test_demands_go_along_and_discharges_stay(parties: Parties, path: Path) -> None:
    """Whoever loads it collects its own."""
    parties.realm.allow("web", "orders", "read", discharges=[("approvals", PREDICATE)])
    credentials = parties.credentials("web", "orders")
    credentials = credentials.demand(parties.credentials("web", "approvals"), PREDICATE)
    obtain = parties.obtain("web", parties.discharger())
    held = Discharges(clock=HostClock(parties.realm.clock))
    save_credentials(held.collect(credentials, obtain), path)
    loaded = load(parties, path)
    assert loaded.demands == credentials.demands
    assert loaded.discharges == ()
    assert refused_as(loaded, parties.verifier()) == "discharge-mismatch"
    assert refused_as(held.collect(loaded, obtain), parties.verifier()) == "accepted"


@pytest.mark.parametrize("wrong_ms", [-400_000, 0, 400_000])
def test_the_writers_offset_goes_along(parties: Parties, path: Path, wrong_ms: int) -> None:
    """The same host has the same wrong clock; another host says its own."""
    save_credentials(parties.credentials("web", "orders", wrong_ms=wrong_ms), path)
    assert read_credentials(path)[1] == -wrong_ms
    assert load(parties, path, wrong_ms=wrong_ms).expires_in_s == pytest.approx(3600)
    elsewhere = load(parties, path, wrong_ms=7000, realm_offset_ms=-7000)
    assert elsewhere.expires_in_s == pytest.approx(3600)
    call(elsewhere, parties.verifier())


def test_it_is_written_once_unless_on_purpose(parties: Parties, path: Path) -> None:
    credentials = parties.credentials("web", "orders")
    save_credentials(credentials, path)
    with pytest.raises(Misconfigured, match="file-exists"):
        save_credentials(credentials, path)
    save_credentials(credentials.narrow(scopes=["read"]), path, replace=True)
    assert load(parties, path).scopes == ("read",)


def test_what_has_ended_is_not_written(parties: Parties, path: Path) -> None:
    credentials = parties.credentials("web", "orders")
    parties.realm.clock.advance(3600)
    with pytest.raises(Refused, match="ticket-expired"):
        save_credentials(credentials, path)
    assert not path.exists()


def test_a_file_that_others_could_read_or_replace_is_refused(parties: Parties, path: Path, tmp_path: Path) -> None:
    """No symbolic links, no permission for anybody else, nothing but a plain file."""
    save_credentials(parties.credentials("web", "orders"), path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load(parties, link)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(Misconfigured, match="key-file-unsafe"):
            load(parties, path)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load(parties, tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load(parties, tmp_path / "pipe")
    with pytest.raises(Misconfigured, match="file-unreadable"):
        load(parties, tmp_path / "nothing")


def test_damage_is_told_apart_from_everything_else(parties: Parties, path: Path) -> None:
    """Each byte, each cut; and a key file is not one."""
    save_credentials(parties.credentials("web", "orders").narrow(scopes=["read"]), path)
    content = path.read_bytes()
    damaged = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(0, len(content), 7)]
    damaged += [content[:size] for size in range(0, len(content), 29)] + [content + b"\0", b"", b"x" * 100_000]
    for bad in damaged:
        path.write_bytes(bad)
        with pytest.raises(Misconfigured) as told:
            load(parties, path)
        assert told.value.code in {"credential-file-invalid", "key-file-invalid"}
        assert told.value.remedy
    Keytab.of(parties.realm.root("web")).save(path, replace=True)
    with pytest.raises(Misconfigured, match="credential-file-invalid"):
        load(parties, path)


def test_a_file_of_an_older_version_is_refused_with_the_command_that_writes_it_again(
    parties: Parties, path: Path
) -> None:
    """Version 1 had another record. The error names the version that is read here, and `orthros narrow`."""
    save_credentials(parties.credentials("web", "orders"), path)
    body = CREDENTIAL_FILE_MAGIC[:-1] + b"\x01" + path.read_bytes()[len(CREDENTIAL_FILE_MAGIC) : -32]
    path.write_bytes(body + digest(body))
    with pytest.raises(Misconfigured, match=r"credential-file-invalid.*version 2") as told:
        load(parties, path)
    assert "`orthros narrow`" in told.value.remedy


def test_a_record_that_contradicts_itself(parties: Parties, path: Path) -> None:
    """A right checksum is no reason to trust the shape."""
    save_credentials(parties.credentials("web", "orders"), path)
    size = len(CREDENTIAL_FILE_MAGIC)
    record = dec(path.read_bytes()[size:-32])
    wrong = {0: b"x" * 20, 1: b"\x01", 2: b"short", 3: "Realm", 8: [2], 9: True, 11: [], 13: 5}
    for position, value in wrong.items():
        items = list(record)
        items[position] = value
        if position == 13:
            items[14] = 5
        body = CREDENTIAL_FILE_MAGIC + enc(*items)
        path.write_bytes(body + digest(body))
        with pytest.raises(Misconfigured, match="credential-file-invalid"):
            load(parties, path)
