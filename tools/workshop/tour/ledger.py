"""The service `ledger`: HTTP with the standard library, checks JWTs with stock PyJWT.

Knows a key, an audience and an issuer, and imports no line of Orthros: run it as a file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt

__all__ = ["main"]


class _Ledger(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, key: jwt.PyJWK, audience: str, issuer: str) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.key, self.audience, self.issuer = key, audience, issuer


class _Page(BaseHTTPRequestHandler):
    server: _Ledger
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def do_POST(self) -> None:  # the name that http.server calls
        stated = self.headers.get("Content-Length") or "0"
        self.rfile.read(int(stated) if re.fullmatch(r"[0-9]{1,6}", stated) else 0)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        try:
            claims = jwt.decode(
                token if scheme == "Bearer" else "",
                self.server.key,
                algorithms=["HS256"],
                audience=self.server.audience,
                issuer=self.server.issuer,
                leeway=5,  # seconds by which this clock may differ from the KDC's
            )
        except jwt.InvalidTokenError as error:
            self._answer(401, {"error": type(error).__name__, "detail": str(error)})
            return
        if "post" not in claims["scope"].split():
            self._answer(403, {"error": "insufficient_scope", "detail": "this needs the scope post"})
            return
        self._answer(200, {"booked": True, "caller": claims["sub"], "scope": claims["scope"]})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that http.server uses
        print(format % args, flush=True)

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> int:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(prog="ledger")
    for name in ("--key", "--audience", "--issuer"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args()
    key = jwt.PyJWK.from_dict(json.loads(Path(arguments.key).read_text("ascii")))
    with _Ledger(key, arguments.audience, arguments.issuer) as server:
        borrowed = sum(name.startswith("orthros") for name in sys.modules)
        print(f"ledger ready at 127.0.0.1:{server.server_port}, {borrowed} modules of Orthros loaded", flush=True)
        server.serve_forever(poll_interval=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
