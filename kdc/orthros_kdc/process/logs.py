"""Sets up the log: text for a terminal, JSON for everything else, on standard error, without secrets.

Knows no event; decisions go to the audit log, this one is for the operator.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orthros_kdc.config import LogSettings
from orthros_protocol.primitives.redaction import redact

__all__ = ["configure_logs", "redact_event"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _Sink:
    """A stream, or standard error as it is at that moment. A line that cannot be written is lost: a pipe that
    broke must not break requests, and what must not be lost is in the audit log."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every value as a log may show it. Runs last, just before the line is rendered."""
    return {str(key): redact(value) for key, value in event.items()}


def configure_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Makes `structlog.get_logger()` write as `settings` say. May be called again, after SIGHUP."""
    out = sys.stderr if stream is None else stream
    as_text = settings.format == "text" or (settings.format == "auto" and out.isatty())
    render: Processor = structlog.processors.JSONRenderer(sort_keys=True)
    if as_text:
        render = structlog.dev.ConsoleRenderer(colors=out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Plain tracebacks: structlog's richer ones print local variables, and keys are among those.
            structlog.processors.format_exc_info,
            redact_event,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Sink(stream))),
        cache_logger_on_first_use=False,
    )
