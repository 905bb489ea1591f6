"""Header fields as a target may believe them: exact names, no second spelling, lengths in one form.

Pure functions of names and values; knows no request and no policy about which fields matter.

The problem: servers and frameworks of the CGI family hand a field on as `HTTP_IDEMPOTENCY_KEY`, whether it came as
`Idempotency-Key` or as `Idempotency_Key`, and some read a dot in the same way; others keep the names apart. If the
target folds names and its application does not, a covered field can be renamed: its value is still bound, and the
application does not see it. If the target does not fold and the application does, a field that is not bound takes the
place of one that is. So names are compared exactly, and a field that matters must not be there under a second name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from orthros_protocol.errors import Malformed

__all__ = ["FRAMING", "HttpFields", "folded", "parse_length", "stated_length"]

FRAMING: Final = ("content-length", "transfer-encoding", "content-digest")
"""The fields that say what the body is: exact on every request that shows credentials."""

_ODD = re.compile(r"[^a-z0-9-]")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def folded(name: str) -> str:
    """The one name under which every reader that folds names knows this lower-case one: all but letters and digits
    is read as `-`."""
    return _ODD.sub("-", name)


class HttpFields:
    """The fields of one message: `headers` are (lower-case name, value) in order, as received."""

    __slots__ = ("_by_fold", "_by_name")

    def __init__(self, headers: Iterable[tuple[str, bytes]]) -> None:
        self._by_name: dict[str, list[bytes]] = {}
        for name, value in headers:
            self._by_name.setdefault(name, []).append(value)
        self._by_fold: dict[str, list[str]] | None = None
        # Nearly every head is plain, and then one search tells.
        if _ODD.search("".join(self._by_name)) is not None:
            self._by_fold = {}
            for name in self._by_name:
                self._by_fold.setdefault(folded(name), []).append(name)

    def values_of(self, name: str) -> list[bytes]:
        """Every value of the field with exactly this name, in order."""
        return self._by_name.get(name, [])

    def one(self, name: str) -> bytes | None:
        """The value of a field that may occur once, None without it. Raises Malformed when it occurs more often."""
        values = self.values_of(name)
        if len(values) > 1:
            raise Malformed(f"the header {name} occurs {len(values)} times")
        return values[0] if values else None

    def spellings_of(self, name: str) -> list[str]:
        """The names here that are `name`, or that a reader which folds names takes for it."""
        if self._by_fold is not None:
            return self._by_fold.get(folded(name), [])
        if name in self._by_name:
            return [name]
        if _ODD.search(name) is None:  # then it is folded already, and so are all names here
            return []
        alike = folded(name)
        return [alike] if alike in self._by_name else []

    def found(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are here, in whatever spelling."""
        if self._by_fold is not None:
            return [name for name in names if self.spellings_of(name)]
        known = self._by_name
        return [name for name in names if name in known or (_ODD.search(name) is not None and folded(name) in known)]

    def require_exact(self, names: Iterable[str]) -> None:
        """Raises Malformed when a field is here that could be taken for one of `names`, and is spelled differently."""
        for name in self.found(names):
            for spelling in self.spellings_of(name):
                if spelling != name:
                    raise Malformed(f"the header {spelling[:64]!a} could be taken for {name}")

    def covered(self, names: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
        """The covered fields with their values, in the order of `names`.

        Raises Malformed unless each is there exactly once, and in no other spelling.
        """
        found = []
        for name in names:
            self.require_exact((name,))
            value = self.one(name)
            if value is None:
                raise Malformed(f"the covered header {name} is missing")
            found.append((name, value))
        return tuple(found)

    def uncovered(self, floor: Iterable[str], covered: Collection[str]) -> list[str]:
        """The names in `floor` that are not covered, although the field is here, in whatever spelling."""
        return [name for name in self.found(floor) if name not in covered]


def parse_length(value: bytes | str) -> int:
    """The bytes that a Content-Length announces (RFC 9110, section 8.6). Raises Malformed for any but its one form.

    That is at most 18 digits without sign, space, list or leading zero: zeros in front pass limits that look at the
    first digits, and readers differ in what they make of the rest.
    """
    found = _LENGTH.fullmatch(value if isinstance(value, str) else value.decode("latin-1"))
    if found is None:
        raise Malformed("Content-Length is not a number in its one form")
    return int(found[0])


def stated_length(values: Sequence[bytes | str]) -> int | None:
    """What all Content-Length fields of a message announce; None for no field, for several, and for another form."""
    try:
        return parse_length(values[0]) if len(values) == 1 else None
    except Malformed:
        return None
