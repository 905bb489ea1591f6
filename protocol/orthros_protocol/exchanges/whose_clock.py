"""Whose clock is wrong, as far as a refusal tells: three witnesses, and the two that agree are believed.

A service sees its own clock, the caller's date of the request, and the dates in the ticket, which are the KDC's. A
caller sees its host's clock, the realm's time as its daemon measured it, and the target's in the answer. Words for
people: no verdict depends on them. Reads no clock.
"""

from __future__ import annotations

from typing import Final

from orthros_protocol.errors import Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TARGET_OFFSET_MS, WINDOW_FUTURE_MS, WINDOW_PAST_MS

__all__ = ["OF_CLOCKS", "name_clock_at_service", "words_for_caller"]

OF_CLOCKS: Final = frozenset({"clock-skew", "too-far-ahead", "replayed", "ticket-expired", "ticket-times-invalid"})
"""The refusals that a wrong clock causes. `replayed` is one of a request that is too old to tell."""

# Up to 300 s, a client takes the target's time from such an answer, and the next request is in time.
_FOLLOWED: Final = frozenset({"clock-skew", "replayed"})
_AGREE_MS: Final = 30_000
_HERE: Final = "Fix time synchronisation on this host."
_CALLER: Final = "Fix time synchronisation on the caller's host; its daemon measures by itself once that is done."
_KDC: Final = "Fix time synchronisation on the KDC's host; daemons then replace what it issued."
_UNKNOWN: Final = "Compare the clocks of the KDC, of the caller's host and of this host, and fix time synchronisation."


def name_clock_at_service(refusal: Refused, *, dated: Timestamp, iat: int, exp: int, now: Timestamp) -> None:
    """Adds to the log of a service whose clock is wrong, if the refusal is about clocks and more than callers mend.

    `dated` is the request's timestamp in milliseconds; `iat` and `exp` are the ticket's times in seconds, by the KDC.
    """
    apart_ms = dated - now
    if refusal.code not in OF_CLOCKS or (refusal.code in _FOLLOWED and abs(apart_ms) <= MAX_TARGET_OFFSET_MS):
        return
    begun_ms, ended_ms = iat * 1000 - WINDOW_FUTURE_MS, exp * 1000 + WINDOW_FUTURE_MS
    fits_here, fits_caller = begun_ms <= now <= ended_ms, begun_ms <= dated <= ended_ms
    if -WINDOW_PAST_MS <= apart_ms <= WINDOW_FUTURE_MS:
        if now < begun_ms:
            ahead_s = iat - now / 1000
            refusal.log_detail = f"the KDC's clock was {ahead_s:.0f} s ahead of this one and the caller's"
            refusal.log_remedy = _KDC
        return
    if fits_caller and not fits_here:
        refusal.log_detail = f"this service's clock is {_apart(-apart_ms)} the caller's and the KDC's"
        refusal.log_remedy = _HERE
    elif fits_here and not fits_caller:
        refusal.log_detail = f"the caller's clock is {_apart(apart_ms)} this one and the KDC's"
        refusal.log_remedy = _CALLER
    elif fits_here:
        refusal.log_detail = f"this service's clock is {_apart(-apart_ms)} the caller's, which follows the KDC's"
        refusal.log_remedy = f"Likelier: {_HERE} Else: {_CALLER}"
    else:
        refusal.log_detail = f"the caller's clock is {_apart(apart_ms)} this one, and the ticket fits neither"
        refusal.log_remedy = _UNKNOWN


def words_for_caller(target_ms: int, realm_ms: int, host_ms: int, *, target: str) -> tuple[str, str]:
    """What a caller reads of a target's time: how far it is from the KDC's, and the remedy.

    `realm_ms` is the KDC's time as the caller's daemon measured it, `host_ms` the wall clock of the caller's host. Both
    texts are empty where target and KDC agree within what is accepted.
    """
    apart_ms = target_ms - realm_ms
    if abs(apart_ms) <= WINDOW_PAST_MS:
        return "", ""
    if abs(target_ms - host_ms) <= _AGREE_MS:
        return (
            f"the KDC's clock is {_apart(-apart_ms)} the target's and this host's, as the daemon measured it",
            "Fix time synchronisation on the KDC's host. The daemon measures again now, and obtains another ticket.",
        )
    detail = f"the target's clock is {_apart(apart_ms)} the KDC's"
    if abs(realm_ms - host_ms) <= _AGREE_MS:
        detail += " and this host's"
    return detail, (
        f"Fix time synchronisation on the host of {target}. If instead this host was paused, call again in 10 s: the "
        "daemon measures its time now."
    )


def _apart(ms: int) -> str:
    return f"{abs(ms) / 1000:.0f} s {'ahead of' if ms > 0 else 'behind'}"
