"""Reports of refusals, renewing and forgetting at the daemon's desk, on turned clocks; and what a local user can do to
others with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attrs import define, evolve

from orthros_client.daemon.listeners.allow_list import Allowance, AllowList, AllowRule
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.tickets.refreshing import Refreshing
from orthros_client.errors import Failure
from orthros_client.local.api.values import (
    AnyRequest,
    CredentialGrant,
    ForgetRequest,
    Forgotten,
    Op,
    Renewed,
    RenewRequest,
    Reply,
    Reported,
    ReportOutcome,
    ReportRequest,
    WantRequest,
)
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.evidence import Behalf
from orthros_runtime.serving.peers import Peer
from tests.client.world import World, elapse, evidence_of, open_world

A = "tcp://kdc-a:1"
OWN, ALICE, BOB, STRANGER = 500, 1001, 1002, 1003
ORDERS = Principal("test.realm", "orders")


@define
class Counter:
    """A desk, and what its local users ask."""

    world: World
    desk: LocalApi

    async def ask(self, request: AnyRequest, uid: int = ALICE) -> Reply:
        return await self.desk.answer(Peer(pid=1, uid=uid, gids=frozenset()), request)

    async def grant(
        self, target: str = "orders", *scopes: str, uid: int = ALICE, behalf: Behalf | None = None
    ) -> CredentialGrant:
        reply = await self.ask(WantRequest(op=Op.TICKET, target=target, scopes=scopes or None, behalf=behalf), uid)
        assert isinstance(reply, CredentialGrant), reply
        return reply

    async def report(self, grant: CredentialGrant, code: str = "insufficient-scope", *, uid: int = ALICE) -> Reply:
        named = digest(grant.credential.ticket)
        return await self.ask(ReportRequest(target=grant.credential.target, ticket=named, code=code, time=0), uid)

    async def outcome(
        self, grant: CredentialGrant, code: str = "insufficient-scope", *, uid: int = ALICE
    ) -> ReportOutcome:
        reply = await self.report(grant, code, uid=uid)
        assert isinstance(reply, Reported), reply
        return reply.outcome

    @property
    def asked(self) -> int:
        """How often the KDC was asked."""
        return self.world.realm.handled


@asynccontextmanager
async def open_counter() -> AsyncIterator[Counter]:
    """Alice and bob may use orders, alice billing and ledger as well."""
    targets = {ALICE: ("orders", "billing", "ledger"), BOB: ("orders",)}
    async with open_world() as world:
        rules = [
            AllowRule(uid=uid, targets=frozenset(map(world.realm.principal, names))) for uid, names in targets.items()
        ]
        yield Counter(world, LocalApi(world.agent, world.clock, AllowList(OWN, tuple(rules))))


@pytest.mark.parity("O3")
async def test_a_new_scope_is_here_when_the_report_is_answered(autojump_clock: trio.testing.MockClock) -> None:
    """The next question of anybody gets it, without a restart."""
    async with open_counter() as counter:
        old = await counter.grant()
        counter.world.realm.allow("web", "orders", "read", "write", "refund")
        assert (await counter.grant()).credential.ticket == old.credential.ticket
        assert await counter.outcome(old) is ReportOutcome.RENEWED
        assert (await counter.grant(uid=BOB)).credential.scopes == ("read", "write", "refund")


async def test_without_a_new_rule_the_report_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        old = await counter.grant()
        assert await counter.outcome(old) is ReportOutcome.UNCHANGED
        again = await counter.grant()
        assert again.credential.scopes == old.credential.scopes
        assert await counter.outcome(again) is ReportOutcome.LATER


@pytest.mark.parity("O3")
async def test_the_kdc_is_asked_once_in_ten_seconds(autojump_clock: trio.testing.MockClock) -> None:
    """A loop of refused calls; what is reported meanwhile is asked for when the interval ends."""
    async with open_counter() as counter:
        await counter.grant()
        asked = counter.asked
        for _ in range(590):  # of a minute
            await counter.report(await counter.grant())
            await elapse(0.1)
        assert counter.asked - asked == 6
        await elapse(1.1)
        counter.world.realm.allow("web", "orders", "read", "write", "refund")
        reply = await counter.report(await counter.grant())
        assert isinstance(reply, Reported)
        assert reply.outcome is ReportOutcome.LATER
        assert 0 < reply.retry_s <= 10
        await elapse(reply.retry_s)
        assert "refund" in (await counter.grant()).credential.scopes


async def test_the_answer_tells_clients_when_to_ask_again(autojump_clock: trio.testing.MockClock) -> None:
    """A process keeps a ticket for as long as asking again is pointless: not past the moment that is planned."""
    async with open_counter() as counter:
        first = await counter.grant()
        assert first.fresh_ms > 1_800_000
        await counter.report(first)
        await counter.report(await counter.grant())
        assert (await counter.grant()).fresh_ms <= 10_000


async def test_the_old_ticket_serves_while_the_kdc_hangs(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        old = await counter.grant()
        counter.world.network.moods[A] = "hanging"
        before = trio.current_time()
        assert await counter.outcome(old) is ReportOutcome.LATER
        assert trio.current_time() - before <= 2.0
        assert (await counter.grant()).credential.ticket == old.credential.ticket
        counter.world.network.moods[A] = "up"
        counter.world.realm.allow("web", "orders", "refund")
        await elapse(60)
        assert (await counter.grant()).credential.scopes == ("refund",)


async def test_while_the_kdc_is_away_a_report_is_answered_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        old = await counter.grant()
        counter.world.network.moods[A] = "down"
        with trio.move_on_after(60):
            while not counter.world.agent.backoff.failures:
                await counter.ask(WantRequest(op=Op.TICKET, target="orders", scopes=("read",), timeout_ms=1))
        before = trio.current_time()
        await counter.report(old)
        assert trio.current_time() == before
        assert (await counter.grant()).credential.ticket == old.credential.ticket


@pytest.mark.parametrize("left", [("read",), ()])
async def test_a_worse_ticket_does_not_replace_the_old_one(
    left: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    """The old one is good until its end; the planned renewal brings the smaller one."""
    async with open_counter() as counter:
        old = await counter.grant()
        counter.world.realm.allow("web", "orders", *left)
        assert await counter.outcome(old) is ReportOutcome.UNCHANGED
        assert (await counter.grant()).credential.ticket == old.credential.ticket
        await elapse(0.85 * 3600)
        await counter.grant()
        await elapse(1)
        assert (await counter.grant()).credential.scopes == left


async def test_a_rule_that_is_gone_takes_nothing_away_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """The KDC refuses: the ticket stays, and its refusal makes nobody ask again before the planned renewal."""
    async with open_counter() as counter:
        old = await counter.grant()
        counter.world.realm.deny("web", "orders")
        assert await counter.outcome(old) is ReportOutcome.FAILED
        asked = counter.asked
        await elapse(600)
        assert (await counter.grant()).credential.ticket == old.credential.ticket
        assert counter.asked == asked


@pytest.mark.parametrize("code", ["clock-skew", "ticket-times-invalid", "ticket-expired", "revoked"])
async def test_a_refusal_of_the_whole_ticket_brings_another_one(
    code: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever it allows: the old one is refused as a whole. The reply measures the clock, too."""
    async with open_counter() as counter:
        old = await counter.grant()
        counter.world.realm.allow("web", "orders", "read")
        counter.world.clock.wrong_ms = 700
        assert await counter.outcome(old, code) is ReportOutcome.RENEWED
        new = await counter.grant()
        assert new.credential.ticket != old.credential.ticket
        assert (new.credential.scopes, new.offset_ms) == (("read",), -700)


async def test_a_report_of_a_ticket_that_has_a_successor_asks_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        old = await counter.grant()
        await counter.report(old, "revoked")
        asked = counter.asked
        assert await counter.outcome(old) is ReportOutcome.RENEWED
        assert counter.asked == asked


async def test_on_behalf_of_a_caller_the_next_question_brings_it(autojump_clock: trio.testing.MockClock) -> None:
    """The daemon keeps no evidence, so it asks when it is shown again; the old ticket serves if that fails."""
    async with open_counter() as counter:
        realm = counter.world.realm
        behalf = evidence_of(realm, "shop")
        old = await counter.grant("ledger", behalf=behalf)
        assert await counter.outcome(old) is ReportOutcome.LATER
        realm.allow("web", "ledger", "post", "refund", behalf=True)
        new = await counter.grant("ledger", behalf=behalf)
        assert new.credential.scopes == ("post", "refund")
        assert new.credential.subject == old.credential.subject
        await elapse(11)
        realm.deny("web", "ledger")
        await counter.report(new)
        assert (await counter.grant("ledger", behalf=behalf)).credential.ticket == new.credential.ticket


async def test_a_user_cannot_report_what_others_were_given(autojump_clock: trio.testing.MockClock) -> None:
    """Attack: bob heard of alice's ticket, or makes one up. Nothing is asked, and he learns nothing from the answer."""
    async with open_counter() as counter:
        hers = await counter.grant()
        hers_at_billing = await counter.grant("billing")
        asked = counter.asked
        made_up = hers.altered(credential=evolve(hers.credential, ticket=b"x" * 90))
        assert await counter.report(hers, uid=BOB) == await counter.report(made_up, uid=BOB)
        assert await counter.outcome(hers, uid=BOB) is ReportOutcome.IGNORED
        for grant, uid in ((hers_at_billing, BOB), (hers, STRANGER)):
            refused = await counter.report(grant, uid=uid)
            assert isinstance(refused, Failure)
            assert refused.reason.name == "peer-not-allowed"
        assert counter.asked == asked


async def test_who_was_given_a_ticket_cannot_report_its_successor(autojump_clock: trio.testing.MockClock) -> None:
    """A report is believed of the very ticket alone that this user was given."""
    async with open_counter() as counter:
        await counter.grant(uid=BOB)
        assert isinstance(await counter.ask(RenewRequest(target="orders")), Renewed)
        hers = await counter.grant()
        assert await counter.outcome(hers, uid=BOB) is ReportOutcome.IGNORED


async def test_a_report_names_the_target_that_the_ticket_is_for(autojump_clock: trio.testing.MockClock) -> None:
    """Attack: the allow-list is about the target, so no other may be named."""
    async with open_counter() as counter:
        grant = await counter.grant("billing")
        asked = counter.asked
        request = ReportRequest(target=ORDERS, ticket=digest(grant.credential.ticket), code="revoked", time=0)
        assert await counter.ask(request) == Reported(outcome=ReportOutcome.IGNORED)
        assert counter.asked == asked


async def test_a_flood_of_reports_reaches_neither_the_kdc_nor_others(autojump_clock: trio.testing.MockClock) -> None:
    """Attack: 32 at once and 2 a second for each user, whatever they are about; bob's report is heard meanwhile."""
    async with open_counter() as counter:
        his = await counter.grant("orders", "read", uid=BOB)
        hers = [await counter.grant("orders"), await counter.grant("billing")]
        asked = counter.asked
        replies = [await counter.report(hers[number % 2]) for number in range(500)]
        limited = [one for one in replies if isinstance(one, Failure)]
        assert {one.reason.name for one in limited} == {"rate-limited"}
        assert len(replies) - len(limited) == 32
        assert counter.asked - asked == 2
        counter.world.realm.allow("web", "orders", "read", "write", "refund")
        assert await counter.outcome(his, uid=BOB) is ReportOutcome.LATER
        await elapse(10)
        assert (await counter.grant()).credential.scopes == (
            "read",
            "write",
        )  # only what is reported is asked for again
        assert len(counter.world.agent.renewals) == 0


async def test_many_tickets_for_one_target_are_one_request(autojump_clock: trio.testing.MockClock) -> None:
    """Attack: a user holds many tickets for one target and reports them all."""
    async with open_counter() as counter:
        counter.world.realm.allow("web", "orders", *[f"s{number:02}" for number in range(30)])
        grants = [await counter.grant("orders", f"s{number:02}") for number in range(30)]
        asked = counter.asked
        async with trio.open_nursery() as nursery:
            for grant in grants:
                nursery.start_soon(counter.report, grant)
        assert counter.asked - asked == 1


async def test_renewing_says_what_became_of_each(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        await counter.grant()
        await counter.grant("orders", "write")
        counter.world.realm.allow("web", "orders", "read")
        reply = await counter.ask(RenewRequest(target="orders"))
        assert isinstance(reply, Renewed)
        found = {one.entry.asked: (one.entry.scopes, one.failure and one.failure.reason.name) for one in reply.renewals}
        assert found == {None: (("read",), None), ("write",): (("write",), "no-scope-left")}
        assert (await counter.grant()).credential.scopes == ("read",)
        assert (await counter.grant("orders", "write")).credential.scopes == ("write",)


async def test_renewing_is_for_targets_that_the_user_may_use(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        await counter.grant("billing")
        asked = counter.asked
        for target, uid, code in (("billing", BOB, "peer-not-allowed"), ("ledger", ALICE, "not-found")):
            reply = await counter.ask(RenewRequest(target=target), uid)
            assert isinstance(reply, Failure)
            assert reply.reason.name == code
        assert counter.asked == asked


async def test_nobody_makes_the_daemon_ask_without_limit(autojump_clock: trio.testing.MockClock) -> None:
    """Attack: renewing and forgetting in a loop. Each user has one allowance for everything that asks the KDC."""
    async with open_counter() as counter:
        counter.desk.allowance = counter.desk.held.allowance = Allowance(per_s=1.0, burst=10.0)
        await counter.grant(uid=BOB)
        asked = counter.asked
        for _ in range(100):
            await counter.ask(RenewRequest(target="orders"), BOB)
            await counter.ask(ForgetRequest(target="orders"), BOB)
            await counter.ask(WantRequest(op=Op.TICKET, target="orders"), BOB)
        assert counter.asked - asked <= 10


async def test_a_user_forgets_only_what_nobody_else_was_given(autojump_clock: trio.testing.MockClock) -> None:
    """Attack: while the KDC is away, bob takes away what alice works with."""
    async with open_counter() as counter:
        await counter.grant()
        await counter.grant(uid=BOB)
        await counter.grant("orders", "read", uid=BOB)
        await counter.grant("billing")
        assert await counter.ask(ForgetRequest(target=None), BOB) == Forgotten(dropped=1, kept=1)
        counter.world.network.moods[A] = "down"
        await counter.grant()
        refused = await counter.ask(ForgetRequest(target="billing"), BOB)
        assert isinstance(refused, Failure)
        assert refused.reason.name == "peer-not-allowed"
        assert await counter.ask(ForgetRequest(target=None), OWN) == Forgotten(dropped=2, kept=0)
        assert len(counter.world.agent.cache) == 0


async def test_who_was_given_a_ticket_uses_its_successor_as_well(autojump_clock: trio.testing.MockClock) -> None:
    """Attack: bob renews first, so that only he was given what alice works with."""
    async with open_counter() as counter:
        await counter.grant()
        await counter.grant(uid=BOB)
        assert isinstance(await counter.ask(RenewRequest(target="orders"), BOB), Renewed)
        await counter.grant(uid=BOB)
        assert await counter.ask(ForgetRequest(target=None), BOB) == Forgotten(dropped=0, kept=1)


async def test_what_a_cache_file_held_may_be_anybodys(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        await counter.grant(uid=BOB)
        agent = counter.world.agent
        Refreshing(agent).revive(list(agent.cache.entries(agent.clock.elapsed_s())), 1)
        assert await counter.ask(ForgetRequest(target=None), BOB) == Forgotten(dropped=0, kept=1)


async def test_forgetting_reaches_what_is_on_behalf_of_callers(autojump_clock: trio.testing.MockClock) -> None:
    async with open_counter() as counter:
        await counter.grant("ledger", behalf=evidence_of(counter.world.realm, "shop"))
        await counter.grant("ledger", behalf=evidence_of(counter.world.realm, "kiosk"), uid=OWN)
        assert await counter.ask(ForgetRequest(target="ledger")) == Forgotten(dropped=1, kept=1)
        assert await counter.ask(ForgetRequest(target="ledger"), OWN) == Forgotten(dropped=1, kept=0)
        assert len(counter.world.agent.on_behalf) == 0


async def test_a_refusal_that_is_remembered_ends_with_renewing(autojump_clock: trio.testing.MockClock) -> None:
    """After `policy allow`, `orthros renew` also makes the daemon ask for what it has just been refused."""
    async with open_counter() as counter:
        counter.world.realm.deny("web", "orders")
        refused = await counter.ask(WantRequest(op=Op.TICKET, target="orders"))
        assert isinstance(refused, Failure)
        counter.world.realm.allow("web", "orders", "read")
        await counter.ask(RenewRequest(target="orders"))
        assert (await counter.grant()).credential.scopes == ("read",)
