"""Reads tests/vectors/README.md as a description of the vectors, and says where a vector differs from it.

Knows the types of the page; what an operation computes is not known here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import field, frozen

PAGE = Path(__file__).parent / "README.md"
MOST_EXACT = 2**53 - 1
_ROW = re.compile(r"^\|(?: (?P<side>in|out) \|)? (?P<field>`[^`]+`|\*) \| (?P<type>[^|]+) \|")
_TOKEN = re.compile(r"list of|map of|[a-z-]+|[()\[\],]")
_LEAVES = {"hex", "int", "text", "bool", "null", "item", "any"}

Fields = dict[str, str]


@frozen
class Section:
    """One operation or shape: the types of its fields by name, and what it refuses as `stage/code`."""

    fields: dict[str, Fields] = field(factory=dict)
    refused: frozenset[str] = frozenset()
    alias: str = ""  # of a shape that is no object

    def refuses(self, pair: str) -> bool:
        """Whether it refuses so: `*` is any code, since a peer may send every one of them."""
        return pair in self.refused or f"{pair.partition('/')[0]}/*" in self.refused


@frozen
class Page:
    """The whole page."""

    operations: dict[str, Section]
    shapes: dict[str, Section]

    def problems(self, vector: dict[str, Any]) -> list[str]:
        """How a vector differs from the page."""
        section = self.operations.get(vector["op"])
        if section is None:
            return [f"{vector['op']} has no section"]
        found = self._object(vector["in"], section.fields.get("in", {}), "in")
        if "out" in vector:
            return found + self._object(vector["out"], section.fields.get("out", {}), "out")
        pair = f"{vector['stage']}/{vector['code']}"
        return found if section.refuses(pair) else [*found, f"{pair} is not listed"]

    def known(self, name: str) -> Fields:
        """The fields of a shape."""
        return self.shapes[name].fields[""]

    def _object(self, value: Any, fields: Fields, where: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no object"]
        fields = dict(fields)
        fields |= self.known(fields.pop("*")) if "*" in fields else {}
        found = [f"{where}.{name} is missing" for name in fields if not name.endswith("?") and name not in value]
        for name, one in value.items():
            kind = fields.get(name) or fields.get(f"{name}?")
            if kind is None:
                found.append(f"{where}.{name} is not documented")
            elif not self.fits(one, kind):
                found.append(f"{where}.{name} is not {kind}")
        return found

    def fits(self, value: Any, kind: str) -> bool:
        """Whether a JSON value is of this type."""
        return self._fits(value, parsed(kind))

    def _fits(self, value: Any, kind: Any) -> bool:
        word, *parts = kind
        if word == "or":
            return any(self._fits(value, part) for part in parts)
        if word == "list of":
            return isinstance(value, list) and all(self._fits(one, parts[0]) for one in value)
        if word == "map of":
            return isinstance(value, dict) and all(self._fits(one, parts[0]) for one in value.values())
        if word == "[":
            return (
                isinstance(value, list)
                and len(value) == len(parts)
                and all(self._fits(one, part) for one, part in zip(value, parts, strict=True))
            )
        if word in _LEAVES:
            return _is_leaf(value, word)
        shape = self.shapes[word]
        return self.fits(value, shape.alias) if shape.alias else self._object(value, shape.fields[""], word) == []


def _is_integer(value: Any) -> bool:
    if isinstance(value, dict):
        digits = value.get("int")
        if set(value) != {"int"} or not isinstance(digits, str) or not digits.isdecimal():
            return False
        return digits == str(int(digits)) and int(digits) > MOST_EXACT
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_EXACT


def _is_leaf(value: Any, word: str) -> bool:
    if word == "any":
        return True
    if word == "null":
        return value is None
    if word == "bool":
        return isinstance(value, bool)
    if word == "int":
        return _is_integer(value)
    if word == "text":
        return isinstance(value, str)
    if word == "hex":
        return isinstance(value, str) and re.fullmatch(r"(?:[0-9a-f]{2})*", value) is not None
    if isinstance(value, list):
        return all(_is_leaf(one, "item") for one in value)
    if isinstance(value, dict) and set(value) == {"bin"}:
        return _is_leaf(value["bin"], "hex")
    return value is None or isinstance(value, str) or _is_integer(value)


def parsed(kind: str) -> Any:
    """The tree of a type: its word, then the trees of its parts."""
    tokens = _TOKEN.findall(kind)
    if "".join(tokens).replace(" ", "") != kind.replace(" ", ""):
        raise ValueError(f"not a type of the page: {kind}")
    tree = _either(tokens)
    if tokens:
        raise ValueError(f"more than a type: {kind}")
    return tree


def _either(tokens: list[str]) -> Any:
    parts = [_one(tokens)]
    while tokens[:1] == ["or"]:
        tokens.pop(0)
        parts.append(_one(tokens))
    return parts[0] if len(parts) == 1 else ["or", *parts]


def _one(tokens: list[str]) -> Any:
    word = tokens.pop(0)
    if word in ("list of", "map of"):
        return [word, _one(tokens)]
    if word not in ("(", "["):
        return [word]
    parts = [_either(tokens)]
    while tokens[0] == ",":
        tokens.pop(0)
        parts.append(_either(tokens))
    tokens.pop(0)
    return parts[0] if word == "(" else ["[", *parts]


def read_page(text: str) -> Page:
    """The page, from its Markdown."""
    operations, shapes = {}, {}
    for part in re.split(r"(?m)^#+ ", text):
        head, _, body = part.partition("\n")
        if operation := re.fullmatch(r"`([^`]+)`", head):
            operations[operation[1]] = _section(body)
        elif shape := re.fullmatch(r"\*([^*]+)\*", head):
            shapes[shape[1]] = _section(body)
    return Page(operations, shapes)


def _section(body: str) -> Section:
    fields: dict[str, Fields] = {}
    for line in body.splitlines():
        if row := _ROW.match(line):
            fields.setdefault(row["side"] or "", {})[row["field"].strip("`")] = row["type"].strip()
    refused = re.search(r"(?ms)^Refused: (.*?)\.$", body)
    alias = re.search(r"Written as `([^`]+)`\.", body)
    return Section(
        fields,
        frozenset(re.findall(r"`([a-z-]+/(?:[a-z-]+|\*))`", refused[1])) if refused else frozenset(),
        alias[1] if alias else "",
    )
