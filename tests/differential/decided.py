"""Differences between the two versions that are meant, each with the page that decides.

A row names verdicts as the report prints them: the operation, what the old version says, what the new one says. `*`
stands for any text. A row that no longer meets a difference is to be removed; a whole run names it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from attrs import frozen


@frozen
class Decided:
    """One difference that is meant, and where it is written that the new verdict is the right one."""

    op: str
    old: str
    new: str
    page: str

    def meets(self, op: str, old: str, new: str) -> bool:
        """Whether a difference is this one."""
        seen = zip((op, old, new), (self.op, self.old, self.new), strict=True)
        return all(fnmatchcase(one.replace("[", "("), pattern.replace("[", "(")) for one, pattern in seen)


# Where a field is refused, the new version says its name. Code and check are the same.
_NAMED: Final = (
    ("*wrong length or type", "*: not an array of ... items"),
    ("*wrong length or type", "* has a wrong type"),
    ("*: another kind or version, or a field of a wrong length", "* is not ..."),
    ("*nested: wrong length or type", "*[] has a wrong length"),
    ("*wrong length or type", "* is not a number and its value"),
)
_NAMED_IN_BUILDING: Final = (
    ("*: another kind or version, or a field of a wrong length", "* has a wrong length"),
    ("*: an integer is out of range", "* is out of range"),
    ("*: field ... is out of range", "* is out of range"),
    ("*: field ... is out of range", "* has a wrong length"),
    ("*: field ... has a wrong length", "* has a wrong length"),
    ("*: field ... is too long", "* has a wrong length"),
    ("*a str does not match its pattern", "* does not match its pattern"),
    ("*a set is not in strictly increasing order", "* is not in strictly increasing order"),
)
_PAGE: Final = "docs/protocol/errors.md: a detail is for people, and no program may depend on its words"

DECIDED: Final[tuple[Decided, ...]] = (
    *(Decided("*", f"malformed: {old}", f"malformed: {new}", _PAGE) for old, new in (*_NAMED, *_NAMED_IN_BUILDING)),
    *(Decided("*", f"value-invalid: {old}", f"value-invalid: {new}", _PAGE) for old, new in _NAMED_IN_BUILDING),
    Decided("*", "malformed: extension*", "malformed: * is not in strictly increasing order", _PAGE),
    Decided("*", "malformed: extension*", "malformed: * is larger than ... bytes", _PAGE),
    # The same words in the audit event.
    Decided("kdc", "*request-rejected/malformed*", "*request-rejected/malformed* [differs in events]", _PAGE),
)
