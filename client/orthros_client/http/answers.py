"""Refusals as HTTP answers: status, challenge and a JSON explanation, each told to whom it may be told.

Whoever has proven a key learns the reason, everybody else a reference that finds it in the service's log. Sources:
RFC 6750 section 3, RFC 9110 section 11.6.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve, field, frozen

from orthros_client.http.callers import Caller
from orthros_client.http.routes import BEARER, ORTHROS
from orthros_protocol import HttpResponse, Malformed, OrthrosError, Refused, format_challenge
from orthros_protocol.derivation import digest

__all__ = ["Answer", "explain", "failed", "json_answer", "refuse", "seal_answer", "unavailable", "upgrade_refused"]

# 403: the caller is known, and this very call is not for it. 401: other credentials, or better ones, would do.
_STATUS: Final = {
    "insufficient-scope": 403, "vetoed": 403, "user-not-accepted": 403, "chain-refused": 403, "caveat-refused": 403,
    "caveat-unsupported": 403, "caveat-not-carried": 403, "evidence-refused": 403, "discharge-refused": 403,
    "body-mismatch": 400,
}  # fmt: skip
_UNTOLD: Final = "The credentials of this request could not be verified."
# The characters that RFC 6750 allows in error_description.
_NOT_TOLD = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


@frozen(kw_only=True)
class Answer:
    """A whole response. Header names are in lower case."""

    status: int
    headers: tuple[tuple[str, bytes], ...]
    body: bytes = field(repr=False)


def json_answer(status: int, challenges: Sequence[str], content: dict[str, Any]) -> Answer:
    """`content` as JSON that nobody stores, with a WWW-Authenticate header for each of `challenges`."""
    body = json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"
    headers = [("content-type", b"application/json"), ("cache-control", b"no-store")]
    headers.append(("content-length", str(len(body)).encode("ascii")))
    headers += [("www-authenticate", challenge.encode("ascii")) for challenge in challenges]
    return Answer(status=status, headers=tuple(headers), body=body)


def _plain(text: str) -> str:
    return _NOT_TOLD.sub("'", text)


def _bearer_challenge(realm: str, error: str = "", description: str = "", scopes: Sequence[str] = ()) -> str:
    parts = {"realm": realm, "error": error, "error_description": description, "scope": " ".join(scopes)}
    return "Bearer " + ", ".join(f'{name}="{_plain(value)}"' for name, value in parts.items() if value)


def explain(error: OrthrosError) -> str:
    """What went wrong, as one or two sentences."""
    return _plain(f"{error.cause} ({error.detail})" if error.detail else error.cause)


def refuse(
    error: OrthrosError,
    *,
    realm: str,
    schemes: Sequence[str],
    presented: str | None,
    scopes: Sequence[str] = (),
    ref: str,
) -> Answer:
    """The answer to a request that is refused for `error`.

    `schemes` are what the route accepts, `presented` is what the request used, `scopes` what the call needs; `ref`
    finds the log line. Raises nothing: an error that is no refusal is told as one that proves nothing.
    """
    told = {"code": error.code, "remedy": _plain(error.remedy), "reference": ref}
    if error.code == "credentials-missing":
        challenges = [format_challenge(realm) if one == ORTHROS else _bearer_challenge(realm) for one in schemes]
        return json_answer(401, challenges, {"error": "unauthorized", "error_description": explain(error), **told})
    if isinstance(error, Malformed):
        # What is said of the request's own shape is no secret, and shown to whoever sent it.
        challenges = [] if presented != BEARER else [_bearer_challenge(realm, "invalid_request", explain(error))]
        return json_answer(400, challenges, {"error": "invalid_request", "error_description": explain(error), **told})
    proven = isinstance(error, Refused) and (presented == BEARER or error.reply is not None)
    if not proven:
        content = {"error": "invalid_token", "error_description": _UNTOLD, "reference": ref}
        challenge = format_challenge(realm) if presented == ORTHROS else _bearer_challenge(realm, "invalid_token")
        return json_answer(401, [challenge], content)
    status = _STATUS.get(error.code, 401)
    name = {400: "invalid_request", 401: "invalid_token", 403: "access_denied"}[status]
    if error.code == "insufficient-scope":
        name = "insufficient_scope"
    content = {"error": name, "error_description": explain(error), **told}
    if scopes and status == 403:
        content["scope"] = " ".join(scopes)
    if presented == BEARER:
        challenge = _bearer_challenge(realm, name, explain(error), scopes if status == 403 else ())
    else:
        challenge = format_challenge(realm, error.code, error.reply)
    return json_answer(status, [challenge], content)


def unavailable(ref: str) -> Answer:
    """The answer when this side cannot verify anything: nobody learns why but the log."""
    content = {
        "error": "temporarily_unavailable",
        "error_description": "This service cannot verify its callers at the moment.",
        "reference": ref,
    }
    return json_answer(503, [], content)


def upgrade_refused(ref: str) -> Answer:
    """The answer to a websocket, whose messages nothing proves."""
    content = {
        "error": "access_denied",
        "error_description": "Websockets are served on public routes only.",
        "reference": ref,
    }
    return json_answer(403, [], content)


def failed() -> Answer:
    """The answer when the application raised before it answered."""
    return json_answer(500, [], {"error": "server_error", "error_description": "The application failed."})


def seal_answer(answer: Answer, caller: Caller | None, method: str) -> Answer:
    """`answer` with the proof that an Orthros caller wants of every response to a request that was accepted."""
    if caller is None:
        return answer
    body = b"" if method == "HEAD" else answer.body
    proof = caller.seal_http(
        HttpResponse(status=answer.status, headers=answer.headers), covered=("content-type",), body_digest=digest(body)
    )
    if proof is None:
        return answer
    return evolve(answer, headers=(*answer.headers, ("orthros-reply", proof.encode("ascii"))))
