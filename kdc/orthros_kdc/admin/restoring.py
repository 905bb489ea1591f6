"""The use case behind `orthros-kdc restored`: an operator declares that a backup is the realm from now on.

Knows no files but through `orthros_kdc.audit.going_back`.
"""

from __future__ import annotations

import os

import trio
from attrs import frozen

from orthros_kdc.admin.context import Admin, change_as_planned
from orthros_kdc.audit.admin_lines import head_of
from orthros_kdc.audit.going_back import RESTORED_CHANGE, Applied, latest_applied, undone_of
from orthros_kdc.store.base import Transaction
from orthros_protocol.errors import Misconfigured

__all__ = ["Restored", "restored"]


@frozen(kw_only=True)
class Restored:
    """What was declared: the last change that the database still has, what its KDCs had in force beyond that, and the
    uid that the next principal is given at least."""

    last: int
    undone: tuple[Applied, ...]
    first_uid: int


async def restored(admin: Admin, directory: str | os.PathLike[str]) -> Restored:
    """Ends the refusal of a database that is behind the logs in `directory`, for every KDC.

    No uid that was given after the backup is given again: the next one is at least the present time in milliseconds,
    and further on than one for each change that is undone. No login from before counts any more (protocol.md section
    15): who was revoked after the backup would go on with it. Raises Misconfigured `conflict` when the database is not
    behind.
    """
    said = await trio.to_thread.run_sync(latest_applied, directory)

    def plan(tx: Transaction) -> tuple[Applied, ...]:
        tx.realm()
        undone = undone_of(tx, said)
        if not undone:
            raise Misconfigured(
                "conflict", "the database is not behind any log of its KDCs: there is nothing to declare"
            )
        return undone

    def make(tx: Transaction, undone: tuple[Applied, ...]) -> Restored:
        last, until = head_of(tx).seq, max(one.seq for one in undone)
        first_uid = tx.jump_uids(max(admin.now_ms(), tx.jump_uids(0) + max(until - last, 0) + 1))
        not_before = admin.now() + 1
        tx.raise_not_before(not_before)
        admin.record(
            tx,
            RESTORED_CHANGE,
            not_before=not_before,
            after=last,
            until=until,
            heads=" ".join(one.hash for one in undone),
            first_uid=first_uid,
        )
        return Restored(last=last, undone=undone, first_uid=first_uid)

    return await change_as_planned(admin.store, plan, make)
