"""The daemon's log as it is in production, into memory: stdout belongs to the commands under test."""

import io
from collections.abc import Iterator

import pytest
import structlog

from orthros_client.daemon.logs import configure_logs


@pytest.fixture(autouse=True)
def daemon_log() -> Iterator[io.StringIO]:
    log = io.StringIO()
    configure_logs("text", log)
    yield log
    structlog.reset_defaults()
