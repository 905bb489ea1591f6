"""Compressed containers: read as they really are, and never inflated beyond the budget."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.matryoshka import AuthStack, SigningKey, StackLimits, nest, read_stack
from orthros_protocol.errors import Malformed, Refused
from tests.client.matryoshka.tokens import MATERIAL, claims_of, jwt, layer, padded

NOW = 1_800_000_000
KEY = SigningKey(material=MATERIAL)
CLIENT = jwt({"sub": "client", "roles": [f"role-{number}" for number in range(40)]})
INNER = layer(layer(CLIENT))
MIB = 1 << 20


def read(token: str, **options: int) -> AuthStack:
    return read_stack(token, KEY, now_s=NOW, limits=StackLimits(**options))


def packed(data: bytes, cmp: str | None = "g") -> str:
    return layer(padded(data), cmp=cmp)


@pytest.mark.parity("M3")
@pytest.mark.parametrize(
    ("cmp", "compress"),
    [("g", gzip.compress), ("b", brotli.compress), ("g", lambda data: zlib.compress(data, 1, wbits=31))],
)
@pytest.mark.parametrize(
    "encode", [b64encode, urlsafe_b64encode, lambda data: b64encode(data).rstrip(b"=")], ids=["plain", "url", "bare"]
)
def test_both_compressions_in_any_base64(
    cmp: str, compress: Callable[[bytes], bytes], encode: Callable[[bytes], bytes]
) -> None:
    stack = read(layer(encode(compress(INNER.encode())).decode(), cmp=cmp))
    assert stack.verified
    assert stack.depth == 3
    assert stack.remarks == frozenset()


@pytest.mark.parity("M2", "M3")
@pytest.mark.parametrize("cmp", [None, "b", "G", "x"])
def test_gzip_is_known_by_its_first_bytes(cmp: str | None) -> None:
    """Whatever `cmp` says."""
    stack = read(packed(gzip.compress(CLIENT.encode()), cmp))
    assert stack.verified
    assert stack.remarks == {"compression-mislabelled"}


@pytest.mark.parity("M3")
@pytest.mark.parametrize(
    ("data", "cmp"),
    [
        (gzip.compress(CLIENT.encode()) + b"x", "g"),
        (gzip.compress(CLIENT.encode()) + b"\0" * 8, "g"),
        (gzip.compress(CLIENT[:50].encode()) + gzip.compress(CLIENT[50:].encode()), "g"),
        (gzip.compress(CLIENT.encode())[:-1], "g"),
        (gzip.compress(CLIENT.encode())[:-8] + bytes(8), "g"),
        (b"\x1f\x8b", "g"),
        (brotli.compress(CLIENT.encode()) + b"x", "b"),
        (brotli.compress(CLIENT.encode()) * 2, "b"),
        (brotli.compress(CLIENT.encode())[:-1], "b"),
        (brotli.compress(CLIENT.encode(), lgwin=24), "b"),
        (brotli.compress(CLIENT.encode()), "g"),
        (brotli.compress(CLIENT.encode()), None),
        (b"\x11", "b"),
        (zlib.compress(CLIENT.encode()), "g"),
        (gzip.compress(b""), "g"),
        (gzip.compress("n\u00e4h.a.b".encode()), "g"),
        (gzip.compress(b"neither one nor the other"), "g"),
        (gzip.compress(padded(gzip.compress(CLIENT.encode())).encode()), "g"),
        (b64encode(CLIENT.encode()), "g"),
    ],
    ids=itertools.count(),  # gzip writes the time into its head, and names of tests are the same in all processes
)
def test_exactly_one_stream_around_exactly_one_token(data: bytes, cmp: str | None) -> None:
    """No second member, nothing after the end, no early end, no compression twice."""
    with pytest.raises(Malformed):
        read(packed(data, cmp))


def bomb(cmp: str, size: int) -> bytes:
    data = CLIENT.encode() + b"A" * size
    return gzip.compress(data, 9) if cmp == "g" else brotli.compress(data, lgwin=22)


@pytest.mark.parity("M3")
@pytest.mark.parametrize("cmp", ["g", "b"])
@pytest.mark.parametrize("ratio", [16, 64])
def test_a_bomb_is_stopped_while_it_inflates(cmp: str, ratio: int) -> None:
    """Sixteen MiB in a few KiB; memory stays near the budget, whichever limit is met first."""
    token = packed(bomb(cmp, 16 * MIB), cmp)
    assert len(token) < 32 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="inflates to more than its limit"):
            read(token, max_ratio=ratio)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB


@pytest.mark.parity("M3")
@pytest.mark.parametrize("cmp", ["g", "b"])
def test_the_ratio_counts_below_the_budget_too(cmp: str) -> None:
    """100 KiB of one letter are within the budget of bytes and still no honest token."""
    with pytest.raises(Malformed, match="inflates to more than its limit"):
        read(packed(bomb(cmp, 100 * 1024), cmp))


@pytest.mark.parity("M3")
def test_many_small_inflations_share_one_budget() -> None:
    """Eight layers, none of them above a limit by itself."""
    token = CLIENT
    sizes = 0
    for number in range(6):
        claims = {"filling": f"{number}" * 2500, "auth_stack": {"fmt": "jwt", "container": token}}
        inside = jwt(claims)
        sizes += len(inside)
        token = layer(padded(gzip.compress(inside.encode())), cmp="g")
    assert read(token, max_depth=16, max_inflated=sizes).depth == 12
    with pytest.raises(Malformed, match="inflates to more than its limit"):
        read(token, max_depth=16, max_inflated=sizes - 1)


@pytest.mark.parity("M6")
def test_a_stack_without_end_ends_at_the_depth() -> None:
    """Layers that each hide the next in a few bytes."""
    token = CLIENT
    for _ in range(12):
        token = layer(padded(gzip.compress(token.encode())), cmp="g")
    with pytest.raises(Refused, match="chain-refused"):
        read(token, max_chars=256 * 1024, max_inflated=MIB)


@given(st.binary(max_size=300), st.sampled_from(["g", "b", None]))
def test_no_bytes_do_more_than_be_refused(data: bytes, cmp: str | None) -> None:
    with pytest.raises(Malformed):
        read(layer(padded(data) or "=", cmp=cmp))
    with pytest.raises(Malformed):
        read(layer(padded(b"\x1f\x8b\x08" + data), cmp=cmp))


@pytest.mark.parity("M3")
@pytest.mark.parametrize("compress", ["gzip", "brotli"])
def test_written_containers_are_compressed_only_when_that_is_smaller(compress: str) -> None:
    """A short token stays as it is; the same input gives the same bytes."""
    short, long = jwt({"sub": "client"}), CLIENT
    written = {
        text: nest({"sub": "a"}, KEY, previous=text, sid="a", compress=compress)  # type: ignore[arg-type]
        for text in (short, long)
    }
    assert "cmp" not in claims_of(written[short])["auth_stack"]
    member = claims_of(written[long])["auth_stack"]
    assert member["cmp"] == compress[0]
    assert len(member["container"]) < len(long)
    plain = nest({"sub": "a"}, KEY, previous=long, sid="a", compress=None)
    assert len(written[long]) < len(plain)
    again = nest({"sub": "a"}, KEY, previous=long, sid="a", compress=compress)  # type: ignore[arg-type]
    assert again == written[long]
    for token in (*written.values(), plain):
        assert read(token).verified


@pytest.mark.parity("M3")
def test_what_shrinks_too_well_is_not_compressed() -> None:
    """The strict writer writes nothing that the tolerant reader would take for a bomb."""
    previous = jwt({"sub": "client", "filling": "a" * 20_000})
    token = nest({"sub": "a"}, KEY, previous=previous, sid="a", limits=StackLimits(max_chars=64 * 1024))
    assert "cmp" not in claims_of(token)["auth_stack"]
    assert read(token, max_chars=64 * 1024).verified
    assert json.loads(json.dumps(claims_of(token)))["auth_stack"]["container"] == previous
