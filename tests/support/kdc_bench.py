"""A whole KDC service in memory, driven by the protocol's own client halves on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field

from orthros_kdc.admin import Admin, Fact, principals, realm
from orthros_kdc.audit.events import Event
from orthros_kdc.audit.receipts import KEPT, Receipt
from orthros_kdc.clock_guard import ClockGuard
from orthros_kdc.rate_limits import RateLimiter
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_kdc.realm.view import RealmView
from orthros_kdc.service.kdc_service import KdcService
from orthros_kdc.service.shell import Rates, Shell
from orthros_kdc.store.base import Transaction
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Unavailable
from orthros_protocol.exchanges.as_exchange import AsReply, build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import PendingTgs, TgsReply, build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import Granted, NotGranted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import AsKey
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.testing import CountingEntropy, ManualClock
from orthros_protocol.tickets.attenuation import join_caveats, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.evidence import Behalf
from tests.support.realm_views import PromptView
from tests.support.stores import scratch_store

REALM = "corp.test"


@define
class Ledger:
    """Audit events in memory, both the KDC's and the admin's; `full` makes it refuse as a full queue does."""

    events: list[Event] = field(factory=list)
    changes: list[str] = field(factory=list)
    full: bool = False

    def keep(self, event: Event) -> Receipt:
        if self.full:
            raise Unavailable("kdc-fault", "the audit queue is full")
        self.events.append(event)
        return KEPT

    def record_all(self, tx: Transaction, changes: Sequence[tuple[str, Mapping[str, Fact]]]) -> None:
        self.changes += [event for event, _ in changes]

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]


@define(eq=False)
class Login:
    """A client that has authenticated."""

    reply: AsReply

    @property
    def pop_key(self) -> bytes:
        return self.pop_key_behind(())

    def pop_key_behind(self, caveats: Sequence[bytes]) -> bytes:
        return pop_key_of(tail_after(tail_of(self.reply.session_key, self.reply.ticket), caveats))


@define(eq=False)
class KdcBench:
    """Use `await open_bench()`."""

    admin: Admin
    store: SqliteStore
    service: KdcService
    ledger: Ledger
    clock: ManualClock
    entropy: CountingEntropy
    keytabs: dict[str, Keytab] = field(factory=dict)
    address: str = "192.0.2.1"

    async def add(self, *names: str) -> None:
        for name in names:
            self.keytabs[name] = await principals.add(self.admin, name)

    def restart(self, *, burst: int = 10_000) -> None:
        """Another process of the same KDC: what was kept in memory alone is gone."""
        view = PromptView(self.store, self.admin.vault)
        self.service = service_over(view, self.ledger, self.clock, self.entropy, burst=burst)

    def as_key(self, name: str) -> AsKey:
        return self.keytabs[name].as_key()

    async def send(self, message: bytes, source: str = "192.0.2.1") -> bytes:
        return (await self.service.answer(message, source, self.address)).message

    async def log_in(self, name: str, *, service: str = KDC_TGT, ttl_s: int = 0, key: AsKey | None = None) -> Login:
        key = key or self.as_key(name)
        pending = build_as_request(
            key, service=service, ttl_s=ttl_s, instance=bytes(16), now=self.clock.now(), nonce=self.entropy(16)
        )
        return Login(open_as_reply(pending, key, await self.send(pending.message)))

    def tgs_request(
        self, login: Login, *wants: Want, behalf: Behalf | None = None, caveats: Sequence[bytes] = ()
    ) -> PendingTgs:
        return build_tgs_request(
            login.reply.ticket,
            login.pop_key_behind(caveats),
            wants,
            now=self.clock.now(),
            nonce=self.entropy(16),
            caveats=join_caveats(caveats),
            behalf=behalf,
        )

    async def ask(
        self, login: Login, *wants: Want, behalf: Behalf | None = None, caveats: Sequence[bytes] = ()
    ) -> TgsReply:
        pending = self.tgs_request(login, *wants, behalf=behalf, caveats=caveats)
        return open_tgs_reply(pending, await self.send(pending.message))

    async def ask_one(
        self,
        login: Login,
        target: str,
        *,
        behalf: Behalf | None = None,
        caveats: Sequence[bytes] = (),
        **want: Any,
    ) -> Granted | NotGranted:
        wanted = Want(target=Principal(REALM, target), **want)
        return (await self.ask(login, wanted, behalf=behalf, caveats=caveats)).results[0]


def service_over(
    view: RealmView,
    ledger: Ledger,
    clock: ManualClock,
    entropy: Callable[[int], bytes],
    *,
    burst: int = 10_000,
    guard: ClockGuard | None = None,
) -> KdcService:
    """A service that sees the realm through `view`."""
    return KdcService(view, shell_of(ledger, clock, entropy, burst=burst, guard=guard))


def shell_of(
    ledger: Ledger,
    clock: ManualClock,
    entropy: Callable[[int], bytes],
    *,
    burst: int = 10_000,
    guard: ClockGuard | None = None,
) -> Shell:
    """What the exchanges of one port share, with buckets of its own."""
    rates = Rates(
        sources=RateLimiter(per_s=1000, burst=burst),
        principals=RateLimiter(per_s=10, burst=burst),
        monotonic=lambda: (clock.now() if guard is None else guard.boot_ms()) / 1000,
    )
    now = clock.now if guard is None else guard.now
    return Shell(ledger.keep, rates, kdc_id="kdc-1", clock=now, entropy=entropy, guard=guard)


async def open_bench(*, burst: int = 10_000, guard: ClockGuard | None = None) -> KdcBench:
    """A founded realm `corp.test` without principals. With `guard`, the KDC's time and its rates are that guard's."""
    clock, entropy, ledger, store = ManualClock(), CountingEntropy(), Ledger(), scratch_store()
    vault = Vault(realm=REALM, master=MasterKey(entropy(32), number=1), entropy=entropy)
    admin = Admin(store=store, vault=vault, audit=ledger, now_ms=clock.now, actor="tester")
    await realm.init(admin)
    service = service_over(PromptView(store, vault), ledger, clock, entropy, burst=burst, guard=guard)
    return KdcBench(admin=admin, store=store, service=service, ledger=ledger, clock=clock, entropy=entropy)
