"""The service `ledger`: tells who called it, and for which user. It calls no other service."""

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
    """One invoice, the user that it was asked for, and the services that it was asked through."""
    user = None if caller.subject is None else caller.subject.principal.name
    return {"invoice": number, "for": user, "through": list(reversed(caller.act))}
