"""A strict writer: what it writes is right, small enough, and nothing that somebody else can use against its key."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_client.matryoshka import HEADER_CHARS, AuthStack, SigningKey, StackLimits, nest, read_stack
from orthros_protocol.errors import LocalMisuse, OrthrosError, Refused
from tests.client.matryoshka.tokens import MATERIAL, claims_of, container_hash, encoded, jwt, layer, signed

NOW = 1_800_000_000
KEY = SigningKey(material=MATERIAL)
WIDE = StackLimits(max_depth=32, max_chars=256 * 1024, max_inflated=1024 * 1024)
CLAIMS = {"sub": "1234567890", "name": "John Doe", "iat": 1516239022}


def read(token: str, **options: Any) -> AuthStack:
    return read_stack(token, KEY, now_s=NOW, **options)


def stack_of(depth: int, limits: StackLimits = WIDE, **options: Any) -> str:
    token = nest(CLAIMS, KEY, limits=limits, **options)
    for number in range(depth):
        token = nest(
            CLAIMS, KEY, previous=token, sid=f"Organization.Services.Service{number}", limits=limits, **options
        )
    return token


@pytest.mark.parity("M1", "M2")
def test_every_member_is_there_and_true() -> None:
    """Fmt, sid, depth, container and the hash over the container as sent."""
    inner = nest({"sub": "client"}, KEY)
    assert claims_of(inner) == {"sub": "client"}
    token = nest({"sub": "a"}, KEY, previous=inner, sid="svc-a")
    member = claims_of(token)["auth_stack"]
    assert member == {"fmt": "jwt", "sid": "svc-a", "depth": 1, "hash": container_hash(inner), "container": inner}
    onward = nest({"sub": "b"}, KEY, previous=read(token), sid="svc-b")
    assert claims_of(onward)["auth_stack"]["depth"] == 2
    stack = read(onward)
    assert stack.verified
    assert stack.remarks == {"sid-unproven"}
    assert read_stack(onward, {"svc-a": KEY, "svc-b": KEY, 2: KEY}, now_s=NOW).remarks == set()


@pytest.mark.parity("M2")
def test_other_algorithms_of_the_key_sign_and_the_hash_stays() -> None:
    """The hash is HMAC-SHA256 whatever signs."""
    key = SigningKey(alg="HS512", material=bytes(range(64)), kid="k1")
    inner = nest({"sub": "client"}, key)
    token = nest({"sub": "a"}, key, previous=inner, sid="svc-a")
    assert claims_of(token)["auth_stack"]["hash"] == container_hash(inner, bytes(range(64)))
    stack = read_stack(token, {"k1": key}, now_s=NOW)
    assert stack.verified
    assert {layer.kid for layer in stack.layers} == {"k1"}


@pytest.mark.parity("M6")
def test_loops_are_not_written() -> None:
    """Also one that somebody else began, unless the caller wants it."""
    token = layer(layer(jwt({"sub": "client"}), sid="svc-a"), sid="svc-b")
    with pytest.raises(Refused, match=r"chain-refused.*svc-a"):
        nest({"sub": "a"}, KEY, previous=token, sid="svc-a")
    again = nest({"sub": "a"}, KEY, previous=token, sid="svc-a", allow_loops=True)
    assert read(again).loops == ("svc-a",)
    with pytest.raises(Refused, match=r"chain-refused.*svc-a"):
        nest({"sub": "c"}, KEY, previous=again, sid="svc-c")


@pytest.mark.parity("M6")
def test_a_stack_that_lies_about_its_layers_does_not_help() -> None:
    """The text counts as well as what was read from it."""
    token = layer(layer(jwt({"sub": "client"}), sid="svc-a"), sid="svc-b")
    with pytest.raises(Refused, match="chain-refused"):
        nest({}, KEY, previous=AuthStack(layers=(), text=token), sid="svc-a")
    onward = nest({}, KEY, previous=AuthStack(layers=(), text=token), sid="svc-c")
    assert claims_of(onward)["auth_stack"]["depth"] == 3


@pytest.mark.parity("M6")
def test_depth_is_limited_when_writing() -> None:
    eight = stack_of(8)
    with pytest.raises(Refused, match=r"chain-refused.*9 tokens"):
        nest({"sub": "a"}, KEY, previous=eight, sid="svc-a", limits=StackLimits(max_chars=64 * 1024))
    with pytest.raises(Refused, match="chain-refused"):
        nest({"sub": "a"}, KEY, previous=stack_of(1), sid="svc-a", limits=StackLimits(max_depth=1))


@pytest.mark.parity("M7")
def test_sizes_to_depth_sixteen(record_property: Any) -> None:
    """Each level of base64 in base64 costs a third more, so a header's 6 KiB end before depth 8; sizes are kept
    with the test's report."""
    sizes = {
        compress: {depth: len(stack_of(depth, compress=compress)) for depth in (1, 2, 3, 5, 8, 12, 16)}
        for compress in (None, "gzip", "brotli")
    }
    for compress, row in sizes.items():
        record_property(f"nested characters, {compress}", row)
        assert sorted(row.values()) == list(row.values())
        assert row[5] < HEADER_CHARS < row[8]
        assert row[16] > 4 * row[8]
    # Never more than uncompressed, and less where there is something to gain.
    for compress in ("gzip", "brotli"):
        assert all(sizes[compress][depth] <= plain for depth, plain in sizes[None].items())
        assert sizes[compress][16] < sizes[None][16]
    assert read(stack_of(16), limits=WIDE).verified


@pytest.mark.parity("M7")
def test_a_header_takes_no_more_than_six_kib() -> None:
    """Refused rather than cut off by a proxy."""
    assert HEADER_CHARS == 6144
    with pytest.raises(Refused, match=r"chain-refused.*at most 6144"):
        nest({"sub": "a"}, KEY, previous=stack_of(8), sid="svc-a", limits=StackLimits(max_depth=9, max_chars=6144))
    with pytest.raises(Refused, match="at most 6144"):
        nest({"sub": "a" * 6000}, KEY)
    for depth in range(9):
        try:
            token = stack_of(depth, StackLimits(max_chars=HEADER_CHARS))
        except Refused:
            assert depth > 5
        else:
            assert len(token) <= HEADER_CHARS


def test_the_hash_is_no_oracle_for_signatures() -> None:
    """HMAC over "header.payload" with this key would be the signature of a token of the attacker's choice."""
    forged = f"{encoded(b'{}')}.{encoded(b'{}')}"
    for wish in (forged, f"{forged}.", f".{forged}", f"{forged}.x.y", f"{forged}=", encoded(b"admin")):
        with pytest.raises(OrthrosError):
            nest({"sub": "a"}, KEY, previous=wish, sid="svc-a")
        with pytest.raises(OrthrosError):
            nest({"sub": "a"}, KEY, previous=AuthStack(layers=(), text=wish), sid="svc-a")
    # An unencoded payload (RFC 7797) may hold dots, so that a whole token could be what is signed.
    unencoded = signed('{"alg":"HS256","b64":false,"crit":["b64"]}', "{}")
    with pytest.raises(OrthrosError, match="token-invalid"):
        nest({"sub": "a"}, KEY, previous=unencoded, sid="svc-a")


@pytest.mark.parametrize(
    "claims",
    [
        {"auth_stack": {}}, {"auth_token": "x"}, {"a": float("nan")}, {"a": float("inf")}, {"a": {1, 2}}, {1: "a"},
        {"a": "\ud800"}, {"a": b"bytes"}, {"a": {2: 1}}, {"a": [[[[[[[[[]]]]]]]]]}, {"a": list(range(600))}, [("a", 1)],
    ],
)  # fmt: skip
def test_claims_that_cannot_be_read_again_are_not_written(claims: Any) -> None:
    with pytest.raises(LocalMisuse, match="value-invalid"):
        nest(claims, KEY)


def test_claims_that_contain_themselves() -> None:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    with pytest.raises(LocalMisuse, match="value-invalid"):
        nest(ring, KEY)


@pytest.mark.parametrize(
    "options",
    [
        {"sid": "a"}, {"previous": jwt({})}, {"previous": jwt({}), "sid": ""}, {"previous": jwt({}), "sid": "a\n"},
        {"previous": jwt({}), "sid": "a", "compress": "zip"}, {"previous": jwt({}), "sid": 7},
    ],
)  # fmt: skip
def test_misuse_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(LocalMisuse, match="value-invalid"):
        nest({"sub": "a"}, KEY, **options)


def test_keys_sign_for_their_own_service_and_in_full_length() -> None:
    own = SigningKey(material=MATERIAL, sid="svc-a")
    assert read(nest({}, own, previous=jwt({}), sid="svc-a")).verified
    with pytest.raises(LocalMisuse, match="value-invalid"):
        nest({}, own, previous=jwt({}), sid="svc-b")
    with pytest.raises(LocalMisuse, match="key-misuse"):
        nest({}, SigningKey(material=b"example", weak=True))


def test_a_previous_text_must_be_a_stack() -> None:
    for text in ("", "a.b.c", jwt({"auth_stack": 7}), jwt({"sub": "x"}, alg="none")):
        with pytest.raises(OrthrosError):
            nest({}, KEY, previous=text, sid="svc-a")
