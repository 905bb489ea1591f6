"""One request in, one answer out: gather facts, decide, issue, record, in that order.

The async shell around the pure decisions of `issuing/`; knows no streams. Whatever a message says, the
answer is a reply, a sealed error, or one opaque NAK whose reference finds the reason in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import evolve

from orthros_kdc.audit.events import AsIssued, AsRefused, Event
from orthros_kdc.gate import Gate, RateLimited
from orthros_kdc.issuing.as_exchange import AS_ENTROPY, is_known, issue_initial_ticket
from orthros_kdc.peers import Copies, Peer, payer_of, require_source, sealable
from orthros_kdc.ratelimit import RateLimiter
from orthros_kdc.realm_view import RealmView
from orthros_kdc.server import Answer
from orthros_kdc.tgs_service import TgsService
from orthros_protocol import (
    AS_REQ,
    TGS_REQ,
    Malformed,
    OrthrosError,
    PeerMisbehaved,
    Signed,
    Timestamp,
    build_nak,
    parse_as_request,
    parse_signed,
    seal_as_error,
    verify_as_request,
)
from orthros_protocol.derivation import mac
from orthros_protocol.sealing import ENTROPY_BYTES

__all__ = ["KdcService"]

_DECOY_KEY: Final = bytes(32)


class KdcService:
    """Answers AS and TGS requests of one realm.

    `record` takes audit events and raises Unavailable when it cannot keep them: then nothing is issued.
    """

    def __init__(
        self,
        view: RealmView,
        record: Callable[[Event], None],
        *,
        kdc_id: str,
        clock: Callable[[], Timestamp],
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
        sources: RateLimiter,
        principals: RateLimiter,
    ) -> None:
        self._view = view
        self._gate = Gate(
            record,
            kdc_id=kdc_id,
            monotonic=monotonic,
            entropy=entropy,
            sources=sources,
            principals=principals,
        )
        self._kdc_id = kdc_id
        self._clock = clock
        self._entropy = entropy
        self._copies = Copies(self._gate)
        self._tgs = TgsService(view, self._gate, self._copies, entropy)

    async def answer(self, message: bytes, source: str, address: str = "") -> Answer:
        """The answer to one message from `source` (see `server.py`). Never raises for what a peer does.

        `address` is the IP address of the peer, empty on a local socket: that lies outside every network.
        """
        now = self._clock()
        try:
            self._gate.charge_source(source)
        except RateLimited as error:
            # Whoever sends too much must not be able to go on with small change: an answer costs more than a frame.
            return evolve(self._nak(error, source, now), last=True)
        peer = Peer(source, address)
        try:
            signed = parse_signed(message)
            if signed.kind == AS_REQ:
                return await self._answer_as(signed, peer, now)
            if signed.kind == TGS_REQ:
                return await self._tgs.answer(signed, peer, now)
            raise Malformed(f"messages of kind {signed.kind} are not served here")
        except OrthrosError as error:
            return self._nak(error, source, now)

    def _nak(self, error: OrthrosError, source: str, now: Timestamp) -> Answer:
        return Answer(build_nak(self._gate.reject(error, source, now)), authenticated=False)

    async def _answer_as(self, signed: Signed, peer: Peer, now: Timestamp) -> Answer:
        realm = await self._view.realm()
        unverified = parse_as_request(signed)
        login = await self._view.login(unverified.kid) if unverified.realm == realm.record.realm else None
        if login is None or not is_known(login, now):
            # The same work as for a known key, so that timing tells nobody which keys exist.
            mac(_DECOY_KEY, "as-req", signed.body)
            raise PeerMisbehaved("unknown-key", f"realm {unverified.realm} kid {unverified.kid.hex()}")
        request = verify_as_request(unverified, login.key)
        client = login.principal.name
        is_own = False
        try:
            is_own = self._copies.is_makers_own(request, now, "as", client, peer.source)
            self._gate.charge(payer_of(client, is_own))
            require_source(login.principal, peer)
            issued = issue_initial_ticket(
                request,
                unverified,
                login,
                realm,
                kdc_id=self._kdc_id,
                now=now,
                entropy=self._entropy(AS_ENTROPY),
            )
            self._gate.record(
                AsIssued(
                    at=now,
                    kdc_id=self._kdc_id,
                    source=peer.source,
                    client=client,
                    service=issued.service,
                    kvno=login.key.kvno,
                    ttl_s=issued.ttl_s,
                    tid=issued.tid.hex(),
                    txn=issued.txn.hex(),
                )
            )
            return Answer(issued.reply, authenticated=is_own)
        except OrthrosError as error:
            ref = self._gate.new_ref()
            refusal = sealable(error, ref)
            self._gate.record_refusal(
                AsRefused(
                    at=now,
                    kdc_id=self._kdc_id,
                    source=peer.source,
                    client=client,
                    service=unverified.service,
                    code=error.code,
                    detail=error.detail,
                    ref=ref.hex(),
                )
            )
            reply = seal_as_error(
                request,
                refusal.code,
                now=now,
                entropy=self._entropy(ENTROPY_BYTES),
                retry_s=refusal.retry_s,
                detail=refusal.detail,
            )
            return Answer(reply, authenticated=is_own)
