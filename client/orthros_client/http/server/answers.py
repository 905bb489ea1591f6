"""Refusals as HTTP answers: status, challenge and a JSON explanation, each told to whom it may be told.

Whoever has proven a key learns the reason, everybody else a reference that finds it in the service's log. Sources:
RFC 6750 section 3, RFC 9110 section 11.6.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from attrs import evolve, field, frozen

from orthros_client.http.server.callers import Caller
from orthros_client.http.server.routes import BEARER, ORTHROS
from orthros_protocol.errors import Malformed, OrthrosError, Refused
from orthros_protocol.exchanges.http_profile import HttpResponse, format_challenge
from orthros_protocol.primitives.derivation import digest

__all__ = [
    "ROWS",
    "Answer",
    "Challenge",
    "Proof",
    "Row",
    "explain",
    "failed",
    "json_answer",
    "refuse",
    "seal_answer",
    "unavailable",
    "upgrade_refused",
]


class Challenge(StrEnum):
    """What `WWW-Authenticate` says."""

    NONE = "none"
    SCHEMES = "one for each scheme of the route"
    BARE = "without `err`"
    CODE = "with `err`, and the AP-ERR"


class Proof(StrEnum):
    """What a caller with a ticket can prove of the answer."""

    NONE = "nothing"
    CHALLENGE = "the code, by the AP-ERR"
    REPLY = "the code, by the AP-ERR; the whole response, by `Orthros-Reply`"
    RESPONSE = "the whole response, by `Orthros-Reply`"


@frozen
class Row:
    """How one reason is answered. `code` is None where the answer names none; `error` is that of the JSON body."""

    reason: str
    status: int
    error: str
    challenge: Challenge
    proof: Proof
    code: str | None = None


def _proven(status: int, error: str, proof: Proof, *codes: str) -> list[Row]:
    return [Row(code, status, error, Challenge.CODE, proof, code) for code in codes]


_OWN: Final = "another code that a service's own rule chose"
ROWS: Final = (
    # Before anybody has proven anything.
    Row("credentials-missing", 401, "unauthorized", Challenge.SCHEMES, Proof.NONE, "credentials-missing"),
    Row("malformed", 400, "invalid_request", Challenge.NONE, Proof.NONE, "malformed"),
    *[
        Row(reason, 401, "invalid_token", Challenge.BARE, Proof.NONE)
        for reason in (
            "malformed, within the AP-REQ or the ticket",
            "unknown-key",
            "wrong-ticket-type",
            "box-unopened",
            "wrong-mac",
            "token-invalid",
        )
    ],
    # 401: other credentials, another signature, or the same in a while would do. `busy` and `quota` are no 503 and no
    # 429: proxies and HTTP libraries repeat those by themselves, below the authenticator, and what they send again is
    # the same request, which is `replayed` or executed twice. No answer here has a Retry-After.
    # The challenge is the whole proof: a client acts on it and drops the body.
    *_proven(
        401,
        "invalid_token",
        Proof.CHALLENGE,
        "epoch-required",
        "not-repeatable",
        "too-far-ahead",
        "clock-skew",
        "replayed",
        "quota",
        "busy",
        "clock-unsafe",
        "ticket-expired",
        "ticket-times-invalid",
        "revoked",
        "unsupported-critical",
        "wrong-binding",
        "not-covered",
        "discharge-mismatch",
        _OWN,
    ),
    # 403: the caller is known, and this very call is not for it: so the verifier says, ...
    *_proven(
        403,
        "access_denied",
        Proof.CHALLENGE,
        "caveat-refused",
        "caveat-unsupported",
        "chain-refused",
        "user-not-accepted",
    ),
    # ... or who looks at a request that the verifier has accepted, and so can prove the whole answer.
    *_proven(403, "insufficient_scope", Proof.REPLY, "insufficient-scope"),
    *_proven(
        403, "access_denied", Proof.REPLY, "vetoed", "evidence-refused", "caveat-not-carried", "discharge-refused"
    ),
    *_proven(400, "invalid_request", Proof.REPLY, "body-mismatch"),
    # Neither is a refusal of the caller.
    Row("a websocket, on a route that is not public", 403, "access_denied", Challenge.NONE, Proof.NONE),
    Row("the verifier or a hook failed", 503, "temporarily_unavailable", Challenge.NONE, Proof.NONE),
    Row("the application failed before it answered", 500, "server_error", Challenge.NONE, Proof.RESPONSE),
)
"""Every answer that a service gives instead of its application: docs/protocol/http.md has this table."""

_BY_REASON: Final = {row.reason: row for row in ROWS}
_MISSING, _SHAPE, _UNPROVEN, *_REST, _WEBSOCKET, _BROKEN, _FAILED = ROWS
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


def _offers(realm: str, schemes: Sequence[str]) -> list[str]:
    return [format_challenge(realm) if one == ORTHROS else _bearer_challenge(realm) for one in schemes]


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
        content = {"error": _MISSING.error, "error_description": explain(error), **told}
        return json_answer(_MISSING.status, _offers(realm, schemes), content)
    if isinstance(error, Malformed):
        # What is said of the request's own shape is no secret, and shown to whoever sent it.
        challenges = [] if presented != BEARER else [_bearer_challenge(realm, _SHAPE.error, explain(error))]
        return json_answer(
            _SHAPE.status, challenges, {"error": _SHAPE.error, "error_description": explain(error), **told}
        )
    if not isinstance(error, Refused) or (presented != BEARER and error.reply is None):
        content = {"error": _UNPROVEN.error, "error_description": _UNTOLD, "reference": ref}
        if presented == BEARER:
            return json_answer(_UNPROVEN.status, [_bearer_challenge(realm, _UNPROVEN.error)], content)
        return json_answer(_UNPROVEN.status, _offers(realm, schemes if presented is None else [presented]), content)
    row = _BY_REASON.get(error.code, _BY_REASON[_OWN])
    content = {"error": row.error, "error_description": explain(error), **told}
    if scopes and row.status == 403:
        content["scope"] = " ".join(scopes)
    if presented == BEARER:
        challenge = _bearer_challenge(realm, row.error, explain(error), scopes if row.status == 403 else ())
    else:
        challenge = format_challenge(realm, error.code, error.reply)
    return json_answer(row.status, [challenge], content)


def unavailable(ref: str) -> Answer:
    """The answer when this side cannot verify anything: nobody learns why but the log."""
    words = "This service cannot verify its callers at the moment."
    return json_answer(_BROKEN.status, [], {"error": _BROKEN.error, "error_description": words, "reference": ref})


def upgrade_refused(ref: str) -> Answer:
    """The answer to a websocket, whose messages nothing proves."""
    words = "Websockets are served on public routes only."
    return json_answer(_WEBSOCKET.status, [], {"error": _WEBSOCKET.error, "error_description": words, "reference": ref})


def failed() -> Answer:
    """The answer when the application raised before it answered."""
    return json_answer(_FAILED.status, [], {"error": _FAILED.error, "error_description": "The application failed."})


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
