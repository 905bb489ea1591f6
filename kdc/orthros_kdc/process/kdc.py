"""Puts a KDC together and runs it until it is told to stop: SIGTERM and SIGINT drain, SIGHUP reloads.

Wiring only; every part lives in a module of its own.
"""

from __future__ import annotations

import gc
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio
from attrs import evolve, frozen

from orthros_kdc.admin.kdc_clock import is_accepted
from orthros_kdc.audit import AuditLog, Sync
from orthros_kdc.audit.chain_file import ChainFile
from orthros_kdc.audit.events import ClockJumped, ConfigReloaded, Facts, KdcStarted, KdcStopped
from orthros_kdc.audit.going_back import latest_applied, require_not_behind
from orthros_kdc.clock_guard import ClockGuard, Jump
from orthros_kdc.config import KDC_SETTINGS, Config, LimitSettings, RateSettings
from orthros_kdc.http.discovery import is_found_at_its_issuer
from orthros_kdc.ports.addresses import open_addresses
from orthros_kdc.ports.native_port import Server
from orthros_kdc.rate_limits import RateLimiter
from orthros_kdc.realm.loader import RealmLoader
from orthros_kdc.realm.master_key import load_master_key, load_next_master_key
from orthros_kdc.realm.realm_log import record_applied, record_unrecorded
from orthros_kdc.realm.vault import Vault, open_vault
from orthros_kdc.realm.view import RealmView
from orthros_kdc.service.kdc_service import KdcService
from orthros_kdc.service.shell import Rates, Shell
from orthros_kdc.store.base import Store
from orthros_kdc.store.database_file import DatabaseFiles
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import OrthrosError, Unavailable
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import wall_clock
from orthros_runtime.logs import configure_logs
from orthros_runtime.program import announce
from orthros_runtime.serving.descriptors import room_for
from orthros_runtime.serving.signals import STOPPING, Orders, open_orders
from orthros_runtime.supervisor import Supervisor, take_supervisor

if TYPE_CHECKING:
    from orthros_kdc.http.serving import HttpPort

__all__ = ["Kdc", "open_kdc", "serve"]

_GRACE_S: Final = 10.0
# Descriptors for everything but connections: the database, audit and key files, listeners, the event loop.
_RESERVED_FILES: Final = 64
_CLOCK_TURN_S: Final = 1.0

_SUM_UP_S: Final = 1.0
_SIGNALS: Final = (*STOPPING, signal.SIGHUP)
_log = structlog.get_logger(__name__)


class SumUp(Protocol):
    """Writes the summaries of one port's refusals that are due."""

    def __call__(self, at: Timestamp, *, all_of_them: bool = False) -> None: ...


@frozen(eq=False)
class Kdc:
    """A running KDC. `addresses` are what clients may be given: `tcp://host:port`, `unix:///path`; those of `http`
    are for HTTP clients."""

    realm: str
    loader: RealmLoader
    server: Server
    audit: AuditLog
    addresses: tuple[str, ...]
    rates: Rates
    http: HttpPort | None
    issuer: str

    @property
    def connection_count(self) -> int:
        """How many connections are open, on both ports."""
        return self.server.connection_count + (0 if self.http is None else self.http.server.connection_count)

    def adjust(self, config: Config, tls: ssl.SSLContext | None) -> None:
        """Takes over the settings that may change while it runs."""
        limits = _with_room(config)
        self.server.limits = limits
        if self.http is not None:
            self.http.server.limits = limits
            self.http.server.tls = tls
        rate: RateSettings = config.rate
        self.rates.sources.reconfigure(per_s=rate.per_source_per_s, burst=rate.per_source_burst)
        self.rates.principals.reconfigure(per_s=rate.per_principal_per_s, burst=rate.per_principal_burst)


def _with_room(config: Config) -> LimitSettings:
    """The limits of each port, as far as this process may open files; the log says both."""
    limits = config.limits
    room = room_for(limits.max_connections, 1 + config.http.is_on, reserved=_RESERVED_FILES)
    shown = {"max_connections": room.most, "open_files": room.open_files, "reserved": _RESERVED_FILES}
    if room.most == limits.max_connections:
        _log.info("connections that each port may have", **shown)
        return limits
    remedy = f"raise the limit of open files (ulimit -Hn, LimitNOFILE), or set max_connections to {room.most}"
    _log.warning(
        "the limit of open files allows fewer connections", wanted=limits.max_connections, remedy=remedy, **shown
    )
    strangers = min(limits.max_unauthenticated_connections, max(1, room.most // 2))
    return evolve(limits, max_connections=room.most, max_unauthenticated_connections=strangers)


@asynccontextmanager
async def open_kdc(config: Config, store: Store, vault: Vault) -> AsyncIterator[Kdc]:
    """A KDC that serves until the block ends; then it drains, flushes its audit log and is gone.

    Raises Misconfigured for an address that cannot be had or an audit log that is broken.
    """
    guard = ClockGuard()
    audit = AuditLog(
        config.audit.directory,
        config.audit.writer,
        store,
        sync=Sync(config.audit.sync),
        segment_bytes=config.audit.segment_mib * 1024 * 1024,
        now_ms=guard.now,
    )
    guard.jumped = partial(_record_jump, config, audit)
    rate = config.rate
    rates = Rates(
        sources=RateLimiter(per_s=rate.per_source_per_s, burst=rate.per_source_burst),
        principals=RateLimiter(per_s=rate.per_principal_per_s, burst=rate.per_principal_burst),
        monotonic=time.monotonic,
    )
    view = _view_of(config, store, vault, audit)
    service = KdcService(view, _shell_of(config, audit, guard, rates))
    limits = _with_room(config)
    server = Server(service.answer, service.turn_away, service.reject, limits)
    async with trio.open_nursery() as nursery:
        # No client is let in, and nothing says that it is ready, before the realm can be answered for. Nor is a line
        # written: its anchor would go into a database that may be damaged.
        loading = await _load(nursery, store, view.loader)
        chain = await nursery.start(audit.serve)
        opened = await open_addresses(config.listen.tcp, config.listen.unix, config.listen.unix_mode, "listen")
        try:
            http, ports = None, list[SumUp]([service.sum_up])
            if config.http.is_on:
                http, sum_up = await _open_http(evolve(config, limits=limits), store, view, audit, guard, rates)
                ports.append(sum_up)
        except BaseException:
            opened.close()
            raise
        issuer = view.loader.snapshot.facts.record.issuer
        kdc = Kdc(vault.realm, view.loader, server, audit, opened.addresses("tcp"), rates, http, issuer)
        audit.record(_started(config, chain, audit.now_ms()))
        async with trio.open_nursery() as watching:
            watching.start_soon(_watch_clock, guard, store)
            watching.start_soon(_sum_up, ports, guard.now)
            async with trio.open_nursery() as serving:
                serving.start_soon(server.serve, opened.listeners)
                if http is not None:
                    serving.start_soon(http.serve)
                try:
                    yield kdc
                finally:
                    server.drain()
                    if http is not None:
                        http.server.drain()
                    serving.cancel_scope.deadline = trio.current_time() + _GRACE_S
            watching.cancel_scope.cancel()
        opened.close()
        for sum_up in ports:
            sum_up(guard.now(), all_of_them=True)
        with suppress(Unavailable):  # a queue that is full holds what matters more
            audit.record(KdcStopped(about=Facts(at=guard.now(), kdc_id=config.audit.writer)))
        audit.close()
        loading.cancel()


async def _load(nursery: trio.Nursery, store: Store, loader: RealmLoader) -> trio.CancelScope:
    """Returns once the realm is at hand and its database is known to be whole; `nursery` follows its changes then.

    Both are read at once, since each takes long in a large realm.
    """
    async with trio.open_nursery() as reading:
        reading.start_soon(store.check)
        following: trio.CancelScope = await nursery.start(loader.serve)
    return following


def _view_of(config: Config, store: Store, vault: Vault, audit: AuditLog) -> RealmView:
    applied, unrecorded = (partial(told, config.audit.writer, audit) for told in (record_applied, record_unrecorded))
    return RealmView(store, vault, applied=applied, unrecorded=unrecorded)


async def _sum_up(ports: list[SumUp], clock: Callable[[], Timestamp]) -> None:
    """Once a second: the refusals of each port that were not written one by one."""
    while True:
        await trio.sleep(_SUM_UP_S)
        for sum_up in ports:
            sum_up(clock())


def _shell_of(config: Config, audit: AuditLog, guard: ClockGuard, rates: Rates) -> Shell:
    """What the exchanges of one port share: each port sums up its own refusals."""
    return Shell(audit.record, rates, kdc_id=config.audit.writer, clock=guard.now, entropy=os.urandom, guard=guard)


async def _open_http(  # noqa: PLR0917  # one caller, in this file
    config: Config, store: Store, view: RealmView, audit: AuditLog, guard: ClockGuard, rates: Rates
) -> tuple[HttpPort, SumUp]:
    """The HTTP port and what sums up its refusals: behind the same rates, policy and audit log as the native port."""
    from orthros_kdc.http.serving import open_http_port, options_of  # the extra `http` is needed only here
    from orthros_kdc.service.token_service import TokenService

    tokens = TokenService(view, store, _shell_of(config, audit, guard, rates), options_of(config.http))
    opened = await open_http_port(config, tokens, store=store, view=view, audit=audit, clock=guard.now, guard=guard)
    return opened, tokens.sum_up


def _record_jump(config: Config, audit: AuditLog, jump: Jump) -> None:
    settled = "" if jump.settled is None else jump.settled.name.lower()
    with suppress(Unavailable):  # it is in the log of the process, and a log that is full holds what matters more
        audit.record(
            ClockJumped(
                about=Facts(at=jump.at, kdc_id=config.audit.writer),
                moved_ms=jump.moved_ms,
                count=jump.count,
                settled=settled,
            )
        )


async def _watch_clock(guard: ClockGuard, store: Store) -> None:
    """Compares the clocks each second, and while the KDC has stopped looks for the operator's word."""
    while True:
        await trio.sleep(_CLOCK_TURN_S)
        guard.now()
        since = guard.stopped_at
        if since is not None:
            try:
                accepted = await is_accepted(store, since=since, now=guard.wall())
            except OrthrosError as error:
                _log.error("cannot read whether the clock was accepted", code=error.code, detail=error.detail)
            else:
                if accepted:
                    guard.accept()


def _started(config: Config, chain: ChainFile, at: Timestamp) -> KdcStarted:
    return KdcStarted(
        about=Facts(at=at, kdc_id=config.audit.writer),
        version=version("orthros"),
        unanchored=chain.unanchored,
        torn=chain.torn,
    )


async def serve(config: Config, reload: Callable[[], Config]) -> None:
    """`orthros-kdc serve`: the realm of an existing database, until SIGTERM or SIGINT.

    Raises Misconfigured before the first request when anything is not as it must be; nothing is changed then.
    """
    configure_logs(config.log.format, level=config.log.level)
    supervisor = take_supervisor()
    master = load_master_key(config.store.master_key_file or None, environ=os.environ)
    next_master = load_next_master_key(config.store.next_master_key_file or None, environ=os.environ)
    async with open_orders(*_SIGNALS) as orders:
        store = SqliteStore.open(config.store.path)
        try:
            checked = None
            with orders.until_stop:
                vault = await open_vault(store, master, next_master)
                said = await trio.to_thread.run_sync(latest_applied, config.audit.directory)
                await store.read(lambda tx: require_not_behind(tx, said))
                checked = vault
            if checked is None:
                _log.info("stopped before it served")
            else:
                await _serve(config, reload, store, checked, orders, supervisor)
        finally:
            await store.aclose()
    print("orthros-kdc stopped", file=sys.stderr)


async def _serve(  # noqa: PLR0917  # one caller, in this file
    config: Config,
    reload: Callable[[], Config],
    store: SqliteStore,
    vault: Vault,
    orders: Orders,
    supervisor: Supervisor,
) -> None:
    if vault.next_master is not None:
        _log.info("master key change: both at hand", old=vault.master.number, new=vault.next_master.number)
    async with _while_in_place(config.store.path), open_kdc(config, store, vault) as kdc:
        gc.freeze()  # the realm stays: a collector that passed over it would hold up requests
        _compare_issuer(kdc, config)
        announce(_ready(kdc))
        supervisor.ready()
        while (number := await orders.next()) not in STOPPING:
            supervisor.reloading()
            config = _reloaded(config, reload, kdc)
            supervisor.ready()
        supervisor.stopping()
        _log.info("draining", signal=number.name, open=kdc.connection_count)


@asynccontextmanager
async def _while_in_place(database: str) -> AsyncIterator[None]:
    """Ends what is inside with Misconfigured `database-replaced` when the database's files are replaced: what admins
    change from then on is in other files, and a KDC that went on would not have it in force."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(DatabaseFiles.of(database).watch)
        yield
        nursery.cancel_scope.cancel()


def _compare_issuer(kdc: Kdc, config: Config) -> None:
    """Says at the start what OAuth clients would say later, in words that do not lead to the cause."""
    if kdc.http is None or is_found_at_its_issuer(kdc.issuer, kdc.realm, config.http, kdc.http.addresses):
        return
    _log.warning(
        "the issuer is not the address of the HTTP port",
        issuer=kdc.issuer,
        addresses=" ".join(kdc.http.addresses),
        effect="OAuth clients that discover the KDC at its address refuse it: the issuer must be the URL they asked",
        remedy="run `orthros-admin realm issuer URL` with the URL that clients use; if a proxy at the issuer's URL"
        " leads here, set http.public_url to that URL",
    )


def _ready(kdc: Kdc) -> str:
    over_http = f" http at {' '.join(kdc.http.addresses)}" if kdc.http is not None else ""
    return f"orthros-kdc ready: realm {kdc.realm} at {' '.join(kdc.addresses)}{over_http}"


def _reloaded(running: Config, reload: Callable[[], Config], kdc: Kdc) -> Config:
    """The configuration after SIGHUP; a bad one changes nothing, nor does one that cannot be recorded."""
    try:
        config, waiting = KDC_SETTINGS.reload(running, reload())
        tls = None if kdc.http is None else kdc.http.tls_of(config.http, wall_clock())
        kdc.audit.record(
            ConfigReloaded(about=Facts(at=kdc.audit.now_ms(), kdc_id=config.audit.writer), waiting=waiting)
        )
    except OrthrosError as error:
        _log.error("configuration not reloaded", code=error.code, detail=error.detail)
        return running
    kdc.adjust(config, tls)
    configure_logs(config.log.format, level=config.log.level)
    _log.info("configuration reloaded", needs_restart=list(waiting))
    return config
