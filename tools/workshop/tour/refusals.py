"""What `orders` and its clients refuse over HTTP: somebody on the wire, strangers, impostors, a lack of rights.

Knows how to misbehave with what each of them could hold; every explanation comes from the program that refused.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from orthros_client import Misconfigured, OrthrosError, PeerMisbehaved, TargetRefusal
from orthros_tools.reasons import CATALOGUE
from workshop.stage import StageError
from workshop.tour.calls import Answered, Caller
from workshop.tour.realm import WORKERS, Realm
from workshop.tour.story import Step, Story
from workshop.wire import Reply, Wire, deliver

__all__ = ["refuse_at_orders", "refuse_at_the_client"]

_MOST_TRIES: Final = 200
_FORGED: Final = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"state":"paid"}'
_STOLEN: Final = {"state": "stolen"}


def refuse_at_orders(story: Story, realm: Realm, shop: Caller, reports: Caller) -> None:
    """Everything that `orders` turns away."""
    story.chapter("4. What orders refuses, and why")
    _replayed(story, realm, shop)
    _changed(story, realm, shop)
    _stranger(story, realm)
    _wrong_target(story, realm)
    with story.step("a call beyond its scopes", "HTTP 403", "reports -> POST /orders/1138") as step:
        answer = reports.post(f"{realm.orders_origin}/orders/1138", _STOLEN)
        step.saw(f"HTTP {answer.status}", "refused in words that orders proves, too", took_ms=answer.took_ms)
        _tell(step, answer.body)


def _replayed(story: Story, realm: Realm, shop: Caller) -> None:
    shop.post(f"{realm.wire_origin}/orders/1138", {"state": "cancelled"})
    captured = realm.wire.sent[-1]
    before = realm.orders_log()
    with story.step("a captured request", "refused", "somebody on the wire -> orders") as step:
        began = time.perf_counter()
        found: dict[str, Reply] = {}
        workers: set[str] = set()
        for _ in range(_MOST_TRIES):  # the system chooses the worker
            reply = deliver(realm.orders_address, captured)
            found[json.loads(reply.body)["code"] if reply.status == 401 else f"HTTP {reply.status}"] = reply
            workers |= {entry["worker"] for entry in realm.orders_log() if entry not in before}
            if len(workers) == WORKERS:
                break
        took_ms = (time.perf_counter() - began) * 1000
        # On a host without tmpfs each worker remembers for itself, and refuses what names the other one's epoch.
        refused = found.keys() <= {"replayed", "epoch-required"} and len(workers) == WORKERS
        said = f"the same {len(captured)} bytes, sent again until both workers had them: refused by both"
        step.saw("refused" if refused else ", ".join(sorted(found)), said, took_ms=took_ms)
        for code in sorted(found):
            step.show(code, json.loads(found[code].body).get("error_description", ""))


def _changed(story: Story, realm: Realm, shop: Caller) -> None:
    wire, order = realm.wire, f"{realm.wire_origin}/orders/1138"
    with story.step("a changed query", "wrong-binding", "somebody on the wire -> orders") as step:
        wire.change_request = lambda request: request.replace(b"?view=brief", b"?view=audit")
        began = time.perf_counter()
        try:
            shop.get(f"{order}?view=brief")
        except TargetRefusal as refusal:
            took_ms = (time.perf_counter() - began) * 1000
            step.saw(refusal.code, "refused, ?view=brief had become ?view=audit", took_ms=took_ms)
            step.explain(refusal)
    with story.step("a changed body", "body-mismatch", "somebody on the wire -> orders") as step:
        wire.change_request = lambda request: request.replace(b"packed", b"stolen")
        answer = shop.post(order, {"state": "packed"})
        said = "refused before the handler had seen all of it; the refusal is proven"
        step.saw(answer.body.get("code", f"HTTP {answer.status}"), said, took_ms=answer.took_ms)
        _tell(step, answer.body)
    wire.change_request = None


def _stranger(story: Story, realm: Realm) -> None:
    with story.step("no credentials", "HTTP 401", "somebody -> GET /orders/1138") as step:
        request = f"GET /orders/1138 HTTP/1.1\r\nHost: {realm.orders_address}\r\n\r\n".encode()
        reply = deliver(realm.orders_address, request)
        step.saw(f"HTTP {reply.status}", "refused; every path is guarded, those that do not exist included")
        _tell(step, json.loads(reply.body))


def _wrong_target(story: Story, realm: Realm) -> None:
    with story.step("a ticket for another target", "unknown-key", "shop -> orders, which it takes for ledger") as step:
        before = realm.orders_log()
        mistaken = Caller({realm.orders_origin: "ledger"}, realm.client("shop"))
        try:
            mistaken.get(f"{realm.orders_origin}/orders/1138")
        except PeerMisbehaved:  # it cannot prove a refusal to somebody whose ticket it cannot open
            (entry,) = (entry for entry in realm.orders_log() if entry not in before)
            step.saw(entry["reason"], "refused without a word of why, orders cannot open it; its log knows")
            step.explain(OrthrosError(CATALOGUE[entry["reason"]], entry["detail"]))
        finally:
            mistaken.close()


def _tell(step: Step, told: dict[str, Any]) -> None:
    """A refusal as its JSON tells it."""
    step.show("code", told["code"])
    step.show("cause", told["error_description"])
    step.show("remedy", told["remedy"])


def refuse_at_the_client(story: Story, realm: Realm, shop: Caller) -> None:
    """What a client believes, and whom it gives anything."""
    story.chapter("5. What shop refuses, because callers have something to lose, too")
    with story.step("a changed response", "response-unproven", "somebody on the wire -> shop") as step:
        realm.wire.change_reply = lambda reply: reply.replace(b"packed", b"paid..")
        said = "orders is said to have answered paid.. instead of packed; nobody gets to see it"
        _disbelieved(step, lambda: shop.get(f"{realm.wire_origin}/orders/1138"), said)
        realm.wire.change_reply = None
    with (
        story.step("an impostor of orders", "response-unproven", "a process without the key of orders -> shop") as step,
        Wire(realm.ledger_url.removeprefix("http://")) as impostor,
    ):
        origin = f"http://{impostor.address}"
        impostor.change_reply = lambda _reply: _FORGED
        misled = Caller({origin: "orders"}, realm.client("shop"))
        _disbelieved(step, lambda: misled.get(f"{origin}/orders/1138"), "it says 200 and paid, and proves nothing")
        misled.close()
    with (
        story.step("an address of nobody's", "origin-unknown", "shop -> an address that belongs to no target") as step,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        try:
            shop.get(f"http://127.0.0.1:{listener.getsockname()[1]}/orders/1138")
        except Misconfigured as refusal:
            if _was_called(listener):
                raise StageError("the address was connected to") from refusal
            step.saw(refusal.code, "not even a connection is made: no ticket, no token, no request")
            step.explain(refusal)


def _disbelieved(step: Step, call: Callable[[], Answered], said: str) -> None:
    try:
        call()
    except PeerMisbehaved as error:
        step.saw(error.code, said)
        step.explain(error)


def _was_called(listener: socket.socket) -> bool:
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True
