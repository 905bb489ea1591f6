"""What a run has seen: cases by operation and verdict, what was reached of README's refusals, and every difference."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from tests.differential.corpus import Case
from tests.differential.decided import Decided
from tests.differential.inputs import README
from tests.differential.sides import Verdict

_SHOWN: Final = 600  # characters of an input or of a verdict
_ROW: Final = "{:<20} {:>8} {:>9} {:>8} {:>9} {:>8}  {}"


def verdict_in_words(verdict: Verdict) -> str:
    """`accepted`, `code: detail` of the check that failed, or `raised`; what varies within a text is left out."""
    if "refused" in verdict:
        refused = verdict["refused"]
        return f"{refused['code']}: {_kind_of(refused['detail'])}".removesuffix(": ")
    if "out" not in verdict:
        return next(iter(verdict))
    return ", ".join(verdict["out"].get("said", ())) or "accepted"


def _kind_of(detail: str) -> str:
    """A detail without the numbers and texts of its case."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|[0-9a-f]{8,}|\b[0-9][0-9a-fx.]*\b", "...", detail)[:100]


def differs_in(old: Verdict, new: Verdict) -> str:
    """Where two verdicts differ whose words are the same: names of fields. Empty: nowhere."""
    if old == new or ("raised" in old and "raised" in new):
        return ""
    kind = next(iter(old))
    if kind == "out" and old["out"] == new["out"]:
        return "what is read, written again"
    names = sorted({*old[kind], *new[kind]})
    pairs = [(one, (old[kind].get(one), new[kind].get(one))) for one in names]
    return ", ".join(_where(one, *values) for one, values in pairs if values[0] != values[1])


def _where(name: str, old: Any, new: Any) -> str:
    """The field `name` itself; of as many audit events as before, the fields of those that differ."""
    if name != "events" or len(old) != len(new):
        return name
    pairs = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    fields = {
        f"{key} of {one['event']}/{one.get('code')}"
        for one, other in pairs
        for key in {*one, *other}
        if one.get(key) != other.get(key)
    }
    return f"events: {', '.join(sorted(fields))}"


@define
class Difference:
    """Cases in which the versions differ in the same words."""

    op: str
    old: str
    new: str
    cases: list[tuple[Case, Verdict, Verdict]] = field(factory=list)
    decided: Decided | None = None

    def lines(self) -> Iterator[str]:
        """The first case, whole enough to be understood."""
        case, old, new = self.cases[0]
        where = f"decided by {self.decided.page}" if self.decided else "not decided"
        yield f"{self.op}: {len(self.cases)} cases, {where}"
        yield f"  old: {self.old}"
        yield f"  new: {self.new}"
        if self.decided is None:
            yield f"  case {case.number} ({case.way}, from {case.origin!r}): {_short(case.as_json()['in'])}"
            yield f"  old says {_short(old)}"
            yield f"  new says {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


@define
class Report:
    """Counts of a run, and what differs."""

    decided: Sequence[Decided] = ()
    cases: Counter[str] = field(factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(factory=Counter)
    sealed: Counter[str] = field(factory=Counter)
    codes: dict[str, set[str]] = field(factory=dict)
    codes_behind: set[tuple[str, str]] = field(factory=set)
    unknown: Counter[str] = field(factory=Counter)
    differences: dict[tuple[str, str, str], Difference] = field(factory=dict)

    def note(self, case: Case, old: Verdict, new: Verdict) -> None:
        """Counts a case, and compares its two verdicts."""
        kind = next(iter(old))
        self.cases[case.op] += 1
        self.verdicts[case.op, kind] += 1
        self.sealed[case.op] += case.way == "sealed"
        for code in [old[kind]["code"]] if kind == "refused" else old["out"].get("said", ()) if kind == "out" else ():
            self.codes.setdefault(case.op, set()).add(code)
            if case.way == "sealed":
                self.codes_behind.add((case.op, code))
        if "unknown" in old or "unknown" in new:
            self.unknown[case.op] += 1
            return
        words = verdict_in_words(old), verdict_in_words(new)
        if words[0] != words[1]:
            self._differ(case, old, new, *words)
        elif fields := differs_in(old, new):
            self._differ(case, old, new, words[0], f"{words[1]} [differs in {fields}]")

    def _differ(self, case: Case, old: Verdict, new: Verdict, *words: str) -> None:
        key = case.op, words[0], words[1]
        if key not in self.differences:
            decided = next((one for one in self.decided if one.meets(*key)), None)
            self.differences[key] = Difference(*key, decided=decided)
        self.differences[key].cases.append((case, old, new))

    @property
    def undecided(self) -> list[Difference]:
        """What nobody has decided."""
        return [one for one in self.differences.values() if one.decided is None]

    @property
    def stale(self) -> list[Decided]:
        """Decisions that met no difference."""
        used = [one.decided for one in self.differences.values()]
        return [one for one in self.decided if one not in used]

    def lines(self) -> Iterator[str]:
        """Everything, for people; differences last."""
        yield _ROW.format("operation", "cases", "accepted", "refused", "by chance", "sealed", "codes")
        for op, count in sorted(self.cases.items()):
            kinds = (self.verdicts[op, one] for one in ("out", "refused", "raised"))
            yield _ROW.format(op, count, *kinds, self.sealed[op], len(self.codes.get(op, ())))
        kinds = (sum(self.verdicts[op, one] for op in self.cases) for one in ("out", "refused", "raised"))
        yield _ROW.format("all", self.cases.total(), *kinds, self.sealed.total(), sum(map(len, self.codes.values())))
        yield from self._reached()
        if self.unknown:
            yield f"not compared, since one version does not know them: {', '.join(sorted(self.unknown))}"
        for difference in sorted(self.differences.values(), key=lambda one: (one.decided is not None, -len(one.cases))):
            yield from difference.lines()
        open_ones = self.undecided
        yield (
            f"{self.cases.total()} cases: {sum(len(one.cases) for one in open_ones)} differences of {len(open_ones)} "
            f"kinds that nobody has decided, {len(self.differences) - len(open_ones)} kinds that a page decides"
        )

    def _reached(self) -> Iterator[str]:
        listed = {(op, pair.partition("/")[2]) for op, section in README.operations.items() for pair in section.refused}
        named = {pair for pair in listed if pair[1] != "*"}
        reached = {(op, code) for op, codes in self.codes.items() for code in codes}
        yield (f"{len(reached)} pairs of operation and code, {len(self.codes_behind)} of them behind the cryptography; "
               f"{len(named & reached)} of the {len(named)} that tests/vectors/README.md lists")  # fmt: skip
        if missing := sorted(named - reached):
            yield f"not reached: {', '.join('/'.join(pair) for pair in missing)}"

    def write(self, path: Path) -> None:
        """Every case that differs, decided or not, one JSON object a line."""
        with path.open("w", encoding="utf-8") as file:
            for case, old, new in _all_cases(self.differences.values()):
                row = {"number": case.number, **case.as_json(), "old": old, "new": new}
                file.write(json.dumps(row) + "\n")


def _all_cases(differences: Iterable[Difference]) -> Iterator[tuple[Case, Verdict, Verdict]]:
    for one in differences:
        yield from one.cases
