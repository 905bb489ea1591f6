"""Who may have how many connections of one port: strangers by their source, those who have proven a key by their name.

Groups for the listener to count; it decides which connection makes room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define

from orthros_kdc.config import LimitSettings
from orthros_kdc.service.ratelimit import source_key
from orthros_runtime.serving.connections import Connection, Deadlines
from orthros_runtime.serving.limits import Group
from orthros_runtime.serving.peers import Peer

__all__ = ["PortShares", "deadlines_of", "source_of"]

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


@define(eq=False)
class PortShares:
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
