"""A realm at work, and what a fault does to it: calls with tickets in hand, logins, and changes by admins.

Losses are counted from what clients received: a ticket of which no line of the log tells, a change that was
acknowledged and is not there. Nothing else counts.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field

from orthros_client import Client
from orthros_protocol.errors import OrthrosError
from orthros_protocol.exchanges.as_exchange import PendingAs, build_as_request
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT
from tests.chaos.callers import Caller, Tally
from tests.chaos.faults import Outage
from tests.chaos.hosts import Executions, Service
from tests.chaos.street import Street
from tests.e2e.test_kdc_process import Caller as RawCaller
from tests.support.processes import Estate, Founded, eventually, open_estate
from workshop.stage import Outcome, Process

__all__ = ["AtWork", "Ground"]

_LIFE: Final = re.compile(rb'"ttl_s":([0-9]+)')
_CLIENTS: Final = 4
_AGAIN_S: Final = 0.05
_CHANGE_S: Final = 0.2
_LOGIN_S: Final = 0.01
# Several principals: what a KDC remembers of each has bounds.
_NAMES: Final = itertools.cycle(("spy", "orders", "ledger"))
_PER_SECOND: Final = 20.0
# The load comes from one address, and the faults are not about rates.
_RATES: Final = {
    f"ORTHROS_RATE_PER_{who}_{what}": "1000000" for who in ("SOURCE", "PRINCIPAL") for what in ("PER_S", "BURST")
}


class _Client(RawCaller):
    """Wants another life for each ticket, up to a day, so that each line of the log can be told from all others."""

    _lives: Final = itertools.cycle(range(60, 86_400))

    def ask(self) -> PendingAs:
        now, life = Timestamp(time.time_ns() // 1_000_000), next(self._lives)
        return build_as_request(
            self.key, service=KDC_TGT, ttl_s=life, instance=bytes(16), now=now, nonce=os.urandom(16)
        )


@define(eq=False)
class _Work:
    """Something that threads do again and again until it is stopped. `began` is when the newest thing began that was
    done with success, on the monotonic clock."""

    estate: Estate
    began: float = 0.0
    _ends: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)

    def start(self, threads: int = 1) -> None:
        self._threads = [threading.Thread(target=self.work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def work(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{type(self).__name__} does not end"


@define(eq=False)
class Logins(_Work):
    """Clients that log in again and again, and keep the life of every ticket that they were given."""

    received: list[int] = field(factory=list)
    refused: Counter[str] = field(factory=Counter)

    def until(self, more: int) -> None:
        """Returns when so many more tickets are there."""
        wanted = len(self.received) + more
        eventually(lambda: len(self.received) >= wanted, f"{more} more tickets")

    def until_refused(self) -> None:
        """Returns when a login is refused."""
        seen = self.refused.total()
        eventually(lambda: self.refused.total() > seen, "a login is refused")

    def work(self) -> None:
        while not self._ends.is_set():
            try:
                with _Client(self.estate, next(_NAMES)) as client:
                    while not self._ends.wait(_LOGIN_S):
                        began = time.monotonic()
                        self.received.append(client.log_in().ttl_s)
                        self.began = max(self.began, began)
            except OrthrosError as error:
                self.refused[error.code] += 1
                self._ends.wait(_AGAIN_S)
            except OSError:  # the KDC is gone; maybe it comes back
                self._ends.wait(_AGAIN_S)

    def unrecorded(self, *folders: Path) -> int:
        """How many tickets clients hold of which no line in these folders tells."""
        lines = [line for folder in folders for path in folder.glob("kdc-1.*jsonl*") for line in path.open("rb")]
        told = Counter(
            int(found[1]) for line in lines if b'"as-issued"' in line for found in [_LIFE.search(line)] if found
        )
        return (Counter(self.received) - told).total()


@define(eq=False)
class Changes(_Work):
    """An admin who adds one rule after the other, except while `held` is taken. `acknowledged` are the scopes of the
    rules that the command said it added, and `took_s` is how long the newest took, in seconds."""

    acknowledged: list[str] = field(factory=list)
    refused: list[Outcome] = field(factory=list)
    held: threading.Lock = field(factory=threading.Lock)
    took_s: float = 0.0
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1))

    def words(self) -> tuple[str, tuple[str, ...]]:
        """The scope of a new rule, and the command that adds the rule."""
        scope = f"c{next(self._numbers)}"
        config = str(self.estate.config)
        return scope, ("orthros-admin", "--config", config, "policy", "allow", "spy", "orders", "--scope", scope)

    def _make(self) -> None:
        began, (scope, words) = time.monotonic(), self.words()
        process = self.estate.stage.start("change", *words)
        assert process.ends(60), "orthros-admin does not end"
        outcome = Outcome(words, process.popen.returncode, process.text(), process.errors())
        if outcome.code == 0:
            self.acknowledged.append(scope)
            self.began = max(self.began, began)
            self.took_s = time.monotonic() - began
        else:
            self.refused.append(outcome)

    def work(self) -> None:
        while not self._ends.is_set():
            with self.held:
                self._make()
            self._ends.wait(_CHANGE_S)

    def until_refused(self) -> None:
        """Returns when a change is refused."""
        seen = len(self.refused)
        eventually(lambda: len(self.refused) > seen, "a change is refused")

    def there(self) -> set[str]:
        """The scopes of all rules that the database has."""
        rows = json.loads(self.estate.admin("--output json policy list --client spy").require().out)
        return {scope for row in rows for scope in row["scopes"]}

    def lost(self) -> int:
        """How many changes were acknowledged and are not there."""
        return len(set(self.acknowledged) - self.there())


@define(eq=False)
class Calls(_Work):
    """A process that calls `orders` with a ticket in hand; and, with `fresh`, one that asks the daemon before each."""

    port: int = 0
    fresh: bool = True
    tally: Tally = field(factory=Tally)

    def start(self, threads: int = 1) -> None:
        super().start(threads)
        eventually(lambda: self.tally.calls > 2 * _PER_SECOND / 10, "calls")

    def work(self) -> None:
        asks = threading.Thread(target=self._afresh, daemon=True)
        with Client(self.estate.folder / "shop.sock", 10.0) as client:
            caller = Caller(client, self.port)
            caller.call("GET", self.tally)
            asks.start()
            caller.paced(("GET", "POST"), self.tally, self._ends, _PER_SECOND)
            caller.close()
        asks.join()

    def _afresh(self) -> None:
        while self.fresh and not self._ends.wait(10 / _PER_SECOND):
            with Client(self.estate.folder / "shop.sock", 10.0) as client:
                began, failed = time.monotonic(), self.tally.failed
                caller = Caller(client, self.port)
                caller.call("GET", self.tally)
                caller.close()
                self.began = began if failed == self.tally.failed else self.began


@define(eq=False)
class AtWork:
    """A realm with everything that goes on in it. `away` are folders that hold parts of the log besides its own, and
    `missing` is what `audit verify` must find at the end."""

    estate: Estate
    executions: Executions
    outage: Outage
    service: Service
    logins: Logins
    changes: Changes
    calls: Calls
    environ: Mapping[str, str]
    away: list[Path] = field(factory=list)
    missing: set[str] = field(factory=set)

    @property
    def kdc(self) -> Process:
        assert self.estate.kdc is not None
        return self.estate.kdc

    @property
    def database(self) -> Path:
        return self.estate.folder / "kdc" / "kdc.db"

    @property
    def log(self) -> Path:
        """The folder of the log."""
        found = re.search(r'^directory = "(.+)"$', self.estate.config.read_text("utf-8"), re.MULTILINE)
        assert found is not None
        return Path(found[1])

    def start_kdc(self) -> Process:
        return self.estate.start_kdc(**self.environ)

    def end_of_kdc(self, code: str) -> None:
        """The KDC ends by itself, or does not start, with this code."""
        self.outage.check(self.kdc.ends(60), "the KDC does not end")
        self.outage.check(f"code: {code}" in self.kdc.errors(), f"the KDC's last words: {self.kdc.errors()[-300:]}")

    def refuses_to_start(self, code: str) -> None:
        """A start ends with this code, and nothing else."""
        told = self.estate.run(f"orthros-kdc serve --config {self.estate.config}", **self.environ)
        self.outage.check(told.code != 0 and f"code: {code}" in told.err, f"the KDC's start: {told.err[-300:]}")
        self.outage.check("Traceback" not in told.err, "the KDC's start ends with a traceback")

    def recovers(self, since: float, *works: _Work) -> None:
        """Waits until each of these, logins by default, has done with success what it began after `since`."""
        found = works or (self.logins,)
        eventually(lambda: all(work.began > since for work in found), "the realm works again")
        self.outage.recoveries.append(time.monotonic() - since)
        self.outage.runs += 1

    def problems(self) -> set[str]:
        """What `audit verify` finds wrong, if it says that something is."""
        also = " ".join(f"--also {folder}" for folder in self.away)
        told = self.estate.admin(f"--output json audit verify {also}")
        return {str(row["problem"]) for row in json.loads(told.out) if row["problem"]} if told.code else set()

    def settle(self) -> None:
        """Stops everything in good order, counts, and proves that database and log are whole."""
        for work in (self.changes, self.logins, self.calls):
            work.stop()
        outage = self.outage
        outage.check(self.kdc.stop(60) == 0, f"the KDC does not stop in good order: {self.kdc.errors()[-300:]}")
        outage.failed = self.calls.tally.failed
        outage.unrecorded = self.logins.unrecorded(self.log, *self.away)
        outage.lost = self.changes.lost()
        outage.notes.append(
            f"{len(self.logins.received)} tickets, {len(self.changes.acknowledged)} changes, {self.calls.tally.calls} "
            f"calls; refused: logins {dict(self.logins.refused)}, {len(self.changes.refused)} changes"
        )
        if self.calls.tally.failed:
            outage.notes.append(f"failed: {self.calls.tally}"[:600])
        outage.check(self.executions.doubled() == [], f"ran twice: {self.executions.doubled()[:3]}")
        outage.check(self.problems() == self.missing, f"audit verify says {self.problems()}")
        with closing(sqlite3.connect(self.database)) as database:
            found = database.execute("PRAGMA integrity_check").fetchall()
            outage.check(found == [("ok",)], f"the database is damaged: {found[:3]}")
            outage.check(not database.execute("PRAGMA foreign_key_check").fetchall(), "the database contradicts itself")


@define(eq=False)
class Ground:
    """A realm on disk, of which each fault gets a copy."""

    founded: Founded

    @contextmanager
    def at_work(
        self,
        outage: Outage,
        *,
        fresh: bool = True,
        prepare: Callable[[Estate], AbstractContextManager[None]] | None = None,
        **environ: str,
    ) -> Iterator[AtWork]:
        """Everything runs. `fresh`: some calls ask the daemon first; `prepare` is entered before the KDC starts;
        `environ` is the KDC's. When the block ends, all stops in good order, and is counted."""
        with open_estate(self.founded) as estate, ExitStack() as stack:
            if prepare is not None:
                stack.enter_context(prepare(estate))
            environ = {**_RATES, **environ}
            estate.start_kdc(**environ)
            estate.start_daemon()
            executions = Executions(estate.folder / "executed")
            street = stack.enter_context(Street(estate, executions).scene())
            service = street.service(street.host(), "gunicorn", options="-k gthread --threads 8")
            logins, changes = Logins(estate), Changes(estate)
            calls = Calls(estate, port=service.port, fresh=fresh)
            calls.start()
            logins.start(_CLIENTS)
            changes.start()
            logins.until(50)
            at_work = AtWork(estate, executions, outage, service, logins, changes, calls, environ)
            try:
                yield at_work
                at_work.settle()
            finally:
                for work in (changes, logins, calls):
                    work.stop()
