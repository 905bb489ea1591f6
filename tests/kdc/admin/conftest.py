"""A realm with an administrator, and an audit trail that can be looked at."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from attrs import define, evolve, field

from orthros_kdc.admin import EVENTS, Admin, Fact, realm
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.base import AuditAnchor, Store, Transaction
from orthros_protocol.primitives.instants import Timestamp
from tests.support.master_keys import BOTH, fill
from tests.support.stores import scratch_store

NOW = 1_800_000_000


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> Timestamp:
        return Timestamp(self.seconds * 1000)


@define
class Trail:
    """An audit trail in memory that anchors itself in the store, as the real one does."""

    events: list[tuple[str, dict[str, Fact]]] = field(factory=list)
    broken: bool = False

    def record_all(self, tx: Transaction, changes: Sequence[tuple[str, Mapping[str, Fact]]]) -> None:
        if self.broken:
            raise OSError("the audit disk is full")
        assert {event for event, _ in changes} <= set(EVENTS)
        self.events += [(event, dict(facts)) for event, facts in changes]
        tx.set_anchor(AuditAnchor(writer="test", seq=len(self.events), head="aa"))

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.events]


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return scratch_store(at=tmp_path / "realm.sqlite3")


@pytest.fixture
def vault() -> Vault:
    return Vault(realm="example.org", master=MasterKey(bytes(range(32)), number=1))


@pytest.fixture
def nobodys_realm(store: Store, vault: Vault, trail: Trail, clock: Clock) -> Admin:
    """An administrator before `init`."""
    return Admin(store=store, vault=vault, audit=trail, now_ms=clock, actor="ops/ada")


@pytest.fixture
async def admin(nobodys_realm: Admin, trail: Trail) -> Admin:
    await realm.init(nobodys_realm)
    trail.events.clear()
    return nobodys_realm


@pytest.fixture
async def ready(admin: Admin, trail: Trail) -> Admin:
    """An administrator with both master keys at hand, in a realm full of secrets."""
    await fill(admin)
    trail.events.clear()
    return evolve(admin, vault=BOTH)
