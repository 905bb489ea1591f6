"""What every way into the KDC shares: rates, the record of what was turned away, and references to it.

Knows no exchange. Charges come before work; nothing that is issued may go unrecorded, refusals may.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import ceil
from typing import Final

import structlog

from orthros_kdc.audit.events import Event, RequestRejected, Suppressed
from orthros_kdc.ratelimit import NOT_GRANTED_COST, WANT_COST, RateLimiter, Sieve
from orthros_protocol import Misconfigured, OrthrosError, Refused, Timestamp, Unavailable

__all__ = ["REF_BYTES", "Gate", "RateLimited"]

REF_BYTES: Final = 8
"""A reference that a caller is given: 16 hex digits for `orthros-admin explain`."""

_REJECTIONS_PER_S: Final = 50
_REJECTIONS_BURST: Final = 1000
_log = structlog.get_logger(__name__)


class RateLimited(Refused):
    """Refused for `retry_s` seconds."""

    def __init__(self, retry_s: int) -> None:
        super().__init__("rate-limited")
        self.retry_s = retry_s


class Gate:
    """Charges callers and keeps the record. `sources` and `principals` are shared by all gates of a KDC.

    `record` takes audit events and raises Unavailable when it cannot keep them.
    """

    def __init__(
        self,
        record: Callable[[Event], None],
        *,
        kdc_id: str,
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
        sources: RateLimiter,
        principals: RateLimiter,
    ) -> None:
        self.record = record
        self.kdc_id = kdc_id
        self._monotonic = monotonic
        self._entropy = entropy
        self._sources = sources
        self._principals = principals
        self._rejections = Sieve(per_s=_REJECTIONS_PER_S, burst=_REJECTIONS_BURST)

    def new_ref(self) -> bytes:
        """A fresh reference."""
        return self._entropy(REF_BYTES)

    def charge_source(self, source: str) -> None:
        """One request from `source`, before anything is known of it. Raises RateLimited."""
        wait_s = self._sources.charge(source, WANT_COST, self._monotonic())
        if wait_s:
            raise RateLimited(ceil(wait_s))

    def wait_of(self, payer: Hashable) -> float:
        """Charges `payer` for one want and returns 0, or the seconds after which it could pay."""
        return self._principals.charge(payer, WANT_COST, self._monotonic())

    def charge(self, payer: Hashable) -> None:
        """One want of whoever has proven itself. Raises RateLimited."""
        wait_s = self.wait_of(payer)
        if wait_s:
            raise RateLimited(ceil(wait_s))

    def surcharge_refusal(self, payer: Hashable) -> None:
        """The rest of what a refused target costs: names are not guessed at the speed of work."""
        self._principals.surcharge(payer, NOT_GRANTED_COST - WANT_COST, self._monotonic())

    def reject(self, error: OrthrosError, source: str, now: Timestamp, *, claimed: str = "") -> bytes:
        """Records that somebody unproven was turned away, and returns the reference that he is given."""
        ref = self.new_ref()
        # Anybody can cause these, so only so many of them are recorded one by one.
        dropped = self._rejections.admit(self._monotonic())
        if dropped is not None:
            if dropped:
                self.record_refusal(Suppressed(at=now, kdc_id=self.kdc_id, of=RequestRejected.name, count=dropped))
            self.record_refusal(
                RequestRejected(
                    at=now,
                    kdc_id=self.kdc_id,
                    source=source,
                    code=error.code,
                    detail=error.detail,
                    claimed=claimed,
                    ref=ref.hex(),
                )
            )
        if isinstance(error, (Misconfigured, Unavailable)):
            _log.error("request failed", code=error.code, detail=error.detail, ref=ref.hex())
        return ref

    def record_refusal(self, event: Event) -> None:
        """A refusal gives nothing away, so it leaves even when the audit log cannot take it."""
        try:
            self.record(event)
        except Unavailable:
            _log.warning("refused without an audit record", event_class=type(event).__name__)
