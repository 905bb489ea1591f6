"""Reads a realm file: TOML in, a document out, or one error with file, line, cause and remedy.

Pure; knows no realm to compare with. What it does not understand it refuses, and keys and secrets before all else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen

from orthros_kdc.policy.model import GROUP_PREFIX, RealmLimits, Selector
from orthros_kdc.policy.realm_document import JwtFacts, RealmDocument, Source, mentions
from orthros_kdc.policy.realm_file_lines import Lines, Path
from orthros_kdc.policy.rule import CONDITIONS, Rule
from orthros_kdc.policy.rule_table import ConditionShape
from orthros_kdc.policy.sources import check_sources
from orthros_kdc.reasons import ALREADY_EXISTS
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import MAX_INT
from orthros_protocol.primitives.names import check_name, check_scopes
from orthros_protocol.primitives.redaction import redact_text
from orthros_protocol.reasons.table import reason_for

__all__ = ["NO_LIMIT", "FactChecks", "parse_realm", "warnings_of"]

NO_LIMIT: Final = "none"
_VERSION: Final = 1
_SECRET_WORDS: Final = frozenset(
    (
        *("client_secret", "jwk", "k", "key", "key_file", "keys", "keytab", "master_key", "oauth_secret", "password"),
        *("root", "secret", "secrets", "token"),
    )
)
_NO_SECRETS: Final = (
    "Take it out: keys and secrets never stand in a realm file. `orthros-admin key export NAME` hands over a key. "
    "Rotate what others may have read."
)
_NAMES: Final = (
    "Write lower-case letters and digits, with single . _ - / between them; `kdc/` is the KDC's. A name with . or / "
    'needs quotes: `[principals."shop/orders"]`.'
)
_ONCE: Final = "Take one of the two out."
_TOGETHER: Final = "Take one of the two out, or write two rules."
_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")


@frozen(kw_only=True)
class FactChecks:
    """How facts are read that mean something outside policy: each returns the canonical form, or raises
    Misconfigured."""

    issuer: Callable[[str], str]
    jwt_alg: Callable[[str], str]
    jwt_audience: Callable[[str], str]
    token_claims: Callable[[Sequence[str]], tuple[str, ...]]


@frozen
class _Key:
    """One key of a table: what stands there, as words and as a sample, which types may, and how it is read."""

    sample: str
    words: str
    types: tuple[type, ...]
    read: Callable[[Any], object]


def _as_is(value: object) -> object:
    return value


def _seconds(value: int | str) -> int | None:
    if value == NO_LIMIT:
        return None
    if type(value) is not int or not 1 <= value <= MAX_INT:
        raise Misconfigured("value-invalid", f"{value!r} is neither seconds from 1 nor {NO_LIMIT!r}")
    return value


def _whole(sample: str, read: Callable[[Any], object] = _as_is) -> _Key:
    return _Key(sample, "a whole number", (int,), read)


def _switch(sample: str) -> _Key:
    return _Key(sample, "true or false", (bool,), _as_is)


def _text(sample: str, read: Callable[[Any], object] = _as_is) -> _Key:
    return _Key(sample, "a text in quotes", (str,), read)


def _texts(sample: str, read: Callable[[Any], object] = _as_is) -> _Key:
    return _Key(sample, "a list of texts", (list,), read)


def _principal_name(name: str) -> str:
    if check_name(name, "principal").partition("/")[0] == "kdc":
        raise Misconfigured("conflict", f"{name}: names under kdc/ belong to the KDC itself")
    return name


def _name_or_false(value: str | bool) -> str | None:
    if value is True:
        raise Misconfigured("value-invalid", "true names no principal")
    return None if value is False else _principal_name(value)


def _selector(text: str) -> Selector:
    selector = Selector.parse(text)
    return selector if selector.is_group else Selector(_principal_name(text))


def _limit_of(name: str) -> Callable[[int], int]:
    def read(value: int) -> int:
        RealmLimits(**{name: value})
        return value

    return read


_KEYS: Final = {
    ConditionShape.SWITCH: _switch,
    ConditionShape.COUNT: _whole,
    ConditionShape.SECONDS: _whole,
    ConditionShape.TEXT: _text,
    ConditionShape.TEXTS: _texts,
}
_RULE: Final[Mapping[str, _Key]] = {
    "client": _text('client = "gateway"', _selector),
    "target": _text('target = "orders"', _selector),
    "scopes": _texts('scopes = ["read"]', check_scopes),
    **{row.key: _KEYS[row.shape](f"{row.key} = {row.sample}") for row in CONDITIONS},
}
_FIELDS: Final = {row.key: row.attribute for row in CONDITIONS}


def parse_realm(text: str, checks: FactChecks, *, source: str = "realm file") -> RealmDocument:
    """The document that `text` holds. `source` is its name in errors.

    Raises Misconfigured, with file, line and a remedy of its own: `value-invalid`, `name-invalid`, `scope-invalid`,
    `already-exists` for what stands there twice, `conflict` for names of the KDC's own, `not-found` for a group that
    no entry of [groups] defines.
    """
    _refuse_secrets(text, source)
    try:
        tree = tomllib.loads(text)
        place = Source(name=source, tree=tree, lines=Lines.of(text))
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(str(error), text, source) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, a list in a list in a list ...
        raise _not_toml("a value is too long or nested too deep", text, source) from None
    return _Reader(place, checks).document()


def warnings_of(document: RealmDocument) -> tuple[str, ...]:
    """What only a realm can tell whether it is right: principals that the file names and does not define. Also that it
    does not name its realm, without which no realm takes it."""
    source = document.source
    nameless = f"{source.name}, line {source.line('realm')}: [realm] has no name, so that no realm takes the file"
    return (() if document.name is not None else (nameless,)) + tuple(
        f"{source.name}, line {source.line(*one.path)}: {one} is not defined here, so the realm must have it already"
        for one in mentions(document)
        if not one.is_group and one.name not in document.principals
    )


def _refuse_secrets(text: str, source: str) -> None:
    if redact_text(text) == text:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if redact_text(line) != line:
            remedy = evolve(reason_for("value-invalid"), remedy=_NO_SECRETS)
            raise Misconfigured(remedy, f"{source}, line {number}: a key, a client secret or a token stands here")


def _not_toml(seen: str, text: str, source: str) -> Misconfigured:
    found = _LINE.search(seen)
    line = (found and found[1]) or str(text.rstrip().count("\n") + 1)
    reason = evolve(reason_for("value-invalid"), remedy="Correct the line: a realm file is TOML (https://toml.io).")
    return Misconfigured(reason, f"{source}, line {line}: {_LINE.sub('', seen)}")


@frozen
class _Reader:
    source: Source
    checks: FactChecks

    def document(self) -> RealmDocument:
        top = self.source.tree
        self._version(top.get("version"))
        known = ("version", "realm", "principals", "groups", "rules")
        for key in top:
            self._known((key,), key, known)
        facts = self._facts(("realm",), self._table(("realm",), top.get("realm", {})), self._realm_keys())
        document = RealmDocument(
            name=facts.pop("name", None),
            realm=facts,
            principals=self._principals(top.get("principals", {})),
            groups=self._groups(top.get("groups", {})),
            rules=self._rules(top.get("rules", [])),
            source=self.source,
        )
        self._groups_defined(document)
        return document

    def _version(self, found: object) -> None:
        if type(found) is int and found > _VERSION:
            seen = f"version {found}, this program knows {_VERSION}"
            raise self.source.refusal(("version",), "value-invalid", seen, "Use the program that wrote the file.")
        if type(found) is not int or found != _VERSION:
            seen = "the version is missing" if found is None else "this is no version of a realm file"
            raise self.source.refusal(
                ("version",), "value-invalid", seen, f"Begin the file with `version = {_VERSION}`."
            )

    # Tables and keys

    def _table(self, path: Path, value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            seen = f"{path[-1]} is not a table"
            raise self.source.refusal(path, "value-invalid", seen, f"Write it as a table, `[{_dotted(path)}]`.")
        return value

    def _known(self, path: Path, key: str, known: Collection[str]) -> None:
        if key in known:
            return
        if key.lower().replace("-", "_") in _SECRET_WORDS:
            raise self.source.refusal(path, "value-invalid", f"{key} is a secret's place", _NO_SECRETS)
        near = get_close_matches(key, known, n=1)
        remedy = f"Did you mean `{near[0]}`? " if near else "Take it out. "
        remedy += f"Known here: {', '.join(known)}."
        raise self.source.refusal(path, "value-invalid", f"unknown key {key!r}", remedy)

    def _facts(self, path: Path, table: Mapping[str, Any], keys: Mapping[str, _Key]) -> dict[str, Any]:
        """Each value of a table, read."""
        found = {}
        for key, value in table.items():
            self._known((*path, key), key, keys)
            found[key] = self._value((*path, key), keys[key], value)
        return found

    def _value(self, path: Path, key: _Key, value: object) -> object:
        if type(value) not in key.types:
            raise self.source.refusal(path, "value-invalid", f"{path[-1]} is {key.words}", _like(key.sample))
        if isinstance(value, list):
            for number, one in enumerate(value):
                if type(one) is not str:
                    seen = f"{path[-1]} is a list of texts"
                    raise self.source.refusal((*path, number), "value-invalid", seen, _like(key.sample))
        return self._read(path, key.read, value, _like(key.sample))

    def _read(self, path: Path, read: Callable[[Any], object], value: object, remedy: str) -> Any:
        """`read(value)`, whose error gets the line: in a list, that of the element which is refused by itself too."""
        try:
            return read(value)
        except Misconfigured as error:
            refused = error
        for number, one in enumerate(value if isinstance(value, list) else ()):
            try:
                read([one])
            except Misconfigured as error:
                path, refused = (*path, number), error
                break
        raise self.source.refusal(path, refused.reason, refused.detail, remedy) from None

    # What may stand where

    def _realm_keys(self) -> dict[str, _Key]:
        keys = {name: _whole(f"{name} = 3600", _limit_of(name)) for name in ("max_ticket_s", "max_tgt_s", "max_jwt_s")}
        name = _text('name = "corp.example"', lambda text: check_name(text, "realm"))
        return {"name": name, "issuer": _text('issuer = "https://kdc.example"', self.checks.issuer), **keys}

    def _principals(self, value: object) -> dict[str, dict[str, Any]]:
        cap = f'a whole number of seconds, or "{NO_LIMIT}"'
        keys = {
            "disabled": _switch("disabled = true"),
            "max_ticket_s": _Key("max_ticket_s = 600", cap, (int, str), _seconds),
            "max_jwt_s": _Key("max_jwt_s = 300", cap, (int, str), _seconds),
            "sources": _texts('sources = ["10.0.0.0/8"]', check_sources),
            "oauth": _switch("oauth = true"),
            "jwt": _Key('jwt = { alg = "HS256" }', "a table, or false", (dict, bool), _as_is),
            "token_claims": _texts('token_claims = ["tenant"]', self.checks.token_claims),
            "default_audience": _Key(
                'default_audience = "orders"', "the name of a principal, or false", (str, bool), _name_or_false
            ),
        }
        found = {}
        for name, table in self._table(("principals",), value).items():
            path = ("principals", name)
            self._read(path, _principal_name, name, _NAMES)
            facts = self._facts(path, self._principal(path, table), keys)
            if "jwt" in facts:
                facts["jwt"] = self._jwt((*path, "jwt"), facts["jwt"])
            found[name] = facts
        return found

    def _principal(self, path: Path, value: object) -> Mapping[str, Any]:
        table = self._table(path, value)
        for key, below in table.items():
            if isinstance(below, dict) and key != "jwt":
                seen = f"{key} is a table within principal {path[-1]}"
                raise self.source.refusal((*path, key), "value-invalid", seen, _NAMES)
        return table

    def _jwt(self, path: Path, value: object) -> JwtFacts | None:
        if value is True:
            raise self.source.refusal(
                path, "value-invalid", "jwt is a table, or false", _like('jwt = { alg = "HS256" }')
            )
        keys = {
            "alg": _text('jwt = { alg = "HS256" }', self.checks.jwt_alg),
            "audience": _text('jwt = { audience = "https://orders.example" }', self.checks.jwt_audience),
        }
        return None if value is False else JwtFacts(**self._facts(path, self._table(path, value), keys))

    def _groups(self, value: object) -> dict[str, tuple[str, ...]]:
        found = {}
        for group, members in self._table(("groups",), value).items():
            path = ("groups", group)
            self._read(path, lambda name: check_name(name, "group"), group, _NAMES)
            self._value(path, _texts(f'{group} = ["orders"]'), members)
            before: set[str] = set()
            for number, member in enumerate(members):
                self._member((*path, number), member, before)
                before.add(member)
            found[group] = tuple(members)
        return found

    def _member(self, path: Path, member: str, before: Collection[str]) -> None:
        if member.startswith(GROUP_PREFIX):
            seen, remedy = f"{member}: groups hold no groups", "Name the principals themselves."
            raise self.source.refusal(path, "value-invalid", seen, remedy)
        self._read(path, _principal_name, member, _NAMES)
        if member in before:
            raise self.source.refusal(path, ALREADY_EXISTS, f"{member} is in this group twice", _ONCE)

    def _rules(self, value: object) -> tuple[Rule, ...]:
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            seen = "rules are a list of tables"
            raise self.source.refusal(("rules",), "value-invalid", seen, "Begin each rule with `[[rules]]`.")
        found: dict[Rule, int] = {}
        for number, table in enumerate(value):
            rule = self._rule(("rules", number), table)
            if rule in found:
                seen = f"the same rule as on line {self.source.line('rules', found[rule])}"
                raise self.source.refusal(("rules", number), ALREADY_EXISTS, seen, _ONCE)
            found[rule] = number
        return tuple(found)

    def _rule(self, path: Path, table: Mapping[str, Any]) -> Rule:
        values = self._facts(path, table, _RULE)
        for end in ("client", "target"):
            if end not in values:
                raise self.source.refusal(
                    path, "value-invalid", f"{end} is missing", f"Add {end}: `{_RULE[end].sample}`."
                )
        ends = {end: values.pop(end) for end in ("client", "target")}
        # Each key by itself first, because only so its line is known.
        for key, value in values.items():
            self._read((*path, key), partial(_built_with, ends, key), value, _like(_RULE[key].sample))
        rule: Rule = self._read(path, partial(_built, ends), values, _TOGETHER)
        return rule

    def _groups_defined(self, document: RealmDocument) -> None:
        for one in mentions(document):
            if one.is_group and one.name not in document.groups:
                near = get_close_matches(one.name, document.groups, n=1)
                remedy = f"Write {GROUP_PREFIX}{near[0]}, or define" if near else "Define"
                remedy += f" it in the table [groups]: `{_dotted((one.name,))} = []`."
                raise self.source.refusal(one.path, "not-found", f"no group is called {one.name}", remedy)


def _built(ends: Mapping[str, Any], values: Mapping[str, Any]) -> Rule:
    said = {_FIELDS.get(key, key): value for key, value in values.items()}
    return Rule(rule_id=0, **ends, **({"scopes": ()} | said))


def _built_with(ends: Mapping[str, Selector], key: str, value: object) -> Rule:
    return _built(ends, {key: value})


def _like(sample: str) -> str:
    return f"Write it like this: `{sample}`."


def _dotted(path: Path) -> str:
    return ".".join(
        part if isinstance(part, str) and re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path
    )
