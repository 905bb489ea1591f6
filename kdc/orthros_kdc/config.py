"""The KDC's configuration: one table of settings; flags over environment over file over defaults.

Reads one TOML file and nothing else; knows what a setting means only as far as its help text says.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from orthros_kdc.realm.master_key import ENVIRONMENT_NAME
from orthros_kdc.settings import (
    Setting,
    address,
    addresses,
    file_path,
    name,
    networks,
    number,
    octal_mode,
    one_of,
    setting,
    socket_path,
    switch,
    table_of,
    url,
    whole,
)
from orthros_protocol import Misconfigured
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES
from orthros_protocol.primitives.redaction import redact_text

__all__ = [
    "Config",
    "HttpSettings",
    "LimitSettings",
    "RateSettings",
    "effective",
    "is_loopback",
    "load_config",
    "reload_config",
    "settings_table",
]

_VERSION: Final = 1
_PREFIX: Final = "ORTHROS_"
_SHOWN_CHARS: Final = 60


@frozen
class StoreSettings:
    """Where the realm is kept."""

    path: str = setting(file_path(), "/var/lib/orthros/kdc.db", "The database that `orthros-kdc init` created.")
    master_key_file: str = setting(
        file_path(optional=True), "", "The file of the master key; empty: the systemd credential or the environment."
    )
    next_master_key_file: str = setting(
        file_path(optional=True), "", "While the master key is being changed, the file of the new one."
    )


@frozen
class ListenSettings:
    """Where the KDC listens."""

    tcp: tuple[str, ...] = setting(
        addresses(), "127.0.0.1:7788", "The TCP addresses; [::] takes IPv4 as well, and port 0 any free port."
    )
    unix: str = setting(socket_path(), "", "The path of the Unix socket.")
    unix_mode: int = setting(octal_mode(), "0660", "The permission bits of the Unix socket.")


@frozen
class LimitSettings:
    """What one connection, and all of them together, may take."""

    max_frame: int = setting(
        whole(1024, MAX_FRAME_BYTES), MAX_FRAME_BYTES, "The largest request in bytes.", reload=True
    )
    read_deadline_s: float = setting(
        number(0.1, 600), 10, "How long a request may take to arrive once it began, in seconds.", reload=True
    )
    idle_deadline_s: float = setting(
        number(1, 86_400), 300, "How long a connection may stay silent, in seconds.", reload=True
    )
    max_connections: int = setting(whole(1, 1_000_000), 4096, "How many connections may be open at once.", reload=True)
    max_unauthenticated_connections: int = setting(
        whole(1, 1_000_000), 512, "How many of them may not have proven anything yet.", reload=True
    )
    max_unauthenticated_per_source: int = setting(
        whole(1, 1_000_000), 256, "How many of those one source address may have.", reload=True
    )
    max_connections_per_principal: int = setting(
        whole(1, 1_000_000), 64, "How many connections one principal may have that has proven its key.", reload=True
    )


@frozen
class RateSettings:
    """Token buckets. A want costs one token, one that no rule allows costs ten; a burst holds a whole batch."""

    per_source_per_s: float = setting(
        number(0.1, 10_000_000), 1000, "Tokens per second for one source address.", reload=True
    )
    per_source_burst: int = setting(
        whole(32, 10_000_000), 5000, "Tokens that one source address may save up.", reload=True
    )
    per_principal_per_s: float = setting(
        number(0.1, 10_000_000), 200, "Tokens per second for one principal.", reload=True
    )
    per_principal_burst: int = setting(
        whole(32, 10_000_000), 2000, "Tokens that one principal may save up.", reload=True
    )


@frozen
class AuditSettings:
    """Where decisions are recorded."""

    directory: str = setting(file_path(), "/var/lib/orthros/audit", "The directory of the audit logs.")
    writer: str = setting(
        name(reserved="admin"),
        "kdc-1",
        "This KDC's name in its replies and audit log; no two KDCs of a realm share one.",
    )
    sync: str = setting(
        one_of("always", "written"),
        "always",
        "When a credential may leave: its line is on the disk, or written (a machine that dies then loses 100 ms).",
    )
    segment_mib: int = setting(whole(1, 1024), 64, "How large one file of the log becomes, in MiB.")


@frozen
class LogSettings:
    """The log on standard error; decisions go to the audit log instead."""

    level: str = setting(
        one_of("debug", "info", "warning", "error"), "info", "The least important level that is logged.", reload=True
    )
    format: str = setting(
        one_of("auto", "text", "json"), "auto", "How lines look; auto means text on a terminal, JSON otherwise."
    )


@frozen
class HttpSettings:
    """The HTTP port: OAuth token endpoint and probes. Off until it has an address."""

    tcp: str = setting(address(), "", "The TCP address of the HTTP port; port 0 takes any free port.")
    unix: str = setting(socket_path(), "", "The path of the HTTP port's Unix socket.")
    unix_mode: int = setting(octal_mode(), "0660", "The permission bits of that Unix socket.")
    tls_cert: str = setting(
        file_path(optional=True), "", "The certificate chain for HTTPS (PEM); read again on SIGHUP.", reload=True
    )
    tls_key: str = setting(
        file_path(optional=True), "", "Its private key (PEM, mode 0600); read again on SIGHUP.", reload=True
    )
    plain: bool = setting(
        switch(), False, "HTTP without TLS also beyond this host: only where something else protects the way."
    )
    public_url: str = setting(
        url(), "", "Under what URL clients reach the endpoints, for the metadata; empty: the realm's issuer."
    )
    trusted_proxies: tuple[str, ...] = setting(
        networks(), "", "Peers whose X-Forwarded-For is believed; unix stands for the Unix socket."
    )
    accept_token_url_audience: bool = setting(
        switch(), False, "Client assertions may name the token endpoint as their audience instead of the issuer."
    )
    paladin: bool = setting(switch(), False, "Also answer Paladin's POST /authorize.")
    simple_token: bool = setting(switch(), False, "Also answer JSON at POST /token.")
    max_body: int = setting(whole(1024, 64 * 1024), 32 * 1024, "The largest body of a request in bytes.")
    max_assertion_s: int = setting(
        whole(30, 3600), 300, "How many seconds ahead the `exp` of a client's assertion may lie."
    )

    @property
    def is_on(self) -> bool:
        """Whether there is an HTTP port at all."""
        return bool(self.tcp or self.unix)


_SECTIONS: Final[Mapping[str, type]] = {
    "store": StoreSettings,
    "listen": ListenSettings,
    "limits": LimitSettings,
    "rate": RateSettings,
    "audit": AuditSettings,
    "log": LogSettings,
    "http": HttpSettings,
}
_TABLE: Final = table_of(_SECTIONS)
_BY_NAME: Final = {row.name: row for row in _TABLE}
_BY_VARIABLE: Final = {row.variable: row for row in _TABLE}


@frozen(kw_only=True)
class Config:
    """The whole configuration. `sources` tells for each `section.key` that is not a default where it came from."""

    store: StoreSettings = StoreSettings()
    listen: ListenSettings = ListenSettings()
    limits: LimitSettings = LimitSettings()
    rate: RateSettings = RateSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()
    sources: Mapping[str, str] = field(factory=dict, eq=False, repr=False)

    def value_of(self, row: Setting) -> object:
        """The value of one row of the table."""
        return getattr(getattr(self, row.section), row.key)


def settings_table() -> tuple[Setting, ...]:
    """Every setting there is, in the order of the documentation."""
    return _TABLE


def load_config(
    file: str | PathLike[str] | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """The configuration: `overrides` (flags, by `section.key`) over `environ` over `file` over defaults.

    An override of None is a flag that was not given. Raises Misconfigured `config-invalid`, or
    `file-unreadable`; the detail names the file and key, or the variable, and what is allowed.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    layers = (
        ("file", _from_file(Path(file)) if file is not None else iter(())),
        ("environment", _from_environment(environ)),
        ("flag", _from_overrides(overrides or {})),
    )
    for source, layer in layers:
        for row, value in layer:
            values[row.name] = value
            sources[row.name] = source
    return _assemble(values, sources)


def reload_config(running: Config, fresh: Config) -> tuple[Config, tuple[str, ...]]:
    """What a running KDC takes over from `fresh` on SIGHUP, and the changed settings that need a restart."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    waiting = []
    for row in _TABLE:
        chosen = fresh if row.reload else running
        values[row.name] = chosen.value_of(row)
        if row.name in chosen.sources:
            sources[row.name] = chosen.sources[row.name]
        if not row.reload and running.value_of(row) != fresh.value_of(row):
            waiting.append(row.name)
    return _assemble(values, sources), tuple(waiting)


def effective(config: Config) -> list[tuple[str, str, str]]:
    """Each setting as (`section.key`, value, source); source is default, file, environment or flag.

    No setting holds a secret: keys are named by the path of their file.
    """
    return [(row.name, row.form.show(config.value_of(row)), config.sources.get(row.name, "default")) for row in _TABLE]


def _assemble(values: Mapping[str, Any], sources: Mapping[str, str]) -> Config:
    sections = {
        section: kind(**{row.key: values[row.name] for row in _TABLE if row.section == section and row.name in values})
        for section, kind in _SECTIONS.items()
    }
    config = Config(**sections, sources=sources)
    if not (config.listen.tcp or config.listen.unix):
        raise Misconfigured("config-invalid", "[listen] tcp and unix are both empty; at least one is needed")
    if config.limits.max_unauthenticated_connections > config.limits.max_connections:
        raise Misconfigured(
            "config-invalid",
            f"[limits] max_unauthenticated_connections is {config.limits.max_unauthenticated_connections};"
            f" at most max_connections, {config.limits.max_connections}, is allowed",
        )
    _check_http(config.http)
    return config


def _check_http(http: HttpSettings) -> None:
    if bool(http.tls_cert) != bool(http.tls_key):
        raise Misconfigured("config-invalid", "[http] tls_cert and tls_key go together; only one of them is set")
    if http.tcp and not http.tls_cert and not http.plain and not is_loopback(http.tcp.rpartition(":")[0]):
        raise Misconfigured(
            "config-invalid",
            f"[http] tcp {http.tcp} would send secrets beyond this host without TLS: set tls_cert and tls_key, listen"
            " on a loopback address or a Unix socket, or set plain = true where something else protects the way",
        )


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(row: Setting, value: object, where: str) -> object:
    if type(value) in row.form.types:
        try:
            return row.form.check(value)
        except ValueError:
            pass
    shown = redact_text(repr(value))  # a key pasted in the place of its path must not end up in a log
    if len(shown) > _SHOWN_CHARS:
        shown = f"a value of {len(shown)} characters"
    raise Misconfigured("config-invalid", f"{where}: {shown} is not {row.form.allowed}")


def _from_text(row: Setting, text: str, where: str) -> object:
    try:
        value = row.form.parse(text)
    except ValueError:
        value = text
    return _checked(row, value, where)


def _from_file(file: Path) -> Iterator[tuple[Setting, object]]:
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number or a nest without end
        raise Misconfigured("config-invalid", f"{file}: {error}") from None
    version = document.pop("version", None)
    if type(version) is not int or version != _VERSION:
        said = "is missing" if version is None else f"is {version!r}"
        raise Misconfigured("config-invalid", f"{file}: version {said}; write `version = {_VERSION}` at the top")
    for section, entries in document.items():
        if section not in _SECTIONS or type(entries) is not dict:
            known = ", ".join(f"[{known}]" for known in _SECTIONS)
            raise Misconfigured("config-invalid", f"{file}: {section!r} is none of the sections {known}")
        for key, value in entries.items():
            row = _BY_NAME.get(f"{section}.{key}")
            if row is None:
                keys = ", ".join(row.key for row in _TABLE if row.section == section)
                raise Misconfigured("config-invalid", f"{file}: [{section}] has no key {key!r}; known: {keys}")
            yield row, _checked(row, value, f"{file}: [{section}] {key}")


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[Setting, object]]:
    prefixes = tuple(f"{_PREFIX}{section.upper()}_" for section in _SECTIONS)
    for variable in sorted(environ):
        if not variable.startswith(prefixes) or variable == ENVIRONMENT_NAME:
            continue  # another program's, such as ORTHROS_SOCKET, or the key itself, which is no setting
        row = _BY_VARIABLE.get(variable)
        if row is None:
            prefix = next(prefix for prefix in prefixes if variable.startswith(prefix))
            known = ", ".join(known for known in _BY_VARIABLE if known.startswith(prefix))
            raise Misconfigured("config-invalid", f"the environment variable {variable} is unknown; known: {known}")
        yield row, _from_text(row, environ[variable], variable)


def _from_overrides(overrides: Mapping[str, object]) -> Iterator[tuple[Setting, object]]:
    for key, value in overrides.items():
        row = _BY_NAME.get(key)
        if row is None:
            raise Misconfigured("config-invalid", f"there is no setting {key}")
        if value is not None:
            where = f"the flag for {key}"
            yield row, _from_text(row, value, where) if isinstance(value, str) else _checked(row, value, where)
