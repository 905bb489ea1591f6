"""The refusals: what a thief, a wrong rule or a clock runs into, and how each of them is explained.

Knows how to misbehave with what a thief could hold; every explanation comes from the program that refused.
"""

from __future__ import annotations

import json
import time
from typing import Final

from orthros_client import Client, Credentials, OrthrosError, TargetRefusal, TicketRefused
from orthros_protocol import reason_for
from orthros_tools.demo.calls import Line, call_orders, post_to_ledger
from orthros_tools.demo.realm import SHORT_S, Realm
from orthros_tools.demo.story import Step, Story
from orthros_tools.demo.thief import steal_a_key_file

__all__ = ["refuse"]

_GET, _CANCEL = "orders/get", "orders/cancel"
_NEARLY_S: Final = 0.02
_EXPIRY_S: Final = SHORT_S + 5.0


def refuse(story: Story, realm: Realm, line: Line) -> None:
    """Everything that `orders`, `ledger` and the KDC turn away."""
    story.chapter("4. What is refused, by whom, and why")
    shop, reports = realm.client("shop"), realm.client("reports")
    ticket = shop.credentials("orders")
    short = reports.credentials("orders")
    call_orders(line, short, _GET, 7)  # it is good now, and will have expired when its turn comes
    _replayed(story, line, ticket)
    _tampered(story, realm, line, ticket)
    _wrong_target(story, realm, line, shop)
    _forged_token(story, realm, shop)
    _no_rule(story, realm, reports)
    _clamped(story, line, reports)
    steal_a_key_file(story, realm)
    _disabled(story, realm)
    _expired(story, line, short)


def _replayed(story: Story, line: Line, ticket: Credentials) -> None:
    with story.step("a replayed request", "replayed", "somebody on the wire -> orders") as step:
        payload = json.dumps({"order": 1138}).encode()
        call = ticket.authenticate(_GET, payload, safe=True)
        accepted = line.ask(_GET, call.request, payload) or b""
        call.finish(accepted)
        line.receive()
        began = time.perf_counter()
        again = line.ask(_GET, call.request, payload) or b""
        took_ms = (time.perf_counter() - began) * 1000
        try:
            call.finish(again)
        except TargetRefusal as refusal:
            step.saw(refusal.code, "refused, the same bytes for a second time", took_ms=took_ms)
            step.explain(refusal)


def _tampered(story: Story, realm: Realm, line: Line, ticket: Credentials) -> None:
    with story.step("a tampered payload", "wrong-binding", "somebody on the wire -> orders") as step:
        call = ticket.authenticate(_CANCEL, b'{"order": 1138}')
        began = time.perf_counter()
        reply = line.ask(_CANCEL, call.request, b'{"order": 9999}') or b""
        took_ms = (time.perf_counter() - began) * 1000
        try:
            call.finish(reply)
        except TargetRefusal as refusal:
            step.saw(refusal.code, "refused, the request was made for another payload", took_ms=took_ms)
            step.explain(refusal)
    with story.step("a tampered request", "wrong-mac", "somebody on the wire -> orders") as step:
        request = bytearray(ticket.authenticate(_GET, b'{"order": 1138}').request)
        request[-1] ^= 1
        _told_nothing(step, realm, line, bytes(request), "refused without a word, one bit of it was flipped")


def _wrong_target(story: Story, realm: Realm, line: Line, shop: Client) -> None:
    with story.step("a ticket for another target", "unknown-key", "shop -> orders, with its ticket for ledger") as step:
        request = shop.credentials("ledger").authenticate(_GET, b'{"order": 1138}').request
        _told_nothing(step, realm, line, request, "refused without a word, orders cannot open it")


def _told_nothing(step: Step, realm: Realm, line: Line, request: bytes, said: str) -> None:
    """Bytes that prove nothing get no answer; the reason stands in the service's own log."""
    before = realm.orders_lines()
    began = time.perf_counter()
    if line.ask(_GET, request, b'{"order": 1138}') is not None:
        step.saw("answered")
        return
    took_ms = (time.perf_counter() - began) * 1000
    entry = realm.orders_log(before)
    step.saw(entry["code"], f"{said}; its log says why", took_ms=took_ms)
    step.explain(OrthrosError(reason_for(entry["code"]), entry["detail"]))


def _forged_token(story: Story, realm: Realm, shop: Client) -> None:
    with story.step("a forged JWT", "HTTP 401", "somebody -> ledger") as step:
        head, claims, signature = shop.token("ledger").value.split(".")
        forged = ("A" if signature[0] != "A" else "B") + signature[1:]
        status, body, took_ms = post_to_ledger(realm.ledger_address, f"{head}.{claims}.{forged}")
        step.saw(f"HTTP {status}", f"HTTP {status} from PyJWT, {body['error']}: {body['detail']}", took_ms=took_ms)


def _no_rule(story: Story, realm: Realm, reports: Client) -> None:
    with story.step("no rule allows it", "not-granted", "reports -> KDC, for ledger") as step:
        began = time.perf_counter()
        try:
            reports.credentials("ledger", ["post"])
        except TicketRefused as refusal:
            took_ms = (time.perf_counter() - began) * 1000
            step.saw(refusal.code, "refused, sealed so that only reports can read why", took_ms=took_ms)
            step.explain(refusal)
    with story.step("what would allow it", "exit code 3", "orthros-admin policy explain reports ledger") as step:
        outcome = realm.admin("policy", "explain", "reports", "ledger", "--scope", "post")
        step.saw(f"exit code {outcome.code}", "the KDC's own function, asked by an admin")
        for text in outcome.out.splitlines():
            step.show("|", text.strip())


def _clamped(story: Story, line: Line, reports: Client) -> None:
    with story.step("more scopes than allowed", "granted: read", "reports -> KDC, for orders") as step:
        began = time.perf_counter()
        clamped = reports.credentials("orders", ["read", "write"])
        took_ms = (time.perf_counter() - began) * 1000
        granted = " ".join(clamped.scopes)
        step.saw(f"granted: {granted}", f"asked for read and write, granted {granted}, and a note", took_ms=took_ms)
        for note in clamped.describe_notes(("read", "write")):
            step.show("note", note)
    with story.step("a call beyond its scopes", "insufficient-scope", "reports -> orders, to cancel") as step:
        try:
            call_orders(line, clamped, _CANCEL, 7)
        except TargetRefusal as refusal:
            step.saw(refusal.code, "refused by orders, which reads the scopes in the ticket")
            step.explain(refusal)


def _disabled(story: Story, realm: Realm) -> None:
    with story.step("a disabled principal", "principal-disabled", "reports -> KDC") as step:
        realm.admin("principal", "disable", "reports").require()
        began = time.perf_counter()
        try:
            realm.client("reports").credentials("orders", ["read"], 60)
        except TicketRefused as refusal:
            took_ms = (time.perf_counter() - began) * 1000
            step.saw(
                refusal.code, "after `orthros-admin principal disable reports`, no ticket any more", took_ms=took_ms
            )
            step.explain(refusal)


def _expired(story: Story, line: Line, short: Credentials) -> None:
    with story.step("an expired ticket", "ticket-expired", "reports -> orders, a while later") as step:
        deadline = time.monotonic() + _EXPIRY_S
        while short.expires_in_s > 0 and time.monotonic() < deadline:
            time.sleep(min(short.expires_in_s, _NEARLY_S))
        began = time.perf_counter()
        try:
            call_orders(line, short, _GET, 7)
        except TargetRefusal as refusal:
            took_ms = (time.perf_counter() - began) * 1000
            step.saw(refusal.code, f"refused, the ticket was for {short.ttl_s} s", took_ms=took_ms)
            step.explain(refusal)
