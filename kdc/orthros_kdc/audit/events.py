"""The closed set of audit events: one per decision, and one for each thing that changes decisions.

Values only; knows no file, and has no field that could hold a key. Ids and references are hex.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Final

import attrs
from attrs import field, frozen

from orthros_protocol import LocalMisuse, Timestamp
from orthros_protocol.notes import Note
from orthros_protocol.redaction import redact_text

__all__ = [
    "EVENTS", "AdminChanged", "AdminUndone", "AsIssued", "AsRefused", "ConfigReloaded", "Event", "KdcStarted",
    "KdcStopped", "RequestRejected", "RequestReplayed", "Suppressed", "TgsIssued", "TgsRefused", "TokenIntrospected",
    "TokenIssued", "TokenRefused", "TokenRevoked",
]  # fmt: skip

_ID = re.compile(r"(?:[0-9a-f]{2}){0,16}", re.ASCII)
_MOST_DETAIL_CHARS: Final = 500


def _check_id(_instance: object, attribute: Any, value: str) -> None:
    # Ids and references have 8 or 16 bytes, keys 32: no mix-up can write a key into the log.
    if _ID.fullmatch(value) is None:
        raise LocalMisuse("value-invalid", f"{attribute.name} is the hex of at most 16 bytes")


def _id(default: Any = "") -> Any:
    return field(default=default, validator=_check_id)


def _detail() -> Any:
    return field(default="", converter=lambda text: redact_text(text)[:_MOST_DETAIL_CHARS])


def _plain(value: Any) -> Any:
    if type(value) is str or type(value) is int:
        return value
    if isinstance(value, Note):
        return value.to_items()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: redact_text(item) if isinstance(item, str) else item for key, item in value.items()}
    return value


@frozen(kw_only=True)
class Event:
    """What every event says: when, in milliseconds, and who wrote it down."""

    name: ClassVar[str] = ""

    at: Timestamp
    kdc_id: str

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values. What has its default is left out."""
        plain: dict[str, Any] = {"event": self.name}
        required, optional = _fields_of(self.name)
        for name in required:
            plain[name] = _plain(getattr(self, name))
        for name, default in optional:
            value = getattr(self, name)
            if value != default:
                plain[name] = _plain(value)
        return plain


@cache  # one entry for each kind of event
def _fields_of(event: str) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    rows = attrs.fields(EVENTS[event])
    required = tuple(row.name for row in rows if row.default is attrs.NOTHING)
    return required, tuple((row.name, row.default) for row in rows if row.default is not attrs.NOTHING)


@frozen(kw_only=True)
class AsIssued(Event):
    """An initial ticket was issued: `service` is kdc/tgt, kdc/keys or kdc/admin, `kvno` of the key that logged in."""

    name = "as-issued"

    client: str
    service: str
    ttl_s: int
    kvno: int = 0
    tid: str = _id()
    txn: str = _id()
    source: str = ""


@frozen(kw_only=True)
class AsRefused(Event):
    """A principal that proved itself was refused."""

    name = "as-refused"

    client: str
    service: str
    code: str
    detail: str = _detail()
    ref: str = _id()
    source: str = ""


@frozen(kw_only=True)
class TgsIssued(Event):
    """One want was granted. `kind` is ticket or jwt, `tid` the ticket's id or the JWT's, `rules` the ids of the
    rules that it rests on, `notes` what was cut; `request` joins the wants of a batch.

    `subject` is in whose name, if not the client's: `how` 1 proven, 2 asserted. With `evidence`, the id of the ticket
    that was shown, `chain` names whom the call came through before the client, and `txn` is that ticket's.
    """

    name = "tgs-issued"

    client: str
    target: str
    kind: str
    scopes: tuple[str, ...]
    ttl_s: int
    rules: tuple[int, ...]
    subject: str = ""
    how: int = 0
    chain: tuple[str, ...] = ()
    evidence: str = _id()
    kvno: int = 0
    notes: tuple[Note | Sequence[int | None], ...] = ()
    delegable: int = 0
    policy_seq: int = 0
    tid: str = _id()
    txn: str = _id()
    request: str = _id()
    source: str = ""


@frozen(kw_only=True)
class TgsRefused(Event):
    """One want was refused, or, without a `target`, the request as a whole. `subject` to `evidence` as in
    `TgsIssued`; of refused evidence they say what it says."""

    name = "tgs-refused"

    client: str
    code: str
    target: str = ""
    kind: str = ""
    subject: str = ""
    how: int = 0
    chain: tuple[str, ...] = ()
    evidence: str = _id()
    scopes: tuple[str, ...] | None = None
    detail: str = _detail()
    notes: tuple[Note | Sequence[int | None], ...] = ()
    ref: str = _id()
    txn: str = _id()
    request: str = _id()
    source: str = ""


@frozen(kw_only=True)
class TokenIssued(Event):
    """A token was issued over HTTP. `grant` is the way in which it was asked for, `subject` in whose name if not the
    client's own, and `chain` whom an exchanged token came through before the client; `tid` is the `jti`, `txn` the
    transaction, which an exchange carries on; `dropped` counts the scopes that were asked for in vain."""

    name = "token-issued"

    client: str
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
    tid: str = _id()
    txn: str = _id()
    source: str = ""


@frozen(kw_only=True)
class TokenRefused(Event):
    """A client that proved itself over HTTP was refused. `kind` is jwt when it asked for a token."""

    name = "token-refused"

    client: str
    code: str
    grant: str = ""
    target: str = ""
    kind: str = ""
    subject: str = ""
    scopes: tuple[str, ...] | None = None
    detail: str = _detail()
    ref: str = _id()
    source: str = ""


@frozen(kw_only=True)
class TokenIntrospected(Event):
    """A client asked about a token, or showed one for an exchange. `active` is what it was told, 0 or 1; `code` says
    why not."""

    name = "token-introspected"

    client: str
    active: int
    code: str = ""
    detail: str = _detail()
    tid: str = _id()
    source: str = ""


@frozen(kw_only=True)
class TokenRevoked(Event):
    """A client gave a token back. With a `code`, nothing was revoked; the client was not told."""

    name = "token-revoked"

    client: str
    code: str = ""
    detail: str = _detail()
    tid: str = _id()
    source: str = ""


@frozen(kw_only=True)
class RequestRejected(Event):
    """Bytes from somebody unproven were turned away; `ref` is all that he was told. `claimed` is nobody's word."""

    name = "request-rejected"

    code: str
    ref: str = _id()
    detail: str = _detail()
    claimed: str = _detail()
    source: str = ""


@frozen(kw_only=True)
class RequestReplayed(Event):
    """A proven request arrived for the second time: a retry of the network, or a copy."""

    name = "request-replayed"

    client: str
    exchange: str = ""
    source: str = ""


@frozen(kw_only=True)
class Suppressed(Event):
    """So many events of the kind `of` were not written one by one since the last one that was."""

    name = "suppressed"

    count: int
    of: str = field(default=RequestRejected.name)


@frozen(kw_only=True)
class AdminChanged(Event):
    """An admin changed something: `change` says what; `facts` say who, which and how."""

    name = "admin-changed"

    change: str
    facts: Mapping[str, str | int | None]


@frozen(kw_only=True)
class AdminUndone(Event):
    """The changes in the entries `first` to `last` of this log were announced, but never took effect."""

    name = "admin-undone"

    first: int
    last: int


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
class ConfigReloaded(Event):
    """A running KDC took new settings; those in `waiting` need a restart."""

    name = "config-reloaded"

    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


EVENTS: Final[Mapping[str, type[Event]]] = {
    kind.name: kind
    for kind in (
        AsIssued, AsRefused, TgsIssued, TgsRefused, TokenIssued, TokenRefused, TokenIntrospected, TokenRevoked,
        RequestRejected, RequestReplayed, Suppressed,
        AdminChanged, AdminUndone, KdcStarted, KdcStopped, ConfigReloaded,
    )
}  # fmt: skip
"""Every event that a log can hold, by its name there."""
