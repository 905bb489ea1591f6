"""Many connections to a real daemon process: more than it has places, and more than it may open files."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

from orthros_client import Client
from tests.client.daemon.test_daemon_process import (
    WallClock,
    configure,
    open_daemon,
    open_kdc,
    serve_realm,
    wait_for_log,
)
from tests.client.test_room import connected
from tests.client.world import new_realm

CLIENTS, THREADS = 40, 8


def in_all_threads(socket: Path, work: Callable[[Client], object]) -> list[BaseException]:
    """Runs `work` in eight threads of each of 40 clients, all at the same time; what it raised."""
    failures: list[BaseException] = []
    together = threading.Barrier(CLIENTS * THREADS)

    def run(client: Client) -> None:
        together.wait()
        try:
            work(client)
        except BaseException as error:  # noqa: BLE001  # for the test to see
            failures.append(error)

    with ExitStack() as stack:
        clients = [stack.enter_context(Client(socket, timeout=60)) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=run, args=(client,)) for client in clients for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return failures


@pytest.mark.parity("K4", "K6")
async def test_40_clients_of_8_threads(tmp_path: Path) -> None:
    """320 threads on 256 places, and root gets in beside them."""

    def work(client: Client) -> None:
        for _ in range(5):
            client.ping()
            client.list()

    realm = new_realm(WallClock())
    async with open_kdc(realm) as kdc, open_daemon(configure(tmp_path, realm, kdc)) as daemon:
        assert await trio.to_thread.run_sync(in_all_threads, tmp_path / "daemon.sock", work) == []
        with Client(tmp_path / "daemon.sock") as client:
            await trio.to_thread.run_sync(client.ping)
        code, log = await daemon.stop()
    assert code == 0
    assert "connection failed" not in log


@pytest.mark.parity("K4", "K6")
async def test_320_threads_that_wait_for_the_kdc(tmp_path: Path) -> None:
    """Those for whom there is no room meanwhile ask again; no request is cut, and all get their ticket."""
    may_answer = trio.Event()
    realm = new_realm(WallClock())

    async def answer_late(stream: trio.SocketStream) -> None:
        await may_answer.wait()
        await serve_realm(realm, stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer_late, 0, host="127.0.0.1"))
        config = configure(tmp_path, realm, f"tcp://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        patient = {"ORTHROS_DAEMON_KDC_TIMEOUT_S": "60"}
        config.write_text(config.read_text().replace("request_timeout_s = 2", "request_timeout_s = 60"))
        async with open_daemon(config, **patient) as daemon:
            failures: list[BaseException] = []

            async def ask() -> None:
                work = partial(in_all_threads, tmp_path / "daemon.sock", lambda client: client.credentials("orders"))
                failures.extend(await trio.to_thread.run_sync(work))

            async with trio.open_nursery() as asking:
                asking.start_soon(ask)
                await wait_for_log(daemon, b"no room for connections")
                may_answer.set()
        nursery.cancel_scope.cancel()
    assert failures == []


@pytest.mark.parity("K4")
async def test_a_daemon_that_may_open_few_files(tmp_path: Path) -> None:
    """It says so at its start, and leaves enough of them to ask the KDC, whatever local programs do."""
    realm = new_realm(WallClock())
    async with open_kdc(realm) as kdc, open_daemon(configure(tmp_path, realm, kdc), 200) as daemon:
        assert b"connections=20 open_files=200" in await wait_for_log(daemon, b"allows fewer connections")
        with (
            connected(300, str(tmp_path / "daemon.sock")),
            connected(300, str(tmp_path / "http.sock")),
            Client(tmp_path / "daemon.sock") as client,
        ):
            await trio.to_thread.run_sync(lambda: client.credentials("orders"))
        code, log = await daemon.stop()
    assert code == 0
    assert "accepting connections failed" not in log


@pytest.mark.parity("K4")
async def test_a_daemon_that_runs_out_of_files(tmp_path: Path) -> None:
    """The limit falls under what is open; silent connections make room, and the log says why."""
    realm = new_realm(WallClock())
    async with open_kdc(realm) as kdc, open_daemon(configure(tmp_path, realm, kdc)) as daemon:
        with connected(100, str(tmp_path / "daemon.sock")), Client(tmp_path / "daemon.sock", timeout=60) as client:
            await trio.to_thread.run_sync(client.ping)  # hence all of them have been accepted
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (64, 64))
            with connected(100, str(tmp_path / "daemon.sock")), Client(tmp_path / "daemon.sock", timeout=60) as other:
                await trio.to_thread.run_sync(other.ping)
            log = await wait_for_log(daemon, b"accepting connections failed")
            await trio.to_thread.run_sync(client.ping)
        assert b"EMFILE" in log
        code, _ = await daemon.stop()
    assert code == 0
