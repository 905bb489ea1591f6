"""Says why a decision came out as it did, and which rule would turn a refusal into a grant.

Decides nothing itself: every answer comes from `decide`. Reads no store; callers hand in the facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen

from orthros_kdc.policy.ask_and_grant import Ask, Cap, Circumstances, Denial, Grant, Kind, PrincipalCaps, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.obstacles import FactsOf, obstacle_after, obstacle_before
from orthros_kdc.policy.rule import Rule, stated
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_protocol.primitives.limits import MAX_SCOPES
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.notes import NoteCause, describe_note

__all__ = ["KIND_WORDS", "Explanation", "caveat_texts", "explain", "forecast"]

KIND_WORDS: Final = {Kind.TICKET: "ticket", Kind.JWT: "jwt"}


@frozen(kw_only=True)
class Explanation:
    """One decision with its grounds. `caps` are all limits of the lifetime, tightest first; `remedies` are
    the commands of an admin that would turn a refusal into a grant, as far as rules are the obstacle. `address`
    is where the ask came from, empty for a local socket, None when that was left open."""

    client: str
    ask: Ask
    decision: Grant | Denial
    rules: tuple[Rule, ...]
    caps: tuple[Cap, ...] = ()
    remedies: tuple[str, ...] = ()
    address: str | None = None

    def lines(self) -> list[str]:
        """The explanation for a terminal."""
        one, decision = self.ask, self.decision
        said = [f"{self.client} -> {one.target}: asks{self._circumstances()} for a {_wanted(one)}"]
        said += [f"  {rule}" for rule in self.rules] or ["  no rule names this pair, directly or by group"]
        if isinstance(decision, Denial):
            reason = reason_for(decision.code)
            said.append(f"refused: {reason.name}: {reason.cause}")
        else:
            flags = ", delegable" if decision.delegable else ""
            rules = " ".join(map(str, decision.rule_ids))
            granted = " ".join(decision.scopes) or "no scopes (authentication only)"
            said.append(f"granted: {granted}, {decision.ttl_s} s{flags} (by rule {rules})")
            said += [f"  the KDC writes into it: {text}" for text in caveat_texts(decision)]
        said += [f"  {objection}" for objection in decision.objections]
        said += [f"  {describe_note(note, one.scopes)}" for note in decision.notes]
        said += [f"  limit {cap.seconds} s: {_owner(cap)}" for cap in self.caps]
        return said + [f"  would allow it: {command}" for command in self.remedies]

    def _circumstances(self) -> str:
        one = self.ask
        place = "" if self.address is None else f" from {self.address or 'a local socket'}"
        if one.subject is None:
            return place
        if not one.proven:
            return f"{place} in the name of {one.subject}"
        return f"{place} on behalf of {one.subject}, through {' '.join(one.path[:-1])},"

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain values, for JSON."""
        one, decision = self.ask, self.decision
        scopes = None if one.scopes is None else list(one.scopes)
        asked = {"kind": KIND_WORDS[one.kind], "scopes": scopes, "ttl_s": one.ttl_s}
        asked |= {"exact": one.exact, "delegable": one.delegable, "subject": one.subject}
        asked |= {"proven": one.proven, "path": list(one.path), "from": self.address}
        answer: dict[str, Any]
        if isinstance(decision, Denial):
            answer = {"refused": decision.code}
        else:
            answer = {"scopes": list(decision.scopes), "ttl_s": decision.ttl_s}
            answer |= {"delegable": decision.delegable, "rules": list(decision.rule_ids)}
            answer |= {"caveats": caveat_texts(decision)}
        return {
            "client": self.client,
            "target": one.target,
            "asked": asked,
            "answer": answer,
            "notes": [describe_note(note, one.scopes) for note in decision.notes],
            "objections": [str(objection) for objection in decision.objections],
            "rules": [str(rule) for rule in self.rules],
            "caps": [{"seconds": cap.seconds, "whose": _owner(cap)} for cap in self.caps],
            "remedies": list(self.remedies),
        }


def caveat_texts(grant: Grant) -> list[str]:
    """What the KDC writes into it, as admins write that in expectations."""
    return [caveat.text for caveat in grant.caveats]


def _wanted(one: Ask) -> str:
    scopes = "all scopes" if one.scopes is None else " ".join(one.scopes) or "no scopes"
    extras = [f"{one.ttl_s} s" if one.ttl_s else "as long as allowed"]
    extras += [word for word, asked in (("delegable", one.delegable), ("exact", one.exact)) if asked]
    return f"{KIND_WORDS[one.kind]} with {scopes}, {', '.join(extras)}"


def _owner(cap: Cap) -> str:
    return f"rule {cap.rule_id}" if cap.rule_id is not None else f"the {cap.whose}"


def explain(
    client: str, ask: Ask, rules: Sequence[Rule], known: Circumstances, facts_of: FactsOf | None = None
) -> Explanation:
    """What `decide` answers to the same arguments, and why. With `facts_of` it is what the KDC answers, which first
    looks at who asks and last at who is to discharge.

    Raises Misconfigured `name-invalid` when a refused client or target has no canonical name, `value-invalid` when
    the subject of a refusal has none.
    """
    decision = decide(ask, rules, known)
    obstacle = None
    if facts_of is not None:
        obstacle = obstacle_before(client, ask, known.address, facts_of)
        if obstacle is None and isinstance(decision, Grant):
            obstacle = obstacle_after(decision, facts_of)
    told = partial(Explanation, client=client, ask=ask, rules=tuple(rules), address=known.address)
    if obstacle is not None:
        return told(decision=obstacle.denial, remedies=obstacle.remedies)
    if isinstance(decision, Grant):
        return told(decision=decision, caps=tuple(sorted(decision.caps)))
    return told(decision=decision, remedies=_remedies(client, ask, rules, known, decision))


def forecast(
    client: str,
    ask: Ask,
    policy: PolicySnapshot,
    *,
    facts_of: FactsOf,
    limits: RealmLimits,
    now: int,
    address: str | None = None,
) -> Explanation:
    """What the KDC answers at the second `now` to `client` with a fresh TGT, and why. Raises as `explain`.

    `address` is the IP address it asks from, empty for a local socket; None holds nothing against it.
    """
    known = Circumstances(
        address=address,
        now=now,
        groups_of=policy.groups_of,
        scopes_of=policy.own_scopes,
        client_caps=facts_of(client) or PrincipalCaps(),
        target=facts_of(ask.target),
        limits=limits,
        remaining_tgt_s=limits.max_tgt_s,
    )
    return explain(client, ask, policy.rules_for(client, ask.target), known, facts_of)


def _remedies(client: str, ask: Ask, rules: Sequence[Rule], known: Circumstances, denial: Denial) -> tuple[str, ...]:
    """Commands that lead to a grant. Each is tried first: a wrong remedy is worse than none."""
    if rules and known.target is None:  # it does not exist; without a rule it is not looked up
        return ()
    if any(note.cause == NoteCause.RULE_CAVEAT for note in denial.notes):
        return ()  # a rule without the caveat would undo it: the note tells the asker to name the scopes
    target = known.target or TargetFacts()
    enabled = evolve(known, target=evolve(target, jwt_alg=target.jwt_alg or "HS256"))
    enable = [f"orthros-admin jwt enable {ask.target}"] if ask.kind is Kind.JWT and target.jwt_alg is None else []
    if enable and isinstance(decide(ask, rules, enabled), Grant):
        return tuple(enable)
    scopes = ask.scopes or ()
    if ask.scopes is None and ask.exact:  # all that is offered must then come from one rule, uncut
        silent = {objection.rule_id for objection in denial.objections if not objection.bounds}
        holding = (rule for rule in rules if rule.rule_id not in silent and (rule.jwt or ask.kind is Kind.TICKET))
        scopes = tuple({scope for rule in holding for scope in rule.scopes})
    if len(scopes) > MAX_SCOPES:
        return ()
    named = () if ask.subject is None else (ask.subject,)
    address = known.address
    offered = Rule(
        rule_id=0,
        client=Selector(client),
        target=Selector(ask.target),
        scopes=scopes,
        max_ttl_s=ask.ttl_s or None,
        jwt=ask.kind is Kind.JWT,
        delegable=ask.delegable,
        subjects=() if ask.proven else named,
        behalf=named if ask.proven else (),
        # An admin who drew a border is not told to tear it down, but where to open it.
        sources=(address,) if denial.code == "source-refused" and address else (),
        **{row.attribute: row.of(rule) for rule in rules for row in stated(rule) if row.is_border},
    )
    for one in (offered, evolve(offered, callbacks=True)):
        if isinstance(decide(ask, (*rules, one), enabled), Grant):
            return (_command(one), *enable)
    return ()


def _command(rule: Rule) -> str:
    words = ["orthros-admin policy allow", str(rule.client), str(rule.target)]
    words += [f"--scope {scope}" for scope in rule.scopes]
    words += [word for row in stated(rule) for word in row.command_line(rule)]
    return " ".join(words)
