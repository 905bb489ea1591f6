"""Whose authority `orthros call` uses: the daemon's own, in another's name if told to, or that of a credentials file.

Knows no HTTP; the daemon and the file say what may be had.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from orthros_client.credentials.credential_file import load_credentials
from orthros_client.credentials.credentials import Credentials
from orthros_client.errors import LocalMisuse, Misconfigured
from orthros_client.http.client.sources import CredentialSource
from orthros_client.local.client import Client
from orthros_client.local.conversation import Token, parse_target

__all__ = ["add_authority_options", "dischargers_in", "source_of"]


def add_authority_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say whose authority the call has."""
    whose = parser.add_argument_group("on whose authority")
    whose.add_argument("--user", metavar="NAME", help="name the user of this call; needs the scope assert-user")
    whose.add_argument(
        "--behalf", metavar="SUBJECT", help="a ticket in SUBJECT's name, where a rule lets you assert it"
    )
    whose.add_argument("--delegable", action="store_true", help="let the target call others on your behalf")
    whose.add_argument(
        "--credentials", metavar="FILE", help="use narrowed credentials, as `orthros narrow` writes them"
    )
    whose.add_argument(
        "--discharger",
        action="append",
        default=[],
        metavar="NAME=ORIGIN",
        help="collect discharges of NAME there (repeatable)",
    )


@frozen
class _OfFile:
    """The credentials of a file for their target; the daemon for everybody else, such as dischargers."""

    client: Client
    held: Credentials = field(repr=False)

    def credentials(self, target: str, scopes: Iterable[str] | None = None, **options: Any) -> Credentials:
        realm, name = parse_target(target)
        if (realm or self.held.target.realm, name) == (self.held.target.realm, self.held.target.name):
            return self.held
        return self.client.credentials(target, scopes, **options)

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        return self.client.token(target, scopes)


def source_of(arguments: argparse.Namespace, client: Client, target: str) -> CredentialSource:
    """Where credentials for `target` come from.

    Raises LocalMisuse for options that contradict each other, Misconfigured for a file of another target, and what
    `load_credentials` raises.
    """
    if arguments.credentials is None:
        return client
    for name in ("behalf", "delegable", "bearer", "scope"):
        if getattr(arguments, name):
            raise LocalMisuse("value-invalid", f"--credentials FILE says what it is good for: leave --{name} out")
    held = load_credentials(arguments.credentials)
    realm, name = parse_target(target)
    if name != held.target.name or realm not in (None, held.target.realm):
        raise Misconfigured("config-invalid", f"{arguments.credentials} is for {held.target}, not for {target}")
    return _OfFile(client, held)


def dischargers_in(arguments: argparse.Namespace) -> Mapping[str, str]:
    """Name -> origin. Raises LocalMisuse for an option of another form, or two for one name."""
    found: dict[str, str] = {}
    for text in arguments.discharger:
        name, equals, origin = text.partition("=")
        if not (name and equals and origin) or name in found:
            raise LocalMisuse("value-invalid", f"--discharger {text[:80]!r}: write NAME=ORIGIN, once for each name")
        found[name] = origin
    return found
