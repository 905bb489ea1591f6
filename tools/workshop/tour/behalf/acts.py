"""Three services act for a user: what is allowed, and what the last of them gets to know.

Knows the order of the story; `house` starts things, the programs call each other by themselves.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from workshop.tour.behalf.house import CALLERS, PROGRAMS, House
from workshop.tour.calls import Answered
from workshop.tour.realm import Realm
from workshop.tour.story import Step, Story

__all__ = ["act_for_users", "change_the_realm", "show_facts", "verdict"]


def change_the_realm(story: Story, realm: Realm) -> House:
    """A reviewed file becomes the realm; what it allows for starts at once, and is awaited when it is needed."""
    story.chapter("7. A change, as a file")
    house = House(realm)
    with story.step("propose a change", "exit code 3", "orthros-admin realm diff realm.toml") as step:
        outcome = house.propose()
        step.saw(f"exit code {outcome.code}", "the realm as a file, with what its reviewers have agreed to")
        for text in outcome.out.splitlines():
            step.show("|", text)
    with story.step("apply it", "applied: 9 to add", "orthros-admin realm apply realm.toml") as step:
        said = house.apply().out.splitlines()
        (applied,) = [line for line in said if line.startswith("applied")]
        step.saw(applied, f"{applied}, in one transaction; then key files, and a last look")
        step.show("|", said[-1])
    house.start()
    return house


def act_for_users(story: Story, house: House) -> None:
    """From alice's browser to an entry in the ledger."""
    story.chapter("9. On behalf of a user: gateway -> orders -> ledger")
    realm = house.realm
    title = f"{', '.join(PROGRAMS)}, and daemons for {', '.join(CALLERS)}"
    with story.step("three more services", "ready", title) as step:
        house.await_all()
        step.saw("ready", "ready; whoever is called has a verify-only key file, whoever calls others a daemon")
    _one_call(story, house)
    with (
        story.step("its own call afterwards", "for orders", "a nightly job of orders -> ledger") as step,
        closing(house.process("orders", "ledger", scopes=["read"])) as job,
    ):
        answer = job.get(f"{realm.origin('ledger')}/invoices/1138")
        said = "the same daemon, the same target, no user: nothing of alice's is left over in a cache"
        step.saw(f"for {answer.body.get('for')}", said, took_ms=answer.took_ms)
        show_facts(step, answer.body)


def _one_call(story: Story, house: House) -> None:
    title = "alice's browser -> gateway -> orders -> ledger"
    with story.step("a call for alice", "for user/alice", title) as step:
        answer = house.browse("POST", "/invoices/1138", "alice-in")
        said = "booked; gateway vouches for alice, orders proves that it was called for her"
        step.saw(f"for {answer.body.get('for')}", said, took_ms=answer.took_ms)
        show_facts(step, answer.body)
    with story.step("the next one", "accepted", title) as step:
        answer = house.browse("GET", "/invoices/1138", "alice-in")
        step.saw(verdict(answer), "accepted, with tickets that the daemons hold by now", took_ms=answer.took_ms)
    with story.step("one transaction", "at orders and the KDC", "the id that ledger was told, elsewhere") as step:
        transaction = answer.body["transaction"]
        noted = [note for note in house.realm.orders_notes("asking ledger") if note["transaction"] == transaction]
        tickets = house.realm.audited(transaction, 2)
        step.saw("at orders and the KDC" if noted and len(tickets) == 2 else "incomplete")
        step.show("orders", f"{len(noted)} entries in its log")
        for ticket in tickets:
            step.show("KDC", _told(ticket))


def show_facts(step: Step, body: dict[str, Any]) -> None:
    """What ledger knows of a call, none of it by hearsay."""
    step.show("for", f"{body['for']}, through {' -> '.join(body['through'])}, with {' '.join(body['scopes'])}")
    step.show("txn", body["transaction"])


def verdict(answer: Answered) -> str:
    """`accepted`, or the code of a refusal and who met it."""
    return "accepted" if answer.status == 200 else str(answer.body.get("code", f"HTTP {answer.status}"))


def _told(ticket: dict[str, Any]) -> str:
    told = f"ticket {ticket['tid'][:8]}... for {ticket['client']} to {ticket['target']}, for {ticket['subject']}"
    if "chain" not in ticket:
        return f"{told}, by the word of {ticket['client']}"
    return f"{told}, on evidence {ticket['evidence'][:8]}..., through {' -> '.join(ticket['chain'])}"
