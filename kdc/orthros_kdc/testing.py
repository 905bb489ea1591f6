"""Tests of one's own rules: the realm file as the KDC loads it, asked as the KDC is asked.

    realm = Realm.from_file("realm.toml")
    assert realm.decide("shop", "orders", scopes=["read"]).scopes == {"read"}
    assert realm.decide("shop", "ledger").refused == "not-granted"

The file is read by `realm apply`'s reader, and every answer is that of the KDC's own `decide` with its grounds, those
of `policy explain`. Decides nothing itself. Needs no store, no keys and no event loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

from attrs import evolve, field, frozen

from orthros_kdc.admin import realm_file
from orthros_kdc.policy.ask_and_grant import Denial, TargetFacts
from orthros_kdc.policy.expectations import Report, read_ask, run_expectations
from orthros_kdc.policy.explain import Explanation, caveat_texts, forecast
from orthros_kdc.policy.model import RealmLimits, check_until, second_of
from orthros_kdc.policy.realm_diff import USUAL_ALG, plan_changes
from orthros_kdc.policy.realm_document import PrincipalFacts, RealmDocument, RealmState
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.reasons import NO_PRINCIPAL
from orthros_kdc.store.base import PolicyRows
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.primitives.names import check_texts
from orthros_protocol.testing.fakes import ManualClock

__all__ = ["AskWords", "Decision", "Realm"]

Moment = int | str | datetime
"""A Unix second, `2027-01-31` (its first second in UTC), `2027-01-31T09:00:00Z`, or a datetime with a zone."""

_NAMELESS = "test.realm"


class AskWords(TypedDict, total=False):
    """How a client asks: the words of an expectation of `orthros-admin policy test`. All may be left out.

    scopes: which; by default what the rules allow unasked. kind: `ticket` or `jwt`. ttl_s: seconds of life, 0: as long
    as allowed. exact: refuse rather than grant less. delegable: so that the target may act further.
    subject: in whose name, by the client's word alone. behalf: on whose behalf, proven by evidence, and via: the
    callers before the client, the first caller first.
    from_address: the IP address it asks from, or `local`; by default none is held against it.
    at: the moment; by default what the realm's clock shows.
    """

    scopes: Iterable[str]
    kind: Literal["ticket", "jwt"]
    ttl_s: int
    exact: bool
    delegable: bool
    subject: str
    behalf: str
    via: Iterable[str]
    from_address: str
    at: Moment


@frozen(repr=False)
class Decision:
    """What the KDC answers, and why: `str` of it is what `policy explain` prints."""

    explanation: Explanation

    @property
    def refused(self) -> str | None:
        """The code of the refusal; None when something is granted."""
        decision = self.explanation.decision
        return decision.code if isinstance(decision, Denial) else None

    @property
    def scopes(self) -> frozenset[str]:
        """What is granted; empty in a refusal."""
        decision = self.explanation.decision
        return frozenset() if isinstance(decision, Denial) else frozenset(decision.scopes)

    @property
    def ttl_s(self) -> int:
        """For how many seconds; 0 in a refusal."""
        decision = self.explanation.decision
        return 0 if isinstance(decision, Denial) else decision.ttl_s

    @property
    def delegable(self) -> bool:
        """Whether the target may act for the client with it."""
        decision = self.explanation.decision
        return not isinstance(decision, Denial) and decision.delegable

    @property
    def caveats(self) -> frozenset[str]:
        """What the KDC writes into the ticket, as expectations write it: `methods GET`."""
        decision = self.explanation.decision
        return frozenset() if isinstance(decision, Denial) else frozenset(caveat_texts(decision))

    @property
    def remedies(self) -> tuple[str, ...]:
        """The commands that would turn a refusal into a grant."""
        return self.explanation.remedies

    def __str__(self) -> str:
        return "\n".join(self.explanation.lines())

    def __repr__(self) -> str:
        return f"<Decision {self}>"


@frozen(kw_only=True, repr=False)
class Realm:
    """A realm as its file describes it, every principal with a key. `clock` is turned by `clock.advance(seconds)`."""

    document: RealmDocument
    clock: ManualClock
    limits: RealmLimits
    _policy: PolicySnapshot
    _facts: Mapping[str, TargetFacts] = field(alias="facts")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, others: Iterable[str] = (), at: Moment | None = None) -> Self:
        """From a realm file. `others` are principals that the realm has and the file only names; `at` is what the
        clock shows, by default the present time.

        Raises Misconfigured, with file and line, as `orthros-admin realm validate` and `realm apply` do on a new realm;
        OSError for a file that cannot be read.
        """
        return cls.from_text(Path(path).read_text("utf-8"), source=os.fspath(path), others=others, at=at)

    @classmethod
    def from_text(
        cls, text: str, *, source: str = "realm file", others: Iterable[str] = (), at: Moment | None = None
    ) -> Self:
        """From what a realm file holds; `source` is its name in errors. Raises as `from_file`."""
        document = realm_file.read(text, source=source)
        document = evolve(document, name=document.name or _NAMELESS)
        limits = RealmLimits(**{name: value for name, value in document.realm.items() if name != "issuer"})
        known = {name: PrincipalFacts() for name in check_texts(others, "others")}
        plan_changes(document, _founded(document.name or _NAMELESS, known))
        known |= {name: PrincipalFacts(**said) for name, said in document.principals.items()}
        return cls(
            document=document,
            clock=ManualClock(int(time.time()) * 1000 if at is None else _second(at) * 1000),
            limits=limits,
            policy=PolicySnapshot(
                PolicyRows(
                    seq=1,
                    rules=tuple(evolve(rule, rule_id=number) for number, rule in enumerate(document.rules, 1)),
                    groups={group: frozenset(members) for group, members in document.groups.items()},
                )
            ),
            facts={name: _facts_of(one) for name, one in known.items()},
        )

    def __repr__(self) -> str:
        return f"<Realm {self.document.name}: {len(self._facts)} principals, {len(self.document.rules)} rules>"

    def decide(self, client: str, target: str, **words: Unpack[AskWords]) -> Decision:
        """What the KDC answers to `client` asking for `target`, with a fresh login. Rules are numbered as in the file.

        Raises Misconfigured `not-found` for a name of no principal, which is likelier a slip than a stranger, and
        what is wrong with the words; TypeError for an unknown one.
        """
        unknown = sorted(words.keys() - AskWords.__annotations__.keys())
        if unknown:
            raise TypeError(f"there is no word {unknown[0]!r}; the words are {', '.join(AskWords.__annotations__)}")
        said: dict[str, Any] = {"client": client, "target": target, **words}
        now, where = self._now(said.pop("at", None)), f"{client} -> {target}"
        if "from_address" in said:
            said["from"] = said.pop("from_address")
        for name in ("scopes", "via"):
            if name in said:
                said[name] = list(check_texts(said[name], name))
        asker, ask, address = read_ask(said, where)
        for name in (asker, ask.target, *(name for name in ask.path if "@" not in name)):
            self._require(name)
        return Decision(
            forecast(asker, ask, self._policy, facts_of=self._facts.get, limits=self.limits, now=now, address=address)
        )

    def check(self, expectations: str, *, source: str = "expectations", at: Moment | None = None) -> Report:
        """Every `[[expect]]` of a text, as `orthros-admin policy test` checks them. Raises Misconfigured."""
        return run_expectations(
            expectations, self._policy, facts_of=self._facts.get, limits=self.limits, now=self._now(at), source=source
        )

    def _now(self, at: Moment | None) -> int:
        return self.clock.now() // 1000 if at is None else _second(at)

    def _require(self, name: str) -> None:
        if name not in self._facts:
            near = get_close_matches(name, self._facts, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Misconfigured(NO_PRINCIPAL, f"{self.document.source.name} has no principal {name}{hint}")


def _founded(name: str, principals: Mapping[str, PrincipalFacts]) -> RealmState:
    """A realm that has been founded, and into which the file comes as its first."""
    return RealmState(realm=name, issuer="", limits=RealmLimits(), principals=principals, groups={}, rules=())


def _facts_of(one: PrincipalFacts) -> TargetFacts:
    return TargetFacts(
        max_ticket_s=one.max_ticket_s,
        max_jwt_s=one.max_jwt_s,
        disabled=one.disabled,
        jwt_alg=None if one.jwt is None else one.jwt.alg or USUAL_ALG,
        sources=one.sources,
    )


def _second(at: Moment) -> int:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise LocalMisuse("value-invalid", f"at: {at} has no time zone")
        return int(at.timestamp())
    return at if isinstance(at, int) else second_of(check_until(at))
