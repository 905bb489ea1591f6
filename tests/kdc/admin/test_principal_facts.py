"""Networks and names of claims: one spelling each, and nothing that means something else."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.admin.principal_facts import check_sources, check_token_claims
from orthros_kdc.issuing.token_claims import RESERVED_CLAIMS
from orthros_kdc.policy.sources import source_allowed
from orthros_protocol.errors import Misconfigured


@pytest.mark.parity("H5")
@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::0/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_has_one_spelling(written, stored):
    """Stored canonically."""
    assert check_sources([written]) == (stored,)
    assert check_sources([stored]) == (stored,)


def test_networks_are_a_set_in_one_order():
    written = ["2001:db8::/32", "10.2.0.0/16", "::ffff:10.2.0.0/112", "9.0.0.0/8", "10.2.0.0/24"]
    assert check_sources(written) == ("9.0.0.0/8", "10.2.0.0/16", "10.2.0.0/24", "2001:db8::/32")
    assert check_sources([]) == ()


@pytest.mark.parity("H5")
@pytest.mark.parametrize(
    "wrong",
    ["", "any", "unix", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8 ", " 10.0.0.0/8", "010.0.0.0/8",
     "10.0/8", "2001:db8::1/32", "fe80::1%eth0", "fe80::%1/64", "::ffff:10.0.0.1/104", "example.org",
     "10.0.0.0/8,11.0.0.0/8", "1"],
)  # fmt: skip
def test_what_is_no_network_is_refused(wrong):
    """A slip of the pen is an error and no wider net."""
    with pytest.raises(Misconfigured, match="value-invalid"):
        check_sources(["192.0.2.0/24", wrong])


def test_there_are_at_most_64_networks():
    many = [f"10.0.{at}.0/24" for at in range(65)]
    assert len(check_sources(many[:64])) == 64
    with pytest.raises(Misconfigured, match="value-invalid"):
        check_sources(many)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_both_spellings_of_an_ipv4_network_hold_the_same_peers(peer, inside, prefix):
    network = ipaddress.IPv4Network((int(inside), prefix), strict=False)
    mapped = f"::ffff:{network.network_address}/{96 + prefix}"
    assert check_sources([mapped]) == check_sources([str(network)]) == (str(network),)
    for address in (str(peer), f"::ffff:{peer}"):
        assert source_allowed(check_sources([mapped]), address) is (peer in network)


def test_claims_are_a_set_in_one_order():
    assert check_token_claims(["tenant", "region", "tenant"]) == ("region", "tenant")
    assert check_token_claims([]) == ()


@pytest.mark.parametrize(
    "wrong", ["", "Tenant", "1st", "_x", "a-b", "a.b", "a b", "ä", "a" * 33, "https://x/claim", "a\n"]
)
def test_other_names_are_no_claims(wrong):
    with pytest.raises(Misconfigured, match="value-invalid"):
        check_token_claims(["tenant", wrong])


def test_no_claim_that_means_something_can_be_filled_in_by_a_client():
    of_ours = "iss sub aud exp nbf iat jti act may_act scope client_id auth_time txn ext kdc typ"
    assert set(of_ours.split()) <= RESERVED_CLAIMS
    for name in RESERVED_CLAIMS:
        with pytest.raises(Misconfigured, match="value-invalid"):
            check_token_claims([name])


def test_there_are_at_most_16_claims():
    many = [f"claim_{at}" for at in range(17)]
    assert len(check_token_claims(many[:16])) == 16
    with pytest.raises(Misconfigured, match="value-invalid"):
        check_token_claims(many)
