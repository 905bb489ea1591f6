"""Token buckets for sources and principals, in bounded memory.

Knows no sockets and no clock: callers pass a key and a monotonic time in seconds.

A bucket is one number, the time at which it will be full again. A full bucket and an absent one are the same
thing, so those are dropped first when the table is full. After them go the buckets that owe least, never the
least recently used ones: whoever wants his own overdrawn bucket forgotten would have to overdraw nearly
`max_keys` others as far as his own first, and what he could send that way exceeds what he gains.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from heapq import nsmallest
from typing import Final

from orthros_protocol.errors import LocalMisuse

__all__ = ["NOT_GRANTED_COST", "WANT_COST", "RateLimiter", "request_cost", "source_key"]

WANT_COST: Final = 1
NOT_GRANTED_COST: Final = 10
"""Names are not guessed at the speed of work (protocol, section 6)."""

_BYTES_A_TOKEN: Final = 1024
_MAX_KEYS: Final = 16_384
# A share of the table goes at once, so that the scan is paid for by as many new keys.
_EVICTED_SHARE: Final = 16
# Sums of floats: who waits exactly as long as told is let in.
_SLACK_S: Final = 1e-6


def source_key(peer: str | int) -> str:
    """The name of the bucket of a peer: an IPv4 address, the /64 of an IPv6 address, or a local uid.

    A host with one IPv6 address has 2^64 of them, so the network counts. Raises LocalMisuse for other text.
    """
    if isinstance(peer, int):
        return f"uid:{peer}"
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        raise LocalMisuse("value-invalid", f"{peer!r} is not an IP address") from None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


def request_cost(size: int) -> int:
    """What a request of `size` bytes costs its source, in tokens: one for each KiB that it begins.

    A frame that is larger takes longer to read, from every sender: with requests alone, the largest would be the best
    value.
    """
    return max(1, -(-size // _BYTES_A_TOKEN))


class RateLimiter:
    """Buckets of one size. A key starts with `burst` tokens and regains `per_s` tokens each second."""

    def __init__(self, *, per_s: float, burst: int, max_keys: int = _MAX_KEYS) -> None:
        if max_keys < 1:
            raise LocalMisuse("value-invalid", "a rate limiter holds at least one key")
        self._full_at: dict[Hashable, float] = {}
        self._max_keys = max_keys
        self.reconfigure(per_s=per_s, burst=burst)

    def __len__(self) -> int:
        return len(self._full_at)

    def reconfigure(self, *, per_s: float, burst: int) -> None:
        """New numbers from now on; what is owed in seconds stays owed."""
        if not (per_s > 0 and burst > 0):
            raise LocalMisuse("value-invalid", "rate and burst are above zero")
        self._per_s = per_s
        self._burst = burst
        self._capacity_s = burst / per_s

    def charge(self, key: Hashable, cost: int, now: float) -> float:
        """Takes `cost` tokens and returns 0, or takes none and returns the seconds after which it could.

        A cost above the burst counts as the burst: it must be possible to pay.
        """
        owed_s = max(self._full_at.get(key, now) - now, 0.0)
        after_s = owed_s + min(cost, self._burst) / self._per_s
        if after_s > self._capacity_s + _SLACK_S:
            return after_s - self._capacity_s
        self._set(key, now + after_s, now)
        return 0.0

    def surcharge(self, key: Hashable, cost: int, now: float) -> None:
        """Takes tokens for what turned out dearer than it looked, also those that are not there.

        The debt is at most one burst, so that a penalty ends.
        """
        owed_s = max(self._full_at.get(key, now) - now, 0.0) + cost / self._per_s
        self._set(key, now + min(owed_s, 2 * self._capacity_s), now)

    def _set(self, key: Hashable, full_at: float, now: float) -> None:
        if key not in self._full_at and len(self._full_at) >= self._max_keys:
            self._make_room(now)
        self._full_at[key] = full_at

    def _make_room(self, now: float) -> None:
        owing = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        excess = len(owing) - (self._max_keys - max(1, self._max_keys // _EVICTED_SHARE))
        for key in nsmallest(excess, owing, key=owing.__getitem__):
            del owing[key]
        self._full_at = owing
