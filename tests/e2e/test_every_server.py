"""One small service under each server that people run: whatever a server makes of a request, it is served or refused.

The long stories are in `test_http_servers`; here is what servers differ in: how they tell the target, bodies without a
length, trailers, the connection after a refusal, mount points.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from attrs import evolve, frozen

from orthros_protocol.testing import InMemoryRealm, ManualClock
from tests.support import nginx
from tests.support.http_caller import Call, HttpCaller, Received, wall_clock
from tests.support.http_servers import caller_of, transfer
from tests.support.peers import require
from tests.support.processes import eventually
from workshop.stage import Process, Stage

pytestmark = pytest.mark.stories

ROOT: Final = Path(__file__).parents[2]
ASGI, WSGI, SERVE = (f"tests.e2e.programs.{name}" for name in ("echo_service:asgi", "echo_service:wsgi", "serve"))
UVICORN: Final = "python -m uvicorn --port {port} --no-proxy-headers --no-access-log"
GUNICORN: Final = "python -m gunicorn -b 127.0.0.1:{port}"
UWSGI: Final = f"uwsgi --module {WSGI} --need-app --die-on-term --disable-logging"
SERVERS: Final = {
    "uvicorn-h11": f"{UVICORN} --http h11 {ASGI}",
    "uvicorn-httptools": f"{UVICORN} --http httptools {ASGI}",
    "hypercorn": f"python -m hypercorn -b 127.0.0.1:{{port}} {ASGI}",
    "hypercorn-trio": f"python -m hypercorn -b 127.0.0.1:{{port}} --worker-class trio {ASGI}",
    "daphne": f"daphne -b 127.0.0.1 -p {{port}} {ASGI}",
    "granian-asgi": f"python -m granian --interface asgi --port {{port}} {ASGI}",
    "granian-wsgi": f"python -m granian --interface wsgi --port {{port}} {WSGI}",
    "gunicorn-threads": f"{GUNICORN} --threads 4 {WSGI}",
    "gunicorn-sync": f"{GUNICORN} {WSGI}",
    "gunicorn-gevent": f"{GUNICORN} -k gevent {WSGI}",
    "waitress": f"python -m waitress --listen=127.0.0.1:{{port}} {WSGI}",
    "wsgiref": f"python -m {SERVE} wsgiref {{port}}",
    "runserver": f"python -m {SERVE} runserver {{port}}",
    "gevent": f"python -m {SERVE} gevent {{port}}",
    "tornado": f"python -m {SERVE} tornado {{port}}",
    "werkzeug": f"python -m {SERVE} werkzeug {{port}}",
    "a2wsgi": f"{UVICORN} {SERVE}:a2wsgi",
    "uwsgi": f"{UWSGI} --http-socket 127.0.0.1:{{port}}",
    "uwsgi-nginx": f"{UWSGI} --socket {{folder}}/uwsgi.sock --chmod-socket=666",
}  # fmt: skip
# Nothing of theirs reads a body whose length is not told, so that it is empty there, and another one than was signed.
WITHOUT_CHUNKS: Final = {"wsgiref", "runserver", "tornado", "a2wsgi", "uwsgi"}
MOUNTED: Final = {
    "uvicorn": f"{UVICORN} --root-path /shop {ASGI}",
    "hypercorn": f"python -m hypercorn -b 127.0.0.1:{{port}} --root-path /shop {ASGI}",
    "granian": f"python -m granian --interface asgi --url-path-prefix /shop --port {{port}} {ASGI}",
    "gunicorn": f"{GUNICORN} --env SCRIPT_NAME=/shop {WSGI}",
    "uwsgi": f"uwsgi --mount /shop={WSGI} --manage-script-name --die-on-term --http-socket 127.0.0.1:{{port}}",
}
NGINX: Final = """\
server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    location / {{
        uwsgi_pass unix:{folder}/uwsgi.sock;
        uwsgi_param QUERY_STRING $query_string;
        uwsgi_param REQUEST_METHOD $request_method;
        uwsgi_param CONTENT_TYPE $content_type;
        uwsgi_param CONTENT_LENGTH $content_length;
        uwsgi_param REQUEST_URI $request_uri;
        uwsgi_param PATH_INFO $document_uri;
        uwsgi_param SERVER_PROTOCOL $server_protocol;
        uwsgi_param REMOTE_ADDR $remote_addr;
        uwsgi_param SERVER_PORT $server_port;
        uwsgi_param SERVER_NAME $server_name;
        uwsgi_param HTTP_TRANSFER_ENCODING "" if_not_empty;  # nginx has told the length instead
    }}
}}
"""


@frozen(kw_only=True)
class Server:
    """One service behind one server."""

    name: str
    port: int
    process: Process
    realm: InMemoryRealm

    def caller(self, *scopes: str) -> HttpCaller:
        """One that knows the service's epoch."""
        caller = caller_of(self.realm, *scopes)
        first = caller.call("POST", b"/open")
        caller.refusal(first, transfer(self.port, first))
        return caller

    def told(self, caller: HttpCaller, call: Call, **options: Any) -> dict[str, Any]:
        """What the service says that it was given, once its word is proven."""
        received = transfer(self.port, call, **options)
        assert received.status == 200, (received, self.process.errors())
        caller.open(call, received)
        content: dict[str, Any] = json.loads(received.body)
        return content


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        return int(holder.getsockname()[1])


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 15).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def open_server(name: str, command: str) -> Iterator[Server]:
    realm = InMemoryRealm(clock=ManualClock(wall_clock()))
    for principal in ("shop", "orders"):
        realm.add(principal)
    proxy = require("nginx") if name.endswith("-nginx") else ""
    with Stage("orthros-server-") as stage:
        key, port, folder = stage.folder / "orders.verify.key", free_port(), stage.folder
        realm.keytab("orders").verify_only().save(key)
        environ = {"ORTHROS_KEY_FILE": str(key), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        words = command.format(port=port, folder=folder).split()
        program = sys.executable if words[0] == "python" else str(Path(sys.executable).parent / words[0])
        process = stage.start(name, program, *words[1:], environ=environ)
        if proxy:
            eventually((folder / "uwsgi.sock").exists, "uWSGI listens")
            stage.start("nginx", proxy, *nginx.configured(folder, NGINX.format(folder=folder, port=port)))
        eventually(lambda: not process.is_running or is_open(port), f"{name} accepts connections")
        assert process.is_running, process.errors()
        yield Server(name=name, port=port, process=process, realm=realm)


def the_target_is_the_one_that_was_sent(server: Server) -> None:
    """However the server tells it: raw, or decoded, and then put together again."""
    caller = server.caller("read")
    seen = server.told(caller, caller.call("GET", b"/a%20b/x:y@z;p~%C3%A9?q=%2F&e=1"))
    assert (seen["path"], seen["query"]) == ("/a b/x:y@z;p~\u00e9", "q=%2F&e=1")
    assert "content-type" not in seen["headers"]
    changed = evolve(caller.call("GET", b"/a?q=1"), target=b"/a?q=2")
    assert caller.refusal(changed, transfer(server.port, changed)).code == "wrong-binding"
    for target in (b"/a/../b", b"/a/%2e%2e/b"):
        assert transfer(server.port, evolve(caller.call("GET", b"/a"), target=target)).status in (400, 401)


def bodies_arrive_and_others_do_not(server: Server) -> None:
    caller = server.caller("read")
    kind = ("content-type", b"text/plain")
    for body in (b"one", b"x" * 300_000):
        seen = server.told(caller, caller.call("POST", b"/a", headers=[kind], body=body))
        assert seen["body"].encode() == body
        call = caller.call("POST", b"/a", headers=[kind], body=body)
        refused = transfer(server.port, call, body=body[:-1] + b"y")
        assert (refused.status, json.loads(refused.body)["code"]) == (400, "body-mismatch")
        caller.open(call, refused)
    call = caller.call("HEAD", b"/a")
    received = transfer(server.port, call)
    assert (received.status, received.body) == (200, b"")
    caller.open(call, received)


def a_refusal_can_be_read_and_the_call_repeated(server: Server) -> None:
    """A first contact with a body that is no longer small, on one connection where the server keeps it."""
    for size in (1000, 200_000, 2_000_000):
        caller = caller_of(server.realm, "read")
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            refused = exchanged(connection, call := caller.call("POST", b"/a", body=b"x" * size))
            if server.name == "uwsgi":  # closes each connection, and does not say so
                connection.close()
            assert caller.refusal(call, refused).code == "epoch-required"
            served = exchanged(connection, call := caller.call("POST", b"/a", body=b"x" * size))
            assert served.status == 200
            caller.open(call, served)


def exchanged(connection: HTTPConnection, call: Call) -> Received:
    headers = {name: value.decode("latin-1") for name, value in call.headers}
    connection.request(call.method, call.target.decode("ascii"), call.body, headers)
    response = connection.getresponse()
    found = tuple((name.lower(), value.encode("latin-1")) for name, value in response.getheaders())
    return Received(status=response.status, headers=found, body=response.read())


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n" % (len(body), body)


def chunks_are_read_to_their_end_or_refused(server: Server) -> None:
    caller = server.caller("read")
    call = caller.call("POST", b"/chunks/a", body=b"one", sized=False)
    if server.name in WITHOUT_CHUNKS:
        assert transfer(server.port, call, body=chunked(b"one") + b"\r\n").status in (400, 411, 501)
        return
    assert server.told(caller, call, body=chunked(b"one") + b"\r\n")["body"] == "one"
    call = caller.call("POST", b"/chunks/a", body=b"one", sized=False)
    assert transfer(server.port, call, body=chunked(b"two") + b"\r\n").status == 400


def a_caller_may_wait_before_it_sends_its_body_and_adds_no_header_after_it(server: Server) -> None:
    """100 Continue comes when the application reads, or by itself. Trailers come later, from anybody on the way."""
    caller = server.caller("read")
    call = caller.call("POST", b"/chunks/a", body=b"one", sized=False).with_header("expect", b"100-continue")
    head = [b"POST /chunks/a HTTP/1.1", *(name.encode() + b": " + value for name, value in call.headers)]
    with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
        connection.sendall(b"\r\n".join([*head, b"connection: close", b"", b""]))
        first = connection.recv(12, socket.MSG_WAITALL)
        if first != b"HTTP/1.1 100":
            assert server.name in WITHOUT_CHUNKS
            return
        while not first.endswith(b"\r\n\r\n"):
            first += connection.recv(1)
        connection.sendall(chunked(b"one") + b"x-late: 1\r\ncontent-type: text/html\r\n\r\n")
        response = HTTPResponse(connection, method="POST")
        response.begin()
        found = response.read()
    if response.status == 200:
        seen = json.loads(found)
        assert seen["body"] == "one"
        assert not {"x-late", "content-type"} & {*seen["headers"]}
    else:
        assert response.status >= 400


def strangers_are_refused(server: Server) -> None:
    caller = caller_of(server.realm)
    for call in (caller.call("GET", b"/a"), caller.call("POST", b"/a", body=b"x" * 1000)):
        received = transfer(server.port, call.without("authorization"))
        assert (received.status, received.header("www-authenticate")) == (401, b'Orthros realm="test.realm"')
    assert transfer(server.port, caller.call("GET", b"/open").without("authorization")).status == 200


STORIES: Final = [
    the_target_is_the_one_that_was_sent,
    bodies_arrive_and_others_do_not,
    a_refusal_can_be_read_and_the_call_repeated,
    chunks_are_read_to_their_end_or_refused,
    a_caller_may_wait_before_it_sends_its_body_and_adds_no_header_after_it,
    strangers_are_refused,
]


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parity("O11")
def test_whatever_a_server_makes_of_a_request_it_is_served_or_refused(name: str) -> None:
    """All of it on one server, because starting them takes longest."""
    with open_server(name, SERVERS[name]) as server:
        for story in STORIES:
            story(server)


@pytest.mark.parametrize("name", MOUNTED)
def test_rows_are_below_the_mount_point_of_the_server(name: str) -> None:
    """uvicorn's `--root-path` is for a proxy that takes the prefix off; the others get it with the request."""
    with open_server(f"{name}-mounted", MOUNTED[name]) as server:
        taken_off = b"/shop" if name == "uvicorn" else b""

        def ask(call: Call, target: bytes = b"/shop/admin/x") -> Received:
            return transfer(server.port, evolve(call, target=target.removeprefix(taken_off)))

        poor, rich = (caller_of(server.realm, scope) for scope in ("read", "admin"))
        for caller, status in ((poor, 403), (rich, 200)):
            first = caller.call("POST", b"/shop/open")
            caller.refusal(first, ask(first, b"/shop/open"))
            call = caller.call("GET", b"/shop/admin/x")
            received = ask(call)
            assert received.status == status
            caller.open(call, received)
        if name != "uvicorn":
            assert ask(poor.call("GET", b"/admin/x"), b"/admin/x").status in (400, 403, 404, 500)


@pytest.mark.parametrize("option", ["", "--root-path /shop"])
def test_daphne_believes_a_header_about_its_mount_point_and_nobody_is_served_by_it(option: str) -> None:
    """Daphne-Root-Path is not among the headers that an application sees; the row below it would be a public one."""
    with open_server("daphne-mounted", f"daphne -b 127.0.0.1 -p {{port}} {option} {ASGI}") as server:
        stranger = caller_of(server.realm).call("GET", b"/secret/open").without("authorization")
        claimed = transfer(server.port, stranger.with_header("daphne-root-path", b"/secret"))
        assert (claimed.status, json.loads(claimed.body)["code"]) == (400, "malformed")
        assert "let the application say where it is" in server.process.text()
        assert transfer(server.port, stranger).status == (400 if option else 401)


@pytest.mark.parametrize("name", ["hypercorn", "hypercorn-trio", "granian-asgi"])
def test_uploads_over_http_2_are_answered(name: str) -> None:
    """hypercorn's connection broke, and under trio its worker, when an answer ended before its request."""
    with (
        open_server(name, SERVERS[name]) as server,
        httpx.Client(http2=True, http1=False, trust_env=False, timeout=30) as client,
    ):
        caller = caller_of(server.realm, "read")

        def send(call: Call) -> Received:
            headers = [(each, value.decode("latin-1")) for each, value in call.headers]
            url = f"http://127.0.0.1:{server.port}{call.target.decode()}"
            response = client.request(call.method, url, headers=headers, content=call.body)
            assert response.http_version == "HTTP/2"
            found = tuple((each.decode().lower(), value) for each, value in response.headers.raw)
            return Received(status=response.status_code, headers=found, body=response.content)

        body = b"x" * 1_000_000
        for _ in range(5):
            assert send(caller.call("POST", b"/a", body=body).without("authorization")).status == 401
        call = caller.call("POST", b"/a", body=body)
        assert caller.refusal(call, send(call)).code == "epoch-required"
        call = caller.call("POST", b"/a", body=body)
        received = send(call)
        caller.open(call, received)
        assert received.status == 200
        assert server.process.is_running
