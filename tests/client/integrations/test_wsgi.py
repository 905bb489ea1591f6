"""The WSGI middleware: what PEP 3333 alone brings. What the ASGI middleware does as well: test_middlewares.py."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware, RequestBodyMismatch, Route, self_test
from orthros_protocol.errors import Misconfigured, Refused
from orthros_protocol.primitives.derivation import RunningDigest
from tests.client.http.world import House
from tests.support.http_caller import HttpCaller
from tests.support.wsgi_server import ask, environ_of

MIB = 1024 * 1024
TEXT = [("Content-Type", "text/plain")]


class Service:
    """An application that remembers who called and what it read."""

    def __init__(self) -> None:
        self.callers: list[Any] = []
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.callers.append(environ["orthros.caller"])
        self.bodies.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response("200 OK", TEXT)
        return [b"served"]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def service() -> Service:
    return Service()


def met(house: House, app: Any, **options: Any) -> HttpCaller:
    caller = house.caller(**options)
    call = caller.call("OPTIONS", flags=0)
    assert caller.refusal(call, ask(app, call)).code == "epoch-required"
    return caller


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies count as too large to be read before the application begins."""
    monkeypatch.setattr("orthros_client.http.server.exchange.MOST_READ_AHEAD", 0)


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("sent", [b"hello WORLD", b"hello", b""], ids=["another one", "ends early", "empty"])
def test_another_body_succeeds_nowhere(sent: bytes, house: House) -> None:
    errors: list[Refused] = []

    def reads(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", TEXT)
        return [b"done"]

    def swallows(environ: Any, start_response: Any) -> Iterable[bytes]:
        for read in (environ["wsgi.input"].readline, environ["wsgi.input"].read):
            try:
                read()
            except RequestBodyMismatch as error:
                errors.append(error)
        start_response("200 OK", TEXT)
        return [b"done"]

    def answers_first(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        yield b"done"

    def writes(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)(b"done")
        return []

    for application in (reads, swallows, answers_first, writes):
        app = OrthrosWsgiMiddleware(application, **house.settings())
        caller = met(house, app)
        call = caller.call("POST", body=b"hello world")
        received = ask(app, call, body=sent)
        assert (received.status, json.loads(received.body)["code"]) == (400, "body-mismatch")
        caller.open(call, received)
    assert [error.code for error in errors] == ["body-mismatch"] * 2


def test_lines_and_chunks_are_read_as_ever(house: House) -> None:
    read: list[Any] = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        stream = environ["wsgi.input"]
        read.append((stream.readline(), stream.read(3), list(stream), stream.read()))
        start_response("200 OK", TEXT)
        return [b"done"]

    app = OrthrosWsgiMiddleware(application, **house.settings(routes=[Route("/chunked", unsized_bodies=True)]))
    caller = met(house, app)
    for target, sized in ((b"/sized", True), (b"/chunked", False)):
        call = caller.call("POST", target, body=b"one\ntwo\nthree\n", sized=sized)
        assert ask(app, call).status == 200
        assert read.pop() == (b"one\n", b"two", [b"\n", b"three\n"], b"")


def test_a_large_upload_needs_no_memory(house: House) -> None:
    """64 MiB here; nothing in it depends on the size."""
    size = 64 * MIB
    running = RunningDigest()
    for _ in range(64):
        running.update(bytes(MIB))

    class Zeros:
        left = size

        def read(self, wanted: int) -> bytes:
            wanted = min(wanted, self.left)
            self.left -= wanted
            return bytes(wanted)

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        total = 0
        while piece := environ["wsgi.input"].read(100_000):
            total += len(piece)
        start_response("200 OK", TEXT)
        return [b"%d" % total]

    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    call = caller.call("POST", body=b"?", sha256=running.digest()).replaced("content-length", b"%d" % size)
    tracemalloc.start()
    try:
        received = ask(app, call, body=None, **{"wsgi.input": Zeros()})
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (received.status, received.body) == (200, b"%d" % size)
    assert peak < 2 * MIB


class Pieces:
    """An iterable that knows whether it was closed."""

    def __init__(self, *pieces: bytes, fails: bool = False) -> None:
        self._pieces = pieces
        self._fails = fails
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._fails:
            raise KeyError("late")

    def close(self) -> None:
        self.closed += 1


def test_iterables_are_closed_whatever_happens(house: House) -> None:
    for fails, held, expected in ((False, None, 200), (True, None, 500), (True, 1, None)):
        pieces = Pieces(b"a", b"", b"b", b"c", fails=fails)

        def application(environ: Any, start_response: Any, pieces: Pieces = pieces) -> Iterable[bytes]:
            start_response("200 OK", TEXT)
            return pieces

        app = OrthrosWsgiMiddleware(application, **house.settings(hold_bytes=held))
        caller = met(house, app)
        call = caller.call()
        if expected is None:
            # Half of the answer has left; the connection must break, not end.
            with pytest.raises(KeyError):
                ask(app, call)
        else:
            received = ask(app, call)
            caller.open(call, received)
            assert received.status == expected
            assert expected != 200 or received.body == b"abc"
        assert pieces.closed == 1


def test_the_head_is_there_when_the_application_has_returned(house: House) -> None:
    """granian takes it then, and not with the first piece as PEP 3333 lets applications have it."""

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("201 Created", TEXT)
        yield b"a"
        yield b"b"

    app = OrthrosWsgiMiddleware(application, **house.settings(routes=[Route("/open", public=True)]))
    caller = met(house, app)
    heads: list[str] = []
    for call in (caller.call(), caller.call(target=b"/open").without("authorization")):
        result = app(environ_of(call), lambda status, *_: heads.append(status))  # type: ignore[arg-type]
        assert heads.pop() == "201 Created"
        assert b"".join(result) == b"ab"


def test_what_fails_at_once_is_closed_all_the_same(house: House) -> None:
    pieces = Pieces(fails=True)

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return pieces

    app = OrthrosWsgiMiddleware(application, **house.settings(routes=[Route("/*", public=True)]))
    with pytest.raises(KeyError):
        app(environ_of(house.caller().call().without("authorization")), lambda *_: None)  # type: ignore[arg-type]
    assert pieces.closed == 1


def test_write_and_exc_info(house: House) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"a")
        try:
            raise KeyError
        except KeyError:
            start_response("503 Later", TEXT, sys.exc_info())
        return [b"b"]

    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    call = caller.call()
    received = ask(app, call)
    caller.open(call, received)
    assert (received.status, received.body) == (503, b"b")
    app = OrthrosWsgiMiddleware(application, **house.settings(hold_bytes=0))
    caller = met(house, app)
    with pytest.raises(KeyError):
        ask(app, caller.call())


def test_an_application_that_raises_is_logged_where_the_server_logs(house: House) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise KeyError("a bug")

    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    call = caller.call()
    environ = environ_of(call)
    heads: list[str] = []
    result = app(environ, lambda status, headers, _=None: heads.append(status))  # type: ignore[arg-type,return-value]
    assert b"a bug" not in b"".join(result)
    assert heads == ["500 Internal Server Error"]
    assert "KeyError: 'a bug'" in environ["wsgi.errors"].getvalue()


def test_an_answer_that_is_not_bytes_is_no_empty_answer(house: House) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        return ["text"]

    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    call = caller.call()
    received = ask(app, call)
    assert received.status == 500
    caller.open(call, received)


def test_servers_that_hide_or_rewrite_the_target(house: House, service: Service) -> None:
    app = OrthrosWsgiMiddleware(service, **house.settings())
    caller = met(house, app)
    assert ask(app, caller.call(), RAW_URI="", REQUEST_URI="/").status == 200
    assert ask(app, caller.call(target=b"/a"), PATH_INFO="/admin").status == 400
    assert ask(app, caller.call(target=b"/a/b"), SCRIPT_NAME="/a", PATH_INFO="/b").status == 200
    assert len(service.callers) == 2


@pytest.mark.parametrize("target", [
    b"/", b"/orders/7", b"/a%20b", b"/%C3%A9t%C3%A9", b"/a:b@c;d=e,f!g$h&i'j(k)l*m+n", b"/~a.b-c_d", b"/a%5Bb%5D%7C%22",
    b"/a?x=%41&y=%2f&&z", b"/a?x?y",
])  # fmt: skip
def test_a_target_that_the_server_hides_is_put_together_again(target: bytes, house: House, service: Service) -> None:
    """wsgiref, gevent, Tornado, granian, a2wsgi tell the path decoded, and the query as it was."""
    app = OrthrosWsgiMiddleware(service, **house.settings())
    caller = met(house, app)
    assert ask(app, caller.call(target=target), RAW_URI="").status == 200


@pytest.mark.parametrize("target", [b"/%61", b"/a%3Ab", b"/a%40b", b"/%c3%a9", b"/a?", b"/a%2Cb"])
def test_another_spelling_of_a_target_that_the_server_hides_is_refused(
    target: bytes, house: House, service: Service
) -> None:
    """Its caller learns that nothing was changed on the way, and what would help."""
    app = OrthrosWsgiMiddleware(service, **house.settings())
    caller = met(house, app)
    call = caller.call(target=target)
    received = ask(app, call, RAW_URI="")
    assert caller.refusal(call, received).code == "wrong-binding"
    assert "does not tell the raw request-target" in json.loads(received.body)["error_description"]
    assert "does not tell the raw request-target" in str(house.log.lines[-1])
    call = caller.call(target=target)
    assert ask(app, call).status == 200


@pytest.mark.parametrize("path", [
    "/a/../b", "//a", "/a//b", "/a%b", "/a\\b", "/a\0b", "/a?b", "/a#b", "/a\xffb", "http://evil.test/a", "", "a",
    "/a/..;/b",
])  # fmt: skip
def test_what_could_be_read_in_two_ways_stays_so_without_the_target(path: str, house: House, service: Service) -> None:
    app = OrthrosWsgiMiddleware(service, **house.settings(routes=[Route("/*", public=True)]))
    call = house.caller().call().without("authorization")
    assert ask(app, call, RAW_URI="", PATH_INFO=path).status == 400
    assert service.callers == []


def test_the_type_that_wsgiref_makes_up_is_not_there(house: House) -> None:
    seen: list[Any] = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(environ.get("CONTENT_TYPE"))
        start_response("200 OK", TEXT)
        return [b"ok"]

    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    made_up: dict[str, Any] = {"CONTENT_TYPE": "text/plain", "SERVER_SOFTWARE": "WSGIServer/0.2"}
    assert ask(app, caller.call(), **made_up).status == 200
    assert ask(app, caller.call(headers=[("content-type", b"text/plain")]), **made_up).status == 200
    assert seen == [None, "text/plain"]
    for added in (made_up | {"CONTENT_TYPE": "text/html"}, made_up | {"SERVER_SOFTWARE": "other"}):
        call = caller.call()
        assert caller.refusal(call, ask(app, call, **added)).code == "not-covered"


def test_a_refusal_leaves_the_connection_usable(house: House, service: Service) -> None:
    """gunicorn's threads hang up otherwise. Of strangers nothing is read: their silence would hold a thread."""
    app = OrthrosWsgiMiddleware(service, **house.settings(routes=[Route("/chunks", unsized_bodies=True)]))

    def left(target: bytes = b"/", *, stranger: bool = False, **options: Any) -> int:
        caller = house.caller()
        call = caller.call("POST", target, headers=[("content-type", b"text/plain")], body=b"x" * 200_000, **options)
        if stranger:
            call = call.without("authorization")
        environ = environ_of(call)
        statuses: list[str] = []
        app(environ, lambda status, *_: statuses.append(status))  # type: ignore[arg-type]
        assert statuses == ["401 Unauthorized"]
        return len(environ["wsgi.input"].read(200_000 - environ["wsgi.input"].tell()))

    assert left() == left(b"/chunks", sized=False) == 0
    assert left(stranger=True) == left(b"/chunks", stranger=True, sized=False) == 200_000


def test_what_uwsgi_shows_twice_is_one_header(house: House, service: Service) -> None:
    """nginx's `uwsgi_pass` sends every header as HTTP_, and these two without it as well."""
    app = OrthrosWsgiMiddleware(service, **house.settings())
    caller = met(house, app)
    twins: dict[str, Any] = {"HTTP_CONTENT_LENGTH": "3", "HTTP_CONTENT_TYPE": "text/plain"}

    def status(**changes: Any) -> int:
        call = caller.call("POST", headers=[("content-type", b"text/plain")], body=b"one")
        return ask(app, call, **(twins | changes)).status

    assert status() == 200
    for changed in (
        {"HTTP_CONTENT_LENGTH": "2"}, {"HTTP_CONTENT_LENGTH": "03"}, {"HTTP_CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": ""}, {"HTTP_CONTENT_TYPE": "text/html"}, {"CONTENT_TYPE": ""},
    ):  # fmt: skip
        assert status(**changed) == 400, changed
    assert service.bodies == [b"one"]


@pytest.mark.parity("L12")
def test_an_application_without_middleware_is_flagged(house: House, service: Service) -> None:
    """The self-test asks the application that the server would run."""
    with pytest.raises(Misconfigured, match="unprotected"):
        self_test(service)
    app = OrthrosWsgiMiddleware(service, **house.settings(routes=[Route("/open/*", public=True)]))
    self_test(app, app.guard.routes.rows, host="orders.test", paths=["/orders"])
    with pytest.raises(Misconfigured, match="/open"):
        self_test(app, host="orders.test", paths=["/open"])
    assert app.guard.counts() == {}


def test_an_application_may_not_start_twice(house: House) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        start_response("200 OK", TEXT)
        return []

    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    assert ask(app, caller.call()).status == 500
