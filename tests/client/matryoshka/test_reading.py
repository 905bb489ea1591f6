"""A tolerant reader is not a gullible one: whose key, which algorithm, what is said and what is found."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from base64 import b64encode
from typing import Any

import pytest

from orthros_client.matryoshka import READING, AuthStack, ReaderKey, SigningKey, StackLimits, read_stack
from orthros_protocol.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved, Refused
from tests.client.matryoshka.tokens import MATERIAL, container_hash, encoded, jwt, layer, padded, signed

NOW = 1_800_000_000
OTHER = b"another secret of the right size"
KEY = SigningKey(material=MATERIAL)
CLIENT = jwt({"sub": "client"})


def read(token: str, keys: Any = KEY, **options: Any) -> AuthStack:
    return read_stack(token, keys, now_s=NOW, **options)


@pytest.mark.parity("M2", "M8")
@pytest.mark.parametrize("fmt", ["jwt", "JWT"])
@pytest.mark.parametrize("said", [{}, {"cmp": None}, {"fmt_version": 7}])
def test_either_spelling_and_members_nobody_knows(fmt: str, said: dict[str, Any]) -> None:
    """What is unknown is ignored."""
    stack = read(layer(CLIENT, fmt=fmt, sid="svc-a", depth=1, **said))
    assert stack.verified
    assert stack.remarks == {"sid-unproven"}


@pytest.mark.parity("M8")
def test_an_unknown_claim_changes_nothing() -> None:
    """An old token, or one with claims of somebody else's, is a stack of one layer."""
    for claims in ({}, {"auth_token": "an opaque handle"}, {"auth_stack": None}, {"chain": "x", "auth_token": 7}):
        stack = read(jwt({"sub": "client"} | claims))
        assert (stack.depth, stack.verified, stack.remarks) == (0, True, frozenset())
        assert dict(stack.layers[0].claims) == {"sub": "client"} | claims


@pytest.mark.parity("M2")
@pytest.mark.parametrize("nested", [CLIENT, {"container": CLIENT, "fmt": "JWT"}])
def test_the_claim_name_of_the_prose(nested: object) -> None:
    """The prose says `auth_token`, and there the token may stand by itself."""
    stack = read(jwt({"sub": "svc-a", "auth_token": nested}))
    assert stack.verified
    assert [layer.claims["sub"] for layer in stack.layers] == ["svc-a", "client"]
    assert "auth_token" not in stack.layers[0].claims
    assert "hash-missing" in stack.remarks


def test_two_stacks_in_one_token_are_none() -> None:
    with pytest.raises(Malformed):
        read(jwt({"auth_stack": {"container": CLIENT}, "auth_token": CLIENT}))


@pytest.mark.parity("M1", "M2")
@pytest.mark.parametrize(
    ("container", "said", "remark"),
    [
        (CLIENT, {"cmp": "g"}, "compression-mislabelled"),
        (CLIENT, {"cmp": "zstd"}, "compression-mislabelled"),
        (b64encode(CLIENT.encode()).decode(), {"cmp": "g"}, "compression-mislabelled"),
        (CLIENT, {"fmt": "JWE"}, "format-mislabelled"),
        (CLIENT, {"fmt": "saml"}, "format-mislabelled"),
        (CLIENT, {"fmt": None}, "format-mislabelled"),
        (CLIENT, {"hash": None}, "hash-missing"),
        (CLIENT, {"depth": 2}, "depth-mismatch"),
        (CLIENT, {"depth": 0}, "depth-mismatch"),
    ],
)
def test_what_is_found_counts_and_what_was_said_is_remarked(container: str, said: dict[str, Any], remark: str) -> None:
    stack = read(layer(container, **said))
    assert [one.unverified_claims["sub"] for one in stack.layers] == ["somebody", "client"]
    assert stack.verified
    assert stack.remarks == {remark}


@pytest.mark.parametrize(
    "members",
    [
        {"container": 7}, {"container": None}, {"container": ""}, {"container": "a.b"}, {"container": "not base64!"},
        {"container": CLIENT + ".x"}, {"container": CLIENT + "="}, {"container": b64encode(b"no token").decode()},
        {"sid": 7}, {"sid": ""}, {"sid": "a\nb"}, {"sid": "\u202egnp"}, {"sid": "x" * 257},
        {"depth": "1"}, {"depth": -1}, {"depth": True}, {"depth": 1.0}, {"depth": 10**9},
        {"hash": "00"}, {"hash": 7}, {"hash": "g" * 64}, {"hash": "00 " * 32}, {"cmp": 1}, {"fmt": []},
    ],
)  # fmt: skip
def test_a_member_of_another_type_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read(layer(CLIENT, **members))


def test_a_stack_is_an_object() -> None:
    everything: list[Any] = [CLIENT, [], [{"container": CLIENT}], 7, True, {}]
    for wrong in everything:
        with pytest.raises(Malformed):
            read(jwt({"auth_stack": wrong}))


@pytest.mark.parity("M2")
def test_a_wrong_signature_or_hash_is_an_error_wherever_it_is() -> None:
    """The hash is checked over the container as sent, with the key of the signature around it."""
    forged = jwt({"sub": "admin"}, OTHER)
    for token, what in (
        (forged, "signature-wrong, 0 tokens inside"),
        (layer(forged), "signature-wrong, 1 tokens inside"),
        (layer(CLIENT, hash="0" * 64), "hash-wrong, 0 tokens inside"),
        (layer(CLIENT, hash=container_hash(CLIENT, OTHER)), "hash-wrong, 0 tokens inside"),
        (layer(layer(CLIENT, hash="f" * 64)), "hash-wrong, 1 tokens inside"),
    ):
        with pytest.raises(PeerMisbehaved, match=f"token-invalid.*{what}"):
            read(token)
    assert read(layer(CLIENT, hash=container_hash(CLIENT).upper())).remarks == set()


def test_the_outermost_is_never_forgiven() -> None:
    with pytest.raises(PeerMisbehaved, match="hash-wrong"):
        read(layer(CLIENT, hash="0" * 64), inner_faults="report")
    with pytest.raises(PeerMisbehaved, match="signature-wrong"):
        read(layer(CLIENT, OTHER), inner_faults="report")


@pytest.mark.parity("M4")
def test_an_inner_layer_without_a_key_hides_nothing_and_proves_nothing() -> None:
    """Process what can be processed; a right signature inside an unverified layer is no claim to its place."""
    token = layer(layer(CLIENT, OTHER, sid="stranger", depth=1), sid="own", depth=2)
    stack = read(token, {"own": KEY, 2: KEY})
    assert [one.verified for one in stack.layers] == [True, False, False]
    assert stack.layers[1].remarks == ("signature-unchecked", "hash-unchecked")
    assert stack.layers[1].claims == stack.layers[2].claims == {}
    assert stack.hops == ("client (unverified)", "stranger (unverified)", "own")


@pytest.mark.parity("M5")
def test_nobody_speaks_under_another_sid() -> None:
    """A sid is worth what its key says; `kid` does not choose another key for it."""
    keys = {"own": KEY, "rival": SigningKey(material=OTHER), "rival-1": SigningKey(material=OTHER, sid="rival")}
    assert read(layer(CLIENT, sid="own"), keys | {1: KEY}).layers[0].signer == "own"
    for kid in ("rival", "rival-1"):
        with pytest.raises(PeerMisbehaved, match="signature-wrong"):
            read(layer(CLIENT, OTHER, sid="own", header={"kid": kid}), keys)
        stolen = layer(CLIENT, OTHER, sid="unheard-of", header={"kid": kid})
        if kid == "rival-1":
            with pytest.raises(PeerMisbehaved, match="sid-wrong"):
                read(stolen, keys)
        else:
            outermost = read(stolen, keys).layers[0]
            assert (outermost.signer, outermost.remarks) == (None, ("sid-unproven",))


@pytest.mark.parametrize(
    "keys", [MATERIAL, {0: MATERIAL}, lambda _sought: MATERIAL, ReaderKey(kid="r", material=MATERIAL)]
)
def test_keys_are_key_objects(keys: Any) -> None:
    with pytest.raises(LocalMisuse, match="key-misuse"):
        read(CLIENT, keys)


def test_a_stranger_makes_nobody_unpack_anything() -> None:
    """Without a key for the outermost token, what is inside is not even looked at."""
    for inside in (deep(9), "no token", padded(b"\x1f\x8b")):
        with pytest.raises(PeerMisbehaved, match="unknown-key"):
            read(layer(inside, OTHER, sid="stranger"), {"own": KEY})


def test_the_algorithm_is_the_keys_and_never_the_headers() -> None:
    """The allow-list is bound to the key object."""
    with pytest.raises(PeerMisbehaved, match="token-invalid"):
        read(CLIENT, SigningKey(alg="HS512", material=bytes(64)))
    unsigned = ".".join((encoded(b'{"alg":"none"}'), encoded(b'{"sub":"admin"}'), ""))
    for token in (
        unsigned,
        unsigned + "AA",
        jwt({"sub": "admin"}, alg="None"),
        jwt({}, alg="RS256"),
        jwt({}, alg="HS384"),
    ):
        with pytest.raises(PeerMisbehaved, match=r"token-invalid|malformed"):
            read(token)
        with pytest.raises(PeerMisbehaved):
            read(layer(token))
    # Not even where no key is at hand is a token without signature let through.
    with pytest.raises(PeerMisbehaved, match="token-invalid"):
        read(layer(unsigned + "AA", sid="own"), {"own": KEY})


@pytest.mark.parametrize("header", [{"crit": ["b64"], "b64": False}, {"b64": False}, {"crit": []}, {"zip": "DEF"}])
def test_headers_that_change_what_is_signed_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(PeerMisbehaved, match="token-invalid"):
        read(jwt({"sub": "client"}, **header))


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ('{"alg":"HS256","alg":"HS256"}', "{}"), ("[]", "{}"), ("{}", "{}"), ('{"alg":7}', "{}"),
        ('{"alg":"HS256","kid":7}', "{}"), ('{"alg":"HS256","kid":"a\\u0000"}', "{}"),
        ('{"alg":"HS256","x":"' + "a" * 2000 + '"}', "{}"),
        ('{"alg":"HS256"}', '{"sub":"a","sub":"b"}'), ('{"alg":"HS256"}', "[]"), ('{"alg":"HS256"}', "7"),
        ('{"alg":"HS256"}', '{"a":NaN}'), ('{"alg":"HS256"}', '{"a":1e999}'), ('{"alg":"HS256"}', '{"a":"\\ud800"}'),
        ('{"alg":"HS256"}', "[" * 5000), ('{"alg":"HS256"}', '{"a":' + "[" * 9 + "]" * 9 + "}"),
        ('{"alg":"HS256"}', json.dumps({"a": list(range(600))})), ('{"alg":"HS256"}', '{"a":' + "9" * 5000 + "}"),
        ('{"alg":"HS256"}', '{"auth_stack":{"container":"x","container":"y"}}'),
    ],
)  # fmt: skip
def test_json_that_two_readers_could_read_differently(header: str, payload: str) -> None:
    with pytest.raises(Malformed):
        read(signed(header, payload))


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "a b.c.d", CLIENT + "\n", CLIENT + ".", "\u00e9.b.c", None, b"x"]
)
def test_what_is_no_token_is_malformed(token: Any) -> None:
    with pytest.raises(Malformed):
        read(token)


def test_times_and_audience_of_the_outermost() -> None:
    """An inner token may have ended; the one that is presented may not."""
    assert read(layer(jwt({"exp": NOW - 60}))).layers[1].remarks == ("expired",)
    for claims, code in (
        ({"exp": NOW - 60}, "token-expired"), ({"exp": "soon"}, "token-expired"), ({"exp": True}, "token-expired"),
        ({"nbf": NOW + 60}, "token-invalid"), ({"nbf": []}, "token-invalid"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=code):
            read(jwt(claims))
    assert read(jwt({"exp": NOW + 1, "nbf": NOW, "aud": ["x", "orders"]}), audience="orders").verified
    for aud in ({}, {"aud": "ordersx"}, {"aud": [["orders"]]}, {"aud": {"orders": 1}}):
        with pytest.raises(Refused, match="token-for-another"):
            read(jwt(aud), audience="orders")


@pytest.mark.parity("M6")
def test_loops_are_found_at_any_distance() -> None:
    """Repeated sids are named; whether they matter is for whoever reads."""
    token = CLIENT
    for sid in ("a", "b", "c", "b", "a"):
        token = layer(token, sid=sid)
    assert read(token).loops == ("a", "b")
    assert read(layer(layer(CLIENT, sid="a"), sid="b")).loops == ()


def deep(layers: int) -> str:
    token = CLIENT
    for _ in range(layers):
        token = layer(token)
    return token


@pytest.mark.parity("M6")
def test_depth_is_limited() -> None:
    """Eight tokens inside the outermost unless told otherwise, and never more than 32."""
    assert read(deep(8)).depth == 8
    with pytest.raises(Refused, match="chain-refused"):
        read(deep(9))
    with pytest.raises(Refused, match="chain-refused"):
        read(deep(2), limits=StackLimits(max_depth=1))
    assert read(deep(10), limits=StackLimits(max_depth=10)).depth == 10
    for wrong in (
        {"max_depth": 33},
        {"max_chars": 10**9},
        {"max_inflated": 1 << 30},
        {"max_ratio": 1000},
        {"max_depth": -1},
    ):
        with pytest.raises(LocalMisuse, match="value-invalid"):
            StackLimits(**wrong)


def test_size_is_limited_before_anything_is_parsed() -> None:
    with pytest.raises(Malformed, match="characters"):
        read("a" * (READING.max_chars + 1))


def test_claims_are_read_only() -> None:
    claims = read(jwt({"roles": ["x"], "deep": {"a": [1]}})).layers[0].claims
    assert claims["roles"] == ("x",)
    with pytest.raises(TypeError):
        claims["roles"] = ()  # type: ignore[index]
    with pytest.raises(TypeError):
        claims["deep"]["a"] = 1


def test_keys_are_for_one_purpose_and_do_not_show_themselves() -> None:
    key = SigningKey(material=b"k" * 32, sid="own", kid="k1")
    reader = ReaderKey(kid="r1", material=b"k" * 32)
    for one in (key, reader):
        assert "kkk" not in repr(one)
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(LocalMisuse, match="secret-not-exported"):
                leak(one)
    for wrong in (
        {"material": b"short"}, {"alg": "HS512", "material": bytes(32)}, {"alg": "none", "material": bytes(64)},
        {"material": b"", "weak": True}, {"material": "k" * 32}, {"material": bytes(32), "sid": "a\n"},
    ):  # fmt: skip
        with pytest.raises(LocalMisuse):
            SigningKey(**wrong)
    for material in (bytes(16), bytes(64), b""):
        with pytest.raises(LocalMisuse, match="key-misuse"):
            ReaderKey(kid="r1", material=material)
    with pytest.raises(LocalMisuse, match="value-invalid"):
        ReaderKey(kid="", material=bytes(32))


def test_a_stack_does_not_show_the_token_it_came_from() -> None:
    stack = read(layer(CLIENT))
    assert CLIENT.rpartition(".")[2] not in repr(stack)
    assert "somebody" not in repr(stack)


def test_no_error_shows_the_secret_or_the_expected_hash() -> None:
    for token in (layer(CLIENT, hash="0" * 64), jwt({}, OTHER), layer("a.b", OTHER)):
        with pytest.raises(OrthrosError) as caught:
            read(token)
        for secret in (MATERIAL.decode(), container_hash(CLIENT), token):
            assert secret not in str(caught.value)


def test_it_embeds_without_event_loop_or_daemon() -> None:
    script = "import sys, orthros_client.matryoshka; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name == "trio" or name.startswith("orthros_client.daemon")] == []
