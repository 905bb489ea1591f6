"""Listening sockets, opened without disturbing a server that is running.

Knows addresses and files; accepts nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from typing import Final

import trio

from orthros_protocol.errors import Misconfigured
from orthros_protocol.reasons.table import Code

__all__ = ["open_tcp_listener", "open_unix_listener"]

_BACKLOG: Final = 512
_MOST_PATH: Final = 107  # sun_path is 108 bytes with its NUL (unix(7))


def open_unix_listener(path: str, mode: int) -> trio.SocketListener:
    """A listener at `path`, never wider than `mode`; a dead socket file in its place is removed.

    Raises Misconfigured `conflict` when another process listens there, or `file-unreadable`.
    """
    if len(os.fsencode(path)) > _MOST_PATH:
        raise Misconfigured("config-invalid", f"socket {path}: longer than {_MOST_PATH} bytes")
    _remove_dead_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A socket file takes its mode from the umask at bind, so it is born closed and opened afterwards.
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        os.chmod(path, mode)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise Misconfigured("file-unreadable", f"socket {path}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def open_tcp_listener(address: str, port: int, *, dual: bool = False) -> trio.SocketListener:
    """A listener on an IP address of this host. `dual`: one on `::` takes IPv4 as well.

    Raises Misconfigured `conflict` when the port is taken, or `config-invalid`.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # a host without IPv6
        raise Misconfigured("config-invalid", f"{address} port {port}: {error.strerror or error}") from None
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        # Connections that linger from before a restart do not hold the port; a living listener still does.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        code: Code = "conflict" if error.errno == errno.EADDRINUSE else "config-invalid"
        raise Misconfigured(code, f"{address} port {port}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _remove_dead_socket(path: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise Misconfigured("conflict", f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            outcome = probe.connect_ex(path)
        if outcome != errno.ECONNREFUSED:
            raise Misconfigured("conflict", f"{path}: another process listens there already, or it cannot be asked")
        os.unlink(path)
