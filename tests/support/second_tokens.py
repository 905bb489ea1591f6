"""Tokens, message signatures, frames and offsets once more, from docs/protocol/ alone; shares no code with the library.

Writes canonical JSON and signature bases by hand, so that two ways of writing them can differ.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any

from tests.support.naive import enc, kd, mac, seal, sha256
from tests.support.oracle import SCOPE, Verdict, name, need
from tests.support.second_http import LETTERS, content_digest, text64, url64
from tests.support.second_tickets import opened

Inputs = dict[str, Any]
unhex = bytes.fromhex
SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
REQUIRED = {"iss", "aud", "sub", "client_id", "scope", "iat", "nbf", "exp", "jti", "auth_time", "txn"}


def canonical(value: Any) -> str:
    """Canonical JSON of jwt.md."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(one)}:{canonical(value[one])}" for one in sorted(value)) + "}"
    if isinstance(value, str):
        units = value.encode("utf-16-be", "surrogatepass")
        letters = [chr(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2)]
        return (
            '"'
            + "".join(SHORT.get(one) or (one if " " <= one <= "~" else f"\\u{ord(one):04x}") for one in letters)
            + '"'
        )
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def party(text: Any) -> bool:
    return isinstance(text, str) and 1 <= len(text.split("@")) <= 2 and all(map(name, text.split("@")))


def mark(claims: Inputs, kid: str, key: bytes) -> str:
    return text64(mac(key, "jwt", canonical({"claims": claims, "kid": kid}).encode())[:16])


def token(given: Inputs) -> Inputs:
    row, key = given["content"], given["key"]
    claims = {
        "iss": row["issuer"], "aud": row["audience"], "sub": row["subject"] or row["client"],
        "client_id": row["client"],
        "scope": " ".join(row["scopes"]), "iat": row["iat"], "nbf": row["iat"] - 5, "exp": row["iat"] + row["ttl_s"],
        "jti": row["jti"], "auth_time": row["auth_time"], "txn": row["txn"],
    }  # fmt: skip
    if row["subject"] is not None:
        need(party(row["subject"]), "subject-refused")
        need(len(row["actors"]) < 8, "chain-refused")
        act: Inputs = {}
        for one in reversed([row["client"], *row["actors"]]):
            act = {"sub": one} | ({"act": act} if act else {})
        claims["act"] = act
    if row["may_act"] is not None:
        claims["may_act"] = {"sub": row["may_act"]}
    if row["extra"]:
        need(len(row["extra"]) <= 8 and len(canonical(row["extra"])) <= 1024, "claim-refused")
        for one in row["extra"].values():
            need(len(one) <= 256 if isinstance(one, str) else abs(int(one)) <= 2**53, "claim-refused")
        claims["ext"] = row["extra"]
    claims["kdc"] = f"{given['mac_no']}.{mark(claims, key['kid'], unhex(given['mac_key']))}"
    payload = canonical(claims).encode()
    if key["alg"] == "opaque":
        kid = unhex(key["kid"])
        return {
            "text": "ort1h_"
            + text64(kid + seal(unhex(key["key"]), "handle", enc("handle", kid), payload, unhex(given["entropy"])))
        }
    content = f"{header(key)}.{text64(payload)}"
    return {"text": f"{content}.{text64(signed(key, content))}"}


def header(key: Inputs) -> str:
    return text64(canonical({"alg": key["alg"], "kid": key["kid"], "typ": "orthros+jwt"}).encode())


def signed(key: Inputs, content: str) -> bytes:
    return hmac.digest(unhex(key["key"]), content.encode(), {"HS256": "sha256", "HS512": "sha512"}[key["alg"]])


def payload_of(text: str, keys: list[Inputs]) -> tuple[bytes, str]:
    held = {key["kid"]: key for key in keys}
    if text.startswith("ort1h_"):
        content = url64(text[6:])
        need(len(content) >= 80, "malformed")
        key = held.get(content[:8].hex())
        need(key, "unknown-key")
        assert key is not None
        need(key["alg"] == "opaque", "token-not-own")
        return opened(unhex(key["key"]), "handle", enc("handle", content[:8]), content[8:]), key["kid"]
    need(len(text) <= 16384 and text.count(".") == 2 and set(text) <= set(LETTERS + "-_."), "malformed")
    head, payload, proof = text.split(".")
    need(head and payload and proof, "malformed")
    try:
        kid = json.loads(url64(head)).get("kid")
    except (ValueError, AttributeError):
        raise Verdict("malformed") from None
    need(isinstance(kid, str), "malformed")
    key = held.get(kid)
    need(key, "unknown-key")
    assert key is not None
    need(key["alg"] != "opaque" and head == header(key), "token-not-own")
    need(url64(proof) == signed(key, f"{head}.{payload}"), "wrong-mac")
    return url64(payload), kid


def open_token(given: Inputs) -> Inputs:
    payload, kid = payload_of(given["text"], given["keys"])
    try:
        claims = json.loads(payload)
        need(isinstance(claims, dict) and canonical(claims).encode() == payload, "token-not-own")
    except ValueError:
        raise Verdict("token-not-own") from None
    received = claims.pop("kdc", None)
    need(isinstance(received, str) and received.count(".") == 1, "token-not-own")
    number, text = received.split(".")
    key = given["mac_keys"].get(number)
    need(key is not None and mark(claims, kid, unhex(key)) == text, "token-not-own")
    need(claims.keys() >= REQUIRED and claims.keys() <= REQUIRED | {"act", "may_act", "ext"}, "token-not-own")
    for one in ("jti", "txn"):
        need(len(claims[one]) == 32 and set(claims[one]) <= set("0123456789abcdef"), "token-not-own")
    need(all(type(claims[one]) is int for one in ("iat", "exp", "auth_time")), "token-not-own")
    need(claims["client_id"].count("@") == 1 and party(claims["client_id"]) and party(claims["sub"]), "token-not-own")
    scopes = claims["scope"].split(" ") if claims["scope"] else []
    need(all(map(SCOPE.fullmatch, scopes)), "token-not-own")
    act, inner = [], claims.get("act")
    while inner is not None:
        act.append(inner["sub"])
        inner = inner.get("act")
    need(act[:1] == [claims["client_id"]] if act else claims["sub"] == claims["client_id"], "token-not-own")
    second = given["now"] // 1000
    need(claims["aud"] == given["audience"] and claims["iss"] == given["issuer"], "token-for-another")
    need(claims["exp"] > second, "token-expired")
    need(claims["iat"] <= second + 300, "ticket-times-invalid")
    return {
        "client": claims["client_id"], "subject": claims["sub"], "scopes": scopes, "jti": claims["jti"],
        "iat": claims["iat"], "exp": claims["exp"], "auth_time": claims["auth_time"], "txn": claims["txn"], "act": act,
        "may_act": claims["may_act"]["sub"] if "may_act" in claims else None, "extra": claims.get("ext", {}),
    }  # fmt: skip


def base(request: Inputs, components: list[str], parameters: str) -> str:
    port = {"https": ":443", "http": ":80"}[request["target_uri"].split(":")[0]]
    lines = []
    for one in components:
        values = [unhex(value).decode("latin-1").strip(" \t") for known, value in request["headers"] if known == one]
        folded = "".join(letter if letter.isalnum() else "-" for letter in one)
        alike = [known for known, _value in request["headers"] if "".join(
            letter if letter.isalnum() else "-" for letter in known) == folded]  # fmt: skip
        derived = {"@method": request["method"], "@target-uri": request["target_uri"],
                   "@authority": request["authority"].lower().removesuffix(port)}  # fmt: skip
        if one in derived:
            values, alike = [derived[one]], [one]
        need(
            len(values) == len(alike) == 1 and all(" " <= letter <= "~" or letter == "\t" for letter in values[0]),
            "malformed",
        )
        lines.append(f'"{one}": {values[0]}\n')
    return "".join(lines) + f'"@signature-params": {parameters}'


def key_of(given: Inputs) -> tuple[bytes, str]:
    return kd(unhex(given["pop_key"]), "rfc9421"), sha256(unhex(given["ticket"]))[:16].hex()


def padded(data: bytes) -> str:
    return text64(data, LETTERS + "+/") + "=" * (-len(data) % 3)


def sign(given: Inputs) -> Inputs:
    key, keyid = key_of(given)
    named = " ".join(f'"{one}"' for one in given["components"])
    text = (
        f'({named});created={given["created"]};expires={given["expires"]};nonce="{given["nonce"]}";keyid="{keyid}";'
        'tag="orthros-v1"'
    )  # fmt: skip
    proof = hmac.digest(key, base(given["request"], given["components"], text).encode(), "sha256")
    return {"signature_input": f"orthros={text}", "signature": f"orthros=:{padded(proof)}:"}


def verify_signature(given: Inputs) -> Inputs:
    text = given["signature_input"]
    need(text.startswith("orthros=(") and len(text) <= 4096 + 8, "malformed")
    names, bracket, rest = text.removeprefix("orthros=(").partition(")")
    components = [one.strip('"') for one in names.split(" ")]
    need(bracket and len(set(components)) == len(components) and rest == rest.strip(), "malformed")
    found: Inputs = {}
    for one in rest.split(";")[1:]:
        field, _, value = one.partition("=")
        need(field not in found, "malformed")
        found[field] = value.strip('"') if value.startswith('"') else int(value)
    need({*found} - {"alg"} == {"created", "expires", "nonce", "keyid", "tag"}, "malformed")
    need(found["tag"] == "orthros-v1" and found.get("alg", "hmac-sha256") == "hmac-sha256", "malformed")
    signature = given["signature"]
    need(signature.startswith("orthros=:") and signature.endswith("=:") and len(signature) == 54, "malformed")
    proof = content_digest(f"sha-256=:{signature[9:]}")
    key, keyid = key_of(given)
    need(found["keyid"] == keyid, "unknown-key")
    parameters = text.removeprefix("orthros=")
    need(hmac.digest(key, base(given["request"], components, parameters).encode(), "sha256") == proof, "wrong-mac")
    created, expires, now = found["created"], found["expires"], given["now"]
    need(created <= given["end"], "ticket-expired")
    need(not given["earlier"], "replayed")
    need(created * 1000 <= now + 365_000, "too-far-ahead")
    need(now - 60_000 <= created * 1000 <= now + 5_000, "clock-skew")
    need(created <= expires <= created + 300 and expires > now // 1000, "clock-skew")
    need(given["end"] > now // 1000, "ticket-expired")
    safe = given["request"]["method"] in ("GET", "HEAD", "OPTIONS", "TRACE") and not any(
        known == "upgrade" for known, _value in given["request"]["headers"]
    )
    need((given["repeatable"] or safe) and created * 1000 > given.get("born", 0) + 5_000, "epoch-required")
    need({"@method", "@target-uri", "@authority", "content-digest", "authorization"} <= {*components}, "not-covered")
    return {"keyid": keyid, "nonce": found["nonce"], "components": components}


def frame(given: Inputs) -> Inputs:
    message = unhex(given["message"])
    need(1 <= len(message) <= 65_536, "value-invalid")
    return {"frame": (len(message).to_bytes(4, "big") + message).hex()}


def frames(given: Inputs) -> Inputs:
    stream, found = b"".join(map(unhex, given["pieces"])), []
    while len(stream) >= 4:
        size = int.from_bytes(stream[:4], "big")
        need(1 <= size <= 65_536, "frame-too-large")
        if len(stream) < 4 + size:
            break
        found.append(stream[4 : 4 + size].hex())
        stream = stream[4 + size :]
    need(not (given["ended"] and stream), "connection-truncated")
    return {"messages": found}


def offset(given: Inputs) -> Inputs:
    trip = given["round_trip_ms"]
    found = given["peer_time"] - (given["sent"] + trip // 2)
    most = given["most_ms"]
    fits = 0 <= trip < 5000 and (most is None or -most <= found <= most)
    return {"offset": found if fits else None}


OPERATIONS: dict[str, Callable[[Inputs], Inputs]] = {
    "token": token, "open-token": open_token, "sign": sign, "verify-signature": verify_signature, "frame": frame,
    "frames": frames, "offset": offset,
}  # fmt: skip
