"""Every implementation of the store's interface, opened empty; each test of this folder runs on all of them."""

from collections.abc import AsyncIterator, Callable

import pytest

from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.store.base import KEY_ACTIVE, KeyRecord, RealmRecord, Store
from tests.support.stores import scratch_store

NOW_MS = 1_800_000_000_000


class WallClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture(params=["sqlite"])
def new_store(request: pytest.FixtureRequest, clock: WallClock) -> Callable[[], Store]:
    """A further implementation is a further entry of this table."""
    makers: dict[str, Callable[[], Store]] = {"sqlite": lambda: scratch_store(now_ms=clock)}
    return makers[request.param]


@pytest.fixture
async def store(new_store: Callable[[], Store]) -> AsyncIterator[Store]:
    opened = new_store()
    yield opened
    await opened.aclose()


@pytest.fixture
def realm_record() -> RealmRecord:
    return RealmRecord(
        realm="example.org",
        issuer="https://example.org",
        limits=RealmLimits(max_ticket_s=100, max_tgt_s=200, max_jwt_s=30),
        created=1_800_000_000,
        key_check=b"c" * 32,
    )


@pytest.fixture
def key_of() -> Callable[..., KeyRecord]:
    """Builds a key record whose key ids follow from `mark`."""

    def build(uid: int, kvno: int, mark: int, **changes: object) -> KeyRecord:
        facts: dict[str, object] = {
            "uid": uid,
            "kvno": kvno,
            "kid_as": bytes([1, mark]) * 4,
            "kid_ticket": bytes([2, mark]) * 4,
            "kid_sync": bytes([3, mark]) * 4,
            "state": KEY_ACTIVE,
            "created": 1_800_000_000,
            "sealed": b"sealed root %d" % mark,
        }
        return KeyRecord(**(facts | changes))  # type: ignore[arg-type]

    return build
