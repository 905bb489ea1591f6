"""HTTP a second time, from docs/protocol/http.md alone; shares no code with the library.

Cuts headers apart by hand where the library has patterns, so that the two can differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.naive import enc, mac, sha256
from tests.support.oracle import Verdict, array, blob, name, need, number

Inputs = dict[str, Any]
unhex = bytes.fromhex
SMALL = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
TOKEN = set("!#$%&'*+.^_`|~-" + SMALL + DIGITS)
LETTERS = SMALL.upper() + SMALL + DIGITS
FORM = "malformed"


def bits(text: str, alphabet: str) -> bytes:
    """Base64 without padding, in its one form."""
    need(len(text) % 4 != 1 and set(text) <= set(alphabet), FORM)
    stream = "".join(f"{alphabet.index(letter):06b}" for letter in text)
    whole = len(stream) // 8
    need("1" not in stream[whole * 8 :], FORM)
    return int("0" + stream[: whole * 8], 2).to_bytes(whole, "big")


def url64(text: str) -> bytes:
    return bits(text, LETTERS + "-_")


def text64(data: bytes, alphabet: str = LETTERS + "-_") -> str:
    stream = "".join(f"{byte:08b}" for byte in data)
    stream += "0" * (-len(stream) % 6)
    return "".join(alphabet[int(stream[at : at + 6], 2)] for at in range(0, len(stream), 6))


def field_names(found: Any) -> bool:
    return (
        type(found) is list and len(found) <= 16 and len(set(found)) == len(found)
        and all(type(one) is str and 1 <= len(one) <= 64 and set(one) <= TOKEN for one in found)
    )  # fmt: skip


def cut(text: str, start: str, end: str = "") -> str:
    """What is between `start` and `end`, which must be there."""
    need(text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end), FORM)
    return text[len(start) : len(text) - len(end)]


def authority(text: str, scheme: str) -> str:
    text = "".join(SMALL[SMALL.upper().index(one)] if one in SMALL.upper() else one for one in text)
    need(scheme in ("http", "https"), FORM)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "80" if scheme == "http" else "443"
    if host.startswith("["):
        need(host.endswith("]") and 2 <= len(host[1:-1]) <= 45 and set(host[1:-1]) <= set(DIGITS + "abcdef:."), FORM)
    else:
        need(1 <= len(host) <= 253 and set(host) <= set(SMALL + DIGITS + "._-"), FORM)
    need(1 <= len(port) <= 5 and set(port) <= set(DIGITS) and port[0] != "0" and int(port) <= 65535, FORM)
    return f"{host}:{port}"


def content_digest(value: str) -> bytes:
    body = cut(value, "sha-256=:", "=:")
    need(len(body) == 43, FORM)
    return bits(body, LETTERS + "+/")


def request_fields(given: Inputs) -> Inputs:
    """By the page: every other character is a hyphen to a reader of the CGI family."""

    def read(text: str) -> str:
        return "".join(one if one in SMALL + DIGITS else "-" for one in text)

    present = [one for one, _value in given["headers"]]
    for one in (*given["covered"], "content-length", "transfer-encoding", "content-digest"):
        need(all(known == one for known in present if read(known) == read(one)), FORM)
    found = []
    for one in given["covered"]:
        need(present.count(one) == 1, FORM)
        found.append([one, dict(given["headers"])[one]])
    floor = [one for one in given["floor"] if one not in given["covered"]]
    return {"values": found, "uncovered": [one for one in floor if read(one) in map(read, present)]}


def content_length(value: str) -> int:
    need(1 <= len(value) <= 18 and set(value) <= set(DIGITS) and (value == "0" or value[0] != "0"), FORM)
    return sum(10**at * DIGITS.index(one) for at, one in enumerate(reversed(value)))


def bind(given: Inputs) -> Inputs:
    method, target = given["method"], unhex(given["target"])
    need(1 <= len(method) <= 32 and set(method) <= TOKEN | set(SMALL.upper()), FORM)
    need(authority(given["authority"], given["scheme"]) == given["authority"], FORM)
    need(1 <= len(target) <= 8192, FORM)
    covered = [[one, unhex(value)] for one, value in given["covered"]]
    need(field_names([one for one, _value in covered]) and all(len(value) <= 8192 for _one, value in covered), FORM)
    content = None if given["content_digest"] is None else unhex(given["content_digest"])
    if content is not None:
        content_digest(content.decode("latin-1"))
    parts = ("http/1", method, given["scheme"], given["authority"], target, covered, content)
    need(len(enc(*parts)) <= 64 * 1024, FORM)
    return {"bind": sha256(enc(*parts)).hex()}


def authorization(given: Inputs) -> Inputs:
    value = given["value"]
    need(value[:7].lower() == "orthros" and value.isascii(), FORM)
    rest = cut(value[7:], ' v=1, h="', '"')
    names, _middle, proof = rest.partition('", r="')
    covered = names.split(";") if names else []
    need(field_names(covered), FORM)
    message = url64(proof)
    need(1 <= len(message) <= 24 * 1024, FORM)
    written = f'Orthros v=1, h="{";".join(covered)}", r="{text64(message)}"'
    return {"covered": covered, "message": message.hex(), "written": written}


def values(given: Inputs, covered: list[str]) -> bytes:
    found = []
    for one in covered:
        here = [unhex(value) for known, value in given["headers"] if known == one]
        need(len(here) == 1, FORM)
        found.append(here[0])
    return sha256(enc(*found))


def reply(key: bytes, request: bytes, given: Inputs) -> Inputs:
    names = [known for known, _value in given["headers"]]
    need(field_names(given["covered"]) and all(names.count(one) == 1 for one in given["covered"]), "value-invalid")
    need(100 <= given["status"] <= 999 and len(given["body_digest"] or 64 * "0") == 64, "value-invalid")
    content = None if given["body_digest"] is None else unhex(given["body_digest"])
    body = enc(
        1,
        given["now"],
        unhex(given["epoch"]),
        given["status"],
        given["covered"],
        values(given, given["covered"]),
        content,
    )
    return {"value": f"s={text64(body)}, m={text64(mac(key, 'http-rep', sha256(request) + body))}"}


def open_reply(key: bytes, request: bytes, given: Inputs) -> Inputs:
    first, comma, second = given["value"].partition(", m=")
    need(comma, FORM)
    body, proof = url64(cut(first, "s=")), url64(second)
    need(body and proof, FORM)
    need(proof == mac(key, "http-rep", sha256(request) + body), "wrong-mac")
    version, time, epoch, status, covered, digest, content = array(body, 4096, 7)
    need(version == 1 and number(time) and blob(epoch, 8) and number(status, 999, 100) and field_names(covered), FORM)
    need(blob(digest, 32) and (content is None or blob(content, 32)), FORM)
    need(status == given["status"], "reply-mismatch")
    need(digest == values(given, covered), "reply-mismatch")
    shown = None if content is None else content.hex()
    return {"target_time": time, "epoch": epoch.hex(), "covered": covered, "body_digest": shown}


def challenge(given: Inputs) -> Inputs:
    parts = given["value"].split(", ")
    need(parts[0][:7].lower() == "orthros" and len(parts) in (1, 2, 4), FORM)
    realm = cut(parts[0][7:], ' realm="', '"')
    need(name(realm), FORM)
    written, code, answer = f'Orthros realm="{realm}"', None, None
    if len(parts) > 1:
        code = cut(parts[1], 'err="', '"')
        need(1 <= len(code) <= 64 and set(code) <= set(SMALL + DIGITS + "-"), FORM)
        written += f', err="{code}"'
    if len(parts) > 2:
        body, proof = url64(cut(parts[2], 's="', '"')), url64(cut(parts[3], 'm="', '"'))
        need(4 <= len(body) <= 4096 and len(proof) == 32, FORM)
        answer = enc(body, proof)
        written += f', s="{text64(body)}", m="{text64(proof)}"'
    return {"realm": realm, "code": code, "reply": None if answer is None else answer.hex(), "written": written}


def written(read: Callable[[Inputs], Any], value: str) -> Inputs:
    """A header is written if its reader takes it."""
    try:
        read({"value": value})
    except Verdict:
        raise Verdict("value-invalid") from None
    return {"value": value}


def write_authorization(given: Inputs) -> Inputs:
    need(all(given["covered"]), "value-invalid")
    names, message = ";".join(given["covered"]), text64(unhex(given["message"]))
    need(names.count(";") == max(len(given["covered"]) - 1, 0), "value-invalid")
    return written(authorization, f'Orthros v=1, h="{names}", r="{message}"')


def write_content_digest(given: Inputs) -> Inputs:
    need(len(given["sha256"]) == 64, "value-invalid")
    return {"value": f"sha-256=:{text64(unhex(given['sha256']), LETTERS + '+/')}=:"}


def write_challenge(given: Inputs) -> Inputs:
    value = f'Orthros realm="{given["realm"]}"'
    if given["code"] is not None:
        value += f', err="{given["code"]}"'
    if given["reply"] is not None:
        value += ', s="{}", m="{}"'.format(*map(text64, array(unhex(given["reply"]), 24 * 1024, 2)))
    return written(challenge, value)
