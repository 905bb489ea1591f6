"""What has to change in a realm so that it is as a realm file says: an ordered list of changes, with words.

Pure: takes a document and the state of a realm, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from attrs import evolve, field, fields, frozen

from orthros_kdc.policy.named import mentioned, named_subjects
from orthros_kdc.policy.realm_document import (
    JwtFacts,
    Mention,
    PrincipalFacts,
    RealmDocument,
    RealmState,
    mentions,
)
from orthros_kdc.policy.realm_file_lines import Path
from orthros_kdc.policy.rule import CONDITIONS, Rule
from orthros_protocol.errors import Misconfigured
from orthros_protocol.reasons.table import reason_for

__all__ = ["MOST_REMOVALS", "USUAL_ALG", "Change", "Plan", "plan_changes", "require_few_removals"]

MOST_REMOVALS: Final = 10
"""How many removals a plan may hold, and no more than a tenth of what there is of each kind, unless told otherwise."""
_KINDS: Final = {
    "rule.removed": "rules",
    "group.deleted": "groups",
    "group.member-removed": "groups",
    "principal.deleted": "principals",
    "jwt.disabled": "principals",
    "oauth.disabled": "principals",
}
"""What each removal takes a part of."""

_USUAL: Final = PrincipalFacts()
USUAL_ALG: Final = "HS256"
"""The algorithm of JWTs where a file asks for them and names none."""
_REMOVED: Final = "-"
_LIMITS: Final = ("max_ticket_s", "max_jwt_s", "sources")


@frozen(kw_only=True)
class Change:
    """One change, which is one entry of the audit log: `event` is its name there.

    `sign` is +, - or ~, `name` whose change it is, `words` the whole of it for people; `value` is what its use case
    takes: a Rule, a member's name, or facts by name.
    """

    sign: str
    event: str
    name: str
    words: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.sign} {self.words}"


@frozen(kw_only=True)
class Plan:
    """All changes, in the order in which they are made, and what the file leaves alone because it is silent on it."""

    changes: tuple[Change, ...] = ()
    left: tuple[str, ...] = field(default=(), eq=False)

    @property
    def removals(self) -> tuple[Change, ...]:
        """The changes that take something away for good."""
        return tuple(change for change in self.changes if change.sign == _REMOVED)


def require_few_removals(plan: Plan, state: RealmState, *, most: int | None = None) -> None:
    """Raises Misconfigured `conflict` when `plan` removes more than `most`; without it, more than `MOST_REMOVALS` or
    more than a tenth of the rules, of the groups with their members' places, or of the principals. One of each is never
    too many: a tenth of few is none."""
    removed = len(plan.removals)
    if most is not None:
        if removed > most:
            raise _too_many(plan, f"{removed} removals, and --max-removals is {most}")
        return
    if removed > MOST_REMOVALS:
        raise _too_many(plan, f"{removed} removals, at most {MOST_REMOVALS} unless more are announced")
    there = {
        "rules": len(state.rules),
        "groups": len(state.groups) + sum(map(len, state.groups.values())),
        "principals": len(state.principals),
    }
    for kind, count in there.items():
        gone = sum(1 for change in plan.removals if _KINDS[change.event] == kind)
        if gone > max(1, count // 10):
            raise _too_many(plan, f"{gone} of {count} {kind} go, at most a tenth unless more are announced")


def _too_many(plan: Plan, seen: str) -> Misconfigured:
    remedy = f"Read the changes; if they are meant, run the command with `--max-removals {len(plan.removals)}`."
    return Misconfigured(evolve(reason_for("conflict"), remedy=remedy), seen)


def plan_changes(document: RealmDocument, state: RealmState, *, prune: bool = False) -> Plan:
    """What leads from `state` to `document`. `prune` deletes the principals that the document does not define.

    Raises Misconfigured, with file and line: `not-found` for a name of no principal, `conflict` for what cannot be
    changed in place or names a principal that would be deleted, `value-invalid`.
    """
    _Check(document, state, prune).run()
    strangers = [name for name in state.principals if name not in document.principals]
    changes = [
        *_realm(document, state),
        *(change for name in document.principals for change in _principal(document, state, name)),
        *_groups_and_rules(document, state),
    ]
    if prune:
        changes += [_deleted(name) for name in strangers]
    left = [note for name, said in document.principals.items() for note in _unsaid(name, said, state)]
    left += [] if prune else [f"principal {name}: not in the file" for name in strangers]
    return Plan(changes=tuple(changes), left=tuple(left))


@frozen
class _Check:
    """Whether everybody exists whom the document names."""

    document: RealmDocument
    state: RealmState
    prune: bool

    def run(self) -> None:
        self._require_this_realm()
        for one in mentions(self.document):
            if not one.is_group and one.name not in self.document.principals:
                self._require(one)
        for number, rule in enumerate(self.document.rules):
            self._require_bare(rule, number)
            self._require_kept(rule, number)

    def _require_this_realm(self) -> None:
        source, realm, said = self.document.source, self.state.realm, self.document.name
        if said is None:
            seen = "the file does not say which realm it is of"
            raise source.refusal(("realm",), "value-invalid", seen, f'Add `name = "{realm}"` to the table [realm].')
        if said != realm:
            seen = f"the file is of realm {said}, and this realm is {realm}"
            remedy = f"Name the configuration of {said} with --config, or correct the name."
            raise source.refusal(("realm", "name"), "conflict", seen, remedy)

    def _require(self, one: Mention) -> None:
        source = self.document.source
        if one.name not in self.state.principals:
            near = get_close_matches(one.name, {**self.document.principals, **self.state.principals}, n=1)
            remedy = f"Write {near[0]}, or add" if near else "Add"
            remedy += f' it to the file: `[principals."{one.name}"]`.'
            raise source.refusal(one.path, "not-found", f"no principal is called {one.name}", remedy)
        if self.prune:
            raise self._pruned(one.path, one.name)

    def _pruned(self, path: Path, name: str) -> Misconfigured:
        seen = f"{name} would be deleted, for the file does not define it"
        remedy = f'Add `[principals."{name}"]` to the file, or leave --prune-principals out.'
        return self.document.source.refusal(path, "conflict", seen, remedy)

    def _require_kept(self, rule: Rule, number: int) -> None:
        """A subject that a rule names need be no principal; one that is must not be deleted under the rule."""
        if not self.prune:
            return
        for row in CONDITIONS:
            for name in sorted(named_subjects(rule, row)):
                if name in self.state.principals and name not in self.document.principals:
                    raise self._pruned(("rules", number, row.key, name), name)

    def _require_bare(self, rule: Rule, number: int) -> None:
        for row, name, _ in mentioned(rule):
            bare, _, realm = name.partition("@")
            if realm == self.state.realm:
                seen = f"{name} would match nobody: names of this realm stand without it"
                path = ("rules", number, row.key, name)
                raise self.document.source.refusal(path, "value-invalid", seen, f"Write {bare}.")


def _content(rule: Rule) -> Rule:
    return evolve(rule, rule_id=0)


# The realm and its principals


def _realm(document: RealmDocument, state: RealmState) -> Iterator[Change]:
    before = {"issuer": state.issuer} | {
        one.name: getattr(state.limits, one.name) for one in fields(type(state.limits))
    }
    after = {name: value for name, value in document.realm.items() if before[name] != value}
    if after:
        yield Change(
            sign="~", event="realm.changed", name=state.realm, value=after, words=f"realm: {_steps(before, after)}"
        )


def _principal(document: RealmDocument, state: RealmState, name: str) -> Iterator[Change]:
    said = document.principals[name]
    before = state.principals.get(name)
    if before is None:
        caps: dict[str, Any] = {cap: said.get(cap) for cap in ("max_ticket_s", "max_jwt_s")}
        given = {cap: seconds for cap, seconds in caps.items() if seconds is not None}
        tail = f" ({', '.join(f'{cap} {seconds}' for cap, seconds in given.items())})" if given else ""
        yield Change(sign="+", event="principal.added", name=name, words=f"principal {name}{tail}", value=caps)
        before = evolve(_USUAL, **caps)
    after = evolve(before, **said)
    yield from _limits(name, before, after)
    yield from _jwt(document, state, name, before)
    if before.oauth != after.oauth:
        yield _switched(name, on=after.oauth, event="oauth", words="oauth", lost="its client secrets are erased")
    yield from _default_audience(document, name, before, after)
    if before.disabled != after.disabled:
        word = "disabled" if after.disabled else "enabled"
        yield Change(sign="~", event=f"principal.{word}", name=name, words=f"principal {name}: {word}")


def _limits(name: str, before: PrincipalFacts, after: PrincipalFacts) -> Iterator[Change]:
    old, new = ({fact: getattr(facts, fact) for fact in _LIMITS} for facts in (before, after))
    if old != new:
        changed = {fact: value for fact, value in new.items() if old[fact] != value}
        words = f"principal {name}: {_steps(old, changed)}"
        yield Change(sign="~", event="principal.capped", name=name, words=words, value=new)


def _jwt(document: RealmDocument, state: RealmState, name: str, before: PrincipalFacts) -> Iterator[Change]:
    said, path = document.principals[name], ("principals", name)
    wanted: JwtFacts | None = said.get("jwt", before.jwt)
    claims: tuple[str, ...] = said.get("token_claims", before.token_claims)
    if wanted is None:
        if said.get("token_claims"):
            seen = f"JWTs are not enabled for {name}, so that no claim can be put into them"
            raise document.source.refusal((*path, "token_claims"), "conflict", seen, 'Add `jwt = { alg = "HS256" }`.')
        if before.jwt is not None:
            yield _switched(name, on=False, event="jwt", words="jwt", lost="its JWT keys are erased")
        return
    if before.jwt is None:
        facts = {"alg": wanted.alg or USUAL_ALG, "audience": wanted.audience or f"{name}@{state.realm}"}
        words = f"jwt {facts['alg']} for {facts['audience']}" + (f", claims {' '.join(claims)}" if claims else "")
        yield _switched(name, on=True, event="jwt", words=words, value=facts | {"claims": claims})
        return
    for fact in ("alg", "audience"):
        asked, has = getattr(wanted, fact), getattr(before.jwt, fact)
        if asked not in (None, has):
            seen = f"{name} has JWTs with {fact} {has}, and another {fact} takes another key"
            remedy = f"Run `orthros-admin jwt disable {name}`, which erases its JWT keys, and then apply the file."
            raise document.source.refusal((*path, "jwt", fact), "conflict", seen, remedy)
    if claims != before.token_claims:
        words = f"principal {name}: {_steps({'token_claims': before.token_claims}, {'token_claims': claims})}"
        yield Change(sign="~", event="jwt.claims-changed", name=name, words=words, value=claims)


def _default_audience(
    document: RealmDocument, name: str, before: PrincipalFacts, after: PrincipalFacts
) -> Iterator[Change]:
    said = document.principals[name].get("default_audience")
    if not after.oauth:  # it goes with the secrets
        if said is not None:
            seen = f"{name} is no OAuth client, so that it asks for no tokens"
            path = ("principals", name, "default_audience")
            raise document.source.refusal(path, "conflict", seen, "Add `oauth = true`.")
        return
    if before.default_audience != after.default_audience:
        old, new = ({"default_audience": one.default_audience} for one in (before, after))
        words = f"principal {name}: {_steps(old, new)}"
        yield Change(sign="~", event="oauth.audience-changed", name=name, words=words, value=after.default_audience)


def _switched(name: str, *, on: bool, event: str, words: str, lost: str = "", value: object = None) -> Change:
    if on:
        return Change(sign="+", event=f"{event}.enabled", name=name, words=f"principal {name}: {words}", value=value)
    return Change(sign=_REMOVED, event=f"{event}.disabled", name=name, words=f"principal {name}: {words}; {lost}")


def _deleted(name: str) -> Change:
    words = f"principal {name}: DELETED with its keys; its key files are worth nothing from then on"
    return Change(sign=_REMOVED, event="principal.deleted", name=name, words=words)


def _unsaid(name: str, said: Mapping[str, Any], state: RealmState) -> Iterator[str]:
    facts = state.principals.get(name, _USUAL)
    for fact in (one.name for one in fields(PrincipalFacts)):
        value = getattr(facts, fact)
        # Without JWTs there are no claims, and without OAuth no default, whatever the file leaves out.
        gone = (fact == "token_claims" and "jwt" in said) or (fact == "default_audience" and said.get("oauth") is False)
        if fact not in said and value != getattr(_USUAL, fact) and not gone:
            yield f"principal {name}: {fact} {_word(fact, value)}"


# Groups and rules


def _groups_and_rules(document: RealmDocument, state: RealmState) -> Iterator[Change]:
    for group, members in document.groups.items():
        if group not in state.groups:
            yield Change(sign="+", event="group.added", name=group, words=f"group {group}")
        for member in sorted(set(members) - state.groups.get(group, frozenset())):
            yield _membership("+", "group.member-added", group, member)
    present, wanted = {_content(rule) for rule in state.rules}, set(document.rules)
    for rule in document.rules:
        if rule not in present:
            words = f"rule {str(rule).partition(': ')[2]}"
            yield Change(sign="+", event="rule.added", name=_pair(rule), words=words, value=rule)
    for rule in state.rules:
        if _content(rule) not in wanted:
            yield Change(sign=_REMOVED, event="rule.removed", name=_pair(rule), words=str(rule), value=rule)
    for group, held in sorted(state.groups.items()):
        if group in document.groups:
            for member in sorted(held - set(document.groups[group])):
                yield _membership(_REMOVED, "group.member-removed", group, member)
        else:
            words = f"group {group}, members: {' '.join(sorted(held)) or 'none'}"
            yield Change(sign=_REMOVED, event="group.deleted", name=group, words=words)


def _membership(sign: str, event: str, group: str, member: str) -> Change:
    return Change(sign=sign, event=event, name=group, words=f"group {group}: {member}", value=member)


def _pair(rule: Rule) -> str:
    return f"{rule.client} -> {rule.target}"


# Words


def _steps(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return ", ".join(f"{fact} {_word(fact, before[fact])} -> {_word(fact, value)}" for fact, value in after.items())


def _word(fact: str, value: object) -> str:
    if isinstance(value, JwtFacts):
        return f"{value.alg} for {value.audience}"
    if isinstance(value, tuple):
        return " ".join(value) or ("anywhere" if fact == "sources" else "none")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
