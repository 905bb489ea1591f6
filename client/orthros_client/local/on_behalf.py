"""On whose behalf a client asks: what a program may say, and what the daemon is told.

The problem. A service that serves a caller calls another service. If it forgets to say for whom, it calls with its own
rights, and somebody who may do little at the first service has the first service's rights at the second: the confused
deputy. If the framework guesses, it guesses the caller of another request as soon as a task outlives its own.

The mechanism. There are five answers, and each is a value: nobody else (None), evidence, a verified caller whose
evidence is taken, a name that is asserted, or what the client was configured with (`AS_CONFIGURED`). `propagate=True`
means the caller that is being served at this moment, by this code (`http/propagation.py` keeps it in a context
variable, and `http/request_scope.py` tells code that belongs to a request from code that outlived it). Where a process
serves requests and this code serves none, nothing is asked: the error names the three ways to say what is meant.

Rejected: to fall back to the own name when no caller is known (that is the confused deputy, once in a while); to take
the caller from the innermost frame that has one (a background task inherits it).

What would break it: a default that widens, or an `except` that goes on without the evidence.

Knows neither daemon nor KDC. What a refusal says of whom it was for is told to this program alone.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, Protocol, runtime_checkable

from orthros_client.errors import LocalMisuse, Refused
from orthros_client.http.propagation import current, serves_requests
from orthros_client.remedies import Asked, name_within
from orthros_protocol.primitives.names import Principal, check_name
from orthros_protocol.tickets.evidence import Behalf

__all__ = [
    "AS_CONFIGURED",
    "OR_OWN_NAME",
    "AsConfigured",
    "OnBehalfOf",
    "Propagate",
    "SpeaksFor",
    "Spoken",
    "check_propagate",
    "choose",
    "describe",
    "resolve",
]

_NO_CALLER: Final = (
    "no verified caller is served here: carry the request over (`propagation.carried`), name whom the call is for, or "
    "ask in the own name (`behalf=None`, `propagate='or-own-name'`)"
)


class AsConfigured(Enum):
    """Left to the client that is asked."""

    AS_CONFIGURED = "as the client's propagate says"


AS_CONFIGURED: Final = AsConfigured.AS_CONFIGURED
OR_OWN_NAME: Final = "or-own-name"
Propagate = bool | Literal["or-own-name"]
"""On whose behalf a client asks when a call does not say. False: in the own name. True: of the caller that is being
served; where a process that serves requests serves none, nothing is asked. `or-own-name`: there in the own name."""


@runtime_checkable
class SpeaksFor(Protocol):
    """Somebody who was verified, and can be spoken for: a `VerifiedCaller`."""

    def behalf(self) -> Behalf:
        """The evidence. Raises Refused `evidence-refused` when the ticket was not issued to be passed on."""
        ...


@runtime_checkable
class Known(SpeaksFor, Protocol):
    """One of whom more is known than that: a `VerifiedCaller`."""

    def asking_for(self, target: str) -> Asked:
        """How a ticket for `target` on behalf of this one is asked for."""
        ...


Spoken = Behalf | SpeaksFor | Principal | str | None
OnBehalfOf = Spoken | Literal[AsConfigured.AS_CONFIGURED]
"""Evidence; a caller, whose evidence is taken; a name (`name` or `name@realm`) that the client asserts, where the rules
let it; None: in the own name."""


def check_propagate(propagate: Propagate) -> Propagate:
    """Raises LocalMisuse for anything else: a text that is merely true would speak for callers, and never say so."""
    if propagate is True or propagate is False or propagate == OR_OWN_NAME:
        return propagate
    raise LocalMisuse("value-invalid", f"propagate: True, False or {OR_OWN_NAME!r}")


def choose(behalf: OnBehalfOf, *, propagate: Propagate) -> Spoken:
    """On whose behalf, with what is left to the client settled.

    Raises Refused `evidence-refused` for a caller that can be no evidence, and LocalMisuse `wrong-state` where no
    caller is served although the process serves requests, and in code that outlived its request or is none of it.
    """
    if isinstance(behalf, AsConfigured):
        return _caller_served(propagate) if propagate else None
    return behalf


def describe(behalf: Spoken, target: str, client: Principal | None) -> Asked:
    """The question for a ticket as it is explained to people. `client` is this program's name, None while unknown."""
    if isinstance(behalf, Known):
        return behalf.asking_for(target)
    known = None if client is None else client.name
    name = behalf.subject if isinstance(behalf, Behalf) else behalf
    if isinstance(name, Principal):
        name = name_within(name, None if client is None else client.realm)
    if isinstance(name, str):
        return Asked(target=target, client=known, subject=name, asserted=True, on_behalf=True)
    return Asked(target=target, client=known, on_behalf=behalf is not None)


def resolve(behalf: Spoken) -> tuple[Behalf | None, str | None]:
    """For whom to ask: nobody else, evidence or a named subject, or a bare name of the daemon's own realm.

    Raises Refused `evidence-refused` for a caller that can be no evidence, and Misconfigured `name-invalid`.
    """
    if behalf is None or isinstance(behalf, Behalf):
        return behalf, None
    if isinstance(behalf, Principal):
        return Behalf(subject=behalf), None
    if isinstance(behalf, str):
        name, at, realm = behalf.partition("@")
        check_name(name, "subject")
        return (Behalf(subject=Principal(check_name(realm, "realm"), name)), None) if at else (None, name)
    if isinstance(behalf, SpeaksFor):
        return behalf.behalf(), None
    raise LocalMisuse("value-invalid", f"behalf: a {type(behalf).__name__} is neither a caller nor a name")


def _caller_served(propagate: Propagate) -> SpeaksFor | None:
    caller = current()
    if caller is None:
        # Executors and threads lose the request, public routes and observing have no caller: the own rights of a
        # service are more than those that a caller lent it.
        if serves_requests() and propagate != OR_OWN_NAME:
            raise LocalMisuse("wrong-state", _NO_CALLER)
        return None
    if not isinstance(caller, SpeaksFor):
        raise Refused("evidence-refused", f"{caller.client} came with a {caller.scheme} token, which is no evidence")
    return caller
