"""A target that listens, and its caller by each HTTP library: a story that runs on all of them is told once.

Knows what the libraries have in common, and nothing of what one of them can do alone.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import requests
from attrs import define, field, frozen

from orthros_client.http.client.outgoing import Proven
from orthros_client.integrations import aiohttp_auth, httpx_auth, requests_auth, urllib3_auth
from orthros_protocol.testing import InMemoryRealm
from tests.support.http_target import HttpTarget, RealmSource, listening

__all__ = ["LIBRARIES", "Answer", "Shop", "auth_of", "open_shop"]

LIBRARIES = ("httpx", "httpx2", "requests", "aiohttp", "urllib3")


@frozen
class Answer:
    """A whole response."""

    status: int
    content: bytes
    headers: Mapping[str, str]
    proven: Proven | None


def auth_of(library: str, targets: Mapping[str, str], **options: Any) -> Any:
    make: Any = {
        "requests": requests_auth.OrthrosRequestsAuth,
        "aiohttp": aiohttp_auth.OrthrosAiohttpAuth,
        "urllib3": urllib3_auth.OrthrosPoolManager,
    }
    return make.get(library, httpx_auth.OrthrosAuth)(targets, **options)


class Tasks:
    """A session of aiohttp on an event loop in a thread of its own, so that threads may call it."""

    def __init__(self, auth: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._auth = auth
        self._session = self.run(self._open())
        self.cookies = self

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            middlewares=[self._auth], auto_decompress=False, cookie_jar=aiohttp.CookieJar(unsafe=True)
        )

    def set(self, name: str, value: str) -> None:
        """A cookie."""
        self._loop.call_soon_threadsafe(self._session.cookie_jar.update_cookies, {name: value})

    async def send(self, method: str, url: str, *, in_pieces: bool, **options: Any) -> Answer:
        async with self._session.request(method, url, **options) as sent:
            content = b"".join(
                [piece async for piece in sent.content.iter_chunked(1000)] if in_pieces else [await sent.read()]
            )
            if sent.headers.get("content-encoding") == "gzip":
                content = gzip.decompress(content)
            return Answer(sent.status, content, sent.headers, aiohttp_auth.proven_of(sent))

    def close(self) -> None:
        self.run(self._session.close())
        self.run(self._auth.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Pool:
    """The pools of urllib3, and the cookies that it does not keep by itself."""

    def __init__(self, auth: Any) -> None:
        self._auth = auth
        self.headers: dict[str, str] = {}
        self.cookies = self

    def set(self, name: str, value: str) -> None:
        """A cookie."""
        self.headers["Cookie"] = f"{name}={value}"

    def send(self, method: str, url: str, body: Any, *, follow: bool, in_pieces: bool, **options: Any) -> Answer:
        pool = options.pop("auth", self._auth)
        for name, content in options.pop("files", {}).items():
            options["fields"] = {name: (name, content)}
        if isinstance(body, dict):
            options["fields"], body = body, None
        if body is not None:
            options["body"] = body
        options["headers"] = {**self.headers, **options.get("headers", {})}
        sent = pool.request(method, url, redirect=follow, preload_content=not in_pieces, timeout=20, **options)
        content = b"".join(sent.stream(1000)) if in_pieces else sent.data
        return Answer(sent.status, content, sent.headers, urllib3_auth.proven_of(sent))

    def close(self) -> None:
        self._auth.close()


async def _pieces(body: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in body:
        yield piece


@define
class Client:
    """One client of a library, with its authentication."""

    library: str
    auth: Any
    session: Any

    def send(
        self, method: str, url: str, body: Any = None, *, follow: bool = False, in_pieces: bool = False, **options: Any
    ) -> Answer:
        """One call; `in_pieces` reads the response as it comes. `options` are those that all libraries have."""
        if self.library == "requests":
            sent = self.session.request(
                method, url, data=body, stream=in_pieces, allow_redirects=follow, timeout=20, **options
            )
            content = b"".join(sent.iter_content(1000)) if in_pieces else sent.content
            return Answer(sent.status_code, content, sent.headers, requests_auth.proven_of(sent))
        if self.library == "aiohttp":
            return self._send_in_task(method, url, body, allow_redirects=follow, in_pieces=in_pieces, **options)
        if self.library == "urllib3":
            answer: Answer = self.session.send(method, url, body, follow=follow, in_pieces=in_pieces, **options)
            return answer
        options |= {} if body is None else {"content": body}
        if not in_pieces:
            found = self.session.request(method, url, follow_redirects=follow, **options)
            return Answer(found.status_code, found.content, found.headers, httpx_auth.proven_of(found))
        with self.session.stream(method, url, follow_redirects=follow, **options) as found:
            content = b"".join(found.iter_bytes())
            return Answer(found.status_code, content, found.headers, httpx_auth.proven_of(found))

    def _send_in_task(self, method: str, url: str, body: Any, **options: Any) -> Answer:
        data = _pieces(body) if isinstance(body, Iterator) else body
        for name, content in options.pop("files", {}).items():
            data = aiohttp.FormData()
            data.add_field(name, content, filename=name)
        if "auth" in options:
            options["middlewares"] = [options.pop("auth")]
        answer: Answer = self.session.run(self.session.send(method, url, data=data, **options))
        return answer

    def get(self, url: str, **options: Any) -> Answer:
        return self.send("GET", url, **options)

    def post(self, url: str, body: Any = None, **options: Any) -> Answer:
        return self.send("POST", url, body, **options)


@define
class Shop:
    """`orders`, which listens, and who may call it with `library`."""

    library: str
    target: HttpTarget
    source: RealmSource
    origin: str
    _clients: list[Any] = field(factory=list)

    @property
    def url(self) -> str:
        return f"{self.origin}/v1/orders?id=7"

    def client(self, *, targets: Mapping[str, str] | None = None, source: Any = None, **options: Any) -> Client:
        """A client with these options of the authentication."""
        targets = {self.origin: "orders"} if targets is None else targets
        auth = auth_of(self.library, targets, client=source or self.source, **options)
        session: Any
        if self.library == "requests":
            session = requests.Session()
            session.auth, session.trust_env = auth, False
        elif self.library == "aiohttp":
            session = Tasks(auth)
        elif self.library == "urllib3":
            session = Pool(auth)
        else:
            library: Any = {"httpx": httpx, "httpx2": httpx2}[self.library]
            session = library.Client(auth=auth, trust_env=False, timeout=20)
        self._clients.append(session)
        return Client(self.library, auth, session)

    def restart(self) -> None:
        """Other processes, which remember nothing."""
        self.target.processes = HttpTarget(self.target.realm).processes

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextmanager
def open_shop(library: str) -> Iterator[Shop]:
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    target = HttpTarget(realm, scheme="http")
    with listening(target.hear) as port:
        target.authority = f"127.0.0.1:{port}"
        shop = Shop(library, target, RealmSource(realm), f"http://127.0.0.1:{port}")
        try:
            yield shop
        finally:
            shop.close()
