"""A KDC on realms of a thousand and a million principals, with up to 100,000 rules, idle and while an admin is at work.

What is measured: a ticket's latency, CPU of the KDC, its memory, the time from the end of a change to the first answer
that follows it, and the time from start to ready. `python -m workshop.bench.realm_load` prints this table alone.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import trio
from attrs import frozen

from orthros_kdc.admin import Admin, principals, rules
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.process.founding import found_realm
from orthros_kdc.realm.master_key import load_master_key
from orthros_kdc.realm.vault import open_vault
from orthros_kdc.store.rule_rows import terms_text
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import Granted, NotGranted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from workshop.bench.figures import cpu_seconds
from workshop.bench.kdc_load import UNLIMITED

__all__ = ["Load", "measure_realms", "render_realms"]

_REALM = "bench.example"
_CLIENT = "billing"
_TARGETS = tuple(f"service-{number}" for number in range(16))
_CHANGES_PER_S = 10
_REQUESTS = 3000
_IN_FORCE = 15


@frozen(kw_only=True)
class Load:
    """One line: times in milliseconds, CPU in microseconds for a ticket, memory in megabytes, `ready_s` in seconds."""

    rules: int
    principals: int
    changes_per_s: int
    p50_ms: float
    p99_ms: float
    cpu_us: float
    rss_mb: float
    in_force_ms: tuple[float, float]
    ready_s: float


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


@asynccontextmanager
async def _admin(folder: Path) -> AsyncIterator[Admin]:
    store = SqliteStore.open(folder / "kdc.db")
    try:
        vault = await open_vault(store, load_master_key(folder / "master.key", environ={}))
        yield Admin(store=store, vault=vault, audit=AdminAuditLog(), now_ms=_now, actor="bench")
    finally:
        await store.aclose()


async def _found(folder: Path) -> Keytab:
    await found_realm(_REALM, str(folder), None, "127.0.0.1:0")
    async with _admin(folder) as admin:
        keytab = await principals.add(admin, _CLIENT)
        for target in _TARGETS:
            await principals.add(admin, target)
            await rules.allow(admin, _CLIENT, target, scopes=("read", "write"))
        return keytab


def _fill(folder: Path, people: int, rows: range) -> None:
    """Principals with a key each, that nobody asks for, and rules between them: rows alone, since nobody opens them."""
    terms = terms_text({"scopes": ["read", "write"]})
    with closing(sqlite3.connect(folder / "kdc.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        ((first,),) = connection.execute("SELECT max(uid) + 1 FROM principals WHERE name NOT LIKE 'host/%'").fetchall()
        if rows.start == 0:
            connection.executemany(
                "INSERT INTO principals (uid, name, created) VALUES (?, ?, 1)",
                ((first + at, f"host/{at}") for at in range(people)),
            )
            connection.executemany(
                "INSERT INTO keys (uid, kvno, kid_as, kid_ticket, kid_sync, state, created, sealed, sealed_as)"
                " VALUES (?, 1, ?, ?, ?, 'active', 1, zeroblob(80), x'')",
                ((first + at, os.urandom(8), os.urandom(8), os.urandom(8)) for at in range(people)),
            )
        connection.executemany(
            "INSERT INTO rules (client_uid, target_uid, terms) VALUES (?, ?, ?)",
            ((first + at % people, first + (at + at // people + 1) % people, terms) for at in rows),
        )
        connection.execute("COMMIT")


class _Kdc:
    """A KDC process, and a client that is logged in there over a Unix socket."""

    def __init__(self, folder: Path, keytab: Keytab) -> None:
        path = str(folder / "kdc.sock")
        command = [sys.executable, "-m", "orthros_kdc", "serve", "--config", str(folder / "kdc.toml"), "--unix", path]
        started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **UNLIMITED})
        if self.process.stdout is None or b"ready" not in self.process.stdout.readline():
            raise RuntimeError("the KDC did not start")
        self.ready_s = time.perf_counter() - started
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = FrameReader()
        key = keytab.as_key()
        asked = build_as_request(key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=_now(), nonce=os.urandom(16))
        self._login = open_as_reply(asked, key, self._exchange(asked.message))
        self._pop_key = pop_key_of(tail_of(self._login.session_key, self._login.ticket))

    def _exchange(self, message: bytes) -> bytes:
        self._socket.sendall(frame(message))
        while True:
            self._reader.feed(self._socket.recv(1 << 18))
            for reply in self._reader.messages():
                return reply

    def ticket(self, target: str) -> tuple[Granted | NotGranted, float]:
        """The answer, opened, and the milliseconds from the first byte sent to the last one received."""
        want = Want(target=Principal(_REALM, target))
        asked = build_tgs_request(self._login.ticket, self._pop_key, [want], now=_now(), nonce=os.urandom(16))
        started = time.perf_counter()
        reply = self._exchange(asked.message)
        taken = time.perf_counter() - started
        return open_tgs_reply(asked, reply).results[0], taken * 1000

    def rss_mb(self) -> float:
        """The memory of the process that is in use now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        if found is None:
            raise RuntimeError("no VmRSS")
        return int(found[1]) / 1024

    def stop(self) -> None:
        self._socket.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


async def _in_force(folder: Path, kdc: _Kdc) -> tuple[float, float]:
    """Milliseconds from the end of a change to the first answer by it: the median and the longest."""
    found: list[float] = []
    async with _admin(folder) as admin:
        target = f"new-{time.monotonic_ns()}"
        await principals.add(admin, target)
        for number in range(_IN_FORCE):
            wanted = Granted if number % 2 == 0 else NotGranted
            if wanted is Granted:
                await rules.allow(admin, _CLIENT, target, scopes=("read",))
            else:
                await rules.deny(admin, _CLIENT, target)
            ended = time.perf_counter()
            while not isinstance(kdc.ticket(target)[0], wanted):
                pass
            found.append((time.perf_counter() - ended) * 1000)
    return median(found), max(found)


async def _change_on(folder: Path) -> None:
    """Changes rules of somebody else, until the process is ended."""
    async with _admin(folder) as admin:
        if await rules.listed(admin, client="host/1", target="host/0"):  # the one before was ended between two changes
            await rules.deny(admin, "host/1", "host/0")
        for number, _ in enumerate(iter(int, 1)):
            change = rules.deny if number % 2 else rules.allow
            await change(admin, "host/1", "host/0")
            await trio.sleep(1 / _CHANGES_PER_S)


@contextmanager
def _changing(folder: Path, *, changes: bool) -> Iterator[None]:
    if not changes:
        yield
        return
    command = [sys.executable, "-m", "workshop.bench.realm_load", str(folder)]
    with subprocess.Popen(command) as process:
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError("the admin who was to change rules meanwhile ended")
        finally:
            process.kill()


def _measured(folder: Path, keytab: Keytab, people: int, rows: int) -> list[Load]:
    kdc = _Kdc(folder, keytab)
    found: list[Load] = []
    try:
        in_force = trio.run(_in_force, folder, kdc)
        for changes in (False, True):
            with _changing(folder, changes=changes):
                time.sleep(1)
                taken: list[float] = []
                cpu = cpu_seconds(kdc.process.pid)
                for number in range(_REQUESTS):
                    result, ms = kdc.ticket(_TARGETS[number % len(_TARGETS)])
                    if not isinstance(result, Granted):
                        raise RuntimeError("a ticket was refused")
                    taken.append(ms)
                cpu = cpu_seconds(kdc.process.pid) - cpu
            found.append(
                Load(
                    rules=rows,
                    principals=people,
                    changes_per_s=_CHANGES_PER_S if changes else 0,
                    p50_ms=median(taken),
                    p99_ms=quantiles(taken, n=100)[98],
                    cpu_us=cpu / _REQUESTS * 1e6,
                    rss_mb=kdc.rss_mb(),
                    in_force_ms=in_force,
                    ready_s=kdc.ready_s,
                )
            )
    finally:
        kdc.stop()
    return found


def measure_realms(
    folder: Path, *, people: tuple[int, ...] = (1_000, 1_000_000), rows: tuple[int, ...] = (1_000, 10_000, 100_000)
) -> list[Load]:
    """Realms of each size in `folder`, with each number of rules, without changes and with ten in a second."""
    found: list[Load] = []
    for many in people:
        place = folder / str(many)
        keytab = trio.run(_found, place)
        for before, after in pairwise((0, *rows)):
            _fill(place, many, range(before, after))
            found += _measured(place, keytab, many, after)
    return found


def render_realms(found: list[Load]) -> str:
    """The table."""
    head = "  rules  principals  changes/s  p50 ms  p99 ms  CPU us  RSS MB  in force ms (longest)  ready s"
    return "\n".join([
        head,
        *(
            f"{one.rules:>7}  {one.principals:>10}  {one.changes_per_s:>9}  {one.p50_ms:>6.2f}  {one.p99_ms:>6.2f}"
            f"  {one.cpu_us:>6.0f}  {one.rss_mb:>6.0f}  {one.in_force_ms[0]:>11.0f} ({one.in_force_ms[1]:>7.0f})"
            f"  {one.ready_s:>7.1f}"
            for one in found
        ),
    ])  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(_change_on, Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="orthros-bench-") as name:
            print(render_realms(measure_realms(Path(name))))
