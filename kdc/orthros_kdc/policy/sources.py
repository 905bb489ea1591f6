"""Where a principal may ask from: networks in CIDR form against the address of the transport peer.

Pure; knows no header that claims an address. Whatever passes `check_sources` is canonical.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import check_texts

__all__ = ["LOCAL", "check_address", "check_sources", "source_allowed"]

LOCAL: Final = "local"
"""How people write that a principal asks through a local socket."""

_MOST_SOURCES: Final = 64
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


# Records repeat few networks, and parsing one is not free.
@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


def check_sources(networks: Sequence[str]) -> tuple[str, ...]:
    """The networks in canonical form, each once, IPv4 before IPv6; a single address is a network of its own.

    An IPv4 network written as IPv6 (`::ffff:192.0.2.0/120`) becomes IPv4, which is how peers of it are seen. Raises
    Misconfigured `value-invalid` for what is no network, has bits behind its prefix, or for more than 64.
    """
    found = {_written(text) for text in check_texts(networks, "sources")}
    if len(found) > _MOST_SOURCES:
        raise Misconfigured("value-invalid", f"{len(found)} networks, at most {_MOST_SOURCES}")
    return tuple(str(one) for one in sorted(found, key=lambda one: (one.version, one.network_address, one.prefixlen)))


def _written(text: str) -> IPv4Network | IPv6Network:
    try:
        if type(text) is not str or "%" in text:  # a link's name means something on one host only
            raise ValueError(text)
        network = ip_network(text)
    except ValueError:
        detail = f"{text!r} is no network: write 192.0.2.0/24, 2001:db8::/32 or one address, no bits behind the prefix"
        raise Misconfigured("value-invalid", detail) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def check_address(text: str) -> str:
    """An IP address in canonical form, or the empty text for `local`. Raises Misconfigured `value-invalid`."""
    if text == LOCAL:
        return ""
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        raise Misconfigured("value-invalid", f"{text!r} is no IP address, nor the word {LOCAL}") from None


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
