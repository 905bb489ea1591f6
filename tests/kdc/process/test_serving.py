"""The running KDC as a whole, in one process: reloading and stopping when something is not as it should be."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trustme
from attrs import evolve

from orthros_kdc.admin import jwt_keys, oauth_secrets, rules
from orthros_kdc.audit import AuditLog
from orthros_kdc.audit.events import Facts, KdcStarted
from orthros_kdc.audit.reader import tail
from orthros_kdc.config import KDC_SETTINGS, Config, LimitSettings
from orthros_kdc.process.kdc import _reloaded, open_kdc
from orthros_protocol.errors import Misconfigured, Unavailable
from orthros_runtime.clocks import wall_clock
from tests.support.kdc_bench import KdcBench, open_bench


def config_in(folder: Path, **settings: object) -> Config:
    named = {"listen.tcp": "", "listen.unix": str(folder / "kdc.sock"), "audit.directory": str(folder / "audit")}
    return KDC_SETTINGS.load(
        None, {}, named | {name.replace("__", "."): str(value) for name, value in settings.items()}
    )


async def bench_with_oauth() -> tuple[KdcBench, tuple[str, str]]:
    """A realm in which `shop` may get tokens for `orders`, and its id and secret."""
    bench = await open_bench()
    await bench.add("shop", "orders")
    await rules.allow(bench.admin, "shop", "orders", scopes=("read",), jwt=True)
    await jwt_keys.enable(bench.admin, "orders")
    return bench, ("shop", (await oauth_secrets.enable(bench.admin, "shop")).text)


def fill(audit: AuditLog) -> None:
    with suppress(Unavailable):
        while True:
            audit.record(KdcStarted(about=Facts(at=wall_clock(), kdc_id="kdc-1")))


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
    assert [entry.event for entry in tail(tmp_path / "audit", 9)] == [
        "segment-opened",
        "realm-applied",
        "kdc-started",
        "kdc-stopped",
    ]


FORM = {"grant_type": "client_credentials", "audience": "orders"}


@pytest.mark.parity("P9", "H3")
async def test_tokens_over_http_and_tickets_share_one_kdc(tmp_path: Path) -> None:
    """A token lives 300 s by default; the answer is kept by no cache, the event is in the audit log."""
    bench, who = await bench_with_oauth()
    config = config_in(tmp_path, http__tcp="127.0.0.1:0", http__unix=str(tmp_path / "http.sock"))
    async with open_kdc(config, bench.store, bench.admin.vault) as kdc:
        assert kdc.http is not None
        assert kdc.http.addresses[1] == f"unix://{tmp_path}/http.sock"
        async with httpx.AsyncClient(base_url=kdc.http.addresses[0], auth=who) as client:
            got = await client.post("/token", data=FORM)
            assert (got.status_code, got.json()["expires_in"], got.json()["scope"]) == (200, 300, "read")
            assert got.headers["cache-control"] == "no-store"
            metadata = (await client.get("/.well-known/oauth-authorization-server")).json()
            assert metadata["issuer"] == "https://corp.test"
            ready = (await client.get("/readyz")).json()
            assert {name: state["status"] for name, state in ready["components"].items()} == {
                "store": "ok", "audit": "ok", "keys": "ok", "clock": "ok",
            }  # fmt: skip
    assert not (tmp_path / "http.sock").exists()
    events = [entry.event for entry in tail(tmp_path / "audit", 9)]
    assert events == ["segment-opened", "realm-applied", "kdc-started", "token-issued", "kdc-stopped"]


async def test_http_callers_have_the_rates_of_their_source(tmp_path: Path) -> None:
    """The buckets are those of the native port; a trusted proxy's callers have one each, and cannot choose it."""
    bench, who = await bench_with_oauth()
    config = config_in(
        tmp_path, http__tcp="127.0.0.1:0", http__trusted_proxies="127.0.0.0/8", rate__per_source_per_s=0.1,
        rate__per_source_burst=32,
    )  # fmt: skip
    async with open_kdc(config, bench.store, bench.admin.vault) as kdc:
        assert kdc.http is not None
        async with httpx.AsyncClient(base_url=kdc.http.addresses[0], auth=who) as client:

            async def ask(forwarded: str) -> httpx.Response:
                return await client.post("/token", data=FORM, headers={"x-forwarded-for": forwarded})

            statuses = [(await ask(f"198.51.100.{number}, 203.0.113.1")).status_code for number in range(40)]
            assert statuses == [200] * 32 + [429] * 8
            refused = await ask("203.0.113.1")
            assert int(refused.headers["retry-after"]) >= 1
            assert (await ask("203.0.113.2")).status_code == 200


async def test_a_reload_shows_the_renewed_certificate_or_changes_nothing(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = tmp_path / "tls.pem", tmp_path / "tls.key"

    def renew() -> None:
        made = authority.issue_cert("127.0.0.1")
        cert.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        key.touch(0o600)
        key.write_bytes(made.private_key_pem.bytes())

    renew()
    bench = await open_bench()
    config = config_in(tmp_path, http__tcp="127.0.0.1:0", http__tls_cert=str(cert), http__tls_key=str(key))
    async with open_kdc(config, bench.store, bench.admin.vault) as kdc:
        assert kdc.http is not None
        before = kdc.http.server.tls
        renew()
        wanted = evolve(config, limits=LimitSettings(max_connections=7, max_unauthenticated_connections=7))
        assert _reloaded(config, lambda: wanted, kdc).limits == wanted.limits
        renewed = kdc.http.server.tls
        assert renewed is not before
        assert kdc.http.server.limits == wanted.limits
        cert.write_text("nonsense")
        assert _reloaded(wanted, lambda: config, kdc) is wanted
        assert kdc.http.server.tls is renewed
        assert kdc.http.server.limits == wanted.limits


_BEHIND_THE_EXTRA = ("httptools", "orthros_runtime.serving.http.", "orthros_kdc.http.")


async def test_without_its_extra_the_http_port_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(_BEHIND_THE_EXTRA)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httptools", None)
    bench = await open_bench()
    with pytest.RaisesGroup(Misconfigured, flatten_subgroups=True) as caught:
        async with open_kdc(config_in(tmp_path, http__tcp="127.0.0.1:0"), bench.store, bench.admin.vault):
            pass
    (error,) = caught.value.exceptions
    assert isinstance(error, Misconfigured)
    assert error.detail == "httptools is in the extra http of the wheel that you installed"
    assert "-m pip install " in error.remedy
    assert "[http]" in error.remedy
