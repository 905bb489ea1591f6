"""W3C Trace Context at the edge of a service: a call made while serving another one carries on its transaction.

Knows no tracing library; one that has written the header already is left alone.
"""

from __future__ import annotations

from typing import Final

from orthros_client.propagation import current
from orthros_client.verifier import VerifiedCaller
from orthros_protocol import LocalMisuse

__all__ = ["TRACEPARENT", "traceparent_of_served"]

TRACEPARENT: Final = "traceparent"


def traceparent_of_served() -> str | None:
    """The header's value while a caller with a ticket is served; None otherwise, and in code that has outlived the
    request which it was started for: a trace is no authority, and that code may go on in its own name.
    """
    try:
        caller = current()
    except LocalMisuse:
        return None
    return caller.traceparent() if isinstance(caller, VerifiedCaller) else None
