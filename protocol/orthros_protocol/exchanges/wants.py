"""What a client wants of the ticket-granting exchange, and what it gets: one row per target, as values and as items.

Knows how wants and results are written; not the messages that carry them, nor how they are decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.notes import Note
from orthros_protocol.keys.role_keys import not_exported
from orthros_protocol.primitives.canonical import (
    Field,
    Schema,
    array,
    binary,
    const,
    decode,
    decode_rows,
    encode,
    encode_rows,
    extensions,
    integer,
    nested,
    optional,
    text,
    text_set,
)
from orthros_protocol.primitives.limits import (
    MAX_DISCHARGES,
    MAX_FRAME_BYTES,
    MAX_RESULT_EXTENSION_BYTES,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
    MAX_U32,
    MAX_WANTS,
)
from orthros_protocol.primitives.names import Principal, cached_principal, check_scopes, is_name, is_scope
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import reason_by_number
from orthros_protocol.tickets.attenuation import split_caveats, tail_of
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.ticket import KNOWN_FLAGS, SUBJECT, Subject, check_flags

__all__ = [
    "EXACT",
    "KNOWN_WANT_FLAGS",
    "RESULTS",
    "WANT_DELEGABLE",
    "WANT_JWT",
    "WANT_TICKET",
    "Granted",
    "NotGranted",
    "Want",
    "read_wants",
    "result_of",
    "result_row",
    "wants_field",
]

WANT_TICKET, WANT_JWT = 0, 1
EXACT, WANT_DELEGABLE = 1, 2
KNOWN_WANT_FLAGS: Final = EXACT | WANT_DELEGABLE
"""A want with another low flag is refused on its own, by the KDC."""

# An unknown entry in `ext` of a want or a result is ignored: none may widen rights.
EXT_LIMITS: Final = 1
EXT_DEMANDS: Final = 1

_SCOPES: Final = text_set(is_scope, MAX_SCOPES)
_WANT_FIELDS: Final[Mapping[str, Field]] = {
    "kind": integer(WANT_JWT),
    "realm": text(is_name),
    "target": text(is_name),
    "scopes": optional(_SCOPES),
    "ttl_s": integer(MAX_U32),
    "flags": integer(MAX_U32),
    "ext": extensions(),
}
_WANT: Final = Schema("want", *_WANT_FIELDS.values())
# The same one by one, to tell which field is wrong; all at once is faster.
_WANT_PARTS: Final = {name: Schema(name, field) for name, field in _WANT_FIELDS.items()}
# Notes inform and never widen, so values of a newer KDC pass and are shown as numbers.
_NOTE: Final = nested(integer(0xFF, 1), integer(0xFF, 1), optional(integer(MAX_SCOPES - 1)))
_OK: Final = Schema(
    "granted result",
    const(0),
    text(is_name),
    text(is_name),
    integer(),
    binary(16, MAX_TICKET_BYTES),
    optional(binary(32)),
    integer(MAX_U32),
    integer(MAX_U32),
    integer(MAX_U32),
    _SCOPES,
    optional(SUBJECT),
    array(_NOTE, 64),
    extensions(MAX_RESULT_EXTENSION_BYTES),
)
_NO: Final = Schema(
    "refused result",
    const(1),
    text(is_name),
    text(is_name),
    integer(0xFFFF),
    integer(MAX_U32),
    binary(8),
    extensions(),
)


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

    def to_credential(self, client: Principal, life: Life) -> Credential:
        """What `client` holds of it."""
        return Credential(
            ticket=self.credential,
            tail=None if self.session_key is None else tail_of(self.session_key, self.credential),
            target=self.target,
            target_uid=self.target_uid,
            client=client,
            scopes=self.scopes,
            life=life,
            subject=self.subject,
            demands=self.demands,
            flags=self.flags,
            kvno=self.kvno,
            notes=self.notes,
        )


@frozen(kw_only=True)
class NotGranted:
    """One refused want, with the reference that finds it in the KDC's log."""

    target: Principal
    reason: Reason
    retry_s: int = 0
    ref: bytes


def wants_field(wants: Sequence[Want]) -> bytes:
    """The bin that travels. Raises LocalMisuse for no want, more than 32, and one that does not fit."""
    return encode_rows([_want_row(want) for want in wants], _check_wants)


def read_wants(field: bytes) -> tuple[Want, ...]:
    """What a client wants, once it has proven itself.

    Raises Refused `want-invalid`. Its detail travels: `want 3: scopes`, where the first want is 0, `want 3` for one
    that is no array of seven items, and `wants` where the bin is no canonical array of 1 to 32 items.
    """
    try:
        rows = decode_rows(field, _check_wants)
    except Malformed:
        raise Refused("want-invalid", _what_is_wrong(field)) from None
    return tuple(map(_want_of, rows))


def _check_wants(rows: list[Any]) -> None:
    if not 1 <= len(rows) <= MAX_WANTS:
        raise Malformed("not 1 to 32 wants")
    for row in rows:
        _check_want(row)


def _check_want(row: Any) -> None:
    _WANT.check(row)
    split_caveats(_entry(row[-1], EXT_LIMITS))


def _what_is_wrong(field: bytes) -> str:
    try:
        rows = decode(field, MAX_FRAME_BYTES)
    except Malformed:
        return "wants"
    if not 1 <= len(rows) <= MAX_WANTS:
        return "wants"
    at = next(index for index, row in enumerate(rows) if not _fits(_check_want, row))
    return f"want {at}{_wrong_part(rows[at])}"


def _wrong_part(row: Any) -> str:
    if type(row) is not list or len(row) != len(_WANT_PARTS):
        return ""
    parts = zip(_WANT_PARTS.items(), row, strict=True)
    return ": " + next((name for (name, part), item in parts if not _fits(part.check, [item])), "limits")


def _fits(check: Callable[[Any], None], value: Any) -> bool:
    try:
        check(value)
    except Malformed:
        return False
    return True


def _want_row(want: Want) -> list[Any]:
    return [
        want.kind,
        want.target.realm,
        want.target.name,
        None if want.scopes is None else list(want.scopes),
        want.ttl_s,
        want.flags,
        [[EXT_LIMITS, want.limits]] if want.limits else [],
    ]


def _want_of(row: list[Any]) -> Want:
    kind, realm, name, scopes, ttl_s, flags, ext = row
    return Want(
        kind=kind,
        target=cached_principal(realm, name),
        scopes=None if scopes is None else tuple(scopes),
        ttl_s=ttl_s,
        flags=flags,
        limits=_entry(ext, EXT_LIMITS),
    )


def result_row(result: Granted | NotGranted) -> list[Any]:
    """The items that travel."""
    target = result.target
    if isinstance(result, NotGranted):
        return [1, target.realm, target.name, result.reason.number, result.retry_s, result.ref, []]
    subject = None if result.subject is None else result.subject.to_items()
    return [
        0,
        target.realm,
        target.name,
        result.target_uid,
        result.credential,
        result.session_key,
        result.ttl_s,
        result.flags,
        result.kvno,
        list(result.scopes),
        subject,
        [note.to_items() for note in result.notes],
        [[EXT_DEMANDS, encode(*result.demands)]] if result.demands else [],
    ]


def result_of(row: list[Any], want: Want) -> Granted | NotGranted:
    """From items that fit `RESULTS`, compared with what was asked.

    Raises PeerMisbehaved, Malformed, or Refused `unsupported-critical` for a flag that this version must not ignore.
    """
    if (row[1], row[2]) != (want.target.realm, want.target.name):
        raise PeerMisbehaved("reply-mismatch", "a result names another target")
    if row[0] == 1:
        return NotGranted(target=want.target, reason=reason_by_number(row[3]), retry_s=row[4], ref=row[5])
    _ok, _realm, _name, uid, credential, session_key, ttl_s, flags, kvno, scopes, subject, notes, ext = row
    if (session_key is None) != (want.kind == WANT_JWT):
        raise PeerMisbehaved("reply-mismatch", "a result is of another kind than asked for")
    check_flags(flags, KNOWN_FLAGS)
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
        demands=_demands_in(ext),
    )


def _entry(ext: list[Any], number: int) -> bytes:
    return next((value for found, value in ext if found == number), b"")


def _demands_in(ext: list[Any]) -> tuple[bytes, ...]:
    if all(found != EXT_DEMANDS for found, _value in ext):
        return ()
    items = decode(_entry(ext, EXT_DEMANDS), MAX_RESULT_EXTENSION_BYTES)
    if not 1 <= len(items) <= MAX_DISCHARGES or not all(type(item) is bytes and item for item in items):
        raise Malformed("the demands of a result")
    return tuple(items)
