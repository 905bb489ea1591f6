"""The stories of `../stories/orthros`, told to the `orthros` command in front of two daemons: as text and as JSON.

A line is a command without the program's name, or `kdc ends` or `daemon ends`. ORIGIN is that of the service.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.golden.makers.programs import run_apart
from tests.golden.makers.steady import Steady
from tests.golden.makers.street import Street, open_street
from tests.support.processes import Founded, found_realm

_STORIES: Final = Path(__file__).parents[1] / "stories" / "orthros"
# A service that has just started asks for its epoch, by a refusal, and the caller repeats its request with it.
_REPEATED: Final = re.compile(r"(?:! (?:\* bound:|>) .*\n)+! \* an answer of status 401, to be proven\n(?=! \* bound:)")
_SIZE: Final = re.compile(r"\d+(?= bytes, not shown)")


@frozen
class _Teller:
    """One of the two. `words` are added to each command."""

    street: Street
    words: tuple[str, ...] = ()

    def tell(self, line: str) -> str:
        """What the program said, or nothing for a line that is no command."""
        if line in ("kdc ends", "daemon ends"):
            (self.street.kdc if line == "kdc ends" else self.street.daemon).stop()
            return ""
        os.environ["ORTHROS_SOCKET"] = f"{self.street.folder}/shop.sock"
        with chdir(self.street.folder):
            told = run_apart("orthros", *self.words, *shlex.split(line.replace("ORIGIN", self.street.origin))).shown()
        told = told.replace(str(self.street.folder), "FOLDER")
        told = told.replace(self.street.origin, "ORIGIN") if self.street.origin else told
        if line == "list":  # its columns are as wide as the lives in them
            return re.sub(" {2,}", "  ", told)
        return _SIZE.sub("<size>", _REPEATED.sub("", told))


def make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="orthros-golden-") as own:
        os.environ["ORTHROS_STATE_DIR"] = own
        founded = found_realm(Path(own))
        for story in sorted(_STORIES.glob("*.story")):
            steady = Steady(exact=((own, "STATE"),), measured=True)
            told = "\n".join(_told(story, founded))
            (folder / f"{story.stem}.txt").write_text(steady.of(told), encoding="utf-8")


def _told(story: Path, founded: Founded) -> Iterator[str]:
    text = story.read_text("utf-8")
    serves = "ORIGIN" in text
    with open_street(founded, serves=serves) as first, open_street(founded, serves=serves) as second:
        tellers = (_Teller(first), _Teller(second, ("--output", "json")))
        for one in tellers:
            (one.street.folder / "nonsense").write_text("This is no ticket.\n", encoding="utf-8")
        for line in text.splitlines():
            if line.startswith("#"):
                yield f"{line}\n"
            else:
                yield "\n".join(filter(None, (one.tell(line) for one in tellers))) or f"... {line}\n"
