"""The service `approvals`: attests that a second pair of eyes has looked at what somebody is about to do.

A small discharger: rules demand its word, clients fetch it, and the target checks it without asking anybody.
"""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import Depends, FastAPI

from orthros_client import Attested, Discharger, Question, Verifier
from orthros_client.integrations.asgi_discharges import DischargeEndpoint
from orthros_client.integrations.starlette import Caller, OrthrosMiddleware, Route, require

__all__ = ["app"]

approved: dict[str, str] = {}
verifier = Verifier.from_environment()


def attest(question: Question) -> Attested | None:
    """For a minute, once somebody has approved."""
    if question.predicate == "four-eyes" and question.about.name in approved:
        return Attested(lifetime_s=60)
    return None


app = FastAPI(title="approvals")
app.add_middleware(DischargeEndpoint, discharger=Discharger(verifier, attest))
app.add_middleware(
    OrthrosMiddleware,
    verifier=verifier,
    origins=[os.environ["ORIGIN"]],
    routes=[Route("/approvals/*", accept_user=True)],
)


@app.post("/approvals/{name}")
async def approve(name: str, caller: Annotated[Caller, Depends(require("approve"))]) -> dict[str, str]:
    """`name` may go ahead."""
    approved[name] = caller.subject.principal.name if caller.subject else caller.client.name
    return {"approved": name, "by": approved[name]}
