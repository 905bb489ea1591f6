"""A small world for the client's tests: clocks that follow trio's, KDCs with moods, a daemon's agent.

The KDC is the library's in-memory realm; only the network misbehaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from attrs import define, field

from orthros_client.backoff import Backoff
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_client.daemon.kdc.session import KdcSession
from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import build_nak
from orthros_protocol.testing import CountingEntropy, ManualClock
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import Caveat
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from orthros_protocol.tickets.ticket import DELEGABLE, Ticket, open_ticket
from tests.support.ruled_realm import RuledRealm

START = Timestamp(1_800_000_000_000)
FAST_MS = 600_000
SHORTEST_TGS_REQUEST = 250  # it carries a TGT, the other one does not
NAK = build_nak(b"\xab" * 8)


class KdcClock(ManualClock):
    """The KDC's clock: moved by trio's, and `wrong_ms` ahead of the time."""

    wrong_ms = 0

    def now(self) -> Timestamp:
        return Timestamp(START + round(trio.current_time() * 1000) + self.wrong_ms)


@define
class DaemonClock:
    """The clocks of the daemon's host: the wall clock is `wrong_ms` ahead of the time, the boot clock stood still for
    `lost_s` seconds while a virtual machine was paused."""

    wrong_ms: int = 0
    lost_s: float = 0.0

    def wall_ms(self) -> Timestamp:
        return Timestamp(START + round(trio.current_time() * 1000) + self.wrong_ms)

    def elapsed_s(self) -> float:
        return trio.current_time() - self.lost_s


@define
class Network:
    """Delivers messages to the realm as each KDC's mood allows.

    Moods: up, down (refuses connections), hanging (never answers), nak, garbage, closing, cut (half a frame),
    late (answers after 6 s), nak-tgs (logs in and refuses every ticket), fast (its clock is 600 s ahead).
    """

    realm: RuledRealm
    nursery: trio.Nursery
    moods: dict[str, str] = field(factory=dict)
    asked: list[tuple[str, float]] = field(factory=list)
    sent: list[bytes] = field(factory=list)

    async def connect(self, address: KdcAddress) -> trio.abc.Stream:
        self.asked.append((str(address), trio.current_time()))
        mood = self.moods.get(str(address), "up")
        if mood == "down":
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._serve, theirs, mood)
        return ours

    async def _serve(self, stream: trio.abc.Stream, mood: str) -> None:
        reader = FrameReader()
        while data := bytes(await stream.receive_some(65536)):
            reader.feed(data)
            for message in reader.messages():
                self.sent.append(message)
                await self._answer(stream, message, mood)

    async def _answer(self, stream: trio.abc.Stream, message: bytes, mood: str) -> None:
        if mood == "hanging":
            await trio.sleep_forever()
        if mood == "closing":
            await stream.aclose()
            await trio.sleep_forever()
        if mood == "late":
            await elapse(6)
        if mood == "nak-tgs" and len(message) > SHORTEST_TGS_REQUEST:
            mood = "nak"
        clock = self.realm.clock
        assert isinstance(clock, KdcClock)
        clock.wrong_ms += FAST_MS * (mood == "fast")
        reply = {"nak": NAK, "garbage": b"\x00" * 40}.get(mood) or self.realm.handle(message)
        clock.wrong_ms -= FAST_MS * (mood == "fast")
        if mood == "cut":
            await stream.send_all(frame(reply)[:-5])
            await stream.aclose()
            await trio.sleep_forever()
        await stream.send_all(frame(reply))


@define
class World:
    """A realm, its network, and one daemon's agent for the client `web`."""

    realm: RuledRealm
    network: Network
    clock: DaemonClock
    agent: Agent
    kdc_clock: KdcClock

    def key(self, target: str, *scopes: str, kind: int = 0, **changes: Any) -> CacheKey:
        return CacheKey(kind=kind, target=self.realm.principal(target), scopes=scopes or None, **changes)

    def on_behalf(self, behalf: Behalf, target: str, *scopes: str, **changes: Any) -> CacheKey:
        return self.key(target, *scopes, behalf=behalf.lineage, **changes)

    def opened(self, held: HeldCredential) -> Ticket:
        """What the target reads in the ticket."""
        return open_ticket(held.credential.ticket, self.realm.root(held.key.target.name).ticket_key())

    async def outcome(self, key: CacheKey, *, timeout_s: float = 10.0, behalf: Behalf | None = None) -> str:
        """`held`, or the code of the error."""
        from orthros_client.errors import OrthrosError

        try:
            await self.agent.obtain(key, timeout_s=timeout_s, behalf=behalf)
        except OrthrosError as error:
            return error.code
        return "held"


async def elapse(seconds: float) -> None:
    """Lets trio's mock clock run; with the autojump clock it takes no time at all."""
    await trio.sleep(seconds)


def new_realm(clock: ManualClock | None = None) -> RuledRealm:
    """`web` may call `orders` (read, write; also as JWT) and `billing` (charge), not `payroll`.

    `shop` and `kiosk` call `web`, which may call `ledger` (post) on their behalf, and in the name of `alice`.
    """
    realm = RuledRealm(clock=clock)
    for name in ("web", "orders", "billing", "payroll", "ledger", "shop", "kiosk"):
        realm.add(name)
    realm.allow("web", "orders", "read", "write", jwt=True)
    realm.allow("web", "billing", "charge")
    realm.allow("web", "ledger", "post", behalf=True, subjects=("alice",))
    return realm


def evidence_of(
    realm: RuledRealm, caller: str, *, caveats: Sequence[Caveat] = (), flags: int = DELEGABLE, **changes: Any
) -> Behalf:
    """What `web` holds after it opened a new ticket of `caller`, to whose presentation `caveats` were added."""
    shown = realm.issue(caller, "web", flags=flags, **changes)
    proof = evidence_proof(shown.session_key, shown.ticket)
    return Behalf(evidence=shown.ticket, caveats=join_caveats([one.to_bytes() for one in caveats]), proof=proof)


@asynccontextmanager
async def open_world(
    *, kdcs: Sequence[str] = ("tcp://kdc-a:1",), wrong_ms: int = 0, moods: dict[str, str] | None = None
) -> AsyncIterator[World]:
    """A running agent; use with trio's autojump clock."""
    async with trio.open_nursery() as nursery:
        kdc_clock = KdcClock()
        realm = new_realm(kdc_clock)
        network = Network(realm, nursery, dict(moods or {}))
        clock = DaemonClock(wrong_ms)
        entropy = CountingEntropy(b"daemon")
        pool = KdcPool(tuple(map(KdcAddress.parse, kdcs)), clock, network.connect)
        agent = Agent(KdcSession(realm.keytab("web"), pool, clock, entropy), clock, entropy, backoff=Backoff())
        await nursery.start(agent.run)
        yield World(realm, network, clock, agent, kdc_clock)
        nursery.cancel_scope.cancel()
