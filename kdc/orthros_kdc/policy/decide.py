"""The one decision: which scopes, for how long, with which flags, and what was cut because of what.

Pure: takes rows and numbers, returns a Grant or a Denial. Knows no store, no clock and no bytes.
What it grants is never more than the union of the rules for the pair, clamped by every cap; in the name of a
subject, of those rules alone that name it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from itertools import product
from typing import Final, NamedTuple

from attrs import field, frozen

from orthros_kdc.policy.model import RealmLimits, Rule, subject_matches
from orthros_kdc.store.base import PolicyRows
from orthros_protocol import LocalMisuse
from orthros_protocol.limits import MAX_INT, MAX_SCOPES, MAX_TICKET_LIFE_S
from orthros_protocol.names import scope_order
from orthros_protocol.notes import Note, NoteCause, NoteField

__all__ = [
    "Ask", "Cap", "Denial", "Grant", "Kind", "PolicySnapshot", "PrincipalCaps", "TargetFacts",
    "decide", "dropped_scopes", "lifetime_caps",
]  # fmt: skip

_MEMO_PAIRS: Final = 4096


class Kind(IntEnum):
    """What is asked for, by its number on the wire."""

    TICKET = 0
    JWT = 1


def _not_negative(_instance: object, _attribute: object, value: int) -> None:
    if value < 0:
        raise LocalMisuse("value-invalid", f"a lifetime of {value} s")


@frozen(kw_only=True)
class Ask:
    """One want. `scopes` None means all that the rules allow, empty means authentication only.

    `ttl_s` 0 means as long as allowed; `exact` means refuse rather than clamp. `delegable` asks that the target
    may act further for whom it is issued. `subject` is the name in which the client asks, None for its own.
    """

    target: str
    kind: Kind = Kind.TICKET
    scopes: tuple[str, ...] | None = None
    ttl_s: int = field(default=0, validator=_not_negative)
    exact: bool = False
    delegable: bool = False
    subject: str | None = None


@frozen(kw_only=True)
class PrincipalCaps:
    """The limits of one principal in seconds; None sets none."""

    max_ticket_s: int | None = None
    max_jwt_s: int | None = None


@frozen(kw_only=True)
class TargetFacts(PrincipalCaps):
    """What the decision needs to know about a target: `has_key` tells whether a ticket can be sealed for
    it, `jwt_alg` is set when a JWT can be signed for it."""

    disabled: bool = False
    has_key: bool = True
    jwt_alg: str | None = None


class Cap(NamedTuple):
    """One limit of the lifetime. `whose` names its owner; `rule_id` is set for a rule's."""

    seconds: int
    cause: NoteCause
    whose: str
    rule_id: int | None = None


@frozen(kw_only=True)
class Grant:
    """What may be issued. `rule_ids` are the rules that it rests on, `notes` what was cut, `subject` in whose name
    it was asked for: nothing may be issued in another."""

    scopes: tuple[str, ...]
    ttl_s: int
    delegable: bool
    rule_ids: tuple[int, ...]
    notes: tuple[Note, ...] = ()
    subject: str | None = None


@frozen(kw_only=True)
class Denial:
    """Why nothing is issued: a row of `reasons.REASONS`. `notes` say what an exact ask would have lost."""

    code: str
    notes: tuple[Note, ...] = ()


class PolicySnapshot:
    """The policy of one moment, indexed once, so that a look-up does not depend on the number of rules."""

    def __init__(self, rows: PolicyRows) -> None:
        self.seq = rows.seq
        # Keys keep groups apart from principals: a name on the wire can never select a group.
        self._rules: dict[tuple[bool, str], dict[tuple[bool, str], list[Rule]]] = {}
        for rule in rows.rules:
            by_target = self._rules.setdefault((rule.client.is_group, rule.client.name), {})
            by_target.setdefault((rule.target.is_group, rule.target.name), []).append(rule)
        self._groups: dict[str, list[tuple[bool, str]]] = {}
        for group, members in rows.groups.items():
            for member in members:
                self._groups.setdefault(member, []).append((True, group))
        self._memo: dict[tuple[str, str], tuple[Rule, ...]] = {}

    def rules_for(self, client: str, target: str) -> tuple[Rule, ...]:
        """Every rule that lets `client` call `target`, in order of rule id. Names match whole or not at all."""
        known = self._memo.get((client, target))
        if known is not None:
            return known
        by_target = [self._rules[one] for one in self._selectors(client) if one in self._rules]
        targets = self._selectors(target)
        found = [rule for rules, one in product(by_target, targets) for rule in rules.get(one, ())]
        result = tuple(sorted(found, key=lambda rule: rule.rule_id))
        # Misses are not kept: whoever guesses names cannot push out the pairs that work.
        if result:
            if len(self._memo) >= _MEMO_PAIRS:
                del self._memo[next(iter(self._memo))]
            self._memo[client, target] = result
        return result

    def _selectors(self, name: str) -> list[tuple[bool, str]]:
        return [(False, name), *self._groups.get(name, ())]


def _life(rule: Rule) -> int:
    return MAX_INT if rule.max_ttl_s is None else rule.max_ttl_s


def _sources(rules: Sequence[Rule]) -> dict[str, Rule]:
    """Each scope with the rule that grants it longest; among equals the oldest."""
    best: dict[str, Rule] = {}
    for rule in rules:
        for scope in rule.scopes:
            known = best.get(scope)
            if known is None or _life(rule) > _life(known):
                best[scope] = rule
    return best


def lifetime_caps(
    kind: Kind,
    sources: Collection[Rule],
    *,
    client_caps: PrincipalCaps,
    target: TargetFacts,
    limits: RealmLimits,
    remaining_tgt_s: int,
    caveat_remaining_s: int | None = None,
) -> list[Cap]:
    """Every limit that applies, never empty. `sources` are the rules that the granted scopes rest on."""
    jwt = kind is Kind.JWT
    shortest = min(sources, key=_life)
    realm_s = limits.max_jwt_s if jwt else limits.max_ticket_s
    rows = (
        (shortest.max_ttl_s, NoteCause.PAIR_RULE, "rule", shortest.rule_id),
        (client_caps.max_jwt_s if jwt else client_caps.max_ticket_s, NoteCause.PRINCIPAL_CAP, "client", None),
        (target.max_jwt_s if jwt else target.max_ticket_s, NoteCause.PRINCIPAL_CAP, "target", None),
        (min(realm_s, MAX_TICKET_LIFE_S), NoteCause.REALM_CAP, "realm", None),
        (remaining_tgt_s, NoteCause.TGT_EXPIRY, "ticket-granting ticket", None),
        (caveat_remaining_s, NoteCause.TGT_CAVEAT, "caveat", None),
    )
    return [Cap(seconds, cause, whose, rule_id) for seconds, cause, whose, rule_id in rows if seconds is not None]


def _speaking_for(subject: str | None, rules: Sequence[Rule]) -> Sequence[Rule]:
    """The rules that hold for `subject`; without one all, since a rule for subjects allows the own name too."""
    return rules if subject is None else [rule for rule in rules if subject_matches(rule.subjects, subject)]


def _choose_scopes(
    ask: Ask, offered: Collection[str], own: Collection[str], caveat_scopes: Collection[str] | None
) -> tuple[tuple[str, ...], list[Note]]:
    """What is granted of what was asked, in canonical order, and a note for each thing that was not. `own` is what
    the client could have in its own name."""
    granted: set[str] = set()
    notes: list[Note] = []
    for position, scope in enumerate(offered if ask.scopes is None else ask.scopes):
        index = None if ask.scopes is None else position
        if scope not in offered:
            notes.append(Note(NoteField.SCOPE, NoteCause.SUBJECT_RULE if scope in own else NoteCause.PAIR_RULE, index))
        elif caveat_scopes is not None and scope not in caveat_scopes:
            notes.append(Note(NoteField.SCOPE, NoteCause.TGT_CAVEAT, index))
        else:
            granted.add(scope)
    scopes = tuple(sorted(granted, key=scope_order))
    if len(scopes) > MAX_SCOPES:  # several rules together may allow more than a ticket can carry
        notes.append(Note(NoteField.SCOPE, NoteCause.REALM_CAP))
    return scopes[:MAX_SCOPES], list(dict.fromkeys(notes))


def decide(
    ask: Ask,
    rules: Sequence[Rule],
    *,
    client_caps: PrincipalCaps,
    target: TargetFacts | None,
    limits: RealmLimits,
    remaining_tgt_s: int,
    caveat_remaining_s: int | None = None,
    caveat_scopes: Collection[str] | None = None,
) -> Grant | Denial:
    """Decides one want by the rules of its pair (`PolicySnapshot.rules_for`), and only by those of them whose
    subjects include the one that is named, if one is. Tickets carry no subject yet.

    `target` is None when it does not exist, and must not even be looked up when `rules` is empty: policy
    comes before existence. `remaining_tgt_s` is what is left of the TGT, or of the evidence if that is
    less; `caveat_*` are the limits that caveats on the TGT set, None without such a caveat.
    """
    if not rules:
        return Denial(code="not-granted")
    jwt = ask.kind is Kind.JWT
    speaking = _speaking_for(ask.subject, rules)
    if not speaking or (ask.subject is not None and not jwt):
        return Denial(code="subject-refused")
    if target is None or target.disabled or not (jwt or target.has_key):
        return Denial(code="target-unavailable")
    usable = [rule for rule in speaking if rule.jwt] if jwt else speaking
    if jwt and (not usable or target.jwt_alg is None):
        return Denial(code="jwt-not-enabled")

    sources = _sources(usable)
    own = sources if ask.subject is None else _sources([rule for rule in rules if rule.jwt])
    scopes, notes = _choose_scopes(ask, sources, own, caveat_scopes)
    if ask.scopes and not scopes:
        return Denial(code="no-scope-left", notes=tuple(notes))

    delegable = False
    if ask.delegable:
        # Only rules that allow delegation carry what is delegable, also in how long they do so.
        delegating = [rule for rule in usable if rule.delegable]
        handed_on = _sources(delegating)
        if delegating and all(scope in handed_on for scope in scopes):
            delegable, usable, sources = True, delegating, handed_on
        else:
            notes.append(Note(NoteField.FLAG, NoteCause.PAIR_RULE))

    behind = [sources[scope] for scope in scopes] or [max(usable, key=_life)]
    tightest = min(
        lifetime_caps(
            ask.kind,
            behind,
            client_caps=client_caps,
            target=target,
            limits=limits,
            remaining_tgt_s=remaining_tgt_s,
            caveat_remaining_s=caveat_remaining_s,
        )
    )
    if tightest.seconds < 1:
        expired = tightest.cause is NoteCause.TGT_EXPIRY
        return Denial(code="tgt-expired" if expired else "excluded-by-your-caveat")
    if ask.ttl_s > tightest.seconds:
        notes.append(Note(NoteField.TTL, tightest.cause))
    if notes and ask.exact:
        return Denial(code="exact-not-possible", notes=tuple(notes))
    return Grant(
        scopes=scopes,
        ttl_s=min(ask.ttl_s, tightest.seconds) if ask.ttl_s else tightest.seconds,
        delegable=delegable,
        rule_ids=tuple(sorted({rule.rule_id for rule in behind})),
        notes=tuple(notes),
        subject=ask.subject,
    )


def dropped_scopes(ask: Ask, grant: Grant) -> tuple[str, ...]:
    """The scopes that were asked for by name and not granted, each once, in the order of the request."""
    return tuple(scope for scope in dict.fromkeys(ask.scopes or ()) if scope not in grant.scopes)
