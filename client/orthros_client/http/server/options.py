"""The options of a guard and of every middleware: each has its name, its type and its words here, and nowhere else.

Knows neither framework nor request. Without postponed annotations, because `Required` is read when the class is made.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, Required, TypedDict

from orthros_client.http.server.callers import Caller
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.refusal_log import Log
from orthros_client.http.server.routes import Route
from orthros_client.verifier import Verifier

__all__ = ["Bearers", "GuardOptions", "Hook"]

Hook = Callable[[Caller, IncomingRequest], object]
"""Returns None, or raises Refused (see `Caller.refusal`, code `vetoed`) to veto a request that passed every check."""


class Bearers(Protocol):
    """Verifies bearer tokens: `orthros_client.verifier.bearer.BearerVerifier`."""

    @property
    def audience(self) -> str: ...

    def accept(self, token: str, *, accept_user: bool = False) -> Caller:
        """The caller that the token names. Raises PeerMisbehaved `token-invalid` or Refused."""
        ...


class GuardOptions(TypedDict, total=False):
    """What a service wants of the requests that it serves. All but `origins` may be left out.

    origins: the names that this service answers to, such as `https://orders.example`; a Host header that is none of
        them is refused. X-Forwarded-Host and -Proto are never looked at.
    verifier: for Orthros credentials. Without it and without `bearer`, `Verifier.from_environment()`.
    bearer: for JWTs, on routes that accept them.
    routes: settings by path; what no route names demands Orthros credentials, and no scope.
    mode: `enforce`, the default, or `observe`, which logs and counts what it would refuse, and lets it pass without a
        caller; callers that prove a ticket are still told the epoch and the time that they need, as they repeat the
        call by themselves.
    trusted_proxies: networks whose X-Forwarded-For is believed, in CIDR form; for caveats on the peer only.
    on_verify: asked last, for each verified request; may raise Refused. Must not be a coroutine function.
    hold_bytes: responses up to this size are held until their body can be proven; None: 1 MiB.
    log: a structlog logger, or anything like it; None: `orthros.http`.
    """

    origins: Required[Iterable[str]]
    verifier: Verifier | None
    bearer: Bearers | None
    routes: Iterable[Route]
    mode: str
    trusted_proxies: Iterable[str]
    on_verify: Hook | None
    hold_bytes: int | None
    log: Log | None
