from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.issuing.token_claims import (
    MAX_EXTRA_BYTES,
    RESERVED_CLAIMS,
    canonical_json,
    check_extra_claims,
    subject_name,
)
from orthros_protocol.errors import LocalMisuse, Refused
from tests.kdc.issuing.tokens import FULL, HS256, PLAIN, claims_of, minted, opened

ALLOWED = ("tenant", "seats", "trial", *(f"c{at}" for at in range(12)))
OVERWRITTEN = ["iss", "jti", "exp", "act", "sub", "aud", "scope", "client_id", "may_act", "ext", "kdc", "nbf", "txn"]


@pytest.mark.parity("P7")
def test_listed_claims_pass_as_they_are() -> None:
    """Text, whole numbers, true and false."""
    given_claims: dict[str, str | int | bool] = {"tenant": "blue \u00fcber", "seats": -7, "trial": True}
    assert check_extra_claims(ALLOWED, given_claims) == given_claims
    assert check_extra_claims(ALLOWED, {}) == {}
    token = opened(minted(HS256, evolve(PLAIN, extra=given_claims)))
    assert token.ext == given_claims
    assert [type(value) for value in token.ext.values()] == [int, str, bool]


@pytest.mark.parity("P7")
@pytest.mark.parametrize("name", OVERWRITTEN)
def test_a_reserved_name_is_refused_even_when_it_is_listed(name: str) -> None:
    """Nobody overwrites what the KDC says."""
    with pytest.raises(Refused, match=f"claim-refused.*'{name}': the name is reserved"):
        check_extra_claims([*ALLOWED, name], {"tenant": "blue", name: "root"})
    assert name in RESERVED_CLAIMS


@pytest.mark.parity("P7")
def test_every_claim_that_the_kdc_writes_is_reserved() -> None:
    """The list cannot fall behind the tokens."""
    assert claims_of(minted(HS256, FULL)).keys() <= RESERVED_CLAIMS


@pytest.mark.parity("P7")
def test_extra_claims_stand_apart_from_the_kdcs() -> None:
    """Even a name that got past every check would only be a member of `ext`."""
    claims = claims_of(minted(HS256, evolve(PLAIN, extra={"sub": "root"})))
    assert (claims["sub"], claims["ext"]) == ("billing@corp.test", {"sub": "root"})


@pytest.mark.parity("P7")
@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"owner": "me"}, "'owner': the target does not take it"),
        ({"TENANT": "blue"}, "'TENANT': the target does not take it"),
        ({"": "blue"}, "'': the target does not take it"),
        ({"tenant": "x" * 257}, "'tenant': at most 256 characters"),
        ({"tenant": "\ud800"}, "'tenant': not Unicode text"),
        ({"tenant": None}, "'tenant': neither text"),
        ({"tenant": 1.5}, "'tenant': neither text"),
        ({"tenant": float("nan")}, "'tenant': neither text"),
        ({"tenant": ["blue"]}, "'tenant': neither text"),
        ({"tenant": {"sub": "root"}}, "'tenant': neither text"),
        ({"tenant": b"blue"}, "'tenant': neither text"),
        ({"seats": 2**53 + 1}, "'seats': a number beyond 2\\^53"),
        ({"seats": -(2**53) - 1}, "'seats': a number beyond 2\\^53"),
        ({f"c{at}": at for at in range(9)}, "'c8': at most 8 claims"),
        ({f"c{at}": "x" * 250 for at in range(5)}, "'c3': at most 1024 bytes"),
        ({"tenant": "\U0001f41f" * 90}, "'tenant': at most 1024 bytes"),
    ],
)
def test_anything_else_is_refused_by_name(claims: dict[str, Any], why: str) -> None:
    """allow-listed, typed and bounded, and the error names the claim."""
    with pytest.raises(Refused, match=f"claim-refused: .*claim {why}"):
        check_extra_claims(ALLOWED, claims)


@pytest.mark.parity("P7")
def test_a_long_name_does_not_flood_the_error() -> None:
    """What a stranger calls a claim is quoted, but not at any length."""
    with pytest.raises(Refused) as caught:
        check_extra_claims(ALLOWED, {"\n" * 5000: 1})
    assert len(caught.value.detail) < 120
    assert "\n" not in caught.value.detail


@pytest.mark.parity("P7")
def test_the_limits_themselves_are_allowed() -> None:
    """Exactly 256 characters, 2^53, 8 claims."""
    most = {"tenant": "x" * 256, "seats": 2**53, **{f"c{at}": at for at in range(6)}}
    assert check_extra_claims(ALLOWED, most) == most


@pytest.mark.parity("P7")
@given(st.dictionaries(st.sampled_from(ALLOWED), st.text() | st.integers() | st.booleans() | st.none() | st.floats()))
def test_what_passes_fits_and_comes_back_unchanged(claims: dict[str, Any]) -> None:
    """Over all values: refused, or in the token exactly as given."""
    try:
        checked = check_extra_claims(ALLOWED, claims)
    except Refused:
        return
    assert len(canonical_json(checked)) <= MAX_EXTRA_BYTES
    assert opened(minted(HS256, evolve(PLAIN, extra=checked))).ext == claims


@pytest.mark.parity("P7")
def test_a_token_is_not_minted_with_claims_that_nobody_checked() -> None:
    """The shape is looked at again where it counts."""
    with pytest.raises(Refused, match="claim-refused"):
        minted(HS256, evolve(PLAIN, extra={"tenant": ["blue"]}))  # type: ignore[dict-item]


@pytest.mark.parity("P8")
def test_nobody_acts_for_a_client_that_speaks_for_itself() -> None:
    """`act` and `sub` go together."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        minted(HS256, evolve(PLAIN, actors=("gate@corp.test",)))


@pytest.mark.parity("P8")
@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("user/ada", "user/ada"),
        ("billing@corp.test", "billing"),
        ("billing@other.test", "billing@other.test"),
        ("billing@", "billing@"),
        ("a@b@corp.test", "a@b@corp.test"),
    ],
)
def test_rules_know_a_subject_by_its_name_in_this_realm(subject: str, name: str) -> None:
    """Another realm's principal keeps its realm, and so matches no rule."""
    assert subject_name(subject, "corp.test") == name


def test_canonical_json_has_one_form() -> None:
    """Sorted, without white space, ASCII: as docs/protocol/jwt.md says."""
    assert canonical_json({"b": [1, True], "a": '\u00fc\U0001f41f\x7f\n"/'}) == (
        b'{"a":"\\u00fc\\ud83d\\udc1f\\u007f\\n\\"/","b":[1,true]}'
    )
