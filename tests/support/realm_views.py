"""The realm for tests that look at what a change does, and not at when."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from orthros_kdc.realm.view import RealmMoment, RealmView

__all__ = ["PromptView"]

T = TypeVar("T")


class PromptView(RealmView):
    """Looks for changes before each answer, in place of the loader's task."""

    async def settled(self, gather: Callable[[RealmMoment], T]) -> T:
        await self.loader.look()
        # Nobody else looks here: on a busy machine one look may take longer than a snapshot counts as confirmed.
        self.loader._confirmed_at = trio.current_time()
        return await super().settled(gather)
