"""Many at once, and strangers: whether others who log in meanwhile notice.

Each line tells the slowest login of the others; those that failed are failed calls.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import trio
from attrs import define

from orthros_kdc.admin import Admin, principals, rules
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.realm.master_key import load_master_key
from orthros_kdc.realm.vault import open_vault
from orthros_kdc.store.base import Transaction
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import OrthrosError
from orthros_protocol.exchanges.as_exchange import PendingAs, build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import Granted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import AsKey
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from tests.chaos.figures import Line, Report
from tests.chaos.street import Street
from tests.support.processes import REALM, Estate, found_realm, open_estate

__all__ = ["connections", "fresh_start", "strangers"]

_TARGETS: Final = ("orders", "ledger", "stock")
_SLOWEST_S: Final = 3.0
_START_S: Final = 10.0
_AGAIN_S: Final = 0.2
_REFUSALS: Final = (OSError, trio.BrokenResourceError, OrthrosError)


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


async def _pause(seconds: float) -> None:
    """A caller's own pace."""
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


def _login(key: AsKey) -> PendingAs:
    return build_as_request(key, service=KDC_TGT, ttl_s=0, instance=os.urandom(16), now=_now(), nonce=os.urandom(16))


@define(eq=False)
class _Peer:
    """A client of the KDC over one TCP connection from a source of its own choice."""

    key: AsKey
    stream: trio.SocketStream

    @classmethod
    async def connect(cls, key: AsKey, port: int, source: str) -> _Peer:
        sock = trio.socket.socket()
        await sock.bind((source, 0))
        await sock.connect(("127.0.0.1", port))
        return cls(key, trio.SocketStream(sock))

    async def ask(self, message: bytes) -> bytes:
        await self.stream.send_all(frame(message))
        reader = FrameReader()
        while True:
            data = bytes(await self.stream.receive_some(1 << 16))
            if not data:
                raise ConnectionError("the KDC ended the connection")
            reader.feed(data)
            for answer in reader.messages():
                return answer

    async def log_in(self) -> tuple[bytes, bytes]:
        """A ticket-granting ticket and its session key."""
        asked = _login(self.key)
        reply = open_as_reply(asked, self.key, await self.ask(asked.message))
        return reply.ticket, reply.session_key

    async def tickets(self) -> int:
        """How many of the targets it is given a ticket for."""
        ticket, session_key = await self.log_in()
        wants = [Want(target=Principal(REALM, name)) for name in _TARGETS]
        asked = build_tgs_request(
            ticket, pop_key_of(tail_of(session_key, ticket)), wants, now=_now(), nonce=os.urandom(16)
        )
        results = open_tgs_reply(asked, await self.ask(asked.message)).results
        return sum(isinstance(one, Granted) for one in results)


@define(eq=False)
class _Others:
    """A client at another address that logs in again and again, over a new connection each time."""

    key: AsKey
    port: int
    line: Line
    slowest_s: float = 0.0

    async def log_in(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled. Started once the first login has been answered."""
        while True:
            begun = trio.current_time()
            self.line.calls += 1
            try:
                peer = await _Peer.connect(self.key, self.port, "127.0.0.2")
                async with peer.stream:
                    await peer.log_in()
            except _REFUSALS as error:
                self.line.failed += 1
                self.line.notes.append(f"{type(error).__name__}: {error}"[:200])
            self.slowest_s = max(self.slowest_s, trio.current_time() - begun)
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await _pause(0.02)

    def judge(self) -> None:
        self.line.notes.append(f"slowest login of the others: {self.slowest_s * 1000:.0f} ms")
        self.line.check(self.line.failed == 0, "a login of the others failed")
        self.line.check(self.slowest_s < _SLOWEST_S, f"a login of the others took {self.slowest_s:.1f} s")


@contextmanager
def _realm() -> Iterator[Estate]:
    with (
        tempfile.TemporaryDirectory(prefix="orthros-chaos-") as folder,
        open_estate(found_realm(Path(folder))) as estate,
    ):
        yield estate


def _fill(estate: Estate, names: Sequence[str], targets: Sequence[str]) -> list[AsKey]:
    """Principals of these names, each of which may call all of `targets`, which are made as well where they miss."""

    async def fill() -> list[AsKey]:
        store = SqliteStore.open(estate.folder / "kdc" / "kdc.db")
        try:
            vault = await open_vault(store, load_master_key(estate.folder / "kdc" / "master.key", environ={}))
            admin = Admin(store=store, vault=vault, audit=AdminAuditLog(), now_ms=_now, actor="chaos")

            def work(tx: Transaction) -> list[Keytab]:
                for target in targets:
                    if tx.principal_by_name(target) is None:
                        principals.add_in(tx, admin, target, {})
                keytabs = [principals.add_in(tx, admin, name, {}) for name in names]
                for name in names:
                    for target in targets:
                        rules.add(tx, Rule(rule_id=0, client=Selector(name), target=Selector(target), scopes=("read",)))
                return keytabs

            return [keytab.as_key() for keytab in await store.change(work)]
        finally:
            await store.aclose()

    return trio.run(fill)


def fresh_start(_: Street, report: Report, *, quick: bool) -> None:
    """Every host of a realm comes back at once, while its KDC starts."""
    many = 100 if quick else 300
    for where, sources in (("each at its address", 250), ("behind one address", 1)):
        done = f"{many} hosts {where} at a fresh start, {many * len(_TARGETS)} rules"
        with _realm() as estate, report.line("floods", done) as line:
            keys = _fill(estate, [f"host-{number}" for number in range(many)], _TARGETS)
            estate.start_kdc()
            taken = trio.run(_all_obtain, keys, estate.kdc_port, sources)
            line.calls, line.failed = many, many - len(taken)
            line.notes.append(f"the last one had its tickets after {max(taken, default=0) * 1000:.0f} ms")
            line.check(not line.failed, f"{line.failed} hosts had no tickets after {_START_S:.0f} s")


async def _all_obtain(keys: Sequence[AsKey], port: int, sources: int) -> list[float]:
    """The seconds that each took that has its tickets when the time is over."""
    taken: list[float] = []

    async def obtain(number: int, key: AsKey) -> None:
        begun, granted = trio.current_time(), 0
        while granted != len(_TARGETS):
            try:
                peer = await _Peer.connect(key, port, f"127.0.1.{number % sources + 1}")
                async with peer.stream:
                    granted = await peer.tickets()
            except _REFUSALS:
                await _pause(_AGAIN_S)
        taken.append(trio.current_time() - begun)

    with trio.move_on_after(_START_S):
        async with trio.open_nursery() as nursery:
            for number, key in enumerate(keys):
                nursery.start_soon(obtain, number, key)
    return taken


def connections(_: Street, report: Report, *, quick: bool) -> None:
    """More connections of one key than a port has, and more silent ones than a process may have files."""
    many = 1024 if quick else 4096
    with _realm() as estate, report.line("floods", f"{many} connections of one key") as line:
        key, other = _fill(estate, ["greedy", "other"], _TARGETS)
        estate.start_kdc()

        async def flood() -> None:
            others = _Others(other, estate.kdc_port, line)
            kept: list[_Peer] = []
            async with trio.open_nursery() as nursery:
                await nursery.start(others.log_in)
                for _ in range(many):
                    with trio.move_on_after(_SLOWEST_S):
                        peer = await _Peer.connect(key, estate.kdc_port, "127.0.0.3")
                        kept.append(peer)
                        with suppress(*_REFUSALS):
                            await peer.log_in()  # its key may have had its share; the others count
                nursery.cancel_scope.cancel()
            others.judge()

        trio.run(flood)
    limited = 256 if quick else 1024
    with _realm() as estate, report.line("floods", f"{limited} silent connections, ulimit -n {limited}") as line:
        (other,) = _fill(estate, ["other"], _TARGETS)
        estate.start_kdc(limited)

        async def beside() -> None:
            others = _Others(other, estate.kdc_port, line)
            with ExitStack() as silent:
                async with trio.open_nursery() as nursery:
                    await nursery.start(others.log_in)
                    for _ in range(limited):
                        address = ("127.0.0.1", estate.kdc_port)
                        silent.enter_context(socket.create_connection(address, source_address=("127.0.0.3", 0)))
                        await trio.lowlevel.checkpoint()
                    await _pause(1)
                    nursery.cancel_scope.cancel()
            others.judge()

        trio.run(beside)


def strangers(_: Street, report: Report, *, quick: bool) -> None:
    """Packets with a wrong MAC, and an admin at work in a realm with thousands of rules."""
    clients = 100 if quick else 500
    with _realm() as estate, report.line("floods", f"strangers, an admin, {clients * 10} rules") as line:
        names = [f"host-{number}" for number in range(clients)]
        key = _fill(estate, names, [f"service-{number}" for number in range(10)])[0]
        (other,) = _fill(estate, ["other"], _TARGETS)
        estate.start_kdc()
        changes = [f"group add-member everybody {name}" for name in names[: 3 if quick else 20]]

        async def stranger() -> None:
            """A stranger who has seen a login knows the id of its key; without the key the MAC is wrong."""
            while True:
                with suppress(*_REFUSALS):
                    peer = await _Peer.connect(key, estate.kdc_port, "127.0.0.3")
                    async with peer.stream:
                        for _ in range(100):
                            message = _login(key).message
                            await peer.ask(message[:-1] + bytes([message[-1] ^ 1]))
                await _pause(0.01)

        async def administer() -> None:
            for change in ["group add everybody", *changes, "realm limit --max-ticket-s 30m --yes"]:
                outcome = await trio.to_thread.run_sync(estate.admin, change)
                line.check(outcome.code == 0, f"orthros-admin {change} ended with {outcome.code}")

        async def beside() -> None:
            others = _Others(other, estate.kdc_port, line)
            async with trio.open_nursery() as nursery:
                await nursery.start(others.log_in)
                nursery.start_soon(stranger)
                await administer()
                nursery.cancel_scope.cancel()
            others.judge()

        trio.run(beside)
