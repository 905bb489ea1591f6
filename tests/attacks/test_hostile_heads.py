"""Heads of strangers: what a service does before a caller has proven anything costs about as much as reading the head.

Work is counted in functions entered, so a busy machine changes nothing. A larger head may enter more of them only for
each further field.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from orthros_client.daemon.listeners.forward_auth_dialects import PATH, ProxyQuestion
from orthros_client.http.server.incoming import IncomingRequest, read_path
from orthros_client.http.server.routes import Route, Routes
from orthros_client.integrations import asgi, wsgi
from tests.client.forwarding import HOST, Gate, judged
from tests.client.http.world import House
from tests.support.work import calls_of

ROWS = [Route("/a/*"), Route("/A/b/*"), Route("/api/v1/exact"), Route("/caf%C3%A9/*", covers=["x-tenant"])]
WORTHLESS = b'Orthros v=1, h="", r="AAAA"'
# A whole request without any key, with the answer and its log line; and each field of a head.
MOST_CALLS = 700
MOST_CALLS_A_FIELD = 30

Headers = tuple[tuple[str, bytes], ...]
Head = tuple[bytes, Headers]


def look_up(path: str) -> Callable[[], object]:
    routes = Routes(ROWS)
    request = IncomingRequest(method="GET", target=path.encode("ascii"), headers=(), decoded_path=unquote(path))

    def action() -> object:
        _path, segments = read_path(request)
        return routes.find(segments)

    return action


@pytest.mark.parametrize("piece", ["/z", "/Z", "/a", "/z;x", "/%C3%84", "/z" + ";" * 30, "/..z"])
def test_a_deep_path_is_looked_up_no_deeper_than_the_rows_go(piece: str) -> None:
    """4,095 segments took 100 ms of every worker: each prefix was sliced, hashed and spelled in small letters."""
    few, many = (piece * (size // len(piece)) for size in (1024, 8192))
    assert calls_of(look_up(many)) <= calls_of(look_up(few))


def head(*headers: tuple[str, bytes], target: bytes = b"/", authorization: bytes = WORTHLESS) -> Head:
    return target, (*headers, ("authorization", authorization))


def covering(names: Iterable[str]) -> bytes:
    return f'Orthros v=1, h="{";".join(names)}", r="AAAA"'.encode("ascii")


HEADS: dict[str, Callable[[int], Head]] = {
    "commas in X-Forwarded-For": lambda size: head(("x-forwarded-for", b"," * size)),
    "addresses in X-Forwarded-For": lambda size: head(("x-forwarded-for", b"10.0.0.2," * (size // 9))),
    "lines of X-Forwarded-For": lambda size: head(*[("x-forwarded-for", b"10.0.0.2")] * (min(size, 16_384) // 8)),
    "Forwarded": lambda size: head(("forwarded", b"for=10.0.0.2;by=x," * (size // 18))),
    "many fields": lambda size: head(*[(f"x-{number}", b"") for number in range(min(size, 16_384) // 8)]),
    "one field often": lambda size: head(*[("x-a", b"1")] * (min(size, 16_384) // 8)),
    "fields in other spellings": lambda size: head(*[(f"x_{number}", b"") for number in range(min(size, 16_384) // 8)]),
    "fields that fold to one": lambda size: head(*[(f"x{'_-.~'[at % 4]}{'_-.~'[at // 4 % 4]}a", b"")
                                                   for at in range(min(size, 16_384) // 8)]),
    "a long name": lambda size: head(("x" * size, b"")),
    "a long name of underscores": lambda size: head(("_" * size, b"")),
    "many Authorization fields": lambda size: head(*[("authorization", WORTHLESS)] * (min(size, 16_384) // 8)),
    "a long Authorization": lambda size: head(authorization=b'Orthros v=1, h="", r="' + b"A" * size + b'"'),
    "Authorization without a scheme": lambda size: head(authorization=b"\xe9" * size),
    "Authorization of spaces": lambda size: head(authorization=b" " * size),
    "quotes in Authorization": lambda size: head(authorization=b'Orthros v=1, h="' + b'", r="' * (size // 6)),
    "a giant h": lambda size: head(authorization=covering(["a"] * (size // 2))),
    "one giant name in h": lambda size: head(authorization=covering(["a" * size])),
    "sixteen names, all absent": lambda _size: head(authorization=covering(f"x-{one}" for one in range(16))),
    "sixteen fields": lambda size: head(*[(f"x-{one}", b"v" * (size // 16)) for one in range(16)],
                                        authorization=covering(f"x-{one}" for one in range(16))),
    "a bearer token": lambda size: head(authorization=b"Bearer " + b"eyJ." * (size // 4)),
    "a long Content-Digest": lambda size: head(("content-digest", b"sha-256=:" + b"A" * size)),
    "a long Content-Length": lambda size: head(("content-length", b"9" * size)),
    "cookies": lambda size: head(("cookie", b"a=b; " * (size // 5))),
    "traceparent": lambda size: head(("traceparent", b"0" * size)),
    "a deep path": lambda size: head(target=b"/A" * (size // 2)),
    "a path of escapes": lambda size: head(target=b"/%41" * (size // 4)),
    "a path of broken escapes": lambda size: head(target=b"/" + b"%" * size),
    "a path of escapes that are not UTF-8": lambda size: head(target=b"/%ff" * (size // 4)),
    "a path of dots": lambda size: head(target=b"/" + b"." * size),
    "a path of parameters": lambda size: head(target=b"/a" + b";" * size),
    "a path of slashes": lambda size: head(target=b"/" * size),
    "a long query": lambda size: head(target=b"/?" + b"a=%41&" * (size // 6)),
}  # fmt: skip


def allowed(one: Head) -> int:
    """What a head may cost in all."""
    _target, headers = one
    return MOST_CALLS + MOST_CALLS_A_FIELD * len(headers)


Door = Callable[[Head], Callable[[], object]]


def without_waiting(coroutine: Coroutine[Any, Any, object]) -> None:
    """Runs what is async to its end; strangers are refused before anything could be waited for."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("it was let in")


def asgi_door(house: House, _folder: Path) -> Door:
    guarded = asgi.OrthrosMiddleware(_nothing, **house.settings(routes=ROWS, trusted_proxies=["10.0.0.0/8"]))

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None: ...

    def door(one: Head) -> Callable[[], object]:
        target, headers = one
        path, _, query = target.partition(b"?")
        raw = [(b"host", b"orders.test"), *((name.encode("ascii"), value) for name, value in headers)]
        scope = {
            "type": "http", "method": "GET", "path": unquote(path.decode("latin-1")), "raw_path": path,
            "query_string": query, "client": ("10.0.0.1", 4711), "headers": raw,
        }  # fmt: skip

        return lambda: without_waiting(guarded(dict(scope), receive, send))

    return door


def wsgi_door(house: House, _folder: Path) -> Door:
    guarded = wsgi.OrthrosWsgiMiddleware(
        lambda _environ, _start: [], **house.settings(routes=ROWS, mode="observe", trusted_proxies=["10.0.0.0/8"])
    )
    guarded.guard.observing = False  # else its self-test asks the application above

    def door(one: Head) -> Callable[[], object]:
        target, headers = one
        environ = {"REQUEST_METHOD": "GET", "RAW_URI": target.decode("latin-1"), "HTTP_HOST": "orders.test",
                   "REMOTE_ADDR": "10.0.0.1", "SERVER_SOFTWARE": "gunicorn/23.0.0", "SCRIPT_NAME": "",
                   "PATH_INFO": unquote(target.partition(b"?")[0].decode("latin-1"), "latin-1")}  # fmt: skip
        for name, value in headers:
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]},{value.decode('latin-1')}" if key in environ else value.decode("latin-1")
        return lambda: list(guarded(dict(environ), lambda *_head: lambda _data: None))

    return door


WHOLE = ("x-original-body", b";"), ("x-original-upgrade", b";"), ("x-original-peer", b"10.0.0.1")
WRITTEN: dict[str, Callable[[bytes], Headers]] = {
    "nginx": lambda target: (("x-original-method", b"GET"), ("x-original-uri", target), *WHOLE),
    "caddy": lambda target: (("x-forwarded-method", b"GET"), ("x-forwarded-uri", target), *WHOLE),
    "traefik": lambda target: (
        ("x-forwarded-method", b"GET"), ("x-forwarded-uri", target), ("x-forwarded-host", HOST.encode("ascii"))
    ),
    "envoy": lambda _target: WHOLE[1:],
}  # fmt: skip


def forward_door(dialect: str) -> Callable[[House, Path], Door]:
    def make(_house: House, folder: Path) -> Door:
        gate = Gate.open(folder, dialect, met=False)

        def door(one: Head) -> Callable[[], object]:
            target, headers = one
            asked = PATH.encode("ascii") + (target if dialect == "envoy" else b"")
            sent = (("host", HOST.encode("ascii")), *WRITTEN[dialect](target), *headers)
            question = ProxyQuestion(method="GET", target=asked, headers=sent)
            return lambda: judged(gate.endpoint, question)

        verdict = judged(gate.endpoint, ProxyQuestion(
            method="GET", target=PATH.encode("ascii") + (b"/" if dialect == "envoy" else b""),
            headers=(("host", HOST.encode("ascii")), *WRITTEN[dialect](b"/"), ("authorization", WORTHLESS)),
        ))  # fmt: skip
        assert verdict.status == 401, "the guard is not even asked"
        return door

    return make


DOORS: dict[str, Callable[[House, Path], Door]] = {
    "asgi": asgi_door, "wsgi": wsgi_door, **{name: forward_door(name) for name in WRITTEN}
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_no_head_costs_more_than_reading_it(door: str, tmp_path: Path) -> None:
    """An X-Forwarded-For of 4 MB held a worker for 39 s, without any key."""
    enter = DOORS[door](House(), tmp_path)
    too_much = {}
    for name, make in HEADS.items():
        for size in (1024, 8192, 65_536, 262_144):
            calls = calls_of(enter(make(size)))
            if calls > allowed(make(size)):
                too_much[name, size] = (calls, allowed(make(size)))
    assert too_much == {}
