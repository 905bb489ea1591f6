"""No one can fill the log: what a principal or a source can cause to be written is counted in bytes, per day a bound.

A refusal within the share is an entry of its own. Beyond it, refusals are counted, and a summary is written when the
share allows for it, at the latest after ten seconds. A sender refused meanwhile is given the summary's reference, so
that every reference leads to an entry.

What was rejected: to count entries. An entry can be thirty times as long as another, and its author chooses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import structlog
from attrs import define, field, frozen

from orthros_kdc.audit.events import Event, Facts, Suppressed
from orthros_kdc.audit.receipts import Receipt
from orthros_kdc.rate_limits import RateLimiter
from orthros_protocol.errors import Unavailable
from orthros_protocol.primitives.instants import Timestamp

__all__ = ["CLIENT", "COPIES", "SOURCE", "RefusalThrottle", "Share"]

CLIENT: Final = "client"
"""What a principal that has proven itself causes."""
COPIES: Final = "copies"
"""What copies of a principal's requests cause, from every sender."""
SOURCE: Final = "source"
"""What a stranger causes, by the source that rates count."""

_LATEST_S: Final = 10.0
_MOST_SUMMARIES: Final = 4096
_OTHERS: Final = ("", "")
_log = structlog.get_logger(__name__)


@frozen
class Share:
    """Bytes a second, and bytes that may be saved up. `is_shared`: all of its kind have one more bound together."""

    per_s: int
    burst: int
    is_shared: bool


_SHARES: Final[Mapping[str, Share]] = {
    CLIENT: Share(1024, 64 * 1024, is_shared=False),
    COPIES: Share(256, 64 * 1024, is_shared=True),
    SOURCE: Share(256, 32 * 1024, is_shared=True),
}
_ALL: Final = Share(2048, 256 * 1024, is_shared=True)
"""A bound for all strangers together: 177 MB a day."""


@define(eq=False)
class _Summary:
    """Refusals that were not written one by one."""

    ref: bytes
    first: Event
    opened_at: float
    count: int = 0
    codes: Counter[str] = field(factory=Counter)


class RefusalThrottle:
    """For the refusals of one port. `record` takes audit events and raises Unavailable when it cannot keep them."""

    def __init__(
        self,
        record: Callable[[Event], Receipt],
        *,
        monotonic: Callable[[], float],
        entropy: Callable[[], bytes],
        shares: Mapping[str, Share] = _SHARES,
        every: Share = _ALL,
    ) -> None:
        self._record = record
        self._monotonic = monotonic
        self._entropy = entropy
        self._shares = shares
        self._buckets = {kind: RateLimiter(per_s=one.per_s, burst=one.burst) for kind, one in shares.items()}
        self._every = RateLimiter(per_s=every.per_s, burst=every.burst, max_keys=1)
        self._open: dict[Hashable, _Summary] = {}

    def take(self, kind: str, name: str, make: Callable[[bytes], Event], *, must: bool = False) -> bytes:
        """Writes the event that `make` makes of a reference, or sums it up. Returns the reference to give away.

        With `must`, raises Unavailable when the event cannot be kept; a refusal leaves all the same.
        """
        ref = self._entropy()
        event = make(ref)
        summary = self._summary_for(kind, name, event, ref)
        if summary is not None:
            return summary.ref
        if must:
            self._record(event)
        else:
            self._keep(event)
        return ref

    def take_whole(self, kind: str, name: str, event: Event) -> bool:
        """As `take` for an event without a reference: whether it was written by itself, and not summed up."""
        is_whole = self._summary_for(kind, name, event, self._entropy()) is None
        if is_whole:
            self._keep(event)
        return is_whole

    def afford(self, kind: str, name: str, size: int) -> bool:
        """Whether the shares have `size` bytes left for a line that is no refusal; then it is charged to them."""
        now = self._monotonic()
        if self._buckets[kind].charge(name, size, now):
            return False
        return not self._shares[kind].is_shared or not self._every.charge("", size, now)

    def _summary_for(self, kind: str, name: str, event: Event, ref: bytes) -> _Summary | None:
        """Where the event was counted that is not written by itself; None when the shares have paid for it."""
        now = self._monotonic()
        key: Hashable = (kind, name)
        waiting = self._open.get(key)
        if waiting is None:
            is_one_of_many = self._shares[kind].is_shared and self._every.charge("", event.weight(), now) > 0
            if not is_one_of_many and not self._buckets[kind].charge(name, event.weight(), now):
                return None
            if is_one_of_many or len(self._open) >= _MOST_SUMMARIES:
                key = _OTHERS
            waiting = self._open.setdefault(key, _Summary(ref, event, now))
        waiting.count += 1
        waiting.codes[getattr(event, "code", "") or event.name] += 1
        return waiting

    def sum_up(self, at: Timestamp, *, all_of_them: bool = False) -> None:
        """Writes the summaries that are due. Call it once a second, and with `all_of_them` at the end."""
        now = self._monotonic()
        for key, summary in list(self._open.items()):
            kind, name = key if isinstance(key, tuple) else _OTHERS
            event = _summed(summary, at, is_of_many=key == _OTHERS)
            is_due = all_of_them or now - summary.opened_at >= _LATEST_S
            if kind and self._buckets[kind].charge(name, event.weight(), now):
                if not is_due:
                    continue
                self._buckets[kind].surcharge(name, event.weight(), now)
            del self._open[key]
            self._keep(event)

    def _keep(self, event: Event) -> None:
        try:
            self._record(event)
        except Unavailable:  # a refusal gives nothing away, so it leaves all the same
            _log.warning("refused without an audit record", event_class=type(event).__name__)


def _summed(summary: _Summary, at: Timestamp, *, is_of_many: bool) -> Suppressed:
    first, about = summary.first, summary.first.about
    return Suppressed(
        about=Facts(at=at, kdc_id=about.kdc_id),
        of="" if is_of_many else first.name,
        count=summary.count,
        since=about.at,
        codes=tuple(f"{code}:{count}" for code, count in summary.codes.most_common()),
        client="" if is_of_many else getattr(about, "client", ""),
        source="" if is_of_many else getattr(about, "source", ""),
        ref=summary.ref.hex(),
    )
