"""What every scene stands on: a realm with its KDC and the daemon of a client as real programs, and hosts for services.

Everything is gone when the street closes.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field

from orthros_client import Client
from tests.chaos.balancers import Balancer, balancing
from tests.chaos.callers import Caller
from tests.chaos.hosts import Executions, Host, Service
from tests.support.processes import Estate, found_realm, open_estate
from workshop.stage import Stage

__all__ = ["Street", "open_street"]


@define(eq=False)
class Street:
    """A running realm, and what is opened on it. `executions` are those of all services."""

    estate: Estate
    executions: Executions
    services: list[Service] = field(factory=list)
    _stack: ExitStack = field(factory=ExitStack)
    _names: Iterator[int] = field(factory=lambda: itertools.count(1))

    @property
    def stage(self) -> Stage:
        return self.estate.stage

    @contextmanager
    def scene(self) -> Iterator[Street]:
        """The same street; what is opened on it meanwhile is closed at the end."""
        with ExitStack() as stack:
            yield Street(self.estate, self.executions, [], stack, self._names)

    def host(self, *, shm: str = "64m") -> Host:
        return self._stack.enter_context(Host.opened(self.stage, f"h{next(self._names)}", shm=shm))

    def service(
        self,
        host: Host,
        server: str,
        *,
        workers: int = 1,
        options: str = "",
        start: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> Service:
        """`orders` on this host; with `start`, all its workers are there."""
        service = Service(
            host=host,
            key=self.estate.key_file("orders.verify.key"),
            executions=self.executions,
            server=server,
            workers=workers,
            options=options,
            replica=f"r{next(self._names)}",
            environ=dict(environ or {}),
        )
        self._stack.callback(service.close)
        self.services.append(service)
        if start:
            service.start()
            service.await_ready()
        return service

    def balancer(self, balancer: Balancer, services: list[Service], *, serves: bool = True) -> int:
        """The port of a balancer in front of these services. `serves`: they are started already."""
        ports = [service.port for service in services]
        return self._stack.enter_context(balancing(self.stage, balancer, ports, serves=serves))

    def caller(self, port: int, *, kept: bool = False) -> Caller:
        """A client that knows nothing of the target yet."""
        client = self._stack.enter_context(Client(self.estate.folder / "shop.sock", 10.0))
        caller = Caller(client, port, kept=kept)
        self._stack.callback(caller.close)
        return caller


@contextmanager
def open_street() -> Iterator[Street]:
    """A realm whose client `shop` may call `orders`."""
    with (
        tempfile.TemporaryDirectory(prefix="orthros-chaos-") as folder,
        open_estate(found_realm(Path(folder))) as estate,
    ):
        estate.start_kdc()
        estate.start_daemon()
        yield Street(estate, Executions(estate.folder / "executed"))
