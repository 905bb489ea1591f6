"""A worker from end to end: the host's daemon, `orthros worker-login`, and a daemon that lives off its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from orthros_client import Client, TicketRefused
from orthros_client.cli.__main__ import main
from orthros_client.credentials.worker_login import WorkerLogin
from tests.client.daemon.test_daemon_process import COMMAND, WallClock, configure, open_daemon, open_kdc, wait_for_log
from tests.client.world import new_realm

CLI = [sys.executable, "-m", "orthros_client.cli"]


async def orthros(*words: str) -> tuple[int, str, str]:
    done = await trio.run_process([*CLI, *words], capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parity("L23", "K4")
async def test_a_worker_from_its_login_to_its_end(tmp_path: Path) -> None:
    """No key file beyond the host; the worker's programs notice nothing but narrower rights."""
    (tmp_path / "worker").mkdir()
    login, socket = tmp_path / "worker" / "login", tmp_path / "worker" / "daemon.sock"
    realm = new_realm(WallClock())
    async with open_kdc(realm) as kdc:
        config = configure(tmp_path, realm, kdc)
        config.write_text(config.read_text() + f"[workers]\n[[workers.allow]]\nuid = {os.geteuid()}\ntargets = 'all'\n")
        own = tmp_path / "worker.toml"
        own.write_text(f'version = 1\nlogin = "{login}"\nkdcs = ["{kdc}"]\nsocket = "{socket}"\n')
        async with open_daemon(config) as host:
            words = ["--socket", str(tmp_path / "daemon.sock"), "worker-login", "--out", str(login)]
            narrow = ["--target", "orders", "--scope", "read"]
            began = time.monotonic()
            code, out, _ = await orthros("--output", "json", *words, *narrow, "--lifetime", "5m")
            spent_s = time.monotonic() - began
            shown = json.loads(out)
            assert code == 0
            # Its end lies on a whole second, and a second is lost to each rounding on the way.
            assert 300 - spent_s - 3 <= shown.pop("expires_in_s") <= 300
            assert shown == {"file": str(login), "client": "web@test.realm", "targets": ["orders@test.realm"]}
            assert login.stat().st_mode & 0o777 == 0o600
            async with open_daemon(own) as worker:
                assert worker.ready == (f"orthros-daemon ready: web@test.realm, socket {socket}, login file {login}\n")
                with Client(socket) as client:
                    ticket = await trio.to_thread.run_sync(lambda: client.credentials("orders"))
                    assert (ticket.scopes, ticket.client.name) == (("read",), "web")
                    assert ticket.expires_in_s <= 300
                    with pytest.raises(TicketRefused, match="excluded-by-your-caveat"):
                        await trio.to_thread.run_sync(lambda: client.credentials("billing"))
                code, out, _ = await orthros("--socket", str(socket), "status")
                assert code == 0
                assert f"narrowed, from {login}" in out
                assert "a worker's daemon holds no key" in out
                code, _, _ = await orthros(*words, "--target", "billing")
                assert code == 0
                os.kill(worker.process.pid, 1)  # SIGHUP: what was refused may be asked again
                assert b"reloaded" in await wait_for_log(worker, b"reloaded")
                with Client(socket) as client:
                    assert (await trio.to_thread.run_sync(lambda: client.credentials("billing"))).scopes == ("charge",)
                code, worker_log = await worker.stop()
                assert code == 0
            credential = WorkerLogin.from_bytes(login.read_bytes()).credential
            _, host_log = await host.stop()
    shown_all = worker_log + host_log + out
    secrets = (credential.pop_key, credential.tail or b"", credential.ticket)
    assert not any(one.hex() in shown_all or repr(one)[2:-1] in shown_all for one in secrets)


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("damage", "code"),
    [("none", "file-unreadable"), ("mode", "key-file-unsafe"), ("text", "login-file-invalid")],
)
def test_a_bad_login_file_is_refused_at_the_start(tmp_path: Path, damage: str, code: str) -> None:
    """Cause, remedy and code; nothing is opened."""
    login = tmp_path / "login"
    if damage != "none":
        login.write_bytes(b"ORTHROSL\x02")
        login.chmod(0o644 if damage == "mode" else 0o600)
    words = ["--login", str(login), "--kdcs", "tcp://127.0.0.1:1", "--socket", str(tmp_path / "worker.sock")]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"code: {code}\n" in done.stderr
    assert "remedy: " in done.stderr
    assert str(login) in done.stderr
    assert not (tmp_path / "worker.sock").exists()


@pytest.mark.parity("K17")
@pytest.mark.parametrize("kind", ["key file", "directory", "link"])
def test_only_a_login_file_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """A slip of the hand destroys no key file; the daemon is not even asked."""
    out = tmp_path / "web.key"
    if kind == "directory":
        out.mkdir()
    elif kind == "link":
        out.symlink_to(tmp_path / "elsewhere")
    else:
        new_realm().keytab("web").save(out)
    before = out.read_bytes() if kind == "key file" else b""
    assert main(["--socket", "/nowhere", "worker-login", "--target", "orders", "--out", str(out)]) == 1
    assert "file-exists" in capsys.readouterr().err
    assert kind != "key file" or out.read_bytes() == before


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("lifetime", "words"),
    [(text, "is not a duration: write 90, 90s, 15m, 1h or 30d") for text in ("0", "soon", "-1", "10 m")]
    + [(text, "a ticket lives a day at most") for text in ("25h", "2d")],
)
def test_a_lifetime_is_a_time_of_a_day_at_most(capsys: pytest.CaptureFixture[str], lifetime: str, words: str) -> None:
    assert main(["worker-login", "--target", "orders", "--out", "/tmp/x", f"--lifetime={lifetime}"]) == 1
    assert words in capsys.readouterr().err
