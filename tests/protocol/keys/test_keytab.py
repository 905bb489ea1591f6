"""Key files: every way in which one can be wrong has a typed error, and none of them is guessed around."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.keys.keytab import Keytab, KeytabEntry, keytab_of_roots
from orthros_protocol.keys.role_keys import RootKey, TicketKey
from orthros_protocol.primitives.names import Principal
from tests.support.naive import enc, kd, sha256

PAYROLL = Principal("test.realm", "payroll")
OLD = RootKey(bytes(range(32)), principal=PAYROLL, uid=9, kvno=1)
NEW = RootKey(bytes(range(32, 64)), principal=PAYROLL, uid=9, kvno=2)
FULL = keytab_of_roots([NEW, OLD])


def record(
    material: bytes = OLD.material,
    *,
    realm: object = "test.realm",
    name: object = "payroll",
    uid: object = 9,
    kvno: object = 1,
    kind: object = 0,
    role: object = None,
    kid: bytes | None = None,
    not_before: object = 0,
    ext: object = (),
) -> bytes:
    """One record, by hand."""
    named = kd(material, "kid", size=8) if kid is None and len(material) == 32 else kid or bytes(8)
    return enc(realm, name, uid, kvno, kind, role, named, material, not_before, list(ext))  # type: ignore[call-overload]


def key_file(*records: bytes, magic: bytes = b"ORTHROSK\x01", end: bytes = b"\0\0") -> bytes:
    """A whole file around the records, with a right checksum."""
    body = magic + b"".join(len(one).to_bytes(2, "big") + one for one in records) + end
    return body + sha256(body)


def test_a_hand_made_file_is_what_the_library_writes() -> None:
    assert Keytab.of(OLD).to_bytes() == key_file(record())


@pytest.mark.parametrize("keytab", [FULL, FULL.verify_only(), Keytab.of(OLD.sync_key()), Keytab.of(OLD.as_key())])
def test_both_forms_come_back(keytab: Keytab) -> None:
    for again in (Keytab.from_bytes(keytab.to_bytes()), Keytab.from_text(keytab.to_text() + "\n")):
        assert again.to_bytes() == keytab.to_bytes()
        assert (again.principal, again.uid, again.kvnos) == (keytab.principal, keytab.uid, keytab.kvnos)


def test_a_full_file_logs_in_with_its_newest_key_and_opens_by_kid() -> None:
    assert FULL.as_key().kid == NEW.as_key().kid
    assert FULL.root_key().kvno == 2
    assert FULL.kvnos == (1, 2)
    opened = FULL.ticket_key(OLD.ticket_key().kid)
    assert opened is not None
    assert opened.kvno == 1
    assert FULL.ticket_key(b"unheard!") is None
    assert FULL.ticket_key(OLD.as_key().kid) is None


def test_a_verify_only_file_cannot_log_in() -> None:
    """Its thief can open tickets to this service, and nothing else."""
    thief = Keytab.from_bytes(FULL.verify_only().to_bytes())
    assert thief.is_verify_only
    assert thief.ticket_key(NEW.ticket_key().kid) is not None
    for attempt in (thief.as_key, thief.root_key):
        with pytest.raises(Misconfigured, match="key-missing"):
            attempt()
    for secret in (OLD, NEW, OLD.as_key(), NEW.as_key()):
        assert secret.material not in thief.to_bytes()
    assert Keytab.of(OLD.as_key(), OLD.ticket_key()).verify_only().kvnos == (1,)


def test_not_before_is_kept() -> None:
    keytab = Keytab(PAYROLL, 9, (KeytabEntry(OLD, 1_800_000_000),))
    assert Keytab.from_bytes(keytab.to_bytes()).entries[0].not_before == 1_800_000_000
    assert {entry.not_before for entry in keytab.verify_only().entries} == {1_800_000_000}


def test_a_keytab_does_not_print_its_keys() -> None:
    assert "redacted" in repr(FULL)
    assert "full" in repr(FULL)
    assert "verify-only" in repr(FULL.verify_only())
    assert not any(key.material.hex()[:12] in repr(FULL) + repr(FULL.entries) for key in (OLD, NEW))


@pytest.mark.parametrize("keys", [(OLD, OLD), (OLD, OLD.ticket_key()), (OLD.sync_key(), OLD.sync_key())])
def test_a_duplicate_kid_is_refused(keys: tuple[RootKey, ...]) -> None:
    with pytest.raises(Misconfigured, match="occurs twice"):
        Keytab.of(*keys)


def test_duplicate_kids_in_a_file_are_refused() -> None:
    with pytest.raises(Misconfigured, match="occurs twice"):
        Keytab.from_bytes(key_file(record(), record()))


@pytest.mark.parametrize("stranger", [record(bytes(32), name="orders"), record(bytes(32), uid=8)])
def test_keys_of_two_principals_are_refused(stranger: bytes) -> None:
    with pytest.raises(Misconfigured, match="more than one principal"):
        Keytab.from_bytes(key_file(record(), stranger))


def test_a_keytab_of_nothing_is_misuse() -> None:
    with pytest.raises(LocalMisuse):
        Keytab.of()


BAD_FILES = {
    "empty": b"",
    "garbage": b"garbage" * 20,
    "magic only": b"ORTHROSK\x01",
    "another magic": key_file(record(), magic=b"ORTHROSX\x01"),
    "another version": key_file(record(), magic=b"ORTHROSK\x02"),
    "no records": key_file(),
    "no end mark": key_file(record(), end=b""),
    "half an end mark": key_file(record(), end=b"\0"),
    "more after the end": key_file(record(), end=b"\0\0\0"),
    "wrong checksum": key_file(record())[:-1] + b"\0",
    "31-byte key": key_file(record(bytes(31))),
    "33-byte key": key_file(record(bytes(33))),
    "wrong kid": key_file(record(kid=b"wrongkid")),
    "kvno 0": key_file(record(kvno=0)),
    "kvno as str": key_file(record(kvno="1")),
    "name not canonical": key_file(record(name="Payroll")),
    "realm missing": key_file(record(realm=None)),
    "root with a role": key_file(record(role="as")),
    "role without a role": key_file(record(kind=1)),
    "unknown role": key_file(record(kind=1, role="tgt")),
    "unknown kind": key_file(record(kind=2)),
    "record cut short": key_file(record()[:-1]),
    "record announced too long": key_file(end=b"\xff\xff" + record() + b"\0\0"),
    "65 records": key_file(*(record(bytes([number]) * 32, kvno=number + 1) for number in range(65))),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="key-file-invalid") as caught:
        Keytab.from_bytes(BAD_FILES[name])
    assert caught.value.remedy.endswith(".")


def test_every_truncation_and_every_flipped_bit_is_refused() -> None:
    content = Keytab.of(OLD).to_bytes()
    flipped = []
    for at in range(len(content) * 8):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        flipped.append(bytes(changed))
    for damaged in [content[:end] for end in range(len(content))] + flipped + [content + b"\0"]:
        with pytest.raises(Misconfigured, match="key-file-invalid"):
            Keytab.from_bytes(damaged)


@given(st.binary(max_size=120))
def test_random_bytes_with_a_right_checksum_are_refused_or_canonical(body: bytes) -> None:
    content = b"ORTHROSK\x01" + body
    try:
        keytab = Keytab.from_bytes(content + sha256(content))
    except Misconfigured:
        return
    assert keytab.to_bytes() == content + sha256(content)


TEXT = Keytab.of(OLD).to_text()
BAD_TEXTS = {
    "empty": "",
    "no prefix": TEXT.removeprefix("ort1k_"),
    "another prefix": TEXT.replace("ort1k_", "ort2k_"),
    "upper case": TEXT.upper(),
    "upper-case body": "ort1k_" + TEXT.removeprefix("ort1k_").upper(),
    "garbage": TEXT[:30] + "!" + TEXT[31:],
    "digit outside base32": TEXT[:30] + "1" + TEXT[31:],
    "inner blank": TEXT[:30] + " " + TEXT[30:],
    "inner newline": TEXT[:30] + "\n" + TEXT[30:],
    "padding": TEXT + "=",
    "not ascii": TEXT + "é",
    "one character short": TEXT[:-1],
    "one character more": TEXT + "a",
    "prefix only": "ort1k_",
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_bad_text_form_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="key-file-invalid"):
        Keytab.from_text(BAD_TEXTS[name])


def test_stray_bits_in_the_last_character_are_refused() -> None:
    """Section 17: base64 with ... stray bits; here base32."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    specimens = (Keytab.of(OLD), Keytab.of(OLD.sync_key()), FULL, FULL.verify_only())
    keytab = next(one for one in specimens if len(one.to_bytes()) % 5)  # other lengths leave no spare bits
    content, line = keytab.to_bytes(), keytab.to_text()
    stray = line[:-1] + alphabet[alphabet.index(line[-1]) | 1]
    padded = stray.removeprefix("ort1k_").upper() + "=" * (-len(stray.removeprefix("ort1k_")) % 8)
    assert base64.b32decode(padded) == content, "a lenient decoder does not see them"
    with pytest.raises(Misconfigured, match="stray bits"):
        Keytab.from_text(stray)


def test_a_file_on_disk_is_read_in_either_form(tmp_path: Path) -> None:
    FULL.save(tmp_path / "full.keytab")
    (tmp_path / "text.keytab").write_text(FULL.to_text() + "\n")
    (tmp_path / "text.keytab").chmod(0o600)
    for name in ("full.keytab", "text.keytab"):
        assert Keytab.load(tmp_path / name).to_bytes() == FULL.to_bytes()
    assert (tmp_path / "full.keytab").stat().st_mode & 0o777 == 0o600


def test_a_text_file_with_other_letters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"ort1k_\xff\xfe")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(Misconfigured, match="not ASCII"):
        Keytab.load(tmp_path / "key")


def test_a_ticket_key_in_a_keytab_belongs_to_its_principal() -> None:
    with pytest.raises(Misconfigured, match="more than one principal"):
        Keytab.of(OLD, TicketKey(bytes(32), principal=Principal("other.realm", "payroll"), uid=9, kvno=2))
