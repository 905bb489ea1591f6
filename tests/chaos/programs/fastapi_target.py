"""A FastAPI service that notes what it executes."""

from fastapi import FastAPI, Request
from ledger import ORIGIN, note, ready  # type: ignore[import-not-found]

from orthros_client import Verifier
from orthros_client.integrations.starlette import OrthrosMiddleware, Route

app = FastAPI()
app.add_middleware(
    OrthrosMiddleware,
    verifier=Verifier.from_environment(),
    origins=[ORIGIN],
    routes=[Route("/health", public=True)],
)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/orders/{name}")
async def show(name: str) -> dict[str, str]:
    done: dict[str, str] = note("GET", name)
    return done


@app.post("/orders")
async def place(request: Request) -> dict[str, str]:
    order = await request.json()
    done: dict[str, str] = note("POST", order["name"])
    return done


ready()
