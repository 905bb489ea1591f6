"""Where a request came from: the other end of its connection, or whom a trusted proxy names.

Believes one header in one spelling, from its right end, and only from networks that are configured.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from orthros_client.http.server.incoming import IncomingRequest
from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured
from orthros_protocol.primitives.names import check_texts
from orthros_protocol.tickets.access import Address, Network, canonical_network, parse_address

__all__ = ["check_networks", "peer_of"]

_FORWARDED_FOR: Final = "x-forwarded-for"
# Where servers take an address from that they then give as that of the connection.
_SOURCES: Final = (_FORWARDED_FOR, "forwarded", "x-real-ip")
_MOST_HOPS: Final = 32
_MOST_HOP_BYTES: Final = 64


def check_networks(networks: Iterable[str]) -> tuple[Network, ...]:
    """Networks of trusted proxies, in CIDR form. Raises Misconfigured."""
    try:
        return tuple(canonical_network(network) for network in check_texts(networks, "trusted_proxies"))
    except Malformed as error:
        raise Misconfigured("config-invalid", f"trusted_proxies: {error.detail}") from None


def peer_of(request: IncomingRequest, trusted_proxies: tuple[Network, ...]) -> Address | None:
    """The address of the caller, None when it is unknown. Looks at 32 entries of a header at most.

    The transport's other end, unless that is a trusted proxy: then the last address in X-Forwarded-For that is not
    one. A server that has put an address of a header in the transport's place makes it unknown.
    """
    peer = _transport_address(request.transport_peer)
    if peer is None:
        return None
    if _is_within(peer, trusted_proxies):
        return _forwarded_for(request, trusted_proxies)
    return None if _is_named(peer, request) else peer


def _forwarded_for(request: IncomingRequest, trusted_proxies: tuple[Network, ...]) -> Address | None:
    # Whoever adds a second line, or one that CGI joins with it, decides what the last entry is; and a caller can have
    # some proxies drop the header (`Connection: X-Forwarded-For`), which must not lend it the proxy's own address.
    values = request.fields.values_of(_FORWARDED_FOR)
    if request.fields.spellings_of(_FORWARDED_FOR) != [_FORWARDED_FOR] or len(values) != 1:
        return None
    peer = None
    for number, hop in enumerate(reversed(values[0].rsplit(b",", _MOST_HOPS))):
        peer = _address(hop) if number < _MOST_HOPS else None
        if peer is None or not _is_within(peer, trusted_proxies):
            break
    return peer


def _is_named(peer: Address, request: IncomingRequest) -> bool:
    """Whether a header may name this address: in another form than a plain address it may, and when it is too long.

    Servers read `[address]:port` and other forms, and give what they read as the address of the connection.
    """
    fields = request.fields
    spellings = [spelling for name in fields.found(_SOURCES) for spelling in fields.spellings_of(name)]
    named = b",".join(value for spelling in spellings for value in fields.values_of(spelling))
    if len(named) > _MOST_HOPS * _MOST_HOP_BYTES or str(peer).encode("ascii") in named:
        return True
    return bool(named) and any(_address(hop) in (None, peer) for hop in named.split(b","))


@lru_cache(maxsize=1024)  # the other ends of connections are few, and no caller chooses their spelling
def _transport_address(text: str) -> Address | None:
    return _parsed(text)


def _address(hop: bytes) -> Address | None:
    text = hop.strip(b" \t")
    return None if len(text) > _MOST_HOP_BYTES else _parsed(text.decode("latin-1"))


def _parsed(text: str) -> Address | None:
    try:
        return parse_address(text)
    except LocalMisuse:
        return None


def _is_within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
