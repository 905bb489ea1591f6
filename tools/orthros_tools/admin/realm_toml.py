"""Writes a realm as a realm file: TOML by which `realm apply` finds nothing to change.

Knows no store and no key; the same realm is always written the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import fields

from orthros_kdc.policy.realm_document import JwtFacts, PrincipalFacts, RealmState
from orthros_kdc.policy.rule import Rule, stated
from orthros_protocol.errors import Misconfigured
from orthros_runtime.extras import extra

with extra("admin"):
    import tomlkit
    from tomlkit.items import AoT, Table

__all__ = ["realm_toml"]

_USUAL: Final = PrincipalFacts()


def realm_toml(state: RealmState) -> str:
    """`state` as text: principals and groups by name, rules by age, and nothing that is usual anyway."""
    document = tomlkit.document()
    document.add(tomlkit.comment(f"The realm {state.realm}. Groups and rules that are not in here are removed."))
    document.add("version", tomlkit.item(1))
    document.add("realm", _realm(state))
    if state.principals:
        document.add("principals", _principals(state.principals))
    if state.groups:
        document.add("groups", _groups(state.groups))
    if state.rules:
        document.add("rules", _rules(state.rules))
    return tomlkit.dumps(document)


def _realm(state: RealmState) -> Table:
    table = tomlkit.table()
    table.add("name", state.realm)
    table.add("issuer", state.issuer)
    for limit in fields(type(state.limits)):
        table.add(limit.name, getattr(state.limits, limit.name))
    return table


def _principals(principals: Mapping[str, PrincipalFacts]) -> Table:
    everybody = tomlkit.table(is_super_table=True)
    for name, facts in sorted(principals.items()):
        table = tomlkit.table()
        for fact in fields(PrincipalFacts):
            value = getattr(facts, fact.name)
            # A name that stands for nobody any more would be refused when the file is read.
            is_gone = fact.name == "default_audience" and value not in principals
            if value != getattr(_USUAL, fact.name) and not is_gone:
                table.add(fact.name, _written(value))
        everybody.add(name, table)
    return everybody


def _written(value: Any) -> Any:
    if isinstance(value, JwtFacts):
        table = tomlkit.inline_table()
        table.update({"alg": value.alg, "audience": value.audience})
        return table
    return list(value) if isinstance(value, tuple) else value


def _groups(groups: Mapping[str, frozenset[str]]) -> Table:
    table = tomlkit.table()
    for group, members in sorted(groups.items()):
        table.add(group, tomlkit.item(sorted(members)).multiline(multiline=len(members) > 8))
    return table


def _rules(rules: tuple[Rule, ...]) -> AoT:
    written = tomlkit.aot()
    for rule in rules:
        table = tomlkit.table()
        for key, value in _entries(rule):
            table.add(key, list(value) if isinstance(value, tuple) else value)
        written.append(table)
    return written


def _entries(rule: Rule) -> Iterator[tuple[str, object]]:
    """The keys of a rule, without those that are as usual."""
    yield from (("client", str(rule.client)), ("target", str(rule.target)), ("scopes", rule.scopes))
    if rule.unusable is not None:
        raise Misconfigured("conflict", f"{rule}: this version cannot write what it does not know")
    yield from ((row.key, row.plain(rule)) for row in stated(rule))
