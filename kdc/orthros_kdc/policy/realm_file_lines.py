"""On which line of a TOML text each key, table and element stands, which `tomllib` does not tell.

Made for texts that `tomllib` has accepted; knows no key of any file.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import Final, Self

from attrs import define, field, frozen

__all__ = ["Lines", "Path"]

Path = tuple[str | int, ...]
"""Keys, and the numbers of elements from 0: `("rules", 2, "scopes", 0)`."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')
# A quotation mark or two may stand right before the three that end a long string (TOML 1.0.0, "String").
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"""(?!")|' r"'''.*?'''(?!')|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'", re.DOTALL)
_PLAIN = re.compile(r"[^,\]}#\n]+")  # numbers, dates (which may hold a blank), true and false
_REST: Final = re.compile(r"[^\n]*")


@frozen
class Lines:
    """Line numbers from 1, by path."""

    _found: dict[Path, int] = field(factory=dict, repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """From a text that `tomllib` has accepted."""
        scan = _Scan(text)
        scan.document()
        return cls(scan.found)

    def at(self, *path: str | int) -> int:
        """The line of `path`, or of the nearest that it stands in; 1 when there is none."""
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 1)


@define
class _Scan:
    """One walk through a text. `found` is filled, `at` is where it stands."""

    text: str
    found: dict[Path, int] = field(factory=dict)
    at: int = 0
    _starts: list[int] = field(init=False)
    _counts: dict[Path, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._starts = [0, *(found.end() for found in re.finditer(r"\n", self.text))]

    def document(self) -> None:
        table: Path = ()
        self._pass(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._pass(_REST)  # a comment at most
            self._pass(_BLANK)

    def _header(self) -> Path:
        line = self._line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        *above, last = self._key()
        path: Path = ()
        for part in above:
            path = self._element((*path, part), line)
        path = (*path, last)
        if is_array:
            self.found.setdefault(path, line)
            self._counts[path] = self._counts.get(path, 0) + 1
            path = (*path, self._counts[path] - 1)
        self.found[path] = line
        return path

    def _element(self, path: Path, line: int) -> Path:
        """`path`, or where it is an array of tables, the newest of them."""
        self.found.setdefault(path, line)
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self.found.setdefault(path, line)
        self.at += 1  # the sign of equality
        self._value(path)

    def _key(self) -> list[str]:
        """One key, dotted or not, and the blanks around it."""
        parts = []
        while True:
            self._pass(_SPACE)
            raw = self._pass(_KEY)
            parts.append(str(tomllib.loads(f"k = {raw}")["k"]) if raw[:1] in "\"'" else raw)
            self._pass(_SPACE)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def _value(self, path: Path) -> None:
        self._pass(_SPACE)
        first = self.text[self.at : self.at + 1]
        if first == "[":
            self._sequence(path, "]")
        elif first == "{":
            self._sequence(path, "}")
        else:
            self._pass(_STRING if first in ('"', "'") else _PLAIN)

    def _sequence(self, path: Path, end: str) -> None:
        """An array or an inline table."""
        number = 0
        self.at += 1
        self._pass(_BLANK)
        while not self.text.startswith(end, self.at):
            if end == "}":
                self._pair(path)
            else:
                self.found[(*path, number)] = self._line()
                self._value((*path, number))
            number += 1
            self._pass(_BLANK)
            self.at += self.text.startswith(",", self.at)
            self._pass(_BLANK)
        self.at += 1

    def _pass(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"no TOML at {self.at}")  # `tomllib` has refused it before
        self.at = found.end()
        return found[0]

    def _line(self) -> int:
        return bisect_right(self._starts, self.at)
