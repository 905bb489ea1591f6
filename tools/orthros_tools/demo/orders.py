"""The service `orders`: a FastAPI application, and one line that lets nobody in who does not prove himself.

Knows its own verify-only key file and the origins it is reached at; neither the KDC nor any caller. Each line of its
log is a JSON object on standard output.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from orthros_client import Verifier
from orthros_client.integrations.starlette import Caller, OrthrosMiddleware, require

__all__ = ["app"]


def _add_worker(_logger: object, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {"worker": os.getpid(), **facts}


structlog.configure(processors=[_add_worker, structlog.processors.JSONRenderer()], cache_logger_on_first_use=True)
log = structlog.get_logger("orders")


@asynccontextmanager
async def _told(_app: FastAPI) -> AsyncIterator[None]:
    log.info("ready", key=repr(verifier))
    yield


verifier = Verifier.from_environment()
app = FastAPI(lifespan=_told)
app.add_middleware(OrthrosMiddleware, verifier=verifier, origins=os.environ["ORDERS_ORIGINS"].split())


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
