"""A realm in memory whose KDC decides by rules: those of the KDC itself, one for each pair that a test allows.

Messages are opened and sealed by `orthros_protocol.testing`; what may be issued, `orthros_kdc` says. What a rule cannot
say (any caveat, any predicate) a test adds to the ticket.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from orthros_kdc.issuing.delegation import Delegation
from orthros_kdc.issuing.tgs_exchange import is_excluded
from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Kind, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.rule import Rule
from orthros_protocol.exchanges.wants import EXACT, WANT_DELEGABLE, Want
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.limits import DEFAULT_TICKET_S
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.testing import CountingEntropy, GrantTerms, InMemoryRealm, ManualClock, Onward
from orthros_protocol.tickets.caveats import Caveat

__all__ = ["RuledRealm"]


@frozen
class _Pair:
    """The rule of a pair, and what the KDC writes into its tickets besides."""

    rule: Rule
    caveats: Sequence[Caveat] = field(factory=tuple)
    discharges: Sequence[tuple[str, str]] = field(factory=tuple)


class RuledRealm(InMemoryRealm):
    """`InMemoryRealm` with rules."""

    def __init__(
        self, name: str = "test.realm", clock: ManualClock | None = None, entropy: CountingEntropy | None = None
    ) -> None:
        super().__init__(name, clock, entropy, decide=self._by_rule)
        self._pairs: dict[tuple[str, str], _Pair] = {}

    def allow(
        self,
        client: str,
        target: str,
        *scopes: str,
        caveats: Sequence[Caveat] = (),
        discharges: Sequence[tuple[str, str]] = (),
        behalf: bool = False,
        **conditions: object,
    ) -> None:
        """Lets `client` call `target` by one rule, in the place of the one before; `conditions` are fields of `Rule`.

        With `behalf`, the client may show anybody's evidence. `caveats`, and a demand for each (discharger, predicate)
        of `discharges`, are written into the ticket.
        """
        self.policy_seq += 1
        rule = Rule(
            rule_id=1,
            client=Selector(client),
            target=Selector(target),
            scopes=scopes,
            behalf=("*",) if behalf else (),
            **conditions,  # type: ignore[arg-type]
        )
        self._pairs[client, target] = _Pair(rule, tuple(caveats), tuple(discharges))

    def deny(self, client: str, target: str) -> None:
        """Takes the permission back."""
        self.policy_seq += 1
        self._pairs.pop((client, target), None)

    def _by_rule(self, onward: Onward, want: Want) -> GrantTerms | Code | Reason:
        pair, client = self._pairs.get((onward.client.principal.name, want.target.name)), onward.client.principal.name
        delegation = Delegation(
            login=onward.login,
            txn=onward.txn,
            exp=onward.exp,
            caveat_end=onward.exp if onward.narrowed else None,
            scopes=onward.scopes,
            targets=onward.targets,
            narrowed=onward.narrowed,
            subject=onward.subject,
            chain=onward.chain,
            path=(*(hop.principal.name for hop in onward.chain), client) if onward.chain else (),
        )
        if is_excluded(want, delegation, self.clock.now()):
            return "excluded-by-your-caveat"
        ask = Ask(
            target=want.target.name,
            kind=Kind(want.kind),
            scopes=want.scopes,
            ttl_s=want.ttl_s,
            exact=bool(want.flags & EXACT),
            delegable=bool(want.flags & WANT_DELEGABLE),
            subject=delegation.subject_text,
            proven=delegation.is_proven,
            path=delegation.path,
        )
        second = seconds_of(self.clock.now())
        known = Circumstances(
            address="",
            now=second,
            target=TargetFacts(jwt_alg="HS256"),
            limits=RealmLimits(max_jwt_s=DEFAULT_TICKET_S),  # tokens live as long as tickets
            remaining_tgt_s=onward.exp - second,
            caveat_scopes=onward.scopes,
        )
        decided = decide(ask, () if pair is None else (pair.rule,), known)
        if isinstance(decided, Denial) or pair is None:
            return decided.code if isinstance(decided, Denial) else "not-granted"
        return GrantTerms(
            scopes=decided.scopes,
            ttl_s=decided.ttl_s,
            delegable=decided.delegable,
            caveats=pair.caveats,
            discharges=pair.discharges,
        )
