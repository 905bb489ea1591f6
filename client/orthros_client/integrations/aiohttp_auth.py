"""Authentication for aiohttp's client: `ClientSession(middlewares=[OrthrosAiohttpAuth({"https://...": "orders"})])`.

Needs the extra `aiohttp`. Translates between aiohttp and the exchange of `orthros_client.http`; decides nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Unpack, cast
from weakref import WeakValueDictionary

from orthros_client.credentials.credentials import Credentials
from orthros_client.credentials.narrowing import Demanded
from orthros_client.errors import LocalMisuse
from orthros_client.flows import adrive
from orthros_client.http.client.attachment import Attachment, redirected
from orthros_client.http.client.authentication import Authentication, Steps
from orthros_client.http.client.discharges import (
    MEDIA_TYPE,
    MOST_ANSWER_BYTES,
    PATH,
    asking,
    check_size,
    given,
    too_long,
)
from orthros_client.http.client.file_body import FileBody
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.outgoing import NOT_IN_A_PROBE, Attempt, OutgoingRequest, Proven
from orthros_client.http.client.sources import AsyncCredentialSource, CredentialSource
from orthros_client.http.client.targets import with_escapes
from orthros_client.http.client.unproven import ResponseUnproven, unproven
from orthros_client.integrations.aiohttp_bodies import bind_body
from orthros_client.integrations.aiohttp_streams import PulledStream
from orthros_client.integrations.async_sources import Sources
from orthros_client.local.conversation import Token
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.primitives.http_fields import stated_length
from orthros_protocol.tickets.discharges import Discharge
from orthros_runtime.extras import extra

with extra("aiohttp"):
    from aiohttp import ClientRequest, ClientResponse
    from yarl import URL

__all__ = ["AsyncCredentialSource", "CredentialSource", "FileBody", "OrthrosAiohttpAuth", "proven_of"]

PROVEN: Final = "orthros"
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_DRAINED: Final = 64 * 1024
_BEARER: Final = "Bearer "

Handler = Callable[[ClientRequest], Awaitable[ClientResponse]]


class OrthrosAiohttpAuth(Authentication):
    """Authenticates requests to the origins in `targets`, and proves each response before it is returned.

    Arguments and errors are those of `httpx_auth.OrthrosAuth`. Give it to a session, or to one request as
    `session.get(url, middlewares=[auth.for_user("alice")])`; inside of other middlewares, so the last in the list.
    aiohttp decodes responses before anything could be checked: for those with Content-Encoding, which none has unless
    the request asked for it, make the session with `auto_decompress=False`. A redirect that aiohttp follows by itself
    raises before anything is sent: use allow_redirects=False. One object serves many sessions and event loops.
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
        # By the timer, which aiohttp gives to all that one call of the program sends.
        self._redirects: WeakValueDictionary[int, ClientResponse] = WeakValueDictionary()
        self._redirects_of_others: WeakValueDictionary[int, ClientResponse] = WeakValueDictionary()

    async def aclose(self) -> None:
        """Closes idle connections of a client made here for this event loop; the object can still be used."""
        await self._sources.aclose()

    async def __call__(self, request: ClientRequest, handler: Handler) -> ClientResponse:
        """What aiohttp calls for each request."""
        _refuse_redirect(request, self._redirects)
        place = self._place(request.url.scheme, request.url.raw_authority, request.headers)
        if place is None:
            return _remembering(request, await handler(request), self._redirects_of_others)
        _refuse_redirect(request, self._redirects_of_others)  # nobody else leads an authenticated request anywhere
        if place.bearer:
            if not request.headers.get("Authorization", _BEARER).startswith(_BEARER):
                raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")
            token = cast(Token, await self._sources.aask(place))
            request.headers["Authorization"] = f"{_BEARER}{token.value}"
            return _remembering(request, await handler(request), self._redirects)
        self._complete(request.method, request.headers)
        _escape(request)
        body = await bind_body(request, unbound=self._attachment.allow_unbound_bodies)
        outgoing = OutgoingRequest(
            method=request.method,
            origin=place.origin,
            target=request.url.raw_path_qs.encode("ascii"),
            headers=_lowered(request),
            body=body,
        )
        credentials = cast(Credentials, await self._sources.aask(place))
        if credentials.demands:
            obtain = partial(self._ask_for, credentials.client.realm, request, handler)
            credentials = await self._discharges.acollect(credentials, obtain)
        steps = self._steps(outgoing, credentials, place)
        attempts = _Attempts(partial(_dressed, request), handler)
        try:
            proven = await adrive(steps, attempts.send, credentials.reports.telling)
            return _remembering(request, _installed(attempts.response, proven), self._redirects)
        except BaseException as error:
            await attempts.fail(error)
            raise

    async def _ask_for(self, home: str, request: ClientRequest, handler: Handler, demanded: Demanded) -> Discharge:
        """One discharge, asked for in the own name over the session that sends `request`."""
        place = self._attachment.place_of_discharger(demanded.discharger, home)
        to = cast(Credentials, await self._sources.aask(place))
        steps: Steps = asking(to, place.origin, demanded.cid)
        headers = {"Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity"}
        asked = _sibling(request, "POST", URL(f"{place.origin}{PATH}"), headers, demanded.cid)
        attempts = _Attempts(partial(_dressed, asked), handler)
        try:
            proven = await adrive(steps, attempts.send)
            response = attempts.response
            check_size(_head_of(response), proven)
            answer, stream = b"", _installed(response, proven).content
            while piece := await stream.readany():
                answer += piece
                if len(answer) > MOST_ANSWER_BYTES:
                    raise too_long(proven.target)
        except BaseException as error:
            await attempts.fail(error)
            raise
        response.release()
        return given(proven, demanded.cid, answer)


def _refuse_redirect(request: ClientRequest, redirects: Mapping[int, ClientResponse]) -> None:
    timer: Any = request._timer
    earlier = redirects.get(id(timer))
    if earlier is not None and earlier._timer is timer:
        raise redirected(str(request.url.origin()))


def _remembering(
    request: ClientRequest, response: ClientResponse, redirects: MutableMapping[int, ClientResponse]
) -> ClientResponse:
    if response.status in _REDIRECTS:
        redirects[id(request._timer)] = response
    return response


def proven_of(response: ClientResponse) -> Proven | None:
    """What the target proved of this response; None for responses of bearer and other origins."""
    return getattr(response, PROVEN, None)


class _Attempts:
    """Sends what an exchange wants, and keeps the last response."""

    def __init__(self, dress: Callable[[Attempt], ClientRequest], handler: Handler) -> None:
        self._dress = dress
        self._handler = handler
        self._responses: list[ClientResponse] = []

    @property
    def response(self) -> ClientResponse:
        """The one that ended the exchange."""
        return self._responses[-1]

    async def send(self, attempt: Attempt) -> HttpResponse:
        """One attempt; the head of its response."""
        if self._responses:
            await _drain(self._responses.pop())
        self._responses.append(await self._handler(self._dress(attempt)))
        return _head_of(self.response)

    async def fail(self, error: BaseException) -> None:
        """The response is nobody's; an error may want to hear what it says of itself."""
        for response in self._responses:
            if isinstance(error, ResponseUnproven) and error.wants_body:
                with suppress(Exception):  # the error at hand says more than a body that does not come
                    error.hear(await response.read())
            response.close()


def _escape(request: ClientRequest) -> None:
    """Writes the path in the one spelling that targets take."""
    raw = request.url.raw_path_qs.encode("ascii")
    target = with_escapes(raw)
    if target != raw:
        path, _mark, query = target.decode("ascii").partition("?")
        url = request.url
        request.url = URL.build(
            scheme=url.scheme, authority=url.raw_authority, path=path, query_string=query, encoded=True
        )


def _lowered(request: ClientRequest) -> tuple[tuple[str, bytes], ...]:
    return tuple((name.lower(), value.encode("utf-8")) for name, value in request.headers.items())


def _head_of(response: ClientResponse) -> HttpResponse:
    headers = tuple((name.decode("latin-1").lower(), value) for name, value in response.raw_headers)
    return HttpResponse(status=response.status, headers=headers)


def _dressed(request: ClientRequest, attempt: Attempt) -> ClientRequest:
    """The request as this attempt sends it, or the probe before it."""
    if attempt.probe:
        kept = {name: value for name, value in request.headers.items() if name.lower() not in NOT_IN_A_PROBE}
        request = _sibling(request, "OPTIONS", request.url, kept, None)
    if attempt.content_digest is not None:
        request.headers["Content-Digest"] = attempt.content_digest.decode("ascii")
    request.headers["Authorization"] = attempt.authorization
    return request


def _sibling(request: Any, method: str, url: URL, headers: Mapping[str, str], data: bytes | None) -> ClientRequest:
    """Another request over the session of `request`, with its patience and nothing else of it."""
    return ClientRequest(
        method,
        url,
        headers=headers,
        data=data,
        skip_auto_headers=("User-Agent", "Accept"),
        loop=asyncio.get_running_loop(),
        session=request.session,
        ssl=request.ssl,
        response_class=request.response_class,
        proxy=request.proxy,
        proxy_auth=request.proxy_auth,
        proxy_headers=request.proxy_headers,
        timer=request._timer,
    )


def _installed(response: ClientResponse, proven: Proven) -> ClientResponse:
    setattr(response, PROVEN, proven)
    check = proven.body
    if check is None:
        return response
    if "content-encoding" in response.headers and response._session.auto_decompress:  # type: ignore[union-attr]
        raise unproven(
            "the response has a Content-Encoding, and aiohttp decodes it before it could be checked",
            "Make the session with `auto_decompress=False`, or do not ask for compression.",
        )

    def checked(data: bytes, more: bool) -> bytes:
        check.feed(data)
        if not more:
            check.finish()
        return data

    response.content = PulledStream(response.content, checked)
    return response


async def _drain(response: ClientResponse) -> None:
    """Reads a short body, unseen, so that the connection can be used again."""
    size = stated_length(list(response.headers.getall("Content-Length", ())))
    if size is not None and size <= _MOST_DRAINED:
        with suppress(Exception):  # it is not used
            await response.read()
    response.release()
