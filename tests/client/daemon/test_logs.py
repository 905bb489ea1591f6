from __future__ import annotations

import io
import json

import pytest
import structlog

from orthros_client.daemon.logs import configure_logs
from orthros_protocol import Secret
from orthros_protocol.testing import InMemoryRealm


@pytest.mark.parity("K4")
@pytest.mark.parametrize("form", ["text", "json"])
def test_whatever_is_logged_no_key_shows(form: str) -> None:
    """Bytes longer than 16, secrets and key texts are taken out of every event."""
    stream = io.StringIO()
    configure_logs(form, stream)
    realm = InMemoryRealm()
    keytab = realm.add("web")
    root = keytab.root_key()
    structlog.get_logger().warning(
        "careless",
        key=root,
        raw=root.material,
        secret=Secret(b"s" * 32),
        text=keytab.to_text(),
        deep=[{"k": b"d" * 17}],
    )
    shown = stream.getvalue()
    assert "careless" in shown
    for secret in (root.material.hex(), repr(root.material)[2:-1], "s" * 32, "d" * 17, keytab.to_text()[6:]):
        assert secret not in shown


@pytest.mark.parity("K17")
def test_json_is_one_object_per_line() -> None:
    stream = io.StringIO()
    configure_logs("json", stream)
    structlog.get_logger().info("first", code="x")
    structlog.get_logger().debug("not shown")
    event = json.loads(stream.getvalue())
    assert (event["event"], event["level"], event["code"]) == ("first", "info", "x")


@pytest.mark.parity("K17")
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    """A full disk under stderr, or a pipe that nobody reads."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    configure_logs("text", Full())
    structlog.get_logger().warning("lost")
