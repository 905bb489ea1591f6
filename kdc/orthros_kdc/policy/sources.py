"""Where a principal may ask from: networks in CIDR form against the address of its transport peer.

Pure; knows no header that claims an address.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["source_allowed"]


# Records repeat few networks, and parsing one is not free.
@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


def source_allowed(networks: Sequence[str], address: str) -> bool:
    """Whether `address` lies in one of `networks`, or there are none.

    An IPv4 address that came in as IPv6 (`::ffff:192.0.2.1`) counts as IPv4. A local socket has no address, hence
    lies outside every network, as does what cannot be read.
    """
    if not networks:
        return True
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in _network(text) for text in networks)
