"""What a caller can catch: the error tree of the protocol, and what the local daemon adds to it.

Knows codes and remedies, not how a question was asked.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from orthros_client.reasons import DAEMON_BUSY, MAYBE_EXECUTED
from orthros_client.remedies import Asked
from orthros_protocol.errors import (
    LocalMisuse,
    Malformed,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    Unavailable,
)
from orthros_protocol.exchanges.ap_exchange import TargetRefusal
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code, reason_for

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
    "busy",
]

_PLAIN: Final = {kind.family: kind for kind in (LocalMisuse, Misconfigured, PeerMisbehaved)}
FAMILIES: Final = (Refused.family, Unavailable.family, *_PLAIN)


class MaybeExecuted(Unavailable):
    """A call that must not run twice was refused, but a copy of it may have been executed, or may be yet.

    The refused request named the replay instance that may execute it, and the answer leaves open whether that has
    happened or will: it came from another instance, or before the request was burnt. The library does not repeat it.
    `refusal` is what the target said; a copy can run until `until`, by the target's clock, where that is known.
    `because` says what is known of the cause, where the refusal alone would not tell.
    """

    def __init__(self, refusal: TargetRefusal, *, until: Timestamp | None = None, because: str = "") -> None:
        super().__init__(MAYBE_EXECUTED, because or _open_question(refusal, until))
        self.refusal = refusal
        self.until = until
        if refusal.code == "replayed" and not refusal.clocks:
            self.advice = _STOP_COPYING


_COPIED: Final = (
    "a transport or proxy repeated this request below the authenticator, when its first copy had reached the target; "
    "less likely, captured traffic is being replayed"
)
_STOP_COPYING: Final = (
    "Find out at the target before you repeat the call. To prevent this, turn off what sends a request again once it "
    "may have reached the target: in a proxy, the retries of POST (nginx: no `non_idempotent`); in the HTTP library, "
    "its own."
)
_BY_ANOTHER: Final = frozenset({"epoch-required", "not-repeatable"})
_TURNS: Final = (
    "another instance of the target answered than the one whose epoch the request names: likelier instances without a "
    "shared replay store take turns; less likely, the instance was restarted meanwhile"
)


def _open_question(refusal: TargetRefusal, until: Timestamp | None) -> str:
    """What was refused and why that settles nothing."""
    said = f"refused as {refusal.code}" + (f", {refusal.clocks}" if refusal.clocks else "")
    if refusal.code == "replayed" and not refusal.clocks:
        return f"{said}: {_COPIED}"
    if refusal.code == "too-far-ahead" and until is not None:
        return f"{said}: a captured copy can run until {_as_text(until)} by the target's clock"
    if refusal.code in _BY_ANOTHER:
        return f"{said}: {_TURNS}"
    return said


def _as_text(moment: Timestamp) -> str:
    return datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


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
        return super().remedy if self.advice or self.asked is None else self.referring(self.asked.complete(self.reason))


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
        retry_s = error.retry_s if isinstance(error, KdcRefusal | Unavailable) else 0
        return cls(family=error.family, reason=error.reason, detail=error.detail, retry_s=retry_s)

    @classmethod
    def unavailable(cls, code: Code | Reason, detail: str = "", *, retry_s: int = 0) -> Failure:
        """Nobody could be asked."""
        return cls(family=Unavailable.family, reason=reason_for(code), detail=detail, retry_s=retry_s)

    @classmethod
    def refused(cls, code: Code | Reason, detail: str = "", *, retry_s: int = 0) -> Failure:
        """Denied on this side."""
        return cls(family=Refused.family, reason=reason_for(code), detail=detail, retry_s=retry_s)

    def to_error(self) -> OrthrosError:
        """A fresh exception each time: many callers may wait for one failure."""
        if self.family == Refused.family:
            return TicketRefused(self)
        if self.family in _PLAIN:
            return _PLAIN[self.family](self.reason, self.detail)
        return TicketUnavailable(self)


def busy(detail: str) -> Failure:
    """What the daemon answers when it has no room for a connection; `detail` says which limit was met."""
    return Failure(family=Unavailable.family, reason=DAEMON_BUSY, detail=detail, retry_s=1)
