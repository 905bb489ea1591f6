"""The operations of the HTTP profile and of caveats: JSON in, the library called, JSON out.

Field values are bytes, hence hexadecimal; whole headers are text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.http_profile import (
    HttpBinding,
    HttpResponse,
    canonical_authority,
    format_authorization,
    format_challenge,
    format_content_digest,
    open_http_reply,
    parse_authorization,
    parse_challenge,
    parse_content_digest,
    seal_http_reply,
)
from orthros_protocol.primitives.http_fields import FRAMING, HttpFields, parse_length
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.tickets.access import Access, AppRule, parse_address
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
    parse_caveat,
)
from workshop.vectors.parties import Inputs, Vector, ap_pending, optional, unhex


def _fields(given: list[list[str]]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, unhex(value)) for name, value in given)


def _one_payload(allowed: bytes) -> AppRule:
    return lambda payload, _access: None if payload == allowed else "another payload"


def access_of(given: Inputs) -> Access:
    """{now, method, path, peer, channel}, null is not known; `app` holds the one payload that each name allows."""
    known, app_caveats = facts_of(given)
    return Access(now=Timestamp(given["now"]), app=app_caveats, **known)


def facts_of(given: Inputs) -> tuple[dict[str, Any], dict[str, AppRule]]:
    """What is known of a request, and the app caveats of the service: the same without `now`."""
    known = {
        "method": given["method"], "path": given["path"], "channel": optional(given["channel"]),
        "peer": None if given["peer"] is None else parse_address(given["peer"]),
    }  # fmt: skip
    return known, {name: _one_payload(unhex(payload)) for name, payload in given.get("app", {}).items()}


def _caveat(given: Inputs) -> Vector:
    values: dict[type, Callable[[Any], tuple[int, Any]]] = {
        ExpiresCaveat: lambda one: (1, one.at), ScopesCaveat: lambda one: (2, list(one.scopes)),
        MethodsCaveat: lambda one: (3, list(one.methods)), PathCaveat: lambda one: (4, one.prefix),
        PeerCaveat: lambda one: (6, list(one.networks)), ChannelCaveat: lambda one: (7,
        one.digest.hex()),
        TargetsCaveat: lambda one: (5, [str(target) for target in one.targets]),
        ThirdPartyCaveat: lambda one: (8, [str(one.discharger), None if one.salt is None else one.salt.hex(),
                                                   None if one.root is None else one.root.hex(), one.cid_digest.hex()]),
        AppCaveat: lambda one: (9, [one.name, one.payload.hex()]),
    }  # fmt: skip
    caveat = parse_caveat(unhex(given["caveat"]))
    kind, value = values[type(caveat)](caveat)
    return {"type": kind, "value": value}


def _judge(given: Inputs) -> Vector:
    objection = parse_caveat(unhex(given["caveat"])).prohibits(access_of(given["access"]))
    if objection is not None:
        raise Refused("caveat-refused", objection)
    return {"holds": 1}


def _bind(given: Inputs) -> Vector:
    binding = HttpBinding(
        method=given["method"], scheme=given["scheme"], authority=given["authority"], target=unhex(given["target"]),
        covered=_fields(given["covered"]), content_digest=optional(given["content_digest"]),
    )  # fmt: skip
    return {"bind": binding.bind().hex()}


def _authorization(given: Inputs) -> Vector:
    found = parse_authorization(given["value"])
    written = format_authorization(found.message, found.covered)
    return {"covered": list(found.covered), "message": found.message.hex(), "written": written}


def _content_digest(given: Inputs) -> Vector:
    sha256 = parse_content_digest(given["value"].encode("utf-8"))
    return {"sha256": sha256.hex(), "written": format_content_digest(sha256).decode("ascii")}


def _request_fields(given: Inputs) -> Vector:
    fields = HttpFields(_fields(given["headers"]))
    fields.require_exact(FRAMING)
    values = fields.covered(given["covered"])
    return {
        "values": [[name, value.hex()] for name, value in values],
        "uncovered": fields.uncovered(given["floor"], given["covered"]),
    }


def _response(given: Inputs) -> HttpResponse:
    return HttpResponse(status=given["status"], headers=_fields(given["headers"]))


def _reply(given: Inputs) -> Vector:
    pending = ap_pending(given["request"])
    value = seal_http_reply(
        pending.pop_key, pending.message, _response(given), covered=given["covered"],
        body_digest=optional(given["body_digest"]), now=Timestamp(given["now"]), epoch=unhex(given["epoch"]),
    )  # fmt: skip
    return {"value": value}


def _open_reply(given: Inputs) -> Vector:
    reply = open_http_reply(ap_pending(given["request"]), given["value"], _response(given))
    return {
        "target_time": reply.target_time, "epoch": reply.epoch.hex(), "covered": list(reply.covered),
        "body_digest": None if reply.body_digest is None else reply.body_digest.hex(),
    }  # fmt: skip


def _challenge(given: Inputs) -> Vector:
    found = parse_challenge(given["value"])
    return {
        "realm": found.realm, "code": found.code, "reply": None if found.reply is None else found.reply.hex(),
        "written": format_challenge(found.realm, found.code, found.reply),
    }  # fmt: skip


HTTP_OPERATIONS: Final[dict[str, Callable[[Inputs], Vector]]] = {
    "caveat": _caveat,
    "judge-caveat": _judge,
    "bind-http": _bind,
    "authority": lambda i: {"authority": canonical_authority(i["text"], i["scheme"])},
    "authorization": _authorization,
    "content-digest": _content_digest,
    "request-fields": _request_fields,
    "content-length": lambda i: {"length": parse_length(i["value"])},
    "http-reply": _reply,
    "open-http-reply": _open_reply,
    "challenge": _challenge,
    "write-authorization": lambda i: {"value": format_authorization(unhex(i["message"]), i["covered"])},
    "write-content-digest": lambda i: {"value": format_content_digest(unhex(i["sha256"])).decode("ascii")},
    "write-challenge": lambda i: {"value": format_challenge(i["realm"], i["code"], optional(i["reply"]))},
}
