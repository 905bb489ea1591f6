"""Positive vectors of the HTTP profile and of the caveats that look at a request; the story goes on over HTTP."""

from __future__ import annotations

from typing import Any, Final

from orthros_protocol.exchanges.http_profile import (
    encode_base64url,
    format_authorization,
    format_challenge,
    format_content_digest,
)
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest, mac
from orthros_protocol.tickets.caveats import ChannelCaveat, MethodsCaveat, PathCaveat, PeerCaveat
from workshop.vectors import positive as good
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, ap_pending, unhex
from workshop.vectors.positive import vector

BODY: Final = b"{}"
BINDING: Final[Inputs] = {
    "method": "POST", "scheme": "https", "authority": "payroll.example.org:8443",
    "target": b"/runs/7?dry=1".hex(),
    "covered": [["content-type", b"application/json".hex()], ["idempotency-key", b"k7".hex()]],
    "content_digest": format_content_digest(digest(BODY)).hex(),
}  # fmt: skip
HTTP_BIND: Final[str] = OPERATIONS["bind-http"](BINDING)["bind"]
REQUEST: Final[Inputs] = good.ap_inputs(use=1, bind=HTTP_BIND)
AP_REQ: Final = ap_pending(REQUEST).message
COVERED: Final = ("content-type", "idempotency-key")
AUTHORIZATION: Final = format_authorization(AP_REQ, COVERED)
RESPONSE: Final[Inputs] = {
    "status": 200, "headers": [["content-type", b"text/plain".hex()], ["empty", ""], ["etag", b'"7"'.hex()]]
}  # fmt: skip
REPLY: Final[Inputs] = {
    "request": REQUEST, "now": good.NOW + 5, "epoch": good.EPOCH, "covered": ["content-type", "empty"],
    "body_digest": digest(b"done").hex(), **RESPONSE,
}  # fmt: skip
REPLY_VALUE: Final[str] = OPERATIONS["http-reply"](REPLY)["value"]
KNOWN: Final[Inputs] = {
    "now": good.NOW, "method": "GET", "path": "/runs/7", "peer": "10.1.2.3", "channel": digest(b"certificate").hex()
}  # fmt: skip
METHODS: Final = MethodsCaveat(("GET", "HEAD")).to_bytes().hex()
PATH: Final = PathCaveat("/runs").to_bytes().hex()
PEER: Final = PeerCaveat(("10.0.0.0/8", "2001:db8::/32")).to_bytes().hex()
CHANNEL: Final = ChannelCaveat(digest(b"certificate")).to_bytes().hex()


def ap_err(use: int = 1, **changes: Any) -> bytes:
    """An AP-ERR epoch-required to AP_REQ, as a target of this use would make it."""
    body = encode(1, 40, good.NOW + 5, unhex(good.EPOCH), None, [])
    key = ap_pending(REQUEST | changes).pop_key
    return encode(body, mac(key, f"ap-err.{use}", digest(AP_REQ) + body))


def accept_inputs(caveats: list[str], **access: Any) -> Inputs:
    """Inputs of `accept` for a request of use 1 that shows these caveats."""
    message = OPERATIONS["ap-req"](REQUEST | {"caveats": caveats})["message"]
    return good.accept_inputs(message, use=1, bind=HTTP_BIND) | {"access": KNOWN | access}


FLOOR: Final = ["content-type", "content-encoding", "idempotency-key", "x-tenant"]
FIELDS: Final[Inputs] = {
    "headers": [["host", b"a".hex()], ["idempotency-key", b"k7".hex()], ["x-tenant", b"t".hex()]],
    "covered": ["idempotency-key", "x-tenant"], "floor": FLOOR,
}  # fmt: skip


def with_fields(*fields: list[str]) -> Inputs:
    """A change of FIELDS: with these further headers."""
    return {"headers": [*FIELDS["headers"], *fields]}


def _field_changes() -> dict[str, Inputs]:
    """Heads that are read, and what of their floor is not covered."""
    return {
        "two are covered": {}, "another order": {"covered": ["x-tenant", "idempotency-key"]},
        "one is not covered": {"covered": ["x-tenant"]}, "none is covered": {"covered": []},
        "another spelling is not covered": {"headers": [["idempotency_key", ""]], "covered": []},
        "a dot in a name": {"headers": [["x.tenant", ""]], "covered": []},
        "names that nobody asks for": with_fields(["x_free", ""], ["x-free", ""]),
        "an underscore in the floor": {"covered": ["idempotency-key"], "floor": ["x_tenant", "x_absent"]},
        "a covered name with an underscore": with_fields(["x_own", "01"]) | {"covered": ["x_own"]},
    }  # fmt: skip


def http() -> list[Vector]:
    """Bindings, headers, responses and challenges."""
    nothing: Inputs = {"covered": [], "content_digest": None}
    bindings: dict[str, Inputs] = {
        "POST with two fields and a body": {}, "without fields and body": nothing, "fields in another order": {
            "covered": BINDING["covered"][::-1]}, "an empty value": {"covered": [["x-a", ""]]},
        "target of any bytes": {"target": "2fff00"}, "IPv6": {"authority": "[2001:db8::1]:443"},
        "port 1, http": {"authority": "a:1", "scheme": "http"}, "port 65535": {"authority": "a:65535"},
        "method of other characters": {"method": "M-SEARCH!"}, "lower-case method": {"method": "get"},
        "sixteen fields": {"covered": [[f"x-{one:02}", f"{one:02}"] for one in range(16)]},
    }  # fmt: skip
    made = [vector(f"bind: {name}", "bind-http", BINDING | change) for name, change in bindings.items()]
    for text, scheme in (
        ("Payroll.Example.ORG", "https"), ("payroll.example.org", "http"), ("a:8080", "https"),
        ("[2001:DB8::1]", "http"),
        ("10.1.2.3:65535", "https"), ("a.", "https"), ("a:443", "http"),
    ):  # fmt: skip
        made.append(vector(f"authority {text} of {scheme}", "authority", {"text": text, "scheme": scheme}))
    values = {
        "Authorization": AUTHORIZATION, "no fields": format_authorization(AP_REQ),
        "scheme in capitals": AUTHORIZATION.replace("Orthros", "ORTHROS"),
        "scheme in small letters": AUTHORIZATION.replace("Orthros", "orthros"),
        "sixteen fields": format_authorization(b"\0", [f"x-{one}" for one in range(16)]),
        "two bytes": format_authorization(b"\xff\xfe"),
    }  # fmt: skip
    made += [vector(name, "authorization", {"value": value}) for name, value in values.items()]
    for body in (b"", BODY, b'{"hello": "world"}\n'):
        value = format_content_digest(digest(body)).decode("ascii")
        made.append(vector(f"digest of {len(body)} bytes", "content-digest", {"value": value}))
    made += [vector(f"fields: {name}", "request-fields", FIELDS | change) for name, change in _field_changes().items()]
    for length in ("0", "7", "10", "9" * 18):
        made.append(vector(f"length {length}", "content-length", {"value": length}))
    replies: dict[str, Inputs] = {
        "two fields": {}, "no fields": {"covered": []}, "stream": {"body_digest": None},
        "another order": {"covered": ["empty", "content-type"]}, "an error": {"status": 503},
    }  # fmt: skip
    for name, change in replies.items():
        given = REPLY | change
        made.append(vector(f"Orthros-Reply: {name}", "http-reply", given))
        shown = {key: given[key] for key in ("request", "status", "headers")}
        made.append(vector(f"open: {name}", "open-http-reply", shown | {"value": made[-1]["out"]["value"]}))
    for name, parts in {
        "bare": ("example.org", None, None), "with a code": ("example.org", "not-covered", None),
        "with an AP-ERR": ("example.org", "epoch-required", ap_err()),
    }.items():  # fmt: skip
        made.append(vector(f"challenge {name}", "challenge", {"value": format_challenge(*parts)}))
    every = [METHODS, PATH, PEER, CHANNEL]
    made.append(vector("AP-REQ of HTTP is accepted", "accept", accept_inputs([])))
    made.append(vector("AP-REQ of HTTP with four caveats is accepted", "accept", accept_inputs(every)))
    return made


def caveats() -> list[Vector]:
    """The caveats on a request, and the requests that they allow."""
    encoded = {
        "methods": METHODS, "no methods": MethodsCaveat(()).to_bytes().hex(), "path": PATH,
        "every path": PathCaveat("/").to_bytes().hex(), "path with a slash": PathCaveat("/runs/").to_bytes().hex(),
        "longest path": PathCaveat("/" + "a" * 479).to_bytes().hex(), "peer": PEER,
        "no peer": PeerCaveat(()).to_bytes().hex(),
        "every IPv6 peer": PeerCaveat(("::/0",)).to_bytes().hex(), "channel": CHANNEL,
    }  # fmt: skip
    made = [vector(f"caveat {name}", "caveat", {"caveat": one}) for name, one in encoded.items()]

    def holds(name: str, caveat: str, **access: Any) -> Vector:
        return vector(f"{name} holds", "judge-caveat", {"caveat": caveat, "access": KNOWN | access})

    made += [holds(f"methods for {method}", METHODS, method=method) for method in ("GET", "HEAD")]
    for path in ("/runs", "/runs/", "/runs/7", "/runs/7/a.b;c=d/%C3%A9", "/runs/...x", "/runs/a%20b"):
        made.append(holds(f"path {path}", PATH, path=path))
        made.append(holds(f"path with a slash {path}", encoded["path with a slash"], path=path))
    made += [holds(f"every path {path}", encoded["every path"], path=path) for path in ("/", "/a", "/.a/")]
    for peer in ("10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "2001:db8::1", "2001:DB8:FFFF::%eth0"):
        made.append(holds(f"peer {peer}", PEER, peer=peer))
    made.append(holds("every IPv6 peer", encoded["every IPv6 peer"], peer="fe80::1"))
    made.append(holds("channel", CHANNEL))
    return made


def encoded_reply(*body: Any) -> str:
    """An `Orthros-Reply` with this body and a right MAC."""
    whole = encode(*body)
    proof = mac(ap_pending(REQUEST).pop_key, "http-rep", digest(AP_REQ) + whole)
    return f"s={encode_base64url(whole)}, m={encode_base64url(proof)}"
