"""What holds for every stack: it comes back as it was written, and no changed character goes unnoticed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthros_client.matryoshka import AuthStack, ReaderKey, SigningKey, StackLimits, nest, peek_unverified, read_stack
from orthros_client.matryoshka.claims import thawed
from orthros_protocol.errors import OrthrosError
from tests.client.matryoshka.tokens import encoded, jwt, layer

NOW = 1_800_000_000
LIMITS = StackLimits(max_chars=64 * 1024)
READER = ReaderKey(kid="reader", material=bytes(range(32)))
KEYS = {f"svc-{number}": SigningKey(material=bytes([number]) * 32) for number in range(9)}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/="

text = st.text(st.characters(codec="utf-8"), max_size=20)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
reserved = {"auth_stack", "auth_token", "exp", "nbf"}
claims = st.dictionaries(text.filter(lambda name: name not in reserved), value, max_size=4)
filling = st.builds(lambda one, count: {"filling": one * count}, text, st.integers(0, 60))
layers = st.lists(
    st.tuples(claims | filling, st.sampled_from([None, "gzip", "brotli"]), st.booleans()), min_size=1, max_size=5
)
places = st.integers(0, 1 << 20)
Layers = list[tuple[dict[str, Any], Any, bool]]


def written(parts: Layers) -> str:
    token: str | None = None
    for number, (content, compress, seal) in enumerate(parts):
        options: dict[str, Any] = {}
        if token is not None:
            options = {"previous": token, "sid": f"svc-{number}", "seal_for": READER if seal else None}
        key = KEYS[f"svc-{number}"]
        token = nest(content, key, compress=compress, limits=LIMITS, **options)
    assert token is not None
    return token


def changed(token: str, place: int, other: str) -> str:
    """Sealed containers make lengths differ from run to run, so places count around the end."""
    place %= len(token)
    if other == token[place]:
        other = ALPHABET[ALPHABET.index(other) - 1]
    return token[:place] + other + token[place + 1 :]


def read(token: str, depth: int) -> AuthStack:
    return read_stack(token, KEYS | {depth: KEYS["svc-0"]}, readers=READER, now_s=NOW, limits=LIMITS)


@pytest.mark.parity("M1", "M3", "M4")
@given(layers)
def test_what_was_written_comes_back(parts: Layers) -> None:
    depth = len(parts) - 1
    stack = read(written(parts), depth)
    assert stack.verified
    assert stack.remarks == frozenset()
    assert [thawed(layer.claims) for layer in stack.layers] == [content for content, _, _ in reversed(parts)]
    assert [layer.depth_found for layer in stack.layers] == list(reversed(range(depth + 1)))
    assert [layer.depth_said for layer in stack.layers[:-1]] == list(reversed(range(1, depth + 1)))
    assert [layer.sid for layer in stack.layers[:-1]] == [f"svc-{number}" for number in range(depth, 0, -1)]
    assert [layer.sealed for layer in stack.layers[1:]] == [seal for _, _, seal in reversed(parts[1:])]


@pytest.mark.parity("M2")
@given(layers, places, st.sampled_from([*ALPHABET, "", "AA", "."]))
@settings(max_examples=200)
def test_no_changed_character_goes_unnoticed(parts: Layers, place: int, other: str) -> None:
    """Flipped, dropped, replaced by two: each is an error."""
    with pytest.raises(OrthrosError):
        read(changed(written(parts), place, other), len(parts) - 1)


@pytest.mark.parity("M2")
@given(layers, places, st.sampled_from(ALPHABET))
def test_a_change_that_somebody_signed_around_is_found_too(parts: Layers, place: int, other: str) -> None:
    """A relay with a good key wraps what it changed; the layer it changed is still an error, or a remark."""
    inside = changed(written(parts), place, other)
    wrapped = layer(inside, KEYS["svc-8"].material, sid="svc-8", depth=len(parts))
    keys: dict[Any, SigningKey] = KEYS | {len(parts): KEYS["svc-0"]}
    try:
        stack = read_stack(wrapped, keys, readers=READER, now_s=NOW, limits=LIMITS, inner_faults="report")
    except OrthrosError:
        return
    assert not stack.verified
    assert stack.remarks & {"signature-wrong", "signature-unchecked", "hash-wrong", "opaque"}


@given(st.text(max_size=200) | st.text(ALPHABET, max_size=200))
def test_no_text_does_more_than_be_refused(junk: str) -> None:
    for token in (junk, layer(junk or "=", KEYS["svc-1"].material)):
        with pytest.raises(OrthrosError):
            peek_unverified(token)


json_text = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
members = st.dictionaries(
    st.sampled_from(["container", "fmt", "cmp", "sid", "depth", "hash", "x"]),
    json_text | st.sampled_from(["g", "b", "jwt", "JWE", "a.b.c", "0" * 64, jwt({}, KEYS["svc-1"].material)]),
)
headers = st.dictionaries(
    st.sampled_from(["alg", "enc", "kid", "typ", "cty", "jwk", "jku", "x5c", "epk", "p2c", "depth", "sid"]),
    json_text | st.sampled_from(["HS256", "dir", "A256GCM", "reader"]),
)


@given(
    st.dictionaries(st.sampled_from(["auth_stack", "auth_token", "exp", "nbf", "sub"]), members | json_text), headers
)
@settings(max_examples=300)
def test_whoever_has_a_key_can_still_only_be_refused_in_words(content: dict[str, Any], header: dict[str, Any]) -> None:
    """Signed by a key that is held here, whatever is in it: a stack or a typed error, and the stack can be shown."""
    token = jwt(content, KEYS["svc-1"].material, **(header | {"alg": "HS256"}))
    try:
        stack = read_stack(token, KEYS["svc-1"], readers=READER, now_s=NOW, inner_faults="report")
    except OrthrosError:
        return
    assert stack.layers[0].verified
    assert all(hop.isprintable() for hop in stack.hops)
    assert stack.depth >= len(stack.layers) - 1
    assert "svc" not in repr(stack)


@given(headers, st.lists(st.binary(min_size=1, max_size=20), min_size=4, max_size=4))
@settings(max_examples=300)
def test_no_sealed_junk_does_more_than_be_refused(header: dict[str, Any], parts: list[bytes]) -> None:
    start = encoded(json.dumps({"alg": "dir", "enc": "A256GCM", "kid": "reader"} | header).encode())
    for key in (b"", parts[0]):
        inside = ".".join([start, *map(encoded, (key, *parts[1:]))])
        try:
            stack = read_stack(layer(inside, KEYS["svc-1"].material), KEYS["svc-1"], readers=READER, now_s=NOW)
        except OrthrosError:
            continue
        assert stack.opaque == 1
