from pathlib import PurePosixPath
from typing import Any

from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.keys.keytab import Keytab, KeytabEntry
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.redaction import redact, redact_text

MATERIAL = bytes(range(32))
ROOT = RootKey(MATERIAL, principal=Principal("example", "billing"), uid=17, kvno=1)


@frozen
class Note:
    body: bytes
    hidden: bytes = field(repr=False)


def test_bytes_longer_than_an_id_are_counted_and_short_ones_shown() -> None:
    """CVE-2018-16889: tickets and keys never reach a log, ids and references do."""
    assert redact(bytes(17)) == "<17 bytes>"
    assert redact(bytearray(32)) == "<32 bytes>"
    assert redact(memoryview(bytes(40))) == "<40 bytes>"
    assert redact(b"\x01\x02") == "0102"
    assert redact(bytes(16)) == "00" * 16


def test_secrets_show_only_their_name() -> None:
    """CVE-2018-16889: at any depth."""
    assert redact({"a": [(ROOT,)]}) == {"a": [["<RootKey billing@example kvno=1 redacted>"]]}


def test_keys_in_text_form_are_cut_out() -> None:
    """A key pasted into an option or an error message does not survive."""
    assert redact_text("bad path ort1k_mfrgg2lk, and ort1m_ABC!") == "bad path <key redacted>, and <key redacted>!"
    assert redact_text("KEY_ort1k_mfrgg2lk") == "KEY_<key redacted>"
    whole = "ort1m_" + "mfrgg2lk" * 8
    assert redact_text(repr(f"first line\n{whole}")) == repr("first line\n<key redacted>")
    assert redact(ValueError("ort1k_mfrgg", MATERIAL)) == "ValueError('<key redacted>', '<32 bytes>')"
    assert redact_text("port1k_not a key") == "port1k_not a key"


def test_tokens_are_cut_out() -> None:
    """CVE-2018-16889 for bearer tokens: one that was sent in the wrong place is still as good as a key."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJiaWxsaW5nIn0.q1-_x"
    assert redact_text(f"client {token}, twice {token}") == "client <token redacted>, twice <token redacted>"
    assert redact_text(token[:30]) == "<token redacted>"
    assert redact_text(repr(f"first line\n{token}")) == repr("first line\n<token redacted>")
    assert redact_text("eyJhbGciOiJIUzI1NiJ9 alone, and keyJwk.name") == "eyJhbGciOiJIUzI1NiJ9 alone, and keyJwk.name"


def test_objects_are_searched_and_keep_their_hidden_fields_hidden() -> None:
    assert redact(Note(MATERIAL, MATERIAL)) == "Note(body='<32 bytes>')"
    keytab = redact(Keytab(ROOT.principal, 17, (KeytabEntry(ROOT),)))
    assert "<RootKey billing@example kvno=1 redacted>" in keytab


def test_plain_values_stay_what_they_are() -> None:
    for value in (None, True, 7, 1.5, "text", {"a": [1, "b"]}):
        assert redact(value) == value


def test_other_objects_show_their_repr_without_keys() -> None:
    assert redact(PurePosixPath("/run/ort1k_mfrgg")) == "PurePosixPath('/run/<key redacted>')"


def test_a_cycle_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "nested too deep" in str(redact(loop))


leaves = st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=64) | st.just(ROOT)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.builds(Note, inner, inner)
    ),
)


@given(trees, st.binary(min_size=17, max_size=48))
def test_no_long_bytes_and_no_secret_survive_anywhere(tree: Any, secret: bytes) -> None:
    shown = str(redact([tree, {"x": secret, "y": ROOT}]))
    assert str(secret) not in shown
    assert secret.hex() not in shown
    assert MATERIAL.hex() not in shown


@given(trees)
def test_what_is_redacted_stays_as_it_is(tree: Any) -> None:
    once = redact(tree)
    assert redact(once) == once
