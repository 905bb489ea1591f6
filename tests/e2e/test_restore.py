"""Backup and restore, with the commands of docs/operations.md and real programs."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from tests.docs.pages import ROOT, blocks, transcript
from tests.support.processes import Estate, eventually

PAGE = ROOT / "docs" / "operations.md"


def type_in(estate: Estate, word: str) -> str:
    """Types the block of the page in which `word` stands, with the folders of this test; returns what was shown."""
    (block,) = (block for block in blocks(PAGE, "console") if word in block)
    shown = []
    for folder, own in (("/var/lib/orthros", "kdc"), ("/backup", "backup"), ("/elsewhere", "elsewhere")):
        block = block.replace(folder, str(estate.folder / own))
    for command, _shown in transcript(block):
        program, *words = shlex.split(command)
        if program == "umask":
            os.umask(int(words[0], 8))
        elif program == "sqlite3":  # the shell of SQLite is not everywhere
            with closing(sqlite3.connect(words[0], isolation_level=None)) as database:
                database.execute(words[1])
        elif program.startswith("orthros"):
            shown.append(estate.run(command).require().out)
        else:
            subprocess.run([program, *words], check=True)
    return "".join(shown)


def has_in_force(estate: Estate, change: str) -> bool:
    """Whether the newest line of the KDC's log says that it decides by this change."""
    lines = estate.admin("audit tail -n 2").out.splitlines()
    return change in lines[-2] and "realm-applied" in lines[-1]


def test_backup_and_restore_as_the_page_says(estate: Estate) -> None:
    """A backup that is put in place by mistake does not serve; one that is declared does."""
    mask = os.umask(0o077)
    try:
        estate.start_kdc()
        estate.start_daemon()
        estate.orthros("ticket orders --scope read").require()
        for folder in ("backup", "elsewhere"):
            (estate.folder / folder).mkdir()
        type_in(estate, "VACUUM INTO")
    finally:
        os.umask(mask)
    estate.admin("principal disable spy").require()
    eventually(lambda: has_in_force(estate, "principal.disabled"), "the change in the log of the KDC")
    assert estate.kdc is not None
    assert estate.kdc.stop() == 0

    for name in ("kdc.db", "kdc.db-wal", "kdc.db-shm"):
        (estate.folder / "kdc" / name).unlink(missing_ok=True)
    copy, place = estate.folder / "backup" / "kdc.db", estate.folder / "kdc" / "kdc.db"
    subprocess.run(["install", "-m", "600", copy, place], check=True)
    refused = estate.run(f"orthros-kdc serve --config {estate.config}")
    assert refused.code == 1
    assert "code: database-behind" in refused.err

    told = type_in(estate, "orthros-kdc restored")
    assert "undone: kdc-1 had change" in told
    estate.start_kdc()
    assert "spy" in estate.admin("principal list").require().out
    assert "disabled" not in estate.admin("principal list").out
    # The daemon's login is from before the restore: it logs in again by itself.
    estate.orthros("ticket ledger --scope post").require()
    assert estate.admin("audit verify").code == 0
    assert Path(estate.folder / "elsewhere" / "master.key").stat().st_mode & 0o777 == 0o600
