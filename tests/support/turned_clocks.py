"""The clocks of a host as libfaketime shows them to real programs, and turned while those run.

A step moves the wall clock alone. With `boot` both clocks are turned: that is how the rest of the world looks to a
virtual machine that was paused while its boot clock stood.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from attrs import define, field

__all__ = ["PROGRAM", "TurnedClock"]

PROGRAM: Final = "faketime"
"""What has to be installed (Debian's package of that name); its library is what programs load."""

_LIBRARY: Final = "/usr/$LIB/faketime/libfaketimeMT.so.1"  # the loader puts the place of this machine for $LIB


@define(eq=False)
class TurnedClock:
    """The clock of the programs that are started with `environ`. `path` is a file of its own."""

    path: Path
    boot: bool = False
    environ: dict[str, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.turn(0)
        self.environ = {
            "LD_PRELOAD": _LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if self.boot else "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def turn(self, seconds: float) -> None:
        """From now on it is so many seconds ahead of this machine's clock."""
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(f"{seconds:+.3f}\n", encoding="ascii")
        os.replace(new, self.path)
