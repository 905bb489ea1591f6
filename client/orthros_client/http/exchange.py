"""One request and its response between a server and an application, for whichever interface carries them.

Ties guard, body and reply together, and keeps the refusal that came up on the way. Does no I/O.
"""

from __future__ import annotations

from typing import Final

from orthros_client.http.answers import Answer, failed, refuse, seal_answer
from orthros_client.http.bodies import BodyCheck, RequestBodyMismatch
from orthros_client.http.callers import Caller
from orthros_client.http.guard import Admitted, Denied, Guard
from orthros_client.http.responses import ReplyWriter
from orthros_client.http.routes import ORTHROS
from orthros_protocol import Refused

__all__ = ["EXCHANGE", "Exchange", "answer_in", "refusal_in", "require_in"]

# What this program's own credentials, files and dischargers ran into; of a caller it is said with a proof.
_OWN_TROUBLE: Final = frozenset({
    "discharge-mismatch", "discharger-unknown", "excluded-by-your-caveat", "exact-not-possible", "ticket-expired",
})  # fmt: skip
EXCHANGE = "orthros.exchange"
"""Where a middleware leaves the exchange: a key of the ASGI scope and of the WSGI environ."""


class Exchange:
    """What a middleware keeps for one request. `caller` is None on public routes and when merely observed."""

    def __init__(self, guard: Guard, admitted: Admitted) -> None:
        self._guard = guard
        self._admitted = admitted
        self.observing = guard.observing
        self.caller: Caller | None = admitted.caller
        self.body = BodyCheck(sha256=admitted.sha256, size=admitted.length, checked=admitted.checks_body)
        self.reply = ReplyWriter(
            admitted.caller,
            method=admitted.request.method,
            covers=admitted.route.reply_covers,
            hold_bytes=guard.hold_bytes,
            stream=admitted.route.stream_responses,
        )
        self.refusal: Denied | None = None

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
    def traceparent(self) -> str | None:
        """What the request says of its trace."""
        return self._admitted.request.traceparent

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
        if self.is_spoilt:
            raise self._refuse_body()

    def cut(self) -> None:
        """The connection ended before the body did."""
        before = self.body.mismatch
        self.body.cut()
        if self.body.mismatch is not None and before is None:
            self._refuse_body()

    def _refuse_body(self) -> RequestBodyMismatch:
        detail = self.body.mismatch or ""
        reply = None if self.caller is None else self.caller.refusal("body-mismatch", detail).reply
        error = RequestBodyMismatch(detail, reply=reply)
        self.refuse(error)
        return error

    def refuse(self, error: Refused, scopes: tuple[str, ...] = ()) -> None:
        """From now on the answer is a refusal, unless one was due before, or refusals are merely observed."""
        if self.refusal is None:
            denied = self._guard.deny(self._admitted, error, scopes)
            if not self.observing:
                self.refusal = denied

    def answer_to(self, error: Refused) -> Answer:
        """The answer to a refusal that nobody caught: the one that is due, else that of `error` itself."""
        if self.refusal is None:
            self.refusal = self._guard.deny(self._admitted, error)
        return self.refusal.answer

    def failure(self) -> Answer:
        """The answer when the application failed: proven, since its caller would take any other for an attack."""
        return seal_answer(failed(), self.caller, self._admitted.request.method)

    def require(self, *scopes: str) -> Caller | None:
        """The caller, if it has all of `scopes`. Raises Refused otherwise; merely counts when observing."""
        caller = self.caller
        try:
            if caller is None:
                raise Refused("credentials-missing", "this part of the service needs a verified caller")
            caller.require(*scopes)
        except Refused as error:
            self.refuse(error, scopes)
            if not self.observing:
                raise
        return caller


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
    raise Refused("credentials-missing", "no Orthros middleware is installed around this application")


def answer_in(exchange: object, error: Refused) -> Answer:
    """`Exchange.answer_to` of what a middleware left behind; without a middleware, the same unproven."""
    if isinstance(exchange, Exchange):
        return exchange.answer_to(error)
    return refuse(error, realm="none", schemes=(), presented=None, ref="none")
