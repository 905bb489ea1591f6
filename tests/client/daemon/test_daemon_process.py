from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import define

from orthros_client import Client, Unavailable
from orthros_client.daemon.__main__ import main
from orthros_client.local.api.messages import encode_request
from orthros_client.local.api.values import Op, WantRequest
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm, ManualClock
from tests.client.world import new_realm

COMMAND = [sys.executable, "-m", "orthros_client.daemon"]


class WallClock(ManualClock):
    """The realm keeps real time."""

    def now(self) -> Timestamp:
        return Timestamp(time.time_ns() // 1_000_000)


@define
class Daemon:
    process: trio.Process
    ready: str

    async def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        log = b""
        with trio.fail_after(20):
            while data := await self.process.stderr.receive_some(65536):
                log += data
            return await self.process.wait(), log.decode()


async def serve_realm(realm: InMemoryRealm, stream: trio.abc.Stream) -> None:
    reader = FrameReader()
    with suppress(trio.BrokenResourceError):  # a killed daemon may leave a reset behind
        async with stream:
            while data := bytes(await stream.receive_some(65536)):
                reader.feed(data)
                for message in reader.messages():
                    await stream.send_all(frame(realm.handle(message)))


@asynccontextmanager
async def open_kdc(realm: InMemoryRealm) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(serve_realm, realm), 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        yield f"tcp://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_daemon(config: Path, files: int | None = None, /, **environ: str) -> AsyncIterator[Daemon]:
    """`files` is how many it may have open."""
    limited = [] if files is None else ["/bin/sh", "-c", f'ulimit -n {files} && exec "$0" "$@"']
    process = await trio.lowlevel.open_process(
        [*limited, *COMMAND, "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        assert process.stdout is not None
        line = b""
        with trio.fail_after(20):
            while not line.endswith(b"\n"):
                data = await process.stdout.receive_some(4096)
                if not data:
                    assert process.stderr is not None
                    raise EOFError(await process.stderr.receive_some(65536))
                line += data
        yield Daemon(process, line.decode())
    finally:
        process.kill()
        await process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            await pipe.aclose()


async def wait_for_log(daemon: Daemon, words: bytes) -> bytes:
    assert daemon.process.stderr is not None
    log = b""
    with trio.fail_after(20):
        while words not in log:
            log += await daemon.process.stderr.receive_some(65536)
    return log


def configure(tmp_path: Path, realm: InMemoryRealm, kdc: str) -> Path:
    realm.keytab("web").save(tmp_path / "web.key")
    config = tmp_path / "daemon.toml"
    config.write_text(
        f'version = 1\nkeytab = "{tmp_path}/web.key"\nkdcs = ["{kdc}"]\nsocket = "{tmp_path}/daemon.sock"\n'
        f'http_socket = "{tmp_path}/http.sock"\ncache_file = "{tmp_path}/cache"\nrequest_timeout_s = 2\n'
    )
    return config


@pytest.mark.parity("B7")
async def test_a_whole_life(tmp_path: Path) -> None:
    """Real processes and sockets: serve, drain, save, restart without a KDC, serve again; nothing leaks."""
    realm = new_realm(WallClock())
    async with open_kdc(realm) as kdc:
        config = configure(tmp_path, realm, kdc)
        async with open_daemon(config) as daemon:
            assert daemon.ready == (
                f"orthros-daemon ready: web@test.realm, socket {tmp_path}/daemon.sock, "
                f"http socket {tmp_path}/http.sock\n"
            )
            with Client(tmp_path / "daemon.sock") as client:
                first = await trio.to_thread.run_sync(lambda: client.credentials("orders"))
                token = await trio.to_thread.run_sync(lambda: client.token("orders"))
                status = await trio.to_thread.run_sync(client.status)
            assert abs(status.offset_ms) < 1000
            limits = Path(f"/proc/{daemon.process.pid}/limits")
            if limits.exists() and os.access(limits, os.R_OK):
                core = next(line for line in limits.read_text().splitlines() if "core" in line)
                assert core.split()[4:6] == ["0", "0"]
            config.write_text(config.read_text() + "sokket = 1\n")
            daemon.process.send_signal(signal.SIGHUP)
            with Client(tmp_path / "daemon.sock") as client:
                await trio.to_thread.run_sync(client.ping)
            code, log = await daemon.stop()
        config.write_text(config.read_text().replace("sokket = 1\n", ""))
    assert code == 0
    assert "ticket refused" not in log
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "daemon.toml", "web.key"}
    async with open_daemon(config) as daemon:
        with Client(tmp_path / "daemon.sock") as client:
            again = await trio.to_thread.run_sync(lambda: client.credentials("orders"))
            status = await trio.to_thread.run_sync(lambda: client.status(probe=True))
        assert again.ticket == first.ticket
        assert 3500 < again.expires_in_s <= first.expires_in_s + 0.1
        assert status.code == "kdc-unreachable"
        code, second_log = await daemon.stop()
    assert code == 0
    assert "kdc exchange failed" in second_log
    shown = log + second_log + repr(first) + repr(token) + repr(status)
    root = realm.root("web")
    for secret in (root.material, root.as_key().material, first.tail, first.ticket, token.value.encode()):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


@pytest.mark.parity("P16", "K2")
async def test_a_reload_takes_over_keys_and_rules(tmp_path: Path) -> None:
    """SIGHUP; what is wrong changes nothing and is logged."""
    realm = new_realm(WallClock())
    async with open_kdc(realm) as kdc:
        config = configure(tmp_path, realm, kdc)
        async with open_daemon(config, ORTHROS_DAEMON_LOG_FORMAT="json") as daemon:
            good = config.read_text()
            for text in (good + "sokket = 1\n", good + "drain_s = 1\n", good.replace("/daemon.sock", "/other.sock")):
                config.write_text(text)
                daemon.process.send_signal(signal.SIGHUP)
                assert daemon.process.stderr is not None
                with trio.fail_after(20):
                    log = b""
                    while b"reload" not in log:
                        log += await daemon.process.stderr.receive_some(65536)
                events = [json.loads(line) for line in log.splitlines() if b"reload" in line or b"restart" in line]
                if "sokket" in text:
                    assert events[0]["event"] == "reload refused"
                    assert events[0]["detail"] == f"{config}: there is no setting 'sokket'; write socket"
                else:
                    assert events[-1]["event"] == "reloaded"
                    assert events[-1]["kvnos"] == [1]
                if "other.sock" in text:
                    assert events[0]["settings"] == ["socket"]
            with Client(tmp_path / "daemon.sock") as client:
                await trio.to_thread.run_sync(lambda: client.credentials("orders"))
            code, _ = await daemon.stop()
        assert code == 0


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("no file", "file-unreadable"),
        ("verify-only", "key-missing"),
        ("mode", "key-file-unsafe"),
        ("text", "key-file-invalid"),
    ],
)
def test_a_bad_key_file_is_refused_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, code: str
) -> None:
    """Cause, remedy and code; nothing is opened."""
    realm = new_realm()
    config = configure(tmp_path, realm, "tcp://127.0.0.1:1")
    key = tmp_path / "web.key"
    if damage == "no file":
        key.unlink()
    elif damage == "verify-only":
        realm.keytab("web").verify_only().save(key, replace=True)
    elif damage == "mode":
        key.chmod(0o640)
    else:
        key.write_text("not a key")
    done = subprocess.run([*COMMAND, "--config", str(config)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"code: {code}\n" in done.stderr
    assert "remedy: " in done.stderr
    assert not (tmp_path / "daemon.sock").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parity("P16")
def test_config_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Validate and show before running."""
    config = configure(tmp_path, new_realm(), "tcp://127.0.0.1:1")
    assert main(["config", "validate", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "the configuration is valid\n"
    assert main(["config", "show", "--config", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "socket" in shown
    assert "drain_s" not in shown
    assert main(["config", "show", "--effective", "--config", str(config), "--drain-s", "1"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["drain_s"] == ["drain_s", "1", "--drain-s"]
    assert rows["log_format"] == ["log_format", "text", "default"]
    assert main(["config", "validate", "--config", str(tmp_path / "none")]) == 1
    assert "code: file-unreadable" in capsys.readouterr().err
    assert main(["version"]) == 0
    assert capsys.readouterr().out == "orthros 0.1.0\n"


@pytest.mark.parity("K17")
def test_wrong_usage_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nonsense", "x"]) == 1
    assert capsys.readouterr().err == (
        "orthros-daemon: The command line cannot be followed. (unrecognized arguments: --nonsense x)\n"
        "remedy: Read `orthros-daemon --help`.\ncode: usage\n"
    )


@pytest.mark.parity("B7")
async def test_a_successor_may_start_while_its_predecessor_drains(tmp_path: Path) -> None:
    """The one that stops takes its own socket away, never the other's."""
    may_answer = trio.Event()

    async def silent_kdc(_stream: trio.abc.Stream) -> None:
        await may_answer.wait()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, silent_kdc, 0, host="127.0.0.1"))
        kdc = f"tcp://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        config = configure(tmp_path, new_realm(WallClock()), kdc)
        patient = {f"ORTHROS_DAEMON_{name}_S": "60" for name in ("REQUEST_TIMEOUT", "KDC_TIMEOUT", "DRAIN")}
        async with open_daemon(config, **patient) as old:
            stream = await trio.open_unix_socket(str(tmp_path / "daemon.sock"))
            request = WantRequest(op=Op.TICKET, target="orders", timeout_ms=60_000)
            await stream.send_all(frame(encode_request(request)))
            with Client(tmp_path / "daemon.sock") as client:
                await trio.to_thread.run_sync(client.ping)  # hence the request has been read as well
            old.process.send_signal(signal.SIGTERM)
            await wait_for_log(old, b"stopping")
            async with open_daemon(config), stream:
                assert old.process.returncode is None
                may_answer.set()
                await old.stop()
                with Client(tmp_path / "daemon.sock") as client:
                    await trio.to_thread.run_sync(client.ping)
        nursery.cancel_scope.cancel()


@pytest.mark.parity("K20")
async def test_a_recreated_principal_takes_a_restart(tmp_path: Path) -> None:
    """What is cached belongs to the old one."""
    realm, again = new_realm(WallClock()), InMemoryRealm()
    for name in ("a", "b", "c", "d", "web"):
        again.add(name)
    async with open_kdc(realm) as kdc:
        config = configure(tmp_path, realm, kdc)
        async with open_daemon(config) as daemon:
            again.keytab("web").save(tmp_path / "web.key", replace=True)
            daemon.process.send_signal(signal.SIGHUP)
            assert b"was re-created as uid" in await wait_for_log(daemon, b"reload refused")


@pytest.mark.parity("K17")
async def test_a_daemon_whose_output_nobody_takes_serves_all_the_same(tmp_path: Path) -> None:
    """Stdout and stderr on a full disk."""
    config = configure(tmp_path, new_realm(), "tcp://127.0.0.1:1")
    command = f"exec {shlex.join([*COMMAND, '--config', str(config)])} > /dev/full 2>&1"
    process = await trio.lowlevel.open_process(["/bin/sh", "-c", command])
    try:
        with Client(tmp_path / "daemon.sock") as client, trio.fail_after(20):
            while True:
                try:
                    await trio.to_thread.run_sync(lambda: client.status(probe=True))
                    break
                except Unavailable:
                    await trio.lowlevel.checkpoint()
        assert process.poll() is None
    finally:
        process.kill()
        await process.wait()
