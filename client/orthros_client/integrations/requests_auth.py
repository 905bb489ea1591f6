"""Authentication for requests: `session.auth = OrthrosRequestsAuth({"https://orders.example": "orders"})`.

Needs the extra `requests`. Translates between requests and the exchange of `orthros_client.http`; decides nothing
itself. The first attempt leaves with the request, every later one from a response hook.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Unpack
from urllib.parse import urlsplit

from attrs import define, field

from orthros_client.credentials.credentials import Credentials, Pause
from orthros_client.credentials.narrowing import Demanded
from orthros_client.credentials.refusal_reports import Reports
from orthros_client.errors import LocalMisuse, OrthrosError
from orthros_client.http.client.attachment import Attachment, redirected
from orthros_client.http.client.authentication import Authentication, Steps
from orthros_client.http.client.file_body import FileBody
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.outgoing import NOT_IN_A_PROBE, Attempt, Body, OutgoingRequest, Proven
from orthros_client.http.client.sources import CredentialSource, Place
from orthros_client.http.client.unproven import ResponseUnproven, unproven
from orthros_client.integrations.requests_bodies import readable_again
from orthros_client.integrations.requests_discharges import ask_discharger
from orthros_client.integrations.urllib3_messages import (
    RepeatableFile,
    drain,
    lowered,
    proven_response,
    target_sent,
    with_cause,
)
from orthros_client.local.client import Client
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.tickets.discharges import Discharge
from orthros_runtime.extras import extra

with extra("requests"):
    import requests
    import requests.auth
    import requests.utils
    from requests.structures import CaseInsensitiveDict

__all__ = ["CredentialSource", "FileBody", "OrthrosRequestsAuth", "proven_of"]

PROVEN: Final = "orthros"


class OrthrosRequestsAuth(Authentication, requests.auth.AuthBase):
    """Authenticates requests to the origins in `targets`, and proves each response before it is returned.

    Arguments, errors and limits are those of `httpx_auth.OrthrosAuth`; `client` is a `Client` or anything like it,
    yours to close; None makes one.
    `origin-unknown` is raised while the request is prepared. A redirect that requests follows by itself is sent
    without any Authorization header and raises: use allow_redirects=False. A prepared request can be sent once.
    discharge_session: what dischargers are asked with, such as a session that trusts their certificates; yours to
    close. None makes one each time.
    """

    def __init__(
        self,
        targets: Mapping[str, str] | Attachment,
        *,
        client: CredentialSource | None = None,
        discharge_session: requests.Session | None = None,
        **options: Unpack[AuthOptions],
    ) -> None:
        super().__init__(targets, client, options)
        self._own = Client() if client is None else None
        self._client = client or self._own
        self._discharge_session = discharge_session

    def close(self) -> None:
        """Closes idle connections of a client made here; the object can still be used."""
        if self._own is not None:
            self._own.close()

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds what the first attempt needs, and the hook that judges the response."""
        parts = urlsplit(r.url or "")
        place = self._place(parts.scheme, parts.netloc, r.headers)
        if place is None:
            return r
        if place.bearer:
            _require_free(r)
            r.headers["Authorization"] = f"Bearer {place.ask(self._client).value}"
            _hook(r, _Bearer(r))
            return r
        self._complete(r.method or "", r.headers)
        body = self._bind_body(r)
        outgoing = OutgoingRequest(
            method=r.method or "",
            origin=place.origin,
            target=target_sent(r.path_url),
            headers=_lowered(r.headers),
            body=body,
        )
        credentials = self._obtain(place)
        steps = self._steps(outgoing, credentials, place)
        conversation = _Conversation(r, steps, credentials.reports)
        conversation.begin()
        _hook(r, conversation)
        return r

    def _obtain(self, place: Place) -> Credentials:
        credentials: Credentials = place.ask(self._client)
        if not credentials.demands:
            return credentials
        return self._discharges.collect(credentials, partial(self._ask_for, credentials.client.realm))

    def _ask_for(self, home: str, demanded: Demanded) -> Discharge:
        place = self._attachment.place_of_discharger(demanded.discharger, home)
        return ask_discharger(place, demanded.cid, self._client, self._discharge_session)

    def _bind_body(self, r: requests.PreparedRequest) -> Body:
        found = r.headers.get("Content-Digest")
        stated = found.encode("latin-1") if isinstance(found, str) else found
        body: Any = r.body
        if isinstance(body, str):
            r.body = body = body.encode("utf-8")  # as urllib3 would, but here it can be hashed
        if body is None or isinstance(body, bytes):
            return Body.of(body or b"", stated)
        again = readable_again(r)
        if again is None:
            return Body.of_stream(stated, unbound=self._attachment.allow_unbound_bodies)
        prepared: Any = r
        prepared.body, prepared._body_position = again, 0
        measure = again.measure()
        r.headers.pop("Transfer-Encoding", None)
        r.headers["Content-Length"] = str(measure.size)
        return Body.measured(measure.size, measure.sha256, stated)


def proven_of(response: requests.Response) -> Proven | None:
    """What the target proved of this response; None for responses of bearer and other origins."""
    return getattr(response, PROVEN, None)


@define(eq=False)
class _Bearer:
    """The hook of a request with a token: refuses what a redirect brings."""

    _request: requests.PreparedRequest = field(repr=False)

    def __call__(self, response: requests.Response, **_kwargs: Any) -> requests.Response:
        if response.request is not self._request:
            raise _closing(response, redirected(_origin_of(response.request)))
        if response.is_redirect:
            self._request.headers.pop("Authorization", None)
        return response


@define(eq=False)
class _Conversation:
    """The hook of one request: feeds responses to the exchange, and sends the attempts that it asks for."""

    _request: requests.PreparedRequest = field(repr=False)
    _steps: Steps = field(repr=False)
    _reports: Reports = field(repr=False)
    _put_aside: tuple[str | None, Any, CaseInsensitiveDict[Any]] | None = field(default=None, repr=False)
    _is_done: bool = False

    def __call__(self, response: requests.Response, **kwargs: Any) -> requests.Response:
        if response.request is not self._request:
            raise _closing(response, redirected(_origin_of(response.request)))
        if self._is_done:
            raise _closing(response, LocalMisuse("wrong-state", "a prepared request can be sent once; prepare it anew"))
        while True:
            head = HttpResponse(
                status=response.status_code,
                headers=lowered(response.raw),  # not response.headers: there, what came several times is one value
            )
            try:
                step = self._steps.send(head)
            except StopIteration as done:
                self._end()
                return self._prove(response, done.value)
            except OrthrosError as error:
                self._end()
                if isinstance(error, ResponseUnproven) and error.wants_body:
                    with suppress(Exception):  # the error at hand says more than a body that does not come
                        error.hear(response.content)
                raise _closing(response, with_cause(error, response.raw)) from None
            drain(response.raw)
            self._take(step)
            response = self._repeat(response, kwargs)

    def begin(self) -> None:
        """Makes the prepared request the first attempt."""
        self._take(next(self._steps))

    def _end(self) -> None:
        self._is_done = True
        for pause in self._reports.telling():
            pause.block()

    def _take(self, step: Attempt | Pause) -> None:
        while isinstance(step, Pause):
            step.block()
            step = self._steps.send(None)
        self._dress(step)

    def _dress(self, attempt: Attempt) -> None:
        """Makes the prepared request this attempt: itself, or for once the probe before it."""
        request = self._request
        if attempt.probe:
            self._put_aside = (request.method, request.body, request.headers.copy())
            request.method, request.body = "OPTIONS", None
            for name in list(request.headers):
                if name.lower() in NOT_IN_A_PROBE:
                    del request.headers[name]
        elif self._put_aside is not None:
            request.method, request.body, request.headers = self._put_aside
            self._put_aside = None
        request.headers["Authorization"] = attempt.authorization
        if attempt.content_digest is not None:
            request.headers["Content-Digest"] = attempt.content_digest.decode("ascii")

    def _repeat(self, earlier: requests.Response, kwargs: Mapping[str, Any]) -> requests.Response:
        body: Any = self._request.body
        if isinstance(body, RepeatableFile):
            body.seek(0)
        adapter: requests.adapters.BaseAdapter = earlier.connection  # type: ignore[attr-defined,unused-ignore]
        response = adapter.send(self._request, **kwargs)
        response.history = [*earlier.history, earlier]
        return response

    def _prove(self, response: requests.Response, proven: Proven) -> requests.Response:
        if response.is_redirect:
            # Session follows unless told otherwise; where that leads must not see the authenticator.
            self._request.headers.pop("Authorization", None)
        setattr(response, PROVEN, proven)
        check = proven.body
        if check is None:
            return response
        if getattr(response, "_content_consumed", False):
            if "content-encoding" in response.headers:
                raise unproven("the body was read and decoded before it could be checked")
            check.feed(response.content)
            check.finish()
            return response
        response.raw = proven_response(
            response.raw, check, self._request.method, preload_content=False, decode_content=False
        )
        return response


def _closing(response: requests.Response, error: OrthrosError) -> OrthrosError:
    response.close()
    return error


def _hook(r: requests.PreparedRequest, hook: _Bearer | _Conversation) -> None:
    register: Any = r.register_hook  # not annotated in requests
    register("response", hook)


def _require_free(r: requests.PreparedRequest) -> None:
    if "Authorization" in r.headers:
        raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")


def _origin_of(request: requests.PreparedRequest) -> str:
    parts = urlsplit(request.url or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _lowered(headers: Mapping[str, str | bytes]) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (name.lower(), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in headers.items()
    )
