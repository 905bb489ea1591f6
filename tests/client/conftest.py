"""The daemon's log as it is in production, into memory: stdout belongs to the commands under test."""

import io
from collections.abc import Iterator

import pytest
import structlog

from orthros_client.http import propagation
from orthros_client.verifier import VerifiedCaller, Verifier
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from orthros_protocol.testing.fakes import ManualStore
from orthros_runtime.logs import configure_logs
from tests.support.http_target import RealmSource


@pytest.fixture(autouse=True)
def daemon_log() -> Iterator[io.StringIO]:
    log = io.StringIO()
    configure_logs("text", time_key="time", stream=log)
    yield log
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _a_process_that_has_served_nothing() -> None:
    """Whether a process serves requests, it remembers for good. Each test begins as one that does not."""
    propagation._SERVES.clear()


@pytest.fixture
def callers() -> tuple[VerifiedCaller, ...]:
    """alice and bob, as orders has verified them."""
    realm = InMemoryRealm()
    for name in ("alice", "bob", "orders"):
        realm.add(name)
    verifier = Verifier(
        realm.keytab("orders"), clock=realm.clock.now, monotonic_ms=realm.clock.now, entropy=CountingEntropy(b"orders"),
        replay=ManualStore(realm.clock.now),
    )  # fmt: skip
    return tuple(
        verifier.accept(RealmSource(realm, name).credentials("orders").authenticate("x", safe=True).request, "x")
        for name in ("alice", "bob")
    )
