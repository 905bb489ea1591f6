"""The PRF, sub-keys and MACs, against published values and against a plain second implementation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved
from orthros_protocol.primitives.derivation import checksum, derive, digest, mac, mac_matches, prf, require_mac
from tests.support import naive

KEY = bytes(range(32))
keys = st.binary(min_size=32, max_size=32)
labels = st.from_regex(r"[a-z0-9.-]{1,38}", fullmatch=True)


@given(keys, labels, st.binary(max_size=200))
def test_prf_is_the_construction_of_the_specification(key: bytes, label: str, message: bytes) -> None:
    assert prf(key, label, message) == naive.prf(key, label, message)
    assert mac(key, label, message) == naive.mac(key, label, message)


@given(keys, labels, st.binary(max_size=80), st.integers(1, 64))
def test_derive_is_one_block_of_hkdf_expand(key: bytes, label: str, context: bytes, size: int) -> None:
    assert derive(key, label, context, size) == naive.kd(key, label, context, size)
    assert len(derive(key, label, context, size)) == size


def test_digests_are_sha256() -> None:
    assert digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert checksum(b"abc") == digest(b"abc").hex()


@pytest.mark.parametrize("size", [0, 1, 16, 31, 33, 64, 128, 129])
def test_a_key_of_another_length_is_misuse(size: int) -> None:
    """Section 18: HMAC pads and hashes keys, so a key and the key plus a zero byte would collide."""
    with pytest.raises(LocalMisuse, match="key-misuse"):
        prf(bytes(size), "test", b"")


@pytest.mark.parametrize("key", ["k" * 32, bytearray(32), memoryview(bytes(32)), None])
def test_a_key_of_another_type_is_misuse(key: object) -> None:
    with pytest.raises(LocalMisuse, match="key-misuse"):
        prf(key, "test", b"")  # type: ignore[arg-type]


@pytest.mark.parametrize("label", ["", "A", "a b", "a\0", "a_b", "é", "a" * 41, "a\n"])
def test_a_label_outside_its_alphabet_is_misuse(label: str) -> None:
    with pytest.raises(LocalMisuse, match="PRF label"):
        prf(KEY, label, b"")


@pytest.mark.parametrize("size", [0, -1, 65])
def test_a_derived_key_fits_in_one_block(size: int) -> None:
    with pytest.raises(LocalMisuse, match="1 to 64"):
        derive(KEY, "test", b"", size)


def test_label_message_and_length_are_separated() -> None:
    """No two ways to split the same bytes give the same output."""
    outputs = {
        prf(KEY, "a", b"b"), prf(KEY, "ab", b""), prf(KEY, "k.a", b""), derive(KEY, "a", size=64),
        derive(KEY, "a", b"\x01", 64), derive(KEY, "a", size=63) + b"\0", prf(KEY, "m.a", b""), prf(KEY, "a", b"\0b"),
    }  # fmt: skip
    assert len(outputs) == 8


def test_a_mac_verifies_once_and_for_one_label_only() -> None:
    right = mac(KEY, "one", b"message")
    require_mac(KEY, "one", b"message", right)
    assert mac_matches(right, right)
    for label, message, received in (
        ("two", b"message", right),
        ("one", b"messagf", right),
        ("one", b"message", right[:31]),
        ("one", b"message", b""),
        ("one", b"message", right + b"\0"),
    ):
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            require_mac(KEY, label, message, received)


def test_the_error_does_not_contain_the_right_mac() -> None:
    """Section 18: error text that contains the right MAC."""
    with pytest.raises(PeerMisbehaved) as caught:
        require_mac(KEY, "one", b"message", bytes(32))
    assert mac(KEY, "one", b"message").hex()[:8] not in str(caught.value) + repr(caught.value)


def test_a_mac_as_str_is_a_type_error_and_never_a_match() -> None:
    with pytest.raises(TypeError):
        require_mac(KEY, "one", b"message", "0" * 32)  # type: ignore[arg-type]
