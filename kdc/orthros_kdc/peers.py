"""Whoever asks in the native exchanges: where it sits, who pays, whether it made the request itself, what it may learn.

Shared by both exchanges; issues nothing and knows no streams.
"""

from __future__ import annotations

from collections.abc import Hashable

import structlog
from attrs import frozen

from orthros_kdc.audit.events import RequestReplayed
from orthros_kdc.gate import Gate
from orthros_kdc.policy.sources import source_allowed
from orthros_kdc.store.base import PrincipalRecord
from orthros_protocol import (
    Admission,
    AsRequest,
    OrthrosError,
    Refused,
    ReplaySet,
    TgsRequest,
    Timestamp,
    reason_for,
)
from orthros_protocol.limits import KDC_SKEW_MS

__all__ = ["Copies", "Peer", "Sealable", "payer_of", "require_source", "sealable"]

_log = structlog.get_logger(__name__)


@frozen
class Peer:
    """Whom to charge, and where it sits."""

    source: str
    address: str


@frozen
class Sealable:
    """What the caller may learn of why it is refused."""

    code: str
    detail: str
    retry_s: int


class Copies:
    """Tells the maker of a request from those who copied it.

    Replays are harmless here, since a reply opens only for the first asker; they are charged and reported.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._seen = ReplaySet(capacity=200_000, per_client=20_000, past_ms=KDC_SKEW_MS)

    def is_makers_own(
        self, request: AsRequest | TgsRequest, now: Timestamp, exchange: str, client: str, source: str
    ) -> bool:
        """Whether the sender proved the key himself: what was seen before, or is out of its time, anybody may copy."""
        # Times that the window refuses take no room either: nothing would ever free it.
        if abs(request.ts - now) > KDC_SKEW_MS:
            return False
        if self._seen.admit(request.replay_tag, request.ts, now, client) is not Admission.SEEN:
            return True
        self._gate.record(
            RequestReplayed(at=now, kdc_id=self._gate.kdc_id, source=source, client=client, exchange=exchange)
        )
        return False


def require_source(principal: PrincipalRecord, peer: Peer) -> None:
    """H5: a key that was copied to elsewhere is of no use there. Raises Refused `source-refused`."""
    if not source_allowed(principal.sources, peer.address):
        raise Refused("source-refused")


def payer_of(client: str, is_own: bool) -> Hashable:
    """Copies are answered, for the answer opens for the maker only; but they must not use up the maker's share."""
    return client if is_own else ("copies", client)


def sealable(error: OrthrosError, ref: bytes) -> Sealable:
    """What the caller may learn: refusals as they are, troubles of the KDC only as such."""
    if isinstance(error, Refused) and reason_for(error.code).number:
        return Sealable(error.code, error.detail, getattr(error, "retry_s", 0))
    _log.error("request failed", code=error.code, detail=error.detail, ref=ref.hex())
    return Sealable("kdc-fault", f"reference {ref.hex()}", 1)
