"""Ports of loopback for programs that cannot be handed a socket or told to choose one."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

__all__ = ["free_port"]


_given: set[int] = set()


def free_port() -> int:
    """A port where nobody listens, and none that the system gives to clients, which come and go meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:  # to a program that has not begun to listen yet
                _given.add(port)
                return port
