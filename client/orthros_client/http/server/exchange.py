"""One request and its response between a server and an application, for whichever interface carries them.

Ties guard, body and reply together, and keeps the refusal that came up on the way. Does no I/O.
"""

from __future__ import annotations

from typing import Final

import structlog

from orthros_client.http.server.answers import Answer, failed, refuse, seal_answer
from orthros_client.http.server.bodies import BodyCheck, RequestBodyMismatch
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.responses import ReplyWriter
from orthros_client.http.server.routes import ORTHROS
from orthros_client.reasons import CREDENTIALS_MISSING, UNPROTECTED
from orthros_protocol.errors import Refused
from orthros_runtime.log_throttle import LogThrottle

__all__ = ["CALLER", "EXCHANGE", "Exchange", "answer_in", "most_discarded", "refusal_in", "require_in"]

_log: Final = structlog.get_logger("orthros.http")
_throttle: Final = LogThrottle()
# What this program's own credentials, files and dischargers ran into; of a caller it is said with a proof.
_OWN_TROUBLE: Final = frozenset(
    {
        "discharge-mismatch",
        "discharger-unknown",
        "excluded-by-your-caveat",
        "exact-not-possible",
        "ticket-expired",
    }
)
MOST_READ_AHEAD: Final = 64 * 1024
_MOST_OF_STRANGERS: Final = 64 * 1024
_MOST_OF_CALLERS: Final = 16 * 1024 * 1024
CALLER: Final = "orthros.caller"
EXCHANGE: Final = "orthros.exchange"
"""Where a middleware leaves the verified caller, and the exchange: keys of the ASGI scope and of the WSGI environ."""


def most_discarded(denied: Denied) -> int:
    """How much of the body of a refused request is worth reading before it is answered, in bytes.

    More of a caller that has proven its ticket, and repeats the request on the same connection if there still is one.
    """
    return _MOST_OF_CALLERS if denied.is_handshake else _MOST_OF_STRANGERS


class Exchange:
    """What a middleware keeps for one request. `caller` is None on public routes and when merely observed."""

    def __init__(self, guard: Guard, admitted: Admitted) -> None:
        self._guard = guard
        self._admitted = admitted
        self.observing = guard.observing
        self.traceparent = admitted.request.traceparent
        # It tells of refusals, because frameworks hide from a middleware what was raised.
        self.caller: Caller | None = None if admitted.caller is None else admitted.caller.telling(self._hear)
        self._heard: Refused | None = None
        self.body = BodyCheck(sha256=admitted.sha256, size=admitted.length, checked=admitted.checks_body)
        self.reply = ReplyWriter(
            admitted.caller,
            method=admitted.request.method,
            covers=admitted.route.reply_covers,
            hold_bytes=guard.hold_bytes,
            stream=admitted.route.stream_responses,
        )
        self.refusal: Denied | None = None
        self._refused_for: Refused | None = None
        self._begun = False

    @property
    def reads_ahead(self) -> bool:
        """Whether the body is so small that it is read before the application begins.

        A body that is refused then has done nothing here, and its caller is told so.
        """
        length = self._admitted.length
        small = length is not None and 0 < length <= MOST_READ_AHEAD
        return small and self._admitted.checks_body and not self.observing

    def begin(self) -> None:
        """The application sees the request from here on."""
        self._begun = True

    def received(self, data: bytes, *, more: bool) -> bytes:
        """The next piece of the request's body; returns what the application may have.

        Raises RequestBodyMismatch as soon as the body is known to be another one, and each time after that.
        """
        before = self.body.mismatch
        ready = self.body.feed(data, more=more)
        if self.observing:
            if self.body.mismatch is not None and before is None:
                self._refuse_body()
            return data
        if self.body.mismatch is not None:
            raise self._refuse_body()
        return ready

    @property
    def proves(self) -> bool:
        """Whether its caller wants a proof of every response."""
        return self.caller is not None and self.caller.scheme == ORTHROS

    @property
    def is_spoilt(self) -> bool:
        """Whether the body is known to be another one than was authorised."""
        return self.body.mismatch is not None and not self.observing

    def require_whole(self) -> None:
        """Raises RequestBodyMismatch when the body is spoilt."""
        if self.body.mismatch is not None and not self.observing:
            raise self._refuse_body()

    def cut(self) -> None:
        """The connection ended before the body did."""
        before = self.body.mismatch
        self.body.cut()
        if self.body.mismatch is not None and before is None:
            self._refuse_body()

    def _refuse_body(self) -> RequestBodyMismatch:
        detail = self.body.mismatch or ""
        caller = self._admitted.caller
        reply = None
        if caller is not None:
            reply = caller.refusal("body-mismatch", detail, before_handler=not self._begun).reply
        error = RequestBodyMismatch(detail, reply=reply)
        self.refuse(error)
        return error

    def refuse(self, error: Refused, scopes: tuple[str, ...] = ()) -> None:
        """From now on the answer is a refusal, unless one was due before, or refusals are merely observed."""
        if self.refusal is None:
            denied = self._guard.deny(self._admitted, error, scopes)
            if not self.observing:
                self.refusal, self._refused_for = denied, error

    def due(self, error: BaseException | None) -> Denied | None:
        """The refusal that is due when the application raised `error`: that of a body, or one that is behind `error`.

        A handler that caught a refusal has decided otherwise, and what fails later is its own failure.
        """
        while not self.is_spoilt and error is not self._refused_for:
            if error is None:
                return None
            error = error.__cause__ or error.__context__
        return self.refusal

    def answer_to(self, error: Refused) -> Answer:
        """The answer to a refusal that nobody caught: the one that is due, else that of `error` itself."""
        if self.refusal is None:
            self.refusal = self._guard.deny(self._admitted, error)
        return self.refusal.answer

    def answer_instead(self, status: int) -> Answer | None:
        """The answer in the place of the application's own with `status`: a refusal of its caller that became a 500.

        Frameworks that know nothing of refusals make one of every error. A handler that caught the refusal itself has
        decided otherwise; it has not left the function that asked for it, and is no reason for what comes later.
        """
        heard, self._heard = self._heard, None
        return self.answer_to(heard) if heard is not None and status >= 500 and _has_left(heard) else None

    def blame(self, error: BaseException | None) -> None:
        """The application raised `error`: a refusal that is not behind it was caught, and is forgotten."""
        while error is not None and error is not self._heard:
            error = error.__cause__ or error.__context__
        self._heard = None if error is None else self._heard

    def _hear(self, refusal: Refused) -> None:
        self._heard = refusal

    def failure(self) -> Answer:
        """The answer when the application failed: proven, since its caller would take any other for an attack."""
        return seal_answer(failed(), self.caller, self._admitted.request.method)

    def require(self, *scopes: str) -> Caller | None:
        """The caller, if it has all of `scopes`. Raises Refused otherwise; merely counts when observing."""
        caller = self.caller
        try:
            if caller is None:
                raise Refused(CREDENTIALS_MISSING, "this part of the service needs a verified caller")
            caller.require(*scopes)
        except Refused as error:
            self.refuse(error, scopes)
            if not self.observing:
                raise
        return caller


def _has_left(error: BaseException) -> bool:
    """Whether `error` was raised, and passed on by the function that called into this package."""
    place, functions = error.__traceback__, 0
    while place is not None:
        functions += not place.tb_frame.f_globals.get("__name__", "").startswith("orthros_client.")
        place = place.tb_next
    return functions > 1


def refusal_in(error: BaseException) -> Refused | None:
    """The refusal that `error` is, or that a group of nothing but refusals holds.

    Not one that the application met itself, from a KDC, from a target that it called or in credentials of its own: that
    is its own failure, and none of its caller's business.
    """
    if isinstance(error, BaseExceptionGroup):
        refusals = [refusal_in(each) for each in error.exceptions]
        return refusals[0] if all(refusals) else None
    if isinstance(error, RequestBodyMismatch):
        return error
    if type(error) is not Refused or (error.reply is None and error.code in _OWN_TROUBLE):
        return None
    return error


def require_in(exchange: object, *scopes: str) -> Caller | None:
    """`Exchange.require` of what a middleware left behind.

    Raises Refused `credentials-missing` when there was no middleware: what is not guarded is not served.
    """
    if isinstance(exchange, Exchange):
        return exchange.require(*scopes)
    refusal = Refused(CREDENTIALS_MISSING, "no Orthros middleware is installed around this application")
    about = {"detail": refusal.detail, "remedy": UNPROTECTED.remedy}
    _throttle.write(_log.error, "no-middleware", about)  # any stranger can call the endpoint
    raise refusal


def answer_in(exchange: object, error: Refused) -> Answer:
    """`Exchange.answer_to` of what a middleware left behind; without a middleware, the same unproven."""
    if isinstance(exchange, Exchange):
        return exchange.answer_to(error)
    return refuse(error, realm="none", schemes=[ORTHROS], presented=None, ref="none")
