"""Who sent an HTTP request: the peer of its connection, or whom a trusted proxy names.

A header counts only as far as trusted hops vouch for it; what a caller writes into it himself never does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

import trio
from attrs import frozen

from orthros_kdc.ratelimit import source_key
from orthros_kdc.server import source_of

__all__ = ["Caller", "TrustedProxies", "peer_of"]

_MOST_HOPS: Final = 32


@frozen(kw_only=True)
class Caller:
    """`source` names the rate bucket; `address` is an IP address as text, empty for a local user."""

    source: str
    address: str
    is_local: bool = False

    @classmethod
    def at(cls, address: str) -> Caller | None:
        """The caller at this address, in its one spelling; None for what is no address."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return cls(source=source_key(str(parsed)), address=str(parsed))


def peer_of(stream: trio.abc.Stream) -> Caller:
    """The peer of a connection, before anybody vouches for anybody."""
    sock = getattr(stream, "socket", None)
    source = source_of(stream)
    if sock is None or source == "gone":
        return Caller(source=source, address="")
    if source.startswith("uid:"):
        return Caller(source=source, address="", is_local=True)
    try:
        return Caller.at(sock.getpeername()[0]) or Caller(source=source, address="")
    except OSError:
        return Caller(source="gone", address="")


class TrustedProxies:
    """The peers whose X-Forwarded-For is believed: networks in CIDR form, `unix` for the Unix socket."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        self._unix = "unix" in words
        self._networks = tuple(ipaddress.ip_network(word) for word in words if word != "unix")

    def trusts(self, peer: Caller) -> bool:
        """Whether this peer may speak for others."""
        if peer.is_local:
            return self._unix
        if not peer.address:
            return False
        address = ipaddress.ip_address(peer.address)
        return any(address in network for network in self._networks)

    def caller(self, peer: Caller, forwarded: Iterable[str]) -> Caller:
        """The right-most hop that is not trusted, from the values of every X-Forwarded-For in their order.

        Where none is left, it is the last hop that somebody vouched for. Where an entry is no address, that hop pays,
        but lends nobody its own address: who is unknown lies outside every network.
        """
        values = list(forwarded)
        if not values or not self.trusts(peer):
            return peer
        hops = ",".join(values).split(",")
        found = peer
        for hop in hops[: -_MOST_HOPS - 1 : -1]:
            named = Caller.at(hop.strip())
            if named is None:
                return Caller(source=found.source, address="")
            found = named
            if not self.trusts(named):
                return found
        return found
