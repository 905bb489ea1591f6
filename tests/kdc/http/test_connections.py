"""Connections of the HTTP port: order, deadlines, caps, protocols that are not spoken, and the drain.

On memory streams and a clock that jumps.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from orthros_kdc.http.connections import HttpServer
from tests.support.http_port import FORM, LIMITS, Got, Repeater, Wire, app_of, connected, ignored, request, stream_pair

TOKEN = request("POST", "/token", *FORM, body=b"grant_type=client_credentials")


def serving(tokens: Repeater | None = None) -> HttpServer:
    return HttpServer(app_of(tokens or Repeater()), ignored, LIMITS)


def answered(got: Got | None) -> Got:
    assert got is not None, "the connection ended"
    return got


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    async with connected(serving()) as wire:
        await wire.send(TOKEN[:30])
        await wait_all_tasks_blocked()
        await wire.send(TOKEN[30:])
        assert answered(await wire.receive()).json["body"] == "grant_type=client_credentials"
        await wire.send(request("GET", "/livez"))
        assert answered(await wire.receive(to="GET")).json["status"] == "ok"
        await wire.send(TOKEN)
        assert answered(await wire.receive()).json["path"] == "/token"


async def test_who_sends_ahead_is_answered_once() -> None:
    """The parser cannot be stopped between two requests; a client sends what was not answered again (RFC 9112, 9.3)."""
    async with connected(serving()) as wire:
        await wire.send(TOKEN + request("GET", "/livez") + TOKEN[:30])
        got = answered(await wire.receive())
        assert (got.json["body"], got.headers["connection"]) == ("grant_type=client_credentials", "close")
        assert await wire.receive() is None


async def test_an_answer_says_neither_who_serves_nor_anything_to_keep() -> None:
    async with connected(serving()) as wire:
        await wire.send(TOKEN)
        headers = answered(await wire.receive()).headers
        assert "server" not in headers
        assert headers["cache-control"] == "no-store"
        assert headers["pragma"] == "no-cache"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"] == "application/json"
        assert headers["x-told"] == "yes"
        assert headers["date"].endswith("GMT")


async def test_a_half_closed_connection_still_gets_its_answer() -> None:
    async with connected(serving()) as wire:
        await wire.send(TOKEN)
        await wire.stream.send_eof()
        assert answered(await wire.receive()).status == 200
        assert await wire.stream.receive_some() == b""


@pytest.mark.parity("P5")
@pytest.mark.parametrize("sent", [b"", b"POST /token HT", TOKEN[:60]], ids=["nothing", "a line", "headers"])
async def test_a_stranger_has_one_deadline_for_his_first_request(autojump_clock: MockClock, sent: bytes) -> None:
    """Slow headers, a byte every second."""
    server = serving()
    async with connected(server) as wire:
        await wire.send(sent)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def dribble() -> None:
                for number in range(int(LIMITS.read_deadline_s)):
                    await trio.sleep_until(start + number)
                    await wire.send(b"x")

            if len(sent) > 20:
                nursery.start_soon(dribble)
            assert await wire.stream.receive_some() == b""
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start == pytest.approx(LIMITS.read_deadline_s)
        assert server.connection_count == 0


async def test_a_body_that_does_not_come_is_answered_with_408_and_the_end(autojump_clock: MockClock) -> None:
    async with connected(serving()) as wire:
        await wire.send(request("POST", "/token", *FORM, ("content-length", "500"), body=b"grant_type="))
        start = trio.current_time()
        got = answered(await wire.receive())
        assert (got.status, got.json["error"]) == (408, "invalid_request")
        assert got.json["error_description"] == f"the body did not arrive within {LIMITS.read_deadline_s:g} s"
        assert trio.current_time() - start == pytest.approx(LIMITS.read_deadline_s)
        assert got.headers["connection"] == "close"
        assert await wire.receive() is None


async def test_who_has_proven_something_may_idle_and_others_may_not(autojump_clock: MockClock) -> None:
    for status, idle_s in ((200, LIMITS.idle_deadline_s), (401, LIMITS.read_deadline_s)):
        async with connected(serving(Repeater(status=status))) as wire:
            await wire.send(TOKEN)
            assert answered(await wire.receive()).status == status
            start = trio.current_time()
            assert await wire.receive() is None
            assert trio.current_time() - start == pytest.approx(idle_s)


async def test_a_stranger_who_keeps_talking_does_not_keep_his_place(autojump_clock: MockClock) -> None:
    """As on the native port: else two sources that ask for /livez hold every place for strangers, for good."""
    async with connected(server := serving(Repeater(status=401))) as wire:
        talk = [TOKEN, request("GET", "/livez"), request("GET", "/nothing")] * 4
        answers = []
        for sent in talk:
            await wire.send(sent)
            answers.append(answered(await wire.receive()).headers.get("connection"))
            if answers[-1] is not None:
                break
            await trio.sleep(LIMITS.read_deadline_s / 4)
        assert answers == [None] * 4 + ["close"]
        assert await wire.receive() is None
    assert server.connection_count == 0


async def test_who_has_proven_something_may_go_on_talking(autojump_clock: MockClock) -> None:
    async with connected(serving()) as wire:
        for sent in (TOKEN, *[request("GET", "/livez")] * 8):
            await wire.send(sent)
            assert "connection" not in answered(await wire.receive()).headers
            await trio.sleep(LIMITS.read_deadline_s / 4)


async def test_a_later_request_that_has_begun_has_a_deadline_too(autojump_clock: MockClock) -> None:
    async with connected(serving()) as wire:
        await wire.send(TOKEN)
        answered(await wire.receive())
        await trio.sleep(LIMITS.idle_deadline_s / 3)
        await wire.send(TOKEN[:10])
        start = trio.current_time()
        assert await wire.receive() is None
        assert trio.current_time() - start == pytest.approx(LIMITS.read_deadline_s)


async def test_no_deadline_runs_while_the_kdc_works(autojump_clock: MockClock) -> None:
    gate = trio.Event()
    async with connected(serving(Repeater(gate=gate))) as wire:
        await wire.send(TOKEN)
        await trio.sleep(2 * LIMITS.idle_deadline_s)
        gate.set()
        assert answered(await wire.receive()).status == 200


async def test_the_longest_idle_stranger_makes_room_and_who_works_does_not() -> None:
    """Both ports count alike; see `shares.py`."""
    server = HttpServer(
        app_of(Repeater(gate=(gate := trio.Event()))), ignored, evolve(LIMITS, max_unauthenticated_per_source=2)
    )
    async with connected(server) as working, connected(server) as idle:
        await working.send(TOKEN)
        await wait_all_tasks_blocked()
        async with connected(server) as third:
            assert await idle.receive() is None
            await third.send(TOKEN)
            await wait_all_tasks_blocked()
            async with connected(server) as fourth:
                refused = answered(await fourth.receive())
                assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
                assert refused.headers["retry-after"] == "1"
            gate.set()
            assert answered(await working.receive()).status == answered(await third.receive()).status == 200


BODY_TO_COME = request("POST", "/token", *FORM, ("content-length", "100"), body=b"g")


@pytest.mark.parametrize("sent", [BODY_TO_COME[:-1], BODY_TO_COME], ids=["headers", "headers and a byte"])
async def test_a_stranger_who_holds_his_body_back_makes_room(sent: bytes) -> None:
    """Else two sources hold every place for strangers with requests that they never complete, and pay nothing."""
    server = HttpServer(app_of(Repeater()), ignored, evolve(LIMITS, max_unauthenticated_connections=2))
    async with connected(server) as first:
        await first.send(sent)
        await wait_all_tasks_blocked()
        async with connected(server) as second:
            await second.send(BODY_TO_COME)
            await wait_all_tasks_blocked()
            async with connected(server) as honest:
                await honest.send(request("GET", "/livez"))
                assert answered(await honest.receive(to="GET")).status == 200
                assert await first.receive() is None
                await second.send(b"x" * 99)
                assert answered(await second.receive()).status == 200


async def test_the_body_of_a_client_that_has_proven_itself_has_a_second_to_come(autojump_clock: MockClock) -> None:
    """As the rest of a frame has on the native port: it is on its way."""
    server = HttpServer(app_of(Repeater()), ignored, evolve(LIMITS, max_connections_per_principal=1))
    async with connected(server) as first, connected(server) as second:
        for wire in (first, second):
            await wire.send(TOKEN)
            assert answered(await wire.receive()).status == 200
        assert await first.receive() is None  # idle, so it makes room
        await second.send(BODY_TO_COME)
        await wait_all_tasks_blocked()
        async with connected(server) as third:
            await third.send(TOKEN)
            assert answered(await third.receive()).status == 200
            await second.send(b"x" * 99)
            assert answered(await second.receive()).status == 200


async def test_a_connection_counts_for_the_client_that_it_belongs_to() -> None:
    """And with strangers no more; the client's connections make room for each other."""
    server = HttpServer(
        app_of(Repeater()), ignored, evolve(LIMITS, max_unauthenticated_per_source=1, max_connections_per_principal=2)
    )
    async with trio.open_nursery() as nursery:
        wires = []
        for _ in range(4):
            ours, theirs = stream_pair()
            nursery.start_soon(server.serve_stream, theirs)
            wires.append(Wire(ours))
            await wires[-1].send(TOKEN)
            assert answered(await wires[-1].receive()).status == 200
            await wait_all_tasks_blocked()
        assert await wires[0].receive() is None
        for wire in wires:
            await wire.stream.aclose()


async def test_places_are_given_back() -> None:
    server = serving()
    for _ in range(3 * LIMITS.max_connections):
        async with connected(server) as wire:
            await wire.send(TOKEN)
            answered(await wire.receive())
            await wire.stream.aclose()
            await wait_all_tasks_blocked()
    assert server.connection_count == 0


async def test_a_drain_answers_what_is_under_way_and_ends_what_waits(autojump_clock: MockClock) -> None:
    gate = trio.Event()
    server = serving(Repeater(gate=gate))
    async with connected(server) as busy, connected(server) as idle:
        await busy.send(TOKEN)
        await wait_all_tasks_blocked()
        server.drain()
        start = trio.current_time()
        assert await idle.receive() is None
        assert trio.current_time() - start < 1
        gate.set()
        got = answered(await busy.receive())
        assert (got.status, got.headers["connection"]) == (200, "close")
        assert await busy.receive() is None
        async with connected(server) as late:
            assert await late.receive() is None


async def test_what_has_arrived_when_the_drain_begins_is_answered(autojump_clock: MockClock) -> None:
    server = serving()
    async with connected(server) as wire:
        await wait_all_tasks_blocked()
        await wire.send(TOKEN)
        server.drain()
        assert answered(await wire.receive()).status == 200
        assert await wire.receive() is None


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request("GET", "/livez", ("connection", "upgrade, http2-settings"), ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA")),
        request("GET", "/livez", ("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")),
    ],
    ids=["preface", "h2c", "websocket"],
)  # fmt: skip
async def test_no_request_changes_the_protocol(autojump_clock: MockClock, sent: bytes) -> None:
    """Bounds are kept for HTTP/1.1 only, so nothing else is spoken: neither HTTP/2 nor WebSockets."""
    async with connected(serving()) as wire:
        await wire.send(sent)
        got = answered(await wire.receive(to="GET"))
        assert got.status == (400 if sent.startswith(b"PRI") else 200)
        assert "upgrade" not in got.headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /token HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"POST /token HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), 400),
        (request("POST", "/token", *FORM, ("transfer-encoding", "chunked"), body=b"zz\r\n"), 400),
        (request("POST", "/token", *FORM, ("content-length", "5"), ("content-length", "6"), body=b"hello"), 400),
        (request("POST", "/token", *FORM, ("content-length", "-5"), body=b"hello"), 400),
        (request("POST", "/token", *FORM, ("transfer-encoding", "gzip, chunked"), body=b"0\r\n\r\n"), 501),
        (request("POST", "/token", *FORM, ("content-length", "5"), ("transfer-encoding", "chunked"),
                 body=b"0\r\n\r\n"), 400),
    ],
)  # fmt: skip
async def test_what_is_not_http_is_told_so_and_ends_the_connection(
    autojump_clock: MockClock, sent: bytes, status: int
) -> None:
    tokens = Repeater()
    async with connected(serving(tokens)) as wire:
        await wire.send(sent)
        got = answered(await wire.receive())
        assert (got.status, got.json["error"]) == (status, "invalid_request")
        assert await wire.receive() is None
    assert tokens.asked == []


@pytest.mark.parametrize(
    "more",
    [
        (("content-length", "9999999999"),),
        (("content-length", str(10**17)),),
        (("transfer-encoding", "chunked"),),
    ],
)
async def test_a_flood_is_refused_early_and_its_sender_can_still_read_why(
    autojump_clock: MockClock, more: tuple[tuple[str, str], ...]
) -> None:
    """Content-Length that lies, and chunks without end: 413, then what still comes is thrown away for a moment."""
    tokens = Repeater()
    server = serving(tokens)
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    async with connected(server) as wire:
        await wire.send(request("POST", "/token", *FORM, *more))

        async def flood() -> None:
            with suppress(trio.BrokenResourceError):  # the end that this story is about
                while True:
                    await wire.send(chunk)
                    await wait_all_tasks_blocked()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            got = answered(await wire.receive())
            assert got.status == 413
            assert await wire.receive() is None
        await wait_all_tasks_blocked()
        assert server.connection_count == 0
    assert tokens.asked == []


async def test_a_body_in_many_chunks_reaches_its_endpoint_whole() -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % letter for letter in b"grant_type=x") + b"0\r\n\r\n"
    async with connected(serving()) as wire:
        await wire.send(request("POST", "/token", *FORM, ("transfer-encoding", "chunked"), body=chunks))
        assert answered(await wire.receive()).json["body"] == "grant_type=x"


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with connected(serving()) as wire:
        await wire.send(request("POST", "/token", *FORM, ("expect", "100-continue"), ("content-length", "3")))
        assert (await wire.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await wire.send(b"a=b")
        assert answered(await wire.receive()).json["body"] == "a=b"


async def test_a_body_cut_short_reaches_nobody() -> None:
    tokens = Repeater()
    server = serving(tokens)
    async with connected(server) as wire:
        await wire.send(request("POST", "/token", *FORM, ("content-length", "50"), body=b"grant_type="))
        await wire.stream.aclose()
        await wait_all_tasks_blocked()
        assert server.connection_count == 0
    assert tokens.asked == []


async def test_a_body_that_is_cut_short_during_the_drain_holds_nothing_up() -> None:
    """It was looked for again and again, without a pause, until the deadline of the request."""
    tokens = Repeater()
    server = serving(tokens)
    async with connected(server) as wire:
        await wire.send(request("POST", "/token", *FORM, ("content-length", "50"), body=b"grant_type="))
        await wait_all_tasks_blocked()
        server.drain()
        await wire.stream.aclose()
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert server.connection_count == 0
    assert tokens.asked == []


async def test_limits_may_change_while_it_serves(autojump_clock: MockClock) -> None:
    server = serving()
    server.limits = evolve(LIMITS, read_deadline_s=3)
    async with connected(server) as wire:
        await wire.send(request("POST", "/token", *FORM, ("content-length", "50"), body=b"grant_type="))
        start = trio.current_time()
        assert answered(await wire.receive()).status == 408
        assert trio.current_time() - start == pytest.approx(3)


PIECES = (
    b"POST /token HTTP/1.1\r\n", b"GET /livez HTTP/1.0\r\n", b"HEAD /livez HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n", b"OPTIONS * HTTP/1.1\r\n", b"host: x\r\n", b"content-length: 5\r\n",
    b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n", b"expect: 100-continue\r\n", b"connection: close\r\n",
    b"connection: upgrade\r\n", b"upgrade: websocket\r\n", b"upgrade: h2c\r\n", b"http2-settings: AAMAAABk\r\n",
    b"content-type: application/x-www-form-urlencoded\r\n", b"\r\n", b"\r\n", b"hello", b"5\r\nhello\r\n",
    b"0\r\n\r\n", b"x-y: \xff\r\n", b"SM\r\n\r\n", b"\0\0\x0c\x04\0\0\0\0\0", b"a" * 3000,
)  # fmt: skip


@pytest.mark.parity("P5")
@given(
    begins=st.booleans(), pieces=st.lists(st.sampled_from(PIECES), max_size=24), cuts=st.lists(st.integers(1, 200)),
    ends=st.booleans(), status=st.sampled_from((200, 401)),
)  # fmt: skip
def test_whatever_is_sent_the_connection_ends_in_time_and_leaves_nothing(
    begins: bool, pieces: list[bytes], cuts: list[int], ends: bool, status: int
) -> None:
    """No sequence of requests, half requests and noise makes a task fail, or outlives its deadlines."""
    head = [TOKEN[: TOKEN.index(b"content-length")]] if begins else []
    data = b"".join([*head, *pieces])

    async def story() -> None:
        server = serving(Repeater(status=status))
        async with connected(server) as wire:
            with suppress(trio.BrokenResourceError):
                rest = data
                for cut in cuts:
                    await wire.send(rest[:cut])
                    rest = rest[cut:]
                    await wait_all_tasks_blocked()
                await wire.send(rest)
                if ends:
                    await wire.stream.send_eof()
                with trio.fail_after(2 * LIMITS.idle_deadline_s):
                    while await wire.stream.receive_some():
                        pass
            await wait_all_tasks_blocked()
        assert server.connection_count == 0

    with capture_logs() as lines:
        trio.run(story, clock=MockClock(autojump_threshold=0))
    assert [line for line in lines if line["log_level"] != "debug"] == []
