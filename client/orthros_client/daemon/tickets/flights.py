"""Questions on their way to the KDC: one for each cache key, and which of them may travel together.

Pure. Knows no session, no cache and no back-off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import trio
from attrs import define, field

from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential
from orthros_client.errors import Failure, OrthrosError
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.tickets.evidence import Behalf

__all__ = ["MAX_BATCH", "Flight", "batches", "is_about"]

MAX_BATCH: Final = 32
# Scopes travel in the request, in the ticket and in the result, limits in the first two: this much of them leaves every
# message below 64 KiB.
_MOST_KEY_BYTES: Final = 16 * 1024
# Whole refusals of a request on behalf of somebody that are about this client or its KDC all the same. Every other one
# is of this caller's evidence: whoever shows bad evidence shall not make the others wait.
_NOT_ABOUT_BEHALF: Final = frozenset(
    {"key-retired", "principal-disabled", "clock-skew", "tgt-expired", "rate-limited", "kdc-fault", "source-refused"}
)


@define(eq=False)
class Flight:
    """One question. `early`: it is asked only because somebody reported a refusal, long before the ticket's renewal;
    `unless_worse`: its answer replaces the ticket at hand only if it is no worse. Another asker ends both."""

    key: CacheKey
    asked_by_caller: bool
    behalf: Behalf | None = field(default=None, repr=False)  # only until the flight has landed: it holds a proof
    early: bool = False
    unless_worse: bool = False
    waiting: int = 0
    done: trio.Event = field(factory=trio.Event, init=False)
    outcome: HeldCredential | Failure | None = field(default=None, init=False)


def batches(flights: Sequence[Flight]) -> Iterator[list[Flight]]:
    """What may travel together: a request is on one behalf as a whole."""
    by_behalf: dict[bytes, list[Flight]] = {}
    for flight in flights:
        by_behalf.setdefault(flight.key.behalf, []).append(flight)
    for group in by_behalf.values():
        yield from _sized(group)


def _sized(flights: Sequence[Flight]) -> Iterator[list[Flight]]:
    batch: list[Flight] = []
    size = 0
    for flight in flights:
        if batch and (len(batch) == MAX_BATCH or size + flight.key.size > _MOST_KEY_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(flight)
        size += flight.key.size
    if batch:
        yield batch


def is_about(behalf: Behalf, error: OrthrosError) -> bool:
    """Also a refusal without a seal: the KDC speaks so of evidence that it cannot open."""
    if isinstance(error, KdcRefusal):
        return error.code not in _NOT_ABOUT_BEHALF
    return behalf.evidence is not None and error.code == "unauthenticated-refusal"
