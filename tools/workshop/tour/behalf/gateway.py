"""The service `gateway`: knows which user is at the browser, and tells the KDC with every ticket it asks for.

How users log in is its own affair, here a cookie. Rules bound in whose name it may ask.
"""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal
from uuid import uuid4

import httpx
from fastapi import Cookie, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from orthros_client import AsyncClient
from orthros_client.integrations.httpx_auth import OrthrosAuth
from workshop.tour.explained import pass_on_refusals

__all__ = ["app"]

ORDERS, APPROVALS = os.environ["ORDERS"], os.environ["APPROVALS"]
SESSIONS: Final = {"alice-in": "user/alice", "bob-in": "user/bob", "root-in": "staff/root"}

app = FastAPI(title="gateway")
pass_on_refusals(app)
http = httpx.AsyncClient(trust_env=False)
auth = OrthrosAuth({ORDERS: "orders", APPROVALS: "approvals"}, client=AsyncClient(), delegable=[ORDERS])


def user_of(session: Annotated[str, Cookie()] = "") -> str:
    """Who has logged in."""
    if session not in SESSIONS:
        raise HTTPException(401, "log in first")
    return SESSIONS[session]


User = Annotated[str, Depends(user_of)]


@app.post("/approvals/{name}")
async def approve(name: str, user: User) -> JSONResponse:
    """A user approves what somebody is about to do."""
    return await _call(f"{APPROVALS}/approvals/{name}", "POST", user)


@app.api_route("/{page}/{number}", methods=["GET", "POST"])
async def orders(
    page: Literal["orders", "invoices", "audits"], number: int, request: Request, user: User
) -> JSONResponse:
    """A page of `orders`, as its user may see it."""
    return await _call(f"{ORDERS}/{page}/{number}", request.method, user)


async def _call(url: str, method: str, user: str) -> JSONResponse:
    key = {"Idempotency-Key": uuid4().hex}
    answer = await http.request(method, url, headers=key, auth=auth.on_behalf_of(user))
    return JSONResponse(answer.json(), answer.status_code)
