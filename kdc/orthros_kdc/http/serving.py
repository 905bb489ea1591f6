"""Opens the HTTP port as the configuration says: addresses, TLS, and nothing in the clear beyond this host.

Wiring only; imported only where there is an HTTP port, because hypercorn is an extra.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress

import trio
from attrs import frozen

from orthros_kdc.config import Config, HttpSettings, is_loopback
from orthros_kdc.http.app import App
from orthros_kdc.http.connections import HttpServer
from orthros_kdc.http.tls import load_tls
from orthros_kdc.server import open_tcp_listeners, open_unix_listener
from orthros_protocol import Misconfigured, Timestamp

__all__ = ["HttpPort", "open_http_port", "tls_of"]


@frozen(eq=False)
class HttpPort:
    """An open HTTP port. `addresses` are as clients write them: `https://host:port`, `unix:///path`."""

    server: HttpServer
    listeners: tuple[trio.SocketListener, ...]
    addresses: tuple[str, ...]
    unix: str

    async def serve(self) -> None:
        """Serves until cancelled; after `server.drain()`, returns when the last connection has got its answers."""
        try:
            await self.server.serve(self.listeners)
        finally:
            self.close()

    def close(self) -> None:
        """Gives the addresses back. Idempotent."""
        for listener in self.listeners:
            listener.socket.close()
        if self.unix:
            with suppress(FileNotFoundError):  # somebody was faster
                os.unlink(self.unix)


def tls_of(http: HttpSettings, now: Timestamp) -> ssl.SSLContext | None:
    """What the TCP address speaks. Raises Misconfigured for files that cannot be used (see `load_tls`)."""
    return load_tls(http.tls_cert, http.tls_key, now) if http.tls_cert else None


async def open_http_port(config: Config, app: App, now: Timestamp) -> HttpPort:
    """Opens what `[http]` names. Raises Misconfigured, and then leaves nothing open."""
    http = config.http
    server = HttpServer(app, config.limits, tls_of(http, now))
    listeners: list[trio.SocketListener] = []
    try:
        if http.tcp:
            host, _, port = http.tcp.rpartition(":")
            listeners += await open_tcp_listeners(host.strip("[]"), int(port), section="http")
            if server.tls is None and not http.plain:
                _check_loopback(listeners)
        addresses = [_address_of(listener, "http" if server.tls is None else "https") for listener in listeners]
        if http.unix:
            listeners.append(open_unix_listener(http.unix, http.unix_mode, section="http"))
            addresses.append(f"unix://{http.unix}")
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    return HttpPort(server, tuple(listeners), tuple(addresses), http.unix)


def _check_loopback(listeners: list[trio.SocketListener]) -> None:
    """A name was allowed because of what it is called; what counts is where it leads."""
    for listener in listeners:
        host = listener.socket.getsockname()[0]
        if not is_loopback(host):
            raise Misconfigured("config-invalid", f"http.tcp leads to {host}, which is no loopback address: use TLS")


def _address_of(listener: trio.SocketListener, scheme: str) -> str:
    name = listener.socket.getsockname()
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"
