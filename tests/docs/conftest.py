"""README.md, typed in once from top to bottom: its realm, daemon and service stay for the samples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.pages import README, blocks, transcript
from tests.docs.terminal import Terminal


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Where the page's commands have been typed; everything they started is still running."""
    _make, *by_hand = blocks(README, "console")
    typed = Terminal(tmp_path_factory.mktemp("t"))
    (typed.folder / "service.py").write_text(typed.moved(blocks(README, "python")[0]), encoding="utf-8")
    try:
        for block in by_hand:
            for command, shown in transcript(block):
                typed.type(command, shown)
        yield typed
    finally:
        typed.close()
