"""Names: canonical ASCII or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import Malformed, Misconfigured
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.names import (
    KDC_SERVICES,
    Principal,
    cached_principal,
    check_name,
    check_scopes,
    is_name,
    is_scope,
    scope_order,
)
from orthros_protocol.primitives.schema import Message, message, text, text_set
from tests.support.naive import enc

NOT_NAMES = [
    "", "A", "Billing", "a b", "a\n", "\na", "a\0", ".a", "a.", "a..b", "a//b", "/a", "a/", "-a", "a-", "_a", "a_",
    "a._b",     "é", "a\u0301", "\u0430bc", "a@b", "a:b", "*", "a" * 129, "\uff42", "²", "a\u200b", "%61", "a\\b",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_NAMES)
def test_what_is_not_canonical_is_no_name(text: str) -> None:
    """Section 17: names not canonical."""
    assert not is_name(text)
    with pytest.raises(Misconfigured, match="name-invalid"):
        Principal("test.realm", text)
    with pytest.raises(Misconfigured, match="name-invalid"):
        Principal(text, "billing")


@pytest.mark.parametrize("text", ["a", "0", "a.b", "a/b-c_d.e", "a" * 128, "kdc/tgt", "xn--80ak6aa92e"[:2] + "80"])
def test_names_of_every_shape_pass(text: str) -> None:
    assert is_name(text)
    assert check_name(text) is text


@given(st.text(max_size=12))
def test_a_name_is_exactly_its_ascii_segments(text: str) -> None:
    import re

    expected = bool(text) and all(
        part and set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789") for part in re.split(r"[._/-]", text)
    )
    assert is_name(text) == expected


@pytest.mark.parametrize("text", [b"a", None, 1])
def test_only_str_is_a_name(text: object) -> None:
    with pytest.raises(Misconfigured, match="name-invalid"):
        check_name(text)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Principal("test.realm", text)  # type: ignore[arg-type]


def test_text_form_comes_back() -> None:
    billing = Principal("test.realm", "team/billing")
    assert Principal.parse(str(billing)) == billing == cached_principal("test.realm", "team/billing")
    for line in ("billing", "@", "a@", "@r", "a@r@s"):
        with pytest.raises(Misconfigured, match="name-invalid"):
            Principal.parse(line)


def test_names_that_look_alike_are_different_principals() -> None:
    assert len({Principal("r", name) for name in ("ab", "a-b", "a.b", "a/b", "a_b")}) == 5
    assert Principal("r", "a") != Principal("a", "r")


def test_the_initial_services_are_names_of_their_own() -> None:
    assert all(is_name(name) for name in KDC_SERVICES)
    assert len(set(KDC_SERVICES)) == 3


def test_scopes_become_a_sorted_set() -> None:
    assert check_scopes(["write", "read", "read", "a"]) == ("a", "read", "write")
    assert check_scopes(()) == ()


@pytest.mark.parametrize("scope", ["", "A", ":a", ".a", "a b", "a" * 65, "é", "a\n", "*", 1, None])
def test_bad_scopes_are_refused(scope: object) -> None:
    if isinstance(scope, str):
        assert not is_scope(scope)
    with pytest.raises(Misconfigured, match="scope-invalid"):
        check_scopes([scope])


@pytest.mark.parametrize("scopes", ["read", b"read", [f"s{n}" for n in range(33)]])
def test_one_string_or_too_many_are_not_a_list_of_scopes(scopes: object) -> None:
    with pytest.raises(Misconfigured, match="scope-invalid"):
        check_scopes(scopes)


@given(st.lists(st.from_regex(r"[a-z0-9][a-z0-9._:/-]{0,63}", fullmatch=True), max_size=8))
def test_the_order_of_scopes_is_the_order_of_their_encodings(scopes: list[str]) -> None:
    assert sorted(scopes, key=scope_order) == sorted(scopes, key=encode)


def test_what_strangers_send_is_not_remembered_at_length() -> None:
    """Predicates may remember their answers; a frame of 64 KiB must not become a memory of 64 KiB."""

    @message("scopes")
    class Scopes(Message):
        scopes: tuple[str, ...] = text_set(is_scope, 32)
        name: str = text(is_name)

    remembered = getattr(is_scope, "cache_info", None)
    before = remembered().currsize if remembered else 0
    for scopes, name in (["a" * 129], "a"), ([], "a" * 129):
        with pytest.raises(Malformed):
            Scopes.decode(enc(scopes, name))
    assert before == (remembered().currsize if remembered else 0)
