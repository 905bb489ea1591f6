"""What a handler may ask of its caller, whichever way it was verified.

An interface and what follows from it: `VerifiedCaller` has proven a ticket, `BearerCaller` has shown a JWT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.ticket import Subject

__all__ = ["Caller", "Named", "path_before"]


class Named(Protocol):
    """Who called for whom: a `Caller`, or whoever had proven itself when its request was refused (`Presenter`)."""

    @property
    def client(self) -> Principal: ...

    @property
    def subject(self) -> Subject | None: ...

    @property
    def act(self) -> tuple[str, ...]: ...

    @property
    def transaction_id(self) -> str: ...


class Caller(Named, Protocol):
    """A caller that has been verified.

    `scheme` is `orthros` or `bearer`. `subject` is on whose behalf it calls, if anybody's, and `act` who acts for
    that subject, the present caller first. `transaction_id` follows one transaction through every hop, as hex.
    """

    @property
    def scheme(self) -> str: ...

    @property
    def scopes(self) -> frozenset[str]: ...

    def require(self, *scopes: str) -> None:
        """Raises Refused `insufficient-scope` unless the caller has all of `scopes`."""
        ...

    def refusal(self, code: Code | Reason, detail: str = "", *, before_handler: bool = False) -> Refused:
        """A Refused that this caller may be told. `before_handler`: no handler has seen the request."""
        ...

    def telling(self, told: Callable[[Refused], object]) -> Self:
        """The same caller; `told` learns of each refusal that is made for it, whatever becomes of the exception."""
        ...

    def seal_http(self, response: HttpResponse, *, covered: Sequence[str], body_digest: bytes | None) -> str | None:
        """The value of `Orthros-Reply`; None when nothing can be proven to this caller."""
        ...


def path_before(caller: Named) -> tuple[str, ...]:
    """Through whom the call came before its caller, oldest first; empty for a call without a chain."""
    return tuple(reversed(caller.act[1:]))
