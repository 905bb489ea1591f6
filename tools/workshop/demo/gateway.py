"""The service `gateway`, where users come in. It says for whom it calls `orders`; rules say for whom it may."""

from __future__ import annotations

import os
from typing import Any

import httpx
from fastapi import FastAPI, Header

from orthros_client import AsyncClient
from orthros_client.integrations.httpx_auth import OrthrosAuth

ORDERS = os.environ["ORDERS"]
app = FastAPI()
auth = OrthrosAuth({ORDERS: "orders"}, client=AsyncClient(), delegable=[ORDERS])
http = httpx.AsyncClient()


@app.get("/invoices/{number}")
async def invoice(number: int, user: str = Header()) -> Any:
    """One invoice, for the user whom the gateway has logged in: here a header, which any client could write."""
    return (await http.get(f"{ORDERS}/invoices/{number}", auth=auth.on_behalf_of(f"user/{user}"))).json()
