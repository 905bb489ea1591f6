"""The public fakes behave like a realm, so that tests written with them mean something."""

from typing import Any

import pytest

from orthros_protocol import WANT_JWT, Granted, KdcRefusal, NotGranted, build_as_request, open_as_reply
from orthros_protocol.testing import CountingEntropy, InMemoryRealm, ManualClock
from tests.support.exchange_pair import ExchangePair, ask_tgs
from tests.support.naive import dec


def code_of(pair: ExchangePair, **want: Any) -> str:
    result = pair.obtain(pair.login(), pair.want(**want)).results[0]
    return "granted" if isinstance(result, Granted) else result.reason.name


def test_each_refusal_has_its_code() -> None:
    pair = ExchangePair()
    assert code_of(pair) == "granted"
    assert code_of(pair, scopes=("admin",)) == "no-scope-left"
    assert code_of(pair, kind=WANT_JWT) == "jwt-not-enabled"
    pair.realm.disable("payroll")
    assert code_of(pair) == "target-unavailable"
    pair.realm.enable("payroll")
    pair.realm.deny("billing", "payroll")
    assert code_of(pair) == "not-granted"


def test_a_request_from_another_time_is_refused_under_seal() -> None:
    pair = ExchangePair()
    asked = ask_tgs(pair)
    pair.realm.clock.advance(-301)
    reply = pair.realm.handle(asked.message)
    assert dec(reply)[:2] == [1, 1]


def test_a_disabled_client_cannot_log_in() -> None:
    realm = InMemoryRealm("other.realm")
    key = realm.add("host").as_key()
    realm.disable("host")
    asked = build_as_request(
        key, service="kdc/tgt", ttl_s=0, instance=bytes(16), now=realm.clock.now(), nonce=bytes(16)
    )
    with pytest.raises(KdcRefusal, match="principal-disabled"):
        open_as_reply(asked, key, realm.handle(asked.message))
    assert realm.handled == 1


def test_entropy_is_the_same_in_every_run_and_never_repeats() -> None:
    one, two = CountingEntropy(), CountingEntropy()
    drawn = [one(32) for _ in range(100)]
    assert drawn == [two(32) for _ in range(100)]
    assert len(set(drawn)) == 100
    assert len(one(100)) == 100


def test_the_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    start = clock.now()
    clock.advance(1.5)
    clock.advance(-0.5)
    assert clock.now() == start + 1000


def test_a_refusal_can_be_looked_up() -> None:
    pair = ExchangePair()
    result = pair.obtain(pair.login(), pair.want("orders")).results[0]
    assert isinstance(result, NotGranted)
    assert len(result.ref) == 8
