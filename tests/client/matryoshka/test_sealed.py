"""Sealed containers: opened by the reader they name, kept closed and counted by everybody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from orthros_client.matryoshka import AuthStack, ReaderKey, SigningKey, nest, peek_unverified, read_stack
from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from tests.client.matryoshka.tokens import MATERIAL, claims_of, encoded, jwt, layer

NOW = 1_800_000_000
KEY = SigningKey(material=MATERIAL)
READER = ReaderKey(kid="auditor", material=bytes(range(32)))
STRANGER = ReaderKey(kid="stranger", material=bytes(range(1, 33)))
CLIENT = jwt({"sub": "client"})


def read(token: str, readers: Any = None, **options: Any) -> AuthStack:
    return read_stack(token, KEY, now_s=NOW, readers=readers, **options)


def sealed(text: str, reader: ReaderKey = READER, **header: Any) -> str:
    """As somebody else's library seals."""
    whole = {"alg": "dir", "enc": "A256GCM", "kid": reader.kid} | header
    whole = {name: value for name, value in whole.items() if value is not None}
    registry = jwe.JWERegistry(strict_check_header=False)
    return jwe.encrypt_compact(whole, text, OctKey.import_key(reader.material), registry=registry)


def hidden(**options: Any) -> str:
    inner = nest({"sub": "a"}, KEY, previous=CLIENT, sid="svc-a")
    inner = nest({"sub": "b"}, KEY, previous=inner, sid="svc-b")
    return nest({"sub": "c"}, KEY, previous=inner, sid="svc-c", seal_for=READER, **options)


@pytest.mark.parity("M4")
def test_the_named_reader_sees_the_whole_path() -> None:
    stack = read(hidden(), READER)
    assert stack.verified
    assert stack.opaque == 0
    assert stack.hops == ("client", "svc-a", "svc-b", "svc-c")
    assert [layer.sealed for layer in stack.layers] == [False, True, False, False]
    assert read(hidden(), {"auditor": READER, "other": STRANGER}).verified


@pytest.mark.parity("M4")
@pytest.mark.parametrize("readers", [None, {}, STRANGER, {"stranger": STRANGER}])
def test_a_stranger_sees_how_deep_it_says_it_is(readers: Any) -> None:
    """The sealed layer is counted, and what is said about it stays somebody's word."""
    token = hidden()
    stack = read(token, readers)
    assert (stack.opaque, stack.depth, stack.verified) == (1, 3, False)
    outer, inside = stack.layers
    assert (outer.verified, outer.depth_said, outer.depth_found) == (True, 3, 1)
    assert "depth-mismatch" not in stack.remarks
    assert (inside.opaque, inside.verified, inside.sid, inside.depth_said) == (True, False, None, None)
    assert (dict(inside.claims), inside.remarks, inside.kid) == ({}, ("opaque",), "auditor")
    assert stack.hops == ("(sealed)", "svc-c")
    for name in ("svc-a", "svc-b", "client"):
        assert name not in str(claims_of(token))


@pytest.mark.parity("M4")
def test_the_depth_can_be_kept_back() -> None:
    """The topology may be nobody's business."""
    stack = read(hidden(tell_depth=False))
    assert (stack.depth, stack.opaque) == (1, 1)
    assert stack.layers[0].depth_said is None


@pytest.mark.parity("M4")
def test_what_a_sealed_layer_says_of_itself_is_unverified() -> None:
    """Header parameters repeat claims (RFC 7519, section 5.3); nobody signed these for us."""
    stack = read(layer(sealed(CLIENT, depth=4, sid="svc-x"), fmt="JWE"))
    inside = stack.layers[1]
    assert (inside.depth_said, inside.sid, inside.verified, stack.depth) == (4, "svc-x", False, 5)
    assert stack.hops[0] == "(sealed, 4 inside as it says)"
    odd = read(layer(sealed(CLIENT, depth="4", sid="a\nb"), fmt="JWE")).layers[1]
    assert (odd.depth_said, odd.sid) == (None, None)


@pytest.mark.parity("M4")
def test_going_on_around_an_opaque_layer_keeps_count() -> None:
    """The next service says one more than was said to it."""
    onward = nest({"sub": "d"}, KEY, previous=read(hidden()), sid="svc-d")
    assert claims_of(onward)["auth_stack"]["depth"] == 4
    assert read(onward).depth == 4
    assert read(onward, READER).hops == ("client", "svc-a", "svc-b", "svc-c", "svc-d")
    with pytest.raises(Refused, match="chain-refused"):
        nest({"sub": "d"}, KEY, previous=layer(sealed(CLIENT), depth=8), sid="svc-d")


def test_a_sealed_container_that_names_us_and_does_not_open_is_an_error() -> None:
    wrong = sealed(CLIENT, ReaderKey(kid="auditor", material=bytes(32)))
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        read(layer(wrong), READER)
    parts = sealed(CLIENT).split(".")
    for number in (2, 3, 4):
        cut = [*parts[:number], parts[number][:-4], *parts[number + 1 :]]
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            read(layer(".".join(cut)), READER)
    other_header = [encoded(b'{"alg":"dir","enc":"A256GCM","kid":"auditor","depth":0}'), *parts[1:]]
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        read(layer(".".join(other_header)), READER)
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        read(layer(".".join([parts[0], encoded(b"key"), *parts[2:]])), READER)


def test_without_a_name_only_the_key_decides() -> None:
    assert read(layer(sealed(CLIENT, kid=None), fmt="jwe"), READER).verified
    assert read(layer(sealed(CLIENT, kid=None), fmt="jwe"), STRANGER).opaque == 1
    assert read(layer(sealed(CLIENT, kid=None), fmt="jwe"), {"auditor": READER}).opaque == 1


@pytest.mark.parametrize(
    "header",
    [{"alg": "A256KW"}, {"enc": "A256CBC-HS512"}, {"zip": "DEF"}, {"crit": ["exp"]}, {"alg": "PBES2-HS256+A128KW"}],
)
def test_the_key_is_for_one_way_of_sealing(header: dict[str, Any]) -> None:
    """No deflate inside, no other algorithm, no work factors from a stranger."""
    parts = sealed(CLIENT).split(".")
    whole = {"alg": "dir", "enc": "A256GCM", "kid": "auditor"} | header
    token = layer(".".join([encoded(json.dumps(whole).encode()), *parts[1:]]))
    with pytest.raises(PeerMisbehaved, match="token-invalid"):
        read(token, READER)
    assert read(token).opaque == 1


@pytest.mark.parity("M6")
@pytest.mark.parametrize("inside", ["", "no token", "{}", sealed(CLIENT), "a.b.c", "\u00e4.b.c"])
def test_a_sealed_container_holds_one_jwt(inside: str) -> None:
    """Also no JWE in a JWE, which no depth would count."""
    with pytest.raises(Malformed):
        read(layer(sealed(inside)), READER)


def test_sealing_proves_nothing_about_the_signer() -> None:
    """Whoever can read could have sealed: the signature inside decides."""
    with pytest.raises(PeerMisbehaved, match="signature-wrong"):
        read(layer(sealed(jwt({"sub": "admin"}, b"another secret of the right size"))), READER)


def test_a_sealed_outermost_is_read_by_its_reader_alone() -> None:
    token = sealed(hidden())
    assert read(token, READER).verified
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        read(token)
    assert peek_unverified(token).opaque == 1


def test_nothing_is_sealed_twice() -> None:
    with pytest.raises(LocalMisuse, match="value-invalid"):
        nest({"sub": "d"}, KEY, previous=sealed(CLIENT), sid="svc-d", seal_for=READER)
    onward = nest({"sub": "d"}, KEY, previous=sealed(CLIENT), sid="svc-d")
    assert claims_of(onward)["auth_stack"]["fmt"] == "jwe"
    assert read(onward, READER).verified
