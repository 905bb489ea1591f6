"""`orthros-admin kdc`: what an operator tells the KDCs of this machine.

`orthros_kdc.admin.kdc_clock` does the work.
"""

from __future__ import annotations

from argparse import Namespace

from orthros_kdc.admin import kdc_clock
from orthros_runtime.screen import instant
from orthros_tools.admin.command_line import Nouns
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = ["register"]


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("kdc", "the KDCs of this machine")
    verbs.add(
        "accept-clock",
        _accept_clock,
        "says that this machine's clock is right after a jump",
        examples=("kdc accept-clock",),
        notes="A KDC whose clock jumps by more than 5 s issues nothing for a minute. It goes on within a second\n"
        "of this command. Compare the clock with another machine's first: tickets that are issued by a\n"
        "wrong clock are refused.",
    )


async def _accept_clock(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        second = await kdc_clock.accept(admin)
    until = second + kdc_clock.VALID_S
    return Shown(
        rows=[{"accepted": second, "until": until}],
        remarks=[
            f"recorded: the clock of this machine is right, it shows {instant(second)}",
            "a KDC of this machine that issues nothing because of a jump goes on within a second",
            "this command cannot ask the KDCs: their logs say whether one has stopped and goes on",
            f"the record counts until {instant(until)}; after another jump, run this command again",
        ],
    )
