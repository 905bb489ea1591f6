"""What an entry of the tables of survivors is: a pattern of faults, and why no vector could see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from attrs import frozen


@frozen
class Entry:
    """Faults by the pattern of their label, in which `*` is any text, without those that `besides` names.

    Every one of them must survive.
    """

    pattern: str
    reason: str
    besides: str = ""

    def names(self, label: str) -> bool:
        """Whether this is the entry of a fault."""
        return _is_like(label, self.pattern) and not _is_like(label, self.besides)


def _is_like(label: str, pattern: str) -> bool:
    return fnmatchcase(label, pattern.replace("[", "[[]").replace("?", "[?]"))


def because(reason: str, *patterns: str) -> tuple[Entry, ...]:
    return tuple(Entry(pattern, reason) for pattern in patterns)


def of_each(messages: Iterable[str], *patterns: str) -> Iterator[str]:
    """The same patterns for each of several messages."""
    for message in messages:
        for pattern in patterns:
            yield f"{message}.{pattern}"
