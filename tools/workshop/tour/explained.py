"""What a service of the demo answers when it was itself refused: who refused it and why, in place of a bare 500.

Knows no route. Whoever serves strangers tells them less and logs the rest: `answer_failed_calls` of the integrations.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from orthros_client import TargetRefusal, TicketRefused

__all__ = ["pass_on_refusals"]


def pass_on_refusals(app: FastAPI) -> None:
    """`app` answers 502 with code, cause and remedy when the KDC refused it a ticket, or a target its call."""

    @app.exception_handler(TicketRefused)
    @app.exception_handler(TargetRefusal)
    async def explain(_request: Request, refusal: TicketRefused | TargetRefusal) -> JSONResponse:
        cause = f"{refusal.cause} ({refusal.detail})" if refusal.detail else refusal.cause
        told = {"at": app.title, "code": refusal.code, "error_description": cause, "remedy": refusal.remedy}
        return JSONResponse(told, 502)
