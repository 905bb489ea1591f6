"""A credential: a ticket or a JWT, what proves its possession, what it is good for, and how long it lives.

One class and one layout. A ticket passes through many places: the daemon's memory and its cache file, an answer to a
local process, a credential file, a hand-over, a worker's login. Each place is an envelope around the same 13 items and
adds what only it knows. Rejected: a class and a record for each place, with 13 to 20 fields copied at each step.

Knows no clock and no keys; `life` is a value, and callers say what their clocks show.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final, Self

from attrs import evolve, field, frozen

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.limits import (
    MAX_CAVEATS,
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
    MAX_TICKET_LIFE_S,
    MAX_U32,
)
from orthros_protocol.primitives.names import Principal, is_scope
from orthros_protocol.primitives.schema import (
    adapted,
    array,
    binary,
    integer,
    optional,
    principal,
    record_of,
    several,
    text_set,
    wire,
)
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import join_caveats, pop_key_of, split_caveats, tail_after
from orthros_protocol.tickets.discharges import MAX_DEMAND_BYTES
from orthros_protocol.tickets.notes import Note
from orthros_protocol.tickets.ticket import Subject

__all__ = ["ISSUE", "Credential", "Life"]

ISSUE: Final = ("flags", "kvno", "notes")
"""The fields that do not leave the host of the client: a hand-over and a file have no place for them."""


@frozen
class Life:
    """`whole_s` seconds from issue to end.

    The end is a moment of this host's monotonic clock (`boot_end`, seconds), a moment of the realm's (`realm_end`, Unix
    seconds), or both: then the earlier one counts. `ahead_s` is how far the realm's Unix time is ahead of the monotonic
    clock, as far as known; a life that came in a message knows one end, until `seen` or `since`.
    """

    whole_s: int
    boot_end: float = inf
    realm_end: float = inf
    ahead_s: float = 0.0

    @classmethod
    def until(cls, second: int, whole_s: int) -> Life:
        """A life that ends at this Unix second of the realm."""
        return cls(whole_s, realm_end=second)

    @classmethod
    def left(cls, left_ms: int, whole_s: int) -> Life:
        """A life that ends so many milliseconds from now: on a clock that shows 0 now."""
        return cls(whole_s, boot_end=left_ms / 1000)

    @property
    def end(self) -> float:
        """The end in monotonic seconds."""
        return min(self.boot_end, self.realm_end - self.ahead_s)

    @property
    def second(self) -> int:
        """The Unix second of the realm at which it ends."""
        return max(0, int(round(min(self.realm_end, self.boot_end + self.ahead_s), 3)))

    @property
    def left_ms(self) -> int:
        """The milliseconds that `left` was told."""
        return round(self.boot_end * 1000)

    def left_s(self, now: float) -> float:
        """Seconds left when the monotonic clock shows `now`, never negative."""
        return max(0.0, self.end - now)

    def seen(self, ahead_s: float) -> Life:
        """The same when the realm's Unix time is `ahead_s` ahead of the monotonic clock."""
        return Life(self.whole_s, self.boot_end, self.realm_end, ahead_s)

    def since(self, now: float, ahead_s: float) -> Life:
        """The same for one that counts from the moment at which the clock shows `now`, `ahead_s` behind the realm's
        Unix time. A day at most is left."""
        return Life(self.whole_s, now + min(self.boot_end, MAX_TICKET_LIFE_S), self.realm_end, ahead_s)

    def no_later(self, *, boot_end: float = inf, realm_end: float = inf) -> Life:
        """The same, but at its end by then."""
        return Life(self.whole_s, min(self.boot_end, boot_end), min(self.realm_end, realm_end), self.ahead_s)


@frozen(eq=False, kw_only=True)
class Credential:
    """A ticket for `target` with what proves its possession, or a JWT (ASCII bytes), which has no tail.

    `caveats` are those that holders added, `tail` is the one behind them (32 bytes, secret). `scopes` are those left.
    `subject` is in whose name it was issued, if not the client's. `demands` are shown to dischargers: those of the KDC
    first, then those of holders, each in the order of their caveats. `flags`, `kvno` and `notes` are what the KDC said
    when it issued: `ISSUE`.
    """

    ticket: bytes = field(metadata=wire(binary(16, MAX_TICKET_BYTES)), repr=False)
    caveats: tuple[bytes, ...] = field(
        metadata=wire(adapted(binary(0, MAX_CAVEATS_BLOB_BYTES), split_caveats, join_caveats)), default=(), repr=False
    )
    tail: bytes | None = field(metadata=wire(optional(binary(32))), repr=False)
    target: Principal = field(metadata=wire(principal()))
    target_uid: int = field(metadata=wire(integer()), default=0)
    client: Principal = field(metadata=wire(principal()))
    scopes: tuple[str, ...] = field(metadata=wire(text_set(is_scope, MAX_SCOPES)), default=())
    life: Life = field(metadata=wire(several(Life.until, second=integer(), whole_s=integer())))
    subject: Subject | None = field(metadata=wire(optional(record_of(Subject))), default=None)
    demands: tuple[bytes, ...] = field(
        metadata=wire(array(binary(1, MAX_DEMAND_BYTES), MAX_DISCHARGES)), default=(), repr=False
    )
    flags: int = field(metadata=wire(integer(MAX_U32)), default=0)
    kvno: int = field(metadata=wire(integer(MAX_U32)), default=0)
    notes: tuple[Note, ...] = field(metadata=wire(array(record_of(Note), 64)), default=())

    __getstate__ = not_exported

    @property
    def pop_key(self) -> bytes:
        """K_pop: the key that proves possession. 32 bytes, secret. Raises LocalMisuse for a JWT, which has none."""
        if self.tail is None:
            raise LocalMisuse("key-misuse", "a JWT is bearer: no key belongs to it")
        return pop_key_of(self.tail)

    def with_caveats(self, more: Sequence[bytes], **changes: Any) -> Self:
        """The same behind the caveats `more`, with `changes` of other fields. Raises LocalMisuse beyond 16 caveats, and
        for a JWT."""
        if self.tail is None:
            raise LocalMisuse("key-misuse", "a JWT cannot be narrowed")
        if len(self.caveats) + len(more) > MAX_CAVEATS:
            raise LocalMisuse("value-invalid", f"{len(self.caveats) + len(more)} caveats, at most {MAX_CAVEATS}")
        return evolve(self, caveats=(*self.caveats, *more), tail=tail_after(self.tail, more), **changes)
