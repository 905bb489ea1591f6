"""The master key: rows that open only in their place, and every way of not having the right key."""

import base64
import copy
import os
import pickle
import stat
from itertools import permutations

import pytest

from orthros_kdc.realm.master_key import (
    MasterKey,
    create_master_key_file,
    load_master_key,
    load_next_master_key,
)
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.primitives.derivation import digest

MATERIAL = bytes(range(32))
ROW = ("keys", 16, 1, 1_800_000_000)


def fixed(size):
    """Entropy that never changes: the box is hedged against it."""
    return bytes(size)


@pytest.fixture
def master():
    return MasterKey(MATERIAL, number=1)


@pytest.fixture
def sealed(master):
    return master.seal_row(*ROW, secret=b"s" * 32, entropy=fixed)


def test_a_row_opens_in_its_place(master, sealed):
    assert master.open_row(*ROW, sealed=sealed) == b"s" * 32


@pytest.mark.parity("K13")
@pytest.mark.parametrize(
    "elsewhere",
    [
        ("keys.as", 16, 1, 1_800_000_000),
        ("keys", 17, 1, 1_800_000_000),
        ("keys", 16, 2, 1_800_000_000),
        ("keys", 16, 1, 1_800_000_001),
        ("keys", 16, 1),
        ("keys", 16, 1, 1_800_000_000, 0),
        ("keys", 1, 16, 1_800_000_000),
        ("keys", "16", 1, 1_800_000_000),
    ],
    ids=["table", "uid", "kvno", "created", "shorter", "longer", "swapped", "type"],
)
def test_a_row_opens_nowhere_else(master, sealed, elsewhere):
    """Rows cannot be swapped, whichever column of theirs is changed."""
    with pytest.raises(Misconfigured, match="database-invalid"):
        master.open_row(*elsewhere, sealed=sealed)


def test_no_two_rows_can_trade_places(master):
    rows = [("keys", 16, 1, 5), ("keys", 16, 2, 5), ("keys", 17, 1, 5), ("jwt_keys", 16, "a", 5)]
    boxes = {row: master.seal_row(*row, secret=b"s" * 32, entropy=fixed) for row in rows}
    for here, there in permutations(rows, 2):
        with pytest.raises(Misconfigured, match="database-invalid"):
            master.open_row(*here, sealed=boxes[there])


def test_every_flipped_bit_is_noticed(master, sealed):
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Misconfigured, match=r"database-invalid|master-key-wrong"):
            master.open_row(*ROW, sealed=bytes(flipped))


def test_every_length_but_the_right_one_is_noticed(master, sealed):
    for size in range(1, len(sealed)):
        with pytest.raises(Misconfigured, match=r"database-invalid|master-key-wrong"):
            master.open_row(*ROW, sealed=sealed[:size])
    with pytest.raises(Misconfigured, match="database-invalid"):
        master.open_row(*ROW, sealed=sealed + bytes(2000))


def test_an_erased_row_is_told_from_a_damaged_one(master):
    with pytest.raises(Misconfigured, match="key-missing"):
        master.open_row(*ROW, sealed=b"")


def test_equal_secrets_do_not_look_equal(master):
    boxes = {master.seal_row("keys", uid, 1, 5, secret=b"s" * 32, entropy=fixed)[4:] for uid in range(16, 32)}
    assert len(boxes) == 16


@pytest.mark.parity("K13")
@pytest.mark.parametrize("other", [MasterKey(MATERIAL, number=2), MasterKey(bytes(32), number=1)])
def test_another_master_key_is_told_by_its_check(master, sealed, other):
    """The key's number is part of it."""
    master.require_check("example.org", master.key_check("example.org"))
    with pytest.raises(Misconfigured, match="master-key-wrong"):
        other.require_check("example.org", master.key_check("example.org"))
    with pytest.raises(Misconfigured, match=r"database-invalid|master-key-wrong"):
        other.open_row(*ROW, sealed=sealed)


def test_the_check_is_of_one_realm(master):
    with pytest.raises(Misconfigured, match="master-key-wrong"):
        master.require_check("example.net", master.key_check("example.org"))


def test_the_key_does_not_show_itself(master):
    """Lesson 11, section 18."""
    assert repr(master) == str(master) == "<MasterKey number=1 redacted>"
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(master)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        master.__getstate__()
    assert copy.deepcopy(master) is master
    assert master != MasterKey(MATERIAL, number=1)


def test_the_text_form_comes_back(master):
    again = MasterKey.from_text(f"  {master.to_text()}\n")
    assert (again.number, again.material) == (1, MATERIAL)
    assert master.to_text().startswith("ort1m_")


def _texts_that_are_wrong(text):
    encoded = text.removeprefix("ort1m_")
    yield "ort1k_" + encoded
    yield encoded
    yield text.upper()
    yield "ort1m_" + encoded.upper()
    yield text[:-1]
    yield text + "a"
    yield text + "="
    yield text[:20] + " " + text[20:]
    yield text[:20] + "é" + text[20:]
    yield text[:20] + "1" + text[21:]
    yield ""
    yield "ort1m_"
    for at in range(len("ort1m_"), len(text)):  # one mistyped letter anywhere
        yield text[:at] + ("b" if text[at] != "b" else "c") + text[at + 1 :]


def test_no_other_text_is_a_master_key_and_none_is_quoted(master):
    for text in _texts_that_are_wrong(master.to_text()):
        with pytest.raises(Misconfigured, match="master-key-invalid") as caught:
            MasterKey.from_text(text)
        assert not text or text not in str(caught.value)


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "master.key"
    made = create_master_key_file(path, entropy=os.urandom)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_master_key(path, environ={}).material == made.material
    before = path.read_bytes()
    with pytest.raises(Misconfigured, match="file-exists"):
        create_master_key_file(path, entropy=os.urandom)
    assert path.read_bytes() == before


def test_nothing_is_made_where_a_key_is_missing(tmp_path):
    """Lesson 12, K13: never created silently."""
    for environ in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, {"CREDENTIALS_DIRECTORY": ""}):
        with pytest.raises(Misconfigured, match="master-key-missing"):
            load_master_key(environ=environ)
    with pytest.raises(Misconfigured, match="master-key-missing"):
        load_master_key(tmp_path / "master.key", environ={"ORTHROS_STORE_MASTER_KEY": "ort1m_unused"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o610])
def test_an_unprotected_file_is_refused(tmp_path, mode):
    path = tmp_path / "master.key"
    create_master_key_file(path, entropy=os.urandom)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load_master_key(path, environ={})


def test_a_link_to_a_key_file_is_refused(tmp_path):
    create_master_key_file(tmp_path / "master.key", entropy=os.urandom)
    (tmp_path / "link").symlink_to(tmp_path / "master.key")
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load_master_key(tmp_path / "link", environ={})


@pytest.mark.parametrize("content", [b"\xff\xfe", b"ort1m_", b"x" * 300])
def test_a_file_with_something_else_is_refused(tmp_path, content):
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match=r"master-key-invalid|key-file-invalid"):
        load_master_key(path, environ={})


@pytest.mark.parity("K21")
@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600])
def test_a_systemd_credential_is_accepted_as_systemd_leaves_it(tmp_path, master, mode):
    """LoadCredential; 0440 is what an ACL for the service's user looks like."""
    credential = tmp_path / "orthros-master-key"
    credential.write_text(master.to_text() + "\n")
    credential.chmod(mode)
    found = load_master_key(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.material == MATERIAL


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o450])
def test_a_credential_that_others_can_read_or_write_is_refused(tmp_path, master, mode):
    credential = tmp_path / "orthros-master-key"
    credential.write_text(master.to_text())
    credential.chmod(mode)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load_master_key(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_credential_is_a_plain_file(tmp_path, master):
    (tmp_path / "elsewhere").write_text(master.to_text())
    (tmp_path / "orthros-master-key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load_master_key(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    (tmp_path / "orthros-master-key").unlink()
    os.mkfifo(tmp_path / "orthros-master-key", 0o600)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        load_master_key(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parity("M9")
def test_the_named_file_comes_before_the_credential_and_that_before_the_environment(tmp_path):
    """Where the master key comes from is one function: a file, a systemd credential, the environment."""
    keys = {where: MasterKey(bytes([at]) * 32, number=1) for at, where in enumerate(("file", "credential", "env"))}
    path, credential = tmp_path / "file", tmp_path / "orthros-master-key"
    for place, where in ((path, "file"), (credential, "credential")):
        place.write_text(keys[where].to_text())
        place.chmod(0o600)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "ORTHROS_STORE_MASTER_KEY": keys["env"].to_text()}
    assert load_master_key(path, environ=environ).material == keys["file"].material
    assert load_master_key(environ=environ).material == keys["credential"].material
    credential.unlink()
    assert load_master_key(environ=environ).material == keys["env"].material


def test_the_text_form_is_what_its_specification_says(master):
    """A second implementation can read it."""

    encoded = master.to_text().removeprefix("ort1m_").upper()
    content = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
    assert content == b"\0\0\0\1" + MATERIAL + digest(b"\0\0\0\1" + MATERIAL)[:8]


@pytest.mark.parity("K13")
def test_the_next_key_comes_from_a_file_or_a_credential_of_its_own_or_there_is_none(tmp_path):
    """Never from the environment, and never created."""
    for name, number in (("orthros-master-key", 1), ("orthros-next-master-key", 2), ("file", 3)):
        create_master_key_file(tmp_path / name, entropy=os.urandom, number=number)
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path), "ORTHROS_STORE_MASTER_KEY": "ort1m_unused"}
    found = (load_next_master_key(tmp_path / "file", environ=credentials), load_next_master_key(environ=credentials))
    assert [key and key.number for key in found] == [3, 2]
    assert load_master_key(environ=credentials).number == 1
    (tmp_path / "orthros-next-master-key").unlink()
    assert load_next_master_key(environ=credentials) is None
    with pytest.raises(Misconfigured, match="master-key-missing"):
        load_next_master_key(tmp_path / "missing", environ=credentials)
