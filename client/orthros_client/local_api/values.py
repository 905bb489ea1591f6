"""What is asked of the daemon and what it answers, as frozen values.

Knows neither encoding nor sockets; `messages.py` turns these into bytes and back.
"""

from __future__ import annotations

from enum import IntEnum

from attrs import field, frozen

from orthros_client.errors import Failure
from orthros_protocol import Note, Principal

__all__ = [
    "Entry", "Grant", "KdcLine", "Listing", "Op", "Pong", "Reply", "Request", "Status", "WantRequest",
]  # fmt: skip


class Op(IntEnum):
    """What is asked."""

    PING = 1
    TICKET = 2
    TOKEN = 3
    LIST = 4
    STATUS = 5


@frozen(kw_only=True)
class WantRequest:
    """Ticket or token wanted. `realm` None is the daemon's own; `timeout_ms` is how long the caller waits."""

    op: Op
    target: str
    realm: str | None = None
    scopes: tuple[str, ...] | None = None
    ttl_s: int = 0
    flags: int = 0
    timeout_ms: int = 10_000


@frozen(kw_only=True)
class Request:
    """Ping, list (`argument`: first entry) or status (`argument` 1: ask the KDC whether it answers)."""

    op: Op
    argument: int = 0


@frozen(kw_only=True)
class Pong:
    """The daemon lives."""


@frozen(kw_only=True)
class Grant:
    """A ticket with its tail T0, or a JWT with `tail` None.

    `remaining_ms` is its life left, `ttl_s` its whole life, `fresh_ms` how long asking again is pointless,
    `offset_ms` how far the realm's clock is ahead of this host's.
    """

    target: Principal
    target_uid: int
    client: Principal
    credential: bytes = field(repr=False)
    tail: bytes | None = field(repr=False)
    remaining_ms: int
    ttl_s: int
    flags: int
    kvno: int
    scopes: tuple[str, ...]
    notes: tuple[Note, ...]
    fresh_ms: int
    offset_ms: int


@frozen(kw_only=True)
class Entry:
    """One cached ticket or token, without anything secret."""

    kind: int
    target: Principal
    asked: tuple[str, ...] | None
    scopes: tuple[str, ...]
    remaining_ms: int
    ttl_s: int
    flags: int
    kvno: int
    renew_ms: int


@frozen(kw_only=True)
class Listing:
    """One page; `following` is the argument of the next, or None."""

    entries: tuple[Entry, ...]
    following: int | None


@frozen
class KdcLine:
    """One KDC as the daemon sees it; `good_age_s` is how long ago it answered, None for never."""

    address: str
    good_age_s: int | None
    failure: str | None


@frozen(kw_only=True)
class Status:
    """How the daemon does. `code` None means that it can serve a fresh ticket."""

    client: Principal
    uid: int
    kvno: int
    newest_kvno: int
    code: str | None
    detail: str | None
    tgt_remaining_s: int
    cached: int
    offset_ms: int
    kdcs: tuple[KdcLine, ...]
    uptime_s: int
    version: str

    @property
    def ready(self) -> bool:
        """Whether a fresh ticket can be served."""
        return self.code is None


Reply = Pong | Grant | Listing | Status | Failure
