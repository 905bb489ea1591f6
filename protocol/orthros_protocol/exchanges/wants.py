"""What a client wants of the ticket-granting exchange, and what it gets: one row per target, as values and as items.

Knows how wants and results are written; not the messages that carry them, nor how they are decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.primitives.canonical import decode, decode_as, encode, encode_as
from orthros_protocol.primitives.limits import (
    MAX_DISCHARGES,
    MAX_FRAME_BYTES,
    MAX_RESULT_EXTENSION_BYTES,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
    MAX_U32,
    MAX_WANTS,
)
from orthros_protocol.primitives.names import Principal, check_scopes, is_scope
from orthros_protocol.primitives.schema import (
    Extension,
    Record,
    adapted,
    array,
    binary,
    const,
    extensions,
    integer,
    item_checks,
    message,
    optional,
    principal,
    record_of,
    text_set,
)
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import reason_by_number
from orthros_protocol.tickets.attenuation import split_caveats, tail_of
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.notes import Note
from orthros_protocol.tickets.ticket import KNOWN_FLAGS, Subject, check_flags

__all__ = [
    "EXACT",
    "KNOWN_WANT_FLAGS",
    "WANT_DELEGABLE",
    "WANT_JWT",
    "WANT_TICKET",
    "Granted",
    "NotGranted",
    "Want",
    "check_result",
    "demands_as",
    "read_wants",
    "wants_field",
]

WANT_TICKET, WANT_JWT = 0, 1
EXACT, WANT_DELEGABLE = 1, 2
KNOWN_WANT_FLAGS: Final = EXACT | WANT_DELEGABLE
"""A want with another low flag is refused on its own, by the KDC."""

# An unknown entry in `ext` of a want or a result is ignored: none may widen rights.
EXT_LIMITS: Final = 1
EXT_DEMANDS: Final = 1


def _scopes_or_none(scopes: object) -> tuple[str, ...] | None:
    return None if scopes is None else check_scopes(scopes)


def _limits_in(ext: list[Any]) -> bytes:
    return _entry(ext, EXT_LIMITS)


def _limits_as(limits: bytes) -> list[Any]:
    return [[EXT_LIMITS, limits]] if limits else []


@message("want", eq=True)
class Want(Record):
    """One thing asked for. `scopes` None means all that the rules allow without a caveat, or else with one.

    `scopes` () means authentication only. `ttl_s` is the wanted life in seconds, 0 for as long as allowed. `limits` is
    a `caveats` field: what the KDC shall write into the ticket besides its own, so that it binds everybody. Raises
    Misconfigured for bad names.
    """

    kind: int = integer(WANT_JWT, default=WANT_TICKET)
    target: Principal = principal()
    scopes: tuple[str, ...] | None = optional(text_set(is_scope, MAX_SCOPES), default=None, converter=_scopes_or_none)
    ttl_s: int = integer(MAX_U32, default=0)
    flags: int = integer(MAX_U32, default=0)
    limits: bytes = adapted(extensions(), _limits_in, _limits_as, default=b"")


# The same one by one, to tell which field is wrong; all at once is faster.
_PARTS: Final = dict(
    zip(("kind", "realm", "target", "scopes", "ttl_s", "flags", "ext"), item_checks(Want), strict=True)
)


@message("granted result", eq=True)
class Granted(Record):
    """One granted want. `credential` is a ticket, or a JWT as ASCII bytes with `session_key` None.

    `subject` is in whose name it was issued, if not the client's; `ext` holds the demands, see `demands_as`.
    """

    outcome: int = const(0)
    target: Principal = principal()
    target_uid: int = integer()
    credential: bytes = binary(16, MAX_TICKET_BYTES, repr=False)
    session_key: bytes | None = optional(binary(32), repr=False)
    ttl_s: int = integer(MAX_U32)
    flags: int = integer(MAX_U32, default=0)
    kvno: int = integer(MAX_U32, default=0)
    scopes: tuple[str, ...] = text_set(is_scope, MAX_SCOPES, default=())
    subject: Subject | None = optional(record_of(Subject), default=None)
    notes: tuple[Note, ...] = array(record_of(Note), 64, default=())
    ext: tuple[Extension, ...] = extensions(MAX_RESULT_EXTENSION_BYTES, default=(), repr=False)

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

    @property
    def demands(self) -> tuple[bytes, ...]:
        """The sealed demands (cids) of the third-party caveats that the KDC wrote into the ticket, in their order.

        Raises Malformed.
        """
        if all(found != EXT_DEMANDS for found, _value in self.ext):
            return ()
        items = decode(_entry(self.ext, EXT_DEMANDS), MAX_RESULT_EXTENSION_BYTES)
        if not 1 <= len(items) <= MAX_DISCHARGES or not all(type(item) is bytes and item for item in items):
            raise Malformed("the demands of a result")
        return tuple(items)


def demands_as(demands: Sequence[bytes]) -> tuple[Extension, ...]:
    """`ext` of a result with these demands."""
    return ((EXT_DEMANDS, encode(*demands)),) if demands else ()


def _number_of(reason: Reason) -> int:
    return reason.number


@message("refused result", eq=True)
class NotGranted(Record):
    """One refused want, with the reference that finds it in the KDC's log."""

    outcome: int = const(1)
    target: Principal = principal()
    reason: Reason = adapted(integer(0xFFFF), reason_by_number, _number_of)
    retry_s: int = integer(MAX_U32, default=0)
    ref: bytes = binary(8)
    ext: tuple[Extension, ...] = extensions(default=())


def wants_field(wants: Sequence[Want]) -> bytes:
    """The bin that travels. Raises LocalMisuse for no want, more than 32, and one that does not fit."""
    return encode_as([want.to_items() for want in wants], _check_wants)


def read_wants(field: bytes) -> tuple[Want, ...]:
    """What a client wants, once it has proven itself.

    Raises Refused `want-invalid`. Its detail travels: `want 3: scopes`, where the first want is 0, `want 3` for one
    that is no array of seven items, and `wants` where the bin is no canonical array of 1 to 32 items.
    """
    try:
        rows = decode_as("wants", field, _check_wants)
    except Malformed:
        raise Refused("want-invalid", _what_is_wrong(field)) from None
    return tuple(map(Want.of_items, rows))


def _check_wants(rows: list[Any]) -> None:
    if not 1 <= len(rows) <= MAX_WANTS:
        raise Malformed("not 1 to 32 wants")
    for row in rows:
        _check_want(row)


def _check_want(row: Any) -> None:
    Want.check(row)
    split_caveats(_limits_in(row[-1]))


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
    if type(row) is not list or len(row) != len(_PARTS):
        return ""
    parts = zip(_PARTS.items(), row, strict=True)
    return ": " + next((name for (name, check), item in parts if not _fits(check, item)), "limits")


def _fits(check: Callable[[Any], None], value: Any) -> bool:
    try:
        check(value)
    except Malformed:
        return False
    return True


def check_result(result: Granted | NotGranted, want: Want) -> None:
    """Compares a result with what was asked.

    Raises PeerMisbehaved, Malformed, or Refused `unsupported-critical` for a flag that this version must not ignore.
    """
    if (result.target.realm, result.target.name) != (want.target.realm, want.target.name):
        raise PeerMisbehaved("reply-mismatch", "a result names another target")
    if isinstance(result, NotGranted):
        return
    if (result.session_key is None) != (want.kind == WANT_JWT):
        raise PeerMisbehaved("reply-mismatch", "a result is of another kind than asked for")
    check_flags(result.flags, KNOWN_FLAGS)
    _ = result.demands


def _entry(ext: Iterable[Sequence[Any]], number: int) -> bytes:
    return next((value for found, value in ext if found == number), b"")
