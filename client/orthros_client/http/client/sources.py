"""Where the authentication of an HTTP library gets its credentials: two small interfaces, and what to ask them.

Knows no daemon: `Client` and `AsyncClient` fit, and so does anything like them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from attrs import frozen

from orthros_client.credentials.credentials import Credentials
from orthros_client.http.client.attachment import Place
from orthros_client.local.conversation import Token
from orthros_client.local.on_behalf import AS_CONFIGURED, OnBehalfOf

__all__ = ["AsyncSource", "Question", "Source", "propagates"]


@frozen
class Question:
    """What to ask for a place, and on whose behalf; None: in the own name, whoever is being served."""

    place: Place
    behalf: OnBehalfOf = AS_CONFIGURED

    def put_to(self, source: Any) -> Any:
        """Asks a Source; of an AsyncSource, what comes back is to be awaited."""
        place = self.place
        options: dict[str, Any] = {"delegable": True} if place.delegable else {}
        # A source that never asks for others need not know the word.
        if self.behalf is not AS_CONFIGURED and (self.behalf is not None or propagates(source)):
            options["behalf"] = self.behalf
        return (source.token if place.bearer else source.credentials)(place.target, place.scopes, **options)


def propagates(source: object) -> bool:
    """Whether it asks on behalf of the caller that is being served."""
    return bool(getattr(source, "propagate", False))


class Source(Protocol):
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


class AsyncSource(Protocol):
    """The same for `AsyncClient`."""

    async def credentials(self, target: str, scopes: Iterable[str] | None = None) -> Credentials:
        """See `Client.credentials`."""
        ...

    async def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        """See `Client.token`."""
        ...
