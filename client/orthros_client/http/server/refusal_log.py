"""What was refused, or would have been in observe mode: a log line each, up to a rate, and counts by route and reason.

Knows no request beyond its method, path and peer: queries, headers and bodies are none of the log's business.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from orthros_client.http.server.callers import Named, path_before
from orthros_client.http.server.incoming import IncomingRequest
from orthros_protocol.errors import OrthrosError
from orthros_protocol.primitives.redaction import redact_text
from orthros_protocol.reasons.reason import fill_remedy
from orthros_runtime.log_throttle import LogThrottle

__all__ = ["HANDSHAKE", "Journal", "Log", "who"]

HANDSHAKE: Final = frozenset({"epoch-required", "clock-skew"})
"""Refusals that every caller meets now and then, and answers by itself."""

_MOST_PATH_CHARS: Final = 200
_MOST_OF_A_CALLER: Final = 100


class Log(Protocol):
    """A structlog logger, or anything like it."""

    def debug(self, event: str, **facts: object) -> object: ...

    def warning(self, event: str, **facts: object) -> object: ...

    def error(self, event: str, **facts: object) -> object: ...


class Journal:
    """The refusals of one guard. `observing` says that they were not acted on. Thread-safe.

    Of one reason and route, 20 refusals of strangers are written in a minute, and 100 of each caller that has proven
    itself; later how many more there were. The two are counted apart, so that no flood of strangers hides the refusal
    of a caller. `counts` has all of them. `target` is the service, for remedies. `monotonic_s` exists for tests.
    """

    def __init__(
        self,
        *,
        observing: bool,
        log: Log | None = None,
        target: str = "PRINCIPAL",
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observing = observing
        self._names = {"PRINCIPAL": target, "TARGET": target}
        self.log: Log = log or structlog.get_logger("orthros.http")
        self._of_strangers = LogThrottle(monotonic_s=monotonic_s)
        self._of_callers = LogThrottle(most=_MOST_OF_A_CALLER, monotonic_s=monotonic_s)
        self._of_this_side = LogThrottle(monotonic_s=monotonic_s)
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def refused(
        self,
        error: OrthrosError,
        request: IncomingRequest,
        *,
        route: str,
        caller: Named | None,
        ref: str,
    ) -> None:
        """One refusal of `caller`, or of whom `error` says; nobody is named who has proven nothing."""
        if request.is_probe:
            return
        handshake = error.code in HANDSHAKE and not error.log_detail
        if not (handshake and self._observing):  # it is sent in either mode, so enforcing would change nothing
            with self._lock:
                self._counts[route, error.code] += 1
        if handshake:
            self.log.debug("refused", reason=error.code, ref=ref, route=route, **_facts(request))
            return
        named = who(caller or getattr(error, "presenter", None))
        throttle = self._of_strangers if named["client"] is None else self._of_callers
        throttle.write(
            self.log.warning,
            "would-refuse" if self._observing else "refused",
            {"reason": error.code, "route": route, "client": named.pop("client")},
            ref=ref,
            detail=redact_text("; ".join(filter(None, (error.detail, error.log_detail)))),
            remedy=fill_remedy(error.log_remedy or error.remedy, self._names),
            **named,
            **_facts(request),
        )

    def broken(self, error: BaseException, request: IncomingRequest, *, route: str, ref: str) -> None:
        """The verifier itself failed: the operator's business, and the one thing that nobody else is told."""
        code = error.code if isinstance(error, OrthrosError) else "verifier-failed"
        with self._lock:
            self._counts[route, code] += 1
        seen = str(error) if isinstance(error, OrthrosError) else type(error).__name__
        self._of_this_side.write(
            self.log.error,
            "verifier-failed",
            {"reason": code, "route": route},
            ref=ref,
            error=redact_text(seen),
            **_facts(request),
        )

    def counts(self) -> dict[tuple[str, str], int]:
        """(route, reason) -> how often, since the start of this process."""
        with self._lock:
            return dict(self._counts)


def who(caller: Named | None) -> dict[str, object]:
    """Who called for whom, through whom, and in which transaction, as the KDC's audit log names them."""
    if caller is None:
        return {"client": None, "transaction": None}
    named: dict[str, object] = {"client": str(caller.client), "transaction": caller.transaction_id}
    if caller.subject is not None:
        named["subject"] = str(caller.subject.principal)
    if via := path_before(caller):
        named["chain"] = ", ".join(via)
    return named


def _facts(request: IncomingRequest) -> dict[str, object]:
    path = (request.target or b"").partition(b"?")[0].decode("latin-1")
    return {
        "method": request.method[:32],
        "path": redact_text(path[:_MOST_PATH_CHARS]),
        "peer": request.transport_peer[:64],
    }
