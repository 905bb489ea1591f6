"""Who is at the other end, as the kernel says: over a Unix socket for sure, over TCP as far as sharing out goes."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import pytest
import trio
from attrs import evolve

from orthros_runtime.serving.peers import UNKNOWN_PEER, Peer, peer_of, socket_owner
from tests.client.house import NOBODY, as_user
from tests.support.files import few_files

LOOPBACKS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
USERS = [
    None,
    pytest.param(NOBODY, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as somebody else")),
]


@asynccontextmanager
async def connected(
    family: socket.AddressFamily, address: str, uid: int | None = None
) -> AsyncIterator[tuple[socket.socket, trio.socket.SocketType]]:
    """A client's end, and ours."""
    with socket.create_server((address, 0), family=family) as server:
        with nullcontext() if uid is None else as_user(uid):
            client = socket.create_connection(server.getsockname()[:2])
        ours, _ = server.accept()
        with client, trio.socket.from_stdlib_socket(ours) as accepted:
            yield client, accepted


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize(("family", "address"), LOOPBACKS)
async def test_the_owner_of_a_connection_over_tcp(family: socket.AddressFamily, address: str, uid: int | None) -> None:
    async with connected(family, address, uid) as (_client, accepted):
        peer, owner = peer_of(accepted), os.geteuid() if uid is None else uid
        assert peer == Peer(-1, frozenset(), tcp_owner=owner, address=address)
        assert peer.owner == owner
        assert str(peer) == f"uid {owner} over TCP"


async def test_a_socket_without_a_process_belongs_to_nobody_and_not_to_root() -> None:
    """The kernel gives 0 for the owner of what has been closed, with or without a reset."""
    for linger in (None, struct.pack("ii", 1, 0)):
        async with connected(socket.AF_INET, "127.0.0.1") as (client, accepted):
            if linger is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
            assert peer_of(accepted).owner is None


async def test_who_listens_at_the_address_of_a_peer_is_not_the_peer() -> None:
    """The kernel falls back to such a socket when it knows no connection. Here there never was one."""
    with socket.create_server(("127.0.0.1", 0)) as server, trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
        await sock.connect(server.getsockname())
        assert socket_owner(sock) is None


async def test_a_system_that_does_not_tell() -> None:
    """No more files, or no netlink sockets for this process: nothing is known, and nothing fails."""
    async with connected(socket.AF_INET, "127.0.0.1") as (_client, accepted):
        with few_files(0):
            assert peer_of(accepted) == evolve(UNKNOWN_PEER, address="127.0.0.1")
        assert UNKNOWN_PEER.owner is None
        assert str(UNKNOWN_PEER) == "a program of this host"


async def test_the_peer_of_a_unix_socket() -> None:
    one, other = socket.socketpair()
    with other, trio.socket.from_stdlib_socket(one) as ours:
        peer = peer_of(ours)
    assert (peer.uid, peer.pid, peer.owner, peer.tcp_owner) == (os.geteuid(), os.getpid(), os.geteuid(), None)
    assert {os.getegid(), *os.getgroups()} == peer.gids
    assert str(peer) == f"uid {os.geteuid()} pid {os.getpid()}"


async def test_a_dual_listener_sees_the_ipv4_address_of_its_peer() -> None:
    """Else a program would have another share, and other rules, by the family of the listener that it meets."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
        ours, _ = server.accept()
        with client, trio.socket.from_stdlib_socket(ours) as accepted:
            assert accepted.getpeername()[0] == "::ffff:127.0.0.1"
            assert peer_of(accepted).address == "127.0.0.1"


def test_a_peer_on_another_host_is_told_by_its_address() -> None:
    assert str(Peer(-1, frozenset(), address="192.0.2.1")) == "192.0.2.1"
