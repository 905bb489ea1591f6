"""Which connection makes room, on paper: groups in groups, and members that are idle or not."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from orthros_runtime.serving.limits import ConnectionLimits, Group

ALL = Group("all", 8, "all")
OTHERS = Group("others", 6, "others", ALL)
ROOT = Group("root", 8, "root", ALL)
ANN, BOB, EVE = (Group(name, 4, name, OTHERS) for name in ("ann", "bob", "eve"))


def filled(*groups: Group) -> ConnectionLimits[str]:
    """Connections named after their group and number, in this order: ann0, bob0, ann1."""
    limits: ConnectionLimits[str] = ConnectionLimits()
    for group in groups:
        limits.enter(f"{group.key}{limits.open_in(group)}", group)
    return limits


def idle_unless(*busy: str) -> Callable[[str], bool]:
    return lambda member: member not in busy


def test_a_connection_needs_room_in_each_group_around_it() -> None:
    assert filled(ANN, ANN, ANN).full(ANN) is None
    assert filled(ANN, ANN, ANN, ANN).full(ANN) is ANN
    assert filled(ANN, ANN, ANN, ANN).full(BOB) is None
    limits = filled(ANN, ANN, ANN, BOB, BOB, BOB)
    assert limits.full(EVE) is OTHERS
    assert limits.full(ROOT) is None
    limits.enter("root0", ROOT)
    limits.enter("root1", ROOT)
    assert limits.full(ROOT) is ALL
    limits.leave("ann1")
    assert limits.full(ROOT) is None
    assert limits.full(EVE) is None


def test_the_one_that_was_idle_longest_goes_first() -> None:
    limits = filled(ANN, ANN, ANN)
    assert limits.to_close(ANN, ANN, idle_unless()) == "ann0"
    limits.answered("ann0")
    assert limits.to_close(ANN, ANN, idle_unless()) == "ann1"
    assert limits.to_close(ANN, ANN, idle_unless("ann1", "ann2")) == "ann0"
    assert limits.to_close(ANN, ANN, idle_unless("ann0", "ann1", "ann2")) is None


def test_those_that_proved_to_be_of_use_go_last() -> None:
    limits = filled(ANN, ANN, ANN)
    limits.prove("ann0", ANN)
    limits.answered("ann0")
    limits.answered("ann1")
    limits.answered("ann2")
    assert limits.to_close(ANN, ANN, idle_unless()) == "ann1"
    assert limits.to_close(ANN, ANN, idle_unless("ann1", "ann2")) == "ann0"


def test_the_largest_part_gives_way() -> None:
    limits = filled(ANN, BOB, BOB, BOB, BOB, EVE)
    assert limits.full(EVE) is OTHERS
    assert limits.to_close(OTHERS, EVE, idle_unless()) == "bob0"
    assert limits.to_close(OTHERS, EVE, idle_unless("bob0", "bob1", "bob2", "bob3")) == "eve0"  # it would have most
    assert limits.to_close(OTHERS, ANN, idle_unless("bob0", "bob1", "bob2", "bob3")) == "ann0"


def test_who_fills_a_share_pays_alone() -> None:
    limits = filled(BOB, ANN, ANN, ANN, ANN)
    assert limits.full(ANN) is ANN
    assert limits.to_close(ANN, ANN, idle_unless("ann0", "ann1", "ann2", "ann3")) is None


def test_root_gets_in_where_others_are_many() -> None:
    limits = filled(ROOT, ROOT, ANN, BOB, BOB, EVE, EVE, EVE)
    assert limits.full(ROOT) is ALL
    assert limits.to_close(ALL, ROOT, idle_unless()) == "eve0"


def test_a_proof_can_lead_to_another_group() -> None:
    proven = Group("proven", 8, "proven", ALL)
    limits = filled(ANN, ANN)
    limits.prove("ann0", proven)
    assert (limits.open_in(ANN), limits.open_in(proven), limits.open_in(ALL)) == (1, 1, 2)
    assert limits.group_of("ann0") is proven
    limits.leave("ann0")
    limits.prove("ann0", proven)  # it has been closed meanwhile
    limits.answered("ann0")
    assert (limits.open_in(proven), len(limits)) == (0, 1)


def test_a_limit_that_was_lowered_holds_for_the_next_one() -> None:
    limits = filled(ANN, ANN, ANN)
    fewer = Group("ann", 2, "ann", OTHERS)
    assert limits.full(fewer) is fewer
    limits.leave("ann0")
    assert limits.full(fewer) is fewer
    limits.leave("ann1")
    assert limits.full(fewer) is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.integers(0, 30), st.sampled_from([ANN, BOB, EVE, ROOT])),
            st.tuples(st.sampled_from(["leave", "answered", "prove"]), st.integers(0, 30), st.just(ROOT)),
        ),
        max_size=60,
    )
)
def test_counts_are_those_of_a_plain_list(steps: list[tuple[str, int, Group]]) -> None:
    """And nothing is kept of a group whose last connection has gone."""
    limits: ConnectionLimits[int] = ConnectionLimits()
    plain: dict[int, Group] = {}
    for step, member, group in steps:
        if step == "enter" and member not in plain:
            limits.enter(member, group)
            plain[member] = group
        elif step == "leave":
            limits.leave(member)
            plain.pop(member, None)
        elif step == "answered":
            limits.answered(member)
        elif step == "prove":
            limits.prove(member, group)
            if member in plain:
                plain[member] = group
    for group in (ANN, BOB, EVE, ROOT):
        assert limits.open_in(group) == list(plain.values()).count(group)
    assert limits.open_in(ALL) == len(limits) == len(plain)
    assert limits.open_in(OTHERS) == sum(group is not ROOT for group in plain.values())
    closed = []
    while (idle := limits.to_close_anywhere(lambda _: True)) is not None:
        limits.leave(idle)
        closed.append(idle)
    assert sorted(closed) == sorted(plain)
    assert not limits._tops
