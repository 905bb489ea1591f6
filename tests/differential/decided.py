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
    ("*wrong length or type", "* is not a number and its value"),
    ("*: another kind or version, or a field of a wrong length", "* is not ..."),
    ("*nested: wrong length or type", "*[] has a wrong length"),
    ("*: another kind or version, or a field of a wrong len*", "* has a wrong len*"),
    ("*: an integer is out of range", "* is out of range"),
    ("*: field ... is out of range", "* is out of range"),
    ("*: field ... is out of range", "* has a wrong length"),
    ("*: field ... has a wrong length", "* has a wrong length"),
    ("*: field ... is too long", "* has a wrong length"),
    ("*a str does not match its pattern", "* does not match its pattern*"),
    ("*a set is not in strictly increasing order", "* is not in strictly increasing order"),
    ("*extension ids are not strictly increasing", "* is not in strictly increasing order"),
    ("*extensions are larger than ... bytes", "* is larger than ... bytes"),
)
# Without those that a code never has: what is built has right types and constants, a key record has neither constants
# nor sets, and a caveat has no extensions.
_OF_CODE: Final = {
    "malformed: ": _NAMED,
    "value-invalid: ": _NAMED[5:13],
    "key-file-invalid: ": (*_NAMED[:3], *_NAMED[5:12], *_NAMED[13:]),
    "discharge-mismatch: a discharge of another shape: ": (*_NAMED[:2], *_NAMED[4:7], *_NAMED[8:13]),
}
_PAGE: Final = "docs/protocol/errors.md"  # a detail is for people, and no program may depend on its words

DECIDED: Final[tuple[Decided, ...]] = (
    *(Decided("*", code + old, code + new, _PAGE) for code, named in _OF_CODE.items() for old, new in named),
    # The same words in the audit event.
    Decided(
        "kdc", "*request-rejected/malformed*", "* [differs in events: detail of request-rejected/malformed]", _PAGE
    ),
)
