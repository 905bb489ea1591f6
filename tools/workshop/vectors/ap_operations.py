"""The operations of the AP exchange: what is presented, accepted, refused and replayed.

Called by `operations.py`, whose table these rows join.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.acceptance import AcceptanceRules, Accepted, Received, accept, build_ap_reply
from orthros_protocol.exchanges.ap_exchange import open_ap_reply, parse_ap_request
from orthros_protocol.exchanges.authenticators import check_window
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.replay import Admission, Entry, ReplaySet, Standing, check_admission
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.presented import open_presented
from workshop.vectors.authority_operations import chain_rule_of
from workshop.vectors.http_operations import facts_of
from workshop.vectors.parties import Inputs, Vector, ap_pending, optional, root_of, unhex

__all__ = ["AP_OPERATIONS"]


def _accept(given: Inputs) -> Vector:
    """What becomes of `message`, after `earlier` ones were received, whatever became of them."""
    born = Timestamp(given.get("born", 0))
    store = ManualStore(lambda: Timestamp(given["now"]), unhex(given["epoch"]), born)
    keytab = Keytab.of(root_of(given["target"]))
    for message in given["earlier"]:
        with suppress(Refused):
            _accept_one(unhex(message), given, keytab, store)
    accepted = _accept_one(unhex(given["message"]), given, keytab, store)
    reply = build_ap_reply(accepted, now=Timestamp(given["now"]))
    return {"client": str(accepted.ticket.client), "scopes": list(accepted.scopes), "reply": reply.hex()}


def _refusal(given: Inputs) -> Vector:
    try:
        _accept(given)
    except Refused as refusal:
        return {"error": refusal.code, "ready_in_ms": refusal.ready_in_ms}
    raise TypeError("an accepted request gets no AP-ERR")


def _accept_one(message: bytes, given: Inputs, keytab: Keytab, store: ManualStore) -> Accepted:
    request = parse_ap_request(message)
    known, app_caveats = facts_of(given["access"]) if "access" in given else ({}, {})
    return accept(
        request,
        lambda ticket, caveats: open_presented(ticket, caveats, keytab),
        now=Timestamp(given["now"]), replay=store,
        received=Received(
            use=given["use"], bind=optional(given["bind"]),
            repetition=Repetition(given.get("repetition", "unsafe")), **known,
        ),
        rules=AcceptanceRules(
            max_life_s=given["max_life_s"], accept_user=given["accept_user"],
            chain=chain_rule_of(given.get("chain", {})), app_caveats=app_caveats,
        ),
    )  # fmt: skip


def _open_ap_rep(given: Inputs) -> Vector:
    reply = open_ap_reply(ap_pending(given["request"]), unhex(given["reply"]))
    return {"target_time": reply.target_time, "epoch": reply.epoch.hex()}


def _replay(given: Inputs) -> Vector:
    replay = ReplaySet(**{share: given[share] for share in ("capacity", "per_client", "per_ticket")})
    steps = [
        replay.admit(Entry(unhex(tag), Timestamp(ts), client, unhex(ticket)), Timestamp(now))
        for tag, ts, now, client, ticket in given["steps"]
    ]
    return {"answers": [answer.value for answer in steps], "codes": [_code_of(answer) for answer in steps]}


def _code_of(answer: Admission) -> str | None:
    moment = Timestamp(0)
    try:
        check_admission(moment, Standing(answer, bytes(8), moment, moment))
    except Refused as refusal:
        return refusal.code
    return None


def _window(given: Inputs) -> Vector:
    check_window(Timestamp(given["ts"]), Timestamp(given["now"]))
    return {}


AP_OPERATIONS: Final[dict[str, Callable[[Inputs], Vector]]] = {
    "ap-req": lambda i: {"message": ap_pending(i).message.hex()},
    "accept": _accept,
    "refusal": _refusal,
    "open-ap-rep": _open_ap_rep,
    "replay": _replay,
    "window": _window,
}
