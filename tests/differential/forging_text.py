"""Faults behind the cryptography of what travels as text: headers, tokens, key files, and signatures of requests."""

from __future__ import annotations

import hmac
import json
import random
from typing import Any, Final

from tests.differential import items
from tests.differential.forging import FORGES, SHAPED, Faults, Forge, opened_box, sealed_box, unhex
from tests.differential.inputs import Inputs
from tests.support.naive import enc, mac, sha256
from tests.support.second_http import text64, url64
from tests.support.second_implementation import ap_req
from tests.support.second_tickets import tail_key
from tests.support.second_tokens import base, canonical, header, key_of, mark, padded, signed

_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"


def changed_json(rng: random.Random, value: Any) -> Any:
    """A JSON value with one fault, of the same kind where it has one."""
    if isinstance(value, dict) and value:
        name = rng.choice(list(value))
        kind = rng.randrange(6)
        if kind == 0:
            return {one: value[one] for one in value if one != name}
        if kind == 1:
            return value | {items.text(rng, name): value[name]}
        return value | {name: changed_json(rng, value[name])}
    if isinstance(value, bool) or value is None or rng.random() < 0.15:
        return rng.choice((None, True, 0, -1, 2**53 + 1, 1.5, "", "a", [], ["a"], {}, {"sub": "a"}))
    if isinstance(value, int):
        return items.number(rng, value)
    if isinstance(value, str):
        return items.text(rng, value)
    return [value, value]


def _plain_json(rng: random.Random, value: Any) -> str:
    """Mostly in its one form."""
    if rng.random() < 0.1:
        return json.dumps(value, indent=rng.choice((None, 1)), ensure_ascii=rng.random() < 0.5)
    try:
        return canonical(value)
    except (KeyError, TypeError):
        return json.dumps(value, separators=(",", ":"))


def _token(faults: Faults, given: Inputs) -> Inputs:
    rng, text = faults.rng, given["text"]
    keys = {one["kid"]: one for one in given["keys"]}
    handle = url64(text[6:]) if text.startswith("ort1h_") else b""
    context = enc("handle", handle[:8])
    if handle:
        key = keys[handle[:8].hex()]
        payload = opened_box(unhex(key["key"]), "handle", context, handle[8:])
    else:
        head, middle, _proof = text.split(".")
        key, payload = keys[json.loads(url64(head))["kid"]], url64(middle)
    claims = json.loads(payload)
    number = str(claims.pop("kdc")).split(".")[0]
    for _ in range(faults.layers.count("claims")):
        claims = changed_json(rng, claims)
    if isinstance(claims, dict) and rng.random() < 0.95:
        claims["kdc"] = f"{number}.{mark(claims, key['kid'], unhex(given['mac_keys'][number]))}"
    payload = faults.at("payload", _plain_json(rng, claims).encode("utf-8", "surrogatepass"))
    if handle:
        made = "ort1h_" + text64(handle[:8] + sealed_box(unhex(key["key"]), "handle", context, payload))
    else:
        content = f"{header(key)}.{text64(payload)}"
        made = f"{content}.{text64(signed(key, content))}"
    return given | {"text": _text(faults, made)}


def _text(faults: Faults, made: str) -> str:
    for _ in range(faults.layers.count("text")):
        made = items.text(faults.rng, made)
    return made


def _http_reply(faults: Faults, given: Inputs) -> Inputs:
    key, request = tail_key(given["request"], "ticket"), ap_req(given["request"])
    body = url64(given["value"].partition(", m=")[0].removeprefix("s="))
    body = faults.at("body", faults.shaped("http-rep", body))
    made = f"s={text64(body)}, m={text64(mac(key, 'http-rep', sha256(request) + body))}"
    return given | {"value": _text(faults, made)}


def _signature(faults: Faults, given: Inputs) -> Inputs:
    """Names or parameters changed, then signed again as far as a base can be made."""
    rng, parameters = faults.rng, given["signature_input"].removeprefix("orthros=")
    names, _, rest = parameters.removeprefix("(").partition(")")
    components, fields = [one.strip('"') for one in names.split(" ")], rest.split(";")
    for _ in range(faults.layers.count("components")):
        components = [one for one in items.changed(rng, components) if isinstance(one, str)]
    for _ in range(faults.layers.count("parameters")):
        at = rng.randrange(len(fields))
        word, _, value = fields[at].partition("=")
        fields[at] = f"{word}={items.number(rng, int(value))}" if value.isdigit() else items.text(rng, fields[at])
    text = "(" + " ".join(f'"{one}"' for one in components) + ")" + ";".join(fields)
    proof = hmac.digest(key_of(given)[0], base(given["request"], components, text).encode(), "sha256")
    return given | {"signature_input": _text(faults, f"orthros={text}"), "signature": f"orthros=:{padded(proof)}:"}


def _key_text(faults: Faults, given: Inputs) -> Inputs:
    bits = "".join(f"{_BASE32.index(letter):05b}" for letter in given["text"].removeprefix("ort1k_"))
    whole = len(bits) // 8
    made = FORGES["key-file"].work(faults, {"file": int(bits[: whole * 8], 2).to_bytes(whole, "big").hex()})["file"]
    stream = "".join(f"{byte:08b}" for byte in unhex(made))
    stream += "0" * (-len(stream) % 5)
    letters = (_BASE32[int(stream[at : at + 5], 2)] for at in range(0, len(stream), 5))
    return {"text": _text(faults, "ort1k_" + "".join(letters))}


TEXT_FORGES: Final[dict[str, Forge]] = {
    "open-token": Forge(("claims", "claims", "claims", "payload", "text"), _token),
    "open-http-reply": Forge((SHAPED, "body", "body", "text"), _http_reply),
    "verify-signature": Forge(("components", "parameters", "parameters", "text"), _signature),
    "key-text": Forge(("record", "record", "file", "text"), _key_text),
}
