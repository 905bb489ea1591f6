"""W3C Trace Context, level 1: the trace that a request says it belongs to, and the header that carries it on.

A trace is what anybody wrote into a header: it is told on, and decides nothing. Knows no tracing library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, Self

from attrs import frozen

__all__ = ["TRACEPARENT", "Trace"]

TRACEPARENT: Final = "traceparent"

# Section 3.2: version 00, trace-id, parent-id, trace-flags; ids in lower case and not all zero.
_KNOWN: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})", re.ASCII)
_SAMPLED: Final = 1


@frozen
class Trace:
    """One trace. `trace_id` are 16 bytes, `sampled` whether whoever began it may have recorded it."""

    trace_id: bytes
    sampled: bool = False

    @classmethod
    def continued(cls, header: str | None, entropy: Callable[[int], bytes] = os.urandom) -> Self:
        """The trace of a request with this `traceparent`: a fresh one unless it is well-formed.

        What begins here is not sampled (section 3.2.2.5): nothing has been recorded, so nothing says that it was.
        """
        found = None if header is None else _KNOWN.fullmatch(header)
        if found is None:
            return cls(_id(16, entropy))
        return cls(bytes.fromhex(found[1]), bool(int(found[2], 16) & _SAMPLED))

    def onward(self, entropy: Callable[[int], bytes] = os.urandom) -> str:
        """`traceparent` for one call: the same trace, and a parent-id of its own."""
        return f"00-{self.trace_id.hex()}-{_id(8, entropy).hex()}-{int(self.sampled):02x}"


def _id(size: int, entropy: Callable[[int], bytes]) -> bytes:
    while not any(made := entropy(size)):  # all zero is no id
        pass
    return made
