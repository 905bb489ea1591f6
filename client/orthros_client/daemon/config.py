"""The daemon's settings, and what must hold between them.

Who may use the daemon stands in the file only: `[[allow]]`, `[[workers.allow]]` and `[[forward_auth]]`. Starts nothing.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from orthros_client.daemon.kdc.pool import KdcAddress
from orthros_client.daemon.listeners.allow_list import AllowRule
from orthros_client.daemon.listeners.forward_auth_settings import ForwardAuthSettings, read_forward_auth
from orthros_client.daemon.worker_terms import WorkerTerms
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import Principal, check_name
from orthros_runtime.kinds import ValueKind, file_path, number, octal_mode, one_of, several, socket_path, whole
from orthros_runtime.settings import Configuration, SettingsTable, entries, section, setting

__all__ = ["DAEMON_SETTINGS", "DaemonConfig"]

_MOST_RULES: Final = 1024
_DAY_S: Final = 86_400
_Row = tuple[str, int, tuple[str, ...] | None]


def _check_kdc(text: str) -> str:
    try:
        return str(KdcAddress.parse(text))
    except Misconfigured:
        raise ValueError from None


def _kdc_address() -> ValueKind:
    return ValueKind(
        allowed="tcp://host:port or unix:///path", types=frozenset({str}), check=_check_kdc, label="ADDRESS"
    )


def _read_allow(rows: object, where: str, _folder: str) -> tuple[_Row, ...]:
    if not isinstance(rows, list) or len(rows) > _MOST_RULES or not all(isinstance(row, dict) for row in rows):
        raise _invalid(f"{where}: expected up to {_MOST_RULES} tables such as those of [[allow]]")
    return tuple(_read_rule(row, f"{where} rule {at}") for at, row in enumerate(rows, 1))


def _read_rule(row: dict[str, Any], where: str) -> _Row:
    kinds = [kind for kind in ("uid", "gid") if kind in row]
    if len(kinds) != 1 or set(row) - {"uid", "gid", "targets"}:
        raise _invalid(f"{where}: expected one of uid and gid, and targets")
    peer, targets = row[kinds[0]], row.get("targets")
    if type(peer) is not int or not 0 <= peer < 2**32:
        raise _invalid(f"{where}: {kinds[0]}: expected a number")
    if targets == "all":
        return kinds[0], peer, None
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        raise _invalid(f'{where}: targets: expected a list of names, or "all"')
    for name in targets:
        try:
            _principal(name, "any")
        except Misconfigured as error:
            raise _invalid(f"{where}: targets: {error.detail}") from None
    return kinds[0], peer, tuple(targets)


def _show_rule(row: _Row) -> tuple[str, str]:
    kind, peer, names = row
    return f"{kind} {peer}", "every target" if names is None else ", ".join(names)


def _show_forward_auth(one: ForwardAuthSettings) -> tuple[str, str]:
    return one.place, f"{one.dialect}, {', '.join(one.origins)}"


@frozen
class WorkerSettings:
    """Who may take a login for a worker."""

    lifetime_s: int = setting(whole(1, _DAY_S), 600, "longest life of a worker's login, in seconds", reload=True)
    allow: tuple[_Row, ...] = entries(_read_allow, _show_rule, reload=True)


@frozen(kw_only=True)
class DaemonConfig(Configuration):
    """The whole configuration."""

    keytab: str = setting(
        file_path(),
        "/etc/orthros/host.keytab",
        "key file of this host's principal; its realm is the realm",
        reload=True,
    )
    login: str = setting(
        file_path(optional=True),
        "",
        "login file of a worker (`orthros worker-login`), in the place of a key file; re-read by itself",
    )
    kdcs: tuple[str, ...] = setting(
        several(_kdc_address(), 64),
        "",
        "KDCs as tcp://host:port or unix:///path; the last good one is asked first",
        reload=True,
    )
    socket: str = setting(
        socket_path(),
        "/run/orthros/daemon.sock",
        "Unix socket for the library and the `orthros` command",
    )
    http_socket: str = setting(socket_path(optional=True), "", "Unix socket for HTTP/1.1; empty for none")
    socket_mode: int | None = setting(
        octal_mode(optional=True), "", "mode of both sockets; empty: 0600, or 0666 when there are allow rules"
    )
    cache_file: str = setting(
        file_path(optional=True),
        "",
        "file that keeps tickets over a restart, sealed under the key file's root",
    )
    request_timeout_s: float = setting(
        number(0.1, 300), 10, "longest wait of a local caller for the KDC, in seconds", reload=True
    )
    kdc_timeout_s: float = setting(number(0.1, 60), 5, "longest wait for one KDC, in seconds", reload=True)
    kdc_stagger_s: float = setting(
        number(0.01, 10), 0.25, "pause before the next KDC is asked as well, in seconds", reload=True
    )
    backoff_first_s: float = setting(
        number(0.05, 60), 0.5, "pause after the first failure of an exchange with the KDC, in seconds"
    )
    backoff_most_s: float = setting(number(1, 3600), 30, "longest pause between failing exchanges, in seconds")
    refusal_first_s: float = setting(
        number(0.05, 60), 2, "how long the first refusal of a target is remembered, in seconds"
    )
    refusal_most_s: float = setting(number(1, 3600), 60, "how long a refusal is remembered at most, in seconds")
    renew_idle_s: float = setting(
        number(60, _DAY_S), 7200, "tickets unused for so many seconds, or for two of their lives, are not renewed"
    )
    cache_entries: int = setting(whole(16, 4096), 4096, "tickets and tokens held at most")
    behalf_entries: int = setting(whole(16, 4096), 1024, "tickets on behalf of callers held at most, beside the others")
    idle_connection_s: float = setting(
        number(1, _DAY_S), 300, "a silent local connection is closed after so many seconds"
    )
    connections: int = setting(whole(1, 4096), 256, "local connections at once, on each socket")
    drain_s: float = setting(number(0, 300), 5, "at SIGTERM, how many seconds running requests may take", reload=True)
    log_format: str = setting(one_of("text", "json"), "text", "form of the log on stderr")
    allow: tuple[_Row, ...] = entries(_read_allow, _show_rule, reload=True)
    workers: WorkerSettings = section(WorkerSettings)
    forward_auth: tuple[ForwardAuthSettings, ...] = entries(read_forward_auth, _show_forward_auth, reload=True)

    @property
    def mode(self) -> int:
        """The mode of the sockets: peers are told apart by the kernel, so rules for others open the file."""
        return self.socket_mode if self.socket_mode is not None else (0o666 if self.allow else 0o600)

    def rules(self, realm: str) -> tuple[AllowRule, ...]:
        """The allow rules, with targets of `realm` where none is named."""
        return _rules_of(self.allow, realm)

    def worker_terms(self, realm: str) -> WorkerTerms:
        """Who may take a login for a worker, with targets of `realm` where none is named."""
        return WorkerTerms(rules=_rules_of(self.workers.allow, realm), lifetime_s=self.workers.lifetime_s)

    def check(self) -> None:
        """What must hold between settings. Raises Misconfigured `config-invalid`."""
        if self.login and self.source_of("keytab") != "default":
            raise _invalid(f"{self.source_of('login')}: a daemon has a key file or a login file, not both")
        if self.login and self.cache_file:
            where = self.source_of("cache_file")
            raise _invalid(f"{where}: without a key file there is nothing to seal tickets with")
        if not self.kdcs:
            raise _invalid(f"{self.source_of('kdcs')}: kdcs names no KDC")
        if self.socket == self.http_socket:
            raise _invalid(f"{self.source_of('http_socket')}: the same path as socket")
        for one in self.forward_auth:
            if one.place in (self.socket, self.http_socket):
                raise _invalid(f"forward_auth: {one.place} is one of the daemon's other sockets")


DAEMON_SETTINGS: Final = SettingsTable(DaemonConfig, "ORTHROS_DAEMON_")


def _rules_of(rows: tuple[_Row, ...], realm: str) -> tuple[AllowRule, ...]:
    made = []
    for kind, peer, names in rows:
        targets = None if names is None else frozenset(_principal(name, realm) for name in names)
        made.append(AllowRule(**{kind: peer}, targets=targets))
    return tuple(made)


def _principal(text: str, realm: str) -> Principal:
    return Principal.parse(text) if "@" in text else Principal(realm, check_name(text, "target"))


def _invalid(detail: str) -> Misconfigured:
    return Misconfigured("config-invalid", detail)
