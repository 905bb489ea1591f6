"""A Flask service that knows who calls: `gunicorn -w 2 --threads 4 flask_service:app`."""

from typing import Any

import structlog
from flask import Flask, request

from orthros_client import Verifier
from orthros_client.integrations.flask import Route, current_caller, protect, require

log = structlog.get_logger()
app = Flask(__name__)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/orders/<int:number>")
@require("read")
def show(number: int) -> dict[str, Any]:
    return {"order": number, "for": str(current_caller().client)}


@app.post("/orders")
@require("write")
def place() -> dict[str, Any]:
    caller = current_caller()
    order = request.get_json()  # raises, and is refused, unless it is what the caller has sent
    traceparent = request.headers.get("traceparent")
    log.info("order-placed", client=str(caller.client), txn=caller.transaction_id, traceparent=traceparent)
    return {"placed": order, "txn": caller.transaction_id, "traceparent": traceparent}


protect(
    app,
    verifier=Verifier.from_environment(),
    origins=["https://orders.example"],
    routes=[Route("/health", public=True)],
)
