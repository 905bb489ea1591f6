"""Hostile HTTP, byte for byte, at every door that speaks HTTP: what each answers, and whether the connection goes on.

The doors are the KDC's HTTP port, the daemon's HTTP socket and its forward-auth endpoint. Each row is one connection.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from orthros_client.daemon.listeners.allow_list import AllowList
from orthros_client.daemon.listeners.forward_auth import ForwardAuth
from orthros_client.daemon.listeners.http_server import LocalHttpServer
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.listeners.shares import ListenerShares
from orthros_kdc.http.connections import HttpServer
from tests.client.forwarding import Sent, by_nginx, new_forward_realm, settings_of
from tests.client.house import listener_for
from tests.client.world import open_world
from tests.support.http_port import LIMITS, Repeater, app_of, ignored, stream_pair

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
FORM = b"content-type: application/x-www-form-urlencoded\r\n"
QUESTION = by_nginx(Sent())
DOORS = ("kdc", "local", "forward")
SOON_S = 3.0
LATE_S = 30.0


@frozen
class Door:
    """How each door is asked what it answers with 200, or with 401 where it judges somebody else's request."""

    name: str
    method: bytes
    path: bytes
    own: bytes
    serve: Callable[[trio.SocketStream], Awaitable[None]]

    def spelled(self, row: bytes) -> bytes:
        """`GO` is the method and the path of this door, and `OWN` the header lines that it wants."""
        words = {b"GO": self.method + b" " + self.path, b"PATH": self.path, b"OWN\r\n": self.own}
        return re.sub(rb"\b(?:GO|PATH|OWN\r\n)", lambda found: words[found[0]], row)


@asynccontextmanager
async def open_door(name: str, folder: Path) -> AsyncIterator[Door]:
    if name == "kdc":
        server = HttpServer(app_of(Repeater()), ignored, LIMITS)
        yield Door(name, b"POST", b"/token", FORM, server.serve_stream)
    elif name == "local":
        async with open_world() as world:
            desk = LocalApi(world.agent, world.clock, AllowList(0))
            listener = listener_for(LocalHttpServer(desk), ListenerShares(most=64))
            yield Door(name, b"GET", b"/livez", b"orthros-local: 1\r\n", listener.serve_stream)
    else:
        endpoint = ForwardAuth.open(settings_of(folder, new_forward_realm(), "nginx"))
        own = b"".join(b"%s: %s\r\n" % (key.encode(), value) for key, value in QUESTION.headers if key != "host")
        listener = listener_for(endpoint, ListenerShares(most=64))
        yield Door(name, b"GET", b"/v1/forward-auth", own, listener.serve_stream)


async def outcome(door: Door, row: bytes, *, ends: bool, within_s: float) -> str:
    """The statuses that came back, and whether the connection was open or closed after a while."""
    ours, theirs = stream_pair()
    seen, end = b"", "open"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.serve, theirs)
        with suppress(trio.BrokenResourceError):
            await ours.send_all(door.spelled(row))
            if ends:
                await ours.send_eof()
        with trio.move_on_after(within_s):
            with suppress(trio.BrokenResourceError):
                while data := await ours.receive_some():
                    seen += data
            end = "closed"
        await ours.aclose()
        nursery.cancel_scope.cancel()
    return b" ".join([*STATUS.findall(seen), end.encode()]).decode()


HOST = b" HTTP/1.1\r\nhost: x\r\n"
GO = b"GO" + HOST + b"OWN\r\n"


def with_host(value: bytes) -> bytes:
    return b"GO HTTP/1.1\r\nhost: " + value + b"\r\nOWN\r\n\r\n"


EMPTY = b"content-length: 0\r\n\r\n"
BODY = b"content-length: 3\r\n\r\na=b"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\na=b\r\n0\r\n\r\n"

Outcome = tuple[str, str, str]
"""What the KDC, the daemon's HTTP socket and forward authentication make of it."""
SERVED: Outcome = ("200 open", "200 open", "401 open")
LAST: Outcome = ("200 closed", "200 closed", "401 closed")
BODY_READ: Outcome = ("200 open", "413 closed", "403 closed")
NO_PATH: Outcome = ("404 open", "404 open", "403 open")
NO_METHOD: Outcome = ("405 open", "405 open", "403 open")
REFUSED: Outcome = ("400 closed", "400 closed", "403 closed")
TOO_LARGE: Outcome = ("431 closed", "431 closed", "403 closed")
UNKNOWN_CODING: Outcome = ("501 closed", "501 closed", "403 closed")

ROWS: dict[str, tuple[bytes, Outcome]] = {
    # Plain requests
    "no body": (GO + b"\r\n", SERVED),
    "an empty body": (GO + EMPTY, SERVED),
    "a body": (GO + BODY, BODY_READ),
    "a body in chunks": (GO + CHUNKED + CHUNKS, BODY_READ),
    "no chunks": (GO + CHUNKED + b"0\r\n\r\n", SERVED),
    "close": (GO + b"connection: close\r\n" + EMPTY, LAST),
    "close among others": (GO + b"connection: x, Close\r\n" + EMPTY, LAST),
    "HTTP/1.0": (b"GO HTTP/1.0\r\nhost: x\r\nOWN\r\n" + EMPTY, LAST),
    "HTTP/1.0 without Host": (b"GO HTTP/1.0\r\nOWN\r\n" + EMPTY, LAST),
    "HTTP/1.0 that would go on": (
        b"GO HTTP/1.0\r\nhost: x\r\nOWN\r\nconnection: keep-alive\r\n" + EMPTY,
        LAST,
    ),
    # The length of the body
    "length and chunks": (GO + b"content-length: 3\r\n" + CHUNKED + CHUNKS, REFUSED),
    "chunks and length": (GO + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n" + CHUNKS, REFUSED),
    "two lengths": (GO + b"content-length: 4\r\n" + BODY, REFUSED),
    "a length twice": (GO + b"content-length: 0\r\n" + EMPTY, REFUSED),
    "a length twice in one line": (GO + b"content-length: 0, 0\r\n\r\n", REFUSED),
    "a length with leading zeros": (GO + b"content-length: 00\r\n\r\n", REFUSED),
    "a length with a sign": (GO + b"content-length: +3\r\n\r\na=b", REFUSED),
    "a negative length": (GO + b"content-length: -3\r\n\r\na=b", REFUSED),
    "an empty length": (GO + b"content-length:\r\n\r\n", REFUSED),
    "a length in hexadecimal": (GO + b"content-length: 0x3\r\n\r\na=b", REFUSED),
    "a length of 30 digits": (GO + b"content-length: " + b"9" * 30 + b"\r\n\r\n", REFUSED),
    "chunked twice": (GO + b"transfer-encoding: chunked\r\n" + CHUNKED + CHUNKS, REFUSED),
    "gzip, chunked": (GO + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKS, UNKNOWN_CODING),
    "chunked, gzip": (GO + b"transfer-encoding: chunked, gzip\r\n\r\n" + CHUNKS, REFUSED),
    "identity": (GO + b"transfer-encoding: identity\r\n\r\n", REFUSED),
    "xchunked": (GO + b"transfer-encoding: xchunked\r\n\r\n" + CHUNKS, REFUSED),
    "chunked behind a vertical tab": (
        GO + b"transfer-encoding: \x0bchunked\r\n\r\n" + CHUNKS,
        REFUSED,
    ),
    "Chunked": (GO + b"transfer-encoding: Chunked\r\n\r\n" + CHUNKS, BODY_READ),
    "chunks in HTTP/1.0": (
        b"GO HTTP/1.0\r\nhost: x\r\nOWN\r\n" + CHUNKED + CHUNKS,
        ("200 closed", "413 closed", "403 closed"),
    ),
    # Chunks
    "a chunk extension": (GO + CHUNKED + b"3;a=b\r\na=b\r\n0\r\n\r\n", BODY_READ),
    "a chunk extension that is long": (
        GO + CHUNKED + b"3;" + b"a" * 40_000 + b"\r\na=b\r\n0\r\n\r\n",
        TOO_LARGE,
    ),
    "a chunk size with a sign": (GO + CHUNKED + b"+3\r\na=b\r\n0\r\n\r\n", REFUSED),
    "a chunk size with 0x": (GO + CHUNKED + b"0x3\r\na=b\r\n0\r\n\r\n", REFUSED),
    "a chunk size with leading zeros": (GO + CHUNKED + b"0003\r\na=b\r\n0\r\n\r\n", BODY_READ),
    "a chunk size of 20 digits": (GO + CHUNKED + b"0" * 19 + b"3\r\na=b\r\n0\r\n\r\n", BODY_READ),
    "a chunk size of 21 digits": (GO + CHUNKED + b"0" * 20 + b"3\r\na=b\r\n0\r\n\r\n", REFUSED),
    "a last chunk of 21 digits": (GO + CHUNKED + b"0" * 21 + b"\r\n\r\n", REFUSED),
    "a chunk of 21 digits behind one of lines": (GO + CHUNKED + b"3\r\n\n\r\n\r\n" + b"0" * 21 + b"\r\n\r\n", REFUSED),
    "a chunk that is a line of 21 zeros": (
        GO + CHUNKED + b"18\r\n\n" + b"0" * 21 + b"\r\n\r\n0\r\n\r\n",
        BODY_READ,
    ),
    "a chunk size past 64 bits": (GO + CHUNKED + b"f" * 17 + b"\r\na=b\r\n0\r\n\r\n", REFUSED),
    "a chunk size past 80 bits": (
        GO + CHUNKED + b"f" * 21 + b"\r\na=b\r\n0\r\n\r\n",
        REFUSED,
    ),
    "an empty chunk size": (GO + CHUNKED + b"\r\na=b\r\n0\r\n\r\n", REFUSED),
    "a chunk that is longer than it says": (GO + CHUNKED + b"2\r\na=b\r\n0\r\n\r\n", REFUSED),
    "a chunk that ends with a bare LF": (GO + CHUNKED + b"3\na=b\n0\n\n", REFUSED),
    "trailers": (GO + CHUNKED + b"0\r\northros-local: 0\r\nhost: y\r\n\r\n", SERVED),
    "a trailer that is long": (GO + CHUNKED + b"0\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", TOO_LARGE),
    # Lines and names
    "a folded header": (GO + b"x: a\r\n b\r\n\r\n", REFUSED),
    "a header that begins folded": (b"GO HTTP/1.1\r\n host: x\r\nOWN\r\n\r\n", REFUSED),
    "bare LF": (GO.replace(b"\r\nhost", b"\nhost") + b"x: y\n\n", REFUSED),
    "a bare LF within": (GO + b"x: y\nz: a\r\n\r\n", REFUSED),
    "a bare CR within": (GO + b"x: y\rz: a\r\n\r\n", REFUSED),
    "an empty line first": (b"\r\n" + GO + b"\r\n", REFUSED),
    "a space before the colon": (GO + b"x : y\r\n\r\n", REFUSED),
    "a space within a name": (GO + b"x y: z\r\n\r\n", REFUSED),
    "a length with a space before the colon": (GO + b"content-length : 3\r\n\r\na=b", REFUSED),
    "a header without a colon": (GO + b"x\r\n\r\n", REFUSED),
    "a header without a name": (GO + b": y\r\n\r\n", REFUSED),
    "NUL in a name": (GO + b"x\0: y\r\n\r\n", REFUSED),
    "NUL in a value": (GO + b"x: \0\r\n\r\n", REFUSED),
    "a control character in a value": (GO + b"x: a\x01b\r\n\r\n", REFUSED),
    "DEL in a value": (GO + b"x: \x7f\r\n\r\n", REFUSED),
    "bytes past ASCII in a value": (GO + b"x: \xff\r\n\r\n", SERVED),
    "bytes past ASCII in a name": (GO + b"\xff: y\r\n\r\n", REFUSED),
    "an empty value": (GO + b"x:\r\n\r\n", SERVED),
    "no space behind the colon": (GO + b"x:y\r\n\r\n", SERVED),
    "many headers": (GO + b"x: y\r\n" * 80 + b"\r\n", ("431 open", "200 open", "401 open")),
    "a large head": (GO + b"x: " + b"y" * 120_000 + b"\r\n\r\n", TOO_LARGE),
    "a head without end": (GO + b"x: y\r\n" * 20_000, TOO_LARGE),
    "a line without end": (b"G" * 120_000, TOO_LARGE),
    # Host
    "no Host": (b"GO HTTP/1.1\r\nOWN\r\n\r\n", REFUSED),
    "two Hosts": (GO + b"host: y\r\n\r\n", REFUSED),
    "the same Host twice": (GO + b"Host: x\r\n\r\n", REFUSED),
    # A Host is uri-host [":" port] of RFC 3986, section 3.2.2; one for http names a host (RFC 9110, section 4.2.1).
    "an empty Host": (with_host(b""), REFUSED),
    "an empty Host in HTTP/1.0": (b"GO HTTP/1.0\r\nhost:\r\nOWN\r\n\r\n", REFUSED),
    "a Host with a space": (with_host(b"a b"), REFUSED),
    "two Hosts in one": (with_host(b"a, b"), REFUSED),
    "a Host with a path": (with_host(b"x/y"), REFUSED),
    "a Host with a user": (with_host(b"a@x"), REFUSED),
    "a Host with a scheme": (with_host(b"http://x"), REFUSED),
    "a Host past ASCII": (with_host(b"\xe4"), REFUSED),
    "a Host with half an escape": (with_host(b"%2"), REFUSED),
    "a Host that is escaped": (with_host(b"%2Frun%2Forthros.sock"), SERVED),
    "a Host of other marks": (with_host(b"a_b.c-d~e!f"), SERVED),
    "a Host with a port": (with_host(b"x:80"), SERVED),
    "a Host with an empty port": (with_host(b"x:"), SERVED),
    "a Host that is a port": (with_host(b":80"), REFUSED),
    "a Host with two ports": (with_host(b"x:80:80"), REFUSED),
    "a Host with a port in words": (with_host(b"x:http"), REFUSED),
    "an IPv6 address": (with_host(b"[::1]:80"), SERVED),
    "an IPv6 address without brackets": (with_host(b"::1"), REFUSED),
    "an IPv6 address with a zone": (with_host(b"[fe80::1%25eth0]"), REFUSED),
    "brackets around no address": (with_host(b"[1.2.3.4]"), REFUSED),
    # The first line
    "HTTP/0.9": (b"GO\r\n\r\n", REFUSED),
    "HTTP/0.9 in words": (b"GO HTTP/0.9\r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "HTTP/1.2": (b"GO HTTP/1.2\r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "HTTP/2.0": (b"GO HTTP/2.0\r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "HTTP/1.10": (b"GO HTTP/1.10\r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "http/1.1": (b"GO http/1.1\r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "no version": (b"GO \r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "another protocol": (b"GO RTSP/1.1\r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "two spaces": (b"GET  PATH" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a tab": (b"GET\tPATH" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a space behind": (b"GO HTTP/1.1 \r\nhost: x\r\nOWN\r\n\r\n", REFUSED),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
    "a method in small letters": (b"get PATH" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a method that nobody knows": (b"FROB PATH" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a method of many letters": (b"G" * 5000 + b" PATH" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a method with a bracket": (b"G(T PATH" + HOST + b"OWN\r\n\r\n", REFUSED),
    "no method": (b" PATH" + HOST + b"OWN\r\n\r\n", REFUSED),
    "DELETE": (b"DELETE PATH" + HOST + b"OWN\r\n\r\n", NO_METHOD),
    "TRACE": (b"TRACE PATH" + HOST + b"OWN\r\n\r\n", NO_METHOD),
    "CONNECT": (b"CONNECT a.test:1" + HOST + b"OWN\r\n\r\n", NO_PATH),
    "CONNECT to a path": (b"CONNECT PATH" + HOST + b"OWN\r\n\r\n", NO_METHOD),
    "CONNECT with a body": (b"CONNECT a.test:1" + HOST + b"OWN\r\n" + BODY, ("404 closed", "413 closed", "403 closed")),
    "OPTIONS *": (b"OPTIONS *" + HOST + b"OWN\r\n\r\n", NO_PATH),
    "absolute-form": (b"GET http://xPATH" + HOST + b"OWN\r\n\r\n", NO_PATH),
    "a fragment": (b"GO#x" + HOST + b"OWN\r\n\r\n", NO_PATH),
    "a target without a slash": (b"GET token" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a target past ASCII": (b"GO/\xff" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a control character in the target": (b"GO\x01" + HOST + b"OWN\r\n\r\n", REFUSED),
    "NUL in the target": (b"GO\0" + HOST + b"OWN\r\n\r\n", REFUSED),
    "a target with a space": (b"GO x" + HOST + b"OWN\r\n\r\n", REFUSED),
    "an empty query": (b"GO?" + HOST + b"OWN\r\n" + EMPTY, ("200 open", "200 open", "403 open")),
    # What would change the protocol, or asks for more
    "Upgrade to h2c": (
        GO + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        SERVED,
    ),
    "Upgrade to websocket": (
        GO + b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" + EMPTY,
        SERVED,
    ),
    "Upgrade with a body": (
        GO + b"connection: upgrade\r\nupgrade: h2c\r\n" + BODY,
        BODY_READ,
    ),
    "Expect": (GO + b"expect: 100-continue\r\n" + BODY, BODY_READ),
    "Expect, and the body is not there": (
        GO + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n",
        ("100 open", "413 closed", "403 closed"),
    ),
    "Expect in HTTP/1.0": (
        b"GO HTTP/1.0\r\nhost: x\r\nOWN\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
        ("open", "413 closed", "403 closed"),
    ),
    "Expect something else": (GO + b"expect: a miracle\r\n\r\n", SERVED),
    # More than one message, and what is none
    "two messages": (GO + EMPTY + GO + EMPTY, LAST),
    "two messages behind chunks": (GO + CHUNKED + b"0\r\n\r\n" + GO + EMPTY, LAST),
    "a message and a half": (GO + EMPTY + b"GO HT", LAST),
    "a message and noise": (GO + EMPTY + b"\x16\x03\x01\r\n\r\n", LAST),
    "a message and an empty line": (GO + EMPTY + b"\r\n", LAST),
    "a message behind close": (GO + b"connection: close\r\n" + EMPTY + GO + EMPTY, LAST),
    "a message behind Upgrade": (GO + b"connection: upgrade\r\nupgrade: h2c\r\n" + EMPTY + GO + EMPTY, LAST),
    "a message in the body of a GET": (
        b"GET PATH" + HOST + b"OWN\r\ncontent-length: 24\r\n\r\n" + b"GET /x HTTP/1.1\r\n\r\nabcde",
        ("405 closed", "413 closed", "403 closed"),
    ),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), REFUSED),
    "TLS that ends a line": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", REFUSED),
    "words": (b"nonsense\r\n\r\n", REFUSED),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ROWS)
async def test_what_each_door_makes_of_it(autojump_clock: MockClock, tmp_path: Path, name: str, door: str) -> None:
    row, expected = ROWS[name]
    async with open_door(door, tmp_path) as one:
        seen = await outcome(one, row, ends=False, within_s=SOON_S)
    assert seen == expected[DOORS.index(door)]


SLOW: dict[str, tuple[bytes, bool, Outcome]] = {
    "nothing": (b"", False, ("closed", "open", "open")),
    "nothing, half-closed": (b"", True, ("closed", "closed", "closed")),
    "a whole request, half-closed": (GO + EMPTY, True, LAST),
    "half a line": (b"GO HT", False, ("closed", "408 closed", "403 closed")),
    "half a line, half-closed": (b"GO HT", True, REFUSED),
    "half a head": (GO, False, ("closed", "408 closed", "403 closed")),
    "half a head, half-closed": (GO, True, REFUSED),
    "half a body": (GO + b"content-length: 9\r\n\r\na", False, ("408 closed", "413 closed", "403 closed")),
    "half a body, half-closed": (GO + b"content-length: 9\r\n\r\na", True, ("400 closed", "413 closed", "403 closed")),
    "a body to come": (GO + b"content-length: 9\r\n\r\n", False, ("408 closed", "413 closed", "403 closed")),
    "half a chunk": (GO + CHUNKED + b"9\r\na", False, ("408 closed", "413 closed", "403 closed")),
    "half a chunk, half-closed": (GO + CHUNKED + b"9\r\na", True, ("400 closed", "413 closed", "403 closed")),
    "chunks without end": (GO + CHUNKED + b"3\r\na=b\r\n", False, ("408 closed", "413 closed", "403 closed")),
    "trailers without end": (GO + CHUNKED + b"0\r\nx: y\r\n", False, ("408 closed", "408 closed", "403 closed")),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", SLOW)
async def test_what_does_not_come_to_its_end(autojump_clock: MockClock, tmp_path: Path, name: str, door: str) -> None:
    row, ends, expected = SLOW[name]
    async with open_door(door, tmp_path) as one:
        seen = await outcome(one, row, ends=ends, within_s=LATE_S)
    assert seen == expected[DOORS.index(door)]
