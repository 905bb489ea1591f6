"""Policy as rows: selectors, groups, rules, patterns of subjects, and limits.

Values only; `decide.py` applies them and the store keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from attrs import field, frozen

from orthros_protocol import Misconfigured, check_name, check_scopes
from orthros_protocol.limits import DEFAULT_JWT_S, DEFAULT_TGT_S, DEFAULT_TICKET_S, MAX_INT, MAX_TICKET_LIFE_S
from orthros_protocol.names import is_name

__all__ = [
    "ANY_SUBJECT", "GROUP_PREFIX", "RealmLimits", "Rule", "Selector", "check_subject_patterns", "subject_matches",
]  # fmt: skip

GROUP_PREFIX: Final = "group:"

ANY_SUBJECT: Final = "*"
_BELOW: Final = "/*"
_MOST_SUBJECTS: Final = 32


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
    `delegable` allows tickets that the target may use as evidence; `subjects` are the patterns of those in whose
    name the client may ask, none by default.
    """

    rule_id: int
    client: Selector
    target: Selector
    scopes: tuple[str, ...] = field(converter=check_scopes)
    max_ttl_s: int | None = field(default=None, validator=_positive_or_none)
    jwt: bool = False
    delegable: bool = False
    subjects: tuple[str, ...] = field(default=(), converter=check_subject_patterns)

    def __str__(self) -> str:
        extras = [f"max {self.max_ttl_s} s"] if self.max_ttl_s is not None else []
        extras += ["jwt"] if self.jwt else []
        extras += ["delegable"] if self.delegable else []
        extras += [f"for {' '.join(self.subjects)}"] if self.subjects else []
        tail = f" ({', '.join(extras)})" if extras else ""
        return f"rule {self.rule_id}: {self.client} -> {self.target} [{' '.join(self.scopes) or 'no scopes'}]{tail}"


@frozen(kw_only=True)
class RealmLimits:
    """Caps that hold for everyone, in seconds."""

    max_ticket_s: int = field(default=DEFAULT_TICKET_S, validator=_within_a_day)
    max_tgt_s: int = field(default=DEFAULT_TGT_S, validator=_within_a_day)
    max_jwt_s: int = field(default=DEFAULT_JWT_S, validator=_within_a_day)
