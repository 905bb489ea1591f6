"""A target without a network that takes both: tickets with its key file, JWTs with its JWK and PyJWT.

Each line in is a request or a token, each line out says what became of it. Anything that has to do with a socket
raises, from before the first import of Orthros.
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
    for name in ("key", "jwk", "audience", "issuer"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    sys.addaudithook(forbid_sockets)

    import jwt

    from orthros_client import Verifier

    verifier = Verifier.from_file(options.key)
    key = jwt.PyJWK(json.loads(Path(options.jwk).read_text("utf-8")))
    for line in sys.stdin:
        question = json.loads(line)
        if "token" in question:
            answer = jwt.decode(
                question["token"], key, [key.algorithm_name], audience=options.audience, issuer=options.issuer
            )
        else:
            answer = accept(verifier, question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def accept(verifier: Any, question: dict[str, str]) -> dict[str, Any]:
    from orthros_client import OrthrosError

    try:
        caller = verifier.accept(bytes.fromhex(question["request"]), "orders/get", b"{}")
    except OrthrosError as error:
        return {"code": error.code, "reply": (error.reply or b"").hex()}
    said = {"client": str(caller.client), "scopes": sorted(caller.scopes), "reply": caller.reply.hex()}
    return {"code": "accepted", **said}


if __name__ == "__main__":
    main()
