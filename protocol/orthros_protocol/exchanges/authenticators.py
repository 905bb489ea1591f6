"""What an authenticator is bound to, when it is fresh, and what a peer's clock may teach.

Pure functions of bytes and times; knows no tickets.
"""

from __future__ import annotations

import re
from functools import lru_cache

from orthros_protocol.errors import LocalMisuse, Refused
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_SYNC_ROUND_TRIP_MS, WINDOW_FUTURE_MS, WINDOW_PAST_MS
from orthros_protocol.primitives.schema import Message, binary, message, optional, text

__all__ = ["bind_raw", "check_window", "measure_offset"]

_MOST_ENDPOINT_CHARS = 255
_MOST_BINDING_BYTES = 4096
_DIGEST_BYTES = 32


@message("raw/1 binding")
class _RawBinding(Message):
    profile: str = text(re.compile(r"raw/1"), default="raw/1")
    endpoint: str = text(str.isprintable, _MOST_ENDPOINT_CHARS)
    channel_binding: bytes | None = optional(binary(0, _MOST_BINDING_BYTES))
    payload_digest: bytes = binary(_DIGEST_BYTES)


def bind_raw(endpoint: str, payload: bytes = b"", *, channel_binding: bytes | None = None) -> bytes:
    """bind32 of the profile `raw/1`: H(enc("raw/1", endpoint, channel_binding, H(payload))).

    `endpoint` is a printable ASCII name for the operation that both sides agree on, such as
    `orders/submit`; `payload` is the message that the request authorises. Raises LocalMisuse.
    """
    if not (endpoint.isprintable() and 1 <= len(endpoint) <= _MOST_ENDPOINT_CHARS and endpoint.isascii()):
        raise LocalMisuse("value-invalid", "an endpoint is 1 to 255 printable ASCII characters")
    # The encoding ends with the payload's digest, so everything before it is the same for every call.
    return digest(_raw_prefix(endpoint, channel_binding) + digest(payload))


@lru_cache(maxsize=1024)
def _raw_prefix(endpoint: str, channel_binding: bytes | None) -> bytes:
    binding = _RawBinding(endpoint=endpoint, channel_binding=channel_binding, payload_digest=bytes(_DIGEST_BYTES))
    return binding.encode()[:-_DIGEST_BYTES]


def check_window(ts: Timestamp, now: Timestamp) -> None:
    """Raises Refused `clock-skew` unless `ts` is at most 60 s past and 5 s ahead of `now`."""
    if ts < now - WINDOW_PAST_MS:
        raise Refused("clock-skew", f"{(now - ts) / 1000:.1f} s old, at most {WINDOW_PAST_MS // 1000} s")
    if ts > now + WINDOW_FUTURE_MS:
        raise Refused("clock-skew", f"{(ts - now) / 1000:.1f} s ahead, at most {WINDOW_FUTURE_MS // 1000} s")


def measure_offset(
    peer_time: Timestamp, *, sent: Timestamp, round_trip_ms: int, most_ms: int | None = None
) -> int | None:
    """How many milliseconds the peer's clock is ahead of ours, or None when nothing may be learnt.

    Only for times from a sealed or MACed reply to our own request. `sent` is our wall clock at sending,
    `round_trip_ms` was measured on the monotonic clock: 5 s or more teach nothing. `most_ms` caps the size.
    """
    if not 0 <= round_trip_ms < MAX_SYNC_ROUND_TRIP_MS:
        return None
    offset = peer_time - (sent + round_trip_ms // 2)
    if most_ms is not None and abs(offset) > most_ms:
        return None
    return offset
