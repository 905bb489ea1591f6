"""Tells the supervisor when the program is ready, reloads and stops: sd_notify(3) of systemd, without its library.

Without a supervisor that asked for it nothing is sent. A message that cannot be sent is logged and ends nothing. Knows
no program and takes no orders.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

import structlog
from attrs import frozen

__all__ = ["Supervisor", "take_supervisor"]

_VARIABLE: Final = "NOTIFY_SOCKET"
# The socket's queue is full only while systemd is busy; a message that was dropped would be missed for good.
_PATIENCE_S: Final = 1.0
_log = structlog.get_logger(__name__)


@frozen
class Supervisor:
    """Whom to tell. `address` is a path, or a name that begins with `@` for an abstract socket; empty for none."""

    address: str = ""

    def ready(self) -> None:
        """The program serves; also at the end of a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins. `ready` has to follow, whether or not anything was taken over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The program serves no new requests, and will end."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self.address:
            return
        name = os.fsencode(self.address)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE_S)
                sock.sendto(state.encode("ascii"), b"\0" + name[1:] if name.startswith(b"@") else name)
        except OSError as error:
            _log.warning("the supervisor could not be told", state=state.partition("\n")[0], detail=str(error))


def take_supervisor(environ: MutableMapping[str, str] = os.environ) -> Supervisor:
    """The supervisor that the environment names. Takes its variable away: children do not speak for this process."""
    return Supervisor(environ.pop(_VARIABLE, ""))
