"""Authentication for httpx: `httpx.Client(auth=OrthrosAuth({"https://orders.example": "orders"}))`, sync and async.

Needs the extra `httpx`. Translates between httpx and the exchange of `orthros_client.http`; decides nothing itself.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self

import anyio.to_thread
import httpx
from attrs import frozen

from orthros_client.conversation import Token
from orthros_client.credentials import Credentials
from orthros_client.discharging import Discharges
from orthros_client.errors import LocalMisuse, OrthrosError
from orthros_client.http.attachment import Attachment, Place, asserted, redirected
from orthros_client.http.discharges import MEDIA_TYPE, PATH, asking, check_size, doubting, given
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
from orthros_client.http.sources import AsyncSource, Question, Source, propagates
from orthros_client.http.tracing import TRACEPARENT
from orthros_client.integrations.httpx_sources import Sources
from orthros_client.integrations.httpx_streams import Checked, Drained, FileStream, Once, Spending
from orthros_client.narrowing import Demanded
from orthros_client.on_behalf import AS_CONFIGURED, OnBehalfOf
from orthros_client.propagation import traceparent as traceparent_here
from orthros_protocol import AssertedUser, Discharge
from orthros_protocol.http_profile import HttpResponse, format_content_digest

__all__ = ["AsyncSource", "FileBody", "OrthrosAuth", "Source", "proven_of"]

PROVEN: Final = "orthros"
_BEARER: Final = "Bearer "
_MOST_IN_MEMORY: Final = 1 << 20


@frozen
class _Read:
    """Effect: read a body into memory."""

    message: httpx.Request | httpx.Response


@frozen
class _Hash:
    """Effect: hash a file."""

    file: FileBody


_Effect = httpx.Request | Question | _Read | _Hash
_Flow = Generator[_Effect, Any, None]


class OrthrosAuth(httpx.Auth):
    """Authenticates requests to the origins in `targets`, and proves each response before it is returned.

    targets: origin (`https://host[:port]`) -> target (`name` or `name@realm`); exact matches only.
    client: `Client`, `AsyncClient` or anything like them, yours to close; None makes the one that fits.
    scopes: which to ask for, for all targets or by target name; None means what the rules allow unasked.
    cover: headers to bind besides content-type, content-encoding and idempotency-key.
    bearer: the origins among `targets` that take a JWT. Their responses prove nothing but what TLS proves.
    forwarded: those behind a proxy with forward authentication: the target proves that it accepted, TLS the response.
    accept_unproven_bodies: accept streams that the target does not sign; status and covered headers are proven still.
    allow_unbound_bodies: send streams without Content-Digest; only targets that are not told of the body take them.
    pass_others: let requests to other origins out untouched instead of raising `origin-unknown`.
    delegable: the origins whose targets may call others on behalf of this client; where a rule allows it.
    dischargers: where discharges are asked for that tickets demand: `name` or `name@realm` -> origin. They are kept
        while they are good. Demands go to no other origin.
    traceparent: carry on the trace of the request that is being served (W3C Trace Context) where a request has no such
        header; None: where `client` propagates.

    Raises, from the call: Misconfigured `origin-unknown` before anything is sent; what `Client.credentials` raises;
    TargetRefusal, MaybeExecuted, PeerMisbehaved `response-unproven`, LocalMisuse; Refused `discharger-unknown`, and
    DischargeRefused when a discharger says no. A body that is not the target's
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
        delegable: Iterable[str] = (),
        dischargers: Mapping[str, str] | None = None,
        traceparent: bool | None = None,
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
            delegable=delegable,
            dischargers=dischargers,
        )
        self._sources = Sources(client)
        self._discharges = Discharges()
        self._traces = propagates(client) if traceparent is None else traceparent
        self._user: AssertedUser | None = None
        self._behalf: OnBehalfOf = AS_CONFIGURED

    def __repr__(self) -> str:
        return f"<OrthrosAuth for {', '.join(map(str, self._attachment.origins)) or 'no origin'}>"

    def for_user(self, user: str | AssertedUser) -> Self:
        """The same, for requests of one end user: `client.get(url, auth=auth.for_user("alice"))`.

        For gateways that hold the scope `assert-user`: it is this client's word, told to the target under its MAC. A
        text is a name that is not proven here. Raises LocalMisuse for a name that cannot travel.
        """
        other = copy.copy(self)
        other._user = asserted(user)
        return other

    def on_behalf_of(self, behalf: OnBehalfOf) -> Self:
        """The same, with tickets on behalf of somebody: of a `VerifiedCaller`, of a subject whose name this client may
        assert, or with None of nobody, whoever is being served. See `Client.credentials`.
        """
        other = copy.copy(self)
        other._behalf = behalf
        return other

    def close(self) -> None:
        """Closes idle connections of a blocking client made here; the object can still be used."""
        self._sources.close()

    async def aclose(self) -> None:
        """The same for the client of this event loop."""
        await self._sources.aclose()

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
            elif isinstance(effect, Question):
                answer = self._sources.ask(effect)
            elif isinstance(effect, _Read):
                answer = effect.message.read()
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
            elif isinstance(effect, Question):
                answer = await self._sources.aask(effect)
            elif isinstance(effect, _Read):
                answer = await effect.message.aread()
            else:
                answer = await anyio.to_thread.run_sync(effect.file.measure)

    def _flow(self, request: httpx.Request) -> _Flow:
        place = self._attachment.place(request.url.scheme, _netloc(request.url))
        if place is None:
            yield request
            return
        self._trace(request)
        if place.bearer:
            if self._user is not None:
                raise LocalMisuse("value-invalid", f"{place.origin} gets a token, which names no user per request")
            if not request.headers.get("Authorization", _BEARER).startswith(_BEARER):
                raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")
            token: Token = yield Question(place, self._behalf)
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
        credentials: Credentials = yield Question(place, self._behalf)
        if credentials.demands:
            credentials = yield from self._collect(credentials, request)
        steps = exchange(
            outgoing,
            credentials,
            cover=self._attachment.cover,
            accept_unproven_bodies=self._attachment.accept_unproven_bodies,
            forwarded=place.forwarded,
            user=self._user,
        )
        steps = doubting(steps, partial(self._discharges.forget, credentials))
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

    def _trace(self, request: httpx.Request) -> None:
        if self._traces and TRACEPARENT not in request.headers:
            value = traceparent_here()
            if value is not None:
                request.headers[TRACEPARENT] = value

    def _collect(self, credentials: Credentials, request: httpx.Request) -> Generator[_Effect, Any, Credentials]:
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

    def _ask_for(self, demanded: Demanded, home: str, request: httpx.Request) -> Generator[_Effect, Any, Discharge]:
        """One discharge, asked for in the own name over the client that sends `request`."""
        place = self._attachment.place_of_discharger(demanded.discharger, home)
        to: Credentials = yield Question(place, None)
        steps = asking(to, place.origin, demanded.cid)
        attempt = next(steps)
        while True:
            sent = _demand(place, demanded.cid, attempt, request)
            response: httpx.Response = yield sent
            _refuse_redirect(sent, response)
            head = HttpResponse(status=response.status_code, headers=_lowered(response.headers))
            try:
                attempt = steps.send(head)
            except StopIteration as done:
                proven: Proven = done.value
                check_size(head, proven)
                _install(response, proven)
                return given(proven, demanded.cid, (yield _Read(response)))
            response.stream = Drained(response)

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


def _demand(place: Place, cid: bytes, attempt: Attempt, request: httpx.Request) -> httpx.Request:
    """A request to a discharger, which has nothing of `request` but its patience."""
    patience = {name: value for name, value in request.extensions.items() if name == "timeout"}
    headers = {"Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity"}
    made = httpx.Request("POST", f"{place.origin}{PATH}", headers=headers, content=cid)
    body = Once(cid, str(place.origin))
    return _dressed(httpx.Request("POST", made.url, headers=made.headers, stream=body, extensions=patience), attempt)


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
