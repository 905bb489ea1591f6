"""The daemon as a whole: builds its parts from the configuration, runs them, reloads and drains on signals.

Knows every part and decides nothing that they decide.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

import structlog
import trio
from attrs import define, field

from orthros_client.backoff import Backoff
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.config import DAEMON_SETTINGS, DaemonConfig
from orthros_client.daemon.kdc.pool import Connect, KdcAddress, KdcPool, open_stream
from orthros_client.daemon.kdc.session import KdcSession
from orthros_client.daemon.kdc.worker_session import WorkerSession
from orthros_client.daemon.listeners.allow_list import AllowList
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.listeners.local_server import LocalServer
from orthros_client.daemon.listeners.shares import ListenerShares
from orthros_client.daemon.tickets.cache import TicketCache
from orthros_client.daemon.tickets.persistence import CacheStore
from orthros_client.daemon.tickets.refreshing import Refreshing
from orthros_client.daemon.tickets.refusal_memory import RefusalMemory
from orthros_protocol.errors import Misconfigured, OrthrosError
from orthros_protocol.keys.keytab import Keytab
from orthros_runtime.clocks import Clock, Entropy, HostClock
from orthros_runtime.extras import extra
from orthros_runtime.program import holding_signals
from orthros_runtime.serving.connections import Deadlines
from orthros_runtime.serving.descriptors import room_for
from orthros_runtime.serving.listeners import Listener
from orthros_runtime.serving.peers import Peer
from orthros_runtime.serving.sockets import open_tcp_listener, open_unix_listener
from orthros_runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from orthros_client.daemon.listeners.forward_auth import ForwardAuth
    from orthros_client.daemon.listeners.http_server import LocalHttpServer

__all__ = ["Service"]

log = structlog.get_logger()

# Sockets to KDCs, the cache and key files, logs, the event loop: what the daemon opens besides local connections.
_OTHER_FILES: Final = 96
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@define(eq=False)
class Service:
    """One daemon. `load` reads the configuration again for a reload.

    `keytab` is None for a worker's daemon, which lives off the login file of its configuration; raises Misconfigured
    when that cannot be used.
    """

    config: DaemonConfig
    keytab: Keytab | None
    load: Callable[[], DaemonConfig]
    clock: Clock = field(factory=HostClock)
    entropy: Entropy = field(default=os.urandom, repr=False)
    connect: Connect = field(default=open_stream, repr=False)
    supervisor: Supervisor = field(factory=Supervisor)
    agent: Agent = field(init=False)
    desk: LocalApi = field(init=False)
    store: CacheStore = field(init=False)
    forward: list[ForwardAuth] = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        session = self._new_session(config)
        self.agent = Agent(
            session,
            self.clock,
            self.entropy,
            cache=TicketCache(config.cache_entries),
            on_behalf=TicketCache(config.behalf_entries),
            refusals=RefusalMemory(config.refusal_first_s, config.refusal_most_s),
            backoff=Backoff(config.backoff_first_s, config.backoff_most_s),
            idle_after_s=config.renew_idle_s,
        )
        terms = config.worker_terms(session.keytab.principal.realm)
        self.desk = LocalApi(self.agent, self.clock, self._allow_list(config), config.request_timeout_s, terms)
        self.store = CacheStore(config.cache_file, self.agent, self.clock, self.entropy)
        self.forward = []
        if config.forward_auth or config.http_socket:
            # Only for HTTP, and first: the modules that use it name another extra, which the KDC's HTTP port needs.
            with extra("daemon"):
                import httptools  # noqa: F401
        if config.forward_auth:
            from orthros_client.daemon.listeners.forward_auth import ForwardAuth

            self.forward = [ForwardAuth.open(settings) for settings in config.forward_auth]

    async def run(self, announce: Callable[[str], None]) -> None:
        """Until SIGTERM or SIGINT; then drains and saves. Raises Misconfigured when a socket cannot be opened."""
        self.store.load()
        with ExitStack() as afterwards, ExitStack() as cleanup:
            most = self._connections_each()
            listeners = [self._listener(cleanup, LocalServer(self.desk), self.config.socket, most)]
            if self.config.http_socket:
                from orthros_client.daemon.listeners.http_server import LocalHttpServer

                listeners.append(self._listener(cleanup, LocalHttpServer(self.desk), self.config.http_socket, most))
            listeners += [self._forward_listener(cleanup, forward, most) for forward in self.forward]
            afterwards.enter_context(holding_signals(*_SIGNALS))
            with trio.open_signal_receiver(*_SIGNALS) as signals:
                async with trio.open_nursery() as background:
                    await background.start(self.agent.run)
                    background.start_soon(self.store.save_after_changes)
                    async with trio.open_nursery() as serving:
                        for listener, sock in listeners:
                            await serving.start(listener.serve, sock)
                        announce(self._ready_line())
                        self.supervisor.ready()
                        await self._obey(signals)
                        cleanup.close()  # while we still listen nobody else can have taken the paths
                        serving.cancel_scope.deadline = trio.current_time() + self.config.drain_s
                        for listener, _ in listeners:
                            listener.drain()
                    background.cancel_scope.cancel()
            self.store.save()

    async def _obey(self, signals: object) -> None:
        async for number in signals:  # type: ignore[attr-defined]  # trio does not export the receiver's type
            if number != signal.SIGHUP:
                log.info("stopping", signal=signal.Signals(number).name)
                self.supervisor.stopping()
                return
            self.supervisor.reloading()
            self.reload()
            self.supervisor.ready()

    def reload(self) -> None:
        """Reads configuration and key file again; anything wrong with them changes nothing."""
        try:
            fresh = self.load()
            if bool(fresh.login) != (self.keytab is None):
                raise Misconfigured("conflict", "login: changing between key file and login file takes a restart")
            config, waiting = DAEMON_SETTINGS.reload(self.config, fresh)
            keytab = None if self.keytab is None else _successor(self.keytab, config)
            commits = self._prepare_forward(config)
        except OrthrosError as error:
            log.error("reload refused", code=error.code, detail=error.detail)
            return
        if [one.listening for one in config.forward_auth] != [one.listening for one in self.config.forward_auth]:
            waiting += ("forward_auth",)
        if waiting:
            log.warning("a restart is needed for some settings", settings=list(waiting))
        session = self.agent.session
        session.pool = self._pool(config)
        if keytab is not None:
            session.replace_keytab(keytab)
        self.keytab, self.config = keytab, config
        for commit in commits:
            commit()
        self.desk.allow = self._allow_list(config)
        self.desk.workers = config.worker_terms(session.keytab.principal.realm)
        self.desk.request_timeout_s = config.request_timeout_s
        self.agent.reconsider()
        Refreshing(self.agent).all_in_background()
        log.info("reloaded", kvnos=list(session.keytab.kvnos), kdcs=list(config.kdcs))

    def _prepare_forward(self, config: DaemonConfig) -> list[Callable[[], None]]:
        """Reads the key files of the open forward-auth sections again; what is returned puts them into force."""
        wanted = {section.place: section for section in config.forward_auth}
        return [each.prepare(wanted[each.place]) for each in self.forward if each.place in wanted]

    def _ready_line(self) -> str:
        sockets = f"socket {self.config.socket}"
        if self.config.http_socket:
            sockets += f", http socket {self.config.http_socket}"
        for forward in self.forward:
            sockets += f", forward auth {forward.place}"
        session = self.agent.session
        if session.login_file is not None:
            sockets += f", login file {session.login_file}"
        return f"orthros-daemon ready: {session.keytab.principal}, {sockets}"

    def _new_session(self, config: DaemonConfig) -> KdcSession:
        pool = self._pool(config)
        if self.keytab is None:
            return WorkerSession.open(config.login, pool, self.clock, self.entropy)
        return KdcSession(self.keytab, pool, self.clock, self.entropy)

    def _pool(self, config: DaemonConfig) -> KdcPool:
        return KdcPool(
            tuple(KdcAddress.parse(address) for address in config.kdcs),
            self.clock,
            self.connect,
            stagger_s=config.kdc_stagger_s,
            attempt_s=config.kdc_timeout_s,
        )

    def _allow_list(self, config: DaemonConfig) -> AllowList:
        return AllowList(os.geteuid(), config.rules(self.agent.session.keytab.principal.realm))

    def _knows(self, peer: Peer) -> bool:
        return self.desk.allow.knows(peer)  # asked each time: a reload exchanges the list

    def _listener(
        self, cleanup: ExitStack, server: LocalServer | LocalHttpServer, path: str, most: int
    ) -> tuple[Listener, trio.SocketListener]:
        sock = open_unix_listener(path, self.config.mode)
        cleanup.callback(_remove, path)
        return self._serving(server, ListenerShares(most=most, knows=self._knows), path), sock

    def _forward_listener(
        self, cleanup: ExitStack, forward: ForwardAuth, most: int
    ) -> tuple[Listener, trio.SocketListener]:
        settings = forward.settings
        if settings.tcp is not None:
            sock = open_tcp_listener(*settings.tcp)
        else:
            sock = open_unix_listener(settings.socket, settings.socket_mode)
            cleanup.callback(_remove, settings.socket)
        # Every user who may connect has a share here, also one without a rule for the other sockets.
        shares = ListenerShares(most=most, proxy_uid=lambda: forward.settings.proxy_uid)
        return self._serving(forward, shares, forward.place), sock

    def _serving(
        self, server: LocalServer | LocalHttpServer | ForwardAuth, shares: ListenerShares, name: str
    ) -> Listener:
        deadlines = Deadlines(idle_s=self.config.idle_connection_s)
        return Listener(server.converse, shares.group_of, server.busy_answer, deadlines, name)

    def _connections_each(self) -> int:
        """How many connections each socket may have: those of the configuration, as far as this process may open files.

        The rest of the limit stays free, so that the KDC can be asked and files be written whatever local programs do.
        """
        sockets = 1 + bool(self.config.http_socket) + len(self.forward)
        room = room_for(self.config.connections, sockets, reserved=_OTHER_FILES)
        if room.most < self.config.connections:
            shown = {"connections": room.most, "open_files": room.open_files}
            log.warning("the limit of open files allows fewer connections", **shown)
        return room.most


def _successor(before: Keytab, config: DaemonConfig) -> Keytab:
    """The key file as it is now, of the same principal. Raises Misconfigured."""
    keytab = Keytab.load(config.keytab)
    if keytab.principal != before.principal:
        raise Misconfigured("conflict", f"{config.keytab} belongs to {keytab.principal}")
    if keytab.uid != before.uid:
        # A re-created name is a new principal; what is cached belongs to the old one.
        raise Misconfigured("conflict", f"{keytab.principal} was re-created as uid {keytab.uid}: restart")
    keytab.as_key()
    return keytab


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
