"""What is in place of key files, daemon and network while a test realm runs, and what is put back when it stops.

Knows the names that it replaces, and nothing of tickets.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from orthros_client.errors import LocalMisuse
from orthros_client.local.aio import AsyncClient
from orthros_client.local.client import Client
from orthros_client.testing.hosts import Host, request_of
from orthros_client.verifier import Verifier
from orthros_runtime.extras import extra

with extra("testing"):
    import httpx

__all__ = ["stand_ins"]

Answering = Callable[[str], Host | None]
"""Who answers at a URL; None: the network, as if nothing were tested."""

_HTTPX: Final = ("httpx", "httpx2")


@contextmanager
def stand_ins(
    *, verifier: Callable[..., Verifier], credentials: Callable[..., Any], answering: Answering
) -> Iterator[None]:
    """In this block: `verifier` makes what `Verifier.from_environment` returns, `credentials` is asked in place of the
    daemon, and `answering` says which applications answer calls of httpx, httpx2 and requests."""

    async def acredentials(client: AsyncClient, *args: Any, **options: Any) -> Any:
        return credentials(client, *args, **options)

    with ExitStack() as kept:

        def put(owner: Any, name: str, value: object) -> None:
            before = vars(owner)[name]
            setattr(owner, name, value)
            kept.callback(setattr, owner, name, before)

        put(Verifier, "from_environment", classmethod(lambda _cls, **options: verifier(**options)))
        put(Client, "credentials", _blocking(credentials))
        put(AsyncClient, "credentials", acredentials)
        put(Client, "token", _no_token)
        put(AsyncClient, "token", _no_token)
        for name in _HTTPX:
            library = _imported(name)
            if library is not None:
                _put_httpx(put, library, answering)
        adapters = _imported("requests.adapters")
        if adapters is not None:
            _put_requests(put, adapters, answering)
        yield


def _blocking(credentials: Callable[..., Any]) -> Callable[..., Any]:
    """A function is a method of the class that it is put on; a bound method is not."""

    def ask(client: Client, *args: Any, **options: Any) -> Any:
        return credentials(client, *args, **options)

    return ask


def _no_token(*_args: object, **_options: object) -> Any:
    raise LocalMisuse("wrong-state", "a test realm issues tickets, no JWTs")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _put_httpx(put: Callable[[Any, str, object], None], library: Any, answering: Answering) -> None:
    blocking, others = library.HTTPTransport.handle_request, library.AsyncHTTPTransport.handle_async_request

    def handle(transport: Any, request: Any) -> Any:
        host = answering(str(request.url))
        if host is None:
            return blocking(transport, request)
        return _response(host.handle(_arriving(request, request.read())))

    async def ahandle(transport: Any, request: Any) -> Any:
        host = answering(str(request.url))
        if host is None:
            return await others(transport, request)
        return _response(await host.ahandle(_arriving(request, await request.aread())))

    def _response(found: httpx.Response) -> Any:
        headers = found.headers.raw
        return library.Response(found.status_code, headers=headers, stream=library.ByteStream(found.read()))

    put(library.HTTPTransport, "handle_request", handle)
    put(library.AsyncHTTPTransport, "handle_async_request", ahandle)


def _arriving(request: Any, body: bytes) -> httpx.Request:
    return request_of(request.method, str(request.url), request.headers.raw, body)


def _put_requests(put: Callable[[Any, str, object], None], adapters: Any, answering: Answering) -> None:
    before = adapters.HTTPAdapter.send

    def send(adapter: Any, request: Any, *args: Any, **options: Any) -> Any:
        host = answering(request.url)
        if host is None:
            return before(adapter, request, *args, **options)
        from urllib3 import HTTPHeaderDict, HTTPResponse

        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else body.read()
        headers = [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in request.headers.items()
        ]
        found = host.handle(request_of(request.method, request.url, headers, body))
        raw = HTTPResponse(
            body=io.BytesIO(found.read()),
            headers=HTTPHeaderDict(
                [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found.headers.raw]
            ),
            status=found.status_code,
            preload_content=False,
        )
        return adapter.build_response(request, raw)

    put(adapters.HTTPAdapter, "send", send)
