"""A Flask service that notes what it executes."""

from typing import Any

from flask import Flask, request
from ledger import ORIGIN, note, ready  # type: ignore[import-not-found]

from orthros_client import Verifier
from orthros_client.integrations.flask import Route, protect

app = Flask(__name__)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/orders/<name>")
def show(name: str) -> dict[str, str]:
    done: dict[str, str] = note("GET", name)
    return done


@app.post("/orders")
def place() -> dict[str, str]:
    order: dict[str, Any] = request.get_json()
    done: dict[str, str] = note("POST", order["name"])
    return done


protect(app, verifier=Verifier.from_environment(), origins=[ORIGIN], routes=[Route("/health", public=True)])
ready()
