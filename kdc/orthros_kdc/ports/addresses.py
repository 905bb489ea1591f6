"""The addresses of one port: TCP, on IPv4 and IPv6, and a Unix socket.

Opens what the configuration names, or nothing. Accepts no connection.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio
from attrs import evolve, frozen

from orthros_protocol.errors import Misconfigured
from orthros_runtime.serving.sockets import open_tcp_listener, open_unix_listener

__all__ = ["Opened", "open_addresses"]

_EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104  # compared with, not bound to
_EVERY_IPV6: Final = "::"


@frozen
class Opened:
    """Listeners, and the path of the one on a Unix socket, empty without one."""

    tcp: tuple[trio.SocketListener, ...] = ()
    unix: tuple[trio.SocketListener, ...] = ()
    path: str = ""

    @property
    def listeners(self) -> tuple[trio.SocketListener, ...]:
        """All of them."""
        return self.tcp + self.unix

    def addresses(self, scheme: str) -> tuple[str, ...]:
        """As clients may be given them: `SCHEME://host:port`, `unix:///path`."""
        return (*(_url_of(listener, scheme) for listener in self.tcp), *(f"unix://{self.path}" for _ in self.unix))

    def close(self) -> None:
        """Gives the addresses back. Idempotent."""
        for listener in self.listeners:
            listener.socket.close()
        if self.unix:
            with suppress(FileNotFoundError):  # removed already
                os.unlink(self.path)


async def open_addresses(tcp: Sequence[str], unix: str, unix_mode: int, section: str) -> Opened:
    """Listeners on each `host:port` and, unless `unix` is empty, on that path; `section` names the settings.

    `[::]` takes IPv4 as well, unless 0.0.0.0 with the same port is there for that. Raises Misconfigured when one of
    them cannot be had, and then leaves nothing open.
    """
    opened = Opened(path=unix)
    try:
        for place in tcp:
            host, port = _split(place)
            for address in await _resolve(host, port, f"{section}.tcp {place}"):
                is_dual = address == _EVERY_IPV6 and f"{_EVERY_IPV4}:{port}" not in tcp
                try:
                    listener = open_tcp_listener(address, port, dual=is_dual)
                except Misconfigured as error:
                    raise Misconfigured(error.reason, f"{section}.tcp {place}: {error.detail}") from None
                opened = evolve(opened, tcp=(*opened.tcp, listener))
        if unix:
            try:
                opened = evolve(opened, unix=(open_unix_listener(unix, unix_mode),))
            except Misconfigured as error:
                raise Misconfigured(error.reason, f"{section}.unix: {error.detail}") from None
    except BaseException:
        opened.close()
        raise
    return opened


async def _resolve(host: str, port: int, name: str) -> list[str]:
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Misconfigured("config-invalid", f"{name}: {error.strerror or error}") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _split(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


def _url_of(listener: trio.SocketListener, scheme: str) -> str:
    name = listener.socket.getsockname()
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"
