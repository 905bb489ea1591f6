"""What every way into the KDC shares: rates, the record of what was turned away, and references to it.

Knows no exchange. Charges come before work; nothing that is issued may go unrecorded, refusals may.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import ceil
from typing import Final

import structlog
import trio
from attrs import evolve

from orthros_kdc.audit.events import Event, RequestRejected, RequestReplayed, SenderFacts
from orthros_kdc.audit.receipts import LATEST_S, Receipt
from orthros_kdc.audit.sieve import CLIENT, COPIES, SOURCE, RefusalSieve
from orthros_kdc.process.clock_guard import ClockGuard
from orthros_kdc.service.ratelimit import NOT_GRANTED_COST, WANT_COST, RateLimiter, request_cost
from orthros_protocol import Misconfigured, OrthrosError, Refused, Timestamp, Unavailable
from orthros_runtime.serving.turns import Turns

__all__ = ["REF_BYTES", "Gate", "RateLimited"]

REF_BYTES: Final = 8
"""A reference that a caller is given: 16 hex digits for `orthros-admin explain`."""

_LINE_BYTES: Final = 1024
"""What a want pays for: each further kilobyte of its line costs as much as one more want."""
_log = structlog.get_logger(__name__)


class RateLimited(Refused):
    """Refused for `retry_s` seconds."""

    def __init__(self, retry_s: int) -> None:
        super().__init__("rate-limited")
        self.retry_s = retry_s


class Gate:
    """Charges callers and keeps the record. `sources` and `principals` are shared by all gates of a KDC.

    `record` takes audit events and raises Unavailable when it cannot keep them. `guard` watches the KDC's clock.
    """

    def __init__(
        self,
        record: Callable[[Event], Receipt],
        *,
        kdc_id: str,
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
        sources: RateLimiter,
        principals: RateLimiter,
        turns: Turns | None = None,
        guard: ClockGuard | None = None,
    ) -> None:
        self.record = record
        self._turns = turns or Turns()
        self._guard = guard
        self.kdc_id = kdc_id
        self._monotonic = monotonic
        self._entropy = entropy
        self._sources = sources
        self._principals = principals
        self._refusals = RefusalSieve(record, monotonic=monotonic, entropy=self.new_ref)

    def require_issuing(self) -> None:
        """Raises Refused `kdc-fault` while the clock is not to be trusted."""
        if self._guard is not None:
            self._guard.require_issuing()

    def for_forgetting(self, now: Timestamp) -> Timestamp:
        """The time by which what is remembered ends; `now` where the clock is not watched."""
        return now if self._guard is None else self._guard.for_forgetting()

    def new_ref(self) -> bytes:
        """A fresh reference."""
        return self._entropy(REF_BYTES)

    async def turn(self, source: str) -> None:
        """Returns when work for `source` may begin: sources take turns."""
        await self._turns.take(source)

    def charge_source(self, source: str, size: int) -> None:
        """One request of `size` bytes from `source`, before anything is known of it. Raises RateLimited."""
        wait_s = self._sources.charge(source, request_cost(size), self._monotonic())
        if wait_s:
            raise RateLimited(ceil(wait_s))

    def wait_of(self, payer: Hashable) -> float:
        """Charges `payer` for one want and returns 0, or the seconds after which it could pay."""
        return self._principals.charge(payer, WANT_COST, self._monotonic())

    def charge(self, payer: Hashable) -> None:
        """One want of a client that has proven itself. Raises RateLimited."""
        wait_s = self.wait_of(payer)
        if wait_s:
            raise RateLimited(ceil(wait_s))

    def surcharge_refusal(self, payer: Hashable) -> None:
        """The rest of what a refused target costs: names are not guessed at the speed of work."""
        self._principals.surcharge(payer, NOT_GRANTED_COST - WANT_COST, self._monotonic())

    def reject(self, error: OrthrosError, source: str, now: Timestamp, *, claimed: str = "") -> bytes:
        """Records that an unproven sender was turned away, and returns the reference that it is given."""
        ref = self._refusals.take(
            SOURCE,
            source,
            lambda ref: RequestRejected(
                about=SenderFacts(at=now, kdc_id=self.kdc_id, source=source),
                code=error.code,
                detail=error.detail,
                claimed=claimed,
                ref=ref.hex(),
            ),
        )
        if isinstance(error, (Misconfigured, Unavailable)):
            _log.error("request failed", code=error.code, detail=error.detail, ref=ref.hex())
        return ref

    def reject_bytes(self, error: OrthrosError, source: str, size: int, now: Timestamp) -> None:
        """Records that `size` bytes from `source` were no request, and charges them as a request of that size."""
        try:
            self.charge_source(source, size)
        except RateLimited as limited:
            error = limited
        self.reject(error, source, now)

    def refuse(self, client: str, make: Callable[[bytes], Event], *, is_own: bool = True) -> bytes:
        """Records a refusal to a client that has proven itself, or to a copier of its request. `make` makes the
        event of a reference; returns the reference that the caller is given."""
        return self._refusals.take(CLIENT if is_own else COPIES, client, make)

    def look(self, client: str, make: Callable[[bytes], Event]) -> None:
        """Records that a client was told about a token. Raises Unavailable `kdc-fault` when that cannot be kept."""
        self._refusals.take(CLIENT, client, make, must=True)

    def replayed(self, event: RequestReplayed) -> None:
        """Records a copy. Raises RateLimited when it was not written by itself: copies of this client's requests, or
        all that strangers have had written, are as much as may be, and an answer would be one more line."""
        if not self._refusals.take_whole(COPIES, event.about.client, event):
            raise RateLimited(1)

    def issue(self, event: Event, payer: Hashable, *, read_at: float) -> Receipt:
        """Records what is given away. Raises Unavailable `kdc-fault` when it cannot be kept, and RateLimited when a
        copy would have written more than copies may. `read_at` is when the clock was read that it was decided by, on
        trio's clock in seconds: whatever was waited for since makes the decision older.

        Nothing of it can be left out, so a long line costs as many wants as it is long.
        """
        weight = event.weight()
        if isinstance(payer, tuple) and not self._refusals.afford(COPIES, payer[1], weight):
            raise RateLimited(1)
        if trio.current_time() > read_at + LATEST_S:
            raise Unavailable("kdc-fault", f"the decision took longer than {LATEST_S:g} s")
        receipt = evolve(self.record(event), decided_at=read_at)
        if weight >= _LINE_BYTES:
            self._principals.surcharge(payer, weight // _LINE_BYTES, self._monotonic())
        return receipt

    def sum_up(self, at: Timestamp, *, all_of_them: bool = False) -> None:
        """Writes the summaries of refusals that are due; call it once a second, and with `all_of_them` at the end."""
        self._refusals.sum_up(at, all_of_them=all_of_them)
