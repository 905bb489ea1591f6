"""The service `orders`: answers framed requests over TCP, and checks each caller by itself, offline.

Knows its own verify-only key file; neither the KDC nor any caller. One call is three frames: operation,
AP-REQ, payload; the answer is the AP-REP and the payload, or the AP-ERR alone, or nothing for bytes that
prove nothing. Each line of its log is a JSON object on standard output.
"""

from __future__ import annotations

import argparse
import json
import socketserver
import sys
from collections.abc import Iterator
from typing import Final

from orthros_client import OrthrosError, VerifiedCaller, Verifier
from orthros_protocol import FrameReader, frame

__all__ = ["NEEDED_SCOPES", "main"]

NEEDED_SCOPES: Final = {"orders/get": "read", "orders/cancel": "write"}
_READ_BYTES: Final = 64 * 1024
_SILENT_S: Final = 30.0


class _Conversation(socketserver.BaseRequestHandler):
    server: _Orders

    def handle(self) -> None:
        self.request.settimeout(_SILENT_S)
        try:
            messages = self._messages()
            for operation in messages:
                answer = self._answer(operation.decode("ascii"), next(messages), next(messages))
                if not answer:
                    return  # nothing to say to somebody who proved nothing
                self.request.sendall(b"".join(map(frame, answer)))
        except (OSError, OrthrosError, UnicodeDecodeError, StopIteration) as error:
            _log("dropped", error=type(error).__name__)

    def _messages(self) -> Iterator[bytes]:
        reader = FrameReader()
        while data := self.request.recv(_READ_BYTES):
            reader.feed(data)
            yield from reader.messages()

    def _answer(self, operation: str, request: bytes, payload: bytes) -> list[bytes]:
        try:
            caller = self.server.verifier.accept(request, operation, payload)
            caller.require(NEEDED_SCOPES[operation])
        except OrthrosError as error:
            event = "asked again" if error.code == "epoch-required" else "refused"
            _log(event, code=error.code, detail=error.detail, cause=error.cause, remedy=error.remedy)
            return [] if error.reply is None else [error.reply]
        _log("accepted", caller=str(caller.client), scopes=sorted(caller.scopes), operation=operation)
        return [caller.reply, _do(operation, payload, caller)]


class _Orders(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], verifier: Verifier) -> None:
        super().__init__(address, _Conversation)
        self.verifier = verifier


def _do(operation: str, payload: bytes, caller: VerifiedCaller) -> bytes:
    """The business of this service."""
    order = json.loads(payload)["order"]
    state = "cancelled" if operation == "orders/cancel" else "packed"
    return json.dumps({"order": order, "state": state, "for": str(caller.client)}).encode()


def _log(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def main() -> int:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(prog="orders")
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    try:
        verifier = Verifier.from_file(arguments.key)
    except OrthrosError as error:
        print(f"orders: {error}", file=sys.stderr)
        return 1
    with _Orders(("127.0.0.1", 0), verifier) as server:
        _log("ready", address=f"127.0.0.1:{server.server_address[1]}", key=repr(verifier))
        server.serve_forever(poll_interval=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
