"""Who made a request, as far as the KDC remembers."""

from __future__ import annotations

import math

from orthros_kdc.audit.events import SenderFacts
from orthros_kdc.audit.receipts import KEPT
from orthros_kdc.config import RateSettings
from orthros_kdc.service.gate import Gate
from orthros_kdc.service.peers import Copies, Maker
from orthros_kdc.service.ratelimit import RateLimiter
from orthros_protocol import AsRequest
from orthros_protocol.primitives.limits import KDC_SKEW_MS
from orthros_protocol.testing import CountingEntropy, InMemoryRealm, ManualClock


def test_a_client_that_keeps_to_its_rate_is_known_as_the_maker_of_each_request() -> None:
    """From its 20,000th request within five minutes on, a client once was refused as one that copies itself."""
    clock, entropy, rate = ManualClock(), CountingEntropy(), RateSettings()
    key = InMemoryRealm("corp.test", clock=clock).add("busy").as_key()
    free = RateLimiter(per_s=math.inf, burst=1)
    gate = Gate(lambda _: KEPT, kdc_id="kdc-1", monotonic=lambda: 0.0, entropy=entropy, sources=free, principals=free)
    copies = Copies(gate, clock.now(), lambda: clock.now() / 1000)
    allowed = round(rate.per_principal_burst + rate.per_principal_per_s * KDC_SKEW_MS / 1000)
    makers = set()
    for number in range(allowed):
        tag = number.to_bytes(16, "big")
        request = AsRequest(
            key=key, nonce=tag, ts=clock.now(), service="kdc/tgt", ttl_s=0, instance=tag, context=b"", replay_tag=tag
        )
        makers.add(copies.maker_of(request, SenderFacts(at=clock.now(), kdc_id="kdc-1"), "busy", "as"))
        clock.advance(1 / rate.per_principal_per_s)
    assert makers == {Maker.SELF}
