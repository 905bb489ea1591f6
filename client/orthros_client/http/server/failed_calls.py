"""What a handler answers when a call that it made itself was refused, or came to nothing: no bare 500, and no secret.

A caller learns the code and what it means in general. Who was asked, for whom, and what would help is the log's.
"""

from __future__ import annotations

import os
from typing import Final

import structlog
from attrs import evolve, frozen

from orthros_client.credentials.discharging import DischargeRefused
from orthros_client.errors import MaybeExecuted, OrthrosError, PeerMisbehaved, TargetRefusal, TicketRefused, Unavailable
from orthros_client.http.server.answers import Answer, json_answer
from orthros_client.http.server.callers import Named
from orthros_client.http.server.refusal_log import Log, who
from orthros_protocol.primitives.redaction import redact_text

__all__ = ["ONWARD", "answer_onward", "onward_answer"]

ONWARD: Final = (TicketRefused, TargetRefusal, DischargeRefused, Unavailable, PeerMisbehaved)
"""What is told: frameworks look handlers up by these."""

_RETRY_S: Final = 5
_REF_BYTES: Final = 8


@frozen
class _Kind:
    status: int
    name: str
    words: str


_FORBIDDEN: Final = _Kind(403, "onward_refused", "A call that this one needs on behalf of its caller was refused.")
_REFUSED: Final = _Kind(502, "onward_refused", "A call that this service needs was refused.")
_FAILED: Final = _Kind(502, "onward_failed", "A call that this service needs failed.")
_AWAY: Final = _Kind(503, "onward_unavailable", "A call that this service needs cannot be made now.")
_BY_GRAVITY: Final = (_FORBIDDEN, _AWAY, _REFUSED, _FAILED)


def onward_answer(error: BaseException, ref: str) -> Answer | None:
    """The answer to `error`, None for what is no call's failure: that stays a 500. `ref` finds the log line.

    403: refused on behalf of somebody (the KDC, a target under MAC, a discharger), so another caller may fare better.
    502: refused in the service's own name; unproven; or perhaps executed, so nothing repeats it by itself.
    503 with Retry-After: nobody could be asked, or a refusal that passes by itself.
    Of a group whose errors all have an answer, the gravest: 502 before 503 before 403.
    """
    known = _graver(error)
    if known is None:
        return None
    failure, kind = known
    content = {
        "error": kind.name,
        "error_description": f"{kind.words} {failure.cause}",
        "code": failure.code,
        "reference": ref,
    }
    answer = json_answer(kind.status, [], content)
    if kind is not _AWAY:
        return answer
    retry_s = max(getattr(failure, "retry_s", 0), 0) or _RETRY_S
    return evolve(answer, headers=(*answer.headers, ("retry-after", str(retry_s).encode("ascii"))))


def answer_onward(error: BaseException, caller: Named | None = None, *, log: Log | None = None) -> Answer | None:
    """`onward_answer`, with a log line that has what it leaves out: detail, remedy, and for whom it was."""
    ref = os.urandom(_REF_BYTES).hex()
    answer, known = onward_answer(error, ref), _graver(error)
    if answer is not None and known is not None:
        failure, kind = known
        (log or structlog.get_logger("orthros.http")).warning(
            kind.name.replace("_", "-"),
            reason=failure.code,
            detail=redact_text(failure.detail),
            remedy=failure.remedy,
            status=answer.status,
            ref=ref,
            **who(caller),
        )
    return answer


def _graver(error: BaseException) -> tuple[OrthrosError, _Kind] | None:
    if isinstance(error, BaseExceptionGroup):
        found = [_graver(each) for each in error.exceptions]
        known = [each for each in found if each is not None]
        return max(known, key=lambda each: _BY_GRAVITY.index(each[1])) if len(known) == len(found) else None
    kind = _kind_of(error)
    return None if kind is None or not isinstance(error, OrthrosError) else (error, kind)


def _kind_of(error: BaseException) -> _Kind | None:
    if isinstance(error, MaybeExecuted):
        return _FAILED
    if isinstance(error, Unavailable):
        return _AWAY
    if isinstance(error, PeerMisbehaved):
        # Others are about bytes that may have come from anywhere, also from the caller.
        return _FAILED if error.code == "response-unproven" else None
    if isinstance(error, TicketRefused):
        for_others = error.asked is not None and error.asked.on_behalf
    elif isinstance(error, TargetRefusal | DischargeRefused):
        for_others = error.on_behalf
    else:
        return None
    if error.reason.retry:
        return _AWAY
    return _FORBIDDEN if for_others else _REFUSED
