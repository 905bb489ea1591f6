"""Sets up the log of a program: text for a person, JSON for everything else, on standard error, without secrets.

Knows no event. The decisions of a KDC go to its audit log; this log is for the operator.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orthros_protocol.primitives.redaction import redact

__all__ = ["configure_logs"]


class _Sink:
    """A stream, or standard error as it is at that moment. A line that cannot be written is lost: a full disk or a
    broken pipe must not break requests, and what must not be lost is in the audit log."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {str(key): redact(value) for key, value in event.items()}


def configure_logs(
    form: str, *, level: str = "info", time_key: str = "timestamp", stream: TextIO | None = None
) -> None:
    """Makes `structlog.get_logger()` write lines of at least `level`. May be called again, after SIGHUP.

    `form` is text, json or auto: text on a terminal, JSON otherwise. `time_key` is what the time of a line is called,
    which differs between programs, and scripts know it.
    """
    out = sys.stderr if stream is None else stream
    render: Processor = structlog.processors.JSONRenderer(sort_keys=True)
    if form == "text" or (form == "auto" and out.isatty()):
        render = structlog.processors.LogfmtRenderer(key_order=[time_key, "level", "event"], bool_as_flag=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key=time_key),
            # Plain tracebacks: structlog's richer ones print local variables, and keys are among those.
            structlog.processors.format_exc_info,
            _redacted,  # last, just before the line is rendered
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Sink(stream))),
        cache_logger_on_first_use=False,
    )
