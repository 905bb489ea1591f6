"""Authentication for httpx: `httpx.Client(auth=OrthrosAuth({"https://orders.example": "orders"}))`, sync and async.

Needs the extra `httpx`. Translates between httpx and the exchange of `orthros_client.http`; decides nothing itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Unpack

from attrs import frozen

from orthros_client.credentials.credentials import Credentials, Pause
from orthros_client.credentials.narrowing import Demanded
from orthros_client.errors import LocalMisuse, OrthrosError
from orthros_client.http.client.attachment import Attachment
from orthros_client.http.client.authentication import Authentication, Steps
from orthros_client.http.client.discharges import asking, check_size, given
from orthros_client.http.client.file_body import FileBody, Measure
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.outgoing import Attempt, Body, OutgoingRequest, Proven
from orthros_client.http.client.sources import AsyncCredentialSource, CredentialSource, Place
from orthros_client.http.client.unproven import ResponseUnproven, unproven
from orthros_client.integrations.async_sources import Sources
from orthros_client.integrations.httpx_libraries import Auth, Request, Response, is_request, not_read
from orthros_client.integrations.httpx_messages import (
    asking_for,
    authorize,
    dressed,
    escape,
    lowered,
    netloc_of,
    refuse_redirect,
    target_of,
)
from orthros_client.integrations.httpx_streams import CheckedStream, Drained, Short, readable_again
from orthros_client.local.conversation import Token
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.primitives.http_fields import stated_length
from orthros_protocol.tickets.discharges import Discharge
from orthros_runtime.extras import extra

with extra("httpx"):
    import anyio.to_thread

__all__ = ["AsyncCredentialSource", "CredentialSource", "FileBody", "OrthrosAuth", "proven_of"]

PROVEN: Final = "orthros"
_BEARER: Final = "Bearer "
_MOST_IN_MEMORY: Final = 1 << 20


@frozen
class _Read:
    """Effect: read a body into memory."""

    message: Request | Response


@frozen
class _Hear:
    """Effect: read a short body that may say why its response proves nothing; empty when it cannot be read."""

    message: Response


@frozen
class _Hash:
    """Effect: read and hash something that can be read again."""

    measure: Callable[[], Measure]


_Effect = Any  # a request to send, or Place, _Read, _Hear, _Hash, Pause
_Flow = Generator[_Effect, Any, None]


class OrthrosAuth(Authentication, Auth):  # type: ignore[misc]  # Auth is that of httpx and of httpx2
    """Authenticates requests to the origins in `targets`, and proves each response before it is returned.

    targets: origin (`https://host[:port]`) -> target (`name` or `name@realm`), exact matches only; or an Attachment,
        which has its options.
    client: `Client`, `AsyncClient` or anything like them, yours to close; None makes the one that fits.
    The other options are those of `AuthOptions`.

    Raises, from the call: Misconfigured `origin-unknown` before anything is sent; what `Client.credentials` raises;
    TargetRefusal, MaybeExecuted, PeerMisbehaved `response-unproven`, LocalMisuse; Refused `discharger-unknown`, and
    DischargeRefused when a discharger says no. A body that is not the target's raises at its end. Redirects must not be
    followed: each needs a request of its own. Thread-safe.
    """

    def __init__(
        self,
        targets: Mapping[str, str] | Attachment,
        *,
        client: CredentialSource | AsyncCredentialSource | None = None,
        **options: Unpack[AuthOptions],
    ) -> None:
        super().__init__(targets, client, options)
        self._sources = Sources(client)

    def close(self) -> None:
        """Closes idle connections of a blocking client made here; the object can still be used."""
        self._sources.close()

    async def aclose(self) -> None:
        """The same for the client of this event loop."""
        await self._sources.aclose()

    def sync_auth_flow(self, request: Request) -> Generator[Any, Any, None]:
        """Drives the flow for `httpx.Client`."""
        flow = self._flow(request)
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration:
                return
            if is_request(effect):
                answer = yield effect
            elif isinstance(effect, Place):
                answer = self._sources.ask(effect)
            elif isinstance(effect, Pause):
                effect.block()
                answer = None
            elif isinstance(effect, _Read):
                answer = effect.message.read()
            elif isinstance(effect, _Hear):
                answer = b""
                with suppress(Exception):  # the error at hand says more than a body that does not come
                    answer = effect.message.read()
            else:
                answer = effect.measure()

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Any, Any]:
        """Drives the same flow for `httpx.AsyncClient`, under asyncio and trio."""
        flow = self._flow(request)
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration:
                return
            if is_request(effect):
                answer = yield effect
            elif isinstance(effect, Place):
                answer = await self._sources.aask(effect)
            elif isinstance(effect, Pause):
                await effect.sleep()
                answer = None
            elif isinstance(effect, _Read):
                answer = await effect.message.aread()
            elif isinstance(effect, _Hear):
                answer = b""
                with suppress(Exception):
                    answer = await effect.message.aread()
            else:
                answer = await anyio.to_thread.run_sync(effect.measure)

    def _flow(self, request: Request) -> _Flow:
        place = self._place(request.url.scheme, netloc_of(request.url), request.headers)
        if place is None:
            yield request
            return
        if place.bearer:
            if not request.headers.get("Authorization", _BEARER).startswith(_BEARER):
                raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")
            token: Token = yield place
            authorize(request, f"{_BEARER}{token.value}")
            refuse_redirect(request, (yield request))
            return
        self._complete(request.method, request.headers)
        escape(request)
        body = yield from self._bind_body(request)
        outgoing = OutgoingRequest(
            method=request.method,
            origin=place.origin,
            target=target_of(request),
            headers=lowered(request.headers),
            body=body,
        )
        credentials: Credentials = yield place
        if credentials.demands:
            credentials = yield from self._collect(credentials, request)
        steps = self._steps(outgoing, credentials, place)
        try:
            proven, response, _head = yield from _converse(steps, partial(dressed, request))
        except OrthrosError:
            yield from credentials.reports.telling()
            raise
        yield from credentials.reports.telling()
        _install(response, proven)

    def _collect(self, credentials: Credentials, request: Request) -> Generator[_Effect, Any, Credentials]:
        """The credentials with what they demand, from memory or from the dischargers."""
        steps = self._discharges.collecting(credentials)
        step: Callable[[], Demanded] = partial(next, steps)
        while True:
            try:
                demanded = step()
            except StopIteration as done:
                collected: Credentials = done.value
                return collected
            try:
                discharge = yield from self._ask_for(demanded, credentials.client.realm, request)
            except OrthrosError as error:
                step = partial(steps.throw, error)
            else:
                step = partial(steps.send, discharge)

    def _ask_for(self, demanded: Demanded, home: str, request: Request) -> Generator[_Effect, Any, Discharge]:
        """One discharge, asked for in the own name over the client that sends `request`."""
        place = self._attachment.place_of_discharger(demanded.discharger, home)
        to: Credentials = yield place
        steps = asking(to, place.origin, demanded.cid)
        proven, response, head = yield from _converse(steps, partial(asking_for, place, demanded.cid, request))
        check_size(head, proven)
        response.stream = Short(response.stream, proven.target)
        _install(response, proven)
        return given(proven, demanded.cid, (yield _Read(response)))

    def _bind_body(self, request: Request) -> Generator[_Effect, Any, Body]:
        digests = request.headers.get_list("content-digest")
        stated = digests[0].encode("latin-1") if digests else None
        if len(digests) > 1:
            raise LocalMisuse("value-invalid", "Content-Digest is set twice")
        with suppress(*not_read):
            return Body.of(request.content, stated)
        again = readable_again(request.stream)
        size = stated_length(request.headers.get_list("content-length"))
        if again is None:
            if stated is None and size is not None and size <= _MOST_IN_MEMORY:
                return Body.of((yield _Read(request)))
            return Body.of_stream(stated, unbound=self._attachment.allow_unbound_bodies)
        measure: Measure = yield _Hash(again.measure)
        request.headers.pop("Transfer-Encoding", None)
        request.headers["Content-Length"] = str(measure.size)
        request.stream = again
        return Body.measured(measure.size, measure.sha256, stated)


def proven_of(response: Response) -> Proven | None:
    """What the target proved of this response; None for responses of bearer and other origins."""
    found: Proven | None = response.extensions.get(PROVEN)
    return found


def _converse(
    steps: Steps, dress: Callable[[Attempt], Request]
) -> Generator[_Effect, Any, tuple[Proven, Response, HttpResponse]]:
    """Sends what `steps` wants, as `dress` makes it; the last response is proven, its body is not yet."""
    step = next(steps)
    while True:
        if isinstance(step, Pause):
            step = steps.send((yield step))
            continue
        sent = dress(step)
        response: Response = yield sent
        refuse_redirect(sent, response)
        head = HttpResponse(status=response.status_code, headers=lowered(response.headers))
        try:
            step = steps.send(head)
        except StopIteration as done:
            return done.value, response, head
        except ResponseUnproven as error:
            if error.wants_body:
                error.hear((yield _Hear(response)))
            raise
        response.stream = Drained(response)
        yield _Read(response)  # so that its connection is free


def _install(response: Response, proven: Proven) -> None:
    response.extensions[PROVEN] = proven
    if proven.body is None:
        return
    if not response.is_stream_consumed:
        response.stream = CheckedStream(response.stream, proven.body)
        return
    # An event hook or a transport has read it already; what was decoded cannot be checked any more.
    if "content-encoding" in response.headers:
        raise unproven("the body was read and decoded before it could be checked")
    proven.body.feed(response.content)
    proven.body.finish()
