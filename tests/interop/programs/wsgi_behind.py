"""A WSGI service that stands behind a proxy and says how much reached it. `ORIGINS` are its origins, with spaces."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware


def tell(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SERVER_PROTOCOL']} {size}".encode()]


app = OrthrosWsgiMiddleware(tell, origins=os.environ["ORIGINS"].split())
