"""The service `ledger` where it takes tickets: keeps books for users, whoever calls on their behalf.

Knows its key file and its own daemon; who called whom before is the KDC's word.
"""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse

from orthros_client import AsyncClient, VerifiedCaller, Verifier
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.starlette import OrthrosMiddleware, Route, require
from workshop.tour.explained import pass_on_refusals

__all__ = ["app"]

ORDERS = os.environ["ORDERS"]

app = FastAPI(title="ledger")
pass_on_refusals(app)
app.add_middleware(
    OrthrosMiddleware,
    verifier=Verifier.from_environment(),
    origins=[os.environ["ORIGIN"]],
    routes=[Route("/invoices/*", accept_user=True), Route("/audits/*", accept_user=True)],
)
http = httpx.AsyncClient(trust_env=False, auth=OrthrosAuth({ORDERS: "orders"}, client=AsyncClient(propagate=True)))

Reader = Annotated[VerifiedCaller, Depends(require("read"))]
Writer = Annotated[VerifiedCaller, Depends(require("write"))]
Refunder = Annotated[VerifiedCaller, Depends(require("refund"))]


@app.get("/invoices/{number}")
async def show(number: int, caller: Reader) -> dict[str, Any]:
    """One entry, and whom it is shown to."""
    return {"invoice": number, **_facts(caller)}


@app.post("/invoices/{number}")
async def book(number: int, caller: Writer) -> dict[str, Any]:
    """A new entry."""
    return {"booked": number, **_facts(caller)}


@app.post("/refunds/{number}")
async def refund(number: int, caller: Refunder) -> dict[str, Any]:
    """Money goes back."""
    return {"refunded": number, **_facts(caller)}


@app.get("/audits/{number}")
async def audit(number: int, caller: Reader) -> JSONResponse:
    """Compares an entry with the order it came from, which would lead in a circle."""
    answer = await http.get(f"{ORDERS}/invoices/{number}")
    return JSONResponse(answer.json(), answer.status_code)


def _facts(caller: VerifiedCaller) -> dict[str, Any]:
    return {
        "for": caller.subject.principal.name if caller.subject else caller.client.name,
        "through": list(caller.path) or [caller.client.name],
        "scopes": sorted(caller.scopes),
        "ends_in_s": int(caller.expires_at - time.time()),
        "transaction": caller.transaction_id,
    }
