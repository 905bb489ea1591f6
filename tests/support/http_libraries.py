"""A target that listens, and its caller by httpx, httpx2 or requests: a story that runs on all three is told once.

Knows what the libraries have in common, and nothing of what one of them can do alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import requests
from attrs import define, field, frozen

from orthros_client.http.client.outgoing import Proven
from orthros_client.integrations import httpx_auth, requests_auth
from orthros_protocol.testing import InMemoryRealm
from tests.support.http_target import HttpTarget, RealmSource, listening

__all__ = ["LIBRARIES", "Answer", "Shop", "auth_of", "open_shop"]

LIBRARIES = ("httpx", "httpx2", "requests")


@frozen
class Answer:
    """A whole response."""

    status: int
    content: bytes
    headers: Mapping[str, str]
    proven: Proven | None


def auth_of(library: str, targets: Mapping[str, str], **options: Any) -> Any:
    make = requests_auth.OrthrosRequestsAuth if library == "requests" else httpx_auth.OrthrosAuth
    return make(targets, **options)


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
        options |= {} if body is None else {"content": body}
        if not in_pieces:
            found = self.session.request(method, url, follow_redirects=follow, **options)
            return Answer(found.status_code, found.content, found.headers, httpx_auth.proven_of(found))
        with self.session.stream(method, url, follow_redirects=follow, **options) as found:
            content = b"".join(found.iter_bytes())
            return Answer(found.status_code, content, found.headers, httpx_auth.proven_of(found))

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
        session: Any = requests.Session()
        if self.library == "requests":
            session.auth, session.trust_env = auth, False
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
