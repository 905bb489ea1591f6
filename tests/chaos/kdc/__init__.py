"""What befalls a KDC and the daemons of its realm, in the order of the table in docs/operations.md."""

from __future__ import annotations

from typing import Final

from tests.chaos.faults import Fault
from tests.chaos.kdc import clocks, damage, disks, files, kills, pauses

__all__ = ["FAULTS"]

FAULTS: Final[tuple[Fault, ...]] = (
    *kills.FAULTS, *disks.FAULTS, *files.FAULTS, *damage.FAULTS, *pauses.FAULTS, *clocks.FAULTS,
)  # fmt: skip
