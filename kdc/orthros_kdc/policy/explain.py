"""Says why a decision came out as it did, and which rule would turn a refusal into a grant.

Decides nothing itself: every answer comes from `decide`. Reads no store; callers hand in the facts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from attrs import frozen

from orthros_kdc.policy.decide import (
    Ask,
    Cap,
    Denial,
    Grant,
    Kind,
    PrincipalCaps,
    TargetFacts,
    decide,
    lifetime_caps,
)
from orthros_kdc.policy.model import RealmLimits, Rule
from orthros_protocol import reason_for
from orthros_protocol.notes import NoteCause, describe_note

__all__ = ["KIND_WORDS", "Explanation", "explain"]

KIND_WORDS: Final = {Kind.TICKET: "ticket", Kind.JWT: "jwt"}


@frozen(kw_only=True)
class Explanation:
    """One decision with its grounds. `caps` are all limits of the lifetime, tightest first; `remedies` are
    the commands of an admin that would turn a refusal into a grant, as far as rules are the obstacle."""

    client: str
    ask: Ask
    decision: Grant | Denial
    rules: tuple[Rule, ...]
    caps: tuple[Cap, ...] = ()
    remedies: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The explanation for a terminal."""
        one = self.ask
        scopes = "all scopes" if one.scopes is None else " ".join(one.scopes) or "no scopes"
        extras = [f"{one.ttl_s} s" if one.ttl_s else "as long as allowed"]
        extras += [word for word, asked in (("delegable", one.delegable), ("exact", one.exact)) if asked]
        wanted = f"{KIND_WORDS[one.kind]} with {scopes}, {', '.join(extras)}"
        said = [f"{self.client} -> {one.target}: asks for a {wanted}"]
        said += [f"  {rule}" for rule in self.rules] or ["  no rule names this pair, directly or by group"]
        if isinstance(self.decision, Denial):
            reason = reason_for(self.decision.code)
            said.append(f"refused: {reason.name}: {reason.cause}")
        else:
            flags = ", delegable" if self.decision.delegable else ""
            rules = " ".join(map(str, self.decision.rule_ids))
            granted = " ".join(self.decision.scopes) or "no scopes (authentication only)"
            said.append(f"granted: {granted}, {self.decision.ttl_s} s{flags} (by rule {rules})")
        said += [f"  {describe_note(note, one.scopes)}" for note in self.decision.notes]
        said += [f"  limit {cap.seconds} s: {_owner(cap)}" for cap in self.caps]
        return said + [f"  would allow it: {command}" for command in self.remedies]

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain values, for JSON."""
        one, decision = self.ask, self.decision
        scopes = None if one.scopes is None else list(one.scopes)
        asked = {"kind": KIND_WORDS[one.kind], "scopes": scopes, "ttl_s": one.ttl_s}
        asked |= {"exact": one.exact, "delegable": one.delegable}
        answer: dict[str, Any]
        if isinstance(decision, Denial):
            answer = {"refused": decision.code}
        else:
            answer = {"scopes": list(decision.scopes), "ttl_s": decision.ttl_s}
            answer |= {"delegable": decision.delegable, "rules": list(decision.rule_ids)}
        return {
            "client": self.client,
            "target": one.target,
            "asked": asked,
            "answer": answer,
            "notes": [describe_note(note, one.scopes) for note in decision.notes],
            "rules": [str(rule) for rule in self.rules],
            "caps": [{"seconds": cap.seconds, "whose": _owner(cap)} for cap in self.caps],
            "remedies": list(self.remedies),
        }


def _owner(cap: Cap) -> str:
    return f"rule {cap.rule_id}" if cap.rule_id is not None else f"the {cap.whose}"


def explain(
    client: str,
    ask: Ask,
    rules: Sequence[Rule],
    *,
    client_caps: PrincipalCaps,
    target: TargetFacts | None,
    limits: RealmLimits,
    remaining_tgt_s: int | None = None,
    caveat_remaining_s: int | None = None,
    caveat_scopes: Collection[str] | None = None,
) -> Explanation:
    """What `decide` answers to the same arguments, and why. Without `remaining_tgt_s`, the TGT is fresh."""
    left = limits.max_tgt_s if remaining_tgt_s is None else remaining_tgt_s
    decision = decide(
        ask,
        rules,
        client_caps=client_caps,
        target=target,
        limits=limits,
        remaining_tgt_s=left,
        caveat_remaining_s=caveat_remaining_s,
        caveat_scopes=caveat_scopes,
    )
    caps: list[Cap] = []
    if isinstance(decision, Grant) and target is not None:
        behind = [rule for rule in rules if rule.rule_id in decision.rule_ids]
        caps = lifetime_caps(
            ask.kind,
            behind,
            client_caps=client_caps,
            target=target,
            limits=limits,
            remaining_tgt_s=left,
            caveat_remaining_s=caveat_remaining_s,
        )
    return Explanation(
        client=client,
        ask=ask,
        decision=decision,
        rules=tuple(rules),
        caps=tuple(sorted(caps)),
        remedies=_remedies(client, ask, decision, target),
    )


def _remedies(client: str, ask: Ask, decision: Grant | Denial, target: TargetFacts | None) -> tuple[str, ...]:
    if isinstance(decision, Grant):
        return ()
    by_rule = any(note.cause == NoteCause.PAIR_RULE for note in decision.notes)
    if not by_rule and decision.code not in {"not-granted", "jwt-not-enabled"}:
        return ()
    words = ["orthros-admin policy allow", client, ask.target]
    words += [f"--scope {scope}" for scope in ask.scopes or ()]
    words += [f"--max-ttl {ask.ttl_s}"] if ask.ttl_s else []
    words += ["--jwt"] if ask.kind is Kind.JWT else []
    words += ["--delegable"] if ask.delegable and ask.kind is Kind.TICKET else []
    commands = [" ".join(words)]
    if ask.kind is Kind.JWT and (target is None or target.jwt_alg is None):
        commands.append(f"orthros-admin jwt enable {ask.target}")
    return tuple(commands)
