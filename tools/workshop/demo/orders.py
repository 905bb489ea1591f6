"""The service `orders`. Its middleware refuses every request without a ticket. It calls `ledger` for its own caller."""

from __future__ import annotations

import os
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI

from orthros_client import AsyncClient, Verifier
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.starlette import Caller, OrthrosMiddleware, Route, require

ORIGIN, LEDGER = os.environ["ORDERS"], os.environ["LEDGER"]
app = FastAPI()
app.add_middleware(
    OrthrosMiddleware,
    verifier=Verifier.from_environment(),  # a key file that can check tickets, and do nothing else
    origins=[ORIGIN],
    routes=[Route("/invoices/*", accept_user=True)],
)
to_ledger = httpx.AsyncClient(auth=OrthrosAuth({LEDGER: "ledger"}, client=AsyncClient(propagate=True)))


@app.get("/orders/{number}")
async def order(number: int, caller: Annotated[Caller, Depends(require("read"))]) -> dict[str, Any]:
    """One order."""
    return {"order": number, "for": caller.client.name}


@app.post("/orders/{number}")
async def change(number: int, caller: Annotated[Caller, Depends(require("write"))]) -> dict[str, Any]:
    """The same order, changed."""
    return {"order": number, "changed by": caller.client.name}


@app.get("/invoices/{number}")
async def invoice(number: int, _: Annotated[Caller, Depends(require("read"))]) -> Any:
    """What `ledger` says to the one for whom this service is called."""
    return (await to_ledger.get(f"{LEDGER}/invoices/{number}")).json()
