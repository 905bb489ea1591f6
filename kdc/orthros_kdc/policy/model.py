"""Policy as rows: selectors, groups, rules, patterns of subjects, and limits.

Values only; `decide.py` applies them and the store keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from attrs import field, frozen

from orthros_kdc.policy.rule_caveats import Demand, RuleCaveats
from orthros_kdc.policy.sources import check_sources
from orthros_protocol import Misconfigured, Principal, check_name, check_scopes
from orthros_protocol.primitives.limits import (
    DEFAULT_JWT_S,
    DEFAULT_TGT_S,
    DEFAULT_TICKET_S,
    MAX_CHAIN_HOPS,
    MAX_INT,
    MAX_TICKET_LIFE_S,
)
from orthros_protocol.primitives.names import is_name
from orthros_protocol.tickets.call_chain import ChainRule

__all__ = [
    "ANY_SUBJECT",
    "GROUP_PREFIX",
    "Demand",
    "RealmLimits",
    "Rule",
    "RuleCaveats",
    "Selector",
    "chain_texts",
    "check_chain",
    "check_principal_name",
    "check_subject_patterns",
    "named_subjects",
    "subject_matches",
]

GROUP_PREFIX: Final = "group:"

ANY_SUBJECT: Final = "*"
_BELOW: Final = "/*"
_MOST_SUBJECTS: Final = 32
_MOST_NAMED: Final = 32


@frozen(order=True)
class Selector:
    """One principal or one group of the realm, by exact name. Text form: `name` or `group:name`."""

    name: str = field(converter=check_name)
    is_group: bool = False

    def __str__(self) -> str:
        return f"{GROUP_PREFIX}{self.name}" if self.is_group else self.name

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text form. Raises Misconfigured `name-invalid`."""
        name = text.removeprefix(GROUP_PREFIX)
        return cls(name, is_group=name != text)


def check_principal_name(name: str) -> str:
    """`name` itself, or Misconfigured: `name-invalid`, or `conflict` for a name of the KDC's own."""
    check_name(name, "principal")
    # One exact path segment, not a string prefix: `kdc-backup` is an ordinary name.
    if name.partition("/")[0] == "kdc":
        raise Misconfigured("conflict", f"{name}: names under kdc/ belong to the KDC itself")
    return name


def check_subject_patterns(patterns: object) -> tuple[str, ...]:
    """The patterns as a set in sorted order, from any iterable of str.

    A pattern is a name, or `name/*` for every name below `name/`, or `*` for every name; names under kdc/ belong
    to the KDC itself and match nothing. Raises Misconfigured `value-invalid` for anything else, more than 32, or
    a bare str.
    """
    if isinstance(patterns, (str, bytes)) or not isinstance(patterns, Iterable):
        raise Misconfigured("value-invalid", "expected a list of subject patterns")
    unique = set(patterns)
    for pattern in unique:
        if type(pattern) is not str or not _is_subject_pattern(pattern):
            raise Misconfigured("value-invalid", f"subject pattern {pattern!r}: write a name, NAME/* or *")
    if len(unique) > _MOST_SUBJECTS:
        raise Misconfigured("value-invalid", f"{len(unique)} subject patterns, at most {_MOST_SUBJECTS}")
    return tuple(sorted(unique))


def subject_matches(patterns: Iterable[str], name: str) -> bool:
    """Whether one of `patterns` covers the subject `name`. Segments are whole: `a/*` covers neither `a` nor `ab/c`."""
    if not _is_subject(name):
        return False
    return any(
        pattern in (ANY_SUBJECT, name) or (pattern.endswith(_BELOW) and name.startswith(pattern[:-1]))
        for pattern in patterns
    )


def _is_subject_pattern(pattern: str) -> bool:
    return pattern == ANY_SUBJECT or _is_subject(pattern.removesuffix(_BELOW))


def _is_subject(name: str) -> bool:
    return is_name(name) and name.partition("/")[0] != "kdc"


def check_chain(
    *, deny_via: object = (), require_via: object = (), max_depth: object = MAX_CHAIN_HOPS, callbacks: bool = False
) -> ChainRule:
    """Conditions on the path of a call in canonical form, from what an admin wrote.

    Entries of `deny_via` and `require_via` are `name`, `name@realm` or `group:name`. Raises Misconfigured
    `value-invalid`, or `name-invalid` for an entry that is none of them.
    """
    if type(max_depth) is not int or not 0 <= max_depth <= MAX_CHAIN_HOPS:
        raise Misconfigured("value-invalid", f"max_depth is 0 to {MAX_CHAIN_HOPS}, not {max_depth!r}")
    denied, required = _passed("deny_via", deny_via), _passed("require_via", require_via)
    both = set(denied) & set(required)
    if both:
        raise Misconfigured("value-invalid", f"{min(both)} is both in deny_via and in require_via")
    return ChainRule(deny_via=denied, require_via=required, max_depth=max_depth, callbacks=callbacks)


def _passed(what: str, values: object) -> tuple[str, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise Misconfigured("value-invalid", f"{what}: expected a list of names")
    unique = set(values)
    for value in unique:
        if type(value) is not str:
            raise Misconfigured("name-invalid", f"{what}: {value!r}")
        Principal.parse(value) if "@" in value else Selector.parse(value)
    if len(unique) > _MOST_NAMED:
        raise Misconfigured("value-invalid", f"{what}: {len(unique)} names, at most {_MOST_NAMED}")
    return tuple(sorted(unique))


def _canonical(chain: ChainRule) -> ChainRule:
    return check_chain(
        deny_via=chain.deny_via, require_via=chain.require_via, max_depth=chain.max_depth, callbacks=chain.callbacks
    )


def _positive_or_none(_instance: object, attribute: object, value: int | None) -> None:
    # More than the store can hold is no cap anyway.
    if value is not None and not 1 <= value <= MAX_INT:
        raise Misconfigured("value-invalid", f"{getattr(attribute, 'name', 'limit')} is 1 to 2^63-1 seconds")


def _within_a_day(_instance: object, attribute: object, value: int) -> None:
    # Verifiers and the KDC itself refuse tickets that live longer, so such a limit would stop the realm.
    if not 1 <= value <= MAX_TICKET_LIFE_S:
        name = getattr(attribute, "name", "limit")
        raise Misconfigured("value-invalid", f"{name} is 1 to {MAX_TICKET_LIFE_S} seconds, not {value}")


@frozen(kw_only=True)
class Rule:
    """One permission: `client` may call `target` with `scopes`. Everything that no rule allows is refused.

    `max_ttl_s` caps the lifetime in seconds (None: only the other caps apply); `jwt` allows JWT export;
    `delegable` allows tickets that the target may use as evidence. `subjects` are the patterns of those in whose
    name the client may ask by its word alone, `behalf` of those for whom it must prove to have been called, whether
    the first caller spoke for itself or asserted a name; none by default. The rule holds only for asks from
    `sources` (CIDR; none: from anywhere) and along a path that `chain` allows, and `caveats` are written into its
    tickets.

    Two rules that differ in `rule_id` alone say the same: every other field has one form. Raises Misconfigured.
    """

    rule_id: int
    client: Selector
    target: Selector
    scopes: tuple[str, ...] = field(converter=check_scopes)
    max_ttl_s: int | None = field(default=None, validator=_positive_or_none)
    jwt: bool = False
    delegable: bool = False
    subjects: tuple[str, ...] = field(default=(), converter=check_subject_patterns)
    behalf: tuple[str, ...] = field(default=(), converter=check_subject_patterns)
    sources: tuple[str, ...] = field(default=(), converter=check_sources)
    chain: ChainRule = field(factory=ChainRule, converter=_canonical)
    caveats: RuleCaveats = field(factory=RuleCaveats)

    def __attrs_post_init__(self) -> None:
        if self.jwt and self.caveats:
            raise Misconfigured("value-invalid", "a JWT cannot carry caveats: write one rule for JWTs, one for tickets")

    def __str__(self) -> str:
        extras = [f"max {self.max_ttl_s} s"] if self.max_ttl_s is not None else []
        extras += ["jwt"] if self.jwt else []
        extras += ["delegable"] if self.delegable else []
        extras += [f"for {' '.join(self.subjects)}"] if self.subjects else []
        extras += [f"on behalf of {' '.join(self.behalf)}"] if self.behalf else []
        extras += [f"from {' '.join(self.sources)}"] if self.sources else []
        extras += chain_texts(self.chain)
        extras += [f"with {text}" for text in self.caveats.texts()]
        tail = f" ({', '.join(extras)})" if extras else ""
        return f"rule {self.rule_id}: {self.client} -> {self.target} [{' '.join(self.scopes) or 'no scopes'}]{tail}"


def named_subjects(rule: Rule) -> frozenset[str]:
    """The names that stand in `subjects` and `behalf` of `rule` themselves; patterns for many names are none."""
    return frozenset(pattern for pattern in (*rule.subjects, *rule.behalf) if _is_subject(pattern))


def chain_texts(chain: ChainRule) -> list[str]:
    """One text for each condition that is not the usual one."""
    said = [f"never via {' '.join(chain.deny_via)}"] if chain.deny_via else []
    said += [f"only via {' '.join(chain.require_via)}"] if chain.require_via else []
    said += [f"at most {chain.max_depth} before the client"] if chain.max_depth < MAX_CHAIN_HOPS else []
    return said + (["callbacks"] if chain.callbacks else [])


@frozen(kw_only=True)
class RealmLimits:
    """Caps that hold for everyone, in seconds."""

    max_ticket_s: int = field(default=DEFAULT_TICKET_S, validator=_within_a_day)
    max_tgt_s: int = field(default=DEFAULT_TGT_S, validator=_within_a_day)
    max_jwt_s: int = field(default=DEFAULT_JWT_S, validator=_within_a_day)
