"""The service `orders`: a FastAPI application, and one line that lets nobody in who does not prove himself.

Knows its own verify-only key file and the origins it is reached at; neither the KDC nor any caller. What it asks of
`ledger` it asks on behalf of whoever called it, through the daemon of its host. Each line of its log is a JSON object
on standard output.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import httpx
import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from orthros_client import AsyncClient, Verifier
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.starlette import Caller, OrthrosMiddleware, Route, require
from workshop.tour.explained import pass_on_refusals

__all__ = ["app"]


def _add_worker(_logger: object, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {"worker": os.getpid(), **facts}


structlog.configure(processors=[_add_worker, structlog.processors.JSONRenderer()], cache_logger_on_first_use=True)
log = structlog.get_logger("orders")


@asynccontextmanager
async def _told(_app: FastAPI) -> AsyncIterator[None]:
    log.info("ready", key=repr(verifier))
    yield


LEDGER = os.environ["LEDGER"]
verifier = Verifier.from_environment()
app = FastAPI(title="orders", lifespan=_told)
pass_on_refusals(app)
app.add_middleware(
    OrthrosMiddleware,
    verifier=verifier,
    origins=os.environ["ORDERS_ORIGINS"].split(),
    routes=[Route("/invoices/*", accept_user=True), Route("/audits/*", accept_user=True)],
)
to_ledger = OrthrosAuth({LEDGER: "ledger"}, client=AsyncClient(propagate=True), delegable=[LEDGER])
http = httpx.AsyncClient(trust_env=False, auth=to_ledger)


class Change(BaseModel):
    """What may be changed of an order."""

    state: str


@app.get("/orders/{number}")
async def read(number: int, caller: Annotated[Caller, Depends(require("read"))]) -> dict[str, Any]:
    """One order."""
    return {"order": number, "state": "packed", "for": caller.client.name}


@app.post("/orders/{number}")
async def change(number: int, to: Change, caller: Annotated[Caller, Depends(require("write"))]) -> dict[str, Any]:
    """The same order in another state."""
    return {"order": number, "state": to.state, "by": caller.client.name}


@app.api_route("/{page}/{number}", methods=["GET", "POST"])
async def ask_ledger(
    page: Literal["invoices", "audits"],
    number: int,
    request: Request,
    caller: Annotated[Caller, Depends(require("read"))],
) -> JSONResponse:
    """What `ledger` has on an order. Whether the caller may write there, too, is for `ledger` to say."""
    log.info("asking ledger", path=request.url.path, transaction=caller.transaction_id)
    answer = await http.request(request.method, f"{LEDGER}/{page}/{number}")
    return JSONResponse(answer.json(), answer.status_code)
