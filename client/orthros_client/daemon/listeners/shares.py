"""Who may have how many connections of one of the daemon's sockets.

Groups for the listener to count; it decides which connection makes room.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.limits import Group
from orthros_runtime.serving.peers import Peer

__all__ = ["ListenerShares"]

_ROOT: Final = 0


def _everyone(_peer: Peer) -> bool:
    return True


def _no_proxy() -> int | None:
    return None


@frozen(eq=False, kw_only=True)
class ListenerShares:
    """The shares of `most` connections.

    Root may have all of them. A sixteenth stays for root, whatever all others together have; another one for the proxy
    (`proxy_uid`), and a third for the daemon's own user. Within the rest one user may have a half. Users that `knows`
    says no to share an eighth: user ids cost nothing where users may make namespaces.

    `knows` and `proxy_uid` are asked for each connection, so that a reload can change them.
    """

    most: int
    knows: Callable[[Peer], bool] = _everyone
    proxy_uid: Callable[[], int | None] = _no_proxy
    own_uid: int = field(factory=os.geteuid)

    def group_of(self, connection: Connection) -> Group:
        """Where the connection counts."""
        return self.group_for(connection.peer)

    def group_for(self, peer: Peer) -> Group:
        """Where a connection of this peer counts."""
        owner = peer.owner
        kept = max(1, self.most // 16)
        everyone = Group("all", self.most, "all users together")
        if owner == _ROOT:
            return Group(owner, self.most, "root", everyone)
        # What stays free for one must be out of reach for the sum of the others, so the groups lie in each other.
        not_root = Group("not root", max(1, self.most - kept), "all users but root", everyone)
        if owner is not None and owner == self.proxy_uid():
            return Group(owner, max(1, self.most - 2 * kept), f"user {owner}", not_root)
        not_proxy = Group("not proxy", max(1, self.most - 2 * kept), "all users but root and the proxy", not_root)
        if owner == self.own_uid:
            return Group(owner, max(1, self.most - 2 * kept), f"user {owner}", not_proxy)
        others = Group("others", max(1, self.most - 3 * kept), "all users without a place of their own", not_proxy)
        if not self.knows(peer):
            return Group("unknown", max(1, self.most // 8), "all users without a rule", others)
        half = max(1, self.most // 2)
        if owner is None:
            return Group("unnamed", half, "all programs whose user is not known", others)
        return Group(owner, half, f"user {owner}", others)
