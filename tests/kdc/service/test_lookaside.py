"""Who made a request, as far as the KDC remembers."""

from __future__ import annotations

import math

from orthros_kdc.audit.events import SenderFacts
from orthros_kdc.audit.receipts import KEPT
from orthros_kdc.config import RateSettings
from orthros_kdc.rate_limits import RateLimiter
from orthros_kdc.service.lookaside import LookasideCache
from orthros_kdc.service.native import NativeCase
from orthros_kdc.service.shell import Maker, Rates, Shell
from orthros_protocol.exchanges.as_exchange import AsRequest
from orthros_protocol.primitives.limits import KDC_SKEW_MS
from orthros_protocol.testing import CountingEntropy, InMemoryRealm, ManualClock


def test_a_client_that_keeps_to_its_rate_is_known_as_the_maker_of_each_request() -> None:
    """From its 20,000th request within five minutes on, a client once was refused as one that copies itself."""
    clock, entropy, rate = ManualClock(), CountingEntropy(), RateSettings()
    key = InMemoryRealm("corp.test", clock=clock).add("busy").as_key()
    free = RateLimiter(per_s=math.inf, burst=1)
    rates = Rates(sources=free, principals=free, monotonic=lambda: 0.0)
    shell = Shell(lambda _: KEPT, rates, kdc_id="kdc-1", clock=clock.now, entropy=entropy)
    lookaside = LookasideCache(shell, clock.now(), lambda: clock.now() / 1000)
    allowed = round(rate.per_principal_burst + rate.per_principal_per_s * KDC_SKEW_MS / 1000)
    makers, sender = set(), SenderFacts(at=clock.now(), kdc_id="kdc-1")
    for number in range(allowed):
        tag = number.to_bytes(16, "big")
        request = AsRequest(
            key=key, nonce=tag, ts=clock.now(), service="kdc/tgt", ttl_s=0, instance=tag, context=b"", replay_tag=tag
        )
        case = NativeCase(now=clock.now(), read_at=0.0, sender=sender, address="", entropy=entropy, connection=1)
        case.client = "busy"
        makers.add(lookaside.maker_of(case, request, "as"))
        clock.advance(1 / rate.per_principal_per_s)
    assert makers == {Maker.SELF}
