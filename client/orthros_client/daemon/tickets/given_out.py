"""Which tickets were given to which local users: a report about any other ticket is not believed.

Pure and bounded. Knows no sockets and no messages; of a ticket it keeps the hash.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential
from orthros_runtime.bounded import BoundedMap

__all__ = ["GivenOut"]

_MOST_UIDS: Final = 64


_Uids = BoundedMap[int, None]


@frozen
class _Row:
    key: CacheKey
    uids: _Uids


class GivenOut:
    """The last `capacity` tickets that were given out, each with the last 64 uids that it was given to.

    Besides, who was given any ticket that answers a question: a user of one is a user of its successor.
    One user can push out the tickets of others only as it can push them out of the cache itself.
    """

    def __init__(self, capacity: int) -> None:
        self._rows = BoundedMap[bytes, _Row](capacity)
        self._users = BoundedMap[CacheKey, _Uids](capacity)

    def __len__(self) -> int:
        return len(self._rows)

    def note(self, held: HeldCredential, uid: int) -> None:
        """`held` is given to `uid`."""
        row = self._rows.setdefault(held.name, _Row(held.key, _Uids(_MOST_UIDS)))
        users = self._users.setdefault(held.key, _Uids(_MOST_UIDS))
        self._rows.move_to_end(held.name)
        self._users.move_to_end(held.key)
        for uids in (row.uids, users):
            uids[uid] = None
            uids.move_to_end(uid)

    def key_of(self, ticket: bytes, uid: int) -> CacheKey | None:
        """What `uid` asked to get the ticket of this hash; None if it was never given to it, or long ago."""
        row = self._rows.get(ticket)
        return row.key if row is not None and uid in row.uids else None

    def is_only_for(self, held: HeldCredential, uid: int) -> bool:
        """Whether `uid` got the ticket or one before it, and nobody else did as far as is known."""
        return list(self._users.get(held.key, ())) == [uid]
