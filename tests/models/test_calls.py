"""One call that must not run twice: its first message and what a client repeats of its own accord.

Modelled, in ticks: a message is good from 1 before its date to 2 after it; dated more than 3 ahead it is refused and
not burnt. Two verifiers, each with a store of its own or both with one, and hosts whose clocks differ. The first
message names the memory of one store or none, and may be dated far ahead. An attacker delivers any message that was
ever sent to any verifier at any time, changes its body, and lets the client hear any of the answers to its newest
message as late as it likes. A store may be out of reach, and may lose its memory.

The client repeats by the rules of design/replay.md: a message that named no epoch after any refusal, naming the one it
learned; one that named an epoch only after `clock-skew` from exactly that epoch, or a refusal of the body before the
handler began. When it takes the call as harmless and the target does not (`not-repeatable`): if none of its messages
had named an epoch.

The property: the call runs at most once. Each mechanism of `Design` can be switched off, and the model finds what it
was for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import pytest
from attrs import evolve, fields, frozen

from tests.models.explore import Found, Holds, explore

PAST, AHEAD, FAR = 2, 1, 3
BUSY, REPLAYED, FAR_AHEAD, SKEW, EPOCH, BODY = (
    "busy",
    "replayed",
    "too-far-ahead",
    "clock-skew",
    "epoch-required",
    "body",
)
NOT_REPEATABLE = "not-repeatable"

Epoch = tuple[int, int]  # a store, and which of its memories


@frozen
class Design:
    """The mechanisms. All of them are the design."""

    # of the target
    unnamed_messages_do_not_run: bool = True
    an_unreachable_store_means_busy: bool = True
    refused_messages_are_burnt: bool = True
    too_old_is_told_as_replayed: bool = True
    the_stores_clock_judges: bool = True
    only_what_no_handler_saw_is_told_so: bool = True
    # of the client
    a_named_refusal_is_final: bool = True
    skew_counts_only_from_the_named_epoch: bool = True
    a_far_date_is_final: bool = True
    declined_is_final_once_an_epoch_was_named: bool = True


@frozen
class Setting:
    """Whose clocks differ by how much; whether there is one store; whether the client takes the call as harmless."""

    shared: bool = False
    stores_are_off: tuple[int, int] = (0, 0)
    hosts_are_off: tuple[int, int] = (0, 0)
    harmless: bool = False


class Message(NamedTuple):
    names: Epoch | None
    ts: int


class Store(NamedTuple):
    memory: int = 0
    burnt: frozenset[tuple[int, int]] = frozenset()  # number of the message, and until when it is kept


class Answer(NamedTuple):
    code: str
    epoch: Epoch | None  # None: eight zero bytes
    now: int


class World(NamedTuple):
    now: int
    messages: tuple[Message, ...]
    stores: tuple[Store, Store]
    held: Answer | None  # the answer to its newest message that the client will hear, and repeat for
    runs: int
    losses: int


def starts(losses: int) -> Iterator[World]:
    for names, ts in product((None, (0, 0)), (0, FAR + 1)):
        yield World(0, (Message(names, ts),), (Store(), Store()), None, 0, losses)


def moves(
    design: Design, setting: Setting, last: int, most_messages: int
) -> Callable[[World], Iterator[tuple[str, World]]]:
    def of(world: World) -> Iterator[tuple[str, World]]:
        if world.now < last:
            yield "a tick passes", world._replace(now=world.now + 1)
        newest = len(world.messages) - 1
        for number, verifier in product(range(len(world.messages)), (0, 1)):
            for answer, after in _delivered(design, setting, world, number, verifier):
                told = "runs" if answer is None else answer.code
                yield f"message {number} reaches verifier {verifier}: {told}", after
                if answer is None or number < newest or world.held or len(world.messages) == most_messages:
                    continue
                if _repeats(design, setting, world, answer):
                    yield (
                        f"message {number} reaches verifier {verifier}, for the client: {told}",
                        after._replace(held=answer),
                    )
        if world.held is not None:
            again = Message(world.held.epoch, world.held.now if world.held.code == SKEW else world.now)
            more = world._replace(messages=(*world.messages, again), held=None)
            yield f"the client hears it and sends {again}", more
        if world.losses:
            lost = Store(memory=world.stores[0].memory + 1)
            yield "store 0 loses its memory", _with(world._replace(losses=world.losses - 1), 0, lost)

    return of


def _with(world: World, which: int, store: Store) -> World:
    first, second = world.stores
    return world._replace(stores=(store, second) if which == 0 else (first, store))


def _delivered(
    design: Design, setting: Setting, world: World, number: int, verifier: int
) -> Iterator[tuple[Answer | None, World]]:
    """All that can come of it: an answer, or None when it runs."""
    which = 0 if setting.shared else verifier
    there, here = world.now + setting.stores_are_off[which], world.now + setting.hosts_are_off[verifier]
    ran = world._replace(runs=world.runs + 1)
    if design.an_unreachable_store_means_busy:
        yield Answer(BUSY, None, here), world
    else:
        yield None, ran
    message, store = world.messages[number], world.stores[which]
    now = there if design.the_stores_clock_judges else here
    store = store._replace(burnt=frozenset(one for one in store.burnt if one[1] >= there))
    epoch = (which, store.memory)
    if any(one[0] == number for one in store.burnt):
        yield Answer(REPLAYED, epoch, now), _with(world, which, store)
        return
    if message.ts < now - PAST:
        told = REPLAYED if design.too_old_is_told_as_replayed else SKEW
        yield Answer(told, epoch, now), _with(world, which, store)
        return
    if message.ts > now + FAR:
        yield Answer(FAR_AHEAD, epoch, now), _with(world, which, store)
        return
    kept_until = there + (message.ts + PAST - now)
    burning = _with(world, which, store._replace(burnt=store.burnt | {(number, kept_until)}))
    refused = burning if design.refused_messages_are_burnt else world
    if not now - PAST <= message.ts <= now + AHEAD:
        yield Answer(SKEW, epoch, now), refused
    elif message.names == epoch or (message.names is None and not design.unnamed_messages_do_not_run):
        ran = burning._replace(runs=world.runs + 1)
        yield None, ran
        yield Answer(BODY, epoch, now), burning if design.only_what_no_handler_saw_is_told_so else ran
    else:
        yield Answer(NOT_REPEATABLE if setting.harmless else EPOCH, epoch, now), refused


def _repeats(design: Design, setting: Setting, world: World, answer: Answer) -> bool:
    names = world.messages[-1].names
    if setting.harmless:
        # Other refusals it would mend as those of a call that may run twice; here it must not.
        named = any(message.names is not None for message in world.messages)
        return answer.code == NOT_REPEATABLE and not (named and design.declined_is_final_once_an_epoch_was_named)
    if names is None:
        return True
    if answer.code == SKEW:
        return answer.epoch == names or not design.skew_counts_only_from_the_named_epoch
    if answer.code == FAR_AHEAD:
        return not design.a_far_date_is_final
    return answer.code == BODY or not design.a_named_refusal_is_final


def objection(world: World) -> str | None:
    return "ran twice" if world.runs > 1 else None


def judged(
    design: Design, setting: Setting, *, last: int = 6, most_messages: int = 3, losses: int = 0
) -> Holds | Found:
    return explore(starts(losses), moves(design, setting, last, most_messages), objection)


OFF = (-2, 0, 2)
SETTINGS = [
    *(Setting(stores_are_off=(0, other), harmless=harmless) for other in OFF for harmless in (False, True)),
    *(Setting(shared=True, hosts_are_off=(one, other)) for one, other in product(OFF, OFF)),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_call_runs_at_most_once(setting: Setting) -> None:
    assert isinstance(judged(Design(), setting, last=6, most_messages=2), Holds)


@pytest.mark.campaign
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_call_runs_at_most_once_after_two_repeats_and_a_loss(setting: Setting) -> None:
    assert isinstance(judged(Design(), setting, last=5, most_messages=3, losses=1), Holds)


@pytest.mark.parametrize("mechanism", [field.name for field in fields(Design)])
def test_each_mechanism_is_missed(mechanism: str) -> None:
    changes: dict[str, Any] = {mechanism: False}
    lame = evolve(Design(), **changes)
    outcomes = (judged(lame, setting, last=4, most_messages=2) for setting in SETTINGS)
    assert any(isinstance(outcome, Found) for outcome in outcomes)
