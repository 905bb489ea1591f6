"""The service `ledger`: tells for whom it is called. It accepts calls for users, and calls no other service."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI

from orthros_client import Verifier
from orthros_client.integrations.starlette import Caller, OrthrosMiddleware, Route, require

app = FastAPI()
app.add_middleware(
    OrthrosMiddleware,
    verifier=Verifier.from_environment(),
    origins=[os.environ["LEDGER"]],
    routes=[Route("/*", accept_user=True)],
)


@app.get("/invoices/{number}")
async def invoice(number: int, caller: Annotated[Caller, Depends(require("read"))]) -> dict[str, Any]:
    """One invoice, and for whom it was asked for by whom."""
    user = None if caller.subject is None else caller.subject.principal.name
    return {"invoice": number, "for": user, "through": list(reversed(caller.act))}
