"""Who is charged and whose address counts: peers, and what proxies say of theirs."""

from __future__ import annotations

import pytest

from orthros_kdc.http.senders import Sender, TrustedProxies
from orthros_kdc.policy.sources import source_allowed

PROXIES = ("10.0.0.0/8", "fd00::/8", "unix")
LOCAL = Sender(source="uid:1000", address="", is_local=True)


def peer(address: str) -> Sender:
    found = Sender.at(address)
    assert found is not None
    return found


@pytest.mark.parity("L15")
@pytest.mark.parametrize(
    ("at", "forwarded", "expected"),
    [
        # Nobody trusted speaks: what the header says is what the sender made up.
        ("192.0.2.1", ["203.0.113.1"], "192.0.2.1"),
        ("2001:db8::1", ["203.0.113.1"], "2001:db8::1"),
        # One trusted proxy: the right-most entry, which it wrote itself.
        ("10.1.1.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.1.1.1", ["198.51.100.5, 203.0.113.1"], "203.0.113.1"),
        ("10.1.1.1", ["garbage,203.0.113.1"], "203.0.113.1"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.1.1.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        # Several: the right-most that is none of them.
        ("10.1.1.1", ["203.0.113.1, 10.2.2.2,fd00::5"], "203.0.113.1"),
        ("10.1.1.1", ["1.1.1.1, 203.0.113.1 , 10.2.2.2"], "203.0.113.1"),
        # Only trusted hops: the last one that somebody vouched for.
        ("10.1.1.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.1.1.1", ["203.0.113.1" + ",10.2.2.2" * 31], "203.0.113.1"),
    ],
)
def test_the_right_most_hop_that_is_not_trusted_is_the_caller(at: str, forwarded: list[str], expected: str) -> None:
    """No entry that a caller writes himself moves his address or his rate bucket."""
    found = TrustedProxies(PROXIES).caller(peer(at), forwarded)
    assert found == peer(expected)


@pytest.mark.parity("H5")
@pytest.mark.parametrize(
    ("forwarded", "vouched"),
    [
        ([], "10.1.1.1"),
        (["198.51.100.5", "203.0.113.1"], "10.1.1.1"),
        (["203.0.113.1", "203.0.113.1"], "10.1.1.1"),
        (["203.0.113.1" + ",10.2.2.2" * 32], "10.2.2.2"),
        ([""], "10.1.1.1"),
        (["203.0.113.1, unknown"], "10.1.1.1"),
        (["203.0.113.1, 10.2.2.2, "], "10.1.1.1"),
        (["203.0.113.1:4711"], "10.1.1.1"),
        (["203.0.113.1:4711, 10.2.2.2"], "10.2.2.2"),
    ],
)
def test_a_caller_whom_a_proxy_cannot_name_is_nowhere(forwarded: list[str], vouched: str) -> None:
    """The proxy pays for him, and lends nobody its own address: that may lie in a principal's networks."""
    found = TrustedProxies(PROXIES).caller(peer("10.1.1.1"), forwarded)
    assert found == Sender(source=peer(vouched).source, address="")
    assert not source_allowed(("10.0.0.0/8",), found.address)


def test_the_unix_socket_is_a_proxy_only_where_it_is_trusted() -> None:
    assert TrustedProxies(PROXIES).caller(LOCAL, ["203.0.113.1"]) == peer("203.0.113.1")
    assert TrustedProxies(PROXIES).caller(LOCAL, []) == Sender(source=LOCAL.source, address="")
    assert TrustedProxies(("10.0.0.0/8",)).caller(LOCAL, ["203.0.113.1"]) == LOCAL
    assert TrustedProxies(("unix",)).caller(peer("192.0.2.1"), ["203.0.113.1"]) == peer("192.0.2.1")


def test_a_caller_of_whom_nothing_is_known_is_trusted_with_nothing() -> None:
    unknown = Sender(source="gone", address="")
    assert TrustedProxies(PROXIES).caller(unknown, ["203.0.113.1"]) == unknown


@pytest.mark.parity("L15")
def test_an_address_has_one_spelling() -> None:
    """A mapped IPv4 address is that IPv4 address; an IPv6 network is one source."""
    assert peer("::ffff:192.0.2.1") == peer("192.0.2.1")
    assert peer("fe80::1%eth0").address == "fe80::1"
    assert peer("2001:db8::1").source == peer("2001:db8::2").source == "2001:db8::/64"
    assert Sender.at("192.0.2.01") is None
    assert Sender.at("localhost") is None
