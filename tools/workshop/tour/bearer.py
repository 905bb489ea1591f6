"""The other side of the coin: what a bearer token cannot do, and what the KDC can do about it.

Knows OAuth as everybody does; the contrast to `refusals` is the point.
"""

from __future__ import annotations

import httpx

from workshop.tour.calls import OAuthDesk, post_to_ledger
from workshop.tour.realm import Realm
from workshop.tour.story import Story

__all__ = ["bear_tokens"]


def bear_tokens(story: Story, realm: Realm, http: httpx.Client) -> str:
    """Replay, forgery, introspection, revocation. Returns a token that is still good."""
    story.chapter("6. Bearer tokens, for those who speak nothing else")
    shop = OAuthDesk(http, realm.kdc_url, "shop", realm.secret("shop"))
    ledger = OAuthDesk(http, realm.kdc_url, "ledger", realm.secret("ledger"))
    token: str = shop.token("ledger", "post")["access_token"]
    with story.step("a captured token", "accepted", "somebody on the wire -> ledger") as step:
        post_to_ledger(http, realm.ledger_url, token)
        answer = post_to_ledger(http, realm.ledger_url, token)
        verdict = "accepted" if answer.status == 200 else f"HTTP {answer.status}"
        said = f"accepted once more, as {answer.body.get('caller')}: whoever sees a bearer token has it"
        step.saw(verdict, said, took_ms=answer.took_ms)
    with story.step("a forged JWT", "HTTP 401", "somebody -> ledger") as step:
        head, claims, mark = token.split(".")
        forged = f"{head}.{claims}.{'B' if mark[0] == 'A' else 'A'}{mark[1:]}"
        answer = post_to_ledger(http, realm.ledger_url, forged)
        told = f"HTTP {answer.status} from PyJWT, {answer.body['error']}: {answer.body['detail']}"
        step.saw(f"HTTP {answer.status}", told, took_ms=answer.took_ms)
    with story.step("introspection", "active", "ledger -> KDC, POST /introspect") as step:
        found = ledger.introspect(token)
        said = f"active, for {found['sub']} with {found['scope']}; the KDC's mark tells it from a forgery by ledger"
        step.saw("active" if found["active"] else "inactive", said)
    with story.step("revocation", "inactive", "shop -> KDC, POST /revoke") as step:
        shop.revoke(token)
        state = "active" if ledger.introspect(token)["active"] else "inactive"
        step.saw(state, f"from now on introspection says {state}")
    with story.step("a revoked token, offline", "accepted", "shop -> ledger") as step:
        answer = post_to_ledger(http, realm.ledger_url, token)
        verdict = "accepted" if answer.status == 200 else f"HTTP {answer.status}"
        said = "still accepted, since ledger asks nobody: until the token ends, after five minutes by default"
        step.saw(verdict, said, took_ms=answer.took_ms)
    return str(shop.token("ledger", "post")["access_token"])
