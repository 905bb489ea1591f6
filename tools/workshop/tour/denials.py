"""What the KDC denies: no rule, more scopes than allowed, a stolen key file, a disabled principal, a spent ticket.

Knows who asks for what; every explanation comes from the program that refused.
"""

from __future__ import annotations

import time
from typing import Final

from orthros_client import Client, Credentials, TargetRefusal, TicketRefused
from workshop.tour.calls import Caller, Held
from workshop.tour.realm import SHORT_S, Realm
from workshop.tour.story import Story
from workshop.tour.thief import steal_a_key_file

__all__ = ["deny"]

_NEARLY_S: Final = 0.02
_EXPIRY_S: Final = SHORT_S + 5.0


def deny(story: Story, realm: Realm) -> None:
    """Everything that the KDC turns away, and the end of a ticket."""
    story.chapter("8. What the KDC denies")
    reports = realm.client("reports")
    short = reports.credentials("orders")
    _no_rule(story, realm, reports)
    _clamped(story, reports)
    steal_a_key_file(story, realm)
    _disabled(story, realm)
    _expired(story, realm, short)


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


def _clamped(story: Story, reports: Client) -> None:
    with story.step("more scopes than allowed", "granted: read", "reports -> KDC, for orders") as step:
        began = time.perf_counter()
        clamped = reports.credentials("orders", ["read", "write"])
        took_ms = (time.perf_counter() - began) * 1000
        granted = " ".join(clamped.scopes)
        step.saw(f"granted: {granted}", f"asked for read and write, granted {granted}, and a note", took_ms=took_ms)
        for note in clamped.describe_notes(("read", "write")):
            step.show("note", note)


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


def _expired(story: Story, realm: Realm, short: Credentials) -> None:
    caller = Caller({realm.orders_origin: "orders"}, Held(short))
    with story.step("an expired ticket", "ticket-expired", "reports -> orders, a while later") as step:
        deadline = time.monotonic() + _EXPIRY_S
        while short.expires_in_s > 0 and time.monotonic() < deadline:
            time.sleep(min(short.expires_in_s, _NEARLY_S))
        began = time.perf_counter()
        try:
            caller.get(f"{realm.orders_origin}/orders/7")
        except TargetRefusal as refusal:
            took_ms = (time.perf_counter() - began) * 1000
            step.saw(refusal.code, f"refused, the ticket was for {short.life.whole_s} s", took_ms=took_ms)
            step.explain(refusal)
        finally:
            caller.close()
