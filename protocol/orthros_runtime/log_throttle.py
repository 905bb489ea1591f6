"""Log lines that anybody can cause: so many in a period, then a count.

The problem: a refusal is worth a line, and a stranger can cause a million refusals in an hour. Without a limit the disk
fills, and the line that matters is not found. A timer for the counts would need a thread or an event loop, which a
library inside of a service does not have. So the next line after a period tells how many were left out, and the last
line before says that others will be counted. Knows no event.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from attrs import define

__all__ = ["LogThrottle"]

Emit = Callable[..., object]
"""A method of a structlog logger, such as `log.warning`."""

_OTHERS: Final = {"of": "others"}


@define
class _Period:
    ends: float
    emit: Emit
    event: str
    about: dict[str, object]
    written: int = 0
    left_out: int = 0
    last: object = None


class LogThrottle:
    """Lets `most` lines of one kind through in each `period_s`. Thread-safe, in bounded memory.

    A kind is an event with the facts that stay the same, such as reason and route. With more than `most_kinds` kinds in
    one period, the further ones share one. `monotonic_s` exists for tests.
    """

    def __init__(
        self,
        *,
        most: int = 20,
        period_s: float = 60.0,
        most_kinds: int = 512,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._period_s = period_s
        self._most_kinds = most_kinds
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._periods: OrderedDict[tuple[object, ...], _Period] = OrderedDict()  # in the order in which they end

    def write(
        self, emit: Emit, event: str, about: Mapping[str, object], *, ref: object = None, **facts: object
    ) -> None:
        """Writes `event` with `about`, `ref` and `facts` by `emit`, or counts it; first the counts of ended periods."""
        with self._lock:
            ended = self._take_ended()
            period = self._period_of(emit, event, about)
            is_written = period.written < self._most
            period.written += is_written
            period.left_out += not is_written
            period.last = ref
            is_last = is_written and period.written == self._most
        for one in ended:
            one.emit(one.event, **one.about, left_out=one.left_out, within_s=self._period_s, last_ref=one.last)
        if is_written:
            more = {"further": "counted"} if is_last else {}
            known = {} if ref is None else {"ref": ref}
            emit(event, **about, **known, **facts, **more)

    def _take_ended(self) -> list[_Period]:
        now, ended = self._monotonic_s(), []
        while self._periods:
            kind, period = next(iter(self._periods.items()))
            if period.ends > now:
                break
            del self._periods[kind]
            if period.left_out:
                ended.append(period)
        return ended

    def _period_of(self, emit: Emit, event: str, about: Mapping[str, object]) -> _Period:
        kind: tuple[object, ...] = (event, *about.items())
        period = self._periods.get(kind)
        if period is None and len(self._periods) >= self._most_kinds:
            kind, about = (event, *_OTHERS.items()), _OTHERS
            period = self._periods.get(kind)
        if period is None:
            period = _Period(self._monotonic_s() + self._period_s, emit, event, dict(about))
            self._periods[kind] = period
        return period
