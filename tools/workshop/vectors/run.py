"""Runs one vector through the code and names the stage at which a refusal came.

The stages are those of docs/protocol/README.md; how an operation calls the library is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from orthros_protocol.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved
from orthros_protocol.exchanges.ap_exchange import TargetRefusal, parse_ap_request
from orthros_protocol.exchanges.tgs_exchange import UnverifiedTgsRequest, parse_tgs_request
from orthros_protocol.primitives import canonical, derivation, limits, messages, sealing
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.tickets import discharges, hand_over
from orthros_protocol.tickets.ticket import open_ticket, peek_unverified_header
from workshop.vectors import integers
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, as_pending, root_of, tgs_pending, unhex

_AFTER_MAC: Final = {
    "replayed": "replay", "busy": "replay", "ticket-expired": "ticket-times", "ticket-times-invalid": "ticket-times",
    "too-far-ahead": "replay", "not-repeatable": "epoch",
    "clock-skew": "window", "unsupported-critical": "critical", "epoch-required": "epoch", "wrong-binding": "bind",
    "discharge-mismatch": "discharges", "caveat-refused": "caveat", "caveat-unsupported": "caveat",
    "user-not-accepted": "user", "ticket-altered": "kdc-mark", "chain-refused": "chain", "discharge-refused": "demand",
    "caveat-not-carried": "carry", "quota": "replay", "not-covered": "covered", "subject-refused": "subject",
    "claim-refused": "claim", "want-invalid": "wants", "token-expired": "token", "token-for-another": "token",
}  # fmt: skip
_BEFORE_MAC: Final = {
    "unknown-key": "kid", "wrong-ticket-type": "header", "box-unopened": "box", "wrong-mac": "mac",
    "frame-too-large": "frame", "connection-truncated": "frame", "key-file-invalid": "key-file",
    "name-invalid": "name", "scope-invalid": "name",
}  # fmt: skip


_READ: Final = ("message", "bytes", "ticket", "caveat", "cid", "reply")
_OPENS_TICKETS: Final = ("accept", "open-ticket", "kdc-mark", "open-demand", "discharge", "open-hand-over")
_MOST_BYTES: Final = {
    "accept": limits.MAX_AP_REQUEST_BYTES, "caveat": limits.MAX_CAVEAT_BYTES,
    "open-demand": discharges.MAX_DEMAND_BYTES, "discharge": discharges.MAX_DEMAND_BYTES,
}  # fmt: skip


def outcome(op: str, given: Inputs) -> Vector:
    """{"out": ...}, or {"stage": ..., "code": ...} for a refusal."""
    given = integers.read(given)
    try:
        return {"out": integers.written(OPERATIONS[op](given))}
    except OrthrosError as error:
        return {"stage": _stage(op, given, error), "code": error.code}


def disagreement(vector: Vector) -> str | None:
    """What differs between a vector and the code, in words, or None."""
    found = outcome(vector["op"], vector["in"])
    expected = {key: vector[key] for key in ("out", "stage", "code") if key in vector}
    return None if found == expected else f"{vector['name']}: expected {expected}, the code says {found}"


def _stage(op: str, given: Inputs, error: OrthrosError) -> str:
    if isinstance(error, LocalMisuse):
        return "build"
    if isinstance(error, KdcRefusal | TargetRefusal):
        return "refused-by-peer"
    if op in ("open-as-rep", "open-tgs-rep"):
        return _reply_stage(op, given, error)
    if op in ("open-ap-rep", "open-http-reply") and error.code == "reply-mismatch":
        return "answer"
    if op == "open-token" and error.code == "ticket-times-invalid":
        return "token"
    if error.code == "token-not-own":
        return "header" if error.detail.startswith(("another header", "a token of another kind")) else "kdc-mark"
    if isinstance(error, Malformed):
        return _shape_stage(op, given)
    if error.code == "unsupported-critical" and error.reply is None and op in _OPENS_TICKETS:
        return "body"
    return _AFTER_MAC.get(error.code) or _BEFORE_MAC[error.code]


def _shape_stage(op: str, given: Inputs) -> str:
    data = unhex(next((given[name] for name in _READ if name in given), ""))
    limit = _MOST_BYTES.get(op) or given.get("limit", limits.MAX_FRAME_BYTES)
    if len(data) > limit:
        return "size"
    if op == "verify-tgs-req" and not _fails(lambda: parse_tgs_request(data)):
        return _tgs_stage(parse_tgs_request(data))
    if op in ("open-demand", "open-hand-over"):
        return _enveloped_stage(op, data)
    if op in ("open-ticket", "kdc-mark", "ticket-header"):
        return "header" if _fails(lambda: peek_unverified_header(data)) else "body"
    if op != "accept" or _fails(lambda: parse_ap_request(data)):
        return "encoding"
    ticket = parse_ap_request(data).ticket
    if _fails(lambda: peek_unverified_header(ticket)):
        return "header"
    return "body" if _fails(lambda: open_ticket(ticket, root_of(given["target"]).ticket_key())) else "caveats"


def _tgs_stage(request: UnverifiedTgsRequest) -> str:
    evidence = None if request.behalf is None else request.behalf.evidence
    shown = [ticket for ticket in (request.tgt, evidence) if ticket is not None]
    return "header" if any(_fails(partial(peek_unverified_header, one)) for one in shown) else "encoding"


def _enveloped_stage(op: str, data: bytes) -> str:
    """Of something in a box that is sealed under a ticket, or under a key of the KDC."""
    if op == "open-hand-over":
        if _fails(lambda: hand_over.peek_unverified_hand_over(data)):
            return "encoding"
        around = hand_over.peek_unverified_hand_over(data)[0]
    elif data[:1] != b"\x92":
        return "encoding" if _fails(lambda: discharges.peek_unverified_discharger(data)) else "body"
    else:
        if _fails(lambda: discharges._OfHolder.decode(data)):
            return "encoding"
        around = discharges._OfHolder.decode(data).ticket
    return "header" if _fails(lambda: peek_unverified_header(around)) else "body"


def _fails(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Malformed:
        return True
    return False


def _reply_stage(op: str, given: Inputs, error: OrthrosError) -> str:
    if error.code in ("unauthenticated-refusal", "unsupported-critical"):
        return "nak" if error.code == "unauthenticated-refusal" else "critical"
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
    except Malformed:
        return "body" if _is_error_under(error_key, f"{family}-err", context, unhex(given["reply"])) else "encoding"
    except PeerMisbehaved:
        return "box"
    return "body" if isinstance(error, Malformed) else "answer"


def _is_error_under(key: bytes, label: str, context: bytes, reply: bytes) -> bool:
    """Whether a reply is an error whose box opens, whatever is in it."""
    try:
        sealing.open_box(key, label, context, canonical.decode(reply, limits.MAX_FRAME_BYTES)[2], limit=4096)
    except (OrthrosError, IndexError):
        return False
    return True
