"""The KDC's settings, and what must hold between them.

Knows what a setting means only as far as its help text says.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from attrs import frozen

from orthros_kdc.oauth.http_boundary import DEFAULT_ASSERTION_S
from orthros_kdc.realm.master_key import ENVIRONMENT_NAME
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES
from orthros_runtime.kinds import (
    address,
    file_path,
    name,
    network,
    number,
    octal_mode,
    one_of,
    several,
    socket_path,
    switch,
    url,
    whole,
)
from orthros_runtime.settings import Configuration, SettingsTable, section, setting

__all__ = ["KDC_SETTINGS", "Config", "HttpSettings", "LimitSettings", "RateSettings", "is_loopback"]


@frozen
class StoreSettings:
    """Where the realm is kept."""

    path: str = setting(
        file_path(), "/var/lib/orthros/kdc.db", "the database that `orthros-kdc init` created", flag="store"
    )
    master_key_file: str = setting(
        file_path(optional=True),
        "",
        "the file of the master key; empty: the systemd credential or the environment",
        flag="master-key-file",
    )
    next_master_key_file: str = setting(
        file_path(optional=True), "", "while the master key is being changed, the file of the new one"
    )


@frozen
class ListenSettings:
    """Where the KDC listens."""

    tcp: tuple[str, ...] = setting(
        several(address(), 16),
        "127.0.0.1:7788",
        "the TCP addresses; [::] takes IPv4 as well, and port 0 any free port; empty: no TCP",
        flag="tcp",
    )
    unix: str = setting(socket_path(optional=True), "", "the path of the Unix socket", flag="unix")
    unix_mode: int = setting(octal_mode(), "0660", "the permission bits of the Unix socket")


@frozen
class LimitSettings:
    """What one connection, and all of them together, may take."""

    max_frame: int = setting(whole(1024, MAX_FRAME_BYTES), MAX_FRAME_BYTES, "the largest request in bytes", reload=True)
    read_deadline_s: float = setting(
        number(0.1, 600), 10, "how long a request may take to arrive once it began, in seconds", reload=True
    )
    idle_deadline_s: float = setting(
        number(1, 86_400), 300, "how long a connection may stay silent, in seconds", reload=True
    )
    max_connections: int = setting(whole(1, 1_000_000), 4096, "how many connections may be open at once", reload=True)
    max_unauthenticated_connections: int = setting(
        whole(1, 1_000_000), 512, "how many of them may not have proven anything yet", reload=True
    )
    max_unauthenticated_per_source: int = setting(
        whole(1, 1_000_000), 256, "how many of those one source address may have", reload=True
    )
    max_connections_per_principal: int = setting(
        whole(1, 1_000_000), 64, "how many connections one principal may have that has proven its key", reload=True
    )


@frozen
class RateSettings:
    """Token buckets. A want costs one token, one that no rule allows costs ten; a burst holds a whole batch."""

    per_source_per_s: float = setting(
        number(0.1, 10_000_000), 1000, "tokens per second for one source address", reload=True
    )
    per_source_burst: int = setting(
        whole(32, 10_000_000), 5000, "tokens that one source address may save up", reload=True
    )
    per_principal_per_s: float = setting(
        number(0.1, 10_000_000), 200, "tokens per second for one principal", reload=True
    )
    per_principal_burst: int = setting(
        whole(32, 10_000_000), 2000, "tokens that one principal may save up", reload=True
    )


@frozen
class AuditSettings:
    """Where decisions are recorded."""

    directory: str = setting(file_path(), "/var/lib/orthros/audit", "the directory of the audit logs")
    writer: str = setting(
        name(reserved="admin"),
        "kdc-1",
        "this KDC's name in its replies and audit log; no two KDCs of a realm share one",
    )
    sync: str = setting(
        one_of("always", "written"),
        "always",
        "when a credential may leave: its line is on the disk, or written (a machine that dies then loses 100 ms)",
    )
    segment_mib: int = setting(whole(1, 1024), 64, "how large one file of the log becomes, in MiB")


@frozen
class LogSettings:
    """The log on standard error; decisions go to the audit log instead."""

    level: str = setting(
        one_of("debug", "info", "warning", "error"), "info", "the least important level that is logged", reload=True
    )
    format: str = setting(
        one_of("auto", "text", "json"), "auto", "how lines look; auto means text on a terminal, JSON otherwise"
    )


@frozen
class HttpSettings:
    """The HTTP port: OAuth token endpoint and probes. Off until it has an address."""

    tcp: str = setting(
        address(optional=True), "", "the TCP address of the HTTP port; port 0 takes any free port", flag="http"
    )
    unix: str = setting(socket_path(optional=True), "", "the path of the HTTP port's Unix socket", flag="http-unix")
    unix_mode: int = setting(octal_mode(), "0660", "the permission bits of that Unix socket")
    tls_cert: str = setting(
        file_path(optional=True),
        "",
        "the certificate chain for HTTPS (PEM); read again on SIGHUP",
        reload=True,
        flag="http-tls-cert",
    )
    tls_key: str = setting(
        file_path(optional=True),
        "",
        "the private key for HTTPS (PEM, mode 0600); read again on SIGHUP",
        reload=True,
        flag="http-tls-key",
    )
    plain: bool = setting(
        switch(), False, "HTTP without TLS also beyond this host: only where something else protects the way"
    )
    public_url: str = setting(
        url(), "", "under what URL clients reach the endpoints, for the metadata; empty: the realm's issuer"
    )
    trusted_proxies: tuple[str, ...] = setting(
        several(network(), 64), "", "peers whose X-Forwarded-For is believed; unix stands for the Unix socket"
    )
    accept_token_url_audience: bool = setting(
        switch(), False, "client assertions may name the token endpoint as their audience instead of the issuer"
    )
    paladin: bool = setting(switch(), False, "also answer Paladin's POST /authorize")
    simple_token: bool = setting(switch(), False, "also answer JSON at POST /token")
    max_body: int = setting(whole(1024, 64 * 1024), 32 * 1024, "the largest body of a request in bytes")
    max_assertion_s: int = setting(
        whole(30, 3600), DEFAULT_ASSERTION_S, "how many seconds ahead the `exp` of a client's assertion may lie"
    )

    @property
    def is_on(self) -> bool:
        """Whether there is an HTTP port at all."""
        return bool(self.tcp or self.unix)


@frozen(kw_only=True)
class Config(Configuration):
    """The whole configuration."""

    store: StoreSettings = section(StoreSettings)
    listen: ListenSettings = section(ListenSettings)
    limits: LimitSettings = section(LimitSettings)
    rate: RateSettings = section(RateSettings)
    audit: AuditSettings = section(AuditSettings)
    log: LogSettings = section(LogSettings)
    http: HttpSettings = section(HttpSettings)

    def check(self) -> None:
        """What must hold between settings. Raises Misconfigured `config-invalid`."""
        if not (self.listen.tcp or self.listen.unix):
            raise _invalid("[listen] tcp and unix are both empty; at least one is needed")
        if self.limits.max_unauthenticated_connections > self.limits.max_connections:
            raise _invalid(
                f"[limits] max_unauthenticated_connections is {self.limits.max_unauthenticated_connections};"
                f" at most max_connections, {self.limits.max_connections}, is allowed"
            )
        http = self.http
        if bool(http.tls_cert) != bool(http.tls_key):
            raise _invalid("[http] tls_cert and tls_key go together; only one of them is set")
        if http.tcp and not http.tls_cert and not http.plain and not is_loopback(http.tcp.rpartition(":")[0]):
            raise _invalid(
                f"[http] tcp {http.tcp} would send secrets beyond this host without TLS: set tls_cert and tls_key,"
                " listen on a loopback address or a Unix socket, or set plain = true where something else protects"
                " the way"
            )
        if http.unix and http.unix == self.listen.unix:
            raise _invalid(f"[http] unix {http.unix} is the path of [listen] unix; set another path")
        if any(_is_same_port(http.tcp, tcp) for tcp in self.listen.tcp):
            raise _invalid(f"[http] tcp {http.tcp} is a port of [listen] tcp; set another port")


KDC_SETTINGS: Final = SettingsTable(
    Config,
    "ORTHROS_",
    # The master key itself, which is no setting, and what belongs to the daemon, its clients and to services.
    elsewhere=(
        ENVIRONMENT_NAME,
        "ORTHROS_DAEMON_",
        "ORTHROS_JWK",
        "ORTHROS_JWK_FILE",
        "ORTHROS_KEY",
        "ORTHROS_KEY_FILE",
        "ORTHROS_REPLAY_STORE",
        "ORTHROS_SOCKET",
        "ORTHROS_STATE_DIR",
        "ORTHROS_TARGETS",
    ),
)


_EVERY_HOST: Final = frozenset({"0.0.0.0", "[::]"})  # noqa: S104  # nothing is bound here


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _is_same_port(one: str, other: str) -> bool:
    """Whether only one of two addresses could be bound. Port 0 is any free port."""
    (host, _, port), (other_host, _, other_port) = one.rpartition(":"), other.rpartition(":")
    return port == other_port != "0" and (host == other_host or not _EVERY_HOST.isdisjoint((host, other_host)))


def _invalid(detail: str) -> Misconfigured:
    return Misconfigured("config-invalid", detail)
