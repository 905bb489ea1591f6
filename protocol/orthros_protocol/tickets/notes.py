"""Notes: what was granted less than asked for, and because of what.

Wire values and their words. Knows nothing about rules or caps; whoever decides makes the notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from orthros_protocol.primitives.limits import MAX_SCOPES
from orthros_protocol.primitives.schema import Record, integer, message, optional

__all__ = ["Note", "NoteCause", "NoteField", "describe_note"]


class NoteField(IntEnum):
    """What was cut."""

    SCOPE = 1
    TTL = 2
    FLAG = 3


class NoteCause(IntEnum):
    """What cut it."""

    PAIR_RULE = 1
    PRINCIPAL_CAP = 2
    REALM_CAP = 3
    TGT_EXPIRY = 4
    TGT_CAVEAT = 5
    SUBJECT_RULE = 6
    RULE_CAVEAT = 7


@message("note", order=True, kw_only=False)
class Note(Record):
    """One cut. `index` is the position in the request of the scope that was dropped, if it had one.

    Field and cause are plain integers, because a newer peer may send values that this version lacks. Notes inform and
    never widen, so these pass and are shown as numbers.
    """

    field: int = integer(0xFF, 1, converter=int)
    cause: int = integer(0xFF, 1, converter=int)
    index: int | None = optional(integer(MAX_SCOPES - 1), default=None)


_CUTS: Final = {
    NoteField.SCOPE: "was not granted",
    NoteField.TTL: "The lifetime was shortened",
    NoteField.FLAG: "The ticket was issued without the flag that was asked for",
}
_CAUSES: Final = {
    NoteCause.PAIR_RULE: "the rules for this pair do not allow it",
    NoteCause.PRINCIPAL_CAP: "a limit of the client or the target does not allow it",
    NoteCause.REALM_CAP: "a limit of the realm does not allow it",
    NoteCause.TGT_EXPIRY: "nothing outlives the ticket or the evidence that it was obtained with",
    NoteCause.TGT_CAVEAT: "a caveat on the ticket-granting ticket excludes it",
    NoteCause.SUBJECT_RULE: "the rules for this subject do not allow it",
    NoteCause.RULE_CAVEAT: "its rule writes a caveat into the ticket, so the scopes must be asked for by name",
}


def describe_note(note: Note, asked: Sequence[str] | None = None) -> str:
    """The note as a sentence; `asked` are the scopes of the request, so that a dropped one can be named."""
    cause = _CAUSES.get(note.cause, f"for cause {note.cause}, which this version does not know")  # type: ignore[call-overload]  # an int finds its IntEnum
    cut = _CUTS.get(note.field, f"Item {note.field} of the request was cut")  # type: ignore[call-overload]
    if note.field == NoteField.SCOPE:
        named = asked is not None and note.index is not None and note.index < len(asked)
        cut = f"Scope {asked[note.index]} {cut}" if named else f"A scope {cut}"  # type: ignore[index]
    return f"{cut}: {cause}."
