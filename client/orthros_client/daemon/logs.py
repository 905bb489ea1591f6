"""The daemon's log: structured events on stderr, with everything that could be a key taken out.

Configures structlog once, at the start of the program; nobody else does.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog

from orthros_protocol.primitives.redaction import redact

__all__ = ["configure_logs"]

_INFO: Final = 20


class _Sink:
    """A stream whose lines are lost when they cannot be written: a full disk or a broken pipe stops no daemon."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()


def configure_logs(form: str, stream: TextIO | None = None) -> None:
    """`form` is `text` or `json`."""
    text = structlog.processors.LogfmtRenderer(key_order=["time", "level", "event"], bool_as_flag=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _redacted,
            structlog.processors.JSONRenderer() if form == "json" else text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Sink(stream))),
        cache_logger_on_first_use=False,
    )


def _redacted(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: redact(value) for key, value in event.items()}
