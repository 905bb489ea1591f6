"""One request in, one answer out: gather facts, decide, issue, record, in that order.

The async shell around the pure decisions of `issuing/`; knows no streams. Whatever a message says, the
answer is a reply, a sealed error, or one opaque NAK whose reference finds the reason in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from attrs import evolve

from orthros_kdc.audit.events import AsIssued, AsRefused, Event, SenderFacts
from orthros_kdc.audit.receipts import Receipt
from orthros_kdc.issuing.as_exchange import AS_ENTROPY, is_known, issue_initial_ticket
from orthros_kdc.process.clock_guard import ClockGuard
from orthros_kdc.process.native_port import Answer
from orthros_kdc.realm.principals import LoginView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.view import RealmMoment, RealmView
from orthros_kdc.reasons import NO_ROOM
from orthros_kdc.service.gate import Gate, RateLimited
from orthros_kdc.service.peers import Copies, Maker, Peer, payer_of, require_source, sealable
from orthros_kdc.service.ratelimit import RateLimiter
from orthros_kdc.service.tgs_service import TgsService
from orthros_protocol import (
    AS_REQ,
    TGS_REQ,
    Malformed,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    Signed,
    Timestamp,
    build_nak,
    parse_as_request,
    parse_signed,
    seal_as_error,
    verify_as_request,
)
from orthros_protocol.primitives.derivation import mac
from orthros_protocol.primitives.sealing import ENTROPY_BYTES
from orthros_runtime.serving.turns import Turns

__all__ = ["KdcService"]

_DECOY_KEY: Final = bytes(32)


class KdcService:
    """Answers AS and TGS requests of one realm.

    `record` takes audit events and raises Unavailable when it cannot keep them: then nothing is issued.
    """

    def __init__(
        self,
        view: RealmView,
        record: Callable[[Event], Receipt],
        *,
        kdc_id: str,
        clock: Callable[[], Timestamp],
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
        sources: RateLimiter,
        principals: RateLimiter,
        turns: Turns | None = None,
        guard: ClockGuard | None = None,
    ) -> None:
        self._view = view
        self._gate = Gate(
            record,
            kdc_id=kdc_id,
            monotonic=monotonic,
            entropy=entropy,
            sources=sources,
            principals=principals,
            turns=turns,
            guard=guard,
        )
        self._kdc_id = kdc_id
        self._clock = clock
        self._entropy = entropy
        self._copies = Copies(self._gate, clock(), monotonic)
        self._tgs = TgsService(view, self._gate, self._copies, entropy)

    async def answer(self, message: bytes, source: str, address: str = "", connection: int = 0) -> Answer:
        """The answer to one message from `source` (see `server.py`). Never raises for what a peer does.

        `address` is the IP address of the peer, empty on a local socket: that lies outside every network.
        """
        await self._gate.turn(source)
        now, read_at = self._clock(), trio.current_time()
        try:
            self._gate.charge_source(source, len(message))
        except RateLimited as error:
            # A sender over its rate gets one answer and is disconnected: an answer costs more than a frame.
            return evolve(self._nak(error, source, now), last=True)
        peer = Peer(source, address, connection)
        try:
            signed = parse_signed(message)
            if signed.kind == AS_REQ:
                return await self._answer_as(signed, peer, now, read_at)
            if signed.kind == TGS_REQ:
                return await self._tgs.answer(signed, peer, now, read_at)
            raise Malformed(f"messages of kind {signed.kind} are not served here")
        except OrthrosError as error:
            return self._nak(error, source, now)

    def turn_away(self, source: str, cause: str) -> bytes:
        """The message for a connection from `source` that there is no room for."""
        return self._nak(Refused(NO_ROOM, cause), source, self._clock()).message

    def reject(self, source: str, error: OrthrosError, size: int) -> None:
        """Counts `size` bytes from `source` that were no message, as a malformed message of that size counts."""
        self._gate.reject_bytes(error, source, size, self._clock())

    def sum_up(self, at: Timestamp, *, all_of_them: bool = False) -> None:
        """Writes the summaries of refusals that are due; call it once a second, and with `all_of_them` at the end."""
        self._gate.sum_up(at, all_of_them=all_of_them)

    def _nak(self, error: OrthrosError, source: str, now: Timestamp) -> Answer:
        return Answer(build_nak(self._gate.reject(error, source, now)))

    async def _answer_as(self, signed: Signed, peer: Peer, now: Timestamp, read_at: float) -> Answer:
        unverified = parse_as_request(signed)

        def gather(moment: RealmMoment) -> tuple[RealmFacts, LoginView | None]:
            is_ours = unverified.realm == moment.facts.record.realm
            return moment.facts, moment.login(unverified.kid) if is_ours else None

        realm, login = await self._view.settled(gather)
        if login is None or not is_known(login, now):
            # The same work as for a known key, so that timing does not tell which keys exist.
            mac(_DECOY_KEY, "as-req", signed.body)
            raise PeerMisbehaved("unknown-key", f"kid {unverified.kid.hex()} realm {unverified.realm}")
        request = verify_as_request(unverified, login.key)
        client = login.principal.name
        sender = SenderFacts(at=now, kdc_id=self._kdc_id, source=peer.source)
        about = sender.of_client(client)
        maker = Maker.UNKNOWN

        def refused(error: OrthrosError) -> bytes:
            ref = self._gate.refuse(
                client,
                lambda ref: AsRefused(
                    about=about,
                    service=unverified.service,
                    code=error.code,
                    detail=error.detail,
                    ref=ref.hex(),
                ),
                is_own=maker is Maker.SELF,
            )
            refusal = sealable(error, ref)
            return seal_as_error(
                request,
                refusal.code,
                now=now,
                entropy=self._entropy(ENTROPY_BYTES),
                retry_s=refusal.retry_s,
                detail=refusal.detail,
            )

        try:
            maker = self._copies.maker_of(request, sender, client, "as")
            self._gate.charge(payer_of(client, maker))
            require_source(login.principal, peer)
            self._gate.require_issuing()
            issued = issue_initial_ticket(
                request,
                unverified,
                login,
                realm,
                kdc_id=self._kdc_id,
                now=now,
                entropy=self._entropy(AS_ENTROPY),
            )
            receipt = self._gate.issue(
                AsIssued(
                    about=about,
                    service=issued.service,
                    kvno=login.key.kvno,
                    ttl_s=issued.ttl_s,
                    tid=issued.tid.hex(),
                    txn=issued.txn.hex(),
                ),
                payer_of(client, maker),
                read_at=read_at,
            )
        except OrthrosError as error:
            return Answer(refused(error))
        return Answer(issued.reply, receipt=receipt, instead=refused)
