"""The outage: the KDC is killed, calls go on, a daemon comes back without it, then the KDC comes back.

Knows what must keep working and what may not; the realm starts and kills.
"""

from __future__ import annotations

from typing import Final

import httpx

from orthros_client import Unavailable
from workshop.tour.calls import Caller, OAuthDesk, post_to_ledger
from workshop.tour.realm import Realm
from workshop.tour.story import Story

__all__ = ["check_the_audit_log", "lose_the_kdc", "regain_the_kdc"]

_MANY: Final = 50


def lose_the_kdc(story: Story, realm: Realm, shop: Caller, http: httpx.Client, token: str) -> None:
    """SIGKILL to the KDC, then to a daemon. `token` is one that was obtained before."""
    story.chapter("11. The KDC is killed")
    order = f"{realm.orders_origin}/orders/1138"
    with story.step("kill -9 the KDC", "killed", "SIGKILL -> orthros-kdc") as step:
        realm.kill_kdc()
        step.saw("killed", "gone in the middle of its work")
    with story.step("calls without a KDC", "accepted", f"shop -> orders, {_MANY} times") as step:
        answers = [shop.get(order) for _ in range(_MANY)]
        left = int(realm.client("shop").credentials("orders").expires_in_s) // 60
        said = f"all accepted; the ticket in the daemon is good for {left} minutes more; the median call"
        verdict = _verdict(max(answer.status for answer in answers))
        step.saw(verdict, said, took_ms=sorted(answer.took_ms for answer in answers)[_MANY // 2])
    with story.step("a token in hand", "accepted", "shop -> ledger") as step:
        answer = post_to_ledger(http, realm.ledger_url, token)
        step.saw(_verdict(answer.status), "accepted, PyJWT has all it needs", took_ms=answer.took_ms)
    with story.step("a new token over OAuth", "ConnectError", "shop -> KDC, POST /token") as step:
        try:
            OAuthDesk(http, realm.kdc_url, "shop", realm.secret("shop")).token("ledger", "post")
        except httpx.ConnectError as error:
            step.saw(type(error).__name__, f"{error}: without a daemon, nobody has one in store")
    with story.step("kill -9 the daemon as well", "ready", "SIGKILL -> the daemon of shop, and a new one") as step:
        realm.daemons["shop"].kill()
        realm.start_daemon("shop")
        realm.await_daemon("shop")
        step.saw("ready", "ready; its tickets come from a file that is sealed under the key of the host")
    with story.step("a ticket from the sealed file", "accepted", "a new process of shop -> orders") as step:
        with realm.fresh_client("shop") as client:
            fresh = Caller({realm.orders_origin: "orders"}, client)
            answer = fresh.get(order)
            fresh.close()
        step.saw(_verdict(answer.status), f"accepted as {answer.body['for']}", took_ms=answer.took_ms)
    with story.step("a new ticket", "kdc-unreachable", "shop asks for a ticket that the daemon does not hold") as step:
        try:
            realm.client("shop").credentials("orders", ["write"])
        except Unavailable as refusal:
            step.saw(refusal.code, "nobody can grant it now, and the answer says so")
            step.explain(refusal)


def regain_the_kdc(story: Story, realm: Realm) -> None:
    """The same database, another TCP port; the daemon finds it by the second address in its list."""
    story.chapter("12. The KDC comes back")
    with story.step("start the KDC again", "ready", "orthros-kdc serve") as step:
        realm.start_kdc()
        realm.await_kdc()
        step.saw("ready", "ready, on the database that it was torn away from")
    with story.step("a new ticket, again", "granted: write", "shop -> KDC") as step:
        ticket = realm.client("shop").credentials("orders", ["write"])
        step.saw(f"granted: {' '.join(ticket.scopes)}", f"granted a fresh ticket with {' '.join(ticket.scopes)}")


def check_the_audit_log(story: Story, realm: Realm) -> None:
    """Every decision and every change, in chains that show any edit."""
    story.chapter("13. What is on record")
    with story.step("verify the audit log", "exit code 0", "orthros-admin audit verify") as step:
        outcome = realm.admin("audit", "verify")
        step.saw(f"exit code {outcome.code}", "every entry is in its place, those before the SIGKILL included")
        for text in outcome.out.splitlines():
            step.show("|", text)


def _verdict(status: int) -> str:
    return "accepted" if status == 200 else f"HTTP {status}"
