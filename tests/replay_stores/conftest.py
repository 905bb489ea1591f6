"""Each replay store as its owner opens it, with clocks that a test moves and a memory that it can break."""

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
from orthros_client.verifier.stores.shares import Shares
from orthros_protocol import Entry, ReplayStore, Standing, Timestamp
from orthros_protocol.testing.fakes import ManualClock


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
