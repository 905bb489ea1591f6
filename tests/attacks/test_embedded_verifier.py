"""The verifier inside a service: forks, small clock steps, and what somebody without any key can make it keep."""

import copy
import pickle
from collections.abc import Callable

import pytest

from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import SAFE, USE_RAW, ApRequest, PendingAp, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm, ManualClock
from orthros_protocol.tickets.attenuation import add_caveat, join_caveats, pop_key_of, tail_of
from orthros_protocol.tickets.caveats import ScopesCaveat
from tests.support.exchange_pair import ExchangePair, ask_tgs

ENDPOINT = "orders/submit"


class Scene:
    """A client `billing`, a service `orders`, its wall clock and the monotonic one."""

    def __init__(self) -> None:
        self.realm, self.elapsed = InMemoryRealm(), ManualClock()
        for name in ("billing", "orders"):
            self.realm.add(name)
        self.verifier = self.another()
        self.advance(6)  # old enough for what may be repeated
        self.ticket = self.realm.issue("billing", "orders", scopes=("read",))

    def another(self, **options: object) -> Verifier:
        return Verifier(
            self.realm.keytab("orders").verify_only(),
            clock=self.realm.clock.now,
            monotonic_ms=self.elapsed.now,
            **options,  # type: ignore[arg-type]
        )

    def advance(self, seconds: float) -> None:
        self.realm.clock.advance(seconds)
        self.elapsed.advance(seconds)

    def request(
        self, *, ts_ahead_ms: int = 0, flags: int = SAFE, caveats: tuple[bytes, ...] = (), pop_key: bytes | None = None
    ) -> PendingAp:
        request = ApRequest(
            use=USE_RAW,
            ticket=self.ticket.ticket,
            bind=bind_raw(ENDPOINT),
            ts=Timestamp(self.realm.clock.now() + ts_ahead_ms),
            nonce=self.realm.entropy(16),
            flags=flags,
            caveats=join_caveats(caveats),
        )
        return sign_ap_request(request, pop_key or self.ticket.pop_key)


def test_replayed_after_a_small_step_forward_and_a_large_one_back() -> None:
    """Section 7: what the clock had reached before it stepped back includes steps too small to be steps."""
    scene = Scene()
    scene.verifier.accept(scene.request().message, ENDPOINT)
    scene.realm.clock.advance(0.9)
    captured = scene.request(ts_ahead_ms=4_500).message
    scene.verifier.accept(captured, ENDPOINT)
    scene.realm.clock.advance(-5)
    with pytest.raises(Refused, match="epoch-required"):
        scene.verifier.accept(scene.request().message, ENDPOINT)
    scene.advance(5)
    with pytest.raises(Refused, match="epoch-required"):
        scene.verifier.accept(captured, ENDPOINT)


def test_nothing_is_kept_for_caveats_that_nobody_has_proven() -> None:
    """Section 18: caches keyed on unauthenticated fields. One captured ticket must not fill the memory."""
    scene = Scene()
    scene.verifier.accept(scene.request().message, ENDPOINT)
    for number in range(20):
        forged = scene.request(caveats=(ScopesCaveat((f"s{number}",)).to_bytes(),), pop_key=bytes(32))
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            scene.verifier.accept(forged.message, ENDPOINT)
    assert len(scene.verifier._opened) == 1


def test_a_narrowed_ticket_is_narrowed_also_when_the_ticket_itself_is_known() -> None:
    scene = Scene()
    none = ScopesCaveat(()).to_bytes()
    narrow = pop_key_of(add_caveat(tail_of(scene.ticket.session_key, scene.ticket.ticket), none))
    for _attempt in range(2):
        assert scene.verifier.accept(scene.request().message, ENDPOINT).scopes == {"read"}
        assert scene.verifier.accept(scene.request(caveats=(none,), pop_key=narrow).message, ENDPOINT).scopes == set()
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        scene.verifier.accept(scene.request(pop_key=narrow).message, ENDPOINT)


def test_nothing_that_holds_a_session_key_can_be_pickled() -> None:
    """Section 3: key material is excluded from pickling; web frameworks pickle what a handler puts into a session."""
    scene, pair = Scene(), ExchangePair()
    caller = scene.verifier.accept(scene.request().message, ENDPOINT)
    login = pair.login()
    reply = pair.obtain(login, pair.want())
    accepted, _ = pair.call(pair.request(pair.issue()))
    ways: tuple[Callable[[object], object], ...] = (pickle.dumps, copy.deepcopy)
    for holder in (caller, scene.request(), login, reply, reply.results[0], accepted, accepted.ticket, ask_tgs(pair)):
        for export in ways:
            with pytest.raises(LocalMisuse, match="secret-not-exported"):
                export(holder)
