"""What may be written into a principal's record: caps, networks that it may ask from, names of extra claims.

Pure; knows no store. Whatever passes is canonical: the same fact is always written the same way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from orthros_kdc.issuing.token_claims import RESERVED_CLAIMS
from orthros_protocol import Misconfigured
from orthros_protocol.limits import MAX_INT

__all__ = ["check_caps", "check_sources", "check_token_claims"]

_MOST_SOURCES: Final = 64
_MOST_CLAIMS: Final = 16
_CLAIM = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def check_caps(max_ticket_s: int | None, max_jwt_s: int | None) -> dict[str, Any]:
    """Both caps by name. Raises Misconfigured `value-invalid` outside 1 to 2^63-1 seconds."""
    caps = {"max_ticket_s": max_ticket_s, "max_jwt_s": max_jwt_s}
    for what, cap in caps.items():
        if cap is not None and not 1 <= cap <= MAX_INT:
            raise Misconfigured("value-invalid", f"{what} is 1 to 2^63-1 seconds")
    return caps


def check_sources(networks: Sequence[str]) -> tuple[str, ...]:
    """The networks in canonical form, each once, IPv4 before IPv6; a single address is a network of its own.

    An IPv4 network written as IPv6 (`::ffff:192.0.2.0/120`) becomes IPv4, which is how peers of it are seen. Raises
    Misconfigured `value-invalid` for what is no network, has bits behind its prefix, or for more than 64.
    """
    found = {_network(text) for text in networks}
    if len(found) > _MOST_SOURCES:
        raise Misconfigured("value-invalid", f"{len(found)} networks, at most {_MOST_SOURCES}")
    return tuple(str(one) for one in sorted(found, key=lambda one: (one.version, one.network_address, one.prefixlen)))


def check_token_claims(names: Sequence[str]) -> tuple[str, ...]:
    """The names of extra claims, sorted, each once.

    Raises Misconfigured `value-invalid` for a reserved name, one that is not a-z, 0-9 and _ (a letter first, at most
    32 characters), or for more than 16.
    """
    unique = sorted(set(names))
    for name in unique:
        if _CLAIM.fullmatch(name) is None:
            detail = f"claim {name!r}: use a-z, 0-9 and _, a letter first, at most 32 characters"
            raise Misconfigured("value-invalid", detail)
        if name in RESERVED_CLAIMS:
            raise Misconfigured("value-invalid", f"claim {name} has a meaning of its own")
    if len(unique) > _MOST_CLAIMS:
        raise Misconfigured("value-invalid", f"{len(unique)} claims, at most {_MOST_CLAIMS}")
    return tuple(unique)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        if "%" in text:  # a link's name means something on one host only
            raise ValueError(text)
        network = ip_network(text)
    except ValueError:
        detail = f"{text!r} is no network: write 192.0.2.0/24, 2001:db8::/32 or one address, no bits behind the prefix"
        raise Misconfigured("value-invalid", detail) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network
