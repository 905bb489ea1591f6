"""The one decision: which scopes, for how long, with which flags and caveats, and what was cut because of what.

Pure: takes rows and numbers, returns a Grant or a Denial. Knows no store, no clock and no bytes.
What it grants is never more than the union of the rules that hold, clamped by every cap and by the caveats of each
rule that it rests on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from orthros_kdc.policy.ask_and_grant import Ask, Cap, Circumstances, Denial, Grant, Kind, TargetFacts
from orthros_kdc.policy.holding import holding
from orthros_kdc.policy.rule import Rule
from orthros_kdc.policy.rule_caveats import fit_ticket
from orthros_protocol.primitives.limits import MAX_INT, MAX_SCOPES, MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import scope_order
from orthros_protocol.tickets.notes import Note, NoteCause, NoteField

__all__ = ["decide", "dropped_scopes"]


def _life(rule: Rule) -> int:
    return MAX_INT if rule.max_ttl_s is None else rule.max_ttl_s


def _preference(rule: Rule) -> tuple[bool, int, int]:
    """The least is preferred: without caveats, then the longest life, then the oldest."""
    return bool(rule.caveats), -_life(rule), rule.rule_id


def _best(rules: Sequence[Rule]) -> dict[str, Rule]:
    """Each scope with the rule that it is to rest on."""
    best: dict[str, Rule] = {}
    for rule in sorted(rules, key=_preference) if len(rules) > 1 else rules:
        for scope in rule.scopes:
            best.setdefault(scope, rule)
    return best


def _lifetime_caps(kind: Kind, sources: Sequence[Rule], known: Circumstances, target: TargetFacts) -> tuple[Cap, ...]:
    """Every limit that applies, never empty. `sources` are the rules that the granted scopes rest on."""
    jwt = kind is Kind.JWT
    limits, client = known.limits, known.client_caps
    shortest = min(sources, key=_life) if len(sources) > 1 else sources[0]
    rows: tuple[tuple[Any, ...], ...] = (
        (shortest.max_ttl_s, NoteCause.PAIR_RULE, "rule", shortest.rule_id),
        (client.max_jwt_s if jwt else client.max_ticket_s, NoteCause.PRINCIPAL_CAP, "client", None),
        (target.max_jwt_s if jwt else target.max_ticket_s, NoteCause.PRINCIPAL_CAP, "target", None),
        (min(limits.max_jwt_s if jwt else limits.max_ticket_s, MAX_TICKET_LIFE_S), NoteCause.REALM_CAP, "realm", None),
        (known.remaining_tgt_s, NoteCause.TGT_EXPIRY, "ticket-granting ticket", None),
        (known.caveat_remaining_s, NoteCause.TGT_CAVEAT, "caveat", None),
    )
    return tuple([Cap(*row) for row in rows if row[0] is not None])


def _choose_scopes(
    ask: Ask, offered: Collection[str], for_others: Collection[str], caveat_scopes: Collection[str] | None
) -> tuple[tuple[str, ...], list[Note]]:
    """What is granted of what was asked, in canonical order, and a note for each thing that was not. `for_others` is
    what rules grant that do not hold for the subject."""
    granted: set[str] = set()
    notes: list[Note] = []
    for position, scope in enumerate(offered if ask.scopes is None else ask.scopes):
        index = None if ask.scopes is None else position
        if scope not in offered:
            notes.append(
                Note(NoteField.SCOPE, NoteCause.SUBJECT_RULE if scope in for_others else NoteCause.PAIR_RULE, index)
            )
        elif caveat_scopes is not None and scope not in caveat_scopes:
            notes.append(Note(NoteField.SCOPE, NoteCause.TGT_CAVEAT, index))
        else:
            granted.add(scope)
    scopes = tuple(sorted(granted, key=scope_order))
    if len(scopes) > MAX_SCOPES:  # several rules together may allow more than a ticket can carry
        notes.append(Note(NoteField.SCOPE, NoteCause.REALM_CAP))
    return scopes[:MAX_SCOPES], list(dict.fromkeys(notes))


def _fitting(scopes: tuple[str, ...], usable: Sequence[Rule]) -> tuple[tuple[str, ...], list[Rule]]:
    """The scopes and the rules behind them, of `usable`, so that their caveats go into one ticket.

    While they do not, the newest rule that brings caveats is left out, with the scopes that no other rule grants.
    """
    while True:
        best = _best(usable)
        kept = tuple(scope for scope in scopes if scope in best)
        chosen = {best[scope].rule_id: best[scope] for scope in kept}
        behind = [chosen[number] for number in sorted(chosen)] or [min(usable, key=_preference)]
        writing = [rule for rule in behind if rule.caveats]
        if not writing or fit_ticket(caveat for rule in writing for caveat in rule.caveats):
            return kept, behind
        usable = [rule for rule in usable if rule is not writing[-1]]


def decide(ask: Ask, rules: Sequence[Rule], known: Circumstances) -> Grant | Denial:
    """Decides one want by the rules of its pair (`PolicySnapshot.rules_for`), and only by those of them that hold
    for where it comes from, in whose name, and along which path."""
    if not rules:
        return Denial(code="not-granted")
    held = holding(ask, rules, known)
    refused = partial(Denial, objections=held.objections)
    if held.code:
        return refused(code=held.code)
    jwt, target = ask.kind is Kind.JWT, known.target
    if target is None or target.disabled or not (jwt or target.has_key):
        return refused(code="target-unavailable")
    usable = [rule for rule in held.rules if rule.jwt] if jwt else held.rules
    if jwt and (not usable or target.jwt_alg is None):
        return refused(code="jwt-not-enabled")

    for_others = _best([rule for rule in held.for_others if rule.jwt or not jwt]) if held.for_others else {}
    spared: list[Note] = []
    all_usable = usable
    if ask.scopes is None:
        usable, spared = _unconditional(usable)
    scopes, notes = _choose_scopes(ask, _best(usable), for_others, known.caveat_scopes)
    notes += spared
    if ask.scopes and not scopes:
        return refused(code="no-scope-left", notes=tuple(notes))

    delegable = False
    if ask.delegable:
        delegating = _delegating(usable, scopes)
        if delegating:
            delegable, usable = True, delegating
        else:
            by_name = _delegating(all_usable, scopes)
            notes.append(Note(NoteField.FLAG, NoteCause.RULE_CAVEAT if by_name else NoteCause.PAIR_RULE))

    wanted = scopes
    scopes, behind = _fitting(wanted, usable)
    notes += _left_out(ask, set(wanted) - set(scopes))
    caps = _lifetime_caps(ask.kind, behind, known, target)
    tightest = min(caps)
    if tightest.seconds < 1:
        expired = tightest.cause is NoteCause.TGT_EXPIRY
        return refused(code="tgt-expired" if expired else "excluded-by-your-caveat")
    if ask.ttl_s > tightest.seconds:
        notes.append(Note(NoteField.TTL, tightest.cause))
    if notes and ask.exact:
        return refused(code="exact-not-possible", notes=tuple(notes))
    return Grant(
        scopes=scopes,
        ttl_s=min(ask.ttl_s, tightest.seconds) if ask.ttl_s else tightest.seconds,
        delegable=delegable,
        rule_ids=tuple(rule.rule_id for rule in behind),
        notes=tuple(notes),
        subject=ask.subject,
        caveats=tuple(dict.fromkeys(caveat for rule in behind for caveat in rule.caveats)),
        objections=held.objections,
        caps=caps,
    )


def _delegating(usable: Sequence[Rule], scopes: Collection[str]) -> list[Rule]:
    """The rules that `scopes` rest on when they are to be delegable, also in how long they are; empty: they are not."""
    found = [rule for rule in usable if rule.delegable]
    return found if _best(found).keys() >= set(scopes) else []


def _unconditional(usable: Sequence[Rule]) -> tuple[Sequence[Rule], list[Note]]:
    """What an ask that names no scopes gets: the rules that write no caveat, if there are any, and a note when others
    would grant more. Else a new rule with a caveat would put that on what clients obtain already."""
    plain = [rule for rule in usable if not rule.caveats]
    if not plain or len(plain) == len(usable):
        return usable, []
    more = _best(usable).keys() > _best(plain).keys()
    return plain, [Note(NoteField.SCOPE, NoteCause.RULE_CAVEAT)] if more else []


def _left_out(ask: Ask, scopes: Collection[str]) -> list[Note]:
    """A note for each place where one of `scopes` was asked for."""
    if ask.scopes is None:
        return [Note(NoteField.SCOPE, NoteCause.PAIR_RULE)] if scopes else []
    places = (at for at, scope in enumerate(ask.scopes) if scope in scopes)
    return [Note(NoteField.SCOPE, NoteCause.PAIR_RULE, at) for at in places]


def dropped_scopes(ask: Ask, grant: Grant) -> tuple[str, ...]:
    """The scopes that were asked for by name and not granted, each once, in the order of the request."""
    return tuple(scope for scope in dict.fromkeys(ask.scopes or ()) if scope not in grant.scopes)
