"""The stories of `../stories/admin`, told to `orthros-admin` in two realms side by side: as text and as JSON.

A line is a command without the program's name, or something that happens: see `_happen`. What a KDC does is done by
the KDC's own code, on the same database and audit log.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, field

from orthros_kdc.process.founding import found_realm
from tests.golden.makers import still
from tests.golden.makers.programs import run
from tests.golden.makers.steady import Steady
from tests.tools.admin.bench import REALM, AdminBench

_STORIES: Final = Path(__file__).parents[1] / "stories"
_PROGRAM: Final = "orthros-admin"


@define
class _Realm:
    """One of the two. `ref` is the reference that the KDC gave last."""

    folder: Path
    words: tuple[str, ...]
    seen: dict[str, int] = field(factory=dict)
    ref: str = ""

    @classmethod
    def found(cls, folder: Path, *words: str) -> _Realm:
        shutil.copytree(_STORIES / "files", folder)
        (folder / "archive").mkdir()
        still.use_chance("found")
        trio.run(found_realm, REALM, str(folder / "realm"), None, "127.0.0.1:0")
        return cls(folder, words)

    def tell(self, line: str) -> str:
        """What the program said, or nothing for a line that is no command."""
        self.seen[line] = self.seen.get(line, 0) + 1
        still.use_chance(f"{line} {self.seen[line]}")
        os.environ["ORTHROS_CONFIG"] = str(self.folder / "realm" / "kdc.toml")
        with chdir(self.folder):
            if self._happen(line):
                return ""
            told = run(_PROGRAM, *shlex.split(line.replace("REF", self.ref)), *self.words)
            return told.shown().replace(str(self.folder), "FOLDER")

    def _happen(self, line: str) -> bool:
        bench = AdminBench(self.folder, None)  # type: ignore[arg-type]  # what is printed is kept here
        oauth_secret = self.folder / "web.oauth-secret"
        happenings: tuple[tuple[str, Any], ...] = (
            (r"kdc refuses (\S+) (\S+)", lambda *names: bench.kdc_refuses(*names).ref.hex()),
            (r"kdc stops (\S+) (\S+)", lambda *names: bench.kdc_refuses(*names, stop=True).ref.hex()),
            (r"kdc refuses (\S+) (\S+) on behalf of (\S+) for (\S+)", lambda client, middle, subject, target:
             bench.kdc_refuses_behalf((client, middle, target), None if subject == client else subject).ref.hex()),
            (r"kdc rejects bytes", lambda: bench.kdc_rejects_bytes().hex()),
            (r"kdc drowns (\S+) (\S+)", lambda *names: bench.kdc_drowns(*names)[1].hex()),
            (r"token endpoint refuses (\S+) for (\S+)", lambda client, target: bench.token_endpoint_refuses(
                client, oauth_secret.read_text("ascii").strip(), audience=target, scope="read")),
            (r"lose (\S+)", self._lose),
        )  # fmt: skip
        for pattern, happen in happenings:
            if (found := re.fullmatch(pattern, line)) is not None:
                self.ref = happen(*found.groups())
                return True
        return False

    def _lose(self, writer: str) -> str:
        for path in (self.folder / "realm" / "audit").glob(f"{writer}.*"):
            path.unlink()
        return self.ref


def make(folder: Path) -> None:
    for story in sorted((_STORIES / "admin").glob("*.story")):
        still.begin()
        with tempfile.TemporaryDirectory(prefix="orthros-golden-") as own:
            as_text = _Realm.found(Path(own) / "text")
            as_json = _Realm.found(Path(own) / "json", "--output", "json")
            told = [_told(line, as_text, as_json) for line in story.read_text("utf-8").splitlines()]
        (folder / f"{story.stem}.txt").write_text(Steady().of("\n".join(told)), encoding="utf-8")


def _told(line: str, as_text: _Realm, as_json: _Realm) -> str:
    if line.startswith("#"):
        return f"{line}\n"
    still.pass_time(1)
    if line.startswith("later "):
        still.pass_time(int(line.split()[1]))
        return f"... {line}\n"
    return "\n".join(filter(None, (as_text.tell(line), as_json.tell(line)))) or f"... {line}\n"
