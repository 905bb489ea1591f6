import io
import json

import pytest
import structlog

from orthros_kdc.config import LogSettings
from orthros_kdc.process.logs import configure_logs
from orthros_protocol import Principal, RootKey

MATERIAL = bytes(range(32))
ROOT = RootKey(MATERIAL, principal=Principal("example", "billing"), uid=17, kvno=1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored():
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def logged(settings: LogSettings, stream: io.StringIO) -> str:
    configure_logs(settings, stream)
    log = structlog.get_logger("test")
    log.debug("unseen")
    log.info("served", key=ROOT, ticket=bytes(300), deep={"a": [MATERIAL]}, tid=b"\1\2", path="ort1k_mfrgg")
    return stream.getvalue()


def assert_nothing_leaked(text: str) -> None:
    for secret in (str(MATERIAL), MATERIAL.hex(), "mfrgg", "\\x02\\x03\\x04"):
        assert secret not in text


def test_json_where_nobody_looks() -> None:
    """Stable lines for machines, with a time and a level."""
    text = logged(LogSettings(), io.StringIO())
    (line,) = text.splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "served",
        "level": "info",
        "key": "<RootKey billing@example kvno=1 redacted>",
        "ticket": "<300 bytes>",
        "deep": {"a": ["<32 bytes>"]},
        "tid": "0102",
        "path": "<key redacted>",
    }


def test_text_on_a_terminal() -> None:
    text = logged(LogSettings(), Terminal())
    assert "served" in text
    assert not text.startswith("{")
    assert_nothing_leaked(text)


@pytest.mark.parity("P16")
@pytest.mark.parametrize(("name", "stream"), [("json", Terminal()), ("text", io.StringIO())])
def test_a_format_that_was_asked_for_wins(name: str, stream: io.StringIO) -> None:
    text = logged(LogSettings(format=name), stream)
    assert text.startswith("{") == (name == "json")
    assert_nothing_leaked(text)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_tracebacks_show_no_local_variables(stream: io.StringIO) -> None:
    """CVE-2018-16889: a key in a frame stays there."""
    configure_logs(LogSettings(), stream)

    def fail(material: bytes) -> None:
        raise ValueError(f"{len(material)} bytes")

    try:
        fail(MATERIAL)
    except ValueError:
        structlog.get_logger("test").exception("failed", secret=MATERIAL)
    text = stream.getvalue()
    assert "ValueError: 32 bytes" in text
    assert "test_logs.py" in text
    assert_nothing_leaked(text)


@pytest.mark.parity("P16")
def test_the_level_can_change_while_it_runs() -> None:
    """SIGHUP reaches loggers that exist already."""
    stream = io.StringIO()
    configure_logs(LogSettings(level="error"), stream)
    log = structlog.get_logger("test")
    log.info("first")
    configure_logs(LogSettings(level="debug"), stream)
    log.debug("second")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["second"]


def test_a_log_that_cannot_be_written_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken pipe to the log's reader must not become a refused ticket."""
    stream = io.StringIO()
    configure_logs(LogSettings(), stream)
    stream.close()
    structlog.get_logger("test").error("lost")
    configure_logs(LogSettings(format="json"))
    structlog.get_logger("test").error("kept")
    assert json.loads(capsys.readouterr().err)["event"] == "kept"
