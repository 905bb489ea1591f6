"""Each replay store as its owner opens it: on clocks that a test moves, or in a Redis server with its own clock."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, field

from orthros_client.verifier.stores.host import HostStore
from orthros_client.verifier.stores.memory import MemoryStore
from orthros_client.verifier.stores.redis_server import RedisStore
from orthros_client.verifier.stores.shares import Shares
from orthros_protocol.exchanges.replay import Entry, ReplayStore, Standing
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing.fakes import ManualClock
from orthros_runtime.clocks import read_clocks
from tests.support.redis_server import RedisServer

NAME = "0123456789abcdef"
"""Whose memory it is in the Redis server."""


@define
class Clocks:
    """The two clocks of a host."""

    wall: ManualClock = field(factory=ManualClock)
    boot: ManualClock = field(factory=ManualClock)

    def __call__(self) -> tuple[Timestamp, int]:
        return self.wall.now(), self.boot.now()

    def advance(self, seconds: float) -> None:
        self.wall.advance(seconds)
        self.boot.advance(seconds)


@define
class MachineClock(ManualClock):
    """That of the machine, which the Redis server reads as well. No test moves it."""

    def now(self) -> Timestamp:
        return read_clocks()[0]


@define
class Stand:
    """A store and what it stands on. `again` opens it once more, as another process or a restart would."""

    clocks: Clocks
    open: Callable[[Shares | None], ReplayStore]
    store: ReplayStore = field(init=False)
    shares: Shares | None = None
    _count: int = 0

    def __attrs_post_init__(self) -> None:
        self.store = self.open(self.shares)

    @property
    def now(self) -> Timestamp:
        return self.clocks.wall.now()

    def entry(self, *, after_ms: int = 0, client: str = "billing@test.realm", ticket: bytes = b"t" * 16) -> Entry:
        """A request that nobody has made before, dated `after_ms` from now."""
        self._count += 1
        tag = self._count.to_bytes(8, "big") + os.urandom(8)
        return Entry(tag, Timestamp(self.now + after_ms), client, ticket)

    def admit(self, entry: Entry | None = None) -> Standing:
        return self.store.admit(entry or self.entry())

    def again(self) -> ReplayStore:
        return self.open(self.shares)


@pytest.fixture
def tmpfs() -> Iterator[Path]:
    """A folder on tmpfs of this test alone."""
    folder = Path(tempfile.mkdtemp(prefix="orthros-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def memory(_folder: Path, clocks: Clocks) -> Callable[[Shares | None], ReplayStore]:
    return lambda shares: MemoryStore(shares, clocks=clocks)


def host(folder: Path, clocks: Clocks) -> Callable[[Shares | None], ReplayStore]:
    return lambda shares: HostStore(str(folder / "replay.mdb"), shares, clocks=clocks)


@pytest.fixture(scope="session")
def running() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    """One Redis server for all tests that leave it as it is, empty."""
    running.client.flushall()
    return running


@pytest.fixture(params=["memory", "host", "redis"])
def make_any(request: pytest.FixtureRequest, tmpfs: Path) -> Callable[..., Stand]:
    """As `make`, also in Redis: for questions in which no time passes."""
    kind = request.param
    server = request.getfixturevalue("server") if kind == "redis" else None

    def made(**shares: int) -> Stand:
        chosen = Shares(**shares) if shares else None
        if server is not None:
            return Stand(Clocks(wall=MachineClock()), lambda given: RedisStore(server.url, NAME, given), shares=chosen)
        clocks = Clocks()
        return Stand(clocks, (memory if kind == "memory" else host)(tmpfs, clocks), shares=chosen)

    return made


@pytest.fixture(params=[memory, host], ids=["memory", "host"])
def make(request: pytest.FixtureRequest, tmpfs: Path) -> Callable[..., Stand]:
    """`make(capacity=..., ...)`: a stand with these shares."""

    def made(**shares: int) -> Stand:
        clocks = Clocks()
        return Stand(clocks, request.param(tmpfs, clocks), shares=Shares(**shares) if shares else None)

    return made


@pytest.fixture
def stand(make: Callable[..., Stand]) -> Stand:
    return make()
