"""The first acts: a realm is founded, processes start, and call each other with tickets and tokens.

Knows the order of the story; `realm` starts things and `calls` calls them.
"""

from __future__ import annotations

from typing import Final

import httpx

from workshop.stage import StageError
from workshop.tour.calls import Caller, OAuthDesk, post_to_ledger
from workshop.tour.realm import ADMIN_SCRIPT, HTTP_SETTINGS, REALM, WORKERS, Realm
from workshop.tour.story import Story

__all__ = ["call_each_other", "found_a_realm", "introduce", "start_everything"]

_MANY: Final = 100


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
        step.saw("done", "four principals with a key file each, a group, three rules, a JWT key, two OAuth secrets")
        for command in ADMIN_SCRIPT.splitlines():
            step.show("$", command)
    with story.step("start the KDC", "ready", "orthros-kdc serve") as step:
        realm.await_kdc()
        addresses = realm.shortened(" and ".join(realm.kdc_addresses))
        step.saw("ready", f"ready at {addresses}, and for OAuth at {realm.kdc_url}", timed=False)
        step.show("set", " ".join(HTTP_SETTINGS.split("\n")))


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
        said = f"FastAPI and one line of middleware, {WORKERS} workers; checks tickets with a verify-only key file"
        step.show("orders", said)
        step.show("ledger", "plain HTTP; checks JWTs with stock PyJWT, and not one module of Orthros is loaded")
    with story.step("start two daemons", "ready", "orthros-daemon for shop, and one for reports") as step:
        for client in ("shop", "reports"):
            realm.await_daemon(client)
        step.saw("ready", "ready; each holds the key of its host and gives local processes tickets, never the key")


def call_each_other(story: Story, realm: Realm, shop: Caller, http: httpx.Client) -> None:
    """Accepted calls: httpx, `orthros call`, a token over OAuth."""
    story.chapter("3. They call each other")
    order = f"{realm.orders_origin}/orders/1138"
    with story.step("the first call", "accepted", "shop -> GET /orders/1138, httpx with auth=OrthrosAuth(...)") as step:
        answer = shop.get(order)
        step.saw(_verdict(answer.status), f"accepted as {answer.body['for']}", took_ms=answer.took_ms)
        step.show("behind", "the daemon proved its key to the KDC and obtained a ticket, which it keeps fresh")
        step.show("note", f"{answer.requests} requests at first contact: a worker shows which process it is")
    with story.step("the next call", "accepted", "shop -> POST /orders/1138") as step:
        answer = shop.post(order, {"state": "cancelled"})
        said = f"accepted, the order is {answer.body['state']}; bound to it: method, address, path, query and body"
        step.saw(_verdict(answer.status), said, took_ms=answer.took_ms)
    with story.step(f"{_MANY} more calls", "accepted", f"shop -> orders, {_MANY} times") as step:
        answers = [shop.get(f"{realm.orders_origin}/orders/{number}") for number in range(_MANY)]
        said = "all accepted and every answer proven, nobody else is asked; the median call"
        times = sorted(answer.took_ms for answer in answers)
        verdict = _verdict(max(answer.status for answer in answers))
        step.saw(verdict, said, took_ms=times[_MANY // 2])
    with story.step("from a shell", "exit code 0", "shop, typed by hand") as step:
        words = ("call", "--target", "orders", order, "--json", '{"state": "packed"}')
        outcome = realm.orthros(*words)
        step.saw(f"exit code {outcome.code}", "shown only because orders has proven that it said so")
        step.show("$", f"orthros call --target orders {order} --json '{words[-1]}'")
        step.show("|", outcome.require().out)
    with story.step("a token over OAuth", "dropped: audit", "shop -> KDC, POST /token with plain httpx") as step:
        told = OAuthDesk(http, realm.kdc_url, "shop", realm.secret("shop")).token("ledger", "post audit")
        dropped = " ".join(told["dropped"])
        said = f"asked for post and audit, granted {told['scope']} for {told['expires_in']} s, told what was dropped"
        step.saw(f"dropped: {dropped}", said)
    with story.step("a JWT for HTTP", "accepted", "shop -> ledger") as step:
        answer = post_to_ledger(http, realm.ledger_url, told["access_token"])
        said = f"accepted as {answer.body.get('caller')}, scope {answer.body.get('scope')}, by stock PyJWT"
        step.saw(_verdict(answer.status), said, took_ms=answer.took_ms)


def _verdict(status: int) -> str:
    return "accepted" if status == 200 else f"HTTP {status}"
