"""Authentication for httpx: `httpx.Client(auth=OrthrosAuth({"https://orders.example": "orders"}))`, sync and async.

Needs the extra `httpx`. Translates between httpx and the exchange of `orthros_client.http`; decides nothing itself.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import anyio
import anyio.to_thread
import httpx
from anyio.lowlevel import RunVar
from attrs import frozen

from orthros_client.aio import AsyncClient
from orthros_client.client import Client
from orthros_client.conversation import Token
from orthros_client.credentials import Credentials
from orthros_client.errors import LocalMisuse
from orthros_client.http.attachment import Attachment, Place, redirected
from orthros_client.http.file_body import FileBody, Measure
from orthros_client.http.outgoing import (
    EMPTY,
    NOT_IN_A_PROBE,
    Attempt,
    Body,
    OutgoingRequest,
    Proven,
    exchange,
    unproven,
)
from orthros_client.http.sources import AsyncSource, Source
from orthros_client.integrations.httpx_streams import Checked, Drained, FileStream, Spending
from orthros_protocol.http_profile import HttpResponse, format_content_digest

__all__ = ["AsyncSource", "FileBody", "OrthrosAuth", "Source", "proven_of"]

T = TypeVar("T")
PROVEN: Final = "orthros"
_BEARER: Final = "Bearer "
_MOST_IN_MEMORY: Final = 1 << 20


@frozen
class _Ask:
    """Effect: obtain credentials, or a token where the place wants one."""

    place: Place


@frozen
class _Read:
    """Effect: read the request's body into memory."""

    request: httpx.Request


@frozen
class _Hash:
    """Effect: hash a file."""

    file: FileBody


_Effect = httpx.Request | _Ask | _Read | _Hash
_Flow = Generator[_Effect, Any, None]


class OrthrosAuth(httpx.Auth):
    """Authenticates requests to the origins in `targets`, and proves each response before it is returned.

    targets: origin (`https://host[:port]`) -> target (`name` or `name@realm`); exact matches only.
    client: `Client`, `AsyncClient` or anything like them, yours to close; None makes the one that fits.
    scopes: which to ask for, for all targets or by target name; None means all that the rules allow.
    cover: headers to bind besides content-type, content-encoding and idempotency-key.
    bearer: the origins among `targets` that take a JWT. Their responses prove nothing but what TLS proves.
    forwarded: those behind a proxy with forward authentication: the target proves that it accepted, TLS the response.
    accept_unproven_bodies: accept streams that the target does not sign; status and covered headers are proven still.
    allow_unbound_bodies: send streams without Content-Digest; only targets that are not told of the body take them.
    pass_others: let requests to other origins out untouched instead of raising `origin-unknown`.

    Raises, from the call: Misconfigured `origin-unknown` before anything is sent; what `Client.credentials` raises;
    TargetRefusal, MaybeExecuted, PeerMisbehaved `response-unproven`, LocalMisuse. A body that is not the target's
    raises at its end. Redirects must not be followed: each needs a request of its own. Thread-safe.
    """

    def __init__(
        self,
        targets: Mapping[str, str],
        *,
        client: Source | AsyncSource | None = None,
        scopes: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
        cover: Iterable[str] = (),
        bearer: Iterable[str] = (),
        forwarded: Iterable[str] = (),
        accept_unproven_bodies: bool = False,
        allow_unbound_bodies: bool = False,
        pass_others: bool = False,
    ) -> None:
        self._attachment = Attachment.of(
            targets,
            scopes=scopes,
            bearer=bearer,
            forwarded=forwarded,
            cover=cover,
            accept_unproven_bodies=accept_unproven_bodies,
            allow_unbound_bodies=allow_unbound_bodies,
            pass_others=pass_others,
        )
        self._client = client
        self._is_async = client is not None and inspect.iscoroutinefunction(client.credentials)
        self._blocking: Client | None = None
        self._by_loop: RunVar[AsyncClient] = RunVar("orthros client")

    def __repr__(self) -> str:
        return f"<OrthrosAuth for {', '.join(map(str, self._attachment.origins)) or 'no origin'}>"

    def close(self) -> None:
        """Closes idle connections of a blocking client made here; the object can still be used."""
        if self._blocking is not None:
            self._blocking.close()

    async def aclose(self) -> None:
        """The same for the client of this event loop."""
        source = self._by_loop.get(None)
        if source is not None:
            await source.aclose()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Drives the flow for `httpx.Client`."""
        flow = self._flow(request)
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration:
                return
            if isinstance(effect, httpx.Request):
                answer = yield effect
            elif isinstance(effect, _Ask):
                answer = _obtain(self._sync_source(), effect.place)
            elif isinstance(effect, _Read):
                answer = effect.request.read()
            else:
                answer = effect.file.measure()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Drives the same flow for `httpx.AsyncClient`, under asyncio and trio."""
        flow = self._flow(request)
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration:
                return
            if isinstance(effect, httpx.Request):
                answer = yield effect
            elif isinstance(effect, _Ask):
                answer = await self._obtain_async(effect.place)
            elif isinstance(effect, _Read):
                answer = await effect.request.aread()
            else:
                answer = await anyio.to_thread.run_sync(effect.file.measure)

    def _sync_source(self) -> Source:
        if self._is_async:
            raise LocalMisuse("value-invalid", "an AsyncClient cannot serve httpx.Client; give it a Client")
        if self._client is not None:
            return cast(Source, self._client)
        if self._blocking is None:
            self._blocking = Client()
        return self._blocking

    async def _obtain_async(self, place: Place) -> Credentials | Token:
        if self._client is not None and not self._is_async:
            # A blocking client may have to wait for the daemon.
            return await anyio.to_thread.run_sync(_obtain, cast(Source, self._client), place)
        source = cast(AsyncSource | None, self._client)
        if source is None:
            source = self._by_loop.get(None)  # its connections belong to one event loop
        if source is None:
            source = AsyncClient()
            self._by_loop.set(source)
        return await (source.token if place.bearer else source.credentials)(place.target, place.scopes)

    def _flow(self, request: httpx.Request) -> _Flow:
        place = self._attachment.place(request.url.scheme, _netloc(request.url))
        if place is None:
            yield request
            return
        if place.bearer:
            if not request.headers.get("Authorization", _BEARER).startswith(_BEARER):
                raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")
            token: Token = yield _Ask(place)
            _authorize(request, f"{_BEARER}{token.value}")
            _refuse_redirect(request, (yield request))
            return
        body = yield from self._bind_body(request)
        outgoing = OutgoingRequest(
            method=request.method,
            origin=place.origin,
            target=_target(request),
            headers=_lowered(request.headers),
            body=body,
        )
        outgoing.check()
        credentials: Credentials = yield _Ask(place)
        steps = exchange(
            outgoing,
            credentials,
            cover=self._attachment.cover,
            accept_unproven_bodies=self._attachment.accept_unproven_bodies,
            forwarded=place.forwarded,
        )
        attempt = next(steps)
        while True:
            sent = _dressed(request, attempt)
            response: httpx.Response = yield sent
            _refuse_redirect(sent, response)
            head = HttpResponse(status=response.status_code, headers=_lowered(response.headers))
            try:
                attempt = steps.send(head)
            except StopIteration as done:
                _install(response, done.value)
                return
            response.stream = Drained(response)  # httpx reads it before the next attempt

    def _bind_body(self, request: httpx.Request) -> Generator[_Effect, Any, Body]:
        digests = request.headers.get_list("content-digest")
        stated = digests[0].encode("latin-1") if digests else None
        if len(digests) > 1:
            raise LocalMisuse("value-invalid", "Content-Digest is set twice")
        file = getattr(request.stream, "_stream", None)
        if isinstance(file, FileBody):
            measure: Measure = yield _Hash(file)
            request.headers.pop("Transfer-Encoding", None)
            request.headers["Content-Length"] = str(measure.size)
            request.stream = FileStream(file)
            return Body(content_digest=format_content_digest(measure.sha256)) if measure.size else EMPTY
        try:
            return Body.of(request.content, stated)
        except httpx.RequestNotRead:
            pass
        size = request.headers.get("Content-Length", "")
        if stated is None and size.isdecimal() and int(size) <= _MOST_IN_MEMORY:
            return Body.of((yield _Read(request)))
        return Body.of_stream(stated, unbound=self._attachment.allow_unbound_bodies)


def proven_of(response: httpx.Response) -> Proven | None:
    """What the target proved of this response; None for responses of bearer and other origins."""
    found: Proven | None = response.extensions.get(PROVEN)
    return found


def _obtain(source: Source, place: Place) -> Credentials | Token:
    return (source.token if place.bearer else source.credentials)(place.target, place.scopes)


def _netloc(url: httpx.URL) -> str:
    return ("@" if url.userinfo else "") + url.netloc.decode("ascii")


def _target(request: httpx.Request) -> bytes:
    # The extension replaces the URL's target on the wire.
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return target


def _lowered(headers: httpx.Headers) -> tuple[tuple[str, bytes], ...]:
    return tuple((name.decode("latin-1").lower(), value) for name, value in headers.raw)


def _dressed(request: httpx.Request, attempt: Attempt) -> httpx.Request:
    if attempt.probe:
        kept = [
            (name, value) for name, value in request.headers.raw if name.decode("latin-1").lower() not in NOT_IN_A_PROBE
        ]
        request = httpx.Request("OPTIONS", request.url, headers=kept, extensions=request.extensions)
    if attempt.content_digest is not None:
        request.headers["Content-Digest"] = attempt.content_digest.decode("ascii")
    _authorize(request, attempt.authorization)
    return request


def _authorize(request: httpx.Request, value: str) -> None:
    request.headers["Authorization"] = value
    with suppress(httpx.RequestNotRead):  # what is streamed, some transports read before the head
        request.stream = Spending(request)


def _refuse_redirect(sent: httpx.Request, response: httpx.Response) -> None:
    if response.request is not sent:
        raise redirected(f"{response.request.url.scheme}://{response.request.url.netloc.decode('ascii')}")


def _install(response: httpx.Response, proven: Proven) -> None:
    response.extensions[PROVEN] = proven
    if proven.body is None:
        return
    if not response.is_stream_consumed:
        response.stream = Checked(response.stream, proven.body)
        return
    # An event hook or a transport has read it already; what was decoded cannot be checked any more.
    if "content-encoding" in response.headers:
        raise unproven("the body was read and decoded before it could be checked")
    proven.body.feed(response.content)
    proven.body.finish()
