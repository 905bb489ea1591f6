"""What authenticated errors say besides their code: times, details and hints, written and read."""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import mac
from workshop.vectors import positive as good
from workshop.vectors.edges import MOST_U32
from workshop.vectors.negative import refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, ap_pending, unhex
from workshop.vectors.positive import NOW, vector

_ERROR: Inputs = {
    "request": good.ap_inputs(), "error": "epoch-required", "detail": "", "now": NOW, "epoch": good.EPOCH,
    "ready_in_ms": None, "before_handler": False,
}  # fmt: skip


def errors() -> list[Vector]:
    """AP-ERR and AS-ERR."""
    cases: dict[str, Inputs] = {
        "plain": {}, "with a detail": {"detail": "names no epoch"}, "with the time to wait": {"ready_in_ms": 4999},
        "with the longest time to wait": {"ready_in_ms": MOST_U32}, "before any handler": {"before_handler": True},
        "with both hints": {"ready_in_ms": 0, "before_handler": True},
        "detail of 200 characters": {"detail": "d" * 200},
        "a code that never travels": {"error": "wrong-mac"}, "of a channel": {"request": good.ap_inputs(use=2)},
        "without a store": {"error": "busy", "epoch": "00" * 8},
    }  # fmt: skip
    made = []
    for name, changes in cases.items():
        given = _ERROR | changes
        made.append(vector(f"AP-ERR {name}", "ap-err", given))
        opened = {"request": given["request"], "reply": made[-1]["out"]["reply"]}
        made.append(vector(f"AP-ERR {name}, read", "open-ap-err", opened))
    made.append(refused("AP-ERR is not built: detail with a tab", "ap-err", _ERROR | {"detail": "a\tb"}, "build"))
    pending = ap_pending(good.ap_inputs())
    hints: dict[str, list[Any]] = {
        "hint of 3 bytes": [[1, bytes(3)]], "hint of 5 bytes": [[1, bytes(5)]], "hint that is not empty": [[2, b"x"]],
        "hints to come": [[0, bytes(4)], [3, b""]], "both hints": [[1, bytes([1, 2, 3, 4])], [2, b""]],
    }  # fmt: skip
    for name, opt in hints.items():
        body = encode(1, 40, NOW, unhex(good.EPOCH), None, opt)
        reply = encode(body, mac(pending.pop_key, "ap-err.0", pending.context + body)).hex()
        made.append(vector(f"AP-ERR: {name}", "open-ap-err", {"request": good.ap_inputs(), "reply": reply}))
    for name, changes in {"plain": {}, "with a detail": {"detail": "60 s ago", "retry_s": MOST_U32}}.items():
        reply = OPERATIONS["as-rep"](good.AS_ERROR | changes)["reply"]
        made.append(vector(f"AS-ERR {name}, read", "open-as-err", {"request": good.as_inputs(), "reply": reply}))
    return made
