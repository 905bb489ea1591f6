"""The stage: programs start, become ready or do not, and are gone when it closes."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from workshop.stage import Stage, StageError

STUBBORN = """\
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready now", flush=True)
signal.pause()
"""


@pytest.fixture(autouse=True)
def _short_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setattr("tempfile.tempdir", None)


def test_folder_and_processes_are_gone_afterwards() -> None:
    with Stage() as stage:
        folder = stage.folder
        process = stage.start("sleeper", sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()")
        process.await_line("^up$")
        (folder / "file").write_text("something")
        assert folder.is_dir()
    assert not folder.exists()
    assert process.popen.returncode == -signal.SIGTERM
    with pytest.raises(StageError, match="not open"):
        _ = stage.folder


def test_everything_is_gone_after_a_failure_too() -> None:
    stage = Stage()
    with pytest.raises(StageError, match="did not say"), stage:
        stage.start("sleeper", sys.executable, "-c", "import signal; signal.pause()").await_line("up", within_s=0.0)
    (process,) = stage.processes
    assert not process.is_running
    assert not process.out.parent.exists()


def test_stubborn_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workshop.stage._STOP_S", 0.2)
    with Stage() as stage:
        first = stage.start("stubborn", sys.executable, "-c", STUBBORN)
        second = stage.start("stubborn", sys.executable, "-c", STUBBORN)
        for process in (first, second):
            assert process.await_line(r"^ready (\w+)$")[1] == "now"
        assert first.stop(within_s=0.1) == -signal.SIGKILL
    assert second.popen.returncode == -signal.SIGKILL


def test_line_is_awaited_until_the_deadline_or_the_end() -> None:
    with Stage() as stage:
        silent = stage.start("silent", sys.executable, "-c", "import signal; signal.pause()")
        with pytest.raises(StageError, match=r"silent did not say 'ready' within 0\.1 s"):
            silent.await_line("ready", within_s=0.1)
        brief = stage.start("brief", sys.executable, "-c", "import sys; print('one\\ntwo'); sys.exit('the reason')")
        with pytest.raises(StageError, match="brief ended with 1 before saying 'ready': the reason"):
            brief.await_line("ready")
        assert brief.await_line("two", after=1).string == "two"
        with pytest.raises(StageError):
            brief.await_line("one", after=1)
        assert dict(stage.logs()) == {
            f"brief, pid {brief.popen.pid}, output": ["one", "two"],
            f"brief, pid {brief.popen.pid}, log": ["the reason"],
        }


def test_command_is_run_to_its_end() -> None:
    with Stage() as stage:
        words = ("-c", "import os, sys; print(os.environ['ORTHROS_X'], os.getcwd()); sys.exit(3)")
        outcome = stage.run(sys.executable, *words, environ={"ORTHROS_X": "given"})
        assert (outcome.code, outcome.out.split()) == (3, ["given", str(stage.folder)])
        assert outcome.require(3) is outcome
        with pytest.raises(StageError, match="ended with 3 instead of 0"):
            outcome.require()
        with pytest.raises(StageError, match=r"did not end within 0\.1 s"):
            stage.run(sys.executable, "-c", "import signal; signal.pause()", within_s=0.1)


def test_listener_is_inherited_by_the_one_it_is_given_to() -> None:
    script = "import socket, sys; print(socket.socket(fileno=int(sys.argv[1])).getsockname()[1], flush=True)"
    with Stage() as stage, socket.create_server(("127.0.0.1", 0)) as listener:
        words = (sys.executable, "-c", script, str(listener.fileno()))
        found = stage.start("heir", *words, listener=listener).await_line(r"^(\d+)$")
        assert int(found[1]) == listener.getsockname()[1]
        with pytest.raises(StageError, match="Bad file descriptor"):
            stage.start("stranger", *words).await_line(r"^\d+$")


def test_settings_of_the_user_do_not_reach_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHROS_CONFIG", "/somewhere/else.toml")
    with Stage() as stage:
        outcome = stage.run(sys.executable, "-c", "import os; print('ORTHROS_CONFIG' in os.environ)")
        assert outcome.out == "False\n"


def test_programs_can_be_interrupted_although_the_stage_cannot() -> None:
    """Signals wait while a process is started; the process itself must hear them."""
    with Stage() as stage:
        script = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []) & {2, 15}, flush=True)"
        assert stage.run(sys.executable, "-c", script).out == "set()\n"
        process = stage.start("sleeper", sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()")
        process.await_line("up")
        assert os.getpgid(process.popen.pid) == process.popen.pid, "Ctrl-C reaches the stage alone"


def test_folder_that_is_too_deep_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(StageError, match="too long for Unix sockets"), Stage():
        pass
    assert list(deep.iterdir()) == []
