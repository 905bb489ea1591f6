"""Realm and principal names: canonical ASCII, compared byte for byte.

Knows no DNS, no case folding, no aliases and no prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar

from attrs import Attribute, field, frozen
from attrs.validators import instance_of

from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.primitives.limits import MAX_NAME_CHARS, MAX_SCOPES

__all__ = [
    "KDC_ADMIN",
    "KDC_KEYS",
    "KDC_SERVICES",
    "KDC_TGT",
    "Principal",
    "cached_principal",
    "check_list",
    "check_name",
    "check_scopes",
    "check_texts",
    "is_name",
    "is_scope",
    "listed",
    "scope_order",
]

Listed = TypeVar("Listed", bound=Iterable[Any])

# Separators only between letters or digits: no empty, leading or trailing segment can exist.
_NAME = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*", re.ASCII)
_SCOPE = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,63}", re.ASCII)

KDC_TGT = "kdc/tgt"
KDC_KEYS = "kdc/keys"
KDC_ADMIN = "kdc/admin"
KDC_SERVICES: tuple[str, ...] = (KDC_TGT, KDC_KEYS, KDC_ADMIN)
"""The only services that the initial exchange issues tickets for; nobody else may carry the prefix."""


# Messages repeat few names and scopes.
@lru_cache(maxsize=8192)
def is_name(text: str) -> bool:
    """Whether `text` is a canonical realm or principal name."""
    return len(text) <= MAX_NAME_CHARS and _NAME.fullmatch(text) is not None


@lru_cache(maxsize=8192)
def is_scope(text: str) -> bool:
    """Whether `text` is a canonical scope."""
    return _SCOPE.fullmatch(text) is not None


def check_name(text: str, what: str = "name") -> str:
    """`text` itself, or Misconfigured `name-invalid`."""
    if type(text) is not str or not is_name(text):
        raise Misconfigured("name-invalid", f"{what} {text!r}")
    return text


def scope_order(scope: str) -> tuple[int, str]:
    """Sort key for scopes: the byte order of their encodings, in which the length comes first."""
    return (len(scope), scope)


def check_list(values: Listed, what: str) -> Listed:
    """`values`, the option called `what`. Raises LocalMisuse `value-invalid` for one text where a list belongs.

    A text is an iterable of its letters: as a list of headers, names or networks it would name none of those that were
    meant, and so cover nothing, forbid nothing, or allow what it must not.
    """
    if isinstance(values, (str, bytes)):
        raise LocalMisuse("value-invalid", _not_a_list(what, values))
    return values


def _not_a_list(what: str, text: str | bytes) -> str:
    return f"{what} is a list, not one text: [{text[:80]!r}]"


def listed(_owner: object, attribute: Attribute[Any], values: Iterable[Any]) -> None:
    """`check_list` as a validator of attrs."""
    check_list(values, attribute.name)


def check_texts(values: Iterable[str], what: str) -> tuple[str, ...]:
    """`values`, the option called `what`, which is a list of texts. Raises LocalMisuse `value-invalid` otherwise."""
    found = tuple(check_list(values, what))
    for one in found:
        if type(one) is not str:
            raise LocalMisuse("value-invalid", f"{what} is a list of texts, and holds a {type(one).__name__}")
    return found


def check_scopes(scopes: object) -> tuple[str, ...]:
    """The scopes as a set in canonical order, from any iterable of str.

    Raises Misconfigured `scope-invalid` for a bad scope, more than 32, or a bare str.
    """
    if isinstance(scopes, (str, bytes)):
        raise Misconfigured("scope-invalid", _not_a_list("scopes", scopes))
    unique: set[str] = set()
    for scope in scopes:  # type: ignore[attr-defined]  # a non-iterable raises TypeError: a caller's bug
        if type(scope) is not str or not is_scope(scope):
            raise Misconfigured("scope-invalid", repr(scope))
        unique.add(scope)
    if len(unique) > MAX_SCOPES:
        raise Misconfigured("scope-invalid", f"{len(unique)} scopes, at most {MAX_SCOPES}")
    return tuple(sorted(unique, key=scope_order))


@frozen(order=True)
class Principal:
    """A name in a realm. The realm is always explicit; text form `name@realm`.

    Raises Misconfigured `name-invalid` for anything that is not canonical.
    """

    realm: str = field(validator=instance_of(str))
    name: str = field(validator=instance_of(str))

    def __attrs_post_init__(self) -> None:
        check_name(self.realm, "realm")
        check_name(self.name, "principal")

    def __str__(self) -> str:
        return f"{self.name}@{self.realm}"

    @classmethod
    def parse(cls, text: str) -> Principal:
        """From `name@realm`."""
        name, at, realm = text.partition("@")
        if not at:
            raise Misconfigured("name-invalid", f"{text!r} lacks its @realm")
        return cls(realm, name)


@lru_cache(maxsize=8192)
def cached_principal(realm: str, name: str) -> Principal:
    """`Principal(realm, name)`, remembered: messages repeat few names, and the check is not free."""
    return Principal(realm, name)
