"""Two runners side by side, each in a process and an environment of its own, over the same cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tests.differential.begin import ROOT
from tests.differential.corpus import Case

RUNNER: Final = Path(__file__).with_name("runner.py")
_AT_ONCE: Final = 500  # cases in one line: while two runners work on them, the next ones are made
Verdict = dict[str, Any]


class Side:
    """One runner. `root` is the tree with its version's tests; the packages are those of `python`."""

    def __init__(self, python: Path, root: Path, *options: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [python, "-P", RUNNER, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=root
        )

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.__exit__(kind, error, at)  # closes both pipes, whereupon the runner ends, and waits

    def send(self, asked: list[Any]) -> None:
        """Hands over cases, as JSON; the runner reads them all before it answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self) -> list[Verdict]:
        """The verdicts of what was sent last."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a runner ended early, with {self._process.wait()}; it says why above")
        found: list[Verdict] = json.loads(line)
        return found

    def ask(self, op: str) -> Verdict:
        """The verdict of an operation that takes no inputs."""
        self.send([{"op": op, "in": {}}])
        return self.receive()[0]


def this_side(*options: str) -> Side:
    """The checkout."""
    return Side(Path(sys.executable), ROOT, *options)


def verdicts(old: Side, new: Side, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict, Verdict]]:
    """What either says to each case, in order."""
    remaining = iter(cases)
    batch = list(islice(remaining, _AT_ONCE))
    while batch:
        asked = [case.as_json() for case in batch]
        old.send(asked)
        new.send(asked)
        following = list(islice(remaining, _AT_ONCE))
        yield from zip(batch, old.receive(), new.receive(), strict=True)
        batch = following
