"""The daemon's settings as a table: name, kind, default, meaning. Help, flags and documentation come from it.

Parses values; knows neither files nor the environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from orthros_client.daemon.kdc.pool import KdcAddress

__all__ = ["SETTINGS", "Setting"]

_MOST_KDCS: Final = 64
_MOST_SECONDS: Final = 86_400


@frozen
class Setting:
    """One setting. `parse` takes the value from TOML, or the text from environment and flags; raises ValueError."""

    name: str
    parse: Callable[[Any], Any]
    default: Any
    meaning: str


def _path(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value or (value and not value.startswith("/")):
        raise ValueError("expected an absolute path, or an empty string for none")
    return value


def _addresses(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("expected a list of tcp://host:port or unix:///path")
    addresses = tuple(str(KdcAddress.parse(item.strip())) for item in items if item.strip())
    if len(addresses) > _MOST_KDCS or len(set(addresses)) != len(addresses):
        raise ValueError(f"expected at most {_MOST_KDCS} addresses, each once")
    return addresses


def _mode(value: Any) -> str:
    if not isinstance(value, str) or (value and not re.fullmatch(r"0[0-7]{3}", value)):
        raise ValueError('expected an octal mode as text, such as "0660", or an empty string')
    return value


def _seconds(low: float, high: float = _MOST_SECONDS) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise ValueError(f"expected a number of seconds from {low:g} to {high:g}")
        return number

    return parse


def _count(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return parse


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return str(value)

    return parse


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("keytab", _path, "/etc/orthros/host.keytab", "key file of this host's principal; its realm is the realm"),
    Setting(
        "login",
        _path,
        "",
        "login file of a worker (`orthros worker-login`), in the place of a key file; re-read by itself",
    ),
    Setting("kdcs", _addresses, (), "KDCs as tcp://host:port or unix:///path; the last good one is asked first"),
    Setting("socket", _path, "/run/orthros/daemon.sock", "Unix socket for the library and the `orthros` command"),
    Setting("http_socket", _path, "", "Unix socket for HTTP/1.1; empty for none"),
    Setting("socket_mode", _mode, "", "mode of both sockets; empty: 0600, or 0666 when there are allow rules"),
    Setting("cache_file", _path, "", "file that keeps tickets over a restart, sealed under the key file's root"),
    Setting("request_timeout_s", _seconds(0.1, 300), 10.0, "longest wait of a local caller for the KDC"),
    Setting("kdc_timeout_s", _seconds(0.1, 60), 5.0, "longest wait for one KDC"),
    Setting("kdc_stagger_s", _seconds(0.01, 10), 0.25, "pause before the next KDC is asked as well"),
    Setting("backoff_first_s", _seconds(0.05, 60), 0.5, "pause after the first failure of an exchange with the KDC"),
    Setting("backoff_most_s", _seconds(1, 3600), 30.0, "longest pause between failing exchanges"),
    Setting("refusal_first_s", _seconds(0.05, 60), 2.0, "how long the first refusal of a target is remembered"),
    Setting("refusal_most_s", _seconds(1, 3600), 60.0, "how long a refusal is remembered at most"),
    Setting(
        "renew_idle_s", _seconds(60), 7200.0, "tickets unused for so long, or for two of their lives, are not renewed"
    ),
    Setting("cache_entries", _count(16, 4096), 4096, "tickets and tokens held at most"),
    Setting("behalf_entries", _count(16, 4096), 1024, "tickets on behalf of callers held at most, beside the others"),
    Setting("idle_connection_s", _seconds(1), 300.0, "a silent local connection is closed after this"),
    Setting("connections", _count(1, 4096), 256, "local connections at once, on each socket"),
    Setting("drain_s", _seconds(0, 300), 5.0, "at SIGTERM, how long running requests may take"),
    Setting("log_format", _one_of("text", "json"), "text", "form of the log on stderr"),
)
