"""The daemon as a whole: builds its parts from the configuration, runs them, reloads and drains on signals.

Knows every part and decides nothing that they decide.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog
import trio
from attrs import define, field

from orthros_client.backoff import Backoff
from orthros_client.clocks import Clock, Entropy, HostClock
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.config import DaemonConfig
from orthros_client.daemon.desk import Desk
from orthros_client.daemon.doors import Door, Visitor, open_loopback_listener, open_unix_listener
from orthros_client.daemon.local_server import LocalServer
from orthros_client.daemon.peers import AllowList, Peer
from orthros_client.daemon.persistence import CacheStore
from orthros_client.kdc_pool import Connect, KdcAddress, KdcPool, open_stream
from orthros_client.kdc_session import KdcSession
from orthros_client.refusal_memory import RefusalMemory
from orthros_client.ticket_cache import TicketCache
from orthros_client.worker_session import WorkerSession
from orthros_protocol import Keytab, Misconfigured, OrthrosError

if TYPE_CHECKING:
    from orthros_client.daemon.forward_auth import ForwardAuth

__all__ = ["Service"]

log = structlog.get_logger()

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Changing these takes a restart: the sockets are open and the cache file is in use.
_FIXED: Final = (
    "login", "socket", "http_socket", "socket_mode", "cache_file", "cache_entries", "behalf_entries", "log_format",
)  # fmt: skip


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
    agent: Agent = field(init=False)
    desk: Desk = field(init=False)
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
        self.desk = Desk(self.agent, self.clock, self._allow_list(config), config.request_timeout_s, terms)
        self.store = CacheStore(config.cache_file, self.agent, self.clock, self.entropy)
        self.forward = []
        if config.forward_auth:
            from orthros_client.daemon.forward_auth import ForwardAuth  # h11 is needed only for HTTP

            self.forward = [ForwardAuth.open(settings) for settings in config.forward_auth]

    async def run(self, announce: Callable[[str], None]) -> None:
        """Until SIGTERM or SIGINT; then drains and saves. Raises Misconfigured when a socket cannot be opened."""
        self.store.load()
        with ExitStack() as afterwards, ExitStack() as cleanup:
            doors = [self._door(cleanup, LocalServer(self.desk).converse, self.config.socket)]
            if self.config.http_socket:
                from orthros_client.daemon.http_server import HttpServer  # as above

                doors.append(self._door(cleanup, HttpServer(self.desk).converse, self.config.http_socket))
            doors += [self._forward_door(cleanup, forward) for forward in self.forward]
            afterwards.enter_context(_ignored(*_SIGNALS))
            with trio.open_signal_receiver(*_SIGNALS) as signals:
                async with trio.open_nursery() as background:
                    await background.start(self.agent.run)
                    background.start_soon(self.store.save_after_changes)
                    async with trio.open_nursery() as serving:
                        for door, listener in doors:
                            await serving.start(door.serve, listener)
                        announce(self._ready_line())
                        await self._obey(signals)
                        cleanup.close()  # while we still listen nobody else can have taken the paths
                        serving.cancel_scope.deadline = trio.current_time() + self.config.drain_s
                        for door, _ in doors:
                            door.drain()
                    background.cancel_scope.cancel()
            self.store.save()

    async def _obey(self, signals: object) -> None:
        async for number in signals:  # type: ignore[attr-defined]  # trio does not export the receiver's type
            if number != signal.SIGHUP:
                log.info("stopping", signal=signal.Signals(number).name)
                return
            self.reload()

    def reload(self) -> None:
        """Reads configuration and key file again; anything wrong with them changes nothing."""
        try:
            config = self.load()
            if bool(config.login) != (self.keytab is None):
                raise Misconfigured("conflict", "login: changing between key file and login file takes a restart")
            keytab = None if self.keytab is None else _successor(self.keytab, config)
            commits = self._prepare_forward(config)
        except OrthrosError as error:
            log.error("reload refused", code=error.code, detail=error.detail)
            return
        ignored = [name for name in _FIXED if getattr(config, name) != getattr(self.config, name)]
        if [section.door for section in config.forward_auth] != [section.door for section in self.config.forward_auth]:
            ignored.append("forward_auth")
        if ignored:
            log.warning("a restart is needed for some settings", settings=ignored)
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

    def _door(
        self, cleanup: ExitStack, converse: Callable[[Visitor], Awaitable[None]], path: str
    ) -> tuple[Door, trio.SocketListener]:
        listener = open_unix_listener(path, self.config.mode)
        cleanup.callback(_remove, path)
        idle_s, most = self.config.idle_connection_s, self.config.connections
        return Door(converse, idle_s, most, knows=self._knows), listener

    def _forward_door(self, cleanup: ExitStack, forward: ForwardAuth) -> tuple[Door, trio.SocketListener]:
        settings = forward.settings
        if settings.tcp is not None:
            listener = open_loopback_listener(*settings.tcp)
        else:
            listener = open_unix_listener(settings.socket, settings.socket_mode)
            cleanup.callback(_remove, settings.socket)
        # Whoever may connect is a proxy, also one that has no business with the other sockets.
        return Door(forward.converse, self.config.idle_connection_s, self.config.connections), listener


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


@contextmanager
def _ignored(*numbers: signal.Signals) -> Iterator[None]:
    """Around a signal receiver: a second signal does not cut short what the first one began.

    Trio raises what its receiver did not hand out once more when it closes; by default that would kill.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
