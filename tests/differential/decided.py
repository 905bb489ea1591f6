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


DECIDED: Final[tuple[Decided, ...]] = ()
