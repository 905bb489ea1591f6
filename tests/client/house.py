"""A daemon that listens on real Unix sockets, in the test's own process, on the real clock."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
from attrs import define

from orthros_client.daemon.listeners.allow_list import AllowList, AllowRule
from orthros_client.daemon.listeners.forward_auth import ForwardAuth
from orthros_client.daemon.listeners.http_server import LocalHttpServer
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.listeners.local_server import LocalServer
from orthros_client.daemon.listeners.shares import ListenerShares
from orthros_client.daemon.worker_terms import WorkerTerms
from orthros_runtime.serving.connections import Deadlines
from orthros_runtime.serving.listeners import Listener
from orthros_runtime.serving.sockets import open_unix_listener
from tests.client.world import World, open_world

T = TypeVar("T")
NOBODY = 65534
DEADLINES = Deadlines()


@define
class House:
    """A world with its two sockets."""

    world: World
    desk: LocalApi
    listener: Listener
    http_listener: Listener
    socket: str
    http_socket: str

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Runs blocking code of a local process beside the daemon."""
        return await trio.to_thread.run_sync(function)

    async def http(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Sends raw bytes, reads until the daemon has answered once or closed."""
        stream = await trio.open_unix_socket(self.http_socket)
        async with stream:
            await stream.send_all(request)
            return await read_response(stream)

    async def get(self, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(headers or ("Orthros-Local: 1",)), "", ""]
        return await self.http("\r\n".join(lines).encode())


def listener_for(
    server: LocalServer | LocalHttpServer | ForwardAuth, shares: ListenerShares, deadlines: Deadlines = DEADLINES
) -> Listener:
    return Listener(server.converse, shares.group_of, server.busy_answer, deadlines)


async def read_response(stream: trio.abc.ReceiveStream) -> tuple[int, dict[str, str], bytes]:
    data = b""
    with trio.fail_after(10):
        while b"\r\n\r\n" not in data:
            more = await stream.receive_some(4096)
            if not more:
                raise EOFError(data)
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        while len(body) < int(headers["content-length"]):
            body += await stream.receive_some(4096)
    return int(lines[0].split()[1]), headers, body


@asynccontextmanager
async def open_house(
    *,
    rules: tuple[AllowRule, ...] = (),
    workers: WorkerTerms | None = None,
    own_uid: int | None = None,
    idle_s: float = 300.0,
    most: int = 64,
    **world: Any,
) -> AsyncIterator[House]:
    """Everything running; `own_uid` other than the test's own shows how strangers are treated."""
    with tempfile.TemporaryDirectory(prefix="orthros-test-") as folder:
        # Other users must reach the sockets for the kernel to say who they are.
        Path(folder).chmod(0o711)
        paths = f"{folder}/daemon.sock", f"{folder}/http.sock"
        async with open_world(**world) as inner, trio.open_nursery() as nursery:
            allow = AllowList(os.geteuid() if own_uid is None else own_uid, rules)
            desk = LocalApi(inner.agent, inner.clock, allow, workers=workers or WorkerTerms())
            shares, deadlines = (
                ListenerShares(most=most, knows=allow.knows, own_uid=allow.own_uid),
                Deadlines(idle_s=idle_s),
            )
            listener = listener_for(LocalServer(desk), shares, deadlines)
            http_listener = listener_for(LocalHttpServer(desk), shares, deadlines)
            await nursery.start(listener.serve, open_unix_listener(paths[0], 0o666))
            await nursery.start(http_listener.serve, open_unix_listener(paths[1], 0o666))
            yield House(inner, desk, listener, http_listener, *paths)
            nursery.cancel_scope.cancel()


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """The effective uid that the kernel notes when a socket connects. Only root can do this."""
    before = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)
