"""Names in policy: selectors, groups, patterns of subjects, callers on a path; and the limits of a realm.

Values only; `rule.py` makes rules of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Self

from attrs import field, frozen

from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import (
    DEFAULT_JWT_S,
    DEFAULT_TGT_S,
    DEFAULT_TICKET_S,
    MAX_CHAIN_HOPS,
    MAX_INT,
    MAX_TICKET_LIFE_S,
)
from orthros_protocol.primitives.names import Principal, check_name, is_name

__all__ = [
    "ANY_SUBJECT",
    "GROUP_PREFIX",
    "RealmLimits",
    "Selector",
    "check_callers",
    "check_depth",
    "check_life",
    "check_principal_name",
    "check_subject_patterns",
    "check_until",
    "is_subject",
    "second_of",
    "subject_matches",
    "subject_words",
]

GROUP_PREFIX: Final = "group:"

ANY_SUBJECT: Final = "*"
_BELOW: Final = "/*"
_MOST_SUBJECTS: Final = 32
_MOST_NAMED: Final = 32
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


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
    if not is_subject(name):
        return False
    return any(
        pattern in (ANY_SUBJECT, name) or (pattern.endswith(_BELOW) and name.startswith(pattern[:-1]))
        for pattern in patterns
    )


def subject_words(patterns: tuple[str, ...]) -> str:
    """Patterns of subjects in words."""
    if ANY_SUBJECT in patterns:
        return "anybody"
    return ", ".join(f"all below {one[:-1]}" if one.endswith("*") else one for one in patterns)


def _is_subject_pattern(pattern: str) -> bool:
    return pattern == ANY_SUBJECT or is_subject(pattern.removesuffix(_BELOW))


def is_subject(name: str) -> bool:
    """Whether `name` can be a subject: a principal's name that is not the KDC's own."""
    return is_name(name) and name.partition("/")[0] != "kdc"


def check_callers(what: str, values: object) -> tuple[str, ...]:
    """Names of those on a path, as a set in sorted order: `name`, `name@realm` or `group:name`.

    `what` is their condition, for the error: Misconfigured `value-invalid`, or `name-invalid` for an entry that is no
    name.
    """
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


def check_life(value: int | None) -> int | None:
    """A life in seconds, or None; more than the store can hold is no cap anyway. Raises Misconfigured."""
    if value is not None and not 1 <= value <= MAX_INT:
        raise Misconfigured("value-invalid", "max_ttl_s is 1 to 2^63-1 seconds")
    return value


def check_depth(value: object) -> int:
    """How many callers may come before the client. Raises Misconfigured."""
    if type(value) is not int or not 0 <= value <= MAX_CHAIN_HOPS:
        raise Misconfigured("value-invalid", f"max_depth is 0 to {MAX_CHAIN_HOPS}, not {value!r}")
    return value


def check_until(value: object) -> str | None:
    """The instant as `2027-01-31T00:00:00Z`, from a date, which is its first second in UTC, or from a date and time
    with an offset. Raises Misconfigured `value-invalid`."""
    if value is None:
        return None
    try:
        if type(value) is not str or not value.isascii():
            raise ValueError(value)
        day = _DATE.fullmatch(value) is not None
        found = datetime.fromisoformat(f"{value}T00:00:00Z" if day else value)
        if found.tzinfo is None or found.microsecond:
            raise ValueError(value)
        return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        detail = f"until {value!r}: write 2027-01-31, or 2027-01-31T18:00:00Z with Z or an offset"
        raise Misconfigured("value-invalid", detail) from None


def second_of(instant: str | None) -> int:
    """The Unix second of what `check_until` returned; one past all others for None."""
    return MAX_INT if instant is None else int(datetime.fromisoformat(instant).timestamp())


def _within_a_day(_instance: object, attribute: object, value: int) -> None:
    # Verifiers and the KDC itself refuse tickets that live longer, so such a limit would stop the realm.
    if not 1 <= value <= MAX_TICKET_LIFE_S:
        name = getattr(attribute, "name", "limit")
        raise Misconfigured("value-invalid", f"{name} is 1 to {MAX_TICKET_LIFE_S} seconds, not {value}")


@frozen(kw_only=True)
class RealmLimits:
    """Caps that hold for everyone, in seconds."""

    max_ticket_s: int = field(default=DEFAULT_TICKET_S, validator=_within_a_day)
    max_tgt_s: int = field(default=DEFAULT_TGT_S, validator=_within_a_day)
    max_jwt_s: int = field(default=DEFAULT_JWT_S, validator=_within_a_day)
