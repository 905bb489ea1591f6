"""The demo's program: loud when something surprises it, quiet when somebody ends it, clean in both cases."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workshop.tour import __main__ as demo
from workshop.tour.realm import Realm
from workshop.tour.story import Story

Act = Callable[[Story, Realm], None]


@pytest.fixture
def first_act(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], list[Path]]:
    """Puts `act` in the place of the first one, and of all that follow; says afterwards which folder was used."""
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setattr("tempfile.tempdir", None)

    def replace(act: Act) -> list[Path]:
        folders: list[Path] = []

        def play(story: Story, realm: Realm) -> None:
            folders.append(realm.folder)
            program = realm.stage.start("parrot", sys.executable, "-c", "print('I was there', flush=True)")
            program.await_line("there")
            act(story, realm)

        monkeypatch.setattr(demo, "_play", play)
        return folders

    return replace


def test_surprise_is_told_with_its_step_and_the_logs(
    first_act: Callable[[Act], list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    def surprising(story: Story, _realm: Realm) -> None:
        with story.step("a replayed request", "replayed") as step:
            step.saw("accepted")

    folders = first_act(surprising)
    assert demo.main([]) == 1
    said = capsys.readouterr().out
    assert "Surprise: step 'a replayed request': expected 'replayed', saw 'accepted'" in said
    assert "parrot, pid " in said
    assert "|  I was there" in said
    assert "all 1 processes have ended" in said
    assert said.splitlines()[-1].split("  ")[0] == "a replayed request"
    assert not folders[0].exists()


def test_quiet_end_is_zero(first_act: Callable[[Act], list[Path]], capsys: pytest.CaptureFixture[str]) -> None:
    folders = first_act(lambda _story, _realm: None)
    assert demo.main([]) == 0
    assert capsys.readouterr().err == ""
    assert not folders[0].exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_no_surprise(
    first_act: Callable[[Act], list[Path]], capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    folders = first_act(lambda _story, _realm: os.kill(os.getpid(), number))
    assert demo.main([]) == 128 + number
    said = capsys.readouterr()
    assert said.err == f"demo: interrupted by {number.name}; nothing was left behind\n"
    assert "not how the story goes" not in said.out
    assert not folders[0].exists()
    assert signal.getsignal(number) is before, "the signals are the caller's again"


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main(["--help"])
    assert ended.value.code == 0
    assert "leaves nothing behind" in " ".join(capsys.readouterr().out.split())
