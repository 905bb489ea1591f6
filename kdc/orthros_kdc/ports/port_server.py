"""What both ports are besides what is said over them: who may have how many connections, for how long, until the drain.

Strangers are counted by their source, those who have proven a key by their name: groups for the listener, which decides
which connection makes room.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import define

from orthros_kdc.config import LimitSettings
from orthros_kdc.rate_limits import source_key
from orthros_runtime.serving.connections import Connection, Deadlines
from orthros_runtime.serving.limits import Group
from orthros_runtime.serving.listeners import Listener
from orthros_runtime.serving.peers import Peer

__all__ = ["PortServer", "deadlines_of", "source_of"]

_GONE: Final = "gone"


def source_of(peer: Peer) -> str:
    """Whom to charge: the network of an IP address, or a local user."""
    if peer.uid >= 0:
        return source_key(peer.uid)
    return source_key(peer.address) if peer.address else _GONE


def deadlines_of(limits: LimitSettings) -> Deadlines:
    """What a connection may take of time: one that proves nothing is closed when its first request should be here."""
    return Deadlines(
        idle_s=limits.idle_deadline_s,
        request_s=limits.read_deadline_s,
        write_s=limits.read_deadline_s,
        stranger_s=limits.read_deadline_s,
    )


def _for_itself(_peer: Peer) -> bool:
    return False


class PortServer(ABC):
    """One port, on any number of listeners: `converse` runs for each connection. `name` is for the log.

    `limits` may be replaced while it serves; new connections follow.
    """

    def __init__(self, limits: LimitSettings, name: str, stands_for_many: Callable[[Peer], bool] = _for_itself) -> None:
        self._shares = _PortShares(limits, stands_for_many)
        self._listener = Listener(self.converse, self._shares.group_of, self.busy_answer, deadlines_of(limits), name)

    @abstractmethod
    async def converse(self, connection: Connection) -> None:
        """One connection that there is room for."""

    @abstractmethod
    def busy_answer(self, cause: str, peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for."""

    @property
    def limits(self) -> LimitSettings:
        """What connections may take."""
        return self._shares.limits

    @limits.setter
    def limits(self, limits: LimitSettings) -> None:
        self._shares.limits = limits
        self._listener.deadlines = deadlines_of(limits)

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return self._listener.connection_count

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serves until cancelled; after `drain`, returns when the last connection has got its answers."""
        await self._listener.serve(*listeners)

    def drain(self) -> None:
        """Accepts no connection and reads only what has been sent already: it is answered, then the connection ends."""
        self._listener.drain()

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its end. Nothing that a peer does makes it raise."""
        await self._listener.serve_stream(stream)


@define(eq=False)
class _PortShares:
    """The shares of one port's connections.

    `stands_for_many` says which peers are trusted proxies: what their callers prove is no proof of whose connection it
    is, so a proxy is counted as one, with no share but that of all.
    """

    limits: LimitSettings
    stands_for_many: Callable[[Peer], bool] = _for_itself

    def group_of(self, connection: Connection) -> Group:
        """Where the connection counts."""
        limits, source = self.limits, source_of(connection.peer)
        everyone = Group("all", limits.max_connections, "all connections")
        is_proxy = self.stands_for_many(connection.peer)
        if connection.proven:
            if is_proxy or not connection.owner:
                return Group(("source", source), limits.max_connections, f"source {source}", everyone)
            most = limits.max_connections_per_principal
            return Group(("principal", connection.owner), most, f"principal {connection.owner}", everyone)
        most = limits.max_unauthenticated_connections
        strangers = Group("strangers", most, "connections that have proven nothing", everyone)
        share = most if is_proxy else min(most, limits.max_unauthenticated_per_source)
        return Group(source, share, f"source {source}, which has proven nothing", strangers)
