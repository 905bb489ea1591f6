"""Opens the HTTP port as the configuration says: addresses, TLS, and nothing in the clear beyond this host.

Wiring only; imported only where there is an HTTP port, because its parser is in an extra.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import trio
from attrs import frozen

from orthros_kdc.audit import AuditLog
from orthros_kdc.clock_guard import ClockGuard
from orthros_kdc.config import Config, HttpSettings, is_loopback
from orthros_kdc.http.app import App
from orthros_kdc.http.connections import HttpServer
from orthros_kdc.http.health import Health, checks_of
from orthros_kdc.http.routes import Tokens, routes
from orthros_kdc.http.senders import TrustedProxies
from orthros_kdc.http.tls import load_tls
from orthros_kdc.oauth.http_boundary import OAuthOptions
from orthros_kdc.ports.addresses import Opened, open_addresses
from orthros_kdc.realm.view import RealmView
from orthros_kdc.store.base import Store
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.instants import Timestamp

__all__ = ["HttpPort", "open_http_port", "options_of"]


@frozen(eq=False)
class HttpPort:
    """An open HTTP port. `addresses` are as clients write them: `https://host:port`, `unix:///path`."""

    server: HttpServer
    opened: Opened
    addresses: tuple[str, ...]

    async def serve(self) -> None:
        """Serves until cancelled; after `server.drain()`, returns when the last connection has got its answers."""
        try:
            await self.server.serve(self.opened.listeners)
        finally:
            self.opened.close()

    def tls_of(self, http: HttpSettings, now: Timestamp) -> ssl.SSLContext | None:
        """What new connections are to speak after a reload; the files are read again.

        Raises Misconfigured as `load_tls` does, and where TLS would begin or end on an open address.
        """
        if bool(http.tls_cert) != (self.server.tls is not None):
            raise Misconfigured("config-invalid", "[http] tls_cert: TLS begins and ends with a restart only")
        return _tls_of(http, now)


def _tls_of(http: HttpSettings, now: Timestamp) -> ssl.SSLContext | None:
    return load_tls(http.tls_cert, http.tls_key, now) if http.tls_cert else None


def options_of(http: HttpSettings) -> OAuthOptions:
    """What of the settings concerns the token service."""
    return OAuthOptions(
        public_url=http.public_url,
        accept_token_url_audience=http.accept_token_url_audience,
        paladin=http.paladin,
        simple_token=http.simple_token,
        max_body=http.max_body,
        max_assertion_s=http.max_assertion_s,
    )


async def open_http_port(
    config: Config,
    tokens: Tokens,
    *,
    store: Store,
    view: RealmView,
    audit: AuditLog,
    clock: Callable[[], Timestamp],
    guard: ClockGuard | None = None,
) -> HttpPort:
    """Opens what `[http]` names. Raises Misconfigured, and then leaves nothing open."""

    async def issuer() -> str:
        return await view.settled(lambda moment: moment.facts.record.issuer)

    http = config.http
    health = Health(checks_of(store, audit, view, clock, guard), clock)
    find = routes(tokens, health, options_of(http), issuer)
    proxies = TrustedProxies(http.trusted_proxies)
    app = App(find, max_body=http.max_body, proxies=proxies, admit=tokens.admit)
    server = HttpServer(app, tokens.reject, config.limits, _tls_of(http, clock()))
    opened = await open_addresses((http.tcp,) if http.tcp else (), http.unix, http.unix_mode, "http")
    try:
        if server.tls is None and not http.plain:
            _check_loopback(opened.tcp)
    except BaseException:
        opened.close()
        raise
    addresses = opened.addresses("http" if server.tls is None else "https")
    return HttpPort(server, opened, addresses)


def _check_loopback(listeners: tuple[trio.SocketListener, ...]) -> None:
    """A name was allowed because of what it is called; what counts is where it leads."""
    for listener in listeners:
        host = listener.socket.getsockname()[0]
        if not is_loopback(host):
            raise Misconfigured("config-invalid", f"http.tcp leads to {host}, which is no loopback address: use TLS")
