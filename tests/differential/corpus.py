"""The cases: what each number stands for, always the same. Knows neither of the two versions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from attrs import frozen

from tests.differential.forging import FORGES, SHAPED, UNOPENED, Faults, Forge
from tests.differential.forging_text import TEXT_FORGES
from tests.differential.inputs import Inputs, Vector, changed_inputs, vectors
from tests.differential.kdc_cases import kdc_inputs
from tests.support.second_implementation import as_digits

EVERY_FORGE: Final = FORGES | TEXT_FORGES
_SHARE_OF_VECTORS: Final = 8  # at most one case of this many is a vector as it is
_SHARE_OF_KDC: Final = 0.05  # each takes ten times as long as another case
# Operations whose reader has most to decide get a larger share than their neighbours.
_WEIGHTS: Final = {
    "accept": 12, "verify-tgs-req": 8, "open-tgs-rep": 6, "open-as-rep": 4, "verify-as-req": 4, "open-ap-rep": 4,
    "open-ticket": 5, "kdc-mark": 3, "caveat": 6, "judge-caveat": 4, "open-demand": 4, "open-hand-over": 4, "decode": 4,
    "open-token": 4, "verify-signature": 3, "authorization": 3, "open-http-reply": 3, "key-file": 2, "read-wants": 3,
    "open-discharge": 2, "judge-discharge": 2, "carry": 2, "challenge": 2, "bind-http": 2, "request-fields": 2,
}  # fmt: skip


@frozen
class Case:
    """One call of one operation. `way`: a vector as it is, one with changed inputs, or one that is sealed again."""

    number: int
    op: str
    given: Inputs
    way: str
    origin: str

    def as_json(self) -> dict[str, Any]:
        """What a runner reads."""
        return {"op": self.op, "in": as_digits(self.given)}


@cache
def _by_operation() -> dict[str, list[Vector]]:
    found: dict[str, list[Vector]] = {}
    for vector in vectors():
        found.setdefault(vector["op"], []).append(vector)
    return found


@cache
def _accepted() -> dict[str, list[Vector]]:
    found = {op: [one for one in held if "out" in one] for op, held in _by_operation().items()}
    return {op: held for op, held in found.items() if held}


@cache
def _shares() -> tuple[list[str], list[int]]:
    operations = list(_by_operation())
    return operations, [_WEIGHTS.get(op, 1) for op in operations]


def cases(count: int, seed: int, kdc: Inputs | None = None) -> Iterator[Case]:
    """All cases of a run of this many; with the facts of a whole KDC, some of them are for it."""
    return (case(number, seed, count, kdc) for number in range(count))


def case(number: int, seed: int, count: int, kdc: Inputs | None = None) -> Case:
    """One case of a run of `count`. The first are vectors as they are; the others have one fault or more each, most of
    them behind the cryptography."""
    as_they_are = min(len(vectors()), count // _SHARE_OF_VECTORS)
    if number < as_they_are:
        vector = vectors()[number * len(vectors()) // as_they_are]
        return Case(number, vector["op"], vector["in"], "vector", vector["name"])
    rng = random.Random(seed << 32 | number)
    if kdc is not None and rng.random() < _SHARE_OF_KDC:
        given, way = kdc_inputs(rng, kdc)
        return Case(number, "kdc", given, way, "a realm of every kind of rule")
    operations, shares = _shares()
    op = rng.choices(operations, shares)[0]
    vector = rng.choice(_accepted()[op] if op in _accepted() and rng.random() < 0.6 else _by_operation()[op])
    given, way = vector["in"], "changed"
    forge = EVERY_FORGE.get(op)
    if forge is not None and rng.random() < 0.85:
        try:
            given, way = forge.work(Faults(rng, _layers(rng, forge)), given), "sealed"
        except UNOPENED:
            way = "changed"
    more = 1 if way == "changed" else rng.choices((0, 1), (3, 1))[0]
    more += rng.choices((0, 1), (3, 1))[0] if way == "changed" else 0
    for _ in range(more):
        given = changed_inputs(rng, op, given)
    return Case(number, op, given, way, vector["name"])


def _layers(rng: random.Random, forge: Forge) -> tuple[str, ...]:
    """Where the faults of a case are to be: in half of them all are such that the message stays well formed."""
    if SHAPED in forge.layers and rng.random() < 0.5:
        return (SHAPED,) * rng.choice((1, 1, 2, 2, 3))
    return tuple(rng.choices(forge.layers, k=rng.choices((1, 2, 3), (6, 3, 1))[0]))
