"""A response that proves nothing: the error for it, with what is most likely behind it.

A guess by the head, and by what a short body says. Nothing of either is verified, so the words are this module's own;
taken over are only a code, a reference and a server's name, each in a form that cannot hold a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from attrs import field, frozen

from orthros_client.credentials.pending_call import PendingCall
from orthros_client.errors import Malformed, PeerMisbehaved
from orthros_client.http.client.origins import Origin
from orthros_client.reasons import RESPONSE_UNPROVEN
from orthros_protocol.exchanges.http_profile import HttpResponse, parse_challenge
from orthros_protocol.primitives.http_fields import stated_length
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.ticket import peek_unverified_header

__all__ = ["Addressed", "ResponseUnproven", "raise_refusal", "unproven"]

MOST_HEARD_BYTES: Final = 4096
_CODE: Final = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_REFERENCE: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_SERVER: Final = re.compile(rb"[A-Za-z0-9._-]{1,30}(?:/[A-Za-z0-9._-]{1,20})?")
# The realm in the challenge of an endpoint that demands a caller without any middleware; see `exchange.answer_in`.
_NO_MIDDLEWARE: Final = "none"
_OF_A_PROXY: Final = (502, 503, 504)
_TOO_LARGE: Final = (413, 414, 431)
_NOT_TO_USE: Final = "Do not use the response."
_INSTALL: Final = "`app.add_middleware(OrthrosMiddleware, verifier=..., origins=[...])`"


@frozen(kw_only=True)
class Addressed:
    """What was asked of whom, and with which ticket: for words alone."""

    method: str
    origin: Origin
    target: Principal
    ticket: bytes = field(repr=False)

    @property
    def kvno(self) -> int:
        """Under which version of the target's key the ticket is sealed, as it says itself."""
        return peek_unverified_header(self.ticket).kvno

    def __str__(self) -> str:
        return f"{self.method} {self.origin}"


@frozen(kw_only=True)
class _Said:
    """What a body says of itself, as far as it has the form of an Orthros service's answers."""

    error: str = ""
    code: str = ""
    reference: str = ""

    @classmethod
    def of(cls, body: bytes) -> _Said:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(found, dict):
            return cls()
        code, error = _matching(_CODE, found.get("code")), str(found.get("error", ""))[:64]
        return cls(error=error, code=code, reference=_matching(_REFERENCE, found.get("reference")))

    @property
    def where(self) -> str:
        """Where the service's log says more."""
        return f"the line with reference {self.reference}" if self.reference else "the line `refused` of this moment"


_Guess = tuple[str, str]
"""What is likely behind an answer, likelier first, and the remedy."""


class ResponseUnproven(PeerMisbehaved):
    """No proof that the response is the target's answer to this request.

    `detail` says what came and what is likely behind it, `remedy` what mends that. With `wants_body`, the body of the
    response says more: hand it to `hear`.
    """

    def __init__(
        self, detail: str, remedy: str = "", *, wants_body: bool = False, guess: Callable[[_Said], _Guess] | None = None
    ) -> None:
        super().__init__(RESPONSE_UNPROVEN, detail)
        self.wants_body = wants_body
        self.advice = f"{_NOT_TO_USE} {remedy}" if remedy else ""
        self._came = detail
        self._guess = guess
        self._look(_Said())

    def hear(self, body: bytes) -> None:
        """Takes what the body of the response says of itself into account. It proves nothing."""
        if self.wants_body:
            self._look(_Said.of(body[:MOST_HEARD_BYTES]))

    def _look(self, said: _Said) -> None:
        if self._guess is not None:
            likely, remedy = self._guess(said)
            self.detail, self.advice = f"{self._came}: {likely}", f"{_NOT_TO_USE} {remedy}"


def unproven(detail: str, remedy: str = "") -> ResponseUnproven:
    """The error for everything that is not this target's answer to this request."""
    return ResponseUnproven(detail, remedy)


def raise_refusal(call: PendingCall, response: HttpResponse, to: Addressed) -> NoReturn:
    """Raises the refusal that the response proves, else ResponseUnproven."""
    where = f"{to}: status {response.status}"
    challenges = [value for value in response.values_of("www-authenticate") if value.lower().startswith(b"orthros ")]
    if response.status < 400 or len(challenges) != 1:
        raise _guessed(f"{where} without Orthros-Reply", response, lambda said: _without_challenge(response, to, said))
    try:
        challenge = parse_challenge(challenges[0].decode("latin-1"))
    except Malformed as error:
        raise unproven(f"{where}: {error.detail}") from None
    if challenge.reply is None:
        word = f", which says {challenge.code}" if challenge.code else ""
        refused = f"{where}{word}; the refusal carries no proof"
        raise _guessed(refused, response, lambda said: _with_challenge(challenge.realm, to, said))
    try:
        call.finish(challenge.reply)
    except PeerMisbehaved as error:
        raise unproven(f"{where}: {error.detail or error.cause}") from error
    raise unproven(f"{where}: an acceptance in the place of a refusal")


def _guessed(came: str, response: HttpResponse, guess: Callable[[_Said], _Guess]) -> ResponseUnproven:
    kind = response.values_of("content-type")
    size = stated_length(response.values_of("content-length"))
    is_json = len(kind) == 1 and kind[0].partition(b";")[0].strip().lower() == b"application/json"
    # A transfer coding overrides the length, and has no end that the head tells.
    is_plain = not (response.values_of("content-encoding") or response.values_of("transfer-encoding"))
    is_short = size is not None and size <= MOST_HEARD_BYTES and is_plain
    return ResponseUnproven(came, wants_body=is_json and is_short, guess=guess)


def _without_challenge(response: HttpResponse, to: Addressed, said: _Said) -> _Guess:
    """Nobody with Orthros, or a service that found the request malformed: it tells strangers no more."""
    authority = str(to.origin).partition("://")[2]
    if response.status == 400 and said.code == "malformed":
        return (
            f"an Orthros service takes the request for malformed: likelier {authority} is none of its origins, or a "
            "proxy sent it another Host; else a proxy changed the path, or added, renamed or removed headers",
            f"At the service, {said.where} in its log says which: call it by one of its `origins`, or add "
            f'"{to.origin}" to them. A proxy must pass Host on (nginx: `proxy_set_header Host $http_host`).',
        )
    if said.error == "temporarily_unavailable" and said.reference:
        return (
            "the service cannot verify its callers at the moment",
            f"At the service, {said.where} in its log says why (`verifier-failed`).",
        )
    found = response.values_of("server")
    name = found[0].partition(b" ")[0] if len(found) == 1 else b""
    server = f" ({name.decode('ascii')})" if _SERVER.fullmatch(name) else ""
    if response.status in _OF_A_PROXY:
        return (
            f"a proxy{server} answered: likelier it cannot reach the service behind it; else the service ended the "
            "connection, or did not answer in time, and may have executed the request",
            "Start the service, or correct the proxy's address of it. Before you repeat a call that changes something, "
            "find out at the service whether it was executed.",
        )
    if response.status in _TOO_LARGE:
        return (
            f"likelier a proxy{server} takes no request of this size; else a server in front of the service",
            "Raise its limit for bodies (nginx: `client_max_body_size`) or for headers (nginx: "
            "`large_client_header_buffers 4 32k`).",
        )
    missing = "the application there has no Orthros middleware, or has it inside of what answered"
    another = f"another server{server} is at this address"
    likely = f"likelier {missing}; else {another}" if response.status < 400 else f"likelier {another}; else {missing}"
    return (
        f"nothing in it is of Orthros: {likely}",
        f"`curl -si {to.origin}/` shows 401 and `WWW-Authenticate: Orthros` when {to.target.name} is there. If not, "
        f"correct host and port, or install the middleware at the service: {_INSTALL}.",
    )


def _with_challenge(realm: str, to: Addressed, said: _Said) -> _Guess:
    """A service with Orthros that could not verify the credentials, or got none."""
    if realm == _NO_MIDDLEWARE:
        return (
            "the endpoint demands a caller, but the application there has no Orthros middleware",
            f"At the service, install it outermost: {_INSTALL}.",
        )
    if realm != to.target.realm:
        return (
            f"a service of the realm {realm} answered, and {to.target.name} is of {to.target.realm}",
            f"Correct host and port, or the target that this client has at {to.origin}.",
        )
    if said.code == "credentials-missing":
        return (
            "an Orthros service got no credentials: something between removed the Authorization header",
            "Let the proxies between pass Authorization on (nginx: no `proxy_set_header Authorization`).",
        )
    return (
        f"an Orthros service cannot open the ticket for {to.target}, sealed under key version {to.kvno}: likelier its "
        "key file is of another service or has other versions; else something between changed the Authorization header",
        f"At the service, {said.where} in its log names the key that it holds. `orthros-admin key export "
        f"{to.target.name} --verify-only --out FILE` writes the right file; restart the service with it. If the "
        f"service is not {to.target.name}, correct host and port, or the target that this client has at {to.origin}. "
        "If that version was retired, wait for a new ticket.",
    )


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
