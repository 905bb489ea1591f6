"""The use case on audit logs: prove that nothing was changed, cut or lost since it was written.

Changes nothing and records nothing. Knows no form of a line; `orthros_kdc.audit` does.
"""

from __future__ import annotations

import os

import trio

from orthros_kdc.admin.context import Admin
from orthros_kdc.audit.chain import VerifyReport
from orthros_kdc.audit.reader import verify_all

__all__ = ["verify"]


async def verify(admin: Admin, directory: str | os.PathLike[str]) -> list[VerifyReport]:
    """Every chain in `directory` against its anchor in the store. Raises Misconfigured `file-unreadable`."""
    # The anchors first: what is written from here on merely lies behind them.
    anchors = await admin.store.read(lambda tx: tx.anchors())
    return await trio.to_thread.run_sync(verify_all, directory, anchors)
