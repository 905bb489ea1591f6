"""A process of a client, which calls when it is told to: a JSON object a line, and one back.

`{"method": "GET", "name": "a1", "new": false}` is answered with `{"failure": "", "words": ""}`; `new`: with a client
that knows nothing yet. Arguments: the daemon's socket and the port of the target. Waits with the event loop alone:
under libfaketime, sleeping fails.
"""

import asyncio
import json
import sys
from typing import Any

import httpx

from orthros_client import AsyncClient, OrthrosError
from orthros_client.integrations.httpx_auth import OrthrosAuth

ORIGIN = "http://orders.example"


class _Wire(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host="127.0.0.1", port=int(sys.argv[2]))
        return await super().handle_async_request(request)


def opened() -> httpx.AsyncClient:
    client = AsyncClient(sys.argv[1], 5.0)
    return httpx.AsyncClient(auth=OrthrosAuth({ORIGIN: "orders"}, client=client), transport=_Wire(), timeout=10.0)


async def outcome(http: httpx.AsyncClient, told: dict[str, Any]) -> dict[str, str]:
    headers = {"Connection": "close"}
    try:
        if told["method"] == "GET":
            answer = await http.get(f"{ORIGIN}/orders/{told['name']}", headers=headers)
        else:
            answer = await http.post(f"{ORIGIN}/orders", json={"name": told["name"]}, headers=headers)
    except OrthrosError as error:
        return {"failure": error.code, "words": str(error)}
    except httpx.HTTPError as error:
        return {"failure": type(error).__name__, "words": str(error)}
    return {"failure": "" if answer.status_code == httpx.codes.OK else str(answer.status_code), "words": ""}


async def main() -> None:
    http = opened()
    for line in sys.stdin:  # nothing else is to be done meanwhile
        told = json.loads(line)
        http = opened() if told.get("new") else http
        print(json.dumps(await outcome(http, told)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
