"""The bodies that both sides of aiohttp read: pulled from aiohttp's own stream, a piece at a time, past a check.

Knows neither requests nor responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from orthros_runtime.extras import extra

with extra("aiohttp"):
    from aiohttp import StreamReader
    from aiohttp.base_protocol import BaseProtocol

__all__ = ["PulledStream"]

_LIMIT: Final = 1 << 18


class _Quiet(BaseProtocol):
    """Of a stream that pulls: nothing is pushed to it, so nothing is to be slowed."""

    def pause_reading(self) -> None:
        """Nothing."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing."""


class PulledStream(StreamReader):
    """A body behind a check: each way to read it that aiohttp has comes here when it has nothing left.

    check: is given a piece and whether more may follow; returns what may be handed on, or raises.
    lost: is told that the connection ended within the body.
    """

    def __init__(
        self, inner: StreamReader, check: Callable[[bytes, bool], bytes], lost: Callable[[], None] = lambda: None
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(_Quiet(loop), _LIMIT, loop=loop)
        self._inner = inner
        self._check = check
        self._lost = lost

    async def _wait(self, func_name: str) -> None:
        ready = b""
        while not ready and not self.is_eof():
            try:
                data = await self._inner.readany()
            except Exception:
                self._lost()
                raise
            more = not self._inner.at_eof()
            ready = self._check(data, more)
            self.feed_data(ready)
            if not more:
                self.feed_eof()

    async def read_ahead(self) -> None:
        """Reads all of it before anybody asks for it. Raises what the check raises."""
        while not self.is_eof():
            await self._wait("read_ahead")

    async def drain(self) -> None:
        """Reads what was left unread, and keeps nothing of it. Raises what the check raises."""
        while not self.is_eof() and not self._inner.at_eof():
            data = await self._inner.readany()
            self._check(data, not self._inner.at_eof())

    def set_exception(self, exc: BaseException, *_cause: BaseException) -> None:
        """The connection is gone: what waits for more of the body learns that."""
        self._inner.set_exception(exc)
        super().set_exception(exc)
