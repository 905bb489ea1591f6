"""A verifier in a process of its own: each line in is a request, each line out says what became of it.

With --offline, anything that has to do with a socket raises, from before the first import of Orthros.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def forbid_sockets(event: str, _arguments: object) -> None:
    if event.startswith("socket."):
        raise PermissionError(f"this process has no network: {event}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", required=True)
    parser.add_argument("--replay")
    parser.add_argument("--offline", action="store_true")
    options = parser.parse_args()
    if options.offline:
        sys.addaudithook(forbid_sockets)

    from orthros_client import Verifier

    verifier = Verifier.from_file(options.key, replay=options.replay)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(verifier, json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(verifier: Any, question: dict[str, Any]) -> dict[str, Any]:
    from orthros_client import OrthrosError

    if "network" in question:
        return network()
    try:
        caller = verifier.accept(bytes.fromhex(question["request"]), question["endpoint"], question["payload"].encode())
        caller.require(*question.get("require", ()))
    except OrthrosError as error:
        return {"code": error.code, "reply": (error.reply or b"").hex()}
    return {
        "code": "accepted",
        "client": str(caller.client),
        "scopes": sorted(caller.scopes),
        "reply": caller.reply.hex(),
    }


def network() -> dict[str, Any]:
    """What this process can reach: the interfaces that it sees, and whether it may have a socket."""
    import socket

    interfaces = [line.split(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]]
    try:
        socket.socket().close()
    except PermissionError:
        return {"sockets": False, "interfaces": interfaces}
    return {"sockets": True, "interfaces": interfaces}


if __name__ == "__main__":
    main()
