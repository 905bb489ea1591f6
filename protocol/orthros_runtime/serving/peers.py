"""The process at the other end of a connection, as the kernel describes it.

Reads sockets. Decides nothing.
"""

from __future__ import annotations

import array
import ipaddress
import socket
import struct
from typing import Final

import trio
from attrs import frozen

__all__ = ["UNKNOWN_PEER", "Peer", "peer_of", "socket_owner"]

_UCRED: Final = struct.Struct("3i")
_MOST_GROUPS: Final = 1024
_SO_PEERGROUPS: Final = 59  # Linux 4.13; the socket module has no name for it

# sock_diag(7): a netlink header and struct inet_diag_req_v2 ask, a header and struct inet_diag_msg answer.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI")
_PORTS: Final = struct.Struct("!HH")
_REST_OF_ID: Final = struct.Struct("=III")
_NO_COOKIE: Final = 0xFFFFFFFF
_ALL_STATES: Final = 0xFFFFFFFF
_ANSWER: Final = struct.Struct("=BBBB4s16s16sIII5I")
_ESTABLISHED: Final = 1
_MOST_ANSWER_BYTES: Final = 4096


@frozen
class Peer:
    """The process that connected. Its uid, gids and pid are those of the moment when it did.

    Over TCP the kernel vouches for none of them: they are -1, empty and 0. `address` is then the IP address of the
    other end, in one spelling, and `tcp_owner` the uid that owns the socket there, None if the system does not tell or
    it is another host: enough to share out connections, and not enough to grant anything.
    """

    uid: int
    gids: frozenset[int]
    pid: int = 0
    tcp_owner: int | None = None
    address: str = ""

    @property
    def owner(self) -> int | None:
        """The uid to count the connection for; None if the system does not tell."""
        return self.uid if self.uid >= 0 else self.tcp_owner

    def __str__(self) -> str:
        if self.uid >= 0:
            return f"uid {self.uid} pid {self.pid}"
        if self.tcp_owner is not None:
            return f"uid {self.tcp_owner} over TCP"
        return "a program of this host" if _is_here(self.address) else self.address


UNKNOWN_PEER: Final = Peer(-1, frozenset())
"""A peer over TCP of whom nothing is known. No rule covers it."""


def peer_of(connection: trio.socket.SocketType) -> Peer:
    """The process that connected. Raises OSError if the system does not tell the peer of a Unix socket."""
    if connection.family != socket.AF_UNIX:
        try:
            address = _in_one_spelling(connection.getpeername()[0])
        except OSError:
            return UNKNOWN_PEER  # it has gone
        owner = socket_owner(connection) if _is_here(address) else None
        return Peer(-1, frozenset(), tcp_owner=owner, address=address)
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * groups.itemsize))
    except OSError:
        groups = array.array("I")  # without supplementary groups less is allowed, never more
    return Peer(uid, frozenset([gid, *groups]), pid)


def _in_one_spelling(address: str) -> str:
    """Without a zone, and the IPv4 address of one that is mapped into IPv6: a dual listener sees those."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _is_here(address: str) -> bool:
    return not address or ipaddress.ip_address(address).is_loopback


def socket_owner(connection: trio.socket.SocketType) -> int | None:
    """The uid that owns the other end of a TCP connection within this host; None if the system does not tell.

    Asks the kernel for the socket whose addresses are ours the other way round (sock_diag(7)): one exact look-up, where
    /proc/net/tcp would be a list of every socket of the host.
    """
    try:
        remote, local = connection.getpeername()[:2], connection.getsockname()[:2]
        family = connection.family
        ports = _PORTS.pack(remote[1], local[1])
        addresses = [socket.inet_pton(family, address).ljust(16, b"\0") for address in (remote[0], local[0])]
        wanted = ports, *addresses
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES) + b"".join(wanted)
        body += _REST_OF_ID.pack(0, _NO_COOKIE, _NO_COOKIE)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG) as kernel:
            kernel.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body)
            answer = kernel.recv(_MOST_ANSWER_BYTES)  # the kernel answers while it is asked
        kind = _HEADER.unpack_from(answer)[1]
        if kind != _SOCK_DIAG_BY_FAMILY:
            return None
        _family, state, _timer, _retrans, *found = _ANSWER.unpack_from(answer, _HEADER.size)
    except (OSError, struct.error):
        return None  # no such socket, no such family of sockets for this process, or another system
    uid, inode = found[-2:]
    # A socket that its process has closed has no owner, and says 0: that must not look like root. And the kernel
    # falls back to a socket that listens at the address.
    if state != _ESTABLISHED or not inode or tuple(found[:3]) != wanted:
        return None
    return int(uid)
