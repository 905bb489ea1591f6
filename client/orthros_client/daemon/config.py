"""The daemon's configuration: one TOML file, environment above it, flags above that; checked as a whole.

Reads files and text into a frozen object or raises `config-invalid` with file and key. Starts nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from orthros_client.daemon.listeners.forward_auth_settings import ForwardAuthSettings, read_forward_auth
from orthros_client.daemon.listeners.peers import AllowRule
from orthros_client.daemon.settings import SETTINGS
from orthros_client.daemon.worker_terms import WorkerTerms
from orthros_protocol import Misconfigured, Principal, check_name

__all__ = ["DaemonConfig", "load_config"]

VERSION: Final = 1
_ENVIRONMENT: Final = "ORTHROS_DAEMON_"
_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
_SECTIONS: Final = ("version", "allow", "workers", "forward_auth")
_MOST_RULES: Final = 1024
_WORKER_S: Final = 600
_MOST_WORKER_S: Final = 86_400
_Rows = tuple[tuple[str, int, tuple[str, ...] | None], ...]
# Set by other documented means; the rest of the prefix belongs to the table, so that typing errors show.
_OTHER_VARIABLES: Final = frozenset({"ORTHROS_DAEMON_CONFIG"})


@frozen(kw_only=True)
class DaemonConfig:
    """Effective values. `sources` says for each setting where it came from."""

    keytab: str
    login: str
    kdcs: tuple[str, ...]
    socket: str
    http_socket: str
    socket_mode: str
    cache_file: str
    request_timeout_s: float
    kdc_timeout_s: float
    kdc_stagger_s: float
    backoff_first_s: float
    backoff_most_s: float
    refusal_first_s: float
    refusal_most_s: float
    renew_idle_s: float
    cache_entries: int
    behalf_entries: int
    idle_connection_s: float
    connections: int
    drain_s: float
    log_format: str
    allow: _Rows
    workers: _Rows
    worker_lifetime_s: int
    forward_auth: tuple[ForwardAuthSettings, ...]
    sources: Mapping[str, str]

    @property
    def mode(self) -> int:
        """The mode of the sockets: peers are told apart by the kernel, so rules for others open the file."""
        return int(self.socket_mode, 8) if self.socket_mode else (0o666 if self.allow else 0o600)

    def rules(self, realm: str) -> tuple[AllowRule, ...]:
        """The allow rules, with targets of `realm` where none is named."""
        return _rules_of(self.allow, realm)

    def worker_terms(self, realm: str) -> WorkerTerms:
        """Who may take a login for a worker, with targets of `realm` where none is named."""
        return WorkerTerms(rules=_rules_of(self.workers, realm), lifetime_s=self.worker_lifetime_s)

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows of name, value and source for `config show --effective`."""
        rows = [(s.name, _shown(getattr(self, s.name)), self.sources[s.name]) for s in SETTINGS]
        for what, rules in (("allow", self.allow), ("workers", self.workers)):
            for kind, number, names in rules:
                rows.append((f"{what} {kind} {number}", "every target" if names is None else ", ".join(names), "file"))
        if self.workers:
            rows.append(("workers lifetime_s", str(self.worker_lifetime_s), "file"))
        sections = self.forward_auth
        return rows + [
            (f"forward_auth {one.place}", f"{one.dialect}, {', '.join(one.origins)}", "file") for one in sections
        ]


def load_config(
    path: str | None, environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None
) -> DaemonConfig:
    """The configuration from `path` (None: no file), `environ` and `flags`, later ones winning.

    Raises Misconfigured `config-invalid` or `file-unreadable`; the detail names the place and the key.
    """
    document = {} if path is None else _read(path)
    given: dict[str, tuple[Any, str]] = {}
    for key, value in document.items():
        if key not in _SECTIONS:
            given[key] = (value, f"{path}: {key}")
    for name, text in environ.items():
        if name.startswith(_ENVIRONMENT) and name not in _OTHER_VARIABLES:
            key = name.removeprefix(_ENVIRONMENT).lower()
            given[key] = (text, name)
    for key, flag in (flags or {}).items():
        if flag is not None:
            given[key] = (flag, "--" + key.replace("_", "-"))
    for key, (_, source) in given.items():
        if key not in _BY_NAME:
            raise Misconfigured("config-invalid", f"{source}: there is no such setting")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        value, source = given.get(setting.name, (setting.default, "default"))
        try:
            values[setting.name] = setting.default if source == "default" else setting.parse(value)
        except ValueError as error:
            raise Misconfigured("config-invalid", f"{source}: {error}") from None
        except Misconfigured as error:
            raise Misconfigured("config-invalid", f"{source}: {error.detail}") from None
        sources[setting.name] = source
    sections = read_forward_auth(document, path)
    workers, lifetime_s = _workers(document, path)
    config = DaemonConfig(
        **values,
        allow=_allow(document.get("allow", []), f"{path}: allow"),
        workers=workers,
        worker_lifetime_s=lifetime_s,
        forward_auth=sections,
        sources=sources,
    )
    _check_whole(config)
    return config


def _check_whole(config: DaemonConfig) -> None:
    for name in ("keytab", "socket"):
        if not getattr(config, name):
            raise Misconfigured("config-invalid", f"{config.sources[name]}: {name} may not be empty")
    if config.login and config.sources["keytab"] != "default":
        where = config.sources["login"]
        raise Misconfigured("config-invalid", f"{where}: a daemon has a key file or a login file, not both")
    if config.login and config.cache_file:
        where = config.sources["cache_file"]
        raise Misconfigured("config-invalid", f"{where}: without a key file there is nothing to seal tickets with")
    if not config.kdcs:
        raise Misconfigured("config-invalid", f"{config.sources['kdcs']}: kdcs names no KDC")
    if config.socket == config.http_socket:
        raise Misconfigured("config-invalid", f"{config.sources['http_socket']}: the same path as socket")
    for section in config.forward_auth:
        if section.place in (config.socket, config.http_socket):
            raise Misconfigured("config-invalid", f"forward_auth: {section.place} is one of the daemon's other sockets")


def _read(path: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number or a nest without end
        raise Misconfigured("config-invalid", f"{path}: {error}") from None
    if document.get("version") != VERSION or isinstance(document.get("version"), bool):
        raise Misconfigured("config-invalid", f"{path}: version: expected version = {VERSION}")
    return document


def _workers(document: Mapping[str, Any], path: str | None) -> tuple[_Rows, int]:
    section = document.get("workers", {})
    where = f"{path}: workers"
    if not isinstance(section, dict) or set(section) - {"lifetime_s", "allow"}:
        raise Misconfigured("config-invalid", f"{where}: expected lifetime_s and sections [[workers.allow]]")
    lifetime_s = section.get("lifetime_s", _WORKER_S)
    if type(lifetime_s) is not int or not 1 <= lifetime_s <= _MOST_WORKER_S:
        raise Misconfigured("config-invalid", f"{where}: lifetime_s: expected whole seconds from 1 to {_MOST_WORKER_S}")
    return _allow(section.get("allow", []), f"{where}.allow"), lifetime_s


def _allow(rows: Any, place: str) -> _Rows:
    if not isinstance(rows, list) or len(rows) > _MOST_RULES or not all(isinstance(row, dict) for row in rows):
        name = place.rpartition(" ")[2]
        raise Misconfigured("config-invalid", f"{place}: expected up to {_MOST_RULES} sections [[{name}]]")
    rules: list[tuple[str, int, tuple[str, ...] | None]] = []
    for at, row in enumerate(rows, 1):
        where = f"{place} rule {at}"
        kinds = [kind for kind in ("uid", "gid") if kind in row]
        if len(kinds) != 1 or set(row) - {"uid", "gid", "targets"}:
            raise Misconfigured("config-invalid", f"{where}: expected one of uid and gid, and targets")
        number, targets = row[kinds[0]], row.get("targets")
        if type(number) is not int or not 0 <= number < 2**32:
            raise Misconfigured("config-invalid", f"{where}: {kinds[0]}: expected a number")
        if targets == "all":
            rules.append((kinds[0], number, None))
        elif isinstance(targets, list) and targets and all(isinstance(name, str) for name in targets):
            rules.append((kinds[0], number, tuple(_checked(name, where) for name in targets)))
        else:
            raise Misconfigured("config-invalid", f'{where}: targets: expected a list of names, or "all"')
    return tuple(rules)


def _rules_of(rows: _Rows, realm: str) -> tuple[AllowRule, ...]:
    made = []
    for kind, number, names in rows:
        targets = None if names is None else frozenset(_principal(name, realm) for name in names)
        made.append(AllowRule(**{kind: number}, targets=targets))
    return tuple(made)


def _checked(name: str, where: str) -> str:
    try:
        _principal(name, "any")
    except Misconfigured as error:
        raise Misconfigured("config-invalid", f"{where}: targets: {error.detail}") from None
    return name


def _principal(text: str, realm: str) -> Principal:
    return Principal.parse(text) if "@" in text else Principal(realm, check_name(text, "target"))


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
