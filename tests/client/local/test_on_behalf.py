"""Tickets on behalf of callers: whose they are, who gets them, and what bad evidence costs everybody else."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve

from orthros_client.daemon.listeners.allow_list import AllowRule
from orthros_client.daemon.tickets.cache import HeldCredential, TicketCache
from orthros_client.daemon.tickets.persistence import CacheStore
from orthros_client.errors import Failure, LocalMisuse
from orthros_client.local.api.values import CredentialGrant, Listing, ListRequest, Op, Reply, WantRequest
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing import CountingEntropy
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import ExpiresCaveat, MethodsCaveat, ScopesCaveat
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from orthros_protocol.tickets.ticket import BY_ASSERTION, BY_EVIDENCE
from orthros_runtime.serving.peers import Peer
from tests.client.house import NOBODY, House, open_house
from tests.client.world import World, elapse, evidence_of, open_world

LEDGER = Principal("test.realm", "ledger")
ORDERS = Principal("test.realm", "orders")
GUEST = Peer(NOBODY, frozenset())


async def obtain(world: World, behalf: Behalf | None, target: str = "ledger", *scopes: str) -> HeldCredential:
    key = world.key(target, *scopes) if behalf is None else world.on_behalf(behalf, target, *scopes)
    return await world.agent.obtain(key, timeout_s=10, behalf=behalf)


@pytest.mark.parity("L23")
async def test_a_ticket_on_behalf_names_its_caller_and_the_chain(autojump_clock: trio.testing.MockClock) -> None:
    """Evidence that this service opened; the target sees for whom and through whom."""
    async with open_world() as world:
        ticket = world.opened(await obtain(world, evidence_of(world.realm, "shop")))
        assert (ticket.client.name, [hop.principal.name for hop in ticket.chain]) == ("web", ["shop"])
        assert ticket.subject is not None
        assert (ticket.subject.principal.name, ticket.subject.how) == ("shop", BY_EVIDENCE)


@pytest.mark.parity("L23")
async def test_two_callers_at_once_never_swap_tickets(autojump_clock: trio.testing.MockClock) -> None:
    """40 questions on behalf of 20 calls, and own ones between them, all at the same moment."""
    async with open_world() as world:
        world.realm.allow("web", "orders", "read", behalf=True)
        cases: list[tuple[str | None, HeldCredential]] = []

        async def one(caller: str | None, behalf: Behalf | None, target: str) -> None:
            cases.append((caller, await obtain(world, behalf, target)))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                caller = ("shop", "kiosk")[number % 2]
                behalf = evidence_of(world.realm, caller)
                for target in ("ledger", "orders"):
                    nursery.start_soon(one, caller, behalf, target)
                    nursery.start_soon(one, None, None, target)
        for whose, held in cases:
            subject = world.opened(held).subject
            assert (None if subject is None else subject.principal.name) == whose
        assert len(cases) == 80
        # A login, one request for everybody's own tickets, and one for each piece of evidence.
        assert world.realm.handled == 1 + 1 + 20


@pytest.mark.parity("K5")
async def test_nobody_gets_what_was_obtained_for_somebody_else(autojump_clock: trio.testing.MockClock) -> None:
    """Not for an own call, not for other evidence of the same caller, not for other caveats or scopes."""
    async with open_world() as world:
        first = evidence_of(world.realm, "shop")
        limited = evolve(first, caveats=evidence_of(world.realm, "shop", caveats=[ScopesCaveat(("post",))]).caveats)
        questions = [
            None,
            first,
            evidence_of(world.realm, "shop"),
            limited,
            Behalf(subject=Principal.parse("alice@test.realm")),
        ]
        helds = [await obtain(world, behalf) for behalf in questions]
        assert len({held.credential.ticket for held in helds}) == len(questions)
        handled = world.realm.handled
        again = [await obtain(world, behalf) for behalf in questions]
        assert [held.credential.ticket for held in again] == [held.credential.ticket for held in helds]
        assert world.realm.handled == handled


@pytest.mark.parity("K5")
async def test_a_question_cannot_claim_a_lineage_that_it_does_not_prove(autojump_clock: trio.testing.MockClock) -> None:
    """A fault of the daemon's own code would be needed, and is stopped here."""
    async with open_world() as world:
        behalf = evidence_of(world.realm, "shop")
        await obtain(world, behalf)
        for claimed, shown in ((world.on_behalf(behalf, "ledger"), None), (world.key("ledger"), behalf)):
            with pytest.raises(LocalMisuse, match="wrong-state"):
                await world.agent.obtain(claimed, timeout_s=1, behalf=shown)


@pytest.mark.parity("B7")
async def test_the_proof_is_gone_when_the_answer_is_there(autojump_clock: trio.testing.MockClock) -> None:
    """The daemon keeps what it obtained, not what it was shown; so nothing is renewed ahead either."""
    async with open_world() as world:
        behalf = evidence_of(world.realm, "shop")
        shown = weakref.ref(behalf)
        held = await obtain(world, behalf)
        key = held.key
        del behalf, held
        gc.collect()
        assert shown() is None
        await elapse(0.9 * 3600)
        handled = world.realm.handled
        assert world.agent.on_behalf.get(key, trio.current_time()) is not None
        await elapse(0.2 * 3600)
        assert world.agent.on_behalf.get(key, trio.current_time()) is None
        assert world.realm.handled == handled


@pytest.mark.parity("B7")
async def test_nothing_on_behalf_of_others_is_written_to_disk(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """Nor is a ticket whose demands the file has no place for."""
    async with open_world() as world:
        world.realm.allow("web", "billing", "charge", discharges=[("orders", "paid")])
        for behalf, target in ((None, "orders"), (None, "billing"), (evidence_of(world.realm, "shop"), "ledger")):
            await obtain(world, behalf, target)
        store = CacheStore(str(tmp_path / "cache"), world.agent, world.clock, CountingEntropy())
        store.save()
        world.agent.cache = TicketCache()
        assert store.load() == 1
        assert [held.key.target for held in world.agent.cache.entries(trio.current_time())] == [ORDERS]


@pytest.mark.parity("K5")
async def test_callers_do_not_push_out_the_daemons_own_tickets(autojump_clock: trio.testing.MockClock) -> None:
    """Bounded, each in its own place."""
    async with open_world() as world:
        world.agent.on_behalf = TicketCache(16)
        own = await obtain(world, None, "orders")
        for number in range(50):
            await obtain(world, evidence_of(world.realm, ("shop", "kiosk")[number % 2]))
        assert len(world.agent.on_behalf) == 16
        handled = world.realm.handled
        assert (await obtain(world, None, "orders")) is own
        assert world.realm.handled == handled


@pytest.mark.parity("K6")
@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"lifetime_s": 1}, "evidence-refused"),
        ({"flags": 0}, "evidence-refused"),
        ({"caveats": [MethodsCaveat(("GET",))]}, "caveat-not-carried"),
        ("proof", "unauthenticated-refusal"),
    ],
)
async def test_bad_evidence_is_its_owners_trouble_alone(
    autojump_clock: trio.testing.MockClock, bad: object, code: str
) -> None:
    """Whole refusals, sealed or not, make neither other callers wait nor the daemon doubt its login."""
    async with open_world() as world:
        behalf = evidence_of(world.realm, "shop", **(bad if isinstance(bad, dict) else {}))
        if bad == "proof":
            behalf = evolve(behalf, proof=bytes(32))
        await obtain(world, None, "orders")
        await elapse(2)
        handled = world.realm.handled
        outcomes: dict[str, str] = {}

        async def one(name: str, shown: Behalf) -> None:
            outcomes[name] = await world.outcome(world.on_behalf(shown, "ledger"), behalf=shown)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "bad", behalf)
            nursery.start_soon(one, "good", evidence_of(world.realm, "kiosk"))
        assert outcomes == {"bad": code, "good": "held"}
        assert world.realm.handled == handled + 2
        for _ in range(20):
            await one("bad", behalf)
        assert outcomes["bad"] == code
        assert world.realm.handled == handled + 2
        assert await world.outcome(world.key("billing"), timeout_s=0.1) == "held"
        assert world.realm.handled == handled + 3
        assert await world.agent.not_ready_because(timeout_s=0.1) is None
        await elapse(5)
        await one("bad", behalf)
        assert world.realm.handled == handled + 4


@pytest.mark.parity("K6")
async def test_what_the_kdc_says_of_the_client_counts_for_everybody(autojump_clock: trio.testing.MockClock) -> None:
    """A disabled principal backs off as a whole, also where the question was on behalf of somebody."""
    async with open_world() as world:
        await obtain(world, None, "orders")
        world.realm.disable("web")
        behalf = evidence_of(world.realm, "shop")
        assert await world.outcome(world.on_behalf(behalf, "ledger"), behalf=behalf) == "principal-disabled"
        assert await world.outcome(world.key("billing"), timeout_s=0.1) == "principal-disabled"


@pytest.mark.parity("K5")
async def test_refusals_are_remembered_for_whom_they_were_said(autojump_clock: trio.testing.MockClock) -> None:
    """One caller's refusal is not the next one's, and no own call's."""
    async with open_world() as world:
        world.realm.allow("web", "orders", "read")
        behalf, other = evidence_of(world.realm, "shop"), evidence_of(world.realm, "shop")
        key = world.on_behalf(behalf, "orders")
        assert await world.outcome(key, behalf=behalf) == "subject-refused"
        world.realm.allow("web", "orders", "read", behalf=True)
        assert await world.outcome(key, behalf=behalf) == "subject-refused"
        assert await world.outcome(world.on_behalf(other, "orders"), behalf=other) == "held"
        assert await world.outcome(world.key("orders")) == "held"


@pytest.mark.parity("L15", "B4")
async def test_what_comes_after_a_caller_is_never_more_than_the_caller_had(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Scopes and end of what was shown pass on, also those that its holder added."""
    async with open_world() as world:
        world.realm.allow("web", "ledger", "post", "read", behalf=True)
        soon = seconds_of(world.realm.clock.now()) + 100
        behalf = evidence_of(world.realm, "shop", caveats=[ScopesCaveat(("read",)), ExpiresCaveat(soon)])
        ticket = world.opened(await obtain(world, behalf))
        assert ticket.scopes == ("read",)
        assert ticket.exp <= soon


def want(behalf: Behalf | None, target: str = "ledger", subject: str | None = None) -> WantRequest:
    return WantRequest(op=Op.TICKET, target=target, behalf=behalf, subject=subject)


def code_of(reply: Reply) -> str:
    return reply.reason.name if isinstance(reply, Failure) else type(reply).__name__


@pytest.mark.parity("B4")
async def test_sniffed_evidence_is_worth_nothing_at_the_desk() -> None:
    """Another process saw the ticket on its way and asks for what was obtained with it; the KDC is not asked."""
    async with open_house(rules=(AllowRule(uid=NOBODY, targets=frozenset({LEDGER})),)) as house:
        behalf = evidence_of(house.world.realm, "shop")
        assert code_of(await house.desk.answer(GUEST, want(behalf))) == "CredentialGrant"
        handled = house.world.realm.handled
        foreign = house.world.realm.issue("shop", "kiosk", flags=2)
        for sniffed in (
            evolve(behalf, proof=bytes(32)),
            evolve(behalf, caveats=b"\x91\xc4\x03abc"),
            Behalf(evidence=foreign.ticket, proof=evidence_proof(foreign.session_key, foreign.ticket)),
            Behalf(evidence=bytes(64), proof=bytes(32)),
            Behalf(evidence=behalf.evidence, proof=house.world.realm.root("kiosk").material),
        ):
            assert code_of(await house.desk.answer(GUEST, want(sniffed))) == "evidence-refused"
        assert house.world.realm.handled == handled


@pytest.mark.parity("L24")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"flags": 0}, "evidence-refused"),
        ({"caveats": [MethodsCaveat(("GET",))]}, "caveat-not-carried"),
    ],
)
async def test_what_the_kdc_would_refuse_anyway_is_refused_at_the_desk(changes: dict[str, Any], code: str) -> None:
    """Said with the reason, and without a question that the whole host would pay for."""
    async with open_house() as house:
        behalf = evidence_of(house.world.realm, "shop", **changes)
        assert code_of(await house.desk.answer(Peer(0, frozenset()), want(behalf))) == code
        assert house.world.realm.handled <= 1


@pytest.mark.parity("K4")
async def test_evidence_opens_no_target_that_is_closed_to_the_peer() -> None:
    """The allow-list decides about targets, whoever is spoken for."""
    async with open_house(rules=(AllowRule(uid=NOBODY, targets=frozenset({ORDERS})),)) as house:
        behalf = evidence_of(house.world.realm, "shop")
        for request in (want(behalf), want(None, subject="alice")):
            assert code_of(await house.desk.answer(GUEST, request)) == "peer-not-allowed"
        assert len(house.world.agent.on_behalf) == 0


@pytest.mark.parity("K4")
async def test_many_pieces_of_evidence_are_many_questions() -> None:
    """They count against the peer's own allowance, or one user's callers would use up the host's share."""
    async with open_house(rules=(AllowRule(uid=NOBODY),)) as house:
        house.desk.allowance.burst = 3
        house.desk.allowance.per_s = 0.001
        codes = [
            code_of(await house.desk.answer(GUEST, want(evidence_of(house.world.realm, "shop")))) for _ in range(5)
        ]
        assert codes == ["CredentialGrant"] * 3 + ["rate-limited"] * 2


async def granted(house: House, request: WantRequest) -> CredentialGrant:
    reply = await house.desk.answer(Peer(0, frozenset()), request)
    assert isinstance(reply, CredentialGrant), reply
    return reply


@pytest.mark.parity("K4")
async def test_one_caller_cannot_use_up_what_all_the_others_need() -> None:
    """Whoever calls a service chooses the caveats that come along, and each list of them is another question."""
    async with open_house() as house:
        realm, allowance = house.world.realm, house.desk.evidence_allowance
        allowance.burst, allowance.per_s = 3, 0.001
        shop, end = evidence_of(realm, "shop"), seconds_of(realm.clock.now()) + 500
        lists = [join_caveats([ExpiresCaveat(end + number).to_bytes()]) for number in range(5)]
        variants = [evolve(shop, caveats=one) for one in lists]

        async def codes(behalves: list[Behalf]) -> list[str]:
            return [code_of(await house.desk.answer(Peer(0, frozenset()), want(one))) for one in behalves]

        assert await codes(variants) == ["CredentialGrant"] * 3 + ["rate-limited"] * 2
        assert await codes(variants[:3]) == ["CredentialGrant"] * 3  # what is known costs nothing
        # Another caller, and the same one with another ticket, for which it has asked the KDC itself.
        assert await codes([evidence_of(realm, "kiosk"), evidence_of(realm, "shop")]) == ["CredentialGrant"] * 2


@pytest.mark.parity("K4")
async def test_callers_are_asked_for_in_turn(autojump_clock: trio.testing.MockClock) -> None:
    """Any number of callers at once is no such number of connections, and those who left are not asked for."""
    async with open_world() as world:
        assert await world.outcome(world.key("orders")) == "held"
        before = len(world.network.asked)
        world.network.moods["tcp://kdc-a:1"] = "hanging"

        async def wait_a_second(behalf: Behalf) -> None:
            await world.outcome(world.on_behalf(behalf, "ledger"), timeout_s=1, behalf=behalf)

        behalves = [evidence_of(world.realm, "shop") for _ in range(100)]
        async with trio.open_nursery() as nursery:
            for behalf in behalves:
                nursery.start_soon(wait_a_second, behalf)
            await elapse(0.5)
            assert len(world.network.asked) - before == 32
        await elapse(10)
        assert len(world.network.asked) - before < 100
        assert world.agent._flights == {}


@pytest.mark.parity("L20")
async def test_a_subject_is_asserted_only_where_a_rule_names_it() -> None:
    """The KDC decides; the name is of the daemon's own realm unless another is given."""
    async with open_house() as house:
        grant = await granted(house, want(None, subject="alice"))
        assert grant.credential.subject is not None
        assert (str(grant.credential.subject.principal), grant.credential.subject.how) == (
            "alice@test.realm",
            BY_ASSERTION,
        )
        named = await granted(house, want(Behalf(subject=Principal("test.realm", "alice"))))
        assert named.credential.ticket == grant.credential.ticket
        reply = await house.desk.answer(Peer(0, frozenset()), want(None, subject="mallory"))
        assert code_of(reply) == "subject-refused"


@pytest.mark.parity("K4")
async def test_callers_do_not_show_in_the_list() -> None:
    """Whom a service serves is not the business of everybody who may call the same target."""
    async with open_house() as house:
        await granted(house, want(evidence_of(house.world.realm, "shop")))
        await granted(house, want(None, "orders"))
        listing = await house.desk.answer(Peer(0, frozenset()), ListRequest())
        assert isinstance(listing, Listing)
        assert [entry.target for entry in listing.entries] == [ORDERS]
        assert (await house.desk.status(probe=False)).cached == 2
