"""Cached tickets and failures as items of messages: what several replies of the local API carry.

Encodes and decodes. Knows no socket and no daemon.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_client.errors import FAMILIES, Failure
from orthros_client.local.api.values import CacheEntry
from orthros_client.reasons import DAEMON_BUSY, reason_named
from orthros_protocol import Principal, Reason, is_name, is_scope
from orthros_protocol.primitives.canonical import integer, nested, optional, text, text_set
from orthros_protocol.primitives.limits import MAX_SCOPES, MAX_U32

__all__ = [
    "ENTRY",
    "FAILURE",
    "FAILURE_ITEMS",
    "WORDS",
    "entry_items",
    "entry_of",
    "failure_items",
    "failure_of",
    "plain_words",
]

_MOST_TEXT: Final = 1000
_NAME: Final = text(is_name)
_SCOPES: Final = text_set(is_scope, MAX_SCOPES)
_U32: Final = integer(MAX_U32)
WORDS: Final = text(str.isprintable, _MOST_TEXT)
ENTRY: Final = nested(integer(1), _NAME, _NAME, optional(_SCOPES), _SCOPES, integer(), _U32, _U32, _U32, integer())
FAILURE_ITEMS: Final = (
    text(lambda family: family in FAMILIES),
    integer(0xFFFF),
    text(str.isprintable, 64),
    optional(WORDS),
    _U32,
    _U32,
    optional(text(str.isprintable, 32)),
)
FAILURE: Final = nested(*FAILURE_ITEMS)


def plain_words(words: str) -> str | None:
    """Text that the encoding allows: errors of the operating system may speak any language."""
    plain = words.encode("ascii", "replace").decode("ascii")
    return "".join(char if char.isprintable() else "?" for char in plain)[:_MOST_TEXT] or None


def entry_items(entry: CacheEntry) -> list[Any]:
    """The items of an entry."""
    asked = None if entry.asked is None else list(entry.asked)
    return [
        entry.kind,
        entry.target.realm,
        entry.target.name,
        asked,
        list(entry.scopes),
        entry.remaining_ms,
        entry.ttl_s,
        entry.flags,
        entry.kvno,
        entry.renew_ms,
    ]


def entry_of(row: list[Any]) -> CacheEntry:
    """The entry of which these are the items."""
    kind, realm, target, asked, scopes, remaining_ms, ttl_s, flags, kvno, renew_ms = row
    return CacheEntry(
        kind=kind,
        target=Principal(realm, target),
        asked=None if asked is None else tuple(asked),
        scopes=tuple(scopes),
        remaining_ms=remaining_ms,
        ttl_s=ttl_s,
        flags=flags,
        kvno=kvno,
        renew_ms=renew_ms,
    )


def failure_items(failure: Failure) -> list[Any]:
    """The items of a failure."""
    return [
        failure.family,
        failure.reason.number,
        failure.reason.name,
        plain_words(failure.detail),
        min(failure.retry_s, MAX_U32),
        min(failure.remaining_s, MAX_U32),
        failure.ref or None,
    ]


def failure_of(items: list[Any]) -> Failure:
    """The failure of which these are the items."""
    family, number, name, detail, retry_s, remaining_s, ref = items
    reason = DAEMON_BUSY if (number, name) == (DAEMON_BUSY.number, DAEMON_BUSY.name) else reason_named(name)
    if reason is None:
        reason = Reason(
            number,
            name,
            "The daemon answered with a code that this version does not know.",
            "Upgrade this side, or look the code up in the daemon's documentation.",
        )
    return Failure(
        family=family, reason=reason, detail=detail or "", retry_s=retry_s, remaining_s=remaining_s, ref=ref or ""
    )
