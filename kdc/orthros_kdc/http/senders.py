"""Who sent an HTTP request: the peer of its connection, or whom a trusted proxy names.

A header counts only as far as trusted hops vouch for it; what a caller writes into it himself never does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from orthros_kdc.ports.port_server import source_of
from orthros_kdc.rate_limits import source_key
from orthros_runtime.serving.peers import Peer

__all__ = ["Sender", "TrustedProxies"]

_MOST_HOPS: Final = 32


@frozen(kw_only=True)
class Sender:
    """`source` names the rate bucket; `address` is an IP address as text, empty for a local user."""

    source: str
    address: str
    is_local: bool = False

    @classmethod
    def at(cls, address: str) -> Sender | None:
        """The caller at this address, in its one spelling; None for what is no address."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return cls(source=source_key(str(parsed)), address=str(parsed))

    @classmethod
    def of(cls, peer: Peer) -> Sender:
        """The peer of a connection, before any header is read."""
        return cls(source=source_of(peer), address=peer.address, is_local=peer.uid >= 0)


class TrustedProxies:
    """The peers whose X-Forwarded-For is believed: networks in CIDR form, `unix` for the Unix socket."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        self._unix = "unix" in words
        self._networks = tuple(ipaddress.ip_network(word) for word in words if word != "unix")

    def trusts(self, peer: Sender) -> bool:
        """Whether this peer may speak for others."""
        if peer.is_local:
            return self._unix
        if not peer.address:
            return False
        address = ipaddress.ip_address(peer.address)
        return any(address in network for network in self._networks)

    def caller(self, peer: Sender, forwarded: Sequence[str]) -> Sender:
        """The right-most hop that is not trusted, from the lines of X-Forwarded-For of a request.

        Where none is left, it is the last hop that is vouched for. A trusted peer sends exactly one line: a proxy
        that adds a line where others add an entry leaves it to the caller which one is the last, and some proxies drop
        the header when the caller asks for that. Of such a request, of one with an entry that is no address, and of one
        with more than 32, the last hop that is known pays, and the address is unknown: that lies outside every network.
        """
        if not self.trusts(peer):
            return peer
        if len(forwarded) != 1:
            return Sender(source=peer.source, address="")
        found = peer
        for number, hop in enumerate(reversed(forwarded[0].rsplit(",", _MOST_HOPS))):
            named = Sender.at(hop.strip(" \t")) if number < _MOST_HOPS else None
            if named is None:
                return Sender(source=found.source, address="")
            found = named
            if not self.trusts(named):
                return found
        return found
