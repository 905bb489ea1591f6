"""Authentication for urllib3: a `PoolManager` whose requests to known origins carry a ticket and are proven.

Needs the extra `urllib3`. Translates between urllib3 and the exchange of `orthros_client.http`; decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Unpack

from orthros_client.credentials.credentials import Credentials
from orthros_client.credentials.narrowing import Demanded
from orthros_client.errors import LocalMisuse, OrthrosError
from orthros_client.flows import drive
from orthros_client.http.client.attachment import Attachment, redirected
from orthros_client.http.client.authentication import Authentication
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
from orthros_client.http.client.outgoing import NOT_IN_A_PROBE, Attempt, Body, OutgoingRequest, Proven
from orthros_client.http.client.sources import CredentialSource, Place
from orthros_client.http.client.unproven import ResponseUnproven
from orthros_client.integrations.urllib3_messages import (
    PathFile,
    RepeatableFile,
    drain,
    lowered,
    proven_response,
    rewound,
    target_sent,
    with_cause,
)
from orthros_client.local.client import Client
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.tickets.discharges import Discharge
from orthros_runtime.extras import extra

with extra("urllib3"):
    import urllib3
    from urllib3.util import parse_url

__all__ = ["CredentialSource", "FileBody", "OrthrosPoolManager", "proven_of"]

PROVEN: Final = "orthros"


class OrthrosPoolManager(Authentication, urllib3.PoolManager):
    """Authenticates requests to the origins in `targets`, and proves each response before it is returned.

    Arguments and errors are those of `httpx_auth.OrthrosAuth`; `client` is a `Client` or anything like it, yours to
    close; None makes one. pool: the options of `urllib3.PoolManager`, such as `{"ca_certs": "ca.pem"}`. Use it in the
    place of a PoolManager. A redirect that is to be followed raises: use redirect=False.
    """

    def __init__(
        self,
        targets: Mapping[str, str] | Attachment,
        *,
        client: CredentialSource | None = None,
        pool: Mapping[str, Any] | None = None,
        **options: Unpack[AuthOptions],
    ) -> None:
        Authentication.__init__(self, targets, client, options)
        urllib3.PoolManager.__init__(self, **(pool or {}))
        # Where it follows a redirect by itself, that leads to no authenticated request.
        self._others = urllib3.PoolManager(**(pool or {}))
        self._own = Client() if client is None else None
        self._client = client or self._own

    def close(self) -> None:
        """Closes idle connections; the object can still be used."""
        self.clear()
        self._others.clear()
        if self._own is not None:
            self._own.close()

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:  # type: ignore[override]
        """As that of PoolManager, which `request` calls. Raises as the class says."""
        parts = parse_url(url)
        netloc = parts.netloc or ""
        headers = urllib3.HTTPHeaderDict(self.headers if kw.get("headers") is None else kw["headers"])
        place = self._place(parts.scheme or "", f"{parts.auth}@{netloc}" if parts.auth else netloc, headers)
        if place is None:
            return self._others.urlopen(method, url, redirect, **kw)
        kw["headers"] = headers
        if place.bearer:
            if "Authorization" in headers:
                raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")
            headers["Authorization"] = f"Bearer {place.ask(self._client).value}"
            return _not_followed(super().urlopen(method, url, redirect=False, **kw), url, redirect)
        self._complete(method, headers)
        body = self._bind_body(kw, headers)
        outgoing = OutgoingRequest(
            method=method,
            origin=place.origin,
            target=target_sent(parts.request_uri),
            headers=tuple((name.lower(), _bytes(value)) for name, value in headers.items()),
            body=body,
        )
        credentials: Credentials = place.ask(self._client)
        if credentials.demands:
            obtain = partial(self._ask_for, credentials.client.realm, kw)
            credentials = self._discharges.collect(credentials, obtain)
        attempts = _Attempts(partial(self._send, method, url, kw))
        steps = self._steps(outgoing, credentials, place)
        try:
            proven: Proven = drive(steps, attempts.send, credentials.reports.telling)
        except OrthrosError as error:
            raise attempts.failed(error) from None
        how = {"preload_content": kw.get("preload_content", True), "decode_content": kw.get("decode_content", True)}
        return _not_followed(attempts.proven(proven, method, **how), url, redirect)

    def _send(self, method: str, url: str, kw: Mapping[str, Any], attempt: Attempt) -> Any:
        sent, headers = {**kw, "preload_content": False}, kw["headers"].copy()
        body = sent.get("body")
        if attempt.probe:
            method, sent["body"], sent["chunked"] = "OPTIONS", None, False
            for name in [name for name in headers if name.lower() in NOT_IN_A_PROBE]:
                del headers[name]
        elif isinstance(body, RepeatableFile):
            body.seek(0)
        headers["Authorization"] = attempt.authorization
        if attempt.content_digest is not None:
            headers["Content-Digest"] = attempt.content_digest.decode("ascii")
        return super().urlopen(method, url, redirect=False, **{**sent, "headers": headers})

    def _bind_body(self, kw: dict[str, Any], headers: urllib3.HTTPHeaderDict) -> Body:
        stated = _bytes(headers["Content-Digest"]) if "Content-Digest" in headers else None
        body: Any = kw.get("body")
        if isinstance(body, str):
            kw["body"] = body = body.encode("utf-8")  # as urllib3 would, but here it can be hashed
        if body is None or isinstance(body, (bytes, bytearray, memoryview)):
            return Body.of(bytes(body or b""), stated)
        if isinstance(body, FileBody):
            again = RepeatableFile(partial(PathFile, body))
        elif hasattr(body, "read") and hasattr(body, "seekable") and body.seekable():
            again = RepeatableFile(partial(rewound, body, body.tell()))
        else:
            return Body.of_stream(stated, unbound=self._attachment.allow_unbound_bodies)
        measure = again.measure()
        kw["body"], kw["chunked"] = again, False
        headers.discard("Transfer-Encoding")
        headers["Content-Length"] = str(measure.size)
        return Body.measured(measure.size, measure.sha256, stated)

    def _ask_for(self, home: str, kw: Mapping[str, Any], demanded: Demanded) -> Discharge:
        """One discharge, asked for in the own name over the same connections, with the patience of the request."""
        place: Place = self._attachment.place_of_discharger(demanded.discharger, home)
        headers = urllib3.HTTPHeaderDict({"Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity"})
        asked = {"headers": headers, "body": demanded.cid}
        asked |= {"timeout": kw["timeout"]} if "timeout" in kw else {}
        attempts = _Attempts(partial(self._send, "POST", f"{place.origin}{PATH}", asked))
        try:
            proven: Proven = drive(asking(place.ask(self._client), place.origin, demanded.cid), attempts.send)
            check_size(attempts.head, proven)
            response = attempts.proven(proven, "POST", preload_content=False)
            answer = response.read(MOST_ANSWER_BYTES + 1)
            if len(answer) > MOST_ANSWER_BYTES:
                raise too_long(proven.target)
            response.read()  # to its end, where it is proven
        except OrthrosError as error:
            raise attempts.failed(error) from None
        return given(proven, demanded.cid, answer)


def proven_of(response: urllib3.BaseHTTPResponse) -> Proven | None:
    """What the target proved of this response; None for responses of bearer and other origins."""
    return getattr(response, PROVEN, None)


class _Attempts:
    """Sends what an exchange wants, and keeps the last response."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._last: Any = None

    @property
    def head(self) -> HttpResponse:
        """The head of the last response."""
        return HttpResponse(status=self._last.status, headers=lowered(self._last))

    def send(self, attempt: Attempt) -> HttpResponse:
        """One attempt; the head of its response."""
        if self._last is not None:
            drain(self._last)
        self._last = self._send(attempt)
        return self.head

    def proven(self, proven: Proven, method: str, **options: Any) -> Any:
        """The last response, which the target has proven."""
        response = self._last
        if proven.body is not None:
            response = proven_response(response, proven.body, method, **options)
            response.retries = self._last.retries
        elif options["preload_content"]:
            response.read(decode_content=options["decode_content"], cache_content=True)
        setattr(response, PROVEN, proven)
        return response

    def failed(self, error: OrthrosError) -> OrthrosError:
        """The last response is nobody's; an error may want to hear what it says of itself."""
        if self._last is None:
            return error
        if isinstance(error, ResponseUnproven) and error.wants_body:
            with suppress(Exception):  # the error at hand says more than a body that does not come
                error.hear(self._last.read())
        drain(self._last)
        return with_cause(error, self._last)


def _not_followed(response: Any, url: str, redirect: bool) -> Any:
    if redirect and (where := response.get_redirect_location()):
        response.close()
        raise redirected(where)
    return response


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")
