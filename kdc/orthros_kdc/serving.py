"""Puts a KDC together and runs it until it is told to stop: SIGTERM and SIGINT drain, SIGHUP reloads.

Wiring only; every part lives in a module of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import structlog
import trio
from attrs import frozen

from orthros_kdc.audit import AuditLog
from orthros_kdc.audit.chain_file import ChainFile
from orthros_kdc.audit.events import ConfigReloaded, KdcStarted, KdcStopped
from orthros_kdc.config import Config, RateSettings, reload_config
from orthros_kdc.logs import configure_logs
from orthros_kdc.ratelimit import RateLimiter
from orthros_kdc.realm_view import RealmView
from orthros_kdc.server import Server, open_tcp_listeners, open_unix_listener
from orthros_kdc.service import KdcService
from orthros_kdc.store.base import Store
from orthros_kdc.store.master_key import load_master_key, load_next_master_key
from orthros_kdc.store.sqlite import SqliteStore
from orthros_kdc.vault import Vault, open_vault
from orthros_protocol import Misconfigured, OrthrosError, Timestamp, Unavailable

if TYPE_CHECKING:
    from orthros_kdc.http.serving import HttpPort

__all__ = ["Kdc", "ignored", "open_kdc", "serve", "wall_clock"]

_GRACE_S: Final = 10.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HTTP_EXTRA: Final = ("h11", "hypercorn")
_log = structlog.get_logger(__name__)


def wall_clock() -> Timestamp:
    """The wall clock in milliseconds."""
    return Timestamp(time.time_ns() // 1_000_000)


@frozen(eq=False)
class Kdc:
    """A running KDC. `addresses` are what clients may be given: `tcp://host:port`, `unix:///path`; those of `http`
    are for HTTP clients."""

    realm: str
    server: Server
    audit: AuditLog
    addresses: tuple[str, ...]
    sources: RateLimiter
    principals: RateLimiter
    http: HttpPort | None

    @property
    def connection_count(self) -> int:
        """How many connections are open, on both ports."""
        return self.server.connection_count + (0 if self.http is None else self.http.server.connection_count)

    def adjust(self, config: Config, tls: ssl.SSLContext | None) -> None:
        """Takes over the settings that may change while it runs."""
        self.server.limits = config.limits
        if self.http is not None:
            self.http.server.limits = config.limits
            self.http.server.tls = tls
        rate: RateSettings = config.rate
        self.sources.reconfigure(per_s=rate.per_source_per_s, burst=rate.per_source_burst)
        self.principals.reconfigure(per_s=rate.per_principal_per_s, burst=rate.per_principal_burst)


async def _listeners(config: Config) -> list[trio.SocketListener]:
    listeners: list[trio.SocketListener] = []
    try:
        if config.listen.tcp:
            host, _, port = config.listen.tcp.rpartition(":")
            listeners += await open_tcp_listeners(host.strip("[]"), int(port))
        if config.listen.unix:
            listeners.append(open_unix_listener(config.listen.unix, config.listen.unix_mode))
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    return listeners


def _address_of(listener: trio.SocketListener, config: Config) -> str:
    if listener.socket.family == socket.AF_UNIX:
        return f"unix://{config.listen.unix}"
    name = listener.socket.getsockname()
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"tcp://{host}:{name[1]}"


@asynccontextmanager
async def open_kdc(config: Config, store: Store, vault: Vault) -> AsyncIterator[Kdc]:
    """A KDC that serves until the block ends; then it drains, flushes its audit log and is gone.

    Raises Misconfigured for an address that cannot be had or an audit log that is broken.
    """
    audit = AuditLog(config.audit.directory, config.audit.writer, store)
    rate = config.rate
    sources = RateLimiter(per_s=rate.per_source_per_s, burst=rate.per_source_burst)
    principals = RateLimiter(per_s=rate.per_principal_per_s, burst=rate.per_principal_burst)
    view = RealmView(store, vault)
    service = KdcService(
        view,
        audit.record,
        kdc_id=config.audit.writer,
        clock=wall_clock,
        monotonic=time.monotonic,
        entropy=os.urandom,
        sources=sources,
        principals=principals,
    )
    server = Server(service.answer, config.limits)
    async with trio.open_nursery() as nursery:
        chain = await nursery.start(audit.serve)
        listeners = await _listeners(config)
        addresses = tuple(_address_of(listener, config) for listener in listeners)
        try:
            http = None
            if config.http.is_on:
                http = await _open_http(config, store, view, audit, sources=sources, principals=principals)
        except BaseException:
            for listener in listeners:
                listener.socket.close()
            raise
        kdc = Kdc(vault.realm, server, audit, addresses, sources, principals, http)
        audit.record(_started(config, chain))
        async with trio.open_nursery() as serving:
            serving.start_soon(server.serve, listeners)
            if http is not None:
                serving.start_soon(http.serve)
            try:
                yield kdc
            finally:
                server.drain()
                if http is not None:
                    http.server.drain()
                serving.cancel_scope.deadline = trio.current_time() + _GRACE_S
        if config.listen.unix:
            with suppress(FileNotFoundError):  # somebody was faster
                os.unlink(config.listen.unix)
        with suppress(Unavailable):  # a queue that is full holds what matters more
            audit.record(KdcStopped(at=wall_clock(), kdc_id=config.audit.writer))
        audit.close()


async def _open_http(
    config: Config, store: Store, view: RealmView, audit: AuditLog, *, sources: RateLimiter, principals: RateLimiter
) -> HttpPort:
    """The HTTP port: the token service behind the same rates, policy and audit log as the native port."""
    try:
        from orthros_kdc.http.serving import open_http_port, options_of
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _HTTP_EXTRA:
            raise
        raise Misconfigured("config-invalid", "[http] needs hypercorn: pip install 'orthros[http]'") from None
    from orthros_kdc.token_service import TokenService

    tokens = TokenService(
        view,
        store,
        audit.record,
        kdc_id=config.audit.writer,
        clock=wall_clock,
        monotonic=time.monotonic,
        entropy=os.urandom,
        sources=sources,
        principals=principals,
        options=options_of(config.http),
    )
    return await open_http_port(config, tokens, store=store, view=view, audit=audit, clock=wall_clock)


def _started(config: Config, chain: ChainFile) -> KdcStarted:
    return KdcStarted(
        at=wall_clock(),
        kdc_id=config.audit.writer,
        version=version("orthros"),
        unanchored=chain.unanchored,
        torn=chain.torn,
    )


async def serve(config: Config, reload: Callable[[], Config]) -> None:
    """`orthros-kdc serve`: the realm of an existing database, until SIGTERM or SIGINT.

    Raises Misconfigured before the first request when anything is not as it must be; nothing is changed then.
    """
    configure_logs(config.log)
    master = load_master_key(config.store.master_key_file or None, environ=os.environ)
    next_master = load_next_master_key(config.store.next_master_key_file or None, environ=os.environ)
    store = SqliteStore.open(config.store.path)
    with ExitStack() as afterwards:
        try:
            vault = await open_vault(store, master, next_master)
            if vault.next_master is not None:
                _log.info("master key change: both at hand", old=vault.master.number, new=vault.next_master.number)
            afterwards.enter_context(ignored(*_SIGNALS))
            with trio.open_signal_receiver(*_SIGNALS) as signals:
                async with open_kdc(config, store, vault) as kdc:
                    print(_ready(kdc), flush=True)
                    async for number in signals:
                        if number != signal.SIGHUP:
                            _log.info("draining", signal=signal.Signals(number).name, open=kdc.connection_count)
                            break
                        config = _reloaded(config, reload, kdc)
        finally:
            await store.aclose()
        print("orthros-kdc stopped", file=sys.stderr)


def _ready(kdc: Kdc) -> str:
    over_http = f" http at {' '.join(kdc.http.addresses)}" if kdc.http is not None else ""
    return f"orthros-kdc ready: realm {kdc.realm} at {' '.join(kdc.addresses)}{over_http}"


@contextmanager
def ignored(*numbers: signal.Signals) -> Iterator[None]:
    """Around a signal receiver: a second signal does not cut short what the first one began.

    Trio raises what its receiver did not hand out once more when it closes; by default that would kill.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reloaded(running: Config, reload: Callable[[], Config], kdc: Kdc) -> Config:
    """The configuration after SIGHUP; a bad one changes nothing, nor does one that cannot be recorded."""
    try:
        config, waiting = reload_config(running, reload())
        tls = None if kdc.http is None else kdc.http.tls_of(config.http, wall_clock())
        kdc.audit.record(ConfigReloaded(at=wall_clock(), kdc_id=config.audit.writer, waiting=waiting))
    except OrthrosError as error:
        _log.error("configuration not reloaded", code=error.code, detail=error.detail)
        return running
    kdc.adjust(config, tls)
    configure_logs(config.log)
    _log.info("configuration reloaded", needs_restart=list(waiting))
    return config
