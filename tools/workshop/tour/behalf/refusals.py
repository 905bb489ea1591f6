"""What stops on the way from gateway to ledger: at the KDC, at a handler, at the target, for want of an approval.

Knows how each of them could try; every explanation comes from the program that refused.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from attrs import evolve

from orthros_client import DischargeRefused, TargetRefusal
from workshop.tour.behalf.acts import show_facts, verdict
from workshop.tour.behalf.house import House
from workshop.tour.calls import Answered, Caller, Held
from workshop.tour.story import Step, Story

__all__ = ["refuse_on_the_way"]

_LIFETIME_S: Final = 60


def refuse_on_the_way(story: Story, house: House) -> None:
    """Everything that authority on somebody's behalf cannot do."""
    story.chapter("10. What nobody can do on behalf of somebody else")
    _subjects(story, house)
    _narrowed(story, house)
    _paths(story, house)
    _approvals(story, house)


def _subjects(story: Story, house: House) -> None:
    with story.step("a subject no rule allows", "subject-refused", "root's browser -> gateway") as step:
        answer = house.browse("GET", "/invoices/1138", "root-in")
        _refused(step, answer, "the KDC refused gateway a ticket: it may speak for user/*, not for staff/root")
    with story.step(
        "a handler that did not opt in", "user-not-accepted", "alice's browser -> gateway -> orders"
    ) as step:
        answer = house.browse("GET", "/orders/1138", "alice-in")
        _refused(step, answer, "orders refused, where only /invoices and /audits serve calls for others")


def _narrowed(story: Story, house: House) -> None:
    """The confused deputy: orders may write at the ledger, whoever called it here may not."""
    realm = house.realm
    whole = realm.client("gateway").credentials("orders", delegable=True, behalf="user/alice")
    held = Held(whole.narrow(scopes=["read"], lifetime=_LIFETIME_S))
    invoice = f"{realm.orders_origin}/invoices/1138"
    with closing(Caller({realm.orders_origin: "orders"}, held)) as worker:
        with story.step("a narrowed ticket", "accepted", "a worker of gateway -> orders -> ledger") as step:
            answer = worker.get(invoice)
            said = f"read is all it got, for {_LIFETIME_S} s, without asking the KDC; the limits travel along"
            step.saw(verdict(answer), said, took_ms=answer.took_ms)
            show_facts(step, answer.body)
            step.show("ends", f"the ticket at ledger ends in {answer.body['ends_in_s']} s")
        with story.step("a confused deputy", "insufficient-scope", "the same worker, POST") as step:
            answer = worker.post(invoice, {})
            _refused(step, answer, "refused by ledger: orders may write there, but not for this call")


def _paths(story: Story, house: House) -> None:
    realm = house.realm
    with (
        story.step("a path that a rule denies", "chain-refused", "shop, for alice -> orders -> ledger") as step,
        closing(Caller({realm.orders_origin: "orders"}, realm.client("shop"), "user/alice", _delegable(house))) as shop,
    ):
        answer = shop.get(f"{realm.orders_origin}/invoices/1138")
        _refused(step, answer, "the KDC refused orders: nothing that came through shop goes on to ledger")
    words = ("policy", "explain", "orders", "ledger", "--behalf", "user/alice", "--via", "shop")
    with story.step("why, and what would allow it", "exit code 3", f"orthros-admin {' '.join(words)}") as step:
        outcome = realm.admin(*words)
        step.saw(f"exit code {outcome.code}", "the function that the KDC asked, with the same question")
        for text in outcome.out.splitlines():
            step.show("|", text.strip())
    with story.step("a loop", "chain-refused", "alice's browser -> gateway -> orders -> ledger -> orders") as step:
        answer = house.browse("GET", "/audits/1138", "alice-in")
        _refused(step, answer, "the KDC refused ledger: orders is on the path already, and no rule allows callbacks")


def _approvals(story: Story, house: House) -> None:
    ledger = house.realm.origin("ledger")
    refund = f"{ledger}/refunds/1138"
    bare = evolve(house.realm.client("orders").credentials("ledger", ["refund"]), demands=())
    dischargers = {"approvals": house.realm.origin("approvals")}
    with (
        story.step(
            "an approval left out", "discharge-mismatch", "a job of orders -> ledger, POST /refunds/1138"
        ) as step,
        closing(Caller({ledger: "ledger"}, Held(bare))) as job,
    ):
        try:
            answer = job.post(refund, {})
        except TargetRefusal as refusal:
            step.saw(refusal.code, "refused: the KDC wrote into the ticket what it is good with")
            step.explain(refusal)
        else:
            step.saw(verdict(answer))
    with (
        story.step("nobody has approved", "discharge-refused", "the same job, which asks approvals") as step,
        closing(house.process("orders", "ledger", scopes=["refund"], dischargers=dischargers)) as job,
    ):
        try:
            answer = job.post(refund, {})
        except DischargeRefused as refusal:
            step.saw(refusal.code, "approvals does not attest it, so nothing is sent to ledger")
            step.explain(refusal)
        else:
            step.saw(verdict(answer))
    with story.step("a second pair of eyes", "by user/bob", "bob's browser -> gateway -> approvals") as step:
        answer = house.browse("POST", "/approvals/orders", "bob-in")
        step.saw(
            f"by {answer.body.get('by')}", "approved; ledger and the KDC have not heard of it", took_ms=answer.took_ms
        )
    with (
        story.step("with its discharge", "accepted", "the job -> approvals, then ledger") as step,
        closing(house.process("orders", "ledger", scopes=["refund"], dischargers=dischargers)) as job,
    ):
        answer = job.post(refund, {})
        step.saw(verdict(answer), "accepted; the library fetched the discharge and keeps it", took_ms=answer.took_ms)
        show_facts(step, answer.body)


def _delegable(house: House) -> dict[str, object]:
    return {"delegable": [house.realm.orders_origin]}


def _refused(step: Step, answer: Answered, said: str) -> None:
    """A refusal that came back through the services, as the one that met it tells it."""
    step.saw(verdict(answer), said, took_ms=answer.took_ms)
    told = answer.body
    if "code" in told:
        step.show("code", told["code"])
        step.show("cause", told["error_description"])
        step.show("remedy", told["remedy"])
