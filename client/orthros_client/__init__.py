"""Tickets for services: ask the local daemon for credentials, and verify what callers present.

Imports nothing before it is used: a service pays for what it touches, and needs neither trio nor anyio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orthros_client.aio import AsyncClient
    from orthros_client.client import Client, Token
    from orthros_client.credentials import Confirmed, Credentials, PendingCall
    from orthros_client.errors import (
        LocalMisuse,
        Malformed,
        MaybeExecuted,
        Misconfigured,
        OrthrosError,
        PeerMisbehaved,
        Refused,
        TargetRefusal,
        TicketRefused,
        TicketUnavailable,
        Unavailable,
    )
    from orthros_client.verifier import VerifiedCaller, Verifier

__all__ = [
    "AsyncClient",
    "Client",
    "Confirmed",
    "Credentials",
    "LocalMisuse",
    "Malformed",
    "MaybeExecuted",
    "Misconfigured",
    "OrthrosError",
    "PeerMisbehaved",
    "PendingCall",
    "Refused",
    "TargetRefusal",
    "TicketRefused",
    "TicketUnavailable",
    "Token",
    "Unavailable",
    "VerifiedCaller",
    "Verifier",
]

_HOMES = {
    "AsyncClient": "aio",
    "Client": "client",
    "Token": "client",
    "Confirmed": "credentials",
    "Credentials": "credentials",
    "PendingCall": "credentials",
    "VerifiedCaller": "verifier",
    "Verifier": "verifier",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
