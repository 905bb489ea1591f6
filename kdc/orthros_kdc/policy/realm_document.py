"""What a realm file says, as values that remember where they stood, and what a realm is, to compare it with.

Values only; `realm_file.py` reads them from text and `realm_diff.py` compares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, field, frozen

from orthros_kdc.policy.model import GROUP_PREFIX, RealmLimits
from orthros_kdc.policy.named import mentioned
from orthros_kdc.policy.realm_file_lines import Lines, Path
from orthros_kdc.policy.rule import Rule
from orthros_protocol.errors import Misconfigured
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code, reason_for

__all__ = ["JwtFacts", "Mention", "PrincipalFacts", "RealmDocument", "RealmState", "Source", "mentions"]


@frozen(kw_only=True)
class JwtFacts:
    """How JWTs for a target are made. In a document, None is what the file does not say."""

    alg: str | None = None
    audience: str | None = None


@frozen(kw_only=True)
class PrincipalFacts:
    """What a realm file can say about a principal, its defaults being those of a new one."""

    disabled: bool = False
    max_ticket_s: int | None = None
    max_jwt_s: int | None = None
    sources: tuple[str, ...] = ()
    oauth: bool = False
    jwt: JwtFacts | None = None
    token_claims: tuple[str, ...] = ()
    default_audience: str | None = None


@frozen(kw_only=True)
class RealmState:
    """A realm as it is. `rules` are the oldest first."""

    realm: str
    issuer: str
    limits: RealmLimits
    principals: Mapping[str, PrincipalFacts]
    groups: Mapping[str, frozenset[str]]
    rules: tuple[Rule, ...]


@frozen(kw_only=True)
class Source:
    """Where a document came from: the file's name for people, what `tomllib` made of it, and the lines of that."""

    name: str = "realm file"
    tree: Mapping[str, Any] = field(factory=dict, repr=False)
    lines: Lines = field(factory=Lines, repr=False)

    def line(self, *path: str | int) -> int:
        """The line of what stands at `path`. The last part may be an element itself instead of its number."""
        *above, last = path
        found: Any = self.tree
        try:
            for part in above:
                found = found[part]
            if isinstance(last, str) and isinstance(found, list):
                last = found.index(last)
        except (LookupError, TypeError, ValueError):
            pass  # what is not there has the line of what it would stand in
        return self.lines.at(*above, last)

    def refusal(self, path: Path, code: Code | Reason, seen: str, remedy: str) -> Misconfigured:
        """The error for what stands at `path`: file and line, what was `seen` there, and what to do."""
        return Misconfigured(evolve(reason_for(code), remedy=remedy), f"{self.name}, line {self.line(*path)}: {seen}")


def _sets(groups: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    return {group: frozenset(members) for group, members in groups.items()}


@frozen(kw_only=True)
class RealmDocument:
    """What a file says; two are equal when they say the same, wherever it stands.

    `name` is the realm that the file is of, None when it says nothing. `realm` holds the facts of the realm that the
    file names (issuer, max_ticket_s, max_tgt_s, max_jwt_s), and each
    entry of `principals` those of the principal, by the names of `PrincipalFacts`; what is not named stays as it is.
    `groups` and `rules` (with number 0, in the order of the file) are the whole truth.
    """

    name: str | None = None
    realm: Mapping[str, Any] = field(factory=dict)
    principals: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(factory=dict, eq=_sets)
    rules: tuple[Rule, ...] = ()
    source: Source = field(factory=Source, eq=False)


@frozen
class Mention:
    """A name of a principal of this realm in a document, and where it stands."""

    path: Path
    name: str
    is_group: bool = False

    def __str__(self) -> str:
        return f"{'group' if self.is_group else 'principal'} {self.name}"


def mentions(document: RealmDocument) -> Iterator[Mention]:
    """Everybody of this realm whom principals, groups and rules name, in the order of the file."""
    for name, facts in document.principals.items():
        if facts.get("default_audience") is not None:
            yield Mention(("principals", name, "default_audience"), facts["default_audience"])
    for group, members in document.groups.items():
        for member in members:
            yield Mention(("groups", group, member), member)
    for number, rule in enumerate(document.rules):
        at = ("rules", number)
        for end, selector in (("client", rule.client), ("target", rule.target)):
            yield Mention((*at, end), selector.name, selector.is_group)
        for row, entry, whom in mentioned(rule):
            bare = whom.removeprefix(GROUP_PREFIX)
            if "@" not in whom:
                yield Mention((*at, row.key, entry), bare, bare != whom)
