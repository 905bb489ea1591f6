"""What looking at something finds, as values: facts, what was verified, what was not, and what is sealed.

Knows neither formats nor how findings are printed. Holds no key, tail, MAC or signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.keys.keytab import Keytab

__all__ = ["Eye", "Fact", "Finding", "Moment"]

_OPENED: Final = frozenset({"ticket", "ap-request", "hand-over"})


@frozen
class Moment:
    """A Unix second, as the thing says it."""

    second: int


Fact = str | int | None | list[str] | list[dict[str, Any]] | Moment | Mapping[str, Any]


@frozen(kw_only=True)
class Eye:
    """Who looks: with which service's key file, if any, and at which Unix second."""

    keytab: Keytab | None = None
    now_s: int


@frozen(kw_only=True)
class Finding:
    """What was found. `kind` is for programs, `title` for people.

    facts: what is readable, by snake_case name. allows: caveats in words.
    verified: what a key proved. unverified: what is only said. sealed: what cannot be seen here. wrong: what a key, or
        its absence, refuted. notes: what a person should know.
    secret: whoever reads the thing itself can use it. inside: what was found in it.
    """

    kind: str
    title: str
    size: int
    facts: Mapping[str, Fact] = field(factory=dict)
    allows: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    secret: bool = False
    inside: tuple[Finding, ...] = ()

    @property
    def is_recognised(self) -> bool:
        """Whether it is anything that Orthros knows."""
        return self.kind != "unknown"

    @property
    def has_wrong(self) -> bool:
        """Whether anything in it was refuted."""
        return bool(self.wrong) or any(one.has_wrong for one in self.inside)

    @property
    def has_secret(self) -> bool:
        """Whether it, or anything in it, can be used by whoever reads it."""
        return self.secret or any(one.has_secret for one in self.inside)

    @property
    def uses_keys(self) -> bool:
        """Whether a key file could open it, or anything in it."""
        return self.kind in _OPENED or any(one.uses_keys for one in self.inside)

    def to_json(self) -> dict[str, Any]:
        """For machines; moments are Unix seconds."""
        facts = {name: value.second if isinstance(value, Moment) else value for name, value in self.facts.items()}
        return {
            "kind": self.kind,
            "size": self.size,
            "secret": self.secret,
            "facts": facts,
            "caveats": list(self.allows),
            "verified": list(self.verified),
            "unverified": list(self.unverified),
            "sealed": list(self.sealed),
            "wrong": list(self.wrong),
            "notes": list(self.notes),
            "inside": [one.to_json() for one in self.inside],
        }
