"""Checks a table of expectations, who may do what and who may not, against the rules: `policy test FILE`.

Takes text and look-ups; reads no file and no store, and leaves every decision to `decide`.

    [[expect]]
    client = "billing"
    target = "ledger"
    scopes = ["read", "admin"]       # optional, what the rules allow unasked when absent; also kind, ttl_s, delegable,
                                     # exact; subject (in whose name, by the client's word), or behalf (proven by
                                     # evidence) and via (the callers before the client); from (an IP address)
    granted = ["read"]               # exactly these; or refused = "not-granted"; also granted_ttl_s, and caveats
                                     # such as ["methods GET", "discharge approvals=four-eyes"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, field, frozen

from orthros_kdc.policy.ask_and_grant import Ask, Denial, Kind, acting_for
from orthros_kdc.policy.explain import KIND_WORDS, Explanation, caveat_texts, forecast
from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.policy.obstacles import FactsOf
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.policy.sources import LOCAL, check_address
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import check_name, check_scopes
from orthros_protocol.reasons.table import REASONS

__all__ = ["FailedExpectation", "Report", "read_ask", "run_expectations"]

_KINDS: Final = {word: kind for kind, word in KIND_WORDS.items()}
_CODES: Final = frozenset(reason.name for reason in REASONS)
_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*expect[ \t]*\]\]", re.MULTILINE)


@frozen(kw_only=True)
class FailedExpectation:
    """One expectation that does not hold. `explanation` is absent when a principal is unknown."""

    entry: int
    line: int | None
    expected: str
    found: str
    explanation: Explanation | None = field(default=None, repr=False)

    def __str__(self) -> str:
        where = f"entry {self.entry}" + (f", line {self.line}" if self.line else "")
        return f"{where}: expected {self.expected}, found {self.found}"


@frozen(kw_only=True)
class Report:
    """How many expectations were checked, and those that failed."""

    checked: int
    failures: tuple[FailedExpectation, ...] = ()


@frozen(kw_only=True)
class _Expectation:
    client: str
    ask: Ask
    address: str | None = None
    granted: tuple[str, ...] | None = None
    granted_ttl_s: int | None = None
    caveats: tuple[str, ...] | None = None
    refused: str | None = None


def _name(value: str) -> str:
    return check_name(value)


def _kind(value: str) -> Kind:
    if value not in _KINDS:
        raise Misconfigured("value-invalid", f"{value!r} is neither ticket nor jwt")
    return _KINDS[value]


def _code(value: str) -> str:
    if value not in _CODES:
        raise Misconfigured("value-invalid", f"{value!r} is not the code of a refusal")
    return value


def _seconds(value: int) -> int:
    if value < 0:
        raise Misconfigured("value-invalid", f"{value} s is negative")
    return value


def _as_given(value: bool) -> bool:
    return value


def _scopes(value: list[str]) -> tuple[str, ...]:
    if any(type(scope) is not str for scope in value):
        raise Misconfigured("scope-invalid", "expected a list of strings")
    check_scopes(value)
    return tuple(value)


def _texts(value: list[str]) -> tuple[str, ...]:
    if any(type(text) is not str for text in value):
        raise Misconfigured("value-invalid", "expected a list of strings")
    return tuple(value)


# Key -> the exact type in TOML, its name for people, and the reading of it.
_KEYS: Final[Mapping[str, tuple[type, str, Callable[[Any], object]]]] = {
    "client": (str, "a string", _name),
    "target": (str, "a string", _name),
    "kind": (str, "a string", _kind),
    "scopes": (list, "a list of strings", _scopes),
    "ttl_s": (int, "a whole number", _seconds),
    "exact": (bool, "true or false", _as_given),
    "delegable": (bool, "true or false", _as_given),
    "subject": (str, "a string", _name),
    "behalf": (str, "a string", _name),
    "via": (list, "a list of strings", _texts),
    "from": (str, "a string", check_address),
    "granted": (list, "a list of strings", _scopes),
    "granted_ttl_s": (int, "a whole number", _seconds),
    "caveats": (list, "a list of strings", _texts),
    "refused": (str, "a string", _code),
}
_OUTCOME: Final = ("granted", "granted_ttl_s", "caveats", "refused")


def run_expectations(
    text: str,
    policy: PolicySnapshot,
    *,
    facts_of: FactsOf,
    limits: RealmLimits,
    now: int,
    source: str = "expectations",
) -> Report:
    """Checks every `[[expect]]` of `text`. `facts_of` gives a principal's facts, None for an unknown name;
    `now` is the Unix second.

    Raises Misconfigured `value-invalid`, with `source`, entry and line, when the text cannot be used.
    """
    expectations = _parse(text, source)
    failures = []
    for number, (line, expected) in enumerate(expectations, 1):
        failure = _check(expected, policy, facts_of, limits, now)
        if failure is not None:
            failures.append(evolve(failure, entry=number, line=line))
    return Report(checked=len(expectations), failures=tuple(failures))


def _check(
    expected: _Expectation,
    policy: PolicySnapshot,
    facts_of: FactsOf,
    limits: RealmLimits,
    now: int,
) -> FailedExpectation | None:
    ask, wish = expected.ask, _wish(expected)
    # A misspelt name would make every expected refusal come true.
    named = (expected.client, ask.target, *(name for name in ask.path if "@" not in name))
    stranger = next((name for name in named if facts_of(name) is None), None)
    if stranger is not None:
        return FailedExpectation(entry=0, line=None, expected=wish, found=f"that no principal is called {stranger}")
    because = forecast(
        expected.client, ask, policy, facts_of=facts_of, limits=limits, now=now, address=expected.address
    )
    decision = because.decision
    if isinstance(decision, Denial):
        holds, found = decision.code == expected.refused, f"refused {decision.code}"
    else:
        holds = expected.refused is None
        holds &= expected.granted is None or set(expected.granted) == set(decision.scopes)
        holds &= expected.granted_ttl_s in (None, decision.ttl_s)
        caveats = caveat_texts(decision)
        holds &= expected.caveats is None or set(expected.caveats) == set(caveats)
        found = f"granted {' '.join(decision.scopes) or 'no scopes'} for {decision.ttl_s} s{_under(caveats)}"
    return None if holds else FailedExpectation(entry=0, line=None, expected=wish, found=found, explanation=because)


def _wish(expected: _Expectation) -> str:
    ask = expected.ask
    subject = "" if ask.subject is None else f" for {ask.subject}"
    through = f" through {' '.join(ask.path[:-1])}" if ask.path else ""
    place = "" if expected.address is None else f" from {expected.address or LOCAL}"
    pair = f"{expected.client} -> {ask.target}{subject}{through}{place}"
    if expected.refused is not None:
        return f"{pair} refused {expected.refused}"
    scopes = "" if expected.granted is None else f" {' '.join(expected.granted) or 'no scopes'}"
    life = "" if expected.granted_ttl_s is None else f" for {expected.granted_ttl_s} s"
    return f"{pair} granted{scopes}{life}{'' if expected.caveats is None else _under(expected.caveats)}"


def _under(caveats: Sequence[str]) -> str:
    return f" under {', '.join(caveats)}" if caveats else ""


def _parse(text: str, source: str) -> list[tuple[int | None, _Expectation]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured("value-invalid", f"{source}: {error}") from None
    strangers = sorted(set(document) - {"expect"})
    entries = document.get("expect")
    if strangers or type(entries) is not list or not all(type(entry) is dict for entry in entries):
        seen = f"unknown key {strangers[0]!r}; " if strangers else ""
        raise Misconfigured("value-invalid", f"{source}: {seen}the file holds [[expect]] tables and nothing else")
    # The parser keeps no positions; the headers, counted, are as good unless the file uses inline tables.
    lines: list[int | None] = [text.count("\n", 0, found.start()) + 1 for found in _HEADER.finditer(text)]
    if len(lines) != len(entries):
        lines = [None] * len(entries)
    return [
        (line, _read(entry, f"{source}: entry {number}" + (f", line {line}" if line else "")))
        for number, (line, entry) in enumerate(zip(lines, entries, strict=True), 1)
    ]


def read_ask(entry: Mapping[str, Any], where: str) -> tuple[str, Ask, str | None]:
    """Client, ask and address of what an expectation says, outcome aside: who asks for what, and from where.

    Raises Misconfigured `value-invalid` and others, which begin with `where`.
    """
    return _ask_of(_values(entry, where), where)


def _read(entry: Mapping[str, Any], where: str) -> _Expectation:
    values = _values(entry, where)
    if "refused" in values and len(values.keys() & set(_OUTCOME)) > 1:
        raise Misconfigured("value-invalid", f"{where}: either refused or granted, not both")
    if not values.keys() & set(_OUTCOME):
        raise Misconfigured("value-invalid", f"{where}: say what to expect: {', '.join(_OUTCOME)}")
    outcome = {key: values.pop(key) for key in _OUTCOME if key in values}
    client, ask, address = _ask_of(values, where)
    return _Expectation(client=client, ask=ask, address=address, **outcome)


def _values(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in _KEYS:
            raise Misconfigured("value-invalid", f"{where}: unknown key {key!r}; known: {', '.join(_KEYS)}")
        kind, words, read = _KEYS[key]
        if type(value) is not kind:
            raise Misconfigured("value-invalid", f"{where}: {key} must be {words}")
        try:
            values[key] = read(value)
        except Misconfigured as error:
            raise Misconfigured(error.reason, f"{where}: {key}: {error.detail}") from None
    missing = [key for key in ("client", "target") if key not in values]
    if missing:
        raise Misconfigured("value-invalid", f"{where}: {missing[0]} is missing")
    return values


def _ask_of(values: dict[str, Any], where: str) -> tuple[str, Ask, str | None]:
    client: str = values.pop("client")
    address, behalf, via = values.pop("from", None), values.pop("behalf", None), values.pop("via", ())
    if "subject" in values and (behalf or via):
        raise Misconfigured("value-invalid", f"{where}: subject is the client's word, behalf and via are evidence")
    try:
        subject, path = acting_for(client, behalf=behalf, via=via)
    except Misconfigured as error:
        raise Misconfigured(error.reason, f"{where}: via: {error.detail}") from None
    if subject is not None:
        values |= {"subject": subject, "proven": True, "path": path}
    return client, Ask(**values), address
