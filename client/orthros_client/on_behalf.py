"""On whose behalf a client asks: what a program may say, and what the daemon is told.

Fails closed: whoever was to be spoken for is spoken for, or nothing is asked. Knows neither daemon nor KDC.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, Protocol, runtime_checkable

from orthros_client.errors import LocalMisuse, Refused
from orthros_client.propagation import current
from orthros_protocol import Behalf, Principal, check_name

__all__ = ["AS_CONFIGURED", "Choice", "OnBehalfOf", "SpeaksFor", "resolve"]


class Choice(Enum):
    """Left to the client that is asked."""

    AS_CONFIGURED = "as the client's propagate says"


AS_CONFIGURED: Final = Choice.AS_CONFIGURED


@runtime_checkable
class SpeaksFor(Protocol):
    """Somebody who was verified, and can be spoken for: a `VerifiedCaller`."""

    def behalf(self) -> Behalf:
        """The evidence. Raises Refused `evidence-refused` when the ticket was not issued to be passed on."""
        ...


OnBehalfOf = Behalf | SpeaksFor | Principal | str | None | Literal[Choice.AS_CONFIGURED]
"""Evidence; a caller, whose evidence is taken; a name (`name` or `name@realm`) that the client asserts, where the rules
let it; None: in the own name."""


def resolve(behalf: OnBehalfOf, *, propagate: bool) -> tuple[Behalf | None, str | None]:
    """For whom to ask: nobody else, evidence or a named subject, or a bare name of the daemon's own realm.

    Raises Refused `evidence-refused` for a caller that can be no evidence, Misconfigured `name-invalid`, and
    LocalMisuse `wrong-state` in code that outlived the request it served.
    """
    if behalf is AS_CONFIGURED:
        behalf = _caller_served() if propagate else None
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


def _caller_served() -> SpeaksFor | None:
    caller = current()
    if caller is None:
        return None
    if not isinstance(caller, SpeaksFor):
        raise Refused("evidence-refused", f"{caller.client} came with a {caller.scheme} token, which is no evidence")
    return caller
