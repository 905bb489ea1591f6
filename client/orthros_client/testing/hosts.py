"""Applications in this process, behind what HTTP libraries have in place of a network: ASGI and WSGI, sync and async.

Tells the application what a careful server would: the raw target, the names as they came. Knows no tickets.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, Self
from urllib.parse import unquote_to_bytes

from attrs import define, field

from orthros_client.errors import Misconfigured
from orthros_runtime.extras import extra

with extra("testing"):
    import anyio
    import anyio.to_thread
    import httpx
    from anyio.from_thread import BlockingPortal, start_blocking_portal

__all__ = ["SERVED", "Host", "request_of", "serving"]

SERVED: Final[ContextVar[str | None]] = ContextVar("orthros service under test", default=None)
"""The service whose code runs: whose key its verifiers get, and as whom its clients obtain tickets."""

_LIFESPAN: Final = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.3"}}
_STARTED, _FAILED = "lifespan.startup.complete", "lifespan.startup.failed"


@contextmanager
def serving(service: str) -> Iterator[None]:
    """The code in this block is that of `service`: what is imported or made here gets its key."""
    token = SERVED.set(service)
    try:
        yield
    finally:
        SERVED.reset(token)


@define(eq=False)
class Host:
    """One application as `service`. For blocking callers, an ASGI application runs in a thread with an event loop of
    its own: it starts before the first request, and ends with `close`. While it runs, it is in `running`."""

    app: Any
    service: str
    running: set[Host]
    _portal: BlockingPortal | None = field(default=None, init=False)
    _open: ExitStack = field(factory=ExitStack, init=False)

    @property
    def is_asgi(self) -> bool:
        """Whether it is an application of ASGI, and not one of WSGI."""
        return any(map(inspect.iscoroutinefunction, (self.app, getattr(self.app, "__call__", None))))  # noqa: B004

    def handle(self, request: httpx.Request) -> httpx.Response:
        """The whole response. Raises what the application lets pass, and Misconfigured when it does not start."""
        if not self.is_asgi:
            return self._by_wsgi(request)
        return self.start().call(self._by_asgi, request)

    async def ahandle(self, request: httpx.Request) -> httpx.Response:
        """The same in the event loop that asks. The application's lifespan does not run there."""
        if self.is_asgi:
            return await self._by_asgi(request)
        return await anyio.to_thread.run_sync(self._by_wsgi, request)

    def close(self) -> None:
        """Ends the application as a server does. It starts anew when it is asked again."""
        self.running.discard(self)
        self._portal = None
        self._open.close()

    def start(self) -> BlockingPortal:
        """Where an ASGI application runs for blocking callers, from now on. Raises Misconfigured."""
        if self._portal is not None:
            return self._portal
        with ExitStack() as opened, serving(self.service):
            portal = opened.enter_context(start_blocking_portal())
            opened.enter_context(portal.wrap_async_context_manager(_lifespan(self.app)))
            self._portal, self._open = portal, opened.pop_all()
        self.running.add(self)
        return portal

    async def _by_asgi(self, request: httpx.Request) -> httpx.Response:
        with serving(self.service):
            response = await httpx.ASGITransport(self.app).handle_async_request(request)
            body = b"".join([piece async for piece in response.stream])  # type: ignore[union-attr]  # it is async
        return _whole(response, body)

    def _by_wsgi(self, request: httpx.Request) -> httpx.Response:
        def app(environ: dict[str, Any], start_response: Any) -> Any:
            # Servers tell the target as it came; httpx tells the path as text, which PEP 3333 does not know.
            environ["RAW_URI"] = request.url.raw_path.decode("ascii")
            environ["PATH_INFO"] = unquote_to_bytes(request.url.raw_path.partition(b"?")[0]).decode("latin-1")
            return self.app(environ, start_response)

        with serving(self.service):
            response = httpx.WSGITransport(app).handle_request(request)
            with closing(response):
                body = b"".join(response.stream)  # type: ignore[arg-type]  # it is not async
        return _whole(response, body)


def request_of(method: str, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> httpx.Request:
    """A request with these headers, and Host, which blocking and async transports take alike."""
    place = httpx.URL(url)
    named = [] if any(name.lower() == b"host" for name, _value in headers) else [(b"host", place.netloc)]
    return httpx.Request(method, place, headers=[*named, *headers], stream=_Body(body))


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in one piece. That of httpx is an async generator, which complains when nobody reads it to its end."""

    def __init__(self, body: bytes) -> None:
        self._pieces = [body] if body else []

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _OnePiece(list(self._pieces))


@define
class _OnePiece:
    pieces: list[bytes]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces:
            raise StopAsyncIteration
        return self.pieces.pop()


def _whole(response: httpx.Response, body: bytes) -> httpx.Response:
    return httpx.Response(response.status_code, headers=response.headers.raw, stream=httpx.ByteStream(body))


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[None]:
    begun, ending = anyio.Event(), anyio.Event()
    events, failed = ["lifespan.startup"], list[str]()

    async def receive() -> dict[str, str]:
        if events:
            return {"type": events.pop()}
        await ending.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == _FAILED:
            failed.append(str(message.get("message", "")))
        if message["type"] in (_STARTED, _FAILED):
            begun.set()

    async def live() -> None:
        # One without a lifespan raises: servers go on, too.
        with suppress(Exception):
            await app(_LIFESPAN | {"state": {}}, receive, send)
        begun.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        await begun.wait()
        if not failed:
            yield
        ending.set()
    if failed:
        raise Misconfigured("config-invalid", f"the application does not start: {failed[0] or 'it says no more'}")
