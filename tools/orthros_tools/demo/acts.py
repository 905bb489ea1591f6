"""The first acts: a realm is founded, processes start, and call each other with tickets and a JWT.

Knows the order of the story; `realm` starts things and `calls` calls them.
"""

from __future__ import annotations

from typing import Final

from orthros_tools.demo.calls import Line, call_orders, post_to_ledger
from orthros_tools.demo.realm import ADMIN_SCRIPT, REALM, Realm
from orthros_tools.demo.stage import StageError
from orthros_tools.demo.story import Story

__all__ = ["call_each_other", "found_a_realm", "introduce", "start_everything"]

_MANY: Final = 200


def introduce(story: Story) -> None:
    """What this is about."""
    story.say(
        "Orthros lets the services of one organisation prove to each other who they are. A key distribution centre "
        "(KDC) knows every service's key and issues tickets by policy; services check tickets by themselves, with "
        "their own key, without asking anybody. What follows is real: every name below is a process of its own, and "
        "every arrow a socket."
    )


def found_a_realm(story: Story, realm: Realm) -> None:
    """Init, principals, rules; the KDC starts while the admin works."""
    story.chapter("1. An admin founds a realm")
    with story.step("found a realm", "done", "orthros-kdc init") as step:
        realm.found()
        step.saw("done", f"realm {REALM}, which is a database, a master key and a file of settings")
    realm.start_kdc()
    with story.step("add principals and policy", "done", "the admin's script") as step:
        realm.administer()
        step.saw("done", "four principals with a key file each, a group, three rules, a JWT key")
        for command in ADMIN_SCRIPT.splitlines():
            step.show("$", command)
    with story.step("start the KDC", "ready", "orthros-kdc serve") as step:
        realm.await_kdc()
        step.saw(
            "ready", f"ready at {' and '.join(realm.kdc_addresses)}".replace(str(realm.folder), "..."), timed=False
        )


def start_everything(story: Story, realm: Realm) -> None:
    """Two services and two daemons."""
    story.chapter("2. Services and daemons start")
    realm.start_services()
    for client in ("shop", "reports"):
        realm.start_daemon(client)
    with story.step("start two services", "ready", "orders and ledger") as step:
        realm.await_services()
        if realm.ledger_borrowed:
            raise StageError("ledger was to run without any module of Orthros")
        step.saw("ready", "ready; neither has been told where the KDC is")
        step.show("orders", "framed TCP; checks tickets with a verify-only key file, which cannot obtain any")
        step.show("ledger", "plain HTTP; checks JWTs with stock PyJWT, and not one module of Orthros is loaded")
    with story.step("start two daemons", "ready", "orthros-daemon for shop, and one for reports") as step:
        for client in ("shop", "reports"):
            realm.await_daemon(client)
        step.saw("ready", "ready; each holds the key of its host and gives local processes tickets, never the key")


def call_each_other(story: Story, realm: Realm, line: Line) -> None:
    """Accepted calls: first contact, the usual call, many calls, a JWT."""
    story.chapter("3. They call each other")
    shop = realm.client("shop")
    with story.step("a ticket from the daemon", "granted", "shop asks its daemon for orders") as step:
        ticket = shop.credentials("orders")
        step.saw("granted", f"granted a ticket for {ticket.target}, {' and '.join(ticket.scopes)}")
        step.show("behind", "the daemon proved its key to the KDC, then obtained the ticket; it keeps both fresh")
    with story.step("the first call", "accepted", "shop -> orders") as step:
        answer = call_orders(line, ticket, "orders/get", 1138)
        scopes = " ".join(ticket.scopes)
        step.saw("accepted", f"accepted as {answer.body['for']}, scopes {scopes}", took_ms=answer.took_ms)
        step.show("note", f"{answer.round_trips} round trips at first contact; orders proved itself in its answer, too")
    with story.step("the next call", "accepted", "shop -> orders") as step:
        answer = call_orders(line, ticket, "orders/cancel", 1138)
        step.saw(
            "accepted", f"accepted, order {answer.body['order']} is {answer.body['state']}", took_ms=answer.took_ms
        )
    with story.step(f"{_MANY} more calls", "accepted", f"shop -> orders, {_MANY} times") as step:
        times = sorted(call_orders(line, ticket, "orders/get", number).took_ms for number in range(_MANY))
        said = "all accepted, one round trip and one fresh proof each, nobody else is asked; the median call"
        step.saw("accepted", said, took_ms=times[_MANY // 2])
    with story.step("a JWT for HTTP", "accepted", "shop -> ledger") as step:
        token = shop.token("ledger")
        status, body, took_ms = post_to_ledger(realm.ledger_address, token.value)
        verdict = "accepted" if status == 200 else f"HTTP {status}"
        step.saw(
            verdict, f"{verdict} as {body.get('caller')}, scope {body.get('scope')}, by stock PyJWT", took_ms=took_ms
        )
