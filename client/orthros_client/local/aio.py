"""The async client: the same questions as the blocking one, under trio and under asyncio.

Needs anyio (extra `async`). Knows neither keys nor the KDC.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

from attrs import frozen

from orthros_client.credentials.credentials import Credentials
from orthros_client.credentials.narrowing import Limits
from orthros_client.errors import OrthrosError
from orthros_client.local.api.aio import AsyncLocal
from orthros_client.local.api.values import (
    CacheEntry,
    Forgotten,
    Renewed,
    Status,
)
from orthros_client.local.conversation import TELLING_S, Conversation, Flow, Token, socket_path
from orthros_client.local.on_behalf import AS_CONFIGURED, OnBehalfOf, Propagate

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient:
    """`Client` with awaitable methods: the same arguments, results and errors. For one event loop."""

    def __init__(
        self, socket: str | os.PathLike[str] | None = None, timeout: float = 10.0, *, propagate: Propagate = False
    ) -> None:
        self._local = AsyncLocal(socket_path(socket))
        self._conversation = Conversation(timeout, propagate=propagate)
        self._conversation.reports.front = _Telling(self)

    @property
    def propagate(self) -> Propagate:
        """Whether it asks on behalf of the caller that is being served, unless told otherwise."""
        return self._conversation.propagate

    async def credentials(
        self,
        target: str,
        scopes: Iterable[str] | None = None,
        ttl_s: int = 0,
        *,
        delegable: bool = False,
        behalf: OnBehalfOf = AS_CONFIGURED,
        limits: Limits | None = None,
    ) -> Credentials:
        """See `Client.credentials`."""
        flow = self._conversation.credentials(target, scopes, ttl_s, delegable=delegable, behalf=behalf, limits=limits)
        return await self._run(flow)

    async def token(
        self, target: str, scopes: Iterable[str] | None = None, *, behalf: OnBehalfOf = AS_CONFIGURED
    ) -> Token:
        """See `Client.token`."""
        return await self._run(self._conversation.token(target, scopes, behalf=behalf))

    async def receive(self, data: bytes) -> Credentials:
        """See `Client.receive`."""
        return await self._run(self._conversation.receive(data))

    async def login(self, targets: Iterable[str], scopes: Iterable[str] | None = None, lifetime_s: int = 0) -> bytes:
        """See `Client.login`."""
        return await self._run(self._conversation.login(targets, scopes, lifetime_s))

    async def list(self) -> tuple[CacheEntry, ...]:
        """See `Client.list`."""
        return await self._run(self._conversation.entries())

    async def renew(self, target: str) -> Renewed:
        """See `Client.renew`."""
        return await self._run(self._conversation.renew(target))

    async def forget(self, target: str | None = None) -> Forgotten:
        """See `Client.forget`."""
        return await self._run(self._conversation.forget(target))

    async def status(self, *, probe: bool = False) -> Status:
        """See `Client.status`."""
        return await self._run(self._conversation.status(probe=probe))

    async def ping(self) -> None:
        """See `Client.ping`."""
        await self._run(self._conversation.ping())

    async def aclose(self) -> None:
        """Closes idle connections; the client can still be used."""
        await self._local.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, flow: Flow[T], timeout_s: float | None = None) -> T:
        timeout_s = self._conversation.timeout_s if timeout_s is None else timeout_s
        # A coroutine may not let StopIteration escape from between two awaits, hence the shape.
        error: OrthrosError | None = None
        reply = None
        while True:
            try:
                request = flow.throw(error) if error is not None else flow.send(reply)  # type: ignore[arg-type]
            except StopIteration as done:
                answer: T = done.value
                return answer
            error = None
            try:
                reply = await self._local.ask(request, timeout_s)
            except OrthrosError as caught:
                error = caught


@frozen
class _Telling:
    """Tells the daemon what targets have refused: what a Pause after a refused call waits for."""

    _client: AsyncClient

    def block(self, seconds: float) -> None:
        """Nothing: only the event loop may use the connections. The next question tells the daemon."""

    async def sleep(self, seconds: float) -> None:
        """In this task, for `TELLING_S` at most."""
        conversation = self._client._conversation
        await self._client._run(conversation.tell(), min(conversation.timeout_s, TELLING_S))
