"""`orthros call`: one HTTP request with a ticket, and a response that is shown only as far as it is proven.

Needs the extra `httpx` or `httpx2`. Turns what httpx reports into the explained errors of the other commands.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from typing import IO, TYPE_CHECKING, Final

from orthros_client.cli.call_options import PlannedCall, Targets, load_targets, planned
from orthros_client.cli.call_source import dischargers_in, source_of
from orthros_client.cli.commands import client_of
from orthros_client.cli.output import OK
from orthros_client.errors import LocalMisuse, Malformed, Misconfigured, PeerMisbehaved, Refused, Unavailable
from orthros_client.http.client.attachment import Attachment
from orthros_client.http.client.file_body import FileBody
from orthros_client.http.client.origins import Origin
from orthros_client.http.client.outgoing import EMPTY, Body, OutgoingRequest
from orthros_client.http.client.sources import Place
from orthros_client.integrations.httpx_auth import OrthrosAuth, proven_of
from orthros_client.integrations.httpx_messages import escape, netloc_of
from orthros_client.reasons import ORIGIN_UNKNOWN, TARGET_UNREACHABLE
from orthros_protocol.keys.full_disk import unwritable

if TYPE_CHECKING:
    import httpx

    from orthros_client.local.client import Client
else:
    from orthros_client.integrations.httpx_libraries import installed as httpx

__all__ = ["call", "probe"]

_CONFIDENTIAL: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_BY_STATUS: Final = {401: 3, 403: 3, 404: 5, 410: 5, 429: 4, 502: 4, 503: 4, 504: 4}
_REMOTE: Final = 2
_MOST_HELD: Final = 1 << 20


def call(arguments: argparse.Namespace) -> int:
    """`orthros call URL`. Raises OrthrosError; with --fail the status decides about the exit code."""
    with planned(arguments) as plan, client_of(arguments) as local, _http_client(arguments) as client:
        request = _build(client, plan)
        origin = _origin_of(request.url)
        targets = _targets(arguments, origin)
        attachment = Attachment(
            targets.origins,
            scopes=arguments.scope,
            cover=arguments.cover,
            bearer=targets.bearer,
            forwarded=targets.forwarded,
            accept_unproven_bodies=arguments.accept_unproven_body,
            delegable=(origin,) if arguments.delegable else (),
            dischargers=dischargers_in(arguments),
            idempotency=None if arguments.idempotency_key is None else "header",
        )
        place = attachment.place(request.url.scheme, netloc_of(request.url))
        if place is None:
            raise Misconfigured(ORIGIN_UNKNOWN, request.url.host)
        arguments.target = place.target  # for the remedies
        if arguments.explain_http:
            _explain(request, plan, place, arguments.cover)
            return OK
        if arguments.verbose:
            _say(f"* {place.target} at {place.origin}, with a {'token' if place.bearer else 'ticket'}")
            client.event_hooks = {"request": [_show_attempt], "response": [_show_answer]}
        _check_destination(arguments.out)
        auth = OrthrosAuth(attachment, client=source_of(arguments, local, place.target))
        # An empty name, as of a variable that is not set, is an error: never this program's own authority instead.
        auth = auth if arguments.user is None else auth.for_user(arguments.user)
        auth = auth if arguments.behalf is None else auth.on_behalf_of(arguments.behalf)
        auth = auth.harmless() if arguments.harmless else auth
        response = _send(client, request, auth, arguments)
        try:
            return _take(arguments, response)
        finally:
            response.close()


def probe(arguments: argparse.Namespace, local: Client) -> str:
    """What one GET of the URL with a ticket for the target comes to, for `orthros doctor`. Raises what `call` raises,
    and the refusal that the target's own application answered."""
    with _http_client(arguments) as client:
        request = _build(client, PlannedCall("GET", arguments.url, ()))
        auth = OrthrosAuth(Attachment({_origin_of(request.url): arguments.target}), client=local)
        response = _send(client, request, auth, arguments)
        with closing(response):
            body = b"".join(response.iter_raw())
        if response.status_code == 403 and (said := _refusal_in(body)):
            raise Refused("insufficient-scope", said)
        return f"status {response.status_code} and {len(body)} bytes, proven by {arguments.target}"


def _refusal_in(body: bytes) -> str:
    """What a proven body says of scopes that the caller lacks; empty for any other body."""
    with suppress(ValueError, TypeError, KeyError):
        found = json.loads(body)
        if found["error"] == "insufficient_scope":
            return str(found["error_description"])
    return ""


def _targets(arguments: argparse.Namespace, origin: str) -> Targets:
    """Whom the command line, else the file, puts at this origin."""
    bearer = (origin,) if arguments.bearer else ()
    forwarded = (origin,) if arguments.forwarded else ()
    if arguments.target:
        return Targets({origin: arguments.target}, bearer, forwarded)
    known = load_targets(arguments.targets)
    if not known.origins:
        raise Misconfigured(ORIGIN_UNKNOWN, f"{origin}: name its target with --target, or map it with --targets FILE")
    return Targets(known.origins, (*known.bearer, *bearer), (*known.forwarded, *forwarded))


def _origin_of(url: httpx.URL) -> str:
    try:
        return str(Origin.of(url.scheme, netloc_of(url)))
    except Malformed as error:
        raise Misconfigured(ORIGIN_UNKNOWN, error.detail) from None


def _http_client(arguments: argparse.Namespace) -> httpx.Client:
    verify: ssl.SSLContext | bool = True
    if arguments.cacert:
        try:
            verify = ssl.create_default_context(cafile=arguments.cacert)
        except OSError as error:  # SSLError is one
            why = error.strerror or "it holds no certificates"
            raise Misconfigured("file-unreadable", f"{arguments.cacert}: {why}") from None
    transport = httpx.HTTPTransport(verify=verify, uds=arguments.unix_socket) if arguments.unix_socket else None
    headers = {"User-Agent": f"orthros/{version('orthros')}", "Accept": "*/*", "Accept-Encoding": "identity"}
    return httpx.Client(verify=verify, transport=transport, headers=headers, timeout=arguments.timeout)


def _build(client: httpx.Client, plan: PlannedCall) -> httpx.Request:
    headers = [(name, value) for name, value in plan.headers if value is not None]
    try:
        request = client.build_request(plan.method, plan.url, headers=headers, content=plan.body)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise LocalMisuse("value-invalid", f"the URL: {error}") from None
    if request.url.scheme not in ("http", "https") or not request.url.host:
        raise LocalMisuse("value-invalid", "the URL: write https://host/path")
    for name, value in plan.headers:
        if value is None:
            request.headers.pop(name, None)
    escape(request)
    return request


def _send(
    client: httpx.Client, request: httpx.Request, auth: OrthrosAuth, arguments: argparse.Namespace
) -> httpx.Response:
    origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
    try:
        return client.send(request, auth=auth, stream=True, follow_redirects=False)
    except httpx.TimeoutException:
        raise Unavailable("timeout", f"{origin}: nothing within {arguments.timeout:g} s") from None
    except (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
        raise Unavailable(TARGET_UNREACHABLE, f"{origin}: {error}") from None
    except httpx.TransportError as error:
        raise PeerMisbehaved("connection-truncated", f"{origin}: {error}; it may have been executed") from None


def _take(arguments: argparse.Namespace, response: httpx.Response) -> int:
    if arguments.verbose:
        _show_proof(response)
    if arguments.bearer and response.status_code == 401:
        _say(
            f"orthros: the target did not accept the token for {arguments.target}: likelier this is another service's "
            "origin (--target), else its JWT key is older; its log says which, under the reference of the answer"
        )
    if arguments.fail and response.status_code >= 400:
        _say(f"orthros: the target answered {response.status_code} {response.reason_phrase}".rstrip())
        return _BY_STATUS.get(response.status_code, _REMOTE)
    size = 0
    proven = proven_of(response)
    check = None if proven is None else proven.body
    with _destination(arguments.out) as out:
        held: list[bytes] = [_head_of(response)] if arguments.include or arguments.head else []
        is_held = check is not None
        try:
            for chunk in response.iter_raw():
                size += len(chunk)
                held.append(chunk)
                # What can be proven is not shown before, unless it is large; a slow stream is shown as it comes.
                is_held = is_held and size <= _MOST_HELD
                if not is_held:
                    _show(out, held)
        except httpx.TransportError as error:
            came = size if check is None else check.size  # what waits for its proof is not among the chunks
            if isinstance(error, httpx.TimeoutException):
                raise Unavailable("timeout", f"the body stopped after {came} bytes and is not complete") from None
            raise PeerMisbehaved("connection-truncated", f"the body ended after {came} bytes: not complete") from None
        _show(out, held)
    return OK


def _show(out: IO[bytes], held: list[bytes]) -> None:
    out.write(b"".join(held))
    out.flush()
    held.clear()


def _check_destination(path: str | None) -> None:
    """Raises Misconfigured before anything is executed for an answer that could not be kept."""
    if path is None or path == "-":
        return
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise Misconfigured("file-unreadable", f"{path}: it cannot be written")


@contextmanager
def _destination(path: str | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that appears under its name when everything is in it."""
    if path is None or path == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    is_device = os.path.exists(path) and not os.path.isfile(path)
    part = path if is_device else f"{path}.{os.urandom(4).hex()}.part"
    try:
        with open(part, "wb" if is_device else "xb") as out:
            yield out
        if not is_device:
            os.replace(part, path)
    except BaseException as error:
        if not is_device:
            with suppress(OSError):
                os.unlink(part)
        if isinstance(error, OSError):
            raise unwritable(path, error) from None
        raise


def _head_of(response: httpx.Response) -> bytes:
    lines = [f"{response.http_version} {response.status_code} {response.reason_phrase}".rstrip()]
    lines += [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in response.headers.raw]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _explain(request: httpx.Request, plan: PlannedCall, place: Place, cover: list[str]) -> None:
    """The head as it would be sent, with words in the place of what is secret or made afresh, and what it binds."""
    body = EMPTY
    if isinstance(plan.body, FileBody):
        measure = plan.body.measure()
        request.headers.pop("Transfer-Encoding", None)
        request.headers["Content-Length"] = str(measure.size)
        body = Body.measured(measure.size, measure.sha256)
    elif plan.body:
        body = Body.of(plan.body)
    headers = tuple((name.decode("latin-1").lower(), value) for name, value in request.headers.raw)
    outgoing = OutgoingRequest(
        method=request.method, origin=place.origin, target=request.url.raw_path, headers=headers, body=body
    )
    covered = [name for name, _value in outgoing.covered(name.lower() for name in cover)]
    lines = [f"{request.method} {request.url.raw_path.decode('ascii')} HTTP/1.1"]
    lines += [f"{name.decode('latin-1')}: {_shown(name, value)}" for name, value in request.headers.raw]
    if place.bearer:
        lines += [f"Authorization: Bearer <a JWT for {place.target}>", "", "Nothing is bound: the token is bearer."]
    else:
        if body.content_digest is not None:
            lines.append(f"Content-Digest: {body.content_digest.decode('ascii')}")
        listed = ";".join(covered)
        lines.append(f'Authorization: Orthros v=1, h="{listed}", r="<AP-REQ for {place.target}, new for each attempt>"')
        bound = ["method", f"origin {place.origin}", "target", *covered]
        bound += ["body" if body.content_digest is not None else "that there is no body"]
        lines += ["", f"Bound: {', '.join(bound)}."]
    sys.stdout.write("\n".join(lines) + "\n")


def _shown(name: bytes, value: bytes) -> str:
    if name.decode("latin-1").lower() in _CONFIDENTIAL:
        return f"<{len(value)} bytes, not shown>"
    return value.decode("latin-1")


def _show_attempt(request: httpx.Request) -> None:
    authorization = request.headers.get("authorization", "")
    if authorization.startswith("Orthros "):
        covered = authorization.partition('h="')[2].partition('"')[0]
        parts = ["method", "origin", "target", *filter(None, covered.split(";"))]
        parts += ["body"] if "content-digest" in request.headers else []
        _say(f"* bound: {', '.join(parts)}")
    _say(f"> {request.method} {request.url.raw_path.decode('ascii')} HTTP/1.1")
    for name, value in request.headers.raw:
        text = _shown(name, value)
        if name.lower() == b"authorization":
            text = f"{value.decode('latin-1').partition('r=')[0].partition('Bearer ')[0]}{text}"
        _say(f"> {name.decode('latin-1')}: {text}")


def _show_answer(response: httpx.Response) -> None:
    _say(f"* an answer of status {response.status_code}, to be proven")


def _show_proof(response: httpx.Response) -> None:
    _say(f"< {response.http_version} {response.status_code} {response.reason_phrase}".rstrip())
    for name, value in response.headers.raw:
        _say(f"< {name.decode('latin-1')}: {_shown(name, value)}")
    proven = proven_of(response)
    if proven is None:
        _say("* nothing is proven beyond TLS: the target takes tokens")
        return
    facts = ["status", *proven.covered]
    if proven.body is not None:
        facts.append("body (at its end)")
    _say(f"* proven by {proven.target}: {', '.join(facts)}")
    if not proven.body_is_proven:
        _say("* the body is not proven")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
