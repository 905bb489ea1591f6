"""What is asked of the daemon and what it answers: each body of a message as a class.

Knows neither sockets nor what is around a body; `messages.py` does.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final

from attrs import field

from orthros_client.errors import Failure
from orthros_client.local.api.failures import MOST_TEXT, FailureItems, plain_words
from orthros_protocol.primitives.limits import MAX_EXTENSION_BYTES, MAX_FRAME_BYTES, MAX_SCOPES, MAX_U32
from orthros_protocol.primitives.names import Principal, is_name, is_scope
from orthros_protocol.primitives.schema import (
    Message,
    Record,
    adapted,
    array,
    binary,
    integer,
    message,
    nested,
    offset,
    optional,
    principal,
    record_of,
    several,
    spread,
    text,
    text_set,
)
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.evidence import Behalf

__all__ = [
    "LIST_PAGE",
    "MAX_LIMITS_BYTES",
    "MOST_LOGIN_TARGETS",
    "RENEWALS_PAGE",
    "REPORTED",
    "AnyRequest",
    "CacheEntry",
    "CredentialGrant",
    "ForgetRequest",
    "Forgotten",
    "KdcLine",
    "ListRequest",
    "Listing",
    "LoginGrant",
    "LoginRequest",
    "LoginTarget",
    "Op",
    "Ping",
    "PlainReply",
    "PlainRequest",
    "Pong",
    "ReceiveRequest",
    "RenewRequest",
    "Renewal",
    "Renewed",
    "Reply",
    "ReportOutcome",
    "ReportRequest",
    "Reported",
    "Status",
    "StatusRequest",
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
LIST_PAGE: Final = 64
RENEWALS_PAGE: Final = 64
MOST_LOGIN_TARGETS: Final = 32
MAX_LIMITS_BYTES: Final = MAX_EXTENSION_BYTES - 6
"""What the KDC is asked to write, as one field: the rest of the want's extensions is the entry around it."""


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


def _is_reported(code: str) -> bool:
    return code in REPORTED


@message("no arguments", eq=True)
class Ping(Message):
    """Whether the daemon lives."""

    op: ClassVar[Op] = Op.PING


@message("want", eq=True)
class WantRequest(Message):
    """Ticket or token wanted. `realm` None is the daemon's own; `timeout_ms` is how long the caller waits.

    `behalf` is for whom, None in the daemon's own name; `subject` instead asserts a name of the daemon's own realm.
    `limits` is the `caveats` field that the KDC shall write into the ticket; a token has none. These three and `op`
    stand beside the body of the request.
    """

    realm: str | None = optional(text(is_name), default=None)
    target: str = text(is_name)
    scopes: tuple[str, ...] | None = optional(text_set(is_scope, MAX_SCOPES), default=None)
    ttl_s: int = integer(MAX_U32, default=0)
    flags: int = integer(MAX_U32, default=0)
    timeout_ms: int = integer(MAX_U32, default=10_000)
    op: Op = field()
    behalf: Behalf | None = field(default=None, repr=False, eq=_lineage_of)
    subject: str | None = field(default=None)
    limits: bytes = field(default=b"", repr=False)

    __getstate__ = not_exported


@message("list", eq=True)
class ListRequest(Message):
    """What is held, from the entry `first` on."""

    op: ClassVar[Op] = Op.LIST
    first: int = integer(MAX_U32, default=0)


@message("status request", eq=True)
class StatusRequest(Message):
    """How the daemon does; `probe` 1: it asks the KDC whether it answers."""

    op: ClassVar[Op] = Op.STATUS
    probe: int = integer(1, default=0)


@message("hand-over to open", eq=True)
class ReceiveRequest(Message):
    """A hand-over to the daemon's principal, to be opened."""

    op: ClassVar[Op] = Op.RECEIVE
    hand_over: bytes = binary(16, MAX_FRAME_BYTES, repr=False)


@message("target of a login", eq=True, kw_only=False)
class LoginTarget(Record):
    """What a worker may call; `realm` None: of the daemon's own realm."""

    realm: str | None = optional(text(is_name))
    name: str = text(is_name)


@message("login request", eq=True)
class LoginRequest(Message):
    """A narrowed login for a worker: for these targets and scopes (None: all).

    `lifetime_s` 0 means as long as the configuration allows.
    """

    op: ClassVar[Op] = Op.LOGIN
    targets: tuple[LoginTarget, ...] = array(record_of(LoginTarget), MOST_LOGIN_TARGETS, 1)
    scopes: tuple[str, ...] | None = optional(text_set(is_scope, MAX_SCOPES), default=None)
    lifetime_s: int = integer(MAX_U32, default=0)
    timeout_ms: int = integer(MAX_U32, default=10_000)


@message("report", eq=True)
class ReportRequest(Message):
    """A target refused a ticket under MAC.

    `ticket` is the ticket's SHA-256, `code` one of REPORTED, `time` the target's Unix time in milliseconds.
    """

    op: ClassVar[Op] = Op.REPORT
    target: Principal = principal()
    ticket: bytes = binary(32)
    code: str = text(_is_reported)
    time: int = integer()


@message("renewal request", eq=True)
class RenewRequest(Message):
    """Ask the KDC again for everything that is held for a target in the own name. `realm` None is the daemon's own."""

    op: ClassVar[Op] = Op.RENEW
    realm: str | None = optional(text(is_name), default=None)
    target: str = text(is_name)
    timeout_ms: int = integer(MAX_U32, default=10_000)


@message("request to forget", eq=True)
class ForgetRequest(Message):
    """Drop what is held for a target; `target` None: for every target, also on behalf of others."""

    op: ClassVar[Op] = Op.FORGET
    realm: str | None = optional(text(is_name), default=None)
    target: str | None = optional(text(is_name))


@message("no answer", eq=True)
class Pong(Message):
    """The daemon lives."""


@message("grant", eq=True)
class CredentialGrant(Message):
    """A ticket or a JWT, whose life counts from the answer.

    `fresh_ms` is how long asking again is pointless, `offset_ms` how far the realm's clock is ahead of this host's.
    Where it was handed over by `sender`, caveats were added to it and the tail is the one behind them; else it is T0.
    """

    credential: Credential = spread(Credential, life=several(Life.left, left_ms=integer(), whole_s=integer()))
    fresh_ms: int = integer()
    offset_ms: int = offset()
    sender: Principal | None = optional(nested(principal()), default=None)


@message("login granted", eq=True)
class LoginGrant(Message):
    """The content of a login file for a worker: secret."""

    content: bytes = binary(0, MAX_FRAME_BYTES, repr=False)

    __getstate__ = not_exported


@message("entry", eq=True)
class CacheEntry(Record):
    """One cached ticket or token, without anything secret."""

    kind: int = integer(1)
    target: Principal = principal()
    asked: tuple[str, ...] | None = optional(text_set(is_scope, MAX_SCOPES))
    scopes: tuple[str, ...] = text_set(is_scope, MAX_SCOPES)
    remaining_ms: int = integer()
    ttl_s: int = integer(MAX_U32)
    flags: int = integer(MAX_U32)
    kvno: int = integer(MAX_U32)
    renew_ms: int = integer()


@message("listing", eq=True)
class Listing(Message):
    """One page; `following` is the first entry of the next, or None."""

    entries: tuple[CacheEntry, ...] = array(record_of(CacheEntry), LIST_PAGE)
    following: int | None = optional(integer(MAX_U32))


@message("report taken", eq=True)
class Reported(Message):
    """What became of a report. `retry_s`: the KDC is asked in so many seconds; a report before that changes nothing."""

    outcome: ReportOutcome = adapted(integer(max(ReportOutcome)), ReportOutcome, int)
    retry_s: int = integer(MAX_U32, default=0)


@message("renewal", eq=True, kw_only=False)
class Renewal(Record):
    """What is held now for one question, and why it was not replaced; `failed` None: it was."""

    entry: CacheEntry = record_of(CacheEntry)
    failed: FailureItems | None = optional(record_of(FailureItems), default=None)

    @property
    def failure(self) -> Failure | None:
        """Why it was not replaced."""
        return None if self.failed is None else self.failed.failure


@message("renewed", eq=True)
class Renewed(Message):
    """What became of the tickets and tokens for one target; `others` were asked for as well and are not listed."""

    renewals: tuple[Renewal, ...] = array(record_of(Renewal), RENEWALS_PAGE)
    others: int = integer(MAX_U32, default=0)


@message("forgotten", eq=True)
class Forgotten(Message):
    """How many tickets and tokens were dropped, and how many stay because other local users have them as well."""

    dropped: int = integer(MAX_U32)
    kept: int = integer(MAX_U32)


@message("KDC", eq=True, kw_only=False)
class KdcLine(Record):
    """One KDC as the daemon sees it; `good_age_s` is how long ago it answered, None for never."""

    address: str = text(str.isprintable, MOST_TEXT)
    good_age_s: int | None = optional(integer())
    failure: str | None = optional(text(str.isprintable, MOST_TEXT), converter=plain_words)


@message("status", eq=True)
class Status(Message):
    """How the daemon does. `code` None means that it can serve a fresh ticket.

    `login_file` is set in a worker's daemon: it cannot log in, and lives off what others write into that file.
    """

    client: Principal = principal()
    uid: int = integer()
    kvno: int = integer(MAX_U32)
    newest_kvno: int = integer(MAX_U32)
    code: str | None = optional(text(str.isprintable, MOST_TEXT), converter=plain_words)
    detail: str | None = optional(text(str.isprintable, MOST_TEXT), converter=plain_words)
    tgt_remaining_s: int = integer()
    cached: int = integer()
    offset_ms: int = offset()
    kdcs: tuple[KdcLine, ...] = array(record_of(KdcLine), 64)
    uptime_s: int = integer()
    version: str = text(str.isprintable, MOST_TEXT)
    login_file: str | None = optional(text(str.isprintable, MOST_TEXT), default=None, converter=plain_words)

    @property
    def ready(self) -> bool:
        """Whether a fresh ticket can be served."""
        return self.code is None


PlainRequest = (
    Ping | ListRequest | StatusRequest | ReceiveRequest | LoginRequest | ReportRequest | RenewRequest | ForgetRequest
)
"""A request that its body says whole."""
AnyRequest = WantRequest | PlainRequest
PlainReply = Pong | CredentialGrant | LoginGrant | Listing | Status | Reported | Renewed | Forgotten
Reply = PlainReply | Failure
