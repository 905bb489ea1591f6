"""One fresh realm per test, the command line pointed at it, and a look at all output when the test is over."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from orthros_kdc.process.founding import found_realm
from tests.tools.admin.bench import REALM, AdminBench


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("founded") / "realm"
    trio.run(found_realm, REALM, str(folder), None, "127.0.0.1:0")
    return folder


@pytest.fixture
def bench(
    founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[AdminBench]:
    for variable in [name for name in os.environ if name.startswith(("ORTHROS_", "CREDENTIALS_"))]:
        monkeypatch.delenv(variable)
    shutil.copytree(founded, tmp_path / "realm")
    config = tmp_path / "realm" / "kdc.toml"
    config.write_text(config.read_text().replace(str(founded), str(tmp_path / "realm")))
    monkeypatch.setenv("ORTHROS_CONFIG", str(config))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    made = AdminBench(tmp_path, capsys)
    yield made
    # Whatever a test was about: nothing that was printed unasked, and no log, holds a key.
    said = "\n".join(made.printed) + made.snapshot()
    assert re.findall(r"ort1[a-z]_[a-z2-7]{8}", said) == []
    assert [secret for secret in made.secrets() if secret in said] == []
