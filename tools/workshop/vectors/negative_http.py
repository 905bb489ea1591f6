"""Negative vectors of the HTTP profile and of the caveats that look at a request: exactly one thing is wrong."""

from __future__ import annotations

from typing import Any

from orthros_protocol.exchanges.http_profile import encode_base64url
from orthros_protocol.primitives.canonical import decode, encode
from orthros_protocol.primitives.derivation import digest, mac
from workshop.vectors import positive as good
from workshop.vectors import positive_http as web
from workshop.vectors.negative import refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, ap_pending, unhex


def http() -> list[Vector]:
    """Bindings, headers, responses and challenges."""
    return [*_bindings(), *_headers(), *_requests(), *_replies(), *_challenges()]


def _bindings() -> list[Vector]:
    field = web.BINDING["covered"][0]
    changes: dict[str, Inputs] = {
        "no method": {"method": ""}, "method with a space": {"method": "G T"}, "method of 33": {"method": "A" * 33},
        "scheme in capitals": {"scheme": "HTTPS"}, "another scheme": {"scheme": "ws"}, "no port": {"authority": "a"},
        "host in capitals": {"authority": "A:1"}, "port 0": {"authority": "a:0"},
        "port 65536": {"authority": "a:65536"},
        "port with a zero": {"authority": "a:080"}, "user": {"authority": "u@a:1"}, "no target": {"target": ""},
        "target of 8193": {"target": "2f" * 8193}, "field in capitals": {"covered": [["Content-Type", ""]]},
        "field without a name": {"covered": [["", ""]]}, "field twice": {"covered": [field, field]},
        "17 fields": {"covered": [[f"x-{one}", ""] for one in range(17)]},
        "value of 8193": {"covered": [["x", "61" * 8193]]}, "empty digest": {"content_digest": ""},
        "digest of another algorithm": {"content_digest": b"sha-512=:AA==:".hex()},
        "digest with stray bits": {"content_digest": (b"sha-256=:" + b"A" * 42 + b"B=:").hex()},
    }  # fmt: skip
    made = [refused(f"bind: {name}", "bind-http", web.BINDING | change, "encoding") for name, change in changes.items()]
    authorities = {
        "empty": "", "user": "u@a", "empty port": "a:", "port 0": "a:0", "port 65536": "a:65536", "zeros": "a:0080",
        "bare IPv6": "::1", "zone": "[fe80::1%25lo]", "space": "a b", "list": "a,b", "path": "a/",
        "not ASCII": "b\u00fccher",
    }  # fmt: skip
    for name, text in authorities.items():
        made.append(refused(f"authority: {name}", "authority", {"text": text, "scheme": "http"}, "encoding"))
    made.append(refused("authority: another scheme", "authority", {"text": "a", "scheme": "HTTP"}, "encoding"))
    return made


def _headers() -> list[Vector]:
    value, proof = web.AUTHORIZATION, web.AUTHORIZATION.partition('r="')[2][:-1]
    values = {
        "another version": value.replace("v=1", "v=2"), "quoted version": value.replace("v=1", 'v="1"'),
        "another scheme": value.replace("Orthros", "Bearer"), "two spaces": value.replace(" v", "  v"),
        "no space behind a comma": value.replace(", ", ","), "space at the end": value + " ",
        "another parameter": value + ', x="1"', "another order": f'Orthros v=1, r="{proof}", h=""',
        "no h": f'Orthros v=1, r="{proof}"', "no message": value.replace(proof, ""), "not quoted": value.replace('"',
        ""),
        "padding": value[:-1] + '="', "stray bits": 'Orthros v=1, h="", r="AB"',
        "one character": 'Orthros v=1, h="", r="A"',
        "another alphabet": 'Orthros v=1, h="", r="+/+/"', "line break": 'Orthros v=1, h="", r="AAAA\nAAAA"',
        "field in capitals": value.replace("content-type", "Content-Type"), "empty field": value.replace(";", ";;"),
        "field twice": value.replace("idempotency-key", "content-type"), "comma": value.replace(";", ","),
        "17 fields": value.replace("content-type", ";".join(f"x-{one}" for one in range(16))),
        "over 24 KiB": 'Orthros v=1, h="", r="' + encode_base64url(bytes(24 * 1024 + 1)) + '"',
        "twice": f"{value}, {value}",
    }  # fmt: skip
    made = [
        refused(f"Authorization: {name}", "authorization", {"value": one}, "encoding") for name, one in values.items()
    ]
    found = OPERATIONS["content-digest"]({"value": bytes.fromhex(web.BINDING["content_digest"]).decode()})["written"]
    digests = {
        "another algorithm": found.replace("256", "512"), "in capitals": found.replace("sha", "SHA"),
        "two": f"{found}, {found}",
        "parameter": found + ";a=1", "no padding": found.replace("=:", ":")[:-1] + ":", "base64url": found.replace("/",
        "_"),
        "space": found + " ", "short": "sha-256=:AAAA:", "stray bits": "sha-256=:" + "A" * 42 + "B=:", "empty": "",
    }  # fmt: skip
    for name, one in digests.items():
        made.append(refused(f"Content-Digest: {name}", "content-digest", {"value": one}, "encoding"))
    for name, change in {
        "renamed": {"headers": [["idempotency_key", "01"], ["x-tenant", "02"]]},
        "a second spelling": web.with_fields(["idempotency_key", "01"]),
        "a second spelling, the same value": web.with_fields(["x_tenant", b"t".hex()]),
        "a second spelling with a dot": web.with_fields(["x.tenant", ""]),
        "a second spelling of an odd name": web.with_fields(["x_own", ""], ["x-own", ""]) | {"covered": ["x_own"]},
        "missing": {"covered": ["x-other"]}, "twice": web.with_fields(["x-tenant", b"t".hex()]),
        "another Content-Digest": web.with_fields(["content_digest", ""]),
        "another Content-Length": web.with_fields(["content_length", "30"]),
        "another Transfer-Encoding": web.with_fields(["transfer_encoding", b"chunked".hex()]),
    }.items():  # fmt: skip
        made.append(refused(f"fields: {name}", "request-fields", web.FIELDS | change, "encoding"))
    lengths = {
        "empty": "", "zero in front": "07", "zeros in front": "000000000999999999", "two zeros": "00", "sign": "+7",
        "minus": "-7", "space": " 7", "space behind": "7 ", "list": "7, 7", "hexadecimal": "0x7", "separator": "1_0",
        "fraction": "7.0", "exponent": "7e1", "19 digits": "1" + "0" * 18, "not ASCII": "\u0667", "power": "\u00b2",
        "line break": "7\n",
    }  # fmt: skip
    for name, one in lengths.items():
        made.append(refused(f"Content-Length: {name}", "content-length", {"value": one}, "encoding"))
    return made


def _requests() -> list[Vector]:
    def bound(change: Inputs) -> Inputs:
        message = ap_pending(web.REQUEST).message.hex()
        received = OPERATIONS["bind-http"](web.BINDING | change)["bind"]
        return good.accept_inputs(message, use=1, bind=received) | {"access": web.KNOWN}

    content_type, key = web.BINDING["covered"]
    changes: dict[str, Inputs] = {
        "method": {"method": "PUT"}, "scheme": {"scheme": "http"},
        "authority": {"authority": "payroll.example.org:443"},
        "path": {"target": b"/runs/8?dry=1".hex()}, "query": {"target": b"/runs/7?dry=0".hex()},
        "query missing": {"target": b"/runs/7".hex()}, "covered field": {"covered": [content_type, ["idempotency-key",
        ""]]},
        "covered field missing": {"covered": [content_type]}, "order of fields": {"covered": [key, content_type]},
        "digest": {"content_digest": b"sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:".hex()},
        "digest missing": {"content_digest": None},
    }  # fmt: skip
    made = [refused(f"request: another {name}", "accept", bound(change), "bind") for name, change in changes.items()]
    cases: dict[str, tuple[str, Inputs]] = {
        "methods": (web.METHODS, {"method": "POST"}), "path": (web.PATH, {"path": "/runs/..;/payslips"}),
        "peer": (web.PEER, {"peer": "11.0.0.1"}), "channel": (web.CHANNEL, {"channel": None}),
    }  # fmt: skip
    for name, (caveat, access) in cases.items():
        given = web.accept_inputs([caveat], **access)
        made.append(refused(f"request: {name} caveat", "accept", given, "caveat"))
    inside = OPERATIONS["ap-req"](good.ap_inputs(use=2, bind=good.BIND, caveats=[web.CHANNEL]))["message"]
    given = good.accept_inputs(inside, use=2) | {"access": web.KNOWN}
    return [*made, refused("channel caveat inside a channel", "accept", given, "caveat")]


def _replies() -> list[Vector]:
    shown: Inputs = {"request": web.REQUEST, "value": web.REPLY_VALUE, **web.RESPONSE}
    body, proof = (part.partition("=")[2] for part in web.REPLY_VALUE.split(", "))
    epoch, none = unhex(good.EPOCH), digest(encode())
    rep = OPERATIONS["accept"](web.accept_inputs([]))["reply"]
    s, m = (encode_base64url(one) for one in decode(unhex(rep), 4096))

    def reply(name: str, change: Inputs, stage: str) -> Vector:
        return refused(f"Orthros-Reply: {name}", "open-http-reply", shown | change, stage)

    def fields(at: int, *now: list[str]) -> Inputs:
        headers = list(web.RESPONSE["headers"])
        headers[at : at + 1] = now
        return {"headers": headers}

    forms = {
        "empty": "", "no MAC": f"s={body}", "another order": f"m={proof}, s={body}", "no space": f"s={body},m={proof}",
        "padding": web.REPLY_VALUE + "=", "quoted": f's="{body}", m="{proof}"', "more": web.REPLY_VALUE + ", x=1",
    }  # fmt: skip
    shapes: dict[str, list[Any]] = {
        "version": [2, good.NOW, epoch, 200, [], none, None], "status 99": [1, good.NOW, epoch, 99, [], none, None],
        "status 1000": [1, good.NOW, epoch, 1000, [], none, None],
        "field in capitals": [1, good.NOW, epoch, 200, ["Etag"], none, None],
        "field twice": [1, good.NOW, epoch, 200, ["empty", "empty"], digest(encode(b"", b"")), None],
        "field that is absent": [1, good.NOW, epoch, 200, ["x"], none, None],
        "values of 31 bytes": [1, good.NOW, epoch, 200, [], none[:31], None],
        "empty body digest": [1, good.NOW, epoch, 200, [], none, b""], "arity": [1, good.NOW, epoch, 200, [], none],
    }  # fmt: skip
    return [
        *[reply(name, {"value": value}, "encoding") for name, value in forms.items()],
        *[reply(name, {"value": web.encoded_reply(*items)}, "encoding") for name, items in shapes.items()],
        reply("MAC", {"value": f"s={body}, m={encode_base64url(bytes(32))}"}, "mac"),
        reply("MAC of 31 bytes", {"value": f"s={body}, m={encode_base64url(bytes(31))}"}, "mac"),
        reply("another AP-REQ", {"request": web.REQUEST | {"nonce": good.span(1, 16)}}, "mac"),
        reply("AP-REP in its place", {"value": f"s={s}, m={m}"}, "mac"),
        reply("another status", {"status": 201}, "answer"),
        reply("another value", fields(0, ["content-type", b"text/html".hex()]), "answer"),
        reply("covered field missing", fields(1), "encoding"),
        reply("covered field twice", fields(1, ["empty", ""], ["empty", ""]), "encoding"),
    ]


def _challenges() -> list[Vector]:
    s, m = (encode_base64url(one) for one in decode(web.ap_err(), 4096))
    head = 'Orthros realm="example.org"'
    values = {
        "no realm": "Orthros", "realm in capitals": 'Orthros realm="Example.org"',
        "realm not canonical": 'Orthros realm="a..b"',
        "no quotes": "Orthros realm=example.org", "another scheme": 'Bearer realm="example.org"',
        "empty code": head + ', err=""',
        "code in capitals": head + ', err="BUSY"', "no code": f'{head}, s="{s}", m="{m}"',
        "no MAC": f'{head}, err="busy", s="{s}"',
        "MAC of 31 bytes": f'{head}, err="busy", s="{s}", m="{encode_base64url(bytes(31))}"',
        "body of 3 bytes": f'{head}, err="busy", s="AAAA", m="{m}"',
        "padding": f'{head}, err="busy", s="{s}=", m="{m}"',
        "body over 4 KiB": f'{head}, err="busy", s="{encode_base64url(bytes(4097))}", m="{m}"',
        "two challenges": f'{head}, Bearer realm="a"',
    }  # fmt: skip
    made = [refused(f"challenge: {name}", "challenge", {"value": value}, "encoding") for name, value in values.items()]

    def answer(name: str, reply: bytes, stage: str) -> Vector:
        return refused(f"AP-ERR: {name}", "open-ap-rep", {"request": web.REQUEST, "reply": reply.hex()}, stage)

    return [
        *made,
        answer("of HTTP", web.ap_err(), "refused-by-peer"),
        answer("of the raw use", web.ap_err(use=0), "mac"),
        answer("of another key", web.ap_err(session_key=good.span(1, 32)), "mac"),
        answer("Orthros-Reply in its place", _reply_as_answer(), "mac"),
    ]


def _reply_as_answer() -> bytes:
    body = encode(1, good.NOW, unhex(good.EPOCH), 200, [], digest(encode()), None)
    return encode(body, mac(ap_pending(web.REQUEST).pop_key, "http-rep", digest(web.AP_REQ) + body))


def caveats() -> list[Vector]:
    """Shapes that no caveat has, and requests that the caveats exclude."""
    shapes = {
        "methods: str": (3, "GET"), "methods: small letters": (3, ["get"]), "methods: order": (3, ["POST", "GET"]),
        "methods: twice": (3, ["GET", "GET"]), "methods: 21 letters": (3, ["A" * 21]), "methods: hyphen": (3,
        ["M-SEARCH"]),
        "methods: arity": (3, ["GET"], 1), "methods: 33": (3,
        [chr(65 + one // 26) + chr(65 + one % 26) for one in range(33)]),
        "path: no slash": (4, "runs"), "path: bin": (4, b"/runs"), "path: dots": (4, "/a/../b"), "path: escape": (4,
        "/a%2fb"),
        "path: empty segment": (4, "/a//b"), "path: 481 characters": (4, "/" + "a" * 480), "path: query": (4, "/a?b"),
        "peer: str": (6, "10.0.0.0/8"), "peer: host bits": (6, ["10.0.0.1/8"]), "peer: no length": (6, ["10.0.0.1"]),
        "peer: mask": (6, ["10.0.0.0/255.0.0.0"]), "peer: capitals": (6, ["2001:DB8::/32"]), "peer: zone": (6,
        ["fe80::%1/64"]),
        "peer: zeros": (6, ["2001:db8:0::/48"]), "peer: IPv4-mapped": (6, ["::ffff:a00:0/104"]),
        "peer: dotted": (6, ["::1.2.3.0/120"]), "peer: order": (6, ["10.0.0.0/8", "::/0"]), "peer: length 33": (6,
        ["0.0.0.0/33"]),
        "channel: 31 bytes": (7, bytes(31)), "channel: str": (7, "c" * 32), "channel: nil": (7, None),
    }  # fmt: skip
    made = [refused(name, "caveat", {"caveat": encode(*items).hex()}, "encoding") for name, items in shapes.items()]
    made += [
        refused(f"caveat: type {kind}", "caveat", {"caveat": encode(kind, []).hex()}, "caveat") for kind in (0, 10, 255)
    ]

    def judged(name: str, caveat: str, **access: Any) -> Vector:
        return refused(name, "judge-caveat", {"caveat": caveat, "access": web.KNOWN | access}, "caveat")

    made += [judged(f"methods: {method}", web.METHODS, method=method) for method in ("POST", "get", "GETS", None)]
    paths = (
        None, "", "*", "/", "/run", "/runs7", "/Runs/7", "/%72uns/7", "/a/runs", "/runs/..", "/runs/../a", "/runs/./a",
        "/runs//a",
        "/runs/%2e%2e/a", "/runs/%2E./a", "/runs/a%2fb", "/runs/a%5Cb", "/runs\\a", "/runs/a%00", "/runs/%0a",
        "/runs/%7f",
        "/runs/%252e", "/runs/a%3fb", "/runs/a%23b", "/runs/a%3bb", "/runs/..;/a", "/runs/;a", "/runs/..%20/a",
        "/runs/...",
        "/runs/%c0%ae", "/runs/%ff", "/runs/%", "/runs/%4", "/runs/%u002e", "/runs/\u00e9", "/runs?a", "/runs#a",
        "/runs/a b",
        "https://payroll.example.org/runs", "/runs/" + "a" * 8192,
    )  # fmt: skip
    for path in paths:
        made.append(judged(f"path: {path if path is None or len(path) < 40 else len(path)}", web.PATH, path=path))
    peers = (None, "11.0.0.0", "9.255.255.255", "::ffff:11.0.0.0", "::10.1.2.3", "2001:db9::", "::1")
    made += [judged(f"peer: {peer}", web.PEER, peer=peer) for peer in peers]
    made.append(judged("every IPv6 peer: IPv4", encode(6, ["::/0"]).hex(), peer="10.1.2.3"))
    made += [judged(f"channel: {channel}", web.CHANNEL, channel=channel) for channel in (None, bytes(32).hex(), "00")]
    return made
