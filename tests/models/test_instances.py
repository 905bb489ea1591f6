"""One captured request and two replay instances: epochs, births, lost memories, clocks that are moved.

Modelled, in ticks: a request is good from 1 before its date to 2 after it. Two instances share nothing. Each has a
store, whose memory has an epoch, what it burnt, its floor, its birth and the highest time it had reached; and a wall
clock. A request is made at any time, repeatable or not, for one instance's memory or for none. An attacker delivers it
to any instance at any time, any number of times. A memory may be lost altogether, or come back as it was at its birth
in another place (a copy, a snapshot). A wall clock may be moved by one tick, which is not noticed until small moves add
up, or by two, which is.

The property: what may not be repeated runs at most once in all, and never when it names no epoch; what may be repeated
runs at most once per instance; and once per memory where a clock was set back before the memory was lost. No store
refuses for its age what was made just now, but for the ticks that are not noticed.

Each mechanism of `Design` can be switched off, and the model finds what it was for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from attrs import evolve, fields, frozen

from tests.models.explore import Found, Holds, explore

PAST, AHEAD = 2, 1
UNNOTICED = 1
LONG_AGO = -9

GETS = ("the first gets it", "the second gets it")
LOSES = ("the first loses its memory", "the second loses its memory")
COPIED = ("the first gets an old copy of its memory", "the second gets an old copy of its memory")
MOVES = {
    by: (f"the clock of the first is moved by {by}", f"the clock of the second is moved by {by}")
    for by in (-UNNOTICED - 1, -UNNOTICED, UNNOTICED, UNNOTICED + 1)
}


@frozen
class Design:
    """The mechanisms. All of them are the design."""

    burns: bool = True
    only_repeatable_requests_pass_by_date: bool = True
    another_memory_has_another_epoch: bool = True
    epoch_is_derived_from_what_the_memory_hangs_on: bool = True
    date_must_be_after_the_birth: bool = True
    birth_covers_what_is_dated_ahead: bool = True
    birth_is_the_highest_time_reached: bool = True
    floor_never_sinks: bool = True
    noticed_moves_of_the_clock_renew: bool = True


class Request(NamedTuple):
    repeatable: bool
    names: tuple[int, int] | None  # an instance, and which of its memories
    ts: int


class Store(NamedTuple):
    memory: int = 0  # the epoch: how many memories came before
    burnt: bool = False
    floor: int = LONG_AGO
    clock: int = 0  # wall clock minus true time
    lead: int = 0  # what that was at the birth
    born: int = LONG_AGO
    reached: int = LONG_AGO
    set_back: bool = False
    forgiven: bool = False  # set back, then lost


class World(NamedTuple):
    stores: tuple[Store, Store]
    losses: int  # that may still happen
    steps: int
    now: int = 0
    request: Request | None = None
    runs: tuple[tuple[int, int], ...] = ()  # instance and memory


def moves(design: Design, last: int, troubled: int) -> Callable[[World], Iterator[tuple[str, World]]]:
    def of(world: World) -> Iterator[tuple[str, World]]:
        if world.now < last:
            yield "a tick passes", world._replace(now=world.now + 1)
        if world.request is None:
            for repeatable in (False, True):
                for names in (None, (0, world.stores[0].memory), (1, world.stores[1].memory)):
                    for ahead in (0, AHEAD):
                        request = Request(repeatable, names, world.now + ahead)
                        yield f"{request} is made", world._replace(request=request)
        if world.request is not None:
            for instance in (0, 1):
                yield GETS[instance], _delivered(design, world, world.request, instance)
        for instance in range(troubled):
            yield from _trouble(design, world, instance)

    return of


def _trouble(design: Design, world: World, instance: int) -> Iterator[tuple[str, World]]:
    store = world.stores[instance]
    if world.losses:
        less = world._replace(losses=world.losses - 1)
        yield LOSES[instance], _with(less, instance, _lost(design, world, store))
        yield COPIED[instance], _with(less, instance, _copied(design, world, store))
    if world.steps:
        less = world._replace(steps=world.steps - 1)
        for by, words in MOVES.items():
            yield words[instance], _with(less, instance, _moved(design, world, store, by))


def _with(world: World, instance: int, store: Store) -> World:
    first, second = world.stores
    return world._replace(stores=(store, second) if instance == 0 else (first, store))


def _delivered(design: Design, world: World, request: Request, instance: int) -> World:
    store, ts = world.stores[instance], request.ts
    now = world.now + store.clock
    floor = max(store.floor, now - PAST) if design.floor_never_sinks else now - PAST
    burnt = store.burnt and ts >= floor
    fresh = not burnt and ts >= floor
    store = store._replace(floor=floor, burnt=burnt or (fresh and design.burns), reached=max(store.reached, now))
    world = _with(world, instance, store)
    if not fresh or not now - PAST <= ts <= now + AHEAD or not _passes(design, request, store, instance):
        return world
    return world._replace(runs=(*world.runs, (instance, store.memory)))


def _passes(design: Design, request: Request, store: Store, instance: int) -> bool:
    if request.names == (instance, store.memory):
        return True
    may_be_repeated = request.repeatable or not design.only_repeatable_requests_pass_by_date
    since = store.born + AHEAD if design.birth_covers_what_is_dated_ahead else store.born
    return may_be_repeated and (request.ts > since or not design.date_must_be_after_the_birth)


def _begun(design: Design, store: Store, *, born: int, reached: int) -> Store:
    return store._replace(
        memory=store.memory + design.another_memory_has_another_epoch,
        burnt=False,
        floor=LONG_AGO,
        lead=store.clock,
        born=born,
        reached=reached,
    )


def _lost(design: Design, world: World, store: Store) -> Store:
    """Nothing is left, not even the highest time that was reached."""
    now = world.now + store.clock
    return _begun(design, store, born=now, reached=now)._replace(forgiven=store.forgiven or store.set_back)


def _copied(design: Design, world: World, store: Store) -> Store:
    """It stands there again as it was at its birth: in another file, at another boot, in another run of a server."""
    if not design.epoch_is_derived_from_what_the_memory_hangs_on:
        return store._replace(burnt=False, floor=LONG_AGO, reached=store.born)
    born = max(world.now + store.clock, store.born)
    return _begun(design, store, born=born, reached=born)._replace(forgiven=store.forgiven or store.set_back)


def _moved(design: Design, world: World, store: Store, by: int) -> Store:
    store = store._replace(clock=store.clock + by, set_back=store.set_back or by < 0)
    if abs(store.clock - store.lead) <= UNNOTICED or not design.noticed_moves_of_the_clock_renew:
        return store
    now = world.now + store.clock
    reached = max(now, store.reached)
    return _begun(design, store, born=reached if design.birth_is_the_highest_time_reached else now, reached=reached)


def objection(world: World) -> str | None:
    if any(store.floor > world.now + store.clock - PAST + 2 * UNNOTICED for store in world.stores):
        return "what was made just now is refused as too old"
    request, runs = world.request, world.runs
    if request is None or not runs:
        return None
    if not request.repeatable:
        if request.names is None:
            return "ran, and named no epoch"
        return "ran twice" if len(runs) > 1 else None
    if len(set(runs)) != len(runs):
        return "ran twice with one memory"
    again = [instance for instance in (0, 1) if sum(run[0] == instance for run in runs) > 1]
    return "ran twice at one instance" if any(not world.stores[one].forgiven for one in again) else None


def judged(design: Design, *, losses: int, steps: int, last: int = 3, troubled: int = 1) -> Holds | Found:
    """`troubled`: how many instances lose memories or have clocks that are moved."""
    start = World((Store(), Store()), losses, steps)
    return explore([start], moves(design, last, troubled), objection)


def test_a_request_runs_as_often_as_it_may() -> None:
    assert isinstance(judged(Design(), losses=1, steps=1), Holds)


@pytest.mark.campaign
@pytest.mark.parametrize(("losses", "steps", "last", "troubled"), [(2, 2, 3, 1), (1, 1, 4, 2), (2, 1, 3, 2)])
def test_a_request_runs_as_often_as_it_may_in_more_trouble(losses: int, steps: int, last: int, troubled: int) -> None:
    assert isinstance(judged(Design(), losses=losses, steps=steps, last=last, troubled=troubled), Holds)


FOUND = {
    "burns": "ran twice",
    "only_repeatable_requests_pass_by_date": "ran, and named no epoch",
    "another_memory_has_another_epoch": "ran twice",
    "epoch_is_derived_from_what_the_memory_hangs_on": "ran twice",
    "date_must_be_after_the_birth": "ran twice at one instance",
    "birth_covers_what_is_dated_ahead": "ran twice at one instance",
    "birth_is_the_highest_time_reached": "ran twice at one instance",
    "floor_never_sinks": "ran twice",
    "noticed_moves_of_the_clock_renew": "what was made just now is refused as too old",
}


@pytest.mark.parametrize("mechanism", [field.name for field in fields(Design)])
def test_each_mechanism_is_missed(mechanism: str) -> None:
    changes: dict[str, Any] = {mechanism: False}
    moved_twice = mechanism == "noticed_moves_of_the_clock_renew"
    outcome = judged(evolve(Design(), **changes), losses=1, steps=2 if moved_twice else 1)
    assert isinstance(outcome, Found)
    assert outcome.objection == FOUND[mechanism], outcome
