"""Runs one vector through the code and names the stage at which a refusal came.

The stages are those of docs/protocol/README.md; how an operation calls the library is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orthros_protocol as orthros
from orthros_protocol import derivation, limits, messages
from orthros_protocol.tickets import open_ticket, peek_unverified_header
from orthros_tools.vectors.operations import OPERATIONS
from orthros_tools.vectors.parties import Inputs, Vector, as_pending, root_of, tgs_pending, unhex

_AFTER_MAC: Final = {
    "replayed": "replay", "busy": "replay", "ticket-expired": "ticket-times", "ticket-times-invalid": "ticket-times",
    "clock-skew": "window", "unsupported-critical": "critical", "epoch-required": "epoch", "wrong-binding": "bind",
    "discharge-mismatch": "discharges", "caveat-refused": "caveat", "caveat-unsupported": "caveat",
    "user-not-accepted": "user", "ticket-altered": "kdc-mark", "chain-refused": "chain", "discharge-refused": "demand",
    "caveat-not-carried": "carry",
}  # fmt: skip
_BEFORE_MAC: Final = {
    "unknown-key": "kid", "wrong-ticket-type": "header", "box-unopened": "box", "wrong-mac": "mac",
    "key-file-invalid": "key-file", "name-invalid": "name", "scope-invalid": "name",
}  # fmt: skip


def outcome(op: str, given: Inputs) -> Vector:
    """{"out": ...}, or {"stage": ..., "code": ...} for a refusal."""
    try:
        return {"out": OPERATIONS[op](given)}
    except orthros.OrthrosError as error:
        return {"stage": _stage(op, given, error), "code": error.code}


def disagreement(vector: Vector) -> str | None:
    """What differs between a vector and the code, in words, or None."""
    found = outcome(vector["op"], vector["in"])
    expected = {key: vector[key] for key in ("out", "stage", "code") if key in vector}
    return None if found == expected else f"{vector['name']}: expected {expected}, the code says {found}"


def _stage(op: str, given: Inputs, error: orthros.OrthrosError) -> str:
    if isinstance(error, orthros.KdcRefusal | orthros.TargetRefusal):
        return "refused-by-peer"
    if op in ("open-as-rep", "open-tgs-rep"):
        return _reply_stage(op, given, error)
    if op in ("open-ap-rep", "open-http-reply") and error.code == "reply-mismatch":
        return "answer"
    if isinstance(error, orthros.Malformed):
        return _shape_stage(op, given)
    if error.code == "unsupported-critical" and error.reply is None and op in ("accept", "open-ticket"):
        return "body"
    return _AFTER_MAC.get(error.code) or _BEFORE_MAC[error.code]


def _shape_stage(op: str, given: Inputs) -> str:
    data = unhex(given.get("message") or given.get("bytes") or given.get("ticket") or "")
    limit = limits.MAX_AP_REQUEST_BYTES if op == "accept" else given.get("limit", limits.MAX_FRAME_BYTES)
    if len(data) > limit:
        return "size"
    if op in ("open-ticket", "kdc-mark"):
        return "header" if _fails(lambda: peek_unverified_header(data)) else "body"
    if op != "accept" or _fails(lambda: orthros.parse_ap_request(data)):
        return "encoding"
    ticket = orthros.parse_ap_request(data).ticket
    if _fails(lambda: peek_unverified_header(ticket)):
        return "header"
    return "body" if _fails(lambda: open_ticket(ticket, root_of(given["target"]).ticket_key())) else "caveats"


def _fails(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except orthros.Malformed:
        return True
    return False


def _reply_stage(op: str, given: Inputs, error: orthros.OrthrosError) -> str:
    if error.code == "unauthenticated-refusal":
        return "nak"
    family = op.removeprefix("open-").removesuffix("-rep")
    if op == "open-as-rep":
        key, pending = as_pending(given["request"])
        reply_key, error_key, context = key.reply_key, key.error_key, pending.context
    else:
        asked = tgs_pending(given["request"])
        reply_key, error_key = (derivation.derive(asked.key, label) for label in ("tgs-rep", "tgs-err"))
        context = asked.context
    try:
        messages.open_reply_box(
            unhex(given["reply"]), reply_key=reply_key, reply_label=f"{family}-rep", error_key=error_key,
            error_label=f"{family}-err", context=context,
        )  # fmt: skip
    except orthros.Malformed:
        return "encoding"
    except orthros.PeerMisbehaved:
        return "box"
    return "body" if isinstance(error, orthros.Malformed) else "answer"
