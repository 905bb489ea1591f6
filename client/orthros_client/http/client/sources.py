"""Where the authentication of an HTTP library gets its credentials: two small interfaces, and what they are asked.

Knows no daemon: `Client` and `AsyncClient` fit, and so does anything like them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from attrs import frozen

from orthros_client.credentials.credentials import Credentials
from orthros_client.http.client.origins import Origin
from orthros_client.local.conversation import Token
from orthros_client.local.on_behalf import AS_CONFIGURED, OnBehalfOf

__all__ = ["AsyncCredentialSource", "CredentialSource", "Place", "propagates"]


@frozen
class Place:
    """Where a request goes: its origin, the target there, the scopes to ask for, whether it wants a JWT, whether a
    proxy in front of it asks the target's daemon (forward authentication), whether the target may act on behalf of
    this client, and on whose behalf the client calls; None: in its own name, even while it serves a caller."""

    origin: Origin
    target: str
    scopes: tuple[str, ...] | None
    bearer: bool
    forwarded: bool = False
    delegable: bool = False
    behalf: OnBehalfOf = AS_CONFIGURED

    def ask(self, source: Any) -> Any:
        """The credentials or the token for a call to it, of a CredentialSource; of an async one, to be awaited."""
        options: dict[str, Any] = {"delegable": True} if self.delegable else {}
        # A source that never asks for others need not know the word.
        if self.behalf is not AS_CONFIGURED and (self.behalf is not None or propagates(source)):
            options["behalf"] = self.behalf
        return (source.token if self.bearer else source.credentials)(self.target, self.scopes, **options)


def propagates(source: object) -> bool:
    """Whether it asks on behalf of the caller that is being served."""
    return bool(getattr(source, "propagate", False))


class CredentialSource(Protocol):
    """Where credentials come from: `Client`, or anything with its two methods.

    It is given `delegable=True` for targets that are to act on its behalf, and `behalf` where the authentication was
    told on whose; `behalf=None` for dischargers, if its attribute `propagate` is true.
    """

    def credentials(self, target: str, scopes: Iterable[str] | None = None) -> Credentials:
        """See `Client.credentials`."""
        ...

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        """See `Client.token`."""
        ...


class AsyncCredentialSource(Protocol):
    """The same for `AsyncClient`."""

    async def credentials(self, target: str, scopes: Iterable[str] | None = None) -> Credentials:
        """See `Client.credentials`."""
        ...

    async def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        """See `Client.token`."""
        ...
