"""The requests and responses of httpx as `httpx_auth` reads and makes them.

Knows neither credentials nor which attempts are made.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from orthros_client.http.client.attachment import redirected
from orthros_client.http.client.discharges import MEDIA_TYPE, PATH
from orthros_client.http.client.outgoing import NOT_IN_A_PROBE, Attempt
from orthros_client.http.client.sources import Place
from orthros_client.http.client.targets import with_escapes
from orthros_client.integrations.httpx_libraries import Request, Response, library_of, not_read
from orthros_client.integrations.httpx_streams import Once, Spending

__all__ = [
    "asking_for",
    "authorize",
    "dressed",
    "escape",
    "lowered",
    "netloc_of",
    "refuse_redirect",
    "target_of",
]


def escape(request: Request) -> None:
    """Writes the path in the one spelling that targets take."""
    target = with_escapes(request.url.raw_path)
    if target != request.url.raw_path:
        request.url = request.url.copy_with(raw_path=target)


def netloc_of(url: Any) -> str:
    """What stands between `//` and the path; of user information, that it is there."""
    netloc: str = url.netloc.decode("ascii")
    return f"@{netloc}" if url.userinfo else netloc


def target_of(request: Request) -> bytes:
    """The bytes of the request line: the extension replaces the URL's target there."""
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return target


def lowered(headers: Any) -> tuple[tuple[str, bytes], ...]:
    """Header fields as they are sent or came, names in lower case."""
    return tuple((name.decode("latin-1").lower(), value) for name, value in headers.raw)


def dressed(request: Request, attempt: Attempt) -> Request:
    """The request as this attempt sends it, or the probe before it."""
    if attempt.probe:
        kept = [
            (name, value) for name, value in request.headers.raw if name.decode("latin-1").lower() not in NOT_IN_A_PROBE
        ]
        request = library_of(request).Request("OPTIONS", request.url, headers=kept, extensions=request.extensions)
    if attempt.content_digest is not None:
        request.headers["Content-Digest"] = attempt.content_digest.decode("ascii")
    authorize(request, attempt.authorization)
    return request


def asking_for(place: Place, cid: bytes, request: Request, attempt: Attempt) -> Request:
    """A request to a discharger, which has nothing of `request` but its patience."""
    patience = {name: value for name, value in request.extensions.items() if name == "timeout"}
    headers = {"Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity"}
    library = library_of(request)
    made = library.Request("POST", f"{place.origin}{PATH}", headers=headers, content=cid)
    body = Once(cid, str(place.origin))
    return dressed(library.Request("POST", made.url, headers=made.headers, stream=body, extensions=patience), attempt)


def authorize(request: Request, value: str) -> None:
    """Adds credentials that leave with the head, and are gone from it afterwards."""
    request.headers["Authorization"] = value
    with suppress(*not_read):  # what is streamed, some transports read before the head
        request.stream = Spending(request)


def refuse_redirect(sent: Request, response: Response) -> None:
    """Raises PeerMisbehaved `response-unproven` when httpx has followed a redirect."""
    if response.request is not sent:
        raise redirected(f"{response.request.url.scheme}://{response.request.url.netloc.decode('ascii')}")
