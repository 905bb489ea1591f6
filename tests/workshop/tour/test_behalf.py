"""The second half of the demo, without its processes: what it adds to the realm, and how its services tell refusals."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from orthros_client import Refused, TargetRefusal
from orthros_protocol.primitives.instants import Timestamp
from orthros_tools.admin.__main__ import main as orthros_admin
from workshop.tour.behalf.house import ADDED, CALLERS
from workshop.tour.explained import pass_on_refusals

EXPORTED = """\
version = 1
realm = { name = 'corp.example' }

[principals.shop]
[principals.orders]
[principals.ledger]
"""


def test_what_is_added_to_the_realm_is_a_realm_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "realm.toml"
    file.write_text(EXPORTED + ADDED, encoding="utf-8")
    assert orthros_admin(["realm", "validate", str(file)]) == 0
    said = capsys.readouterr().out
    assert said == f"{file} is in order: 5 principals, 0 groups, 7 rules\n"
    for name in CALLERS:
        assert f'client = "{name}"' in ADDED, f"{name} has a daemon and no rule"


async def test_a_service_tells_who_refused_it_and_why() -> None:
    app = FastAPI(title="orders")
    pass_on_refusals(app)

    @app.get("/beyond")
    async def beyond() -> None:
        raise TargetRefusal(48, "only /invoices", target_time=Timestamp(0), epoch=bytes(8))

    @app.get("/own")
    async def own() -> None:
        raise Refused("insufficient-scope")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://orders.test") as client:
        answer = await client.get("/beyond")
        assert answer.status_code == 502
        assert (answer.json()["at"], answer.json()["code"]) == ("orders", "user-not-accepted")
        assert "(only /invoices)" in answer.json()["error_description"]
        assert answer.json()["remedy"]
        assert (await client.get("/own")).status_code == 500, "its own refusals are for the middleware"
