import io
import json

import pytest
import structlog

from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.secrets import Secret
from orthros_protocol.testing import InMemoryRealm
from orthros_runtime.logs import configure_logs

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


def logged(form: str, stream: io.StringIO) -> str:
    configure_logs(form, stream=stream)
    log = structlog.get_logger("test")
    log.debug("unseen")
    log.info("served", key=ROOT, ticket=bytes(300), deep={"a": [MATERIAL]}, tid=b"\1\2", path="ort1k_mfrgg")
    return stream.getvalue()


def assert_nothing_leaked(text: str) -> None:
    for secret in (str(MATERIAL), MATERIAL.hex(), "mfrgg", "\\x02\\x03\\x04"):
        assert secret not in text


def test_json_where_nobody_looks() -> None:
    """Stable lines for machines, with a time and a level."""
    text = logged("auto", io.StringIO())
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
    text = logged("auto", Terminal())
    assert text.startswith("timestamp=")
    assert " level=info event=served " in text
    assert_nothing_leaked(text)


@pytest.mark.parity("P16")
@pytest.mark.parametrize(("name", "stream"), [("json", Terminal()), ("text", io.StringIO())])
def test_a_format_that_was_asked_for_wins(name: str, stream: io.StringIO) -> None:
    text = logged(name, stream)
    assert text.startswith("{") == (name == "json")
    assert_nothing_leaked(text)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_tracebacks_show_no_local_variables(stream: io.StringIO) -> None:
    """CVE-2018-16889: a key in a frame stays there."""
    configure_logs("auto", stream=stream)

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
    configure_logs("auto", level="error", stream=stream)
    log = structlog.get_logger("test")
    log.info("first")
    configure_logs("auto", level="debug", stream=stream)
    log.debug("second")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["second"]


def test_a_log_that_cannot_be_written_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken pipe to the log's reader must not become a refused ticket."""
    stream = io.StringIO()
    configure_logs("auto", stream=stream)
    stream.close()
    structlog.get_logger("test").error("lost")
    configure_logs("json")
    structlog.get_logger("test").error("kept")
    assert json.loads(capsys.readouterr().err)["event"] == "kept"


@pytest.mark.parity("K4")
@pytest.mark.parametrize("form", ["text", "json"])
def test_whatever_is_logged_no_key_shows(form: str) -> None:
    """Bytes longer than 16, secrets and key texts are taken out of every event."""
    stream = io.StringIO()
    configure_logs(form, stream=stream)
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
    configure_logs("json", time_key="time", stream=stream)
    structlog.get_logger().info("first", code="x")
    structlog.get_logger().debug("not shown")
    event = json.loads(stream.getvalue())
    assert (event["event"], event["level"], event["code"]) == ("first", "info", "x")
    assert event["time"].endswith("Z")


@pytest.mark.parity("K17")
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    """A full disk under stderr, or a pipe that nobody reads."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    configure_logs("text", stream=Full())
    structlog.get_logger().warning("lost")
