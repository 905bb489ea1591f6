"""Tokens and RFC 9421 signatures: the reader in JavaScript writes them as the library does, and judges them alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve

from orthros_client.http.message_signatures import (
    REQUIRED,
    TAG,
    Signable,
    SignatureKey,
    SigningParameters,
    key_id_of,
    sign,
    signature_key,
    verify,
)
from orthros_kdc.realm.vault import JwtKey
from orthros_protocol.errors import OrthrosError
from orthros_protocol.exchanges.replay import ReplaySet
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing.fakes import ManualStore
from tests.kdc.issuing import tokens
from tests.kdc.issuing.tokens import AUDIENCE, FULL, HS256, HS512, ISSUER, KEYS, MARK, NOW, OLD_MARK, OPAQUE, PLAIN
from tests.support.peers import NODE_FOLDER, require
from tests.support.processes import Dialogue

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def node() -> Iterator[Ask]:
    with Dialogue(require("node"), NODE_FOLDER / "reader" / "programs" / "profiles.mjs") as dialogue:
        yield lambda do, **given: dialogue.ask({"do": do, **given})


# Tokens.


def record_of(key: JwtKey) -> dict[str, str]:
    return {"alg": key.alg, "kid": key.kid, "key": key.material.hex()}


def read_by_node(node: Ask, token: str, **changed: Any) -> dict[str, Any]:
    marks = {str(mark.number): mark.material.hex() for mark in (MARK, OLD_MARK)}
    given = {"records": [record_of(key) for key in KEYS], "mac_keys": marks, "aud": AUDIENCE, "iss": ISSUER}
    return node("read", token=token, now=NOW * 1000, **given | changed)


@pytest.mark.parametrize("key", KEYS, ids=["HS256", "HS512", "opaque"])
@pytest.mark.parametrize("content", [PLAIN, FULL, evolve(PLAIN, scopes=())], ids=["plain", "full", "no scopes"])
def test_node_reads_and_writes_tokens_as_the_kdc_does(node: Ask, key: JwtKey, content: Any) -> None:
    token = tokens.minted(key, content)
    claims = read_by_node(node, token)["done"]
    mark = claims.pop("kdc")
    assert claims == dict(tokens.opened(token).claims)
    assert mark.startswith(f"{MARK.number}.")
    given = {
        "record": record_of(key),
        "number": MARK.number,
        "mac_key": MARK.material.hex(),
        "entropy": (24 * b"e").hex(),
    }
    assert node("write", claims=claims, **given) == {"done": token}


def test_node_writes_every_text_in_its_one_form(node: Ask) -> None:
    """Claims have one form: escapes, surrogate pairs and an order of members that is by code point."""
    extra: dict[str, str | int | bool] = {
        "tenant": '"\\/\b\f\n\r\t\x00\x7fé€\U0001f600',
        "\uffff": 1,
        "\U0001f600": True,
        "a": -7,
        "B": "",
        "é": False,
    }
    content = evolve(PLAIN, extra=extra)
    assert read_by_node(node, tokens.minted(HS256, content))["done"]["ext"] == extra


def forged(change: Callable[[dict[str, Any]], Any]) -> str:
    claims = tokens.claims_of(tokens.minted())
    return tokens.signed(change(claims) or claims)


def spaced(claims: dict[str, Any]) -> bytes:
    return json.dumps(claims, sort_keys=True).encode()


def swapped(token: str, old: str, new: str) -> str:
    assert old in token
    return token.replace(old, new)


TOKEN = tokens.minted()
HANDLE = tokens.minted(OPAQUE)
FORGERIES = {
    "nothing": ("", "malformed"),
    "two parts": (TOKEN.rpartition(".")[0], "malformed"),
    "too long": (f"{TOKEN}{16384 * 'A'}", "malformed"),
    "padding": (f"{TOKEN}=", "malformed"),
    "handle of 79 bytes": (f"ort1h_{tokens.b64(bytes(79))}", "malformed"),
    "handle of a key for JWTs": (f"ort1h_{tokens.b64(bytes.fromhex(HS256.kid) + bytes(72))}", "token-not-own"),
    "unknown key": (tokens.signed(tokens.claims_of(TOKEN), kid="0000000000000000"), "unknown-key"),
    "unknown handle": (f"ort1h_{tokens.b64(bytes(80))}", "unknown-key"),
    "no kid": (tokens.signed(tokens.claims_of(TOKEN), kid=None), "malformed"),
    "another member in the header": (tokens.signed(tokens.claims_of(TOKEN), jku="https://x.example"), "token-not-own"),
    "another algorithm": (tokens.signed(tokens.claims_of(TOKEN), alg="HS512"), "token-not-own"),
    "no algorithm, no MAC": (tokens.signed(tokens.claims_of(TOKEN), alg="none"), "malformed"),
    "MAC": (f"{TOKEN.rpartition('.')[0]}.{tokens.b64(bytes(32))}", "wrong-mac"),
    "bit of a handle": (swapped(HANDLE, HANDLE[40:48], "AAAAAAAA"), "box-unopened"),
    "another subject": (forged(lambda claims: claims.update(sub="user/eve")), "token-not-own"),
    "no mark": (forged(lambda claims: claims.pop("kdc") and claims), "token-not-own"),
    "mark of another number": (forged(lambda claims: claims.update(kdc=f"9{claims['kdc'][1:]}")), "token-not-own"),
    "spaces": (forged(spaced), "token-not-own"),
    "no object": (tokens.signed(b"[]"), "token-not-own"),
    "another audience": (tokens.minted(content=evolve(PLAIN, audience="x")), "token-for-another"),
    "another issuer": (tokens.minted(content=evolve(PLAIN, issuer="x")), "token-for-another"),
    "ended": (tokens.minted(content=evolve(PLAIN, issued_at=NOW - 300)), "token-expired"),
    "from the future": (tokens.minted(content=evolve(PLAIN, issued_at=NOW + 301)), "ticket-times-invalid"),
}  # fmt: skip


@pytest.mark.parametrize(("token", "code"), FORGERIES.values(), ids=FORGERIES)
def test_both_refuse_a_forged_token_for_one_reason(node: Ask, token: str, code: str) -> None:
    with pytest.raises(OrthrosError) as raised:
        tokens.opened(token)
    assert (raised.value.code, read_by_node(node, token)) == (code, {"refused": code})


def test_times_of_tokens_to_the_second(node: Ask) -> None:
    for content in (evolve(PLAIN, issued_at=NOW - 299), evolve(PLAIN, issued_at=NOW + 300)):
        token = tokens.minted(content=content)
        assert read_by_node(node, token)["done"]["iat"] == tokens.opened(token).iat


def test_the_mark_holds_for_one_key_alone(node: Ask) -> None:
    claims = tokens.claims_of(tokens.minted(HS256))
    assert read_by_node(node, tokens.signed(claims, HS512)) == {"refused": "token-not-own"}


# Signatures in the form of RFC 9421.

POP_KEY, TICKET = bytes(range(32)), b"ticket"
END = NOW + 3600
HEADERS = (
    ("content-digest", b"sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"), ("authorization", b"Orthros v=1"),
    ("x-note", b" \tof two words "),
)  # fmt: skip
REQUEST = Signable(
    method="POST", target_uri="https://orders.example/runs?x=1", authority="Orders.Example:443", headers=HEADERS
)
COMPONENTS = (*REQUIRED, "x-note")
PARAMETERS = SigningParameters(created=NOW, expires=NOW + 60, nonce="n", keyid=key_id_of(TICKET), tag=TAG)


def as_json(request: Signable) -> dict[str, Any]:
    return {
        "method": request.method, "target_uri": request.target_uri, "authority": request.authority,
        "headers": [[name, value.hex()] for name, value in request.headers],
    }  # fmt: skip


def signed(nonce: str, components: tuple[str, ...] = COMPONENTS, **changed: Any) -> tuple[str, str]:
    secret = signature_key(POP_KEY)
    return sign(REQUEST, secret, evolve(PARAMETERS, nonce=nonce, **changed), components)


def verified_by_node(node: Ask, values: tuple[str, str], request: Signable = REQUEST, **changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"pop_key": POP_KEY.hex(), "ticket": TICKET.hex(), "client": "a@b", "end": END}
    given |= {"now": NOW * 1000}
    signature_input, signature = values
    given |= {"input": signature_input, "signature": signature, "repeatable": True}
    return node("verify", request=as_json(request), **given | changed)


def verdict_of_the_library(values: tuple[str, str], request: Signable = REQUEST, now: int = NOW * 1000) -> str:
    key = SignatureKey(secret=signature_key(POP_KEY), client="a@b", end=END)
    store = ManualStore(lambda: Timestamp(now), burnt=ReplaySet())
    try:
        verify(request, *values, {key_id_of(TICKET): key}.get, replay=store, repeatable=True)
    except OrthrosError as error:
        return error.code
    return "verified"


def test_both_sign_alike(node: Ask) -> None:
    given = {"components": COMPONENTS, "created": NOW, "expires": NOW + 60, "nonce": "n"}
    made = node("sign", request=as_json(REQUEST), pop_key=POP_KEY.hex(), ticket=TICKET.hex(), **given)["done"]
    assert (made["input"], made["signature"]) == signed("n")


def test_node_verifies_a_signature_once(node: Ask) -> None:
    assert verified_by_node(node, signed("once"))["done"]["components"] == list(COMPONENTS)
    assert verified_by_node(node, signed("once")) == {"refused": "replayed"}
    refused = verified_by_node(node, signed("no repetition"), repeatable=False)
    assert refused == {"refused": "epoch-required"}


def altered(old: str, new: str, values: tuple[str, str]) -> tuple[str, str]:
    """Somebody writes another signature or its input."""
    changed = values[0].replace(old, new), values[1].replace(old, new)
    assert changed != values
    return changed


REFUSED = {
    "path": (signed("1"), evolve(REQUEST, target_uri="https://orders.example/runs?x=2"), "wrong-mac"),
    "method": (signed("2"), evolve(REQUEST, method="PUT"), "wrong-mac"),
    "field": (signed("3"), evolve(REQUEST, headers=(*HEADERS[:2], ("x-note", b"other"))), "wrong-mac"),
    "field twice": (signed("4"), evolve(REQUEST, headers=(*HEADERS, HEADERS[2])), "malformed"),
    "field in another spelling": (signed("5"), evolve(REQUEST, headers=(*HEADERS, ("x_note", b""))), "malformed"),
    "field missing": (signed("6"), evolve(REQUEST, headers=HEADERS[:2]), "malformed"),
    "component left out": (signed("7", COMPONENTS[1:]), REQUEST, "not-covered"),
    "another ticket": (signed("8", keyid="0" * 32), REQUEST, "unknown-key"),
    "too long a life": (signed("9", expires=NOW + 301), REQUEST, "clock-skew"),
    "expired": (signed("10", created=NOW - 50, expires=NOW), REQUEST, "clock-skew"),
    "ends before it begins": (signed("11", created=NOW + 2, expires=NOW + 1), REQUEST, "clock-skew"),
    "60 s old": (signed("12", created=NOW - 61, expires=NOW + 60), REQUEST, "replayed"),
    "6 s ahead": (signed("13", created=NOW + 6), REQUEST, "clock-skew"),
    "another tag": (signed("14", tag="orthros-v2"), REQUEST, "malformed"),
    "no nonce": (altered(';nonce="15"', "", signed("15")), REQUEST, "malformed"),
    "another algorithm": (altered(";tag", ';alg="ed25519";tag', signed("16")), REQUEST, "malformed"),
    "a parameter twice": (altered(";tag", f";created={NOW};tag", signed("17")), REQUEST, "malformed"),
    "a component twice": (altered('"x-note")', '"x-note" "x-note")', signed("18")), REQUEST, "malformed"),
    "another label": (altered("orthros=", "sig1=", signed("19")), REQUEST, "malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("values", "request_", "code"), REFUSED.values(), ids=REFUSED)
def test_both_refuse_a_signature_for_one_reason(
    node: Ask, values: tuple[str, str], request_: Signable, code: str
) -> None:
    verdicts = (verdict_of_the_library(values, request_), verified_by_node(node, values, request_))
    assert verdicts == (code, {"refused": code})


def test_a_signature_dies_with_its_ticket(node: Ask) -> None:
    assert verified_by_node(node, signed("end"), end=NOW) == {"refused": "ticket-expired"}
    assert verified_by_node(node, signed("later"), end=NOW - 1) == {"refused": "ticket-expired"}
