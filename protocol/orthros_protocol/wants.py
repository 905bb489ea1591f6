"""What a client wants of the ticket-granting exchange, and what it gets: one row per target, as values and as items.

Knows how wants and results are written; not the messages that carry them, nor how they are decided.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.attenuation import split_caveats
from orthros_protocol.canonical import (
    Field,
    Schema,
    array,
    binary,
    const,
    decode,
    encode,
    extensions,
    integer,
    nested,
    optional,
    text,
    text_set,
)
from orthros_protocol.errors import Malformed, PeerMisbehaved
from orthros_protocol.keys import not_exported
from orthros_protocol.limits import (
    MAX_DISCHARGES,
    MAX_RESULT_EXTENSION_BYTES,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
    MAX_U32,
    MAX_WANTS,
)
from orthros_protocol.names import Principal, cached_principal, check_scopes, is_name, is_scope
from orthros_protocol.notes import Note
from orthros_protocol.reasons import Reason, reason_by_number
from orthros_protocol.tickets import SUBJECT, Subject

__all__ = [
    "EXACT", "KNOWN_WANT_FLAGS", "RESULTS", "WANTS", "WANT_DELEGABLE", "WANT_JWT", "WANT_TICKET", "Granted",
    "NotGranted", "Want", "result_of", "result_row", "want_of", "want_row",
]  # fmt: skip

WANT_TICKET, WANT_JWT = 0, 1
EXACT, WANT_DELEGABLE = 1, 2
KNOWN_WANT_FLAGS: Final = EXACT | WANT_DELEGABLE
"""A want with another low flag is refused on its own, by the KDC."""

# An unknown entry in `ext` of a want or a result is ignored: none may widen rights.
EXT_LIMITS: Final = 1
EXT_DEMANDS: Final = 1

_SCOPES: Final = text_set(is_scope, MAX_SCOPES)
WANTS: Final = array(
    nested(
        integer(WANT_JWT), text(is_name), text(is_name), optional(_SCOPES), integer(MAX_U32), integer(MAX_U32),
        extensions(),
    ),
    MAX_WANTS, 1,
)  # fmt: skip
# Notes inform and never widen, so values of a newer KDC pass and are shown as numbers.
_NOTE: Final = nested(integer(0xFF, 1), integer(0xFF, 1), optional(integer(MAX_SCOPES - 1)))
_OK: Final = Schema(
    "granted result",
    const(0), text(is_name), text(is_name), integer(), binary(16, MAX_TICKET_BYTES), optional(binary(32)),
    integer(MAX_U32), integer(MAX_U32), integer(MAX_U32), _SCOPES, optional(SUBJECT), array(_NOTE, 64),
    extensions(MAX_RESULT_EXTENSION_BYTES),
)  # fmt: skip
_NO: Final = Schema(
    "refused result",
    const(1), text(is_name), text(is_name), integer(0xFFFF), integer(MAX_U32), binary(8), extensions(),
)  # fmt: skip


def _check_result(items: list[Any]) -> None:
    (_OK if items and items[0] == 0 else _NO).check(items)


RESULTS: Final = array(Field(frozenset({list}), 7, 13, _check_result), MAX_WANTS, 1)


def _scopes_or_none(scopes: object) -> tuple[str, ...] | None:
    return None if scopes is None else check_scopes(scopes)


@frozen(kw_only=True)
class Want:
    """One thing asked for. `scopes` None means all that the rules allow without a caveat, or else with one.

    `scopes` () means authentication only. `ttl_s` is the wanted life in seconds, 0 for as long as allowed. `limits` is
    a `caveats` field: what the KDC shall write into the ticket besides its own, so that it binds everybody. Raises
    Misconfigured for bad names.
    """

    target: Principal
    kind: int = WANT_TICKET
    scopes: tuple[str, ...] | None = field(default=None, converter=_scopes_or_none)
    ttl_s: int = 0
    flags: int = 0
    limits: bytes = b""


@frozen(kw_only=True)
class Granted:
    """One granted want. `credential` is a ticket, or a JWT as ASCII bytes with `session_key` None.

    `subject` is in whose name it was issued, if not the client's; `demands` are the sealed demands (cids) of the
    third-party caveats that the KDC wrote into the ticket, in their order.
    """

    target: Principal
    target_uid: int
    credential: bytes = field(repr=False)
    session_key: bytes | None = field(repr=False)
    ttl_s: int
    flags: int = 0
    kvno: int = 0
    scopes: tuple[str, ...] = ()
    subject: Subject | None = None
    notes: tuple[Note, ...] = ()
    demands: tuple[bytes, ...] = field(default=(), repr=False)

    __getstate__ = not_exported


@frozen(kw_only=True)
class NotGranted:
    """One refused want, with the reference that finds it in the KDC's log."""

    target: Principal
    reason: Reason
    retry_s: int = 0
    ref: bytes


def want_row(want: Want) -> list[Any]:
    """The items that travel. Raises LocalMisuse later, when they do not fit."""
    return [
        want.kind, want.target.realm, want.target.name, None if want.scopes is None else list(want.scopes),
        want.ttl_s, want.flags, [[EXT_LIMITS, want.limits]] if want.limits else [],
    ]  # fmt: skip


def want_of(row: list[Any]) -> Want:
    """From items that fit `WANTS`. Raises Malformed for limits that are no `caveats` field."""
    kind, realm, name, scopes, ttl_s, flags, ext = row
    limits = _entry(ext, EXT_LIMITS)
    split_caveats(limits)
    return Want(
        kind=kind,
        target=cached_principal(realm, name),
        scopes=None if scopes is None else tuple(scopes),
        ttl_s=ttl_s,
        flags=flags,
        limits=limits,
    )


def result_row(result: Granted | NotGranted) -> list[Any]:
    """The items that travel."""
    target = result.target
    if isinstance(result, NotGranted):
        return [1, target.realm, target.name, result.reason.number, result.retry_s, result.ref, []]
    subject = None if result.subject is None else result.subject.to_items()
    return [
        0, target.realm, target.name, result.target_uid, result.credential, result.session_key, result.ttl_s,
        result.flags, result.kvno, list(result.scopes), subject, [note.to_items() for note in result.notes],
        [[EXT_DEMANDS, encode(*result.demands)]] if result.demands else [],
    ]  # fmt: skip


def result_of(row: list[Any], want: Want) -> Granted | NotGranted:
    """From items that fit `RESULTS`, compared with what was asked. Raises PeerMisbehaved or Malformed."""
    if (row[1], row[2]) != (want.target.realm, want.target.name):
        raise PeerMisbehaved("reply-mismatch", "a result names another target")
    if row[0] == 1:
        return NotGranted(target=want.target, reason=reason_by_number(row[3]), retry_s=row[4], ref=row[5])
    _ok, _realm, _name, uid, credential, session_key, ttl_s, flags, kvno, scopes, subject, notes, ext = row
    if (session_key is None) != (want.kind == WANT_JWT):
        raise PeerMisbehaved("reply-mismatch", "a result is of another kind than asked for")
    return Granted(
        target=want.target,
        target_uid=uid,
        credential=credential,
        session_key=session_key,
        ttl_s=ttl_s,
        flags=flags,
        kvno=kvno,
        scopes=tuple(scopes),
        subject=Subject.of_items(subject),
        notes=tuple(Note(*note) for note in notes),
        demands=_demands_in(_entry(ext, EXT_DEMANDS)),
    )


def _entry(ext: list[Any], number: int) -> bytes:
    return next((value for found, value in ext if found == number), b"")


def _demands_in(blob: bytes) -> tuple[bytes, ...]:
    if not blob:
        return ()
    items = decode(blob, MAX_RESULT_EXTENSION_BYTES)
    if len(items) > MAX_DISCHARGES or any(type(item) is not bytes for item in items):
        raise Malformed("the demands of a result")
    return tuple(items)
