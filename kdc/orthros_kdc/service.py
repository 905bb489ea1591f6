"""One request in, one answer out: gather facts, decide, issue, record, in that order.

The async shell around the pure decisions of `issuing/`; knows no streams. Whatever a message says, the
answer is a reply, a sealed error, or one opaque NAK whose reference finds the reason in the audit log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from typing import Any, Final

import structlog
from attrs import evolve, frozen

from orthros_kdc.audit.events import (
    AsIssued,
    AsRefused,
    Event,
    RequestReplayed,
    TgsIssued,
    TgsRefused,
)
from orthros_kdc.gate import Gate, RateLimited
from orthros_kdc.issuing.as_exchange import AS_ENTROPY, is_known, issue_initial_ticket
from orthros_kdc.issuing.tgs_exchange import ENTROPY_PER_WANT, Decided, WantFacts, check_caller, decide_want
from orthros_kdc.policy.sources import source_allowed
from orthros_kdc.ratelimit import RateLimiter
from orthros_kdc.realm_view import ClientView, RealmFacts, RealmView
from orthros_kdc.server import Answer
from orthros_kdc.store.base import PrincipalRecord
from orthros_protocol import (
    AS_REQ,
    DELEGABLE,
    TGS_REQ,
    WANT_JWT,
    Admission,
    AsRequest,
    Granted,
    Malformed,
    NotGranted,
    OpenedTgt,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    ReplaySet,
    Signed,
    TgsRequest,
    Timestamp,
    UnverifiedTgsRequest,
    Want,
    build_nak,
    open_tgt,
    parse_as_request,
    parse_signed,
    parse_tgs_request,
    reason_for,
    seal_as_error,
    seal_tgs_error,
    seal_tgs_reply,
    verify_as_request,
    verify_tgs_request,
)
from orthros_protocol.derivation import digest, mac
from orthros_protocol.limits import KDC_SKEW_MS, MAX_FRAME_BYTES
from orthros_protocol.sealing import ENTROPY_BYTES

__all__ = ["KdcService"]

_OPENED_TGTS: Final = 8192
# Names, key, times and notes of one result; and what a reply may hold before its last result, which is itself
# at most a ticket of 8 KiB with 2 KiB of scopes.
_RESULT_BYTES: Final = 640
_REPLY_BUDGET_BYTES: Final = MAX_FRAME_BYTES - 12 * 1024
_DECOY_KEY: Final = bytes(32)
_log = structlog.get_logger(__name__)


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
        self._opened: OrderedDict[tuple[int, bytes], OpenedTgt] = OrderedDict()
        # Replays are harmless here, since a reply opens only for the first asker; they are charged and reported.
        self._seen = ReplaySet(capacity=200_000, per_client=20_000, past_ms=KDC_SKEW_MS)

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
        peer = _Peer(source, address)
        try:
            signed = parse_signed(message)
            if signed.kind == AS_REQ:
                return await self._answer_as(signed, peer, now)
            if signed.kind == TGS_REQ:
                return await self._answer_tgs(signed, peer, now)
            raise Malformed(f"messages of kind {signed.kind} are not served here")
        except OrthrosError as error:
            return self._nak(error, source, now)

    def _nak(self, error: OrthrosError, source: str, now: Timestamp) -> Answer:
        return Answer(build_nak(self._gate.reject(error, source, now)), authenticated=False)

    # The initial exchange

    async def _answer_as(self, signed: Signed, peer: _Peer, now: Timestamp) -> Answer:
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
            is_own = self._is_makers_own(request, now, "as", client, peer.source)
            self._gate.charge(_payer(client, is_own))
            _require_source(login.principal, peer)
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
            refusal = _sealable(error, ref)
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

    # The ticket-granting exchange

    async def _answer_tgs(self, signed: Signed, peer: _Peer, now: Timestamp) -> Answer:
        realm = await self._view.realm()
        unverified = parse_tgs_request(signed)
        request = verify_tgs_request(unverified, self._open_tgt(unverified, realm))
        tgt = request.tgt.ticket
        client = await self._view.client(tgt.client_uid)
        is_own = False
        try:
            caller = check_caller(request, unverified, client, now)
            is_own = self._is_makers_own(request, now, "tgs", caller.principal.name, peer.source)
            payer = _payer(caller.principal.name, is_own)
            self._gate.charge(payer)
            _require_source(caller.principal, peer)
            results = await self._decide_all(request, caller, realm, now, payer, peer)
            reply = seal_tgs_reply(
                request,
                results,
                kdc_id=self._kdc_id,
                policy_seq=realm.policy.seq,
                now=now,
                entropy=self._entropy(ENTROPY_BYTES),
            )
            return Answer(reply, authenticated=is_own)
        except OrthrosError as error:
            ref = self._gate.new_ref()
            refusal = _sealable(error, ref)
            self._gate.record_refusal(
                TgsRefused(
                    at=now,
                    kdc_id=self._kdc_id,
                    source=peer.source,
                    client=tgt.client.name,
                    code=error.code,
                    detail=error.detail,
                    ref=ref.hex(),
                    txn=tgt.txn.hex(),
                    request=request.nonce.hex(),
                )
            )
            reply = seal_tgs_error(
                request,
                refusal.code,
                now=now,
                entropy=self._entropy(ENTROPY_BYTES),
                retry_s=refusal.retry_s,
                detail=refusal.detail,
            )
            return Answer(reply, authenticated=is_own)

    def _open_tgt(self, request: UnverifiedTgsRequest, realm: RealmFacts) -> OpenedTgt:
        """Opens each TGT once. Its expiry, client and login key are judged at every request all the same."""
        if request.tgt_caveats:
            return open_tgt(request.tgt, request.tgt_caveats, realm.keys.tgt_keys, realm.keys.mac_keys)
        name = (self._view.generation, digest(request.tgt))
        opened = self._opened.get(name)
        if opened is None:
            opened = open_tgt(request.tgt, b"", realm.keys.tgt_keys, realm.keys.mac_keys)
            self._opened[name] = opened
            if len(self._opened) > _OPENED_TGTS:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(name)
        return opened

    async def _decide_all(  # noqa: PLR0917  # one caller, and the order in which the facts were gathered
        self, request: TgsRequest, caller: ClientView, realm: RealmFacts, now: Timestamp, payer: Hashable, peer: _Peer
    ) -> list[Granted | NotGranted]:
        name = caller.principal.name
        shared = {
            "at": now,
            "kdc_id": self._kdc_id,
            "source": peer.source,
            "request": request.nonce.hex(),
            "client": name,
            "txn": request.tgt.ticket.txn.hex(),
        }
        results: list[Granted | NotGranted] = []
        size = 0
        for position, want in enumerate(request.wants):
            # The first want is paid for already; the bucket counts targets.
            wait_s = self._gate.wait_of(payer) if position else 0.0
            if wait_s or size > _REPLY_BUDGET_BYTES:
                # The rest is asked for again: after a while, or in a smaller batch.
                decided = Decided.refused(want, "not-attempted", self._gate.new_ref(), retry_s=ceil(wait_s))
            else:
                decided = decide_want(
                    want,
                    await self._gather(want, name, realm),
                    request.tgt.ticket,
                    caller,
                    realm,
                    now=now,
                    entropy=self._entropy(ENTROPY_PER_WANT),
                    address=peer.address,
                )
            if decided.code == "not-granted":
                self._gate.surcharge_refusal(payer)
            self._gate.record(_event_of(decided, want, realm.policy.seq, shared))
            results.append(decided.result)
            size += _size_of(decided.result)
        return results

    async def _gather(self, want: Want, client: str, realm: RealmFacts) -> WantFacts:
        """Policy before existence: without a rule the target's row is never read."""
        rules = realm.policy.rules_for(client, want.target.name) if want.target.realm == realm.record.realm else ()
        return WantFacts(rules, await self._view.target(want.target.name) if rules else None)

    # Shared

    def _is_makers_own(
        self, request: AsRequest | TgsRequest, now: Timestamp, exchange: str, client: str, source: str
    ) -> bool:
        """Whether the sender proved the key himself: what was seen before, or is out of its time, anybody may copy."""
        # Times that the window refuses take no room either: nothing would ever free it.
        if abs(request.ts - now) > KDC_SKEW_MS:
            return False
        if self._seen.admit(request.replay_tag, request.ts, now, client) is not Admission.SEEN:
            return True
        self._gate.record(RequestReplayed(at=now, kdc_id=self._kdc_id, source=source, client=client, exchange=exchange))
        return False


@frozen
class _Peer:
    """Whom to charge, and where it sits."""

    source: str
    address: str


def _require_source(principal: PrincipalRecord, peer: _Peer) -> None:
    """H5: a key that was copied to elsewhere is of no use there. Raises Refused `source-refused`."""
    if not source_allowed(principal.sources, peer.address):
        raise Refused("source-refused")


def _payer(client: str, is_own: bool) -> Hashable:
    """Copies are answered, for the answer opens for the maker only; but they must not use up the maker's share."""
    return client if is_own else ("copies", client)


def _event_of(decided: Decided, want: Want, policy_seq: int, shared: dict[str, Any]) -> Event:
    facts = {
        **shared,
        "target": str(want.target),
        "kind": "jwt" if want.kind == WANT_JWT else "ticket",
        "notes": decided.notes,
    }
    result = decided.result
    if isinstance(result, NotGranted):
        return TgsRefused(code=result.reason.name, scopes=want.scopes, ref=result.ref.hex(), **facts)
    return TgsIssued(
        scopes=result.scopes,
        ttl_s=result.ttl_s,
        kvno=result.kvno,
        tid=decided.tid.hex(),
        rules=decided.rule_ids,
        policy_seq=policy_seq,
        delegable=int(bool(result.flags & DELEGABLE)),
        **facts,
    )


def _size_of(result: Granted | NotGranted) -> int:
    """At least as many bytes as the result takes in the reply."""
    if isinstance(result, NotGranted):
        return _RESULT_BYTES
    return _RESULT_BYTES + len(result.credential) + sum(len(scope) + 2 for scope in result.scopes)


@frozen
class _Sealable:
    code: str
    detail: str
    retry_s: int


def _sealable(error: OrthrosError, ref: bytes) -> _Sealable:
    """What the caller may learn: refusals as they are, troubles of the KDC only as such."""
    if isinstance(error, Refused) and reason_for(error.code).number:
        return _Sealable(error.code, error.detail, getattr(error, "retry_s", 0))
    _log.error("request failed", code=error.code, detail=error.detail, ref=ref.hex())
    return _Sealable("kdc-fault", f"reference {ref.hex()}", 1)
