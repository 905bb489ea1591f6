"""Caveats, times and names in words, fit for any terminal: what others wrote cannot move its cursor.

Pure. Knows no keys, and shows neither salts nor roots.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from orthros_protocol.errors import OrthrosError
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    Caveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
    parse_caveat,
)
from orthros_protocol.tickets.ticket import BY_EVIDENCE, CROSS_REALM_TGT, SERVICE_TICKET, TGT, Subject

__all__ = ["TICKET_TYPES", "caveat_words", "caveats_words", "date_words", "error_words", "plain", "subject_words"]

TICKET_TYPES: Final = {
    TGT: "ticket-granting ticket, for the KDC",
    SERVICE_TICKET: "service ticket",
    CROSS_REALM_TGT: "ticket-granting ticket for another realm",
}
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999
_MOST_CHARS: Final = 400


def plain(text: str) -> str:
    """`text` in printable ASCII, cut after 400 characters."""
    shown = ascii(text[:_MOST_CHARS])[1:-1]
    return shown if len(text) <= _MOST_CHARS else f"{shown}... ({len(text)} characters)"


def date_words(second: int) -> str:
    """`2027-01-15 08:00:00 UTC`."""
    if not 0 <= second <= _LAST_SECOND:
        return f"second {second}, beyond any calendar"
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def error_words(error: OrthrosError) -> str:
    """Cause and detail in one sentence."""
    return f"{error.cause} ({plain(error.detail)})" if error.detail else error.cause


def subject_words(subject: Subject) -> str:
    """In whose name, and who says so."""
    how = "proven by evidence" if subject.how == BY_EVIDENCE else "asserted by the client, under a rule"
    return f"{subject.principal}, {how}"


def caveats_words(blob: bytes) -> tuple[str, ...]:
    """Each caveat of a `caveats` field. Raises Malformed for a field that is none."""
    return tuple(map(caveat_words, split_caveats(blob)))


def caveat_words(encoded: bytes) -> str:
    """One caveat; what cannot be read is said to be so."""
    try:
        return _words(parse_caveat(encoded))
    except OrthrosError as error:
        return f"a caveat that this version cannot read ({plain(error.detail)}): a service refuses it"


def _words(caveat: Caveat) -> str:
    match caveat:
        case ExpiresCaveat():
            return f"only before {date_words(caveat.at)}"
        case ScopesCaveat():
            return f"only the scopes {' '.join(caveat.scopes)}" if caveat.scopes else "no scope: it authenticates alone"
        case MethodsCaveat():
            return f"only the HTTP methods {' '.join(caveat.methods)}" if caveat.methods else "no HTTP method"
        case PathCaveat():
            return f"only HTTP paths at or below {plain(caveat.prefix)}"
        case PeerCaveat():
            return f"only from {' '.join(caveat.networks)}" if caveat.networks else "from no address"
        case ChannelCaveat():
            return "only over the channel (a certificate, for example) with a given digest"
        case TargetsCaveat():
            return f"only tickets for {' '.join(map(str, caveat.targets))}" if caveat.targets else "tickets for nobody"
        case ThirdPartyCaveat():
            return f"only with a discharge of {caveat.discharger}"
        case AppCaveat():
            return f"{caveat.name}, which only the service understands: {_payload_words(caveat.payload)}"
        case _:
            raise TypeError(f"no words for {type(caveat).__name__}")


def _payload_words(payload: bytes) -> str:
    try:
        text = payload.decode("ascii")
    except UnicodeDecodeError:
        return f"{len(payload)} bytes"
    return plain(text) if text.isprintable() and text else f"{len(payload)} bytes"
