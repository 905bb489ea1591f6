"""The operations of authenticated errors: what is in an AP-ERR and in an AS-ERR besides the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.acceptance import build_ap_error
from orthros_protocol.exchanges.ap_exchange import TargetRefusal, open_ap_reply, parse_ap_request
from orthros_protocol.exchanges.as_exchange import open_as_reply
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from workshop.vectors.parties import Inputs, Vector, ap_pending, as_pending, unhex


def _ap_err(given: Inputs) -> Vector:
    pending = ap_pending(given["request"])
    refusal = Refused(given["error"], given["detail"])
    refusal.ready_in_ms, refusal.before_handler = given["ready_in_ms"], given["before_handler"]
    reply = build_ap_error(
        parse_ap_request(pending.message), pending.pop_key, refusal, now=Timestamp(given["now"]),
        epoch=unhex(given["epoch"]),
    )  # fmt: skip
    return {"reply": reply.hex()}


def _open_ap_err(given: Inputs) -> Vector:
    try:
        open_ap_reply(ap_pending(given["request"]), unhex(given["reply"]))
    except TargetRefusal as refusal:
        return {
            "error": refusal.code, "target_time": refusal.target_time, "epoch": refusal.epoch.hex(),
            "detail": refusal.detail, "ready_in_ms": refusal.ready_in_ms, "before_handler": refusal.before_handler,
        }  # fmt: skip
    raise TypeError("an AP-REP is no error")


def _open_as_err(given: Inputs) -> Vector:
    key, pending = as_pending(given["request"])
    try:
        open_as_reply(pending, key, unhex(given["reply"]))
    except KdcRefusal as refusal:
        return {
            "error": refusal.code, "kdc_time": refusal.kdc_time, "retry_s": refusal.retry_s, "detail": refusal.detail
        }  # fmt: skip
    raise TypeError("an AS-REP is no error")


ERROR_OPERATIONS: Final[dict[str, Callable[[Inputs], Any]]] = {
    "ap-err": _ap_err,
    "open-ap-err": _open_ap_err,
    "open-as-err": _open_as_err,
}
