"""Where authentications of async libraries get credentials, in tasks and threads: one given, else one made when needed.

Knows neither requests nor targets.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from orthros_client.credentials.credentials import Credentials
from orthros_client.errors import LocalMisuse
from orthros_client.http.client.sources import AsyncCredentialSource, CredentialSource, Place
from orthros_client.local.client import Client
from orthros_client.local.conversation import Token

if TYPE_CHECKING:
    from anyio.lowlevel import RunVar

    from orthros_client.local.aio import AsyncClient

__all__ = ["Sources"]


class Sources:
    """`client` is yours to close; None makes one that fits. Thread-safe."""

    def __init__(self, client: CredentialSource | AsyncCredentialSource | None) -> None:
        self._client = client
        self._is_async = client is not None and inspect.iscoroutinefunction(client.credentials)
        self._blocking: Client | None = None
        # Imported late: whoever lacks a library is told the extra of that library, which brings anyio along.
        from anyio.lowlevel import RunVar

        self._by_loop: RunVar[AsyncClient] = RunVar("orthros client")

    def ask(self, place: Place) -> Credentials | Token:
        """Raises what `Client.credentials` raises, and LocalMisuse where there is only an AsyncClient."""
        if self._is_async:
            raise LocalMisuse("value-invalid", "an AsyncClient cannot serve httpx.Client; give it a Client")
        if self._client is None and self._blocking is None:
            self._blocking = Client()
        answer: Credentials | Token = place.ask(self._client or self._blocking)
        return answer

    async def aask(self, place: Place) -> Credentials | Token:
        """The same under any event loop."""
        if self._client is not None and not self._is_async:
            from anyio import to_thread

            # A blocking client may have to wait for the daemon.
            answer: Credentials | Token = await to_thread.run_sync(place.ask, self._client)
            return answer
        source = cast(AsyncCredentialSource | None, self._client)
        if source is None:
            source = self._by_loop.get(None)  # its connections belong to one event loop
        if source is None:
            from orthros_client.local.aio import AsyncClient

            source = AsyncClient()
            self._by_loop.set(source)
        obtained: Credentials | Token = await place.ask(source)
        return obtained

    def close(self) -> None:
        """Closes idle connections of a blocking client made here."""
        if self._blocking is not None:
            self._blocking.close()

    async def aclose(self) -> None:
        """The same for the client of this event loop."""
        source = self._by_loop.get(None)
        if source is not None:
            await source.aclose()
