"""What a caller can catch: the error tree of the protocol, and what the local daemon adds to it.

Knows codes and remedies, not how a question was asked.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from orthros_client.remedies import Asked, fill_remedy
from orthros_protocol import (
    KdcRefusal,
    LocalMisuse,
    Malformed,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    Reason,
    Refused,
    TargetRefusal,
    Unavailable,
    reason_for,
)

__all__ = [
    "Failure",
    "LocalMisuse",
    "Malformed",
    "MaybeExecuted",
    "Misconfigured",
    "OrthrosError",
    "PeerMisbehaved",
    "Refused",
    "TargetRefusal",
    "TicketRefused",
    "TicketUnavailable",
    "Unavailable",
    "fill_remedy",
]

_PLAIN: Final = {kind.family: kind for kind in (LocalMisuse, Misconfigured, PeerMisbehaved)}
FAMILIES: Final = (Refused.family, Unavailable.family, *_PLAIN)


class MaybeExecuted(Unavailable):
    """An unsafe call was refused, but a copy of it may have been executed elsewhere.

    The refused request named an epoch, so another process of the target could have run it before.
    The library does not repeat it; `refusal` is what the target said.
    """

    def __init__(self, refusal: TargetRefusal) -> None:
        super().__init__("maybe-executed", f"refused as {refusal.code}")
        self.refusal = refusal


class TicketRefused(Refused):
    """The KDC or the daemon denies the ticket. `retry_s` 0: not worth repeating unless something changes.

    `asked` is what for and on whose behalf; with it, the remedy has names instead of placeholders.
    """

    asked: Asked | None = None

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason, failure.detail)
        self.failure = failure
        self.retry_s = failure.retry_s
        self.remaining_s = failure.remaining_s
        self.ref = failure.ref

    @property
    def remedy(self) -> str:
        """One sentence or two: what the reader can do about it, in commands that can be pasted."""
        return self.reason.remedy if self.asked is None else self.asked.complete(self.reason)


class TicketUnavailable(Unavailable):
    """Nobody could say: no KDC, or no answer in time. `retry_s` seconds until asking again makes sense."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason, failure.detail)
        self.failure = failure
        self.retry_s = failure.retry_s
        self.remaining_s = failure.remaining_s
        self.ref = failure.ref


@frozen(kw_only=True)
class Failure:
    """A refusal or failure as a value: what the daemon remembers, and what travels to local callers.

    `retry_s` is when asking again makes sense (0: no hint), `remaining_s` the life left of other tickets
    held for the same target, `ref` the reference that finds the reason in the KDC's log.
    """

    family: str
    reason: Reason
    detail: str = ""
    retry_s: int = 0
    remaining_s: int = 0
    ref: str = ""

    @classmethod
    def of(cls, error: OrthrosError) -> Failure:
        """The value of an error that was caught."""
        if isinstance(error, TicketRefused | TicketUnavailable):
            return error.failure
        retry_s = error.retry_s if isinstance(error, KdcRefusal) else 0
        return cls(family=error.family, reason=error.reason, detail=error.detail, retry_s=retry_s)

    @classmethod
    def unavailable(cls, code: str, detail: str = "", *, retry_s: int = 0) -> Failure:
        """Nobody could be asked."""
        return cls(family=Unavailable.family, reason=reason_for(code), detail=detail, retry_s=retry_s)

    @classmethod
    def refused(cls, code: str, detail: str = "", *, retry_s: int = 0) -> Failure:
        """Denied on this side."""
        return cls(family=Refused.family, reason=reason_for(code), detail=detail, retry_s=retry_s)

    def to_error(self) -> OrthrosError:
        """A fresh exception each time: many callers may wait for one failure."""
        if self.family == Refused.family:
            return TicketRefused(self)
        if self.family in _PLAIN:
            return _PLAIN[self.family](self.reason, self.detail)
        return TicketUnavailable(self)
