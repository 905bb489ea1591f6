"""Which local user may have credentials for which target: kernel facts in, a verdict out.

Pure. Knows no sockets and no messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field, frozen

from orthros_protocol.primitives.names import Principal
from orthros_runtime.serving.peers import Peer

__all__ = ["AllowList", "AllowRule", "Allowance"]

_MOST_UIDS: Final = 1024


@frozen(kw_only=True)
class AllowRule:
    """Lets one uid, or the members of one gid, use `targets`; None means all of them."""

    uid: int | None = None
    gid: int | None = None
    targets: frozenset[Principal] | None = None

    def covers(self, peer: Peer) -> bool:
        """Whether the rule is about this peer."""
        return peer.uid == self.uid if self.uid is not None else self.gid in peer.gids

    def permits(self, peer: Peer, target: Principal) -> bool:
        """Whether the rule lets this peer use `target`."""
        return self.covers(peer) and (self.targets is None or target in self.targets)


@frozen
class AllowList:
    """The rules plus the default: the daemon's own uid and root may use every target."""

    own_uid: int
    rules: Sequence[AllowRule] = ()

    def trusts(self, peer: Peer) -> bool:
        """Whether the peer may do anything, because it could do so without us as well."""
        return peer.uid in (0, self.own_uid)

    def knows(self, peer: Peer) -> bool:
        """Whether anything at all is allowed to this peer."""
        return self.trusts(peer) or any(rule.covers(peer) for rule in self.rules)

    def permits(self, peer: Peer, target: Principal) -> bool:
        """Whether the peer may have credentials for `target`."""
        if self.trusts(peer):
            return True
        return any(rule.permits(peer, target) for rule in self.rules)


@define(eq=False)
class Allowance:
    """How often each uid may make the daemon ask the KDC: `burst` times at once, `per_s` in the long run.

    The KDC counts for the whole host, and the cache is one for all: a user who asks for something else each
    time may not use up what the others need. The same for each ticket that is shown as evidence: whoever calls a
    service decides what comes with his ticket, and so how many different questions there are.
    """

    per_s: float = 20.0
    burst: float = 256.0
    _left: dict[int | bytes, tuple[float, float]] = field(factory=dict, init=False)

    def take(self, who: int | bytes, now: float) -> bool:
        """Whether one more is allowed at `now` (monotonic seconds): to a uid, or with the ticket of this digest."""
        left = self._left_of(who, now)
        if len(self._left) >= _MOST_UIDS:
            self._left = {one: self._left[one] for one in self._left if self._left_of(one, now) < self.burst}
        self._left[who] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    def _left_of(self, who: int | bytes, now: float) -> float:
        left, at = self._left.get(who, (self.burst, now))
        return min(self.burst, left + (now - at) * self.per_s)
