"""Where the authentication of an HTTP library gets its credentials: two small interfaces, blocking and async.

Knows no daemon: `Client` and `AsyncClient` fit, and so does anything like them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from orthros_client.conversation import Token
from orthros_client.credentials import Credentials

__all__ = ["AsyncSource", "Source"]


class Source(Protocol):
    """Where credentials come from: `Client`, or anything with its two methods."""

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
