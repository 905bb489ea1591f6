"""A FastAPI service that knows who calls: `uvicorn --no-proxy-headers fastapi_service:app`."""

from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Request

from orthros_client import Verifier
from orthros_client.integrations.starlette import Caller, OrthrosMiddleware, Route, require

log = structlog.get_logger()
app = FastAPI()
app.add_middleware(
    OrthrosMiddleware,
    verifier=Verifier.from_environment(),
    origins=["https://orders.example"],
    routes=[Route("/health", public=True)],
)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/orders/{number}")
def show(number: int, caller: Annotated[Caller, Depends(require("read"))]) -> dict[str, Any]:
    return {"order": number, "for": str(caller.client)}


@app.post("/orders")
async def place(request: Request, caller: Annotated[Caller, Depends(require("write"))]) -> dict[str, Any]:
    order = await request.json()  # raises, and is refused, unless it is what the caller has sent
    traceparent = request.headers.get("traceparent")
    log.info("order-placed", client=str(caller.client), txn=caller.transaction_id, traceparent=traceparent)
    return {"placed": order, "txn": caller.transaction_id, "traceparent": traceparent}
