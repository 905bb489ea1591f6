"""What is asked of the daemon and what it answers, as frozen values.

Knows neither encoding nor sockets; `messages.py` turns these into bytes and back.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from attrs import field, frozen

from orthros_client.errors import Failure
from orthros_protocol import Behalf, Credential, Principal
from orthros_protocol.keys.role_keys import not_exported

__all__ = [
    "REPORTED",
    "AnyRequest",
    "CacheEntry",
    "CredentialGrant",
    "ForgetRequest",
    "Forgotten",
    "KdcLine",
    "Listing",
    "LoginGrant",
    "LoginRequest",
    "Op",
    "Pong",
    "ReceiveRequest",
    "RenewRequest",
    "Renewal",
    "Renewed",
    "Reply",
    "ReportOutcome",
    "ReportRequest",
    "Reported",
    "Request",
    "Status",
    "WantRequest",
]


class Op(IntEnum):
    """What is asked."""

    PING = 1
    TICKET = 2
    TOKEN = 3
    LIST = 4
    STATUS = 5
    RECEIVE = 6
    LOGIN = 7
    REPORT = 8
    RENEW = 9
    FORGET = 10


REPORTED: Final = frozenset({"insufficient-scope", "clock-skew", "ticket-times-invalid", "ticket-expired", "revoked"})
"""The codes of refusals that another ticket may mend."""


class ReportOutcome(IntEnum):
    """What the daemon made of a report."""

    IGNORED = 0
    """It never gave this ticket to this user, or holds it no more."""
    RENEWED = 1
    """It holds another ticket, which is worth a try."""
    UNCHANGED = 2
    """The KDC has been asked, and grants the same scopes or fewer."""
    LATER = 3
    """It will ask the KDC, or is asking."""
    FAILED = 4
    """The KDC gave no other ticket, or did not answer."""


def _lineage_of(behalf: Behalf | None) -> bytes | None:
    return None if behalf is None else behalf.lineage


@frozen(kw_only=True)
class WantRequest:
    """Ticket or token wanted. `realm` None is the daemon's own; `timeout_ms` is how long the caller waits.

    `behalf` is for whom, None in the daemon's own name; `subject` instead asserts a name of the daemon's own realm.
    `limits` is the `caveats` field that the KDC shall write into the ticket; a token has none.
    """

    op: Op
    target: str
    realm: str | None = None
    scopes: tuple[str, ...] | None = None
    ttl_s: int = 0
    flags: int = 0
    timeout_ms: int = 10_000
    behalf: Behalf | None = field(default=None, repr=False, eq=_lineage_of)
    subject: str | None = None
    limits: bytes = field(default=b"", repr=False)

    __getstate__ = not_exported


@frozen(kw_only=True)
class ReceiveRequest:
    """A hand-over to the daemon's principal, to be opened."""

    op: Op = field(default=Op.RECEIVE, init=False)
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class LoginRequest:
    """A narrowed login for a worker: for these targets (realm None: the daemon's own, and name) and scopes (None: all).

    `lifetime_s` 0 means as long as the configuration allows.
    """

    op: Op = field(default=Op.LOGIN, init=False)
    targets: tuple[tuple[str | None, str], ...]
    scopes: tuple[str, ...] | None = None
    lifetime_s: int = 0
    timeout_ms: int = 10_000


@frozen(kw_only=True)
class ReportRequest:
    """A target refused a ticket under MAC.

    `ticket` is the ticket's SHA-256, `code` one of REPORTED, `time` the target's Unix time in milliseconds.
    """

    op: Op = field(default=Op.REPORT, init=False)
    target: Principal
    ticket: bytes
    code: str
    time: int


@frozen(kw_only=True)
class RenewRequest:
    """Ask the KDC again for everything that is held for a target in the own name. `realm` None is the daemon's own."""

    op: Op = field(default=Op.RENEW, init=False)
    target: str
    realm: str | None = None
    timeout_ms: int = 10_000


@frozen(kw_only=True)
class ForgetRequest:
    """Drop what is held for a target; `target` None: for every target, also on behalf of others."""

    op: Op = field(default=Op.FORGET, init=False)
    target: str | None
    realm: str | None = None


@frozen(kw_only=True)
class Request:
    """Ping, list (`argument`: first entry) or status (`argument` 1: ask the KDC whether it answers)."""

    op: Op
    argument: int = 0


@frozen(kw_only=True)
class Pong:
    """The daemon lives."""


@frozen(kw_only=True)
class CredentialGrant:
    """A ticket or a JWT, whose life counts from the answer.

    `fresh_ms` is how long asking again is pointless, `offset_ms` how far the realm's clock is ahead of this host's.
    Where it was handed over by `sender`, caveats were added to it and the tail is the one behind them; else it is T0.
    """

    credential: Credential
    fresh_ms: int
    offset_ms: int
    sender: Principal | None = None


@frozen(kw_only=True)
class LoginGrant:
    """The content of a login file for a worker: secret."""

    content: bytes = field(repr=False)

    __getstate__ = not_exported


@frozen(kw_only=True)
class CacheEntry:
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

    entries: tuple[CacheEntry, ...]
    following: int | None


@frozen(kw_only=True)
class Reported:
    """What became of a report. `retry_s`: the KDC is asked in so many seconds; a report before that changes nothing."""

    outcome: ReportOutcome
    retry_s: int = 0


@frozen
class Renewal:
    """What is held now for one question, and why it was not replaced; `failure` None: it was."""

    entry: CacheEntry
    failure: Failure | None = None


@frozen(kw_only=True)
class Renewed:
    """What became of the tickets and tokens for one target; `others` were asked for as well and are not listed."""

    renewals: tuple[Renewal, ...]
    others: int = 0


@frozen(kw_only=True)
class Forgotten:
    """How many tickets and tokens were dropped, and how many stay because other local users have them as well."""

    dropped: int
    kept: int


@frozen
class KdcLine:
    """One KDC as the daemon sees it; `good_age_s` is how long ago it answered, None for never."""

    address: str
    good_age_s: int | None
    failure: str | None


@frozen(kw_only=True)
class Status:
    """How the daemon does. `code` None means that it can serve a fresh ticket.

    `login_file` is set in a worker's daemon: it cannot log in, and lives off what others write into that file.
    """

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
    login_file: str | None = None

    @property
    def ready(self) -> bool:
        """Whether a fresh ticket can be served."""
        return self.code is None


AnyRequest = Request | WantRequest | ReceiveRequest | LoginRequest | ReportRequest | RenewRequest | ForgetRequest
Reply = Pong | CredentialGrant | LoginGrant | Listing | Status | Reported | Renewed | Forgotten | Failure
