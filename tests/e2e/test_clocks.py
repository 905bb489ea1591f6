"""Clocks that jump under real programs: KDC, daemon and service, each with a clock that is turned.

The long matrix is the scene `clocks` of `make chaos`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clock_house import ClockHouse, open_clock_house
from tests.support.peers import require
from tests.support.processes import Founded, eventually
from tests.support.turned_clocks import PROGRAM

pytestmark = [pytest.mark.stories, pytest.mark.parity("O6")]


@pytest.fixture(scope="module")
def house(founded: Founded) -> Iterator[ClockHouse]:
    require(PROGRAM)
    with open_clock_house(founded) as opened:
        assert opened.is_well()
        yield opened


def test_a_kdc_that_is_wrong_for_a_moment_costs_no_call(house: ClockHouse) -> None:
    """It issues nothing meanwhile and says why; tickets in hand are good, and right after it all is as before."""
    house.turn("kdc", seconds=600)
    refused = house.daemon("renew orders")
    assert refused.code != 0
    assert "accept-clock" in refused.err + refused.out
    assert house.is_well()
    status = house.daemon("status")
    assert status.code == 4
    assert "jumped by +600 s" in status.out
    house.turn("kdc", seconds=0)
    eventually(lambda: house.daemon("renew orders").code == 0, "the KDC issues again")
    assert house.is_well()
    assert house.daemon("status").code == 0


def test_the_operator_says_that_the_clock_of_the_kdc_is_right(house: ClockHouse) -> None:
    """Issuing goes on, and daemons believe the new time after a second answer."""
    house.turn("kdc", seconds=-400)
    assert house.daemon("renew orders").code != 0
    house.kdc("kdc accept-clock").require()
    eventually(lambda: house.daemon("renew orders").code == 0, "the new time is believed")
    house.turn("kdc", seconds=0)
    eventually(house.is_well, "all is well")
    events = house.kdc("audit tail -n 99 --event clock-jumped").out
    assert events.count("settled=returned") == 2
    assert "settled=accepted" in events


@pytest.mark.parametrize("seconds", [600, -3600])
def test_a_step_of_the_clients_host_costs_no_call(house: ClockHouse, seconds: int) -> None:
    house.turn("host", seconds=seconds)
    assert house.is_well()
    assert house.daemon("status").code == 0
    house.turn("host", seconds=0)
    assert house.is_well()


@pytest.mark.parametrize("seconds", [600, -600])
def test_a_target_with_a_wrong_clock_leaves_no_call_open_and_is_named(house: ClockHouse, seconds: int) -> None:
    """The first order after the jump may have named the instance that was there before."""
    house.turn("target", seconds=seconds)
    outcomes = [house.call("POST") for _ in range(4)]
    way = "ahead of" if seconds > 0 else "behind"
    for outcome in outcomes[1:]:
        assert outcome.failure != "maybe-executed"
        assert "the target's clock is" in outcome.words
        assert f"{way} the KDC's and this host's" in outcome.words
    eventually(lambda: "this service's clock is" in house.service.said(), "the service names its clock")
    house.turn("target", seconds=0)
    eventually(house.is_well, "all is well")
    assert house.executions.doubled() == []
