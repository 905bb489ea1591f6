"""The closed set of audit events: one per decision, and one for each thing that changes decisions.

Values only; knows no file, and has no field that could hold a key. Ids and references are hex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from orthros_kdc.audit.event import ClientFacts, Event, Facts, SenderFacts, TgsFacts, bounded, hex_id
from orthros_protocol.tickets.notes import Note

__all__ = [
    "EVENTS",
    "AdminChanged",
    "AdminUndone",
    "AsIssued",
    "AsRefused",
    "AuditResumed",
    "ChangeUnrecorded",
    "ClientFacts",
    "ClockJumped",
    "ConfigReloaded",
    "Event",
    "Facts",
    "KdcStarted",
    "KdcStopped",
    "RealmApplied",
    "RequestRejected",
    "RequestReplayed",
    "SenderFacts",
    "Suppressed",
    "TgsFacts",
    "TgsIssued",
    "TgsRefused",
    "TokenIntrospected",
    "TokenIssued",
    "TokenRefused",
    "TokenRevoked",
]

_MOST_STRANGER_BYTES: Final = 64
_MOST_SUBJECT_BYTES: Final = 300


@frozen(kw_only=True)
class AsIssued(Event):
    """An initial ticket was issued: `service` is kdc/tgt, kdc/keys or kdc/admin, `kvno` of the key that logged in."""

    name = "as-issued"
    gives = True

    about: ClientFacts
    service: str
    ttl_s: int
    kvno: int = 0
    tid: str = hex_id()
    txn: str = hex_id()


@frozen(kw_only=True)
class AsRefused(Event):
    """A principal that proved itself was refused."""

    name = "as-refused"

    about: ClientFacts
    service: str
    code: str
    detail: str = bounded()
    ref: str = hex_id()


@frozen(kw_only=True)
class TgsIssued(Event):
    """One want was granted. `kind` is ticket or jwt, `tid` the ticket's id or the JWT's, `rules` the ids of the
    rules that it rests on, `notes` what was cut."""

    name = "tgs-issued"
    gives = True

    about: TgsFacts
    target: str
    kind: str
    scopes: tuple[str, ...]
    ttl_s: int
    rules: tuple[int, ...]
    kvno: int = 0
    notes: tuple[Note | Sequence[int | None], ...] = ()
    delegable: int = 0
    policy_seq: int = 0
    tid: str = hex_id()


@frozen(kw_only=True)
class TgsRefused(Event):
    """One want was refused, or, without a `target`, the request as a whole, or the `wants` at its end that were not
    attempted. Of refused evidence the facts say what it says."""

    name = "tgs-refused"

    about: TgsFacts
    code: str
    target: str = ""
    kind: str = ""
    scopes: tuple[str, ...] | None = None
    wants: int = 0
    detail: str = bounded()
    notes: tuple[Note | Sequence[int | None], ...] = ()
    ref: str = hex_id()


@frozen(kw_only=True)
class TokenIssued(Event):
    """A token was issued over HTTP. `grant` is the way in which it was asked for, `subject` in whose name if not the
    client's own, and `chain` whom an exchanged token came through before the client; `tid` is the `jti`, `txn` the
    transaction, which an exchange carries on; `dropped` counts the scopes that were asked for in vain."""

    name = "token-issued"
    gives = True

    about: ClientFacts
    target: str
    grant: str
    scopes: tuple[str, ...]
    ttl_s: int
    rules: tuple[int, ...]
    subject: str = ""
    chain: tuple[str, ...] = ()
    dropped: int = 0
    notes: tuple[Note | Sequence[int | None], ...] = ()
    delegable: int = 0
    policy_seq: int = 0
    tid: str = hex_id()
    txn: str = hex_id()


@frozen(kw_only=True)
class TokenRefused(Event):
    """A client that proved itself over HTTP was refused. `kind` is jwt when it asked for a token."""

    name = "token-refused"

    about: ClientFacts
    code: str
    grant: str = ""
    target: str = ""
    kind: str = ""
    subject: str = bounded(_MOST_SUBJECT_BYTES)
    scopes: tuple[str, ...] | None = None
    detail: str = bounded()
    ref: str = hex_id()


@frozen(kw_only=True)
class TokenIntrospected(Event):
    """A client asked about a token, or showed one for an exchange. `active` is what it was told, 0 or 1; `code` says
    why not."""

    name = "token-introspected"

    about: ClientFacts
    active: int
    code: str = ""
    detail: str = bounded()
    tid: str = hex_id()


@frozen(kw_only=True)
class TokenRevoked(Event):
    """A client gave a token back. With a `code`, nothing was revoked; the client was not told."""

    name = "token-revoked"
    gives = True

    about: ClientFacts
    code: str = ""
    detail: str = bounded()
    tid: str = hex_id()


@frozen(kw_only=True)
class RequestRejected(Event):
    """Bytes of an unproven sender were turned away; `ref` is all that it was told. `claimed` is unproven."""

    name = "request-rejected"

    about: SenderFacts
    code: str
    ref: str = hex_id()
    detail: str = bounded(_MOST_STRANGER_BYTES)
    claimed: str = bounded(_MOST_STRANGER_BYTES)


@frozen(kw_only=True)
class RequestReplayed(Event):
    """A proven request arrived for the second time: a retry of the network, or a copy."""

    name = "request-replayed"

    about: ClientFacts
    exchange: str = ""


@frozen(kw_only=True)
class Suppressed(Event):
    """So many events were not written one by one since `since`, in milliseconds: of the kind `of` and about one client
    or source, or of many. `codes` says how often each reason was among them, as `not-granted:17`. Each caller was given
    this `ref`."""

    name = "suppressed"

    count: int
    of: str = ""
    since: int = 0
    codes: tuple[str, ...] = ()
    client: str = ""
    ref: str = hex_id()
    source: str = ""


@frozen(kw_only=True)
class AdminChanged(Event):
    """An admin changed something: `change` says what; `facts` say who, which and how. `changes` are the first and the
    last number of the change log that the transaction had taken by then; none when it changed no row of the realm."""

    name = "admin-changed"

    change: str
    facts: Mapping[str, str | int | None]
    changes: tuple[int, ...] = ()


@frozen(kw_only=True)
class AdminUndone(Event):
    """The changes in the entries `first` to `last` of this log were announced, but never took effect."""

    name = "admin-undone"

    first: int
    last: int


@frozen(kw_only=True)
class ClockJumped(Event):
    """The KDC's wall clock moved by `moved_ms` against its boot clock, for the `count`-th time since its start, and
    nothing is issued. With `settled` it counts again: returned, accepted (by the operator) or waited (a minute)."""

    name = "clock-jumped"

    moved_ms: int
    count: int
    settled: str = ""


@frozen(kw_only=True)
class RealmApplied(Event):
    """A KDC began to decide by the realm as entry `admin_seq` of administration's record left it; `admin_hash` is that
    entry's, so that the two records check each other."""

    name = "realm-applied"

    admin_seq: int
    admin_hash: str
    policy_seq: int = 0


@frozen(kw_only=True)
class ChangeUnrecorded(Event):
    """A KDC began to decide by the changes `first` to `last` of the realm, which no entry of administration's record
    names: somebody has written them past `orthros-admin`. `what` are entries of the change log, such as `rule 17`."""

    name = "change-unrecorded"

    first: int
    last: int
    what: str = bounded()


@frozen(kw_only=True)
class KdcStarted(Event):
    """A KDC began to serve. `unanchored` entries and `torn` bytes are what a crash left behind."""

    name = "kdc-started"

    version: str = ""
    unanchored: int = 0
    torn: int = 0


@frozen(kw_only=True)
class KdcStopped(Event):
    """A KDC stopped in good order."""

    name = "kdc-stopped"


@frozen(kw_only=True)
class AuditResumed(Event):
    """The log could be written again. Since `since`, in milliseconds, it could not, as `why` says; `refused` answers
    that would have given a credential away were refused meanwhile."""

    name = "audit-resumed"

    since: int
    refused: int
    why: str = bounded()


@frozen(kw_only=True)
class ConfigReloaded(Event):
    """A running KDC took new settings; those in `waiting` need a restart."""

    name = "config-reloaded"

    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


EVENTS: Final[Mapping[str, type[Event]]] = {
    kind.name: kind
    for kind in (
        AsIssued,
        AsRefused,
        TgsIssued,
        TgsRefused,
        TokenIssued,
        TokenRefused,
        TokenIntrospected,
        TokenRevoked,
        RequestRejected,
        RequestReplayed,
        Suppressed,
        AdminChanged,
        AdminUndone,
        AuditResumed,
        RealmApplied,
        ChangeUnrecorded,
        KdcStarted,
        KdcStopped,
        ConfigReloaded,
        ClockJumped,
    )
}
"""Every event that a log can hold, by its name there."""
