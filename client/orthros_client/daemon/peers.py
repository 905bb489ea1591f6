"""Which local user may have credentials for which target: kernel facts in, a verdict out.

Pure, apart from reading the peer's credentials off a socket. Knows no messages.
"""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from orthros_protocol import Principal

__all__ = ["AllowList", "AllowRule", "Peer", "peer_of"]

_UCRED: Final = struct.Struct("3i")
_SO_PEERGROUPS: Final = 59  # Linux 4.13; the socket module has no name for it


@frozen
class Peer:
    """The process at the other end, as the kernel saw it when it connected."""

    uid: int
    gids: frozenset[int]
    pid: int = 0

    def __str__(self) -> str:
        return f"uid {self.uid} pid {self.pid}"


@frozen(kw_only=True)
class AllowRule:
    """Lets one uid, or the members of one gid, use `targets`; None means all of them."""

    uid: int | None = None
    gid: int | None = None
    targets: frozenset[Principal] | None = None

    def covers(self, peer: Peer) -> bool:
        """Whether the rule is about this peer."""
        return peer.uid == self.uid if self.uid is not None else self.gid in peer.gids


@frozen
class AllowList:
    """The rules plus the default: the daemon's own uid and root may use every target."""

    own_uid: int
    rules: Sequence[AllowRule] = ()

    def knows(self, peer: Peer) -> bool:
        """Whether anything at all is allowed to this peer."""
        return peer.uid in (0, self.own_uid) or any(rule.covers(peer) for rule in self.rules)

    def permits(self, peer: Peer, target: Principal) -> bool:
        """Whether the peer may have credentials for `target`."""
        if peer.uid in (0, self.own_uid):
            return True
        return any(rule.covers(peer) and (rule.targets is None or target in rule.targets) for rule in self.rules)


def peer_of(connection: socket.socket) -> Peer:
    """The credentials of the process that connected. Raises OSError where the system cannot tell."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024 * groups.itemsize))
    except OSError:
        groups = array.array("I")  # without supplementary groups less is allowed, never more
    return Peer(uid, frozenset([gid, *groups]), pid)
