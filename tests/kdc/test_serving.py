"""The running KDC as a whole, in one process: reloading and stopping when something is not as it should be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from attrs import evolve

from orthros_kdc.audit import AuditLog
from orthros_kdc.audit.events import KdcStarted
from orthros_kdc.audit.reader import tail
from orthros_kdc.config import Config, LimitSettings, load_config
from orthros_kdc.serving import _reloaded, open_kdc, wall_clock
from orthros_protocol import Unavailable
from tests.support.kdc_bench import open_bench


def config_in(folder: Path, **settings: str) -> Config:
    named = {"listen.tcp": "", "listen.unix": str(folder / "kdc.sock"), "audit.directory": str(folder / "audit")}
    return load_config(None, {}, named | settings)


def fill(audit: AuditLog) -> None:
    with suppress(Unavailable):
        while True:
            audit.record(KdcStarted(at=wall_clock(), kdc_id="kdc-1"))


async def test_a_reload_that_cannot_be_recorded_does_not_happen_and_ends_nothing(tmp_path: Path) -> None:
    """No change without its audit event, and a full audit queue is no reason to stop the KDC."""
    bench, config = await open_bench(), config_in(tmp_path)
    async with open_kdc(config, bench.store, bench.admin.vault) as kdc:
        fill(kdc.audit)
        wanted = evolve(config, limits=LimitSettings(max_connections=7, max_unauthenticated_connections=7))
        assert _reloaded(config, lambda: wanted, kdc) is config
        assert kdc.server.limits == config.limits


async def test_a_socket_that_somebody_removed_does_not_spoil_the_end(tmp_path: Path) -> None:
    bench, config = await open_bench(), config_in(tmp_path)
    async with open_kdc(config, bench.store, bench.admin.vault):
        (tmp_path / "kdc.sock").unlink()
    assert [entry.event for entry in tail(tmp_path / "audit", 9)] == ["kdc-started", "kdc-stopped"]
