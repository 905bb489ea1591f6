"""One read behind a balancer, while instances are born and restarted.

Modelled, in ticks: an instance takes a read that names its epoch, or that is dated more than 2 after its birth. Several
instances without a shared store, each born just before the read, or long ago; the balancer may send each attempt to any
of them; some may be restarted between attempts. The client names the newest epoch that it knows, or at first none.
Refused, it names the epoch that it learned; refused a second time, it waits until those that it met are old enough;
refused a third time, until all are that were there at its first attempt. Then it tries twice more.

The property: the read succeeds, however many instances are newborn, also if one of them is restarted meanwhile, and of
two both. (No number of attempts outlasts restarts without end.) Each mechanism of `Design` can be switched off, and the
model finds what it was for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import pytest
from attrs import evolve, fields, frozen

from tests.models.explore import Found, Holds, explore

AHEAD = 2
ATTEMPTS = 5
LONG_AGO = -9


@frozen
class Design:
    """The mechanisms. All of them are the design."""

    reads_pass_by_date: bool = True
    the_learned_epoch_is_named: bool = True
    waits_for_those_it_met: bool = True
    waits_for_all_that_were_there: bool = True


class World(NamedTuple):
    births: tuple[int, ...]
    names: tuple[int, int] | None  # an instance and its birth: that is its epoch
    told: tuple[int, ...]  # when instances said they would be ready
    now: int
    attempts: int
    restarts: int
    succeeded: bool = False


def moves(design: Design) -> Callable[[World], Iterator[tuple[str, World]]]:
    def of(world: World) -> Iterator[tuple[str, World]]:
        if world.succeeded or world.attempts == ATTEMPTS:
            return
        for instance, born in enumerate(world.births):
            yield f"attempt {world.attempts + 1} meets instance {instance}", _attempted(design, world, instance)
            if world.restarts and born != world.now:
                births = (*world.births[:instance], world.now, *world.births[instance + 1 :])
                yield f"instance {instance} is restarted", world._replace(births=births, restarts=world.restarts - 1)

    return of


def _attempted(design: Design, world: World, instance: int) -> World:
    born = world.births[instance]
    world = world._replace(attempts=world.attempts + 1)
    if world.names == (instance, born) or (design.reads_pass_by_date and world.now > born + AHEAD):
        return world._replace(succeeded=True)
    told = (*world.told, born + AHEAD)
    now = world.now
    if world.attempts == 2 and design.waits_for_those_it_met:
        now = max(now, max(told) + 1)
    if world.attempts == 3 and design.waits_for_all_that_were_there:
        now = max(now, max(told) + 1, AHEAD + 1)
    names = (instance, born) if design.the_learned_epoch_is_named else world.names
    return world._replace(told=told, now=now, names=names)


def objection(world: World) -> str | None:
    return "the read failed" if world.attempts == ATTEMPTS and not world.succeeded else None


def judged(design: Design, instances: int, *, restarts: int = 0, youngest: int = 0) -> Holds | Found:
    births = product((*range(-AHEAD, youngest + 1), LONG_AGO), repeat=instances)
    starts = [World(each, None, (), 0, 0, restarts) for each in births]
    return explore(starts, moves(design), objection)


@pytest.mark.parametrize(("instances", "restarts"), [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_no_read_fails(instances: int, restarts: int) -> None:
    assert isinstance(judged(Design(), instances, restarts=restarts), Holds)


@pytest.mark.campaign
@pytest.mark.parametrize(("instances", "restarts"), [(4, 1), (5, 1), (6, 0)])
def test_no_read_fails_at_more_instances(instances: int, restarts: int) -> None:
    assert isinstance(judged(Design(), instances, restarts=restarts), Holds)


@pytest.mark.parametrize("mechanism", [field.name for field in fields(Design)])
def test_each_mechanism_is_missed(mechanism: str) -> None:
    changes: dict[str, Any] = {mechanism: False}
    lame = evolve(Design(), **changes)
    outcomes = (judged(lame, instances, restarts=restarts) for instances, restarts in ((2, 2), (4, 0)))
    assert any(isinstance(outcome, Found) for outcome in outcomes)
