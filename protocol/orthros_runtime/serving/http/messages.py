"""HTTP/1.1 messages (RFC 9112): the head of a request, a body in chunks, the bytes of an answer. Pure.

The problem: two programs that read the same bytes as different requests are the way to smuggle one past the other. A
proxy in front of a port may be more lenient than the port, or less.

The mechanism: httptools, the parser of Node.js, splits lines and refuses bare LF, folded lines, a length beside chunks,
and characters that no name or value has. What it lets pass is judged here, on the raw bytes and on the fields: the
first line in its one form, one Host that names a host, one length in its one form, `chunked` alone, sizes of chunks in
20 digits. Who is less clear gets 400, or 501 for a coding that is not spoken, and no second request on that connection.

The parser gets exactly the head and, of a body in chunks, the chunks behind a head of ours. So it never sees a second
message as such, an Upgrade or a CONNECT changes nothing, and the caller counts raw bytes before they are parsed.
Extensions of chunks and trailers are dropped. The leniencies of the parser stay switched off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Final

from attrs import field, frozen

from orthros_protocol.primitives.http_fields import HttpFields, stated_length
from orthros_runtime.extras import extra

with extra("http"):
    import httptools

__all__ = ["CONTINUE", "Chunks", "RequestHead", "Unreadable", "answer_bytes", "head_end", "read_head"]

CONTINUE: Final = b"HTTP/1.1 100 \r\n\r\n"
"""The answer to `Expect: 100-continue` (RFC 9110, section 10.1.1)."""
NO_HTTP: Final = "not HTTP/1.1"
# A head of bare LF ends here as well, so that it is refused at once and not when its time is up.
_HEAD_END = re.compile(rb"\n\r?\n")
_FIRST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(1\.[01])")
_BEGINS = re.compile(rb"[A-Za-z]")
# uri-host [":" port] of RFC 3986, section 3.2.2. An empty one is none of a request for http (RFC 9110, section 4.2.1).
_HOST = re.compile(rb"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?:[!$&'()*+,;=._~0-9A-Za-z-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,20}(?![0-9A-Fa-f])")
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
_CHUNKED_HEAD: Final = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
_SPLITTING = re.compile(r"[\r\n\0]")


class Unreadable(Exception):
    """The request cannot be read to its end: answer, then close.

    `status` is what HTTP calls it, `detail` is for the peer, and `why` for the log: the parser's words, which quote
    nothing of what it read.
    """

    def __init__(self, status: int, detail: str = NO_HTTP, why: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.why = why


@frozen
class RequestHead:
    """The head of a request. Header names are in lower case, in order; `length` is that of the body, None for chunks.

    `goes_on`: another request may follow on the connection. `waits`: the body comes after `CONTINUE` only.
    """

    method: str
    target: bytes
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)
    length: int | None
    goes_on: bool
    waits: bool


class _Fields:
    """What httptools found in a head."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, bytes]] = []
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("ascii").lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_whole = True


def head_end(data: bytes | bytearray, searched: int) -> int | None:
    """How many bytes of `data` are the head, None while its end is not there; the first `searched` have none.

    Raises Unreadable for what begins no request: its end may never come.
    """
    if data and _BEGINS.match(data) is None:
        raise Unreadable(400, why="no request begins like this")
    found = _HEAD_END.search(data, searched)
    return None if found is None else found.end()


def read_head(raw: bytes) -> RequestHead:
    """The head that `raw` is, with its empty line. Raises Unreadable 400, or 501 for an unknown transfer coding."""
    line = _FIRST_LINE.fullmatch(raw.partition(b"\r\n")[0])
    if line is None:
        raise Unreadable(400, why="the first line is not that of a request")
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # it may ask for another protocol, and goes on with this one
    except httptools.HttpParserError as error:
        raise Unreadable(400, why=str(error)) from None
    if not fields.is_whole:
        raise Unreadable(400, why="the head is not whole")
    method, target, version = line.groups()
    headers, is_newer = HttpFields(fields.headers), version != b"1.0"
    hosts, lengths, codings = map(headers.values_of, ("host", "content-length", "transfer-encoding"))
    if len(hosts) > 1 or (is_newer and not hosts):
        raise Unreadable(400, why="not one Host")
    if hosts and not _is_host(hosts[0]):
        raise Unreadable(400, why="a Host that names no host")
    length = stated_length(lengths)
    if lengths and (codings or length is None):
        raise Unreadable(400, why="not one length")
    if codings and [value.lower() for value in codings] != [b"chunked"]:
        raise Unreadable(501, why="a transfer coding that is not chunked")
    return RequestHead(
        method=method.decode("ascii"),
        target=target,
        headers=tuple(fields.headers),
        length=None if codings else length or 0,
        goes_on=is_newer and "close" not in _words(headers.values_of("connection")),
        waits=is_newer and "100-continue" in _words(headers.values_of("expect")),
    )


def _is_host(value: bytes) -> bool:
    found = _HOST.fullmatch(value)
    if found is None or found["v6"] is None:
        return found is not None
    try:
        IPv6Address(found["v6"].decode("ascii"))
    except ValueError:
        return False
    return True


def _words(values: Sequence[bytes]) -> list[str]:
    return [word.strip().lower() for value in values for word in value.decode("latin-1").split(",")]


class Chunks:
    """A body in chunks, as it comes.

    `is_whole` once its last chunk and its trailers are here; `is_followed` when more came behind them.
    """

    def __init__(self) -> None:
        self.is_whole = self.is_followed = self._is_odd = False
        self._line, self._came = bytearray(), bytearray()
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_CHUNKED_HEAD)

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._came += data
        self._line.clear()

    def on_chunk_complete(self) -> None:
        """Called by the parser, behind the line end that follows the bytes of a chunk."""
        self._line.clear()

    def on_chunk_header(self) -> None:
        """Called by the parser, at the end of a line that begins with a size."""
        self._is_odd = _CHUNK_SIZE.match(self._line) is None

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.is_whole = True

    def feed(self, data: bytes) -> bytes:
        """What of the body is in `data`, which comes next. Raises Unreadable."""
        # Line by line: the parser says that a size was read, but not in which bytes it stood.
        for line in _LINES.findall(data):
            if self.is_whole:
                self.is_followed = True
                break
            self._line += line
            try:
                self._parser.feed_data(line)
            except httptools.HttpParserError as error:
                raise Unreadable(400, why=str(error)) from None
            if self._is_odd:
                raise Unreadable(400, why="the size of a chunk has more than 20 digits")
        came = bytes(self._came)
        self._came.clear()
        return came


def answer_bytes(status: int, headers: Sequence[tuple[str, str]], body: bytes, *, close: bool) -> bytes:
    """An answer. `headers` has its Content-Length; `close` says that it is the last one of the connection.

    Raises ValueError for a header that would be two lines.
    """
    if any(_SPLITTING.search(name + value) for name, value in headers):
        raise ValueError("a header of an answer holds a line break")
    last = [("Connection", "close")] if close else []
    lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in (*headers, *last))]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
