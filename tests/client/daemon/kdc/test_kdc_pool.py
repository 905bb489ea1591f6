from __future__ import annotations

import socket

import pytest
import trio

from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_protocol.errors import Misconfigured, Unavailable
from tests.client.world import DaemonClock, open_world

A, B, C = "tcp://kdc-a:1", "tcp://kdc-b:1", "unix:///run/kdc.sock"


@pytest.mark.parity("K6")
@pytest.mark.parametrize("mood", ["down", "hanging", "nak", "garbage", "closing", "cut"])
async def test_one_bad_kdc_costs_the_caller_no_error(autojump_clock: trio.testing.MockClock, mood: str) -> None:
    """Whatever it does, the next one is asked: at once on failure, soon on silence."""
    async with open_world(kdcs=[A, B], moods={A: mood}) as world:
        before = trio.current_time()
        assert await world.outcome(world.key("orders")) == "held"
        assert trio.current_time() - before < 1.0
        assert str(world.agent.session.pool.last_good) == B


@pytest.mark.parity("K6")
async def test_one_dead_and_one_hanging_kdc_cost_the_caller_no_error(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(kdcs=[A, B, C], moods={A: "down", B: "hanging"}) as world:
        assert await world.outcome(world.key("orders")) == "held"


@pytest.mark.parity("K6")
async def test_the_last_good_kdc_is_asked_first(autojump_clock: trio.testing.MockClock) -> None:
    """Sticky; the dead one is not tried again for every ticket."""
    async with open_world(kdcs=[A, B], moods={A: "down"}) as world:
        assert await world.outcome(world.key("orders")) == "held"
        asked = len(world.network.asked)
        assert await world.outcome(world.key("billing")) == "held"
        assert [address for address, _ in world.network.asked[asked:]] == [B]
        world.network.moods = {B: "down"}
        assert await world.outcome(world.key("orders", "read")) == "held"
        assert str(world.agent.session.pool.last_good) == A


@pytest.mark.parity("K6")
async def test_every_attempt_has_a_nonce_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """A request that one KDC swallowed is not repeated to the next, it is made afresh."""
    async with open_world(kdcs=[A, B], moods={A: "hanging"}) as world:
        assert await world.outcome(world.key("orders")) == "held"
        assert len(set(world.network.sent)) == len(world.network.sent) > 2


@pytest.mark.parity("K6", "B2")
async def test_when_all_fail_the_error_names_each(autojump_clock: trio.testing.MockClock) -> None:
    """The operator reads what happened at every KDC."""
    async with open_world(kdcs=[A, B], moods={A: "down", B: "hanging"}) as world:
        await world.outcome(world.key("orders"), timeout_s=20)
        failure = world.agent.last_failure
        assert failure is not None
        assert failure.reason.name == "kdc-unreachable"
        assert failure.detail == f"{A}: Connection refused; {B}: no answer within 5 s"


@pytest.mark.parity("B2")
async def test_the_reference_of_a_nak_reaches_the_operator(autojump_clock: trio.testing.MockClock) -> None:
    """Unauthenticated peers get one opaque id that the operator can look up."""
    async with open_world(moods={A: "nak"}) as world:
        assert await world.outcome(world.key("orders"), timeout_s=0.2) == "unauthenticated-refusal"
        failure = world.agent.last_failure
        assert failure is not None
        assert "reference abababababababab" in failure.detail


@pytest.mark.parity("K6", "P16")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tcp://kdc.example:88", "tcp://kdc.example:88"),
        ("tcp://[::1]:88/", "tcp://[::1]:88"),
        ("unix:///run/kdc.sock", "unix:///run/kdc.sock"),
    ],
)
def test_addresses_are_read_and_shown(text: str, shown: str) -> None:
    assert str(KdcAddress.parse(text)) == shown


@pytest.mark.parity("P16")
@pytest.mark.parametrize(
    "text", ["", "kdc:88", "tcp://kdc", "tcp://:88", "tcp://kdc:99999", "udp://kdc:88", "unix://run/kdc", "tcp://a:1/b"]
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="config-invalid"):
        KdcAddress.parse(text)


async def test_a_port_that_is_closed_is_told_as_that() -> None:
    """trio says that all attempts to connect have failed, and keeps the reason beside that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    pool = KdcPool((KdcAddress.parse(f"tcp://127.0.0.1:{port}"),), DaemonClock())
    with pytest.raises(Unavailable) as caught:
        await pool.ask(lambda _: (b"anything", lambda answer, _: answer))
    assert caught.value.detail == f"tcp://127.0.0.1:{port}: Connection refused"
