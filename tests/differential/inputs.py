"""Faults in the inputs of an operation, each of the type that tests/vectors/README.md gives its field.

What a message encodes is changed inside, but nothing is sealed again: that is the work of `forging`.
"""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any, Final

from tests.differential import items
from tests.support.second_implementation import as_integers
from tests.vectors.pages import PAGE, Fields, parsed, read_page

Inputs = dict[str, Any]
Vector = dict[str, Any]
README: Final = read_page(PAGE.read_text(encoding="utf-8"))
_FIXED: Final = (8, 16, 24, 32, 64)  # bytes of keys and nonces: of another length they are refused at once
# Words of the vectors' own language: another one says nothing about the protocol.
_CHOICES: Final = ("of", "type", "alg", "repetition", "error", "code")
_MOST_EARLIER: Final = 3  # an operation runs this often


@cache
def vectors() -> tuple[Vector, ...]:
    """The committed vectors in the order of the files, with plain integers."""
    # Changed fields are what cases are made of anyway; more of them would leave fewer cases of everything else.
    files = sorted(file for file in PAGE.parent.glob("*.json") if not file.name.startswith("fields-"))
    return tuple(as_integers(one) for file in files for one in json.loads(file.read_text(encoding="utf-8"))["vectors"])


@cache
def _tree(kind: str) -> Any:
    return parsed(kind)


@cache
def _seen() -> dict[tuple[str, str], list[Any]]:
    """What the vectors hold in fields of this name and type."""
    found: dict[tuple[str, str], list[Any]] = {}

    def note(value: Inputs, fields: Fields) -> None:
        for name, one in value.items():
            kind = fields[name]
            found.setdefault((name, kind), []).append(one)
            if kind in README.shapes and isinstance(one, dict):
                note(one, _plainly(README.known(kind)))

    for vector in vectors():
        note(vector["in"], fields_of(vector["op"]))
    return found


def _plainly(fields: Fields) -> Fields:
    """The same fields; one that may be absent is here under its plain name as well."""
    return {name.rstrip("?"): kind for name, kind in fields.items()}


@cache
def caveats() -> tuple[bytes, ...]:
    """Every caveat that the vectors hold, right or wrong."""
    return tuple(bytes.fromhex(one["in"]["caveat"]) for one in vectors() if "caveat" in one["in"])


@cache
def fields_of(op: str) -> Fields:
    """The types of an operation's inputs by name; an optional field is here under its plain name."""
    fields = dict(README.operations[op].fields.get("in", {}))
    fields |= README.known(fields.pop("*")) if "*" in fields else {}
    return _plainly(fields)


def changed_inputs(rng: random.Random, op: str, given: Inputs) -> Inputs:
    """The inputs with one fault in one field; at times a field takes what another vector has there."""
    if not given:
        return given
    return _changed_field(rng, given, rng.choice(list(given)), fields_of(op))


def _changed_field(rng: random.Random, given: Inputs, name: str, fields: Fields) -> Inputs:
    kind = fields[name]
    known = _seen().get((name, kind))
    if known and (name in _CHOICES or rng.random() < 0.15):
        return given | {name: rng.choice(known)}
    value = _changed(rng, given[name], _tree(kind))
    if name == "earlier" and isinstance(value, int):
        value = min(value, _MOST_EARLIER)
    return given | {name: value}


def _changed(rng: random.Random, value: Any, tree: Any) -> Any:
    word, *parts = tree
    if word == "or":
        if value is None or (["null"] in parts and rng.random() < 0.15):
            return None
        return _changed(rng, value, next(part for part in parts if _may_be(value, part)))
    if word in ("list of", "["):
        return _changed_list(rng, value, parts, free=word == "list of")
    if word == "map of":
        return _changed_map(rng, value, parts[0])
    if word in README.shapes:
        shape = README.shapes[word]
        return _changed(rng, value, _tree(shape.alias)) if shape.alias else _changed_shape(rng, value, shape.fields[""])
    return _changed_leaf(rng, value, word)


def _may_be(value: Any, tree: Any) -> bool:
    """Whether a part of a choice is meant; two shapes differ in the names of their fields."""
    shape = README.shapes.get(tree[0])
    if shape is None or shape.alias:
        return bool(tree != ["null"])
    return {*value} <= {name.rstrip("?") for name in shape.fields[""]}


def _changed_leaf(rng: random.Random, value: Any, word: str) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return items.number(rng, value)
    if isinstance(value, dict):  # an item that is a bin
        return {"bin": _changed_hex(rng, value["bin"])}
    if isinstance(value, list):
        return _changed_list(rng, value, [["item"]], free=True)
    if isinstance(value, str):
        return _changed_hex(rng, value) if word == "hex" else items.text(rng, value)
    return value


def _changed_hex(rng: random.Random, value: str) -> str:
    data = bytes.fromhex(value)
    if len(data) in _FIXED and rng.random() < 0.7:
        at = rng.randrange(len(data))
        return (data[:at] + rng.randbytes(1) + data[at + 1 :]).hex()
    return items.changed_bytes(rng, data).hex()


def _changed_list(rng: random.Random, value: list[Any], parts: list[Any], *, free: bool) -> list[Any]:
    """One member changed; where any number may be there, also one less, one more, or others first."""
    value = list(value)
    if not value:
        return value
    at = rng.randrange(len(value))
    kind = rng.randrange(6) if free else 5
    if kind == 0:
        return value[:at] + value[at + 1 :]
    if kind == 1:
        return [*value, value[at]]
    if kind == 2:
        return value[::-1]
    if kind == 3:
        return (value * 65)[: rng.choice(items.COUNTS) + rng.choice((0, 1))]
    value[at] = _changed(rng, value[at], parts[0] if free else parts[at])
    return value


def _changed_map(rng: random.Random, value: Inputs, part: Any) -> Inputs:
    if not value:
        return value
    name = rng.choice(list(value))
    if rng.random() < 0.2:
        return {one: value[one] for one in value if one != name}
    return value | {name: _changed(rng, value[name], part)}


def _changed_shape(rng: random.Random, value: Inputs, fields: Fields) -> Inputs:
    if not value:
        return value
    name = rng.choice(list(value))
    if f"{name}?" in fields and rng.random() < 0.1:
        return {one: value[one] for one in value if one != name}
    return _changed_field(rng, value, name, _plainly(fields))
