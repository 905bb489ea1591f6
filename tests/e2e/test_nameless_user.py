"""Every program under a uid that has no entry in the password database and no HOME, as containers start them."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

pytestmark = pytest.mark.stories

PROGRAMS = Path(sys.executable).parent
_FIRST_UID = 61_234


@frozen
class Nameless:
    """A user without a name, with one folder of its own. `become` are the words in front of a command of that user."""

    uid: int
    folder: Path
    become: tuple[str, ...]

    def popen(self, *words: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.become, PROGRAMS / words[0], *words[1:]],
            cwd=self.folder, env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words: str | Path) -> str:
        """What the program prints; it must end well."""
        process = self.popen(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (words, err)
        assert "Traceback" not in err, err
        return out


@pytest.fixture
def nameless() -> Iterator[Nameless]:
    known = {entry.pw_uid for entry in pwd.getpwall()}
    uid = next(uid for uid in range(_FIRST_UID, _FIRST_UID + 1000) if uid not in known)
    is_root = os.geteuid() == 0
    # Root gives itself up, but for the right to find the interpreter: it may lie in root's own folder.
    become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=+dac_read_search",
              "--ambient-caps=+dac_read_search") if is_root else ("unshare", "--user", f"--map-user={uid}")  # fmt: skip
    if (
        shutil.which(become[0]) is None
        or subprocess.run([*become, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{become[0]} may not make this user another one here")
    with tempfile.TemporaryDirectory(prefix="orthros-uid-") as name:
        folder = Path(name)
        if is_root:
            os.chown(folder, uid, uid)
        yield Nameless(uid, folder, become)


@pytest.mark.parity("O17")
def test_a_realm_is_founded_and_serves_under_a_uid_without_a_name(nameless: Nameless) -> None:
    """Init, the admin tool, the KDC, the daemon and the command line."""
    folder, config = nameless.folder, nameless.folder / "kdc" / "kdc.toml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nameless.run("orthros-kdc", "init", "--realm", "corp.test", "--data", folder / "kdc",
                 "--listen", f"127.0.0.1:{port}")  # fmt: skip
    admin = ("orthros-admin", "--config", config)
    for words in (
        ("principal", "add", "shop", "--out", "shop.key"),
        ("principal", "add", "orders", "--out", "orders.key"),
        ("policy", "allow", "shop", "orders", "--scope", "read"),
    ):
        nameless.run(*admin, *words)
    told = nameless.run(*admin, "--output", "json", "audit", "tail")
    assert {row["facts"]["actor"] for row in json.loads(told)} == {f"uid-{nameless.uid}"}
    running: list[subprocess.Popen[str]] = []
    servers: tuple[tuple[str | Path, ...], ...] = (
        ("orthros-kdc", "serve", "--config", config),
        ("orthros-daemon", "--keytab", folder / "shop.key", "--kdcs", f"tcp://127.0.0.1:{port}", "--socket",
         folder / "d.sock"),
    )  # fmt: skip
    try:
        for server in servers:
            process = nameless.popen(*server)
            running.append(process)
            assert process.stdout is not None
            ready = process.stdout.readline()  # empty when it has ended
            assert ready.startswith(f"{server[0]} ready: "), process.communicate(timeout=20)
        told = nameless.run("orthros", "--socket", folder / "d.sock", "ticket", "orders")
        assert "orders@corp.test" in told
        assert "failed" not in nameless.run("orthros", "--socket", folder / "d.sock", "doctor", "--target", "orders")
    finally:
        for process in running:
            process.terminate()
            _out, err = process.communicate(timeout=20)
            assert "Traceback" not in err
