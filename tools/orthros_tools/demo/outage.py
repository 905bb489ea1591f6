"""The outage: the KDC is killed, calls go on, a daemon comes back without it, then the KDC comes back.

Knows what must keep working and what may not; the realm starts and kills.
"""

from __future__ import annotations

from typing import Final

from orthros_client import Unavailable
from orthros_tools.demo.calls import Line, call_orders, post_to_ledger
from orthros_tools.demo.realm import Realm
from orthros_tools.demo.story import Story

__all__ = ["check_the_audit_log", "lose_the_kdc", "regain_the_kdc"]

_MANY: Final = 100


def lose_the_kdc(story: Story, realm: Realm, line: Line) -> None:
    """SIGKILL to the KDC, then to a daemon."""
    story.chapter("5. The KDC is killed")
    shop = realm.client("shop")
    with story.step("kill -9 the KDC", "killed", "SIGKILL -> orthros-kdc") as step:
        realm.kill_kdc()
        step.saw("killed", "gone in the middle of its work")
    with story.step("calls without a KDC", "accepted", f"shop -> orders, {_MANY} times") as step:
        ticket = shop.credentials("orders")
        times = sorted(call_orders(line, ticket, "orders/get", number).took_ms for number in range(_MANY))
        left = int(ticket.expires_in_s) // 60
        said = f"all accepted; the ticket in the daemon is good for {left} minutes more; the median call"
        step.saw("accepted", said, took_ms=times[_MANY // 2])
    with story.step("HTTP without a KDC", "accepted", "shop -> ledger") as step:
        status, _, took_ms = post_to_ledger(realm.ledger_address, shop.token("ledger").value)
        step.saw("accepted" if status == 200 else f"HTTP {status}", took_ms=took_ms)
    with story.step("kill -9 the daemon as well", "ready", "SIGKILL -> the daemon of shop, and a new one") as step:
        realm.daemons["shop"].kill()
        realm.start_daemon("shop")
        realm.await_daemon("shop")
        step.saw("ready", "ready; its tickets come from a file that is sealed under the key of the host")
    with story.step("a ticket from the sealed file", "accepted", "a new process of shop -> orders") as step:
        with realm.fresh_client("shop") as fresh:
            ticket = fresh.credentials("orders")
        answer = call_orders(line, ticket, "orders/get", 1138)
        step.saw("accepted", f"accepted as {answer.body['for']}", took_ms=answer.took_ms)
    with story.step("a new ticket", "kdc-unreachable", "shop asks for a ticket that the daemon does not hold") as step:
        try:
            shop.credentials("orders", ["write"])
        except Unavailable as refusal:
            step.saw(refusal.code, "nobody can grant it now, and the answer says so")
            step.explain(refusal)


def regain_the_kdc(story: Story, realm: Realm, line: Line) -> None:
    """The same database, another TCP port; the daemon finds it by the second address in its list."""
    story.chapter("6. The KDC comes back")
    with story.step("start the KDC again", "ready", "orthros-kdc serve") as step:
        realm.start_kdc()
        realm.await_kdc()
        step.saw("ready", "ready, on the database that it was torn away from")
    with story.step("a new ticket, again", "accepted", "shop -> KDC -> orders") as step:
        ticket = realm.client("shop").credentials("orders", ["write"])
        answer = call_orders(line, ticket, "orders/cancel", 1139)
        step.saw(
            "accepted", f"a fresh ticket with {' '.join(ticket.scopes)}, order {answer.body['order']} is cancelled"
        )


def check_the_audit_log(story: Story, realm: Realm) -> None:
    """Every decision and every change, in chains that show any edit."""
    story.chapter("7. What is on record")
    with story.step("verify the audit log", "exit code 0", "orthros-admin audit verify") as step:
        outcome = realm.admin("audit", "verify")
        step.saw(f"exit code {outcome.code}", "every entry is in its place, those before the SIGKILL included")
        for text in outcome.out.splitlines():
            step.show("|", text)
