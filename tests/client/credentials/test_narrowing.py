from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client import Credentials
from orthros_client.credentials.narrowing import Limits, demanded_by
from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse, OrthrosError
from orthros_protocol.exchanges.ap_exchange import TargetRefusal
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.tickets.access import Access
from orthros_protocol.tickets.caveats import parse_caveat
from tests.support.parties import Parties, call, refused_as

CHANNEL, OTHER_CHANNEL = b"c" * 32, b"d" * 32
SEPARATE = {"scopes", "lifetime"}


def only_even(payload: bytes, _access: Access) -> str | None:
    """An app caveat of these tests: its payload is a number that must be even."""
    return None if int(payload) % 2 == 0 else "odd"


@pytest.fixture
def parties() -> Parties:
    return Parties()


@pytest.mark.parity("L7", "L14", "L15")
@pytest.mark.parametrize(
    ("limits", "passes", "fails"),
    [
        ({"methods": ["GET", "HEAD"]}, {"method": "GET", "path": "/a"}, {"method": "PUT", "path": "/a"}),
        ({"methods": ["GET"]}, {"method": "GET", "path": "/a"}, {}),
        ({"path": "/a/b"}, {"method": "GET", "path": "/a/b/c"}, {"method": "GET", "path": "/a/bc"}),
        ({"path": "/a"}, {"method": "GET", "path": "/a"}, {"method": "GET", "path": "/a/%2e%2e/b"}),
        ({"path": "/a"}, {"method": "GET", "path": "/a/"}, {}),
        ({"peer": ["10.0.0.0/8"]}, {"peer": "10.1.1.1"}, {"peer": "11.1.1.1"}),
        ({"peer": ["10.0.0.0/8"]}, {"peer": "::ffff:10.1.1.1"}, {}),
        ({"channel": CHANNEL}, {"channel_binding": CHANNEL}, {"channel_binding": OTHER_CHANNEL}),
        ({"channel": CHANNEL}, {"channel_binding": CHANNEL}, {}),
        ({"app": {"shop/even": b"2"}}, {}, None),
        ({"app": {"shop/even": b"3"}}, None, {}),
    ],
)
def test_each_kind_of_limit_holds_at_the_target(
    parties: Parties, limits: dict[str, Any], passes: dict[str, Any] | None, fails: dict[str, Any] | None
) -> None:
    """Added without asking anybody, judged by the target against what it sees itself."""
    verifier = parties.verifier(app_caveats={"shop/even": only_even})
    narrowed = parties.credentials("web", "orders").narrow(**limits)
    if passes is not None:
        assert call(narrowed, verifier, **passes).scopes == {"read", "write"}
    if fails is not None:
        assert refused_as(narrowed, verifier, **fails) == "caveat-refused"


@pytest.mark.parity("L7", "L19")
def test_scopes_become_fewer_and_never_more(parties: Parties) -> None:
    """And both sides know."""
    credentials, verifier = parties.credentials("web", "orders"), parties.verifier()
    reading = credentials.narrow(scopes=["read", "admin"])
    assert reading.scopes == ("read",)
    assert call(reading, verifier).scopes == {"read"}
    assert reading.narrow(scopes=["read", "write"]).scopes == ("read",)
    assert call(reading.narrow(scopes=["write"]), verifier).scopes == set()
    assert call(credentials, verifier).scopes == {"read", "write"}


@pytest.mark.parity("L15")
def test_a_shorter_life_ends_on_both_sides(parties: Parties) -> None:
    """The caller knows when, and the target refuses from that second on."""
    verifier = parties.verifier()
    narrowed = parties.credentials("web", "orders").narrow(lifetime=60)
    assert narrowed.expires_in_s == 60
    assert narrowed.narrow(lifetime=3600).expires_in_s == 60
    assert narrowed.narrow(lifetime=20).expires_in_s == 20
    call(narrowed, verifier)
    parties.realm.clock.advance(60)
    assert narrowed.expires_in_s == 0
    assert refused_as(narrowed, verifier) == "caveat-refused"


@pytest.mark.parametrize("wrong_ms", [-1_000_000, 250, 1_000_000])
def test_a_life_is_counted_in_the_realms_time(parties: Parties, wrong_ms: int) -> None:
    """A host whose clock is wrong knows by how much."""
    credentials = parties.credentials("web", "orders", wrong_ms=wrong_ms)
    narrowed = credentials.narrow(lifetime=60)
    assert narrowed.caveats == (Limits(expires_at=parties.second + 60).to_caveats())
    assert narrowed.expires_in_s == pytest.approx(60)


@pytest.mark.parity("L7")
def test_narrowing_twice_is_narrowing_by_both(parties: Parties) -> None:
    """Each step only adds, and the order is kept."""
    verifier = parties.verifier()
    credentials = parties.credentials("web", "orders")
    both = credentials.narrow(scopes=["read"], peer=["10.0.0.0/8"]).narrow(methods=["GET"], path="/a")
    kinds = [type(parse_caveat(one)).__name__ for one in both.caveats]
    assert kinds == ["ScopesCaveat", "PeerCaveat", "MethodsCaveat", "PathCaveat"]
    assert call(both, verifier, method="GET", path="/a/b", peer="10.0.0.1").scopes == {"read"}
    for wrong in ({"method": "PUT"}, {"path": "/b"}, {"peer": "11.0.0.1"}):
        options = {"method": "GET", "path": "/a/b", "peer": "10.0.0.1"} | wrong
        assert refused_as(both, verifier, **options) == "caveat-refused"


def test_what_was_learnt_of_the_target_is_shared(parties: Parties) -> None:
    """First contact is paid once, whoever made it."""
    credentials, verifier = parties.credentials("web", "orders"), parties.verifier()
    narrowed = credentials.narrow(scopes=["read"])
    call(narrowed, verifier)
    epoch, _offset = credentials.peer.read()
    assert epoch is not None
    assert narrowed.peers is credentials.peers


def test_nothing_secret_shows_or_leaves(parties: Parties) -> None:
    """Not in repr, not by pickle, not by copy."""
    narrowed = parties.credentials("web", "orders").narrow(scopes=["read"])
    text = repr(narrowed)
    for secret in (narrowed.tail, narrowed.ticket):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(narrowed)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        copy.deepcopy(narrowed)


def test_targets_are_for_ticket_granting_tickets(parties: Parties) -> None:
    """A service ticket has its target already."""
    with pytest.raises(LocalMisuse, match="ticket-granting"):
        parties.credentials("web", "orders").narrow(targets=[parties.realm.principal("orders")])
    (caveat,) = Limits(targets=[parties.realm.principal("orders")]).to_caveats()
    assert type(parse_caveat(caveat)).__name__ == "TargetsCaveat"


@pytest.mark.parametrize(
    "limits",
    [
        {"scopes": "read"},
        {"scopes": ["Read!"]},
        {"methods": "GET"},
        {"methods": ["get"]},
        {"path": "orders"},
        {"path": "/a/../b"},
        {"path": "/a%2fb"},
        {"lifetime": 0},
        {"lifetime": -5},
        {"lifetime": 10**9},
        {"lifetime": float("nan")},
        {"peer": "10.0.0.0/8"},
        {"peer": ["10.0.0.1/8"]},
        {"peer": ["::ffff:10.0.0.0/104"]},
        {"channel": b"short"},
        {"app": {"no-namespace": b""}},
        {"app": {"shop/even": b"x" * 361}},
    ],
)
def test_a_limit_that_no_caveat_can_hold(parties: Parties, limits: dict[str, Any]) -> None:
    """Said before anything is built."""
    with pytest.raises(OrthrosError) as told:
        parties.credentials("web", "orders").narrow(**limits)
    assert told.value.code in {"value-invalid", "scope-invalid"}


def test_the_seventeenth_caveat_is_not_added(parties: Parties) -> None:
    """Section 17: 17th; the target would refuse it, so the holder is told."""
    credentials, verifier = parties.credentials("web", "orders"), parties.verifier()
    for _round in range(16):
        credentials = credentials.narrow(scopes=["read"])
    call(credentials, verifier)
    with pytest.raises(LocalMisuse, match="at most 16"):
        credentials.narrow(scopes=["read"])


def test_no_limit_leaves_everything(parties: Parties) -> None:
    narrowed = parties.credentials("web", "orders").narrow()
    assert narrowed.caveats == ()
    assert call(narrowed, parties.verifier()).scopes == {"read", "write"}


def test_a_caveat_or_demand_that_is_not_understood_names_nobody() -> None:
    """A newer version's caveat is the target's to judge."""
    (demanded,) = demanded_by([b"\x91\xcc\xc8", b"\xff", b"\x91\xff"], [b"\xff\xff"])
    assert demanded.discharger is None


# Each list of limits against each request: what passes shrinks, and so do the scopes.
LIMITS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"scopes": st.lists(st.sampled_from(["read", "write", "admin"]), max_size=3)}),
        st.fixed_dictionaries({"methods": st.lists(st.sampled_from(["GET", "PUT", "POST"]), max_size=2)}),
        st.fixed_dictionaries({"path": st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/b"])}),
        st.fixed_dictionaries({"lifetime": st.sampled_from([1, 30, 31, 3600])}),
        st.fixed_dictionaries({"peer": st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "::/0"]), max_size=2)}),
        st.fixed_dictionaries({"channel": st.sampled_from([CHANNEL, OTHER_CHANNEL])}),
        st.fixed_dictionaries({"app": st.just({"shop/even": b"2"}) | st.just({"shop/even": b"1"})}),
        st.fixed_dictionaries({"app": st.just({"shop/unheard": b""})}),
    ),
    max_size=5,
)
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "method": st.sampled_from(["GET", "PUT"]),
            "path": st.sampled_from(["/a", "/a/b/c", "/b", "/a/../b"]),
            "peer": st.sampled_from([None, "10.1.2.3", "10.2.2.3", "192.0.2.1", "2001:db8::1"]),
            "channel": st.sampled_from([None, CHANNEL]),
        }
    ),
    min_size=1,
    max_size=3,
)


def allowed(credentials: Credentials, verifier: Verifier, request: dict[str, Any]) -> frozenset[str] | None:
    """The scopes that the target sees, None when it refuses."""
    try:
        return call(credentials, verifier, **request).scopes
    except TargetRefusal:
        return None


@pytest.mark.parity("L7", "B4")
@given(first=LIMITS, second=LIMITS, requests=REQUESTS, later_s=st.sampled_from([0, 30]))
def test_adding_any_caveat_never_grants_more(
    first: list[dict[str, Any]], second: list[dict[str, Any]], requests: list[dict[str, Any]], later_s: int
) -> None:
    """Whatever is added, the accepted requests and the scopes are a subset of those before."""
    parties = Parties()
    verifier = parties.verifier(app_caveats={"shop/even": only_even})
    wider = parties.credentials("web", "orders")
    for limits in first:
        wider = wider.narrow(**limits)
    narrower = wider
    for limits in second:
        narrower = narrower.narrow(**limits)
    assert set(narrower.scopes) <= set(wider.scopes)
    assert narrower.expires_in_s <= wider.expires_in_s
    parties.realm.clock.advance(later_s)
    for request in requests:
        before, after = allowed(wider, verifier, request), allowed(narrower, verifier, request)
        assert after is None or (before is not None and after <= before)
        if after is not None:
            assert after == set(narrower.scopes)


@pytest.mark.parity("L15")
@given(limits=LIMITS)
def test_what_one_object_says_of_its_life_the_target_says_too(limits: list[dict[str, Any]]) -> None:
    """The end that the caller is told is the target's."""
    parties = Parties()
    credentials = parties.credentials("web", "orders")
    for one in limits:
        credentials = credentials.narrow(**{key: value for key, value in one.items() if key in SEPARATE})
    verifier = parties.verifier()
    left_s = credentials.expires_in_s
    parties.realm.clock.advance(int(left_s) - 1)
    call(credentials, verifier)
    parties.realm.clock.advance(1)
    assert credentials.expires_in_s == 0
    with pytest.raises(TargetRefusal, match=r"caveat-refused|ticket-expired"):
        call(credentials, verifier)
    assert Timestamp(parties.realm.clock.now()) % 1000 == 0
