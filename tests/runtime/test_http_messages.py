"""HTTP/1.1 messages beside h11, a second reader of RFC 9112: what it refuses, we refuse, and the rest reads alike."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orthros_runtime.serving.http.messages import Chunks, Unreadable, answer_bytes, head_end, read_head

Message = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]

LINES = (
    b"GET / HTTP/1.1",
    b"POST /token?a=b HTTP/1.1",
    b"HEAD * HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"GET http://x/ HTTP/1.1",
    b"GET /#a HTTP/1.1",
    b'GET /a|"<>^`{} HTTP/1.1',
    b"PRI * HTTP/2.0",
    b"GET / RTSP/1.0",
    b"SOURCE / ICE/1.0",
    b"M-SEARCH / HTTP/1.1",
    b"get / HTTP/1.1",
    b"GET /",
    b"GET  / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"HTTP/1.1 200 OK",
    b"\x16\x03\x01",
)
HEADERS = (
    b"host: x",
    b"Host:",
    b"host: a b",
    b"host: [::1]:80",
    b"host: x, y",
    b"content-length: 0",
    b"Content-Length: 3",
    b"content-length: 03",
    b"content-length: 3, 3",
    b"content-length: +3",
    b"content-length:3 ",
    b"transfer-encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: chunked, chunked",
    b"transfer-encoding: identity",
    b"transfer-encoding:\tchunked\t",
    b"connection: close",
    b"connection: upgrade",
    b"upgrade: h2c",
    b"expect: 100-continue",
    b"x: a\tb  c ",
    b"x:",
    b"x : y",
    b" folded",
    b"\tfolded",
    b"x: \xff\xe4",
    b"x: \x01",
    b"x: \x7f",
    b"x: \x0b",
    b"x: \x0c",
    b"x: \x85",
    b"x: \0",
    b"\xff: y",
    b"x",
    b": y",
    b"a_b: c",
    b"a b: c",
    b"x:" + b"y" * 300,
)
BODIES = (
    b"",
    b"a=b",
    b"a=bGET / HTTP/1.1\r\n",
    b"3\r\na=b\r\n0\r\n\r\n",
    b"3;x=y\r\na=b\r\n0\r\n\r\n",
    b"003\r\na=b\r\n0\r\n\r\n",
    b"3\r\na=b\r\n0\r\nx: y\r\n\r\n",
    b"3\r\na=b\r\n0\r\nx : y\r\n\r\n",
    b"0" * 19 + b"3\r\na=b\r\n0\r\n\r\n",
    b"0" * 20 + b"3\r\na=b\r\n0\r\n\r\n",
    b"3\r\n\na\n\r\n" + b"0" * 21 + b"\r\n\r\n",
    b"3 \r\na=b\r\n0\r\n\r\n",
    b"0x3\r\na=b\r\n0\r\n\r\n",
    b"+3\r\na=b\r\n0\r\n\r\n",
    b"3\na=b\n0\n\n",
    b"2\r\na=b\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\na=b",
    b"0\r\n\r\n0\r\n\r\n",
    b"\r\n",
    b"3\r\na=b\r\n0\r\n folded\r\n\r\n",
    b"3;\r\na=b\r\n0\r\n\r\n",
    b"3;a=\x01\r\na=b\r\n0\r\n\r\n",
)
BYTES = (b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"\x0b", b"\x7f", b"\x80", b"0", b"3", b"G")


def ours(data: bytes) -> Message | None:
    """The first message in `data`; None if it is refused, or not whole."""
    try:
        end = head_end(data, 0)
        if end is None:
            return None
        head, rest = read_head(data[:end]), data[end:]
        if head.length is None:
            chunks = Chunks()
            body = b"".join(chunks.feed(rest[at : at + 1]) for at in range(len(rest)) if not chunks.is_whole)
            if not chunks.is_whole:
                return None
        elif len(rest) < head.length:
            return None
        else:
            body = rest[: head.length]
    except Unreadable:
        return None
    # h11 hands on a coding in small letters.
    headers = [
        (name.encode("ascii"), value.lower() if name == "transfer-encoding" else value) for name, value in head.headers
    ]
    return head.method.encode("ascii"), head.target, headers, body


def theirs(data: bytes) -> Message | None:
    """The same by h11."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data)
    request, body = None, b""
    try:
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return request.method, request.target, list(request.headers), body
            else:
                return None
    except h11.RemoteProtocolError:
        return None


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A request of plausible and hostile parts, with a few bytes more, fewer or others."""
    lines = [draw(st.sampled_from(LINES)), *draw(st.lists(st.sampled_from(HEADERS), max_size=5))]
    if draw(st.booleans()):
        lines = [b"POST / HTTP/1.1", b"host: x", *lines[1:]]
    data = b"\r\n".join([*lines, b"", draw(st.sampled_from(BODIES))])
    for _ in range(draw(st.integers(0, 3))):
        at, more = draw(st.integers(0, len(data))), draw(st.sampled_from((b"", *BYTES)))
        data = data[:at] + more + data[at + draw(st.integers(0, 1)) :]
    return data


@given(data=hostile())
@example(data=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
@example(data=b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\na=b\r\n0\r\nx: y\r\n\r\n")
def test_what_h11_refuses_is_refused_and_the_rest_reads_alike(data: bytes) -> None:
    found = ours(data)
    assert found is None or found == theirs(data)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\na=b", b"a=b"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n", b"a=b"),
    ],
)
def test_a_request_that_would_change_the_protocol_has_its_body(data: bytes, body: bytes) -> None:
    found = ours(data)
    assert found is not None
    assert found == theirs(data)
    assert found[3] == body


def test_an_answer_cannot_be_split() -> None:
    assert answer_bytes(200, [("a", "b")], b"c", close=True) == b"HTTP/1.1 200 \r\na: b\r\nConnection: close\r\n\r\nc"
    for broken in (("a", "b\r\nc: d"), ("a\n", "b"), ("a", "b\0")):
        with pytest.raises(ValueError, match="line break"):
            answer_bytes(200, [broken], b"", close=False)
