"""A rewrap under a KDC that goes on issuing, and one that is killed in the middle."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import evolve

from orthros_kdc.admin import Admin, keys, master_keys
from orthros_kdc.audit import KEPT, Receipt
from orthros_kdc.audit.events import Event
from orthros_kdc.rate_limits import RateLimiter
from orthros_kdc.realm.vault import Vault, open_vault
from orthros_kdc.service.kdc_service import KdcService
from orthros_kdc.service.shell import Rates, Shell
from orthros_protocol.errors import Misconfigured
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import Granted, Want
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.presented import open_presented
from tests.support.master_keys import BOTH, NEXT, OLD, Between, secrets
from tests.support.realm_views import PromptView

pytestmark = pytest.mark.parity("K13")


class Client:
    """billing, who logs in at a KDC and obtains a ticket and a JWT."""

    def __init__(self, admin: Admin, vault: Vault, clock) -> None:
        bucket = RateLimiter(per_s=1_000_000, burst=1_000_000)
        self.events: list[Event] = []
        self.clock = clock
        rates = Rates(sources=bucket, principals=bucket, monotonic=time.monotonic)
        shell = Shell(self._keep, rates, kdc_id="kdc-1", clock=clock, entropy=os.urandom)
        self.service = KdcService(PromptView(admin.store, vault), shell)

    def _keep(self, event: Event) -> Receipt:
        self.events.append(event)
        return KEPT

    async def log_in(self, key):
        asked = build_as_request(
            key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=self.clock(), nonce=os.urandom(16)
        )
        return open_as_reply(asked, key, (await self.service.answer(asked.message, "192.0.2.1")).message)

    async def obtain(self, login):
        pop_key = pop_key_of(tail_of(login.session_key, login.ticket))
        wants = [Want(target=Principal("example.org", "orders")), Want(target=Principal("example.org", "payroll"))]
        asked = build_tgs_request(login.ticket, pop_key, wants, now=self.clock(), nonce=os.urandom(16))
        reply = open_tgs_reply(asked, (await self.service.answer(asked.message, "192.0.2.1")).message)
        assert [type(result) for result in reply.results] == [Granted, Granted]
        return reply.results[0]


async def test_a_kdc_with_both_keys_issues_before_during_and_after(ready, store, clock):
    billing, orders = (await keys.export(ready, "billing")).as_key(), await keys.export(ready, "orders")
    kdc = Client(ready, BOTH, clock)
    early = await kdc.log_in(billing)
    rounds = []

    async def work():
        ticket = await kdc.obtain(early)
        assert open_presented(ticket.credential, b"", orders).ticket.client.name == "billing"
        await kdc.obtain(await kdc.log_in(billing))
        rounds.append(1)

    await work()
    await master_keys.rewrap(evolve(ready, store=Between(store, work)), batch=1)
    await work()
    assert len(rounds) > 6
    restarted = Client(ready, await open_vault(store, NEXT), clock)
    await restarted.obtain(early)
    assert {event.name for event in kdc.events} <= {"as-issued", "tgs-issued"}


VICTIM = """
import sys
from pathlib import Path
import trio
from orthros_kdc.admin import Admin, master_keys
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.realm.master_key import load_master_key
from orthros_kdc.store.sqlite import SqliteStore
from orthros_kdc.realm.vault import open_vault

class Stopping:
    def __init__(self, store, at, where):
        self.store, self.left, self.where = store, at, where
    def stop(self):
        print("now", flush=True)
        sys.stdin.read()
    async def change(self, work):
        self.left -= 1
        def stopping(tx):
            outcome = work(tx)
            if self.left == 0 and self.where == "inside":
                self.stop()
            return outcome
        outcome = await self.store.change(stopping)
        if self.left == 0:
            self.stop()
        return outcome

async def main(folder, at, where):
    old, new = (load_master_key(Path(folder) / name, environ={}) for name in ("old.key", "new.key"))
    store = SqliteStore.open(Path(folder) / "realm.sqlite3")
    vault = await open_vault(store, old, new)
    admin = Admin(store=Stopping(store, int(at), where), vault=vault, audit=AdminAuditLog(),
                  now_ms=lambda: 1_800_000_000_000, actor="ops/ada")
    await master_keys.rewrap(admin, batch=1)

trio.run(main, *sys.argv[1:])
"""
LAST = 7  # the beginning, a page for each of four principals and one that finds no more, the end


def kill_in_the_middle(folder: Path, at: int, where: str) -> None:
    """SIGKILL in the `at`th transaction of a rewrap: `inside`, before its commit, or right `behind` it."""
    words = [sys.executable, "-c", VICTIM, str(folder), str(at), where]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        said = victim.stdout.readline()
        victim.kill()
        victim.communicate()
    assert said == "now\n"


@pytest.mark.parametrize("where", ["inside", "behind"])
@pytest.mark.parametrize("at", [1, 3, LAST])
async def test_kill_9_in_the_middle_leaves_what_both_keys_open_and_another_run_finishes(
    ready, store, tmp_path, at, where
):
    for name, key in (("old.key", OLD), ("new.key", NEXT)):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(f"{key.to_text()}\n")
    before = await secrets(store, BOTH)
    kill_in_the_middle(tmp_path, at, where)
    is_over = (at, where) == (LAST, "behind")
    begun = (at, where) != (1, "inside")
    assert await secrets(store, await open_vault(store, OLD, NEXT)) == before
    if begun:
        with pytest.raises(Misconfigured, match="master-key-wrong"):
            await open_vault(store, OLD)
    if not is_over:
        with pytest.raises(Misconfigured, match="master-key-wrong"):
            await open_vault(store, NEXT)
        await master_keys.rewrap(ready)
    assert await secrets(store, await open_vault(store, NEXT)) == before
    assert set(await secrets(store, Vault(realm="example.org", master=OLD))) == {"master-key-wrong"}
