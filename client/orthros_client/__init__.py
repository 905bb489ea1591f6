"""Tickets for services: ask the local daemon for credentials, and verify what callers present.

Imports nothing before it is used: a service pays for what it touches, and needs neither trio nor anyio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orthros_client.credentials.credential_file import load_credentials, save_credentials
    from orthros_client.credentials.credentials import Confirmed, Credentials, PendingCall
    from orthros_client.credentials.discharger import Attested, Discharger, Question
    from orthros_client.credentials.discharging import DischargeRefused, Discharges
    from orthros_client.credentials.narrowing import Limits
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
    from orthros_client.local.aio import AsyncClient
    from orthros_client.local.client import Client, Token
    from orthros_client.verifier import ChainRule, VerifiedCaller, Verifier

__all__ = [
    "AsyncClient",
    "Attested",
    "ChainRule",
    "Client",
    "Confirmed",
    "Credentials",
    "DischargeRefused",
    "Discharger",
    "Discharges",
    "Limits",
    "LocalMisuse",
    "Malformed",
    "MaybeExecuted",
    "Misconfigured",
    "OrthrosError",
    "PeerMisbehaved",
    "PendingCall",
    "Question",
    "Refused",
    "TargetRefusal",
    "TicketRefused",
    "TicketUnavailable",
    "Token",
    "Unavailable",
    "VerifiedCaller",
    "Verifier",
    "load_credentials",
    "save_credentials",
]

_HOMES = {
    "AsyncClient": "local.aio",
    "Client": "local.client",
    "Token": "local.client",
    "Attested": "credentials.discharger",
    "Confirmed": "credentials.credentials",
    "Credentials": "credentials.credentials",
    "DischargeRefused": "credentials.discharging",
    "Discharger": "credentials.discharger",
    "Discharges": "credentials.discharging",
    "Limits": "credentials.narrowing",
    "PendingCall": "credentials.credentials",
    "Question": "credentials.discharger",
    "ChainRule": "verifier",
    "VerifiedCaller": "verifier",
    "Verifier": "verifier",
    "load_credentials": "credentials.credential_file",
    "save_credentials": "credentials.credential_file",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
