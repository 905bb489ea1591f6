"""What a target answers, at each of its limits, accepted, and one past it, refused: AP-REP, AP-ERR and over HTTP.

Every answer carries a right MAC unless that is the point.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.exchanges.http_profile import encode_base64url, format_authorization
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest, mac
from workshop.vectors import positive as good
from workshop.vectors import positive_http as web
from workshop.vectors.edges import HIGH_FLAGS, MOST_INT, MOST_U32, bad_extensions, both, good_extensions
from workshop.vectors.edges_as_exchange import TRAVELLING
from workshop.vectors.negative import refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, ap_pending, unhex
from workshop.vectors.positive import NOW, REALM, vector


def answers() -> list[Vector]:
    """AP-REP, AP-ERR, `Orthros-Reply` and challenges."""
    return [
        *_replies(),
        *_errors(),
        *_http_replies(),
        *_challenges(),
        *_authorizations(),
        *_bindings(),
        *_authorities(),
        *_written(),
    ]


def _signed(label: str, items: dict[str, Any]) -> Inputs:
    pending = ap_pending(good.ap_inputs())
    body = encode(*items.values())
    return {
        "request": good.ap_inputs(), "reply": encode(body, mac(pending.pop_key, label, pending.context + body)).hex()
    }  # fmt: skip


def _replies() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        items: dict[str, Any] = {
            "version": 1, "nonce": unhex(good.NONCE), "ts": NOW, "epoch": unhex(good.EPOCH), "flags": 0, "opt": []
        }  # fmt: skip
        return _signed("ap-rep.0", items | changes)

    passing: dict[str, Inputs] = {"every high flag": {"flags": HIGH_FLAGS}, "time of 2^63-1": {"ts": MOST_INT}}
    passing |= {f"opt: {name}": {"opt": opt} for name, opt in good_extensions().items()}
    failing: dict[str, Inputs] = {
        "flags of 33 bits": {"flags": MOST_U32 + 1}, "version 0": {"version": 0}, "nonce of 15 bytes": {
            "nonce": bytes(15)},
        "nonce of 17 bytes": {"nonce": bytes(17)}, "epoch of 7 bytes": {"epoch": bytes(7)}, "epoch of 9 bytes": {
            "epoch": bytes(9)},
        "epoch as nil": {"epoch": None}, "time as nil": {"ts": None},
    }  # fmt: skip
    failing |= {f"opt: {name}": {"opt": opt} for name, opt in bad_extensions().items()}
    made = both("AP-REP", "open-ap-rep", given, "encoding", passing, failing)
    for low in (2, 0x8000):
        made.append(refused(f"AP-REP: flag {low:#x}", "open-ap-rep", given({"flags": low}), "critical"))
    for use in range(4):
        asked = good.ap_inputs(use=use)
        situation = good.accept_inputs(OPERATIONS["ap-req"](asked)["message"], use=use)
        made.append(vector(f"AP-REQ of use {use} is accepted", "accept", situation))
        made.append(vector(f"AP-REP of use {use}", "open-ap-rep",
                           {"request": asked, "reply": made[-1]["out"]["reply"]}))  # fmt: skip
    bare = good.ap_inputs(bind=None)
    return [*made, refused("AP-REQ is not built: no bind", "ap-req", bare, "build")]


def _errors() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        items: dict[str, Any] = {
            "version": 1, "code": 40, "ts": NOW, "epoch": unhex(good.EPOCH), "detail": None, "opt": []
        }  # fmt: skip
        return _signed("ap-err.0", items | changes)

    passing: dict[str, Inputs] = {f"code {name}": {"code": number} for number, name in TRAVELLING.items()}
    passing |= {
        "code of a newer version": {"code": 9}, "code 65535": {"code": 0xFFFF}, "detail of 200 characters": {
            "detail": "d" * 200},
        "the time to wait": {"opt": [[1, bytes(4)]]}, "before any handler": {"opt": [[1, bytes(4)], [2, b""]]},
        "hints of other lengths": {"opt": [[1, bytes(3)], [2, b"x"]]},
    }  # fmt: skip
    passing |= {f"opt: {name}": {"opt": opt} for name, opt in good_extensions().items()}
    failing: dict[str, Inputs] = {
        "code 65536": {"code": 0x10000}, "version 2": {"version": 2}, "version 0": {"version": 0},
        "epoch of 7 bytes": {"epoch": bytes(7)}, "epoch of 9 bytes": {"epoch": bytes(9)}, "detail of 201 characters": {
            "detail": "d" * 201},
        "detail with a line break": {"detail": "a\nb"}, "detail as bin": {"detail": b"a"}, "time as nil": {"ts": None},
    }  # fmt: skip
    failing |= {f"opt: {name}": {"opt": opt} for name, opt in bad_extensions().items()}
    made = [refused(f"AP-ERR: {name}", "open-ap-rep", given(one), "refused-by-peer") for name, one in passing.items()]
    made += [refused(f"AP-ERR: {name}", "open-ap-rep", given(one), "encoding") for name, one in failing.items()]
    pending = ap_pending(good.ap_inputs())
    for name, items in {"MAC of 31 bytes": (b"body", bytes(31)), "MAC of 33 bytes": (b"body", bytes(33)),
                        "no MAC": (b"body",)}.items():  # fmt: skip
        shown = {"request": good.ap_inputs(), "reply": encode(*items).hex()}
        made.append(refused(f"answer: {name}", "open-ap-rep", shown, "encoding"))
    body = encode(1, 40, NOW, unhex(good.EPOCH), None, [])
    foreign = encode(body, mac(pending.pop_key, "ap-err.1", pending.context + body))
    shown = {"request": good.ap_inputs(), "reply": foreign.hex()}
    return [*made, refused("AP-ERR: of another use", "open-ap-rep", shown, "mac")]


def _http_replies() -> list[Vector]:
    none = digest(encode())

    def given(changes: Inputs) -> Inputs:
        items: dict[str, Any] = {
            "version": 1, "ts": NOW, "epoch": unhex(good.EPOCH), "status": 200, "covered": [], "values": none,
            "body": None,
        }  # fmt: skip
        shown = {name: changes[name] for name in ("headers", "reported") if name in changes}
        items |= {name: one for name, one in changes.items() if name not in shown}
        return {
            "request": web.REQUEST, "value": web.encoded_reply(*items.values()),
            "status": shown.get("reported", items["status"]), "headers": shown.get("headers", web.RESPONSE["headers"]),
        }  # fmt: skip

    def covering(count: int, name: str = "x-{:02}") -> Inputs:
        names = [name.format(one) for one in range(count)]
        return {
            "covered": names, "values": digest(encode(*[b""] * count)), "headers": [[one, ""] for one in names]
        }  # fmt: skip

    passing: dict[str, Inputs] = {
        "status 100": {"status": 100}, "status 999": {"status": 999}, "16 fields": covering(16),
        "field of 64 characters": covering(1, "x" * 64), "time of 2^63-1": {"ts": MOST_INT}, "body of 32 bytes": {
            "body": bytes(32)},
        "field of other characters": covering(1, "!#$%&'*+.^_`|~0-9a"),
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "17 fields": covering(17), "field of 65 characters": covering(1, "x" * 65), "field with a space": covering(
            1, "x y"),
        "epoch of 7 bytes": {"epoch": bytes(7)}, "epoch of 9 bytes": {
            "epoch": bytes(9)},
        "values of 33 bytes": {"values": none + b"\0"}, "body of 31 bytes": {"body": bytes(31)}, "body of 33 bytes": {
            "body": bytes(33)},
        "status as nil": {"status": None, "reported": 200}, "version 0": {"version": 0}, "time as nil": {"ts": None},
        "covered as nil": {"covered": None},
    }  # fmt: skip
    made = both("Orthros-Reply", "open-http-reply", given, "encoding", passing, failing)
    body, proof = (part.partition("=")[2] for part in web.REPLY_VALUE.split(", "))
    shown = {"request": web.REQUEST, **web.RESPONSE}
    long = shown | {"value": f"s={body}, m={encode_base64url(bytes(33))}"}
    made.append(refused("Orthros-Reply: MAC of 33 bytes", "open-http-reply", long, "mac"))
    for name, value in {
        "stray bits": f"s={body}, m={proof[:-1]}{'B' if proof[-1] != 'B' else 'C'}", "another alphabet": (
            f"s={body}, m=+{proof[1:]}"),
        "a space behind": web.REPLY_VALUE + " ",
        "name in capitals": web.REPLY_VALUE.replace("s=", "S="), "no body": f"s=, m={proof}",
    }.items():  # fmt: skip
        made.append(refused(f"Orthros-Reply: {name}", "open-http-reply", shown | {"value": value}, "encoding"))
    written = web.REPLY | {"headers": [["x", ""], ["x", ""]], "covered": ["x"]}
    unbuilt: dict[str, Inputs] = {
        "field twice": written, "field that is absent": web.REPLY | {"covered": ["x"]}, "covered twice": web.REPLY | {
            "covered": ["empty", "empty"]},
        "status 99": web.REPLY | {"status": 99}, "status 1000": web.REPLY | {"status": 1000},
        "17 fields": web.REPLY | {
            "headers": covering(17)["headers"], "covered": covering(17)["covered"]},
        "body of 31 bytes": web.REPLY | {"body_digest": bytes(31).hex()},
    }  # fmt: skip
    made += [
        refused(f"Orthros-Reply is not built: {name}", "http-reply", one, "build") for name, one in unbuilt.items()
    ]
    return made


def _challenges() -> list[Vector]:
    m = encode_base64url(bytes(32))

    def given(value: str) -> Inputs:
        return {"value": value}

    def answer(size: int, proof: str = m) -> str:
        return f'Orthros realm="a", err="busy", s="{encode_base64url(bytes(size))}", m="{proof}"'

    passing = {
        "realm of 128 characters": f'Orthros realm="{"n" * 128}"', "code of 64 characters": (
            f'Orthros realm="a", err="{"c" * 64}"'),
        "body of 4 bytes": answer(4), "body of 4096 bytes": answer(4096), "scheme in capitals": 'ORTHROS realm="a"',
        "code of digits": 'Orthros realm="a", err="0-9"', "code of one character": 'Orthros realm="a", err="c"',
        "realm of all characters": 'Orthros realm="a.b_c-d/0"',
    }  # fmt: skip
    failing = {
        "realm of 129 characters": f'Orthros realm="{"n" * 129}"', "code of 65 characters": (
            f'Orthros realm="a", err="{"c" * 65}"'),
        "body of 4097 bytes": answer(4097), "MAC of 33 bytes": answer(4, encode_base64url(bytes(33))),
        "empty realm": 'Orthros realm=""', "realm with a space": 'Orthros realm="a b"',
        "space behind": 'Orthros realm="a" ', "two spaces": 'Orthros  realm="a"', "code with a line": (
            'Orthros realm="a", err="a_b"'),
        "body alone": f'Orthros realm="a", err="busy", s="{encode_base64url(bytes(4))}"', "stray bits": answer(
            4, m[:-1] + "B"),
    }  # fmt: skip
    return both("challenge", "challenge", given, "encoding", passing, failing)


def _authorizations() -> list[Vector]:
    def given(value: str) -> Inputs:
        return {"value": value}

    names = [f"x-{one:02}" for one in range(16)]
    passing = {
        "message of 24 KiB": format_authorization(bytes(24 * 1024)),
        "message of one byte": format_authorization(b"\0"),
        "name of 64 characters": format_authorization(b"\0", ["x" * 64]), "16 names of 64 characters": (
            format_authorization(bytes(24 * 1024), [one.ljust(64, "x") for one in names])),
        "name of other characters": format_authorization(b"\0", ["!#$%&'*+.^_`|~0-9a"]),
    }  # fmt: skip
    failing = {
        "message of 24 KiB and a byte": 'Orthros v=1, h="", r="' + encode_base64url(bytes(24 * 1024 + 1)) + '"',
        "name of 65 characters": f'Orthros v=1, h="{"x" * 65}", r="AA"', "name with a space": (
            'Orthros v=1, h="x y", r="AA"'),
        "name beyond ASCII": 'Orthros v=1, h="\u00e9", r="AA"', "empty name first": 'Orthros v=1, h=";a", r="AA"',
        "empty name last": 'Orthros v=1, h="a;", r="AA"', "line break in h": 'Orthros v=1, h="a\nb", r="AA"',
        "no space behind the scheme": 'Orthrosv=1, h="", r="AA"', "empty": "", "scheme alone": "Orthros",
        "space in front": ' Orthros v=1, h="", r="AA"', "quote in h": 'Orthros v=1, h=""", r="AA"',
    }  # fmt: skip
    return both("Authorization", "authorization", given, "encoding", passing, failing)


def _bindings() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        return web.BINDING | changes

    fields = [[f"x-{one:02}", ""] for one in range(17)]
    passing: dict[str, Inputs] = {
        "method of 32 characters": {"method": "A" * 32}, "method of one": {"method": "!"}, "target of 8192": {
            "target": "2f" * 8192},
        "target of one byte": {"target": "2f"}, "value of 8192": {"covered": [["x", "61" * 8192]]},
        "field of 64 characters": {"covered": [["x" * 64, ""]]}, "host of 253 characters": {
            "authority": "h" * 253 + ":443"},
        "IPv6 of 45 characters": {"authority": f"[{'0' * 45}]:443"}, "IPv6 of two": {"authority": "[::]:443"},
        "host of other characters": {"authority": "a.b_c-0:1"}, "method of every kind": {
            "method": "!#$%&'*+.^_`|~-09azAZ"},
        "field of every kind": {"covered": [["!#$%&'*+.^_`|~-09az", ""]]},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "host of 254 characters": {"authority": "h" * 254 + ":443"}, "IPv6 of 46 characters": {
            "authority": f"[{'0' * 46}]:443"},
        "IPv6 of one": {"authority": "[:]:443"}, "empty host": {"authority": ":443"}, "port of six digits": {
            "authority": "a:100000"},
        "empty port": {"authority": "a:"}, "field of 65 characters": {"covered": [["x" * 65, ""]]},
        "field with a colon": {"covered": [["x:y", ""]]}, "method with a colon": {"method": "GET:"},
        "17 fields of no value": {"covered": fields}, "scheme with more": {"scheme": "httpsx"}, "scheme of three": {
            "scheme": "htt"},
        "IPv6 with a letter": {"authority": "[g::]:443"}, "IPv6 in capitals": {"authority": "[A::]:443"},
        "digest of another length": {"content_digest": b"sha-256=:AAAA:".hex()}, "digest with a byte behind": {
            "content_digest": web.BINDING["content_digest"] + "20"},
        "digest of 129 bytes": {"content_digest": "61" * 129},
    }  # fmt: skip
    made = both("bind", "bind-http", given, "encoding", passing, failing)

    def of_size(size: int) -> Inputs:
        """A binding whose parts are encoded in this many bytes: seven large values, and one that fills it up."""
        parts = ("http/1", "POST", "https", web.BINDING["authority"], b"/", [["x-0", bytes(300)]] + [
            [f"x-{one}", bytes(8192)] for one in range(1, 8)], None)  # fmt: skip
        rest = size - len(encode(*parts))
        covered = [["x-0", "00" * (300 + rest)], *([f"x-{one}", "00" * 8192] for one in range(1, 8))]
        return given({"target": "2f", "covered": covered, "content_digest": None})

    return made + both("bind", "bind-http", of_size, "encoding", {"parts of 64 KiB": 64 * 1024}, {
        "parts of 64 KiB and a byte": 64 * 1024 + 1})  # fmt: skip


def _authorities() -> list[Vector]:
    def given(text: str) -> Inputs:
        return {"text": text, "scheme": "https"}

    passing = {
        "host of 253 characters": "h" * 253, "IPv6 of 45 characters": f"[{'0' * 45}]", "port 1": "a:1",
        "port 65535": "a:65535", "IPv6 of two": "[::]", "IPv6 with a port": "[::1]:8443",
        "host of other characters": "A.b_C-0",
    }  # fmt: skip
    failing = {
        "host of 254 characters": "h" * 254, "IPv6 of 46 characters": f"[{'0' * 46}]", "IPv6 of one": "[:]",
        "port of six digits": "a:100000", "port 65536": "a:65536", "two ports": "a:1:2", "IPv6 without a bracket": (
            "[::1"),
        "line break behind": "a\n", "host of a percent": "a%41",
    }  # fmt: skip
    return both("authority", "authority", given, "encoding", passing, failing)


def _written() -> list[Vector]:
    """Headers as they are written: what no reader would take is not."""
    names = [f"x-{one:02}" for one in range(17)]

    def authorization(case: tuple[int, list[str]]) -> Inputs:
        size, covered = case
        return {"message": bytes(size).hex(), "covered": covered}

    made = both(
        "Authorization is written",
        "write-authorization",
        authorization,
        "build",
        {
            "message of one byte": (1, []),
            "message of 24 KiB": (24 * 1024, ["b", "a"]),
            "16 names": (1, names[:16]),
            "name of 64 characters": (1, ["x" * 64]),
        },
        {
            "no message": (0, []),
            "message of 24 KiB and a byte": (24 * 1024 + 1, []),
            "17 names": (1, names),
            "a name twice": (1, ["a", "b", "a"]),
            "name of 65 characters": (1, ["x" * 65]),
            "empty name": (1, [""]),
            "name in capitals": (1, ["X"]),
            "name with a semicolon": (1, ["a;b"]),
        },
    )
    made += both(
        "Content-Digest is written",
        "write-content-digest",
        lambda size: {"sha256": bytes(size).hex()},
        "build",
        {"of 32 bytes": 32},
        {"of 31 bytes": 31, "of 33 bytes": 33},
    )

    def challenge(changes: Inputs) -> Inputs:
        return {"realm": REALM, "code": "busy", "reply": None} | changes

    def answer(size: int) -> Inputs:
        return {"reply": encode(bytes(size), bytes(32)).hex()}

    return made + both(
        "challenge is written",
        "write-challenge",
        challenge,
        "build",
        {
            "without a code": {"code": None},
            "with a code": {},
            "code of 64 characters": {"code": "c" * 64},
            "realm of 128 characters": {"realm": "n" * 128},
            "AP-ERR with a body of 4 bytes": answer(4),
            "AP-ERR with a body of 4096 bytes": answer(4096),
        },
        {
            "realm in capitals": {"realm": "A"},
            "empty realm": {"realm": ""},
            "code with a line": {"code": "a_b"},
            "empty code": {"code": ""},
            "code of 65 characters": {"code": "c" * 65},
            "AP-ERR without a code": {"code": None} | answer(4),
            "AP-ERR with a body of 4097 bytes": answer(4097),
        },
    )
