"""A replay store in Redis: restarts, snapshots, replicas that lag, failover and back, clocks that differ.

Modelled, in ticks: a request is good from 1 before its date to 2 after it. Two servers, of which one is the master and
the other its replica; clocks that differ by at most 2. A server has a run (another after each restart) and a history
(another after each promotion), and holds the store's head (random, the run and the history that it was written
under, birth) and what it burnt. A request is made at any time, repeatable or not, for the epoch of a moment or for
none, and is delivered at any time. A server may be restarted, with nothing or with its last snapshot; everything may be
flushed; the replica copies when it likes; it may be promoted, with the old master as its replica from then on.

The property: what may not be repeated runs at most once, and never when it names no epoch; and what may be repeated
runs at most once as well: one master at a time is one instance. Each mechanism of `Design` can be switched off, and
the model finds what it was for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import pytest
from attrs import evolve, fields, frozen

from tests.models.explore import Found, Holds, explore

PAST, AHEAD = 2, 1
MARGIN = 2  # by which two masters' clocks differ at most
LONG_AGO = -99


@frozen
class Design:
    """The mechanisms. All of them are the design."""

    epoch_hangs_on_a_random_in_the_store: bool = True
    epoch_hangs_on_the_run: bool = True
    epoch_hangs_on_the_history: bool = True
    birth_has_a_margin: bool = True
    birth_counts: bool = True
    only_masters_are_asked: bool = True


Epoch = tuple[int, int, int]  # random, run, history


class Store(NamedTuple):
    """What a server holds, and copies."""

    random: int = 0
    run: int = 0
    history: int = 0
    born: int = LONG_AGO
    burnt: bool = False


class Server(NamedTuple):
    run: int
    off: int  # its clock minus true time
    store: Store | None = None
    snapshot: Store | None = None


class Request(NamedTuple):
    repeatable: bool
    names: Epoch | None
    ts: int


class World(NamedTuple):
    servers: tuple[Server, Server]
    events: int  # that may still happen
    now: int = 0
    master: int = 0
    history: int = 1
    fresh: int = 1  # the next number that nothing had
    request: Request | None = None
    runs: int = 0


def moves(design: Design, last: int) -> Callable[[World], Iterator[tuple[str, World]]]:
    def of(world: World) -> Iterator[tuple[str, World]]:
        if world.now < last:
            yield "a tick passes", world._replace(now=world.now + 1)
        for asked in (0, 1):
            if asked != world.master and design.only_masters_are_asked:
                continue
            begun, epoch = _asked(design, world, asked)
            if begun != world:
                yield f"another request has server {asked} asked", begun
            if world.request is None:
                for names, repeatable, ahead in product((None, epoch), (False, True), (0, AHEAD)):
                    request = Request(repeatable, names, world.now + ahead)
                    yield f"{request} is made", (begun if names else world)._replace(request=request)
            else:
                yield f"it is delivered, and server {asked} asked", _admitted(design, begun, asked, epoch)
        if world.events:
            yield from _events(world._replace(events=world.events - 1))

    return of


def _events(world: World) -> Iterator[tuple[str, World]]:
    master, replica = world.master, 1 - world.master
    store = world.servers[master].store
    yield "the replica copies the master", _with(world, replica, store=store)
    yield "the master writes a snapshot", _with(world, master, snapshot=store)
    yield "everything is flushed", _with(world, master, store=None)
    for kept in (None, world.servers[master].snapshot):
        restarted = _with(world, master, run=world.fresh, store=kept)
        yield f"the master is restarted with {kept}", restarted._replace(fresh=world.fresh + 1)
    yield "the replica is promoted", world._replace(master=replica, history=world.fresh, fresh=world.fresh + 1)


def _with(world: World, which: int, **changes: Any) -> World:
    first, second = world.servers
    server = world.servers[which]._replace(**changes)
    return world._replace(servers=(server, second) if which == 0 else (first, server))


def _asked(design: Design, world: World, which: int) -> tuple[World, Epoch]:
    """The store with an unbroken memory, or with one that begins now."""
    server = world.servers[which]
    store, now = server.store, world.now + server.off
    if (
        store is None
        or (store.run != server.run and design.epoch_hangs_on_the_run)
        or (store.history != world.history and design.epoch_hangs_on_the_history)
    ):
        born = now + (MARGIN if design.birth_has_a_margin else 0)
        store = Store(world.fresh, server.run, world.history, born)
        world = _with(world, which, store=store)._replace(fresh=world.fresh + 1)
    epoch = (
        store.random if design.epoch_hangs_on_a_random_in_the_store else 0,
        server.run if design.epoch_hangs_on_the_run else 0,
        world.history if design.epoch_hangs_on_the_history else 0,
    )
    return world, epoch


def _admitted(design: Design, world: World, which: int, epoch: Epoch) -> World:
    server, request = world.servers[which], world.request
    store, now = server.store, world.now + server.off
    assert store is not None
    assert request is not None
    if store.burnt or request.ts < now - PAST:
        return world
    world = _with(world, which, store=store._replace(burnt=True))
    by_date = request.repeatable and (request.ts > store.born + AHEAD or not design.birth_counts)
    if request.ts > now + AHEAD or not (request.names == epoch or by_date):
        return world
    return world._replace(runs=world.runs + 1)


def objection(world: World) -> str | None:
    request = world.request
    if world.runs and request is not None and not request.repeatable and request.names is None:
        return "ran, and named no epoch"
    return "ran twice" if world.runs > 1 else None


def judged(design: Design, *, events: int = 2, last: int = 2) -> Holds | Found:
    """A store that was born long ago, by the two clocks that differ most and by equal ones."""
    old = Store(random=0, run=0, history=1)
    starts = [World((Server(0, off, old), Server(-1, -off)), events) for off in (-MARGIN // 2, 0, MARGIN // 2)]
    return explore(starts, moves(design, last), objection)


def test_a_request_runs_at_most_once() -> None:
    assert isinstance(judged(Design()), Holds)


@pytest.mark.campaign
@pytest.mark.parametrize(("events", "last"), [(3, 3), (4, 1)])
def test_a_request_runs_at_most_once_in_more_trouble(events: int, last: int) -> None:
    assert isinstance(judged(Design(), events=events, last=last), Holds)


@pytest.mark.parametrize("mechanism", [field.name for field in fields(Design)])
def test_each_mechanism_is_missed(mechanism: str) -> None:
    changes: dict[str, Any] = {mechanism: False}
    outcome = judged(evolve(Design(), **changes))
    assert isinstance(outcome, Found)
    assert outcome.objection == "ran twice", outcome
