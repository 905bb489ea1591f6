"""Tokens with their mark, and message signatures: what is believed, and what is refused with one thing wrong.

Whoever holds the key of a target's tokens can write any claim with a right MAC; here it does.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

from orthros_protocol.primitives.derivation import mac
from workshop.vectors import positive as good
from workshop.vectors import positive_http as web
from workshop.vectors.edges import both, scopes_of
from workshop.vectors.negative import refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, unhex
from workshop.vectors.positive import NOW, REALM, SECOND, span, vector

_HS256: Final[Inputs] = {"key": span(0x33, 32), "kid": "orders-1", "alg": "HS256"}
_HS512: Final[Inputs] = {"key": span(0x44, 64), "kid": "orders-2", "alg": "HS512"}
_OPAQUE: Final[Inputs] = {"key": span(0x55, 32), "kid": "00112233445566ff", "alg": "opaque"}
_CONTENT: Final[Inputs] = {
    "issuer": "https://kdc.example.org", "audience": "https://orders.example.org", "client": f"billing@{REALM}",
    "scopes": ["read", "write"], "iat": SECOND, "ttl_s": 300, "auth_time": SECOND - 60, "txn": span(0xE0, 16),
    "jti": span(0xF0, 16), "subject": None, "actors": [], "may_act": None, "extra": {},
}  # fmt: skip


def _minting(key: Inputs = _HS256, **changes: Any) -> Inputs:
    return {
        "key": key, "content": _CONTENT | changes, "mac_no": 1, "mac_key": good.MAC_KEYS["1"], "entropy": good.ENTROPY
    }  # fmt: skip


def _text(key: Inputs = _HS256, **changes: Any) -> str:
    text: str = OPERATIONS["token"](_minting(key, **changes))["text"]
    return text


def _opening(text: str, **changes: Any) -> Inputs:
    return {
        "text": text, "keys": [_HS256, _HS512, _OPAQUE], "mac_keys": good.MAC_KEYS, "issuer": _CONTENT["issuer"],
        "audience": _CONTENT["audience"], "now": NOW,
    } | changes  # fmt: skip


def tokens() -> list[Vector]:
    """Tokens."""
    eight = [f"a{one}@{REALM}" for one in range(7)]
    contents: dict[str, tuple[Inputs, Inputs]] = {
        "HS256": (_HS256, {}), "HS512": (_HS512, {}), "handle": (_OPAQUE, {}), "no scopes": (_HS256, {"scopes": []}),
        "32 scopes": (_HS256, {"scopes": scopes_of(32)}), "a subject that is said": (_HS256, {"subject": "user/ada"}),
        "a subject that is known": (_HS256, {"subject": f"alice@{REALM}", "actors": [f"web@{REALM}"]}),
        "eight who act": (_HS256, {"subject": f"alice@{REALM}", "actors": eight}), "one who may act": (
            _HS256, {"may_act": f"orders@{REALM}"}),
        "8 extra claims": (_HS256, {"extra": {f"c{one}": one for one in range(8)}}), "extra claims of each kind": (
            _HS256, {"extra": {"text": "gr\u00fc\u00df\n\"\\\u20ac\U0001f600", "number": -5, "yes": True}}),
        "extra claim of 256 characters": (_HS256, {"extra": {"c": "x" * 256}}), "extra claim of 2^53": (
            _HS256, {"extra": {"c": 2**53}}),
    }  # fmt: skip
    made = []
    for name, (key, changes) in contents.items():
        made.append(vector(f"token: {name}", "token", _minting(key, **changes)))
        made.append(vector(f"token: {name}, opened", "open-token", _opening(made[-1]["out"]["text"])))
    nine: Inputs = {"subject": f"alice@{REALM}", "actors": [*eight, f"a8@{REALM}"]}
    made.append(refused("token: nine who act", "token", _minting(**nine), "chain"))
    made.append(refused("token: a subject that is no name", "token", _minting(subject="Ada"), "subject"))
    extra: dict[str, Any] = {
        "9 extra claims": {f"c{one}": one for one in range(9)}, "extra claim of 257 characters": {"c": "x" * 257},
        "extra claim above 2^53": {"c": 2**53 + 1},
        "extra claims above 1 KiB": {f"c{one}": "x" * 250 for one in range(5)},
    }  # fmt: skip
    made += [refused(f"token: {name}", "token", _minting(extra=one), "claim") for name, one in extra.items()]
    return made + _forged() + _times()


def _times() -> list[Vector]:
    text = _text()
    end = (SECOND + 300) * 1000
    passing = {"in its last millisecond": {"now": end - 1}, "issued 300 s from now": {"now": NOW - 300_000}}
    made = both("token", "open-token", lambda one: _opening(text, **one), "token", passing, {
        "ended": {"now": end}, "issued 301 s from now": {"now": NOW - 300_001}, "another audience": {"audience": "x"},
        "another issuer": {"issuer": "x"}})  # fmt: skip
    made.append(refused("token: key that is not held", "open-token", _opening(text, keys=[_HS512]), "kid"))
    other = [_HS256 | {"key": span(0x34, 32)}]
    made.append(refused("token: another key of that name", "open-token", _opening(text, keys=other), "mac"))
    made.append(refused("token: no key for its mark", "open-token", _opening(text, mac_keys={}), "kdc-mark"))
    return made


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _signed(header: Any, payload: bytes, key: Inputs = _HS256) -> str:
    head = header if isinstance(header, str) else _encoded(_canonical(header))
    content = f"{head}.{_encoded(payload)}"
    proof = hmac.digest(unhex(key["key"]), content.encode(), "sha256" if key["alg"] == "HS256" else "sha512")
    return f"{content}.{_encoded(proof)}"


def _forged() -> list[Vector]:
    text = _text()
    head, payload, proof = text.split(".")
    header, claims = json.loads(_decoded(head)), json.loads(_decoded(payload))

    def token(name: str, changed: str, stage: str) -> Vector:
        return refused(f"token: {name}", "open-token", _opening(changed), stage)

    def marked(changes: Inputs, kid: str = "orders-1") -> bytes:
        """Claims that the KDC would never write, under its mark."""
        inside = {name: one for name, one in (claims | changes).items() if name != "kdc" and one is not None}
        whole = _canonical({"claims": inside, "kid": kid})
        mark = mac(unhex(good.MAC_KEYS["1"]), "jwt", whole)[:16]
        return _canonical(inside | {"kdc": f"1.{_encoded(mark)}"})

    edits: dict[str, Any] = {"sub": f"root@{REALM}", "scope": "admin", "exp": SECOND + 9999, "client_id": f"a@{REALM}"}
    made = [
        token(f"its target writes another {name}", _signed(header, _canonical(claims | {name: value})), "kdc-mark")
        for name, value in edits.items()
    ]
    unmarked = {name: value for name, value in claims.items() if name != "kdc"}
    number, _, text_of_mark = claims["kdc"].partition(".")
    marks = {"zero": f"0.{text_of_mark}", "leading zero": f"0{number}.{text_of_mark}", "another number": (
        f"2.{text_of_mark}"), "padding": f"{claims['kdc']}==", "no number": text_of_mark, "integer": 1}  # fmt: skip
    made += [
        token(f"mark with {name}", _signed(header, _canonical(claims | {"kdc": one})), "kdc-mark")
        for name, one in marks.items()
    ]
    spaced = json.dumps(claims, sort_keys=True).encode()
    unsorted_ = json.dumps(dict(reversed(claims.items())), separators=(",", ":")).encode()
    again = _canonical(claims)[:-1] + b',"sub":"root@example.org"}'
    made += [
        token("no mark", _signed(header, _canonical(unmarked)), "kdc-mark"),
        token("spaces in the claims", _signed(header, spaced), "kdc-mark"),
        token("claims in another order", _signed(header, unsorted_), "kdc-mark"),
        token("a claim twice", _signed(header, again), "kdc-mark"),
        token("claims that are a list", _signed(header, b"[]"), "kdc-mark"),
        token("claims that are no JSON", _signed(header, b"{"), "kdc-mark"),
        token("algorithm none", f"{_encoded(_canonical(header | {'alg': 'none'}))}.{payload}.{proof}", "header"),
        token("another algorithm", _signed(header | {"alg": "HS512"}, _decoded(payload)), "header"),
        token("another type", _signed(header | {"typ": "JWT"}, _decoded(payload)), "header"),
        token("a further member of the header", _signed(header | {"x5u": "x"}, _decoded(payload)), "header"),
        token("header in another order", _signed(_encoded(json.dumps(dict(reversed(header.items())), separators=(
            ",", ":")).encode()), _decoded(payload)), "header"),
        token("no kid", _signed({"alg": "HS256", "typ": "orthros+jwt"}, _decoded(payload)), "encoding"),
        token("bit of the MAC", f"{head}.{payload}.{'A' if proof[0] != 'A' else 'B'}{proof[1:]}", "mac"),
        token("MAC cut short", f"{head}.{payload}.{_encoded(_decoded(proof)[:30])}", "mac"),
        token("two parts", f"{head}.{payload}", "encoding"), token("four parts", f"{text}.", "encoding"),
        token("empty", "", "encoding"), token("padding", text + "=", "encoding"),
        token("16385 characters", f"{head}.{payload.ljust(16385 - len(head) - len(proof) - 2, 'A')}.{proof}",
              "encoding"),
        token("of the key of a handle", _signed({"alg": "HS256", "kid": _OPAQUE["kid"], "typ": "orthros+jwt"},
                                                _decoded(payload), _OPAQUE | {"alg": "HS256"}), "header"),
    ]  # fmt: skip
    unknown: dict[str, Inputs] = {
        "a claim to come": {"x": 1}, "no audience": {"aud": None}, "time as text": {"iat": "1"}, "time as true": {
            "auth_time": True},
        "client without a realm": {"client_id": "billing"}, "scope not canonical": {"scope": "Read"},
        "id of 15 bytes": {
            "jti": "00" * 15},
        "id in capitals": {"jti": "AA" * 16}, "another subject without act": {"sub": f"alice@{REALM}"},
    }  # fmt: skip
    for name, changes in unknown.items():
        made.append(token(f"marked with {name}", _signed(header, marked(changes)), "kdc-mark"))
    handle = _text(_OPAQUE)
    made += [
        token("handle: a bit", handle[:-2] + ("A" if handle[-2] != "A" else "B") + handle[-1], "box"),
        token("handle: cut short", handle[:100], "encoding"), token("handle: empty", "ort1h_", "encoding"),
        token("handle: padding", handle + "=", "encoding"), token("handle: another prefix", "ort1k_" + handle[6:],
                                                                  "encoding"),
        token("handle: another kid", "ort1h_" + _encoded(bytes(8) + _decoded(handle[6:])[8:]), "kid"),
    ]  # fmt: skip
    return made


_REQUEST: Final[Inputs] = {
    "method": "GET", "target_uri": "https://payroll.example.org/runs?dry=1", "authority": "payroll.example.org",
    "headers": [["content-digest", web.BINDING["content_digest"]], ["authorization", b"Orthros x".hex()],
                ["x-tenant", b" t ".hex()]],
}  # fmt: skip
_COMPONENTS: Final = ["@method", "@target-uri", "@authority", "content-digest", "authorization"]
_SIGNING: Final[Inputs] = {
    "request": _REQUEST, "pop_key": span(5, 32), "ticket": good.TICKET, "components": _COMPONENTS, "created": SECOND,
    "expires": SECOND + 60, "nonce": "n1",
}  # fmt: skip


def signatures() -> list[Vector]:
    """Signatures in the form of RFC 9421."""

    def verifying(changes: Inputs) -> Inputs:
        signing = _SIGNING | {name: changes[name] for name in ("created", "expires", "components") if name in changes}
        request = _REQUEST | changes.get("sent", {})
        made = OPERATIONS["sign"](signing | {"request": request})
        left = {name: one for name, one in changes.items() if name not in ("created", "expires", "components", "sent")}
        received = request | left.pop("received", {})
        return {
            "request": received, **made, "pop_key": _SIGNING["pop_key"], "ticket": good.TICKET,
            "client": f"billing@{REALM}", "end": SECOND + 3600, "now": NOW, "repeatable": False, "earlier": 0,
        } | left  # fmt: skip

    made = [vector("signature", "sign", _SIGNING)]
    wider = [*_COMPONENTS, "x-tenant"]
    made.append(vector("signature over one field more", "sign", _SIGNING | {"components": wider}))
    passing: dict[str, Inputs] = {
        "the five components": {}, "one field more": {"components": wider}, "60 s old": {"now": NOW + 59_999},
        "5 s ahead": {"now": NOW - 5_000}, "expires 300 s later": {"expires": SECOND + 300},
        "POST that may be repeated":
        {"sent": {"method": "POST"}, "repeatable": True}, "born 5.001 s before": {"born": NOW - 5_001},
        "port of the scheme": {"received": {"authority": "Payroll.Example.org:443"}},
    }  # fmt: skip
    made += both("signature", "verify-signature", verifying, "window", passing, {
        "60.001 s old": {"now": NOW + 60_001, "expires": SECOND + 300}, "5.001 s ahead": {"now": NOW - 5_001},
        "expires 301 s later": {"expires": SECOND + 301}, "expired now": {"now": NOW + 60_000},
        "expires before it was made": {"expires": SECOND - 1}})  # fmt: skip
    made += both("signature", "verify-signature", verifying, "replay", {}, {
        "a second time": {"earlier": 1}, "365.001 s ahead": {"now": NOW - 365_001}})  # fmt: skip
    made += both("signature", "verify-signature", verifying, "epoch", {}, {
        "POST that may not be repeated": {"sent": {"method": "POST"}}, "born 5 s before": {"born": NOW - 5_000},
        "with Upgrade": {"sent": {"headers": [*_REQUEST["headers"], ["upgrade", ""]]}}})  # fmt: skip
    made += both("signature", "verify-signature", verifying, "ticket-times", {}, {
        "ticket that has ended": {"end": SECOND}, "made after the ticket's end": {"end": SECOND - 1}})  # fmt: skip
    made += both("signature", "verify-signature", verifying, "mac", {}, {
        "another method": {"received": {"method": "HEAD"}}, "another target": {"received": {
            "target_uri": "https://payroll.example.org/runs?dry=0"}}, "another authority": {"received": {
                "authority": "payroll.example.org:444"}}, "another key": {"pop_key": span(6, 32)}})  # fmt: skip
    made += both("signature", "verify-signature", verifying, "kid", {}, {"another ticket": {"ticket": good.TGT}})
    made += both("signature", "verify-signature", verifying, "covered", {}, {
        "a component missing": {"components": _COMPONENTS[:4]}})  # fmt: skip
    twice = {"headers": [*_REQUEST["headers"], ["authorization", b"x".hex()]]}
    folded = {"headers": [*_REQUEST["headers"], ["content_digest", b"x".hex()]]}
    broken = {"headers": [*_REQUEST["headers"][:2], ["x-tenant", b"a\nb".hex()]]}
    made += both("signature", "verify-signature", verifying, "encoding", {}, {
        "component twice in the request": {"received": twice}, "component in another spelling": {"received": folded},
        "component that is absent": {"received": {"headers": _REQUEST["headers"][:1]}},
        "component with a line break": {"components": wider, "received": broken}})  # fmt: skip
    sent = OPERATIONS["sign"](_SIGNING)
    header, proof = sent["signature_input"], sent["signature"]
    forms = {
        "another label": {"signature_input": header.replace("orthros=", "sig1=")}, "no tag": {
            "signature_input": header.replace(';tag="orthros-v1"', "")},
        "another tag": {"signature_input": header.replace("orthros-v1", "orthros-v2")}, "another algorithm": {
            "signature_input": header + ';alg="rsa-pss-sha512"'},
        "parameter twice": {"signature_input": header + ';nonce="n2"'}, "unknown parameter": {
            "signature_input": header + ";x=1"},
        "no expires": {"signature_input": header.replace(f";expires={SECOND + 60}", "")}, "component twice": {
            "signature_input": header.replace('"@method"', '"@method" "@method"')},
        "two signatures": {"signature": f"{proof}, {proof}"}, "stray bits": {
            "signature": proof[:-3] + ("B" if proof[-3] != "B" else "C") + proof[-2:]},
        "empty signature": {"signature": ""}, "4097 characters": {"signature_input": header + " " * 4097},
    }  # fmt: skip
    return made + both("signature", "verify-signature", verifying, "encoding", {}, forms)
