from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.policy.sources import source_allowed

ONE = ("192.0.2.0/28", "2001:db8::/64")


def test_without_networks_anywhere_is_allowed() -> None:
    for address in ("198.51.100.1", "::1", "", "unknown"):
        assert source_allowed((), address)


@pytest.mark.parity("H5")
def test_a_local_socket_and_what_is_no_address_lie_outside() -> None:
    """Everything of IPv4 and IPv6 together does not contain what has no address."""
    for address in ("", "unknown", "192.0.2.1:443", "192.0.2.1/32", "localhost"):
        assert not source_allowed(("0.0.0.0/0", "::/0"), address)


def test_the_edges_of_a_network() -> None:
    assert [source_allowed(ONE, one) for one in ("192.0.2.0", "192.0.2.15", "192.0.2.16")] == [True, True, False]
    assert source_allowed(ONE, "2001:db8::ffff%eth0")


@pytest.mark.parity("L15", "H5")
@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_the_same_in_ipv6_clothes(number: int) -> None:
    """Mapped addresses are judged as what they map."""
    plain = str(IPv4Address(number))
    mapped = str(IPv6Address((0xFFFF << 32) | number))
    expected = number >> 4 == int(IPv4Address("192.0.2.0")) >> 4
    assert source_allowed(ONE, plain) == source_allowed(ONE, mapped) == expected
    assert not source_allowed(("::/0",), mapped)
