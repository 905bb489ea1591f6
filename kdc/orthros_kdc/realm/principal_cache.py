"""The principals that were asked for lately: bounded, found by every name they have, and dropped one by one.

Whatever is here is true under the snapshot in force. So a row that was read is kept only if its principal has not
changed since; therefore what changes during a read is remembered until all reading is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orthros_kdc.realm.principals import Key, KnownPrincipal
from orthros_kdc.realm.snapshot import RealmStep
from orthros_runtime.bounded import BoundedMap

__all__ = ["PrincipalCache"]


class PrincipalCache:
    """At most `capacity` principals; the one that was used longest ago makes room."""

    def __init__(self, capacity: int) -> None:
        self._known = BoundedMap[int, KnownPrincipal](capacity, dropped=self._forget_names)
        self._uids: dict[Key, int] = {}
        # By JWT key and by `aud`, which stand for no principal once a second one has them.
        self._sole: dict[Key, int] = {}
        self._readers = 0
        self._dropped: dict[Key, int] = {}
        self._all_dropped = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> KnownPrincipal | None:
        """Whom `key` stands for, if it is at hand."""
        uid = key[1] if key[0] == "uid" else self._uids.get(key) or self._sole.get(key)
        known = self._known.get(uid) if isinstance(uid, int) else None
        if known is not None:
            self._known.move_to_end(known.principal.uid)
        return known

    def put(self, key: Key, known: KnownPrincipal, seq: int) -> None:
        """Keeps what `key` was found to stand for after change `seq`, unless that may be otherwise by now."""
        uid = known.principal.uid
        if self.has_changed(("uid", uid), seq):
            return
        self._forget(uid)
        self._known[uid] = known
        self._uids.update((name, uid) for name in _names(known))
        if key[0] in ("jwt", "audience"):
            self._sole[key] = uid

    def has_changed(self, key: Key, seq: int) -> bool:
        """Whether `key` may stand for something else than after change `seq`. To be asked while `reading` only."""
        return max(self._dropped.get(key, 0), self._all_dropped) > seq

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While a read runs in it, changes are remembered for `put` and `has_changed`."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._dropped.clear()

    def follow(self, step: RealmStep) -> None:
        """Drops what has changed with this step, or everything."""
        seq = step.snapshot.seq
        if step.principals is None:
            self._known.clear()
            self._uids.clear()
            self._all_dropped = seq
        if step.principals is None or step.principals:
            self._sole.clear()
        for uid, name in step.principals or ():
            self._forget(uid)
            if self._readers:
                self._dropped["uid", uid] = self._dropped["name", name] = seq

    def _forget(self, uid: int) -> None:
        known = self._known.pop(uid, None)
        if known is not None:
            self._forget_names(uid, known)

    def _forget_names(self, _uid: int, known: KnownPrincipal) -> None:
        for name in _names(known):
            self._uids.pop(name, None)


def _names(known: KnownPrincipal) -> list[Key]:
    return [("name", known.principal.name), *(("kid", kid) for kid in known.login_kids)]
