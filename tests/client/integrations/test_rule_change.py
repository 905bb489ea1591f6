"""A running caller and a new rule, with every way to call: the call after the refused one passes, through a real daemon
on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import httpx2
import pytest
import requests
import trio
from attrs import define

from orthros_client import AsyncClient, Client, Credentials, PeerMisbehaved, TargetRefusal, Verifier
from orthros_client.credentials.credential_file import load_credentials, save_credentials
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_protocol.errors import OrthrosError
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy
from orthros_runtime.clocks import HostClock
from tests.client.house import House, open_house
from tests.client.world import KdcClock
from tests.support.http_target import HttpTarget, Said, in_process, listening

ORDERS = "https://orders.example"
REFUND = "refund"
PASSED = "passed"


@define
class Scene:
    """A house, a target that asks for the scope `refund`, and a verifier without HTTP that does as well."""

    house: House
    target: HttpTarget
    ahead_ms: int
    _verifier: Verifier | None = None

    def accept(self, request: bytes) -> bytes:
        """The raw service."""
        if self._verifier is None:
            clock = lambda: Timestamp(HostClock().wall_ms() - self.ahead_ms)  # noqa: E731
            keytab = self.house.world.realm.keytab("orders")
            self._verifier = Verifier(keytab, clock=clock, monotonic_ms=clock, entropy=CountingEntropy(b"raw"))
        try:
            caller = self._verifier.accept(request, "refunds", b"{}")
            caller.require(REFUND)
        except OrthrosError as error:
            return error.reply or b""
        return caller.reply

    def grant_refund(self) -> None:
        self.house.world.realm.allow("web", "orders", "read", "write", REFUND)

    @property
    def asked(self) -> int:
        return self.house.world.realm.handled


@asynccontextmanager
async def open_scene(*, proves: bool = False) -> AsyncIterator[Scene]:
    ahead = HostClock().wall_ms() - KdcClock().now()
    async with open_house(wrong_ms=ahead) as house:
        target = HttpTarget(house.world.realm, host_is_ahead_ms=ahead, requires=REFUND, proves_refusals=proves)
        yield Scene(house, target, ahead)


Call = Callable[[], Awaitable[str]]


def told(call: Callable[[], Any]) -> str:
    """What became of a call: the code of its refusal, or that it passed."""
    try:
        status = call().status_code
    except TargetRefusal as refusal:
        return refusal.remedy
    return PASSED if status == 200 else str(status)


async def told_async(call: Callable[[], Awaitable[Any]]) -> str:
    try:
        status = (await call()).status_code
    except TargetRefusal as refusal:
        return refusal.remedy
    return PASSED if status == 200 else str(status)


@asynccontextmanager
async def with_httpx(library: Any, scene: Scene) -> AsyncIterator[Call]:
    with Client(scene.house.socket) as source:
        auth = OrthrosAuth({ORDERS: "orders"}, client=source)
        with library.Client(auth=auth, transport=in_process(scene.target)) as client:
            yield lambda: scene.house.in_thread(lambda: told(lambda: client.get(f"{ORDERS}/refunds")))


@asynccontextmanager
async def with_async_httpx(library: Any, scene: Scene) -> AsyncIterator[Call]:
    async with AsyncClient(scene.house.socket) as source:
        auth = OrthrosAuth({ORDERS: "orders"}, client=source)
        async with library.AsyncClient(auth=auth, transport=in_process(scene.target)) as client:
            yield lambda: told_async(lambda: client.get(f"{ORDERS}/refunds"))


@asynccontextmanager
async def with_async_httpx_of_a_blocking_client(library: Any, scene: Scene) -> AsyncIterator[Call]:
    with Client(scene.house.socket) as source:
        auth = OrthrosAuth({ORDERS: "orders"}, client=source)
        async with library.AsyncClient(auth=auth, transport=in_process(scene.target)) as client:
            yield lambda: told_async(lambda: client.get(f"{ORDERS}/refunds"))


@asynccontextmanager
async def with_requests(scene: Scene) -> AsyncIterator[Call]:
    scene.target.scheme = "http"
    with listening(scene.target.hear) as port, Client(scene.house.socket) as source, requests.Session() as session:
        scene.target.authority = f"127.0.0.1:{port}"
        origin = f"http://127.0.0.1:{port}"
        session.trust_env = False
        session.auth = OrthrosRequestsAuth({origin: "orders"}, client=source)
        yield lambda: scene.house.in_thread(lambda: told(lambda: session.get(f"{origin}/refunds", timeout=10)))


@define
class Passed:
    status_code: int = 200


@asynccontextmanager
async def with_raw(scene: Scene) -> AsyncIterator[Call]:
    def call(source: Client) -> Passed:
        source.credentials("orders").call(scene.accept, "refunds", b"{}")
        return Passed()

    with Client(scene.house.socket) as source:
        yield lambda: scene.house.in_thread(lambda: told(lambda: call(source)))


async def deliver(scene: Scene, request: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return scene.accept(request)


@asynccontextmanager
async def with_async_raw(scene: Scene) -> AsyncIterator[Call]:
    async def call(source: AsyncClient) -> Passed:
        await (await source.credentials("orders")).acall(partial(deliver, scene), "refunds", b"{}")
        return Passed()

    async with AsyncClient(scene.house.socket) as source:
        yield lambda: told_async(lambda: call(source))


@asynccontextmanager
async def with_raw_by_hand(scene: Scene) -> AsyncIterator[Call]:
    """Without a driver: nothing waits after the refusal, and the next question tells the daemon."""

    def call(source: Client) -> Passed:
        credentials = source.credentials("orders")
        for _ in range(2):  # the first contact teaches the epoch
            pending = credentials.authenticate("refunds", b"{}")
            try:
                pending.finish(scene.accept(pending.request))
            except TargetRefusal as refusal:
                if refusal.code != "epoch-required":
                    raise
        return Passed()

    with Client(scene.house.socket) as source:
        yield lambda: scene.house.in_thread(lambda: told(lambda: call(source)))


WAYS: dict[str, Callable[[Scene], Any]] = {
    "httpx": partial(with_httpx, httpx),
    "httpx2": partial(with_httpx, httpx2),
    "httpx, async": partial(with_async_httpx, httpx),
    "httpx2, async": partial(with_async_httpx, httpx2),
    "httpx, async, blocking client": partial(with_async_httpx_of_a_blocking_client, httpx),
    "requests": with_requests,
    "raw": with_raw,
    "raw, async": with_async_raw,
    "raw, by hand": with_raw_by_hand,
}


@pytest.mark.parity("O3")
@pytest.mark.parametrize("way", WAYS)
async def test_the_call_after_the_refused_one_passes(way: str) -> None:
    """In the same process, with one question to the KDC; the refusal says what will happen."""
    async with open_scene() as scene, WAYS[way](scene) as call:
        scene.house.world.realm.allow("web", "orders", "read", "write")
        await scene.house.in_thread(lambda: hold_a_ticket(scene))
        scene.grant_refund()
        asked = scene.asked
        said = await call()
        if way == "raw, by hand":
            assert said.startswith(
                "If a rule was changed a moment ago, the next call or the one after it works by itself"
            )
        else:
            assert said.startswith("If a rule was changed a moment ago, the next call works: the daemon has ")
        assert "`orthros-admin policy allow web orders --scope refund`" in said
        assert "`orthros-admin policy explain web orders`" in said
        assert await call() == PASSED
        assert scene.asked - asked == 1


def hold_a_ticket(scene: Scene) -> None:
    with Client(scene.house.socket) as client:
        assert client.credentials("orders").scopes == ("read", "write")


@pytest.mark.parity("O3")
@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("raw")])
async def test_a_proven_403_is_reported_as_well(way: str) -> None:
    """As `caller.require` sends it: the caller gets the response, whose proof covers it whole."""
    async with open_scene(proves=True) as scene, WAYS[way](scene) as call:
        await scene.house.in_thread(lambda: hold_a_ticket(scene))
        scene.grant_refund()
        assert await call() == "403"
        assert await call() == PASSED


def stripped(said: Said) -> Said:
    return said.with_header("www-authenticate", None) if said.status == 403 else said


def forged(said: Said) -> Said:
    if said.status != 403:
        return said
    (challenge,) = [value for name, value in said.headers if name.lower() == "www-authenticate"]
    other = "A" if challenge[-9] != "A" else "B"
    return said.with_header("www-authenticate", f"{challenge[:-9]}{other}{challenge[-8:]}")


@pytest.mark.parametrize("change", [stripped, forged])
async def test_an_unproven_answer_reports_nothing(change: Callable[[Said], Said]) -> None:
    """Attack: something between answers 403 in the target's name, without a proof or with an altered one."""
    async with open_scene() as scene, with_httpx(httpx, scene) as call:
        await scene.house.in_thread(lambda: hold_a_ticket(scene))
        scene.grant_refund()
        asked, genuine = scene.asked, scene.target.between
        scene.target.between = change
        for _ in range(2):
            with pytest.raises(PeerMisbehaved, match="response-unproven"):
                await call()
        assert scene.target.verdicts[-1] == "insufficient-scope"
        assert scene.asked == asked
        scene.target.between = genuine
        assert (await call()).startswith("If a rule was changed a moment ago, the next call works")


async def test_a_loop_of_refused_calls_asks_the_kdc_once() -> None:
    """Without a new rule, within one interval."""
    async with open_scene() as scene, with_raw(scene) as call:
        await scene.house.in_thread(lambda: hold_a_ticket(scene))
        asked = scene.asked
        first = await call()
        assert first.startswith("The daemon has just asked the KDC again, and the rules grant no more")
        for _ in range(20):
            assert "If a rule was changed a moment ago, " in await call()
        assert scene.asked - asked == 1


async def test_a_daemon_that_is_away_changes_nothing_about_the_refusal() -> None:
    async with open_scene() as scene:
        client = Client(scene.house.socket)
        credentials = await scene.house.in_thread(lambda: client.credentials("orders"))
    client._local._path = "/nowhere"  # the house is gone
    client.close()

    def call() -> None:
        credentials.call(scene.accept, "refunds", b"{}")

    with pytest.raises(TargetRefusal, match="insufficient-scope") as caught:
        await trio.to_thread.run_sync(call)
    assert "orthros-admin policy allow web orders --scope refund" in caught.value.remedy


async def test_without_a_daemon_the_remedy_promises_nothing(tmp_path: Any) -> None:
    """A credential file, a hand-over, or keys of the process itself: nobody can be told."""
    async with open_scene() as scene:
        with Client(scene.house.socket) as client:
            credentials = await scene.house.in_thread(lambda: client.credentials("orders"))
        save_credentials(credentials, tmp_path / "job")
        held: Credentials = load_credentials(tmp_path / "job")
        scene.grant_refund()
        asked = scene.asked
        with pytest.raises(TargetRefusal) as caught:
            held.call(scene.accept, "refunds", b"{}")
        assert caught.value.remedy.startswith("This ticket was not obtained from a daemon")
        assert "by itself" not in caught.value.remedy
        assert "`orthros-admin policy allow web orders --scope refund`" in caught.value.remedy
        assert scene.asked == asked
