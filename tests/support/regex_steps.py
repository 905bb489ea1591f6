"""How many steps a backtracking matcher takes: a pattern's cost for a text, counted instead of timed.

Interprets what Python's own parser makes of a pattern, as `re` does but without its short cuts, so that no engine takes
more steps than these.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

__all__ = ["hostile_texts", "steps_of"]

Then = Callable[[int], bool]
_UNBOUNDED = 16


class _Matcher:
    def __init__(self, pattern: re.Pattern[Any], text: str) -> None:
        self.steps = 0
        self._text = text
        self._folds = bool(pattern.flags & re.IGNORECASE)
        self._nodes = parser.parse(pattern.pattern, pattern.flags)

    def at(self, start: int, *, whole: bool) -> int | None:
        """The end of a match that begins at `start`."""
        ends: list[int] = []

        def end(found: int) -> bool:
            ends.append(found)
            return not whole or found == len(self._text)

        return ends[-1] if self._run(self._nodes, 0, start, end) else None

    def _is(self, op: Any, value: Any, i: int) -> bool:
        self.steps += 1
        if i >= len(self._text):
            return False
        letters = {self._text[i]}
        if self._folds:
            letters |= {self._text[i].lower(), self._text[i].upper()}
        return any(_accepts(op, value, letter) for letter in letters)

    def _run(self, nodes: Sequence[Any], at: int, i: int, then: Then) -> bool:
        self.steps += 1
        if at == len(nodes):
            return then(i)
        op, value = nodes[at]

        def rest(j: int) -> bool:
            return self._run(nodes, at + 1, j, then)

        if op in (ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN):
            return self._is(op, value, i) and rest(i + 1)
        if op is ops.SUBPATTERN:
            return self._run(value[3], 0, i, rest)
        if op is ops.BRANCH:
            return any(self._run(branch, 0, i, rest) for branch in value[1])
        if op is ops.AT:
            return (i == 0 if value is ops.AT_BEGINNING else i == len(self._text)) and rest(i)
        if op in (ops.ASSERT, ops.ASSERT_NOT):
            direction, inner = value
            start = i if direction > 0 else i - inner.getwidth()[0]
            found = start >= 0 and self._run(inner, 0, start, lambda j: direction > 0 or j == i)
            return found is (op is ops.ASSERT) and rest(i)
        assert op is ops.MAX_REPEAT, op
        least, most, body = value
        return self._repeat(least, most, body, i, rest)

    def _repeat(self, least: int, most: int, body: Sequence[Any], i: int, rest: Then) -> bool:
        if len(body) == 1 and body[0][0] in (ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN):
            (op, value), end = body[0], i
            while end - i < most and self._is(op, value, end):
                end += 1
            return any(rest(j) for j in range(end, i + least - 1, -1))

        def again(count: int, j: int) -> bool:
            if count < most and self._run(body, 0, j, lambda end: end > j and again(count + 1, end)):
                return True
            return count >= least and rest(j)

        return again(0, i)


def _accepts(op: Any, value: Any, letter: str) -> bool:
    if op is ops.LITERAL:
        return bool(ord(letter) == value)
    if op is ops.NOT_LITERAL:
        return bool(ord(letter) != value)
    if op is ops.ANY:
        return letter != "\n"
    is_negated = value[0][0] is ops.NEGATE
    found = any(
        ord(letter) == given if kind is ops.LITERAL else given[0] <= ord(letter) <= given[1]
        for kind, given in value
        if kind in (ops.LITERAL, ops.RANGE)
    )
    return found is not is_negated


def steps_of(pattern: re.Pattern[Any], text: str, *, searches: bool) -> int:
    """The steps of `fullmatch`, or of finding every place as `search` and `sub` do."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        matcher = _Matcher(pattern, text)
        if not searches:
            matcher.at(0, whole=True)
            return matcher.steps
        start = 0
        while start <= len(text):
            end = matcher.at(start, whole=False)
            start = start + 1 if end is None or end == start else end
        return matcher.steps
    finally:
        sys.setrecursionlimit(before)


def hostile_texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """What leads up to each repetition in the pattern, that repetition pumped up, and an end that does not fit."""
    nodes = parser.parse(pattern.pattern, pattern.flags)
    for lead, pump in dict.fromkeys(_pumps(nodes, "")):
        for end in ("", "\x00", pump[:1]):
            yield lead + pump * (size // len(pump)) + end
    letters = sorted({letter for _lead, pump in _pumps(nodes, "") for letter in pump})
    for one in letters[:5]:
        for other in letters[:5]:
            yield (one + other) * (size // 2) + "\x00"


def _pumps(nodes: Sequence[Any], lead: str) -> Iterator[tuple[str, str]]:
    for op, value in nodes:
        if op is ops.MAX_REPEAT:
            if value[1] >= _UNBOUNDED:
                yield from ((lead, one) for one in _samples(value[2]))
            yield from _pumps(value[2], lead)
        elif op is ops.SUBPATTERN:
            yield from _pumps(value[3], lead)
        elif op is ops.BRANCH:
            for branch in value[1]:
                yield from _pumps(branch, lead)
        lead += next(iter(_samples([(op, value)])), "")


def _samples(nodes: Sequence[Any]) -> list[str]:
    """A few shortest texts that these nodes match."""
    found = [""]
    for op, value in nodes:
        if op is ops.LITERAL:
            more = [chr(value)]
        elif op in (ops.IN, ops.NOT_LITERAL, ops.ANY):
            more = [letter for letter in "a0-_./;%AeyJ: =\\" if _accepts(op, value, letter)][:6] or ["\x7f"]
        elif op is ops.SUBPATTERN:
            more = _samples(value[3])
        elif op is ops.BRANCH:
            more = [one for branch in value[1] for one in _samples(branch)][:6]
        elif op is ops.MAX_REPEAT:
            more = [one * max(value[0], 1) for one in _samples(value[2])] if value[0] else [""]
        else:
            more = [""]
        found = [one + other for one in found for other in more][:6]
    return [one for one in found if one] or [""]
