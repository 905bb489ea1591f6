"""Shares of a replay store: who can make whom be refused, and what expired entries count.

Modelled: one store with room for `all` entries, of which a client may have `client` and a ticket `ticket`; two or three
clients with three tickets each, who send requests that are dated now or ahead, and captured ones again. Entries lie in
buckets by their dates and expire with them; each admission deletes at most one expired entry, as the real store at
most 64. Counts are kept per bucket, for the ticket, the client and all.

The property: a request is refused for its share only when its own ticket or client really has that many live entries,
and for want of room only when the store really is full of live ones, which takes several clients. What is admitted
fits. The counts of live buckets are exact; no more is stored, expired or not, than there is room for; and each
admission, refused or not, leaves fewer expired entries.

Each mechanism of `Design` can be switched off, and the model finds what it was for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import pytest
from attrs import evolve, fields, frozen

from tests.models.explore import Found, Holds, explore

PAST, AHEAD = 1, 1  # how long an entry is live after its date; how far ahead dates go
TICKETS = 3
RUNNING = -1  # the bucket of counts that are not kept per bucket

Owner = tuple[int, ...]  # (), or a client, or a client and its ticket


@frozen
class Design:
    """The mechanisms. All of them are the design."""

    expired_entries_do_not_count: bool = True
    counts_are_kept_per_bucket: bool = True
    clients_have_shares: bool = True
    tickets_have_shares: bool = True
    the_whole_is_bounded: bool = True
    each_admission_deletes: bool = True
    what_a_refusal_deleted_stays_deleted: bool = True
    what_is_refused_takes_no_room: bool = True
    what_was_seen_takes_no_room: bool = True


@frozen
class Shares:
    """How many live entries there may be, of one client, and of one ticket."""

    all: int = 3
    client: int = 2
    ticket: int = 1


class Entry(NamedTuple):
    ts: int
    client: int
    ticket: int


class World(NamedTuple):
    now: int
    stored: tuple[Entry, ...] = ()  # sorted; entries of one date and ticket are alike
    counts: frozenset[tuple[int, Owner, int]] = frozenset()  # bucket, whose, how many
    wrong: str | None = None


def owners(entry: Entry) -> tuple[Owner, Owner, Owner]:
    return (), (entry.client,), (entry.client, entry.ticket)


def live(stored: tuple[Entry, ...], now: int) -> tuple[Entry, ...]:
    return tuple(entry for entry in stored if entry.ts >= now - PAST)


def recounted(stored: tuple[Entry, ...]) -> Counter[tuple[int, Owner]]:
    """The truth about buckets."""
    return Counter((entry.ts, whose) for entry in stored for whose in owners(entry))


def moves(design: Design, shares: Shares, clients: int, last: int) -> Callable[[World], Iterator[tuple[str, World]]]:
    def of(world: World) -> Iterator[tuple[str, World]]:
        if world.now < last:
            yield "a tick passes", world._replace(now=world.now + 1)
        for ahead, client, ticket in product(range(AHEAD + 1), range(clients), range(TICKETS)):
            entry = Entry(world.now + ahead, client, ticket)
            yield f"{entry} is new", _admitted(design, shares, world, entry, is_new=True)
        for entry in set(live(world.stored, world.now)):
            yield f"{entry} comes again", _admitted(design, shares, world, entry, is_new=False)

    return of


def _admitted(design: Design, shares: Shares, world: World, entry: Entry, *, is_new: bool) -> World:
    counts = Counter({(bucket, whose): count for bucket, whose, count in world.counts})
    stored = list(world.stored)
    if design.each_admission_deletes and stored and stored[0].ts < world.now - PAST:
        _count(design, counts, stored.pop(0), -1)
    code = _refusal(design, shares, world.now, counts, entry) if is_new else "seen"
    if code is not None and not design.what_a_refusal_deleted_stays_deleted:
        stored = list(world.stored)
    if code is None:
        stored.append(entry)
    takes_room = not design.what_was_seen_takes_no_room if code == "seen" else not design.what_is_refused_takes_no_room
    if code is None or takes_room:
        _count(design, counts, entry, 1)
    after = World(
        now=world.now,
        stored=tuple(sorted(stored)),
        counts=frozenset((bucket, whose, count) for (bucket, whose), count in counts.items() if count),
    )
    return after._replace(wrong=_objection(shares, world, after, entry, code))


def _count(design: Design, counts: Counter[tuple[int, Owner]], entry: Entry, by: int) -> None:
    for whose in owners(entry):
        counts[entry.ts if design.counts_are_kept_per_bucket else RUNNING, whose] += by


def _refusal(design: Design, shares: Shares, now: int, counts: Counter[tuple[int, Owner]], entry: Entry) -> str | None:
    def has(whose: Owner) -> int:
        return sum(
            count
            for (bucket, owner), count in counts.items()
            if owner == whose and (bucket >= now - PAST or bucket == RUNNING or not design.expired_entries_do_not_count)
        )

    everybody, client, ticket = owners(entry)
    if design.tickets_have_shares and has(ticket) >= shares.ticket:
        return "quota"
    if design.clients_have_shares and has(client) >= shares.client:
        return "quota"
    return "busy" if design.the_whole_is_bounded and has(everybody) >= shares.all else None


def _objection(shares: Shares, before: World, after: World, entry: Entry, code: str | None) -> str | None:
    now = before.now
    there = live(before.stored, now)
    has: Counter[Owner] = Counter(whose for one in there for whose in owners(one))
    _, client, ticket = owners(entry)
    if code == "quota" and has[ticket] < shares.ticket and has[client] < shares.client:
        return "refused within its share"
    if code == "busy" and len(there) < shares.all:
        return "refused while there was room"
    if code == "busy" and len({one.client for one in there}) * shares.client < shares.all:
        return "too few clients filled the store"
    if code is None and (has[ticket] >= shares.ticket or has[client] >= shares.client or len(there) >= shares.all):
        return "has more than its share"
    if len(after.stored) > shares.all:
        return "more is stored than there is room for"
    expired = [len(world.stored) - len(live(world.stored, now)) for world in (before, after)]
    if expired[0] and expired[1] >= expired[0]:
        return "what has expired stays"
    counted = {(bucket, whose): count for bucket, whose, count in after.counts if bucket >= now - PAST}
    if counted != recounted(live(after.stored, now)) and RUNNING not in {bucket for bucket, _, _ in after.counts}:
        return "the counts are wrong"
    return None


def judged(design: Design, shares: Shares, *, clients: int = 2, last: int = PAST + 2) -> Holds | Found:
    return explore([World(now=PAST)], moves(design, shares, clients, last), lambda world: world.wrong)


def test_no_others_can_have_a_client_refused_within_its_share() -> None:
    assert isinstance(judged(Design(), Shares()), Holds)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("shares", "clients", "last"),
    [(Shares(), 3, PAST + 2), (Shares(all=4), 2, PAST + 2), (Shares(all=4, client=2, ticket=2), 2, PAST + 3)],
    ids=str,
)
def test_no_others_can_have_a_client_refused_in_larger_stores(shares: Shares, clients: int, last: int) -> None:
    assert isinstance(judged(Design(), shares, clients=clients, last=last), Holds)


FOUND = {
    "expired_entries_do_not_count": "refused within its share",
    "counts_are_kept_per_bucket": "refused within its share",
    "clients_have_shares": "has more than its share",
    "tickets_have_shares": "has more than its share",
    "the_whole_is_bounded": "has more than its share",
    "each_admission_deletes": "what has expired stays",
    "what_a_refusal_deleted_stays_deleted": "what has expired stays",
    "what_is_refused_takes_no_room": "the counts are wrong",
    "what_was_seen_takes_no_room": "the counts are wrong",
}


@pytest.mark.parametrize("mechanism", [field.name for field in fields(Design)])
def test_each_mechanism_is_missed(mechanism: str) -> None:
    changes: dict[str, Any] = {mechanism: False}
    outcome = judged(evolve(Design(), **changes), Shares())
    assert isinstance(outcome, Found)
    assert outcome.objection == FOUND[mechanism], outcome
