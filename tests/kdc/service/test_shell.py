"""What copies of requests can cause to be written, whatever strangers do beside them; an answer is a line too."""

import math

import pytest
import trio

from orthros_kdc.audit.events import AsIssued, RequestReplayed, SenderFacts, Suppressed
from orthros_kdc.audit.receipts import KEPT
from orthros_kdc.rate_limits import RateLimiter
from orthros_kdc.reasons import NO_ROOM
from orthros_kdc.service.native import NativeCase
from orthros_kdc.service.shell import Maker, RateLimited, Rates, Shell
from orthros_protocol.errors import Refused, Unavailable
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy

SPAN_S = 40
EVERY_S = 2048
EVERY_BURST = 256 * 1024
"""The bound for all strangers together, in bytes a second and bytes."""


class Port:
    def __init__(self):
        self.now = 0.0
        self.events = []
        rates = Rates(
            sources=RateLimiter(per_s=1e9, burst=10**9),
            principals=RateLimiter(per_s=200, burst=2000),
            monotonic=lambda: self.now,
        )
        self.entropy = CountingEntropy()
        self.shell = Shell(self.record, rates, kdc_id="kdc-1", clock=lambda: Timestamp(1), entropy=self.entropy)

    def case(self, source, claimed="", read_at=math.inf):
        return NativeCase(
            now=Timestamp(1),
            read_at=read_at,
            sender=SenderFacts(at=Timestamp(1), kdc_id="kdc-1", source=source),
            address="",
            claimed=claimed,
            entropy=self.entropy,
            connection=0,
        )

    def record(self, event):
        self.events.append(event)
        return KEPT

    def copy(self, client):
        """A copy of a login of `client`, as the service answers it."""
        case = self.case("192.0.2.1")
        case.client = client
        case.sent_by(Maker.COPIER)
        about = case.sender.of_client(client)
        try:
            self.shell.replayed(client, RequestReplayed(about=about, exchange="as"))
            self.shell.rates.charge(case.payer)
            self.shell.issue(case, AsIssued(about=about, service="kdc/tgt", ttl_s=60))
        except RateLimited:
            return False
        return True

    def noise(self, number):
        self.shell.refused(self.case(f"2001:db8:{number:x}::/64", claimed="y" * 64), Refused(NO_ROOM))


@pytest.mark.parity("O5")
@pytest.mark.parametrize("noise_per_s", [0, 30])
@pytest.mark.parametrize("victims", [1, 100, 300])
async def test_copies_of_many_clients_stay_within_the_bound_of_all(noise_per_s, victims) -> None:
    """What was summed up with the rest of the strangers was answered all the same, with a line for each answer."""
    port = Port()
    for second in range(SPAN_S):
        for number in range(100):
            port.copy(f"victim-{(second * 100 + number) % victims}")
        for number in range(noise_per_s):
            port.noise(second * noise_per_s + number)
        port.now += 1
        port.shell.sum_up(Timestamp(second))
    written = sum(event.weight() for event in port.events if not isinstance(event, Suppressed))
    assert written <= EVERY_BURST + SPAN_S * EVERY_S
    summaries = sum(event.weight() for event in port.events if isinstance(event, Suppressed))
    assert summaries <= SPAN_S * EVERY_S


async def test_a_copy_of_a_login_is_answered_while_there_is_room() -> None:
    """The answer opens for the maker only, and the maker may have lost it."""
    port = Port()
    assert port.copy("shop")
    assert [event.name for event in port.events] == ["request-replayed", "as-issued"]


@pytest.mark.parity("O5")
async def test_a_decision_that_was_long_in_the_making_is_neither_recorded_nor_sent(mock_clock) -> None:
    """Its clock is old, whatever it waited for: its turn, a row, or the database that somebody else held."""
    port, read_at = Port(), trio.current_time()
    case = port.case("192.0.2.1", read_at=read_at)
    case.client = "shop"
    case.sent_by(Maker.SELF)
    event = AsIssued(about=case.sender.of_client("shop"), service="kdc/tgt", ttl_s=60)
    mock_clock.jump(1.5)
    port.shell.issue(case, event)
    assert case.receipt.decided_at == read_at
    mock_clock.jump(1)
    with pytest.raises(Unavailable, match=r"kdc-fault.*longer than 2 s"):
        port.shell.issue(case, event)
    assert port.events == [event]
