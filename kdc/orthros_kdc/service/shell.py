"""One request from first byte to answer, the same way for AS, TGS and HTTP: charge, prove, decide, record, seal.

The shell knows no exchange. An exchange proves, decides and seals; it tells its case what is known so far, and whatever
it raises becomes a refusal here, in one place: recorded in the name of the client once that has proven itself, else of
the source, and told in the words of the port. Charges come before work. Nothing that is issued may go unrecorded,
refusals may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from enum import Enum
from functools import partial
from math import ceil
from typing import Any, Final, Generic, TypeVar

import structlog
import trio
from attrs import define, field, frozen

from orthros_kdc.audit.events import Event, RequestRejected, SenderFacts
from orthros_kdc.audit.receipts import KEPT, LATEST_S, Receipt
from orthros_kdc.audit.refusal_throttle import CLIENT, COPIES, SOURCE, RefusalThrottle
from orthros_kdc.clock_guard import ClockGuard
from orthros_kdc.rate_limits import NOT_GRANTED_COST, WANT_COST, RateLimiter, request_cost
from orthros_protocol.errors import Malformed, OrthrosError, Refused, Unavailable
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.serving.fair_queue import FairQueue

__all__ = ["Case", "Maker", "RateLimited", "Rates", "Shell", "log_fault"]

_REF_BYTES: Final = 8  # of a reference that a caller is given: 16 hex digits for `orthros-admin explain`
_LINE_BYTES: Final = 1024
"""What a want pays for: each further kilobyte of its line costs as much as one more want."""
_log = structlog.get_logger(__name__)

A = TypeVar("A")
C = TypeVar("C", bound="Case[Any]")


class RateLimited(Refused):
    """Refused for `retry_s` seconds."""

    def __init__(self, retry_s: int) -> None:
        super().__init__("rate-limited")
        self.retry_s = retry_s


class Maker(Enum):
    """Who has sent a request: its maker, or a copier."""

    SELF = "self"
    COPIER = "copier"
    UNKNOWN = "unknown"  # what was seen before is not known here, so it may be a copy


@frozen(kw_only=True)
class Rates:
    """What sources and principals may ask for, and whose turn it is: one for all ports of a KDC, so that they draw on
    one share. `monotonic` is a clock in seconds."""

    sources: RateLimiter
    principals: RateLimiter
    monotonic: Callable[[], float]
    turns: FairQueue = field(factory=FairQueue)

    def charge_source(self, source: str, size: int) -> None:
        """One request of `size` bytes from `source`, before anything is known of it. Raises RateLimited."""
        wait_s = self.sources.charge(source, request_cost(size), self.monotonic())
        if wait_s:
            raise RateLimited(ceil(wait_s))

    def wait_of(self, payer: Hashable) -> float:
        """Charges `payer` for one want and returns 0, or the seconds after which it could pay."""
        return self.principals.charge(payer, WANT_COST, self.monotonic())

    def charge(self, payer: Hashable) -> None:
        """One want of a client that has proven itself. Raises RateLimited."""
        wait_s = self.principals.charge(payer, WANT_COST, self.monotonic())
        if wait_s:
            raise RateLimited(ceil(wait_s))

    def surcharge(self, payer: Hashable, cost: int) -> None:
        """`cost` wants more than it looked."""
        self.principals.surcharge(payer, cost, self.monotonic())

    def surcharge_refusal(self, payer: Hashable) -> None:
        """The rest of what a refused target costs: names are not guessed at the speed of work."""
        self.surcharge(payer, NOT_GRANTED_COST - WANT_COST)


@define(eq=False, kw_only=True)
class Case(Generic[A]):
    """One request on its way: what is known so far, and the receipt of the lines that its answer waits for.

    `now` is the time by which it is decided, in milliseconds, and `read_at` when that was read, on trio's clock in
    seconds. `address` is an IP address, empty on a local socket: that lies outside every network. `claimed` is who the
    request says it is from; `client` is set once that is proven.
    """

    now: Timestamp
    read_at: float
    sender: SenderFacts
    address: str
    claimed: str = ""
    client: str = field(default="", init=False)
    payer: Hashable = field(default="", init=False)
    is_own: bool = field(default=False, init=False)
    receipt: Receipt = field(default=KEPT, init=False)

    def sent_by(self, maker: Maker) -> None:
        """Whether the client that made the request has also sent it.

        Copies are answered, for the answer opens for the maker only; but they must not use up the maker's share. Nor do
        copies that are known as such pay with what is left for those that may be none.
        """
        self.is_own = maker is Maker.SELF
        self.payer = self.client if self.is_own else (f"maker-{maker.value}", self.client)

    def refused(self, error: OrthrosError, ref: bytes) -> Event:
        """The event of its refusal; while nothing is proven, this one."""
        return RequestRejected(
            about=self.sender, code=error.code, detail=error.detail, claimed=self.claimed, ref=ref.hex()
        )

    def refusal(self, error: OrthrosError, ref: bytes) -> A:
        """The answer that refuses it."""
        raise NotImplementedError


class Shell:
    """What the exchanges of one port of a KDC share.

    `record` takes audit events and raises Unavailable when it cannot keep them: then nothing is issued. `clock` is the
    KDC's, in milliseconds, and `guard` watches it; `entropy` returns so many random bytes.
    """

    def __init__(
        self,
        record: Callable[[Event], Receipt],
        rates: Rates,
        *,
        kdc_id: str,
        clock: Callable[[], Timestamp],
        entropy: Callable[[int], bytes],
        guard: ClockGuard | None = None,
    ) -> None:
        self.record = record
        self.rates = rates
        self.kdc_id = kdc_id
        self.clock = clock
        self.entropy = entropy
        self._guard = guard
        self._refusals = RefusalThrottle(record, monotonic=rates.monotonic, entropy=self.new_ref)

    def new_ref(self) -> bytes:
        """A fresh reference."""
        return self.entropy(_REF_BYTES)

    async def answer(self, source: str, size: int, make: Callable[..., C], work: Callable[[C], Awaitable[A]]) -> A:
        """What `work` answers to the case that `make` makes of a request of `size` bytes from `source`, when it is the
        turn of that; or else the refusal."""
        await self.rates.turns.take(source)
        now, read_at = self.clock(), trio.current_time()
        case = make(now=now, read_at=read_at, sender=SenderFacts(at=now, kdc_id=self.kdc_id, source=source))
        try:
            self.rates.charge_source(source, size)
            return await work(case)
        except OrthrosError as error:
            refusal: A = self.refused(case, error)
            return refusal

    def refused(self, case: Case[A], error: OrthrosError) -> A:
        """Records that the request is refused, and returns the answer."""
        if isinstance(error, Malformed):
            case.client = ""  # there is nothing to say about it under seal, for every sender
        make = partial(case.refused, error)
        ref = self.refuse(case, make) if case.client else self._refusals.take(SOURCE, case.sender.source, make)
        return case.refusal(error, ref)

    def refuse(self, case: Case[A], make: Callable[[bytes], Event]) -> bytes:
        """Records a refusal to a client that has proven itself, or to a copier of its request. `make` makes the
        event of a reference; returns the reference that the caller is given."""
        return self._refusals.take(CLIENT if case.is_own else COPIES, case.client, make)

    def reject(self, error: OrthrosError, source: str) -> bytes:
        """Records that a sender was turned away of whom nothing is known but its source; returns the reference."""
        now = self.clock()
        sender = SenderFacts(at=now, kdc_id=self.kdc_id, source=source)
        case = Case[None](now=now, read_at=0.0, sender=sender, address="")
        return self._refusals.take(SOURCE, source, partial(case.refused, error))

    def reject_bytes(self, source: str, error: OrthrosError, size: int) -> None:
        """Records that `size` bytes from `source` were no request, and charges them as a request of that size."""
        try:
            self.rates.charge_source(source, size)
        except RateLimited as limited:
            error = limited
        self.reject(error, source)

    def look(self, client: str, event: Event) -> None:
        """Records that a client was told about a token. Raises Unavailable `kdc-fault` when that cannot be kept."""
        self._refusals.take(CLIENT, client, lambda _: event, must=True)

    def replayed(self, client: str, event: Event) -> None:
        """Records a copy. Raises RateLimited when it was not written by itself: copies of this client's requests, or
        all that strangers have had written, are as much as may be, and an answer would be one more line."""
        if not self._refusals.take_whole(COPIES, client, event):
            raise RateLimited(1)

    def require_issuing(self) -> None:
        """Raises Refused `kdc-fault` while the clock is not to be trusted."""
        if self._guard is not None:
            self._guard.require_issuing()

    def for_forgetting(self, now: Timestamp) -> Timestamp:
        """The time by which what is remembered ends; `now` where the clock is not watched."""
        return now if self._guard is None else self._guard.for_forgetting()

    def issue(self, case: Case[A], event: Event) -> None:
        """Records what is given away; the answer waits for it. Raises Unavailable `kdc-fault` when it cannot be kept,
        also because whatever was waited for since the clock was read makes the decision too old, and RateLimited when
        a copy would have written more than copies may.

        Nothing of it can be left out, so a long line costs as many wants as it is long.
        """
        weight = event.weight()
        if not case.is_own and not self._refusals.afford(COPIES, case.client, weight):
            raise RateLimited(1)
        if trio.current_time() > case.read_at + LATEST_S:
            raise Unavailable("kdc-fault", f"the decision took longer than {LATEST_S:g} s")
        case.receipt = self.record(event).after(case.receipt, decided_at=case.read_at)
        if weight >= _LINE_BYTES:
            self.rates.surcharge(case.payer, weight // _LINE_BYTES)

    def sum_up(self, at: Timestamp, *, all_of_them: bool = False) -> None:
        """Writes the summaries of refusals that are due; call it once a second, and with `all_of_them` at the end."""
        self._refusals.sum_up(at, all_of_them=all_of_them)


def log_fault(error: OrthrosError, ref: bytes) -> None:
    """Says in the log of the process what the caller is not told: a fault of the KDC, or of its surroundings."""
    _log.error("request failed", code=error.code, detail=error.detail, ref=ref.hex())
