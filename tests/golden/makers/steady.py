"""The table of what differs from run to run: each such value is replaced by its kind and a number, by first appearance.

So two places that hold the same value still do in the golden file, and nothing else of a line is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from attrs import define, field

__all__ = ["MEASURED", "Steady"]

Form = tuple[str, str]
"""A kind and the pattern of its values. With a group, only the group is the value."""

CHANCE: Final[tuple[Form, ...]] = (
    ("key", r"ort1[a-z]_[A-Za-z2-7]+"),
    ("token", r"eyJ[\w-]+\.[\w-]+\.[\w-]+"),
    ("id", r"(?<![0-9A-Za-z_-])(?:[0-9a-f]{64}|[0-9a-f]{32}|[0-9a-f]{16})(?![0-9A-Za-z_-])"),
    ("ticket", r'"ticket": "([\w-]+)"'),
    ("proof", r"orthros-reply: (.*)"),
    ("text", r"(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*[0-9])(?=[\w-]*[a-z])[\w-]{43}(?![\w-])"),
)
MEASURED: Final[tuple[Form, ...]] = (
    ("since", r"(?:issued|logged in) +.* UTC, (.*)"),  # the clocks' rounding decides whether a second is past
    ("moment", r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?"),
    ("ms", r"\b1[789]\d{11}\b"),
    ("second", r"\b1[789]\d{8}\b"),
    ("offset", r"[+-]\d+\.\d{3} s(?= to)"),
    ("life", r"\b(?:\d+ h \d+ min|\d+ min \d+ s|\d+ s)\b"),
    ("number", r'"(?:\w+_s|\w+_ms|answered_s_ago|expires_in|retry)": (-?\d+(?:\.\d+)?)'),
    ("uid", r"uid[: ](\d+)"),
    ("pid", r"pid (\d+)"),
    ("port", r"127\.0\.0\.1:(\d{4,5})"),
    ("size", r"(?i)content-length: (\d+)"),
    ("date", r"(?i)date: (.* GMT)"),
)
"""What a real clock and a real machine say, where programs run. No number: no two runs measure the same."""


@define
class Steady:
    """`of` makes a text steady. `exact` are texts and what stands in their place; `measured`: by MEASURED as well."""

    exact: Sequence[tuple[str, str]] = ()
    measured: bool = False
    _seen: dict[tuple[str, str], int] = field(factory=dict, init=False)

    def of(self, text: str) -> str:
        for value, name in self.exact:
            text = text.replace(value, name)
        for kind, pattern in MEASURED if self.measured else ():
            text = re.sub(pattern, partial(_unnumbered, kind), text)
        for kind, pattern in CHANCE:
            text = re.sub(pattern, partial(self._named, kind), text)
        return text

    def _named(self, kind: str, found: re.Match[str]) -> str:
        value = found[found.re.groups and 1]
        count = sum(one == kind for one, _ in self._seen) + 1
        number = self._seen.setdefault((kind, value), count)
        return _exchanged(found, f"<{kind} {number}>")


def _unnumbered(kind: str, found: re.Match[str]) -> str:
    return _exchanged(found, f"<{kind}>")


def _exchanged(found: re.Match[str], by: str) -> str:
    """The whole match with `by` in the place of its value."""
    (begin, end), (first, last) = found.span(), found.span(found.re.groups and 1)
    text = found.string
    return f"{text[begin:first]}{by}{text[last:end]}"
