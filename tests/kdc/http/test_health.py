"""The probes: what they say when something is broken, and that asking often costs nothing."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from orthros_kdc.audit import AuditLog
from orthros_kdc.audit.events import Facts, KdcStarted
from orthros_kdc.clock_guard import RefusedByClock
from orthros_kdc.http.health import Health, checks_of
from orthros_kdc.oauth.http_boundary import HttpRequest
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Unavailable
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import ManualClock
from tests.support.kdc_bench import KdcBench, open_bench
from tests.support.realm_views import PromptView

FRESH_S = 1.0


def asked(path: str) -> HttpRequest:
    return HttpRequest(path=path, method="GET", source="192.0.2.1", address="192.0.2.1")


@frozen
class Probed:
    bench: KdcBench
    audit: AuditLog
    health: Health

    async def ready(self) -> tuple[int, Any]:
        answer = await self.health.ready(asked("/readyz"))
        return answer.status, json.loads(answer.body)


@asynccontextmanager
async def probed(folder: Path) -> AsyncIterator[Probed]:
    bench = await open_bench()
    audit = AuditLog(folder / "audit", "kdc-1", bench.store, capacity=4)
    health = Health(
        checks_of(bench.store, audit, PromptView(bench.store, bench.admin.vault), bench.clock.now), bench.clock.now
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(audit.serve)
        yield Probed(bench, audit, health)
        nursery.cancel_scope.cancel()


async def test_a_whole_kdc_is_ready_and_says_what_time_it_has(tmp_path: Path) -> None:
    """Lessons, 4.6: liveness, readiness and each component, with the server's time."""
    async with probed(tmp_path) as on:
        now = on.bench.clock.now()
        status, body = await on.ready()
        assert status == 200
        assert body["status"] == "ok"
        assert set(body["components"]) == {"store", "audit", "keys", "clock"}
        assert body["server_time_ms"] == now
        assert body["server_time"].endswith("Z")
        for name in body["components"]:
            one = await on.health.component(asked(f"/readyz/{name}"))
            assert (one.status, json.loads(one.body)["status"]) == (200, "ok")
        assert (await on.health.component(asked("/readyz/none"))).status == 404
        assert json.loads((await on.health.live(asked("/livez"))).body)["status"] == "ok"


async def test_server_time_is_rfc_3339() -> None:
    answer = await Health({}, lambda: Timestamp(1_700_000_000_123)).live(asked("/livez"))
    assert json.loads(answer.body)["server_time"] == "2023-11-14T22:13:20.123Z"


async def test_a_probe_writes_and_nobody_has_to_read_anything_anew(tmp_path: Path) -> None:
    """Readiness of the store is a real write, yet no view of the realm is thrown away for it."""
    store = SqliteStore.create(tmp_path / "kdc.db")
    try:
        clock = ManualClock()
        (check,) = (
            check
            for name, check in checks_of(store, None, None, clock.now).items()  # type: ignore[arg-type]
            if name == "store"
        )
        before = store.peek_head()
        await check()
        await check()
        assert store.peek_head() == before
    finally:
        await store.aclose()


async def test_a_store_that_takes_no_write_is_not_ready(tmp_path: Path) -> None:
    store = SqliteStore.create(tmp_path / "kdc.db")
    try:
        health = Health(
            {"store": checks_of(store, None, None, ManualClock().now)["store"]},  # type: ignore[arg-type]
            ManualClock().now,
        )
        await store.change(lambda tx: tx._connection.execute("PRAGMA query_only = ON"))  # type: ignore[attr-defined]
        with capture_logs() as lines:
            answer = await health.ready(asked("/readyz"))
        assert answer.status == 503
        body = json.loads(answer.body)
        assert (body["status"], body["components"]["store"]["status"]) == ("failing", "failing")
        assert str(tmp_path) not in str(body)
        assert [line["component"] for line in lines] == ["store"]
        assert (await health.live(asked("/livez"))).status == 200
    finally:
        await store.aclose()


async def test_an_audit_log_that_takes_nothing_is_not_ready(tmp_path: Path) -> None:
    async with probed(tmp_path) as on:
        (file,) = (tmp_path / "audit").iterdir()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, hard))
        try:
            receipt = on.audit.record(KdcStarted(about=Facts(at=on.bench.clock.now(), kdc_id="kdc-1")))
            # The limit is one of all files of this process, and what is printed may go to one.
            with capture_logs(), pytest.raises(Unavailable, match=r"kdc-fault.*cannot be written: .*File too large"):
                await receipt.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        status, body = await on.ready()
        assert status == 503
        assert body["components"]["audit"]["code"] == "disk-full"
        assert body["components"]["audit"]["reason"]
        assert body["components"]["store"] == body["components"]["keys"] == {"status": "ok"}
        one = await on.health.component(asked("/readyz/audit"))
        assert one.status == 503


async def test_an_audit_log_without_a_writer_is_not_ready(tmp_path: Path) -> None:
    async with probed(tmp_path) as on:
        on.audit.close()
        await wait_all_tasks_blocked()
        assert (await on.ready())[1]["components"]["audit"]["status"] == "failing"


async def test_probes_are_no_flood_of_writes(autojump_clock: MockClock) -> None:
    """A second's worth of probes, at once or one after the other, is one check."""
    calls = 0

    async def check() -> None:
        nonlocal calls
        calls += 1
        await trio.lowlevel.checkpoint()

    health = Health({"store": check}, ManualClock().now)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(health.ready, asked("/readyz"))
    for _ in range(50):
        await health.component(asked("/readyz/store"))
    assert calls == 1
    await trio.sleep(FRESH_S)
    await health.ready(asked("/readyz"))
    assert calls == 2


async def test_trouble_is_logged_once_and_ends_when_it_ends(autojump_clock: MockClock) -> None:
    trouble: list[Unavailable] = [Unavailable("kdc-fault", "disk full at /var/lib/orthros")]

    async def check() -> None:
        if trouble:
            raise trouble[0]

    health = Health({"store": check}, ManualClock().now)
    with capture_logs() as lines:
        for _ in range(3):
            answer = await health.ready(asked("/readyz"))
            assert answer.status == 503
            assert b"/var/lib" not in answer.body
            await trio.sleep(FRESH_S)
    assert [line["event"] for line in lines] == ["not ready"]
    trouble.clear()
    assert (await health.ready(asked("/readyz"))).status == 200


async def test_a_clock_that_has_jumped_is_named_with_its_remedy() -> None:
    async def check() -> None:
        raise RefusedByClock(3_600_000)

    answer = await Health({"clock": check}, ManualClock().now).ready(asked("/readyz"))
    reason = json.loads(answer.body)["components"]["clock"]["reason"]
    assert "jumped by +3600 s" in reason
    assert "accept-clock" in reason


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), OSError("disk")])
async def test_a_check_that_breaks_in_another_way_is_a_fault_too(fault: Exception) -> None:
    async def check() -> None:
        raise fault

    answer = await Health({"store": check}, ManualClock().now).ready(asked("/readyz"))
    assert answer.status == 503
    assert json.loads(answer.body)["components"]["store"]["code"] == "kdc-fault"
