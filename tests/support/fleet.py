"""A service of several replay instances behind something that deals requests out, as a WSGI application.

Real guards with real stores in memory, and the realm's clock. Whoever stands between sees every request, and can
deliver copies of it to any instance.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import define, field

from orthros_client import Verifier
from orthros_client.http.server.routes import Route
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from orthros_protocol.testing import CountingEntropy, InMemoryRealm

__all__ = ["CALL", "Fleet", "Seen"]

CALL = "HTTP_X_CALL"
"""Which call a request belongs to: a header that the tests send."""


@define
class Seen:
    """A request on its way."""

    environ: dict[str, Any]
    body: bytes

    def copy(self) -> dict[str, Any]:
        """The same once more."""
        return {**self.environ, "wsgi.input": io.BytesIO(self.body)}


@define
class Fleet:
    """`size` instances of `orders` at `origin`. `turn` says which one gets the request of this number.

    `executed` are (call, instance) of every execution, `seen` every request, `meddle` sees each before it is delivered.
    """

    realm: InMemoryRealm
    origin: str
    size: int
    routes: tuple[Route, ...] = ()
    turn: Callable[[int], int] = lambda number: number
    meddle: Callable[[Seen], None] = lambda _seen: None
    executed: list[tuple[str, int]] = field(factory=list)
    seen: list[Seen] = field(factory=list)
    instances: list[Any] = field(init=False)
    _started: int = 0

    def __attrs_post_init__(self) -> None:
        self.instances = [self._start(number) for number in range(self.size)]

    def restart(self, number: int) -> None:
        """This instance forgets everything."""
        self.instances[number] = self._start(number)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Deals a request out."""
        size = int(environ.get("CONTENT_LENGTH") or 0)
        seen = Seen(environ, environ["wsgi.input"].read(size))
        number = self.turn(len(self.seen)) % self.size
        self.seen.append(seen)
        self.meddle(seen)
        return self.deliver(seen, number, start_response)

    def deliver(self, seen: Seen, number: int, start_response: Any = lambda *_answer: None) -> list[bytes]:
        """To one instance; also what was captured."""
        pieces = self.instances[number](seen.copy(), start_response)
        try:
            return list(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    def _start(self, number: int) -> Any:
        self._started += 1
        clock = self.realm.clock.now
        entropy = CountingEntropy(b"instance %d" % self._started)
        verifier = Verifier(self.realm.keytab("orders"), clock=clock, monotonic_ms=clock, entropy=entropy)

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            self.executed.append((environ.get(CALL, ""), number))
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"done"

        return OrthrosWsgiMiddleware(application, verifier=verifier, origins=[self.origin], routes=self.routes)
