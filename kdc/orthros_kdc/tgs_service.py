"""The ticket-granting exchange from request to reply: gather facts, decide, issue, record, in that order.

The async shell around `issuing/`; knows no streams, and raises for what proves nothing: the answer is a NAK then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from typing import Any, Final

from orthros_kdc.audit.events import Event, TgsIssued, TgsRefused
from orthros_kdc.gate import Gate
from orthros_kdc.issuing.onward import Onward, Parties, acting_for, named_at, onward_of, path_before
from orthros_kdc.issuing.tgs_exchange import (
    ENTROPY_PER_WANT,
    NO_FACTS,
    Decided,
    WantFacts,
    check_caller,
    decide_want,
    is_excluded,
)
from orthros_kdc.issuing.written_caveats import require_shapes
from orthros_kdc.peers import Copies, Peer, payer_of, require_source, sealable
from orthros_kdc.realm_view import ClientView, RealmFacts, RealmView
from orthros_kdc.server import Answer
from orthros_protocol import (
    DELEGABLE,
    WANT_JWT,
    Granted,
    Malformed,
    NotGranted,
    OpenedEvidence,
    OpenedTgt,
    OrthrosError,
    PeerMisbehaved,
    Principal,
    Signed,
    TgsRequest,
    Timestamp,
    UnverifiedTgsRequest,
    Want,
    open_evidence,
    open_tgt,
    parse_tgs_request,
    peek_unverified_evidence,
    seal_tgs_error,
    seal_tgs_reply,
    split_caveats,
    verify_tgs_request,
)
from orthros_protocol.derivation import digest
from orthros_protocol.limits import MAX_FRAME_BYTES
from orthros_protocol.sealing import ENTROPY_BYTES

__all__ = ["TgsService"]

_OPENED_TGTS: Final = 8192
# Names, subject, key, times and notes of one result; and what a reply may hold before its last result, which is
# itself at most a ticket of 8 KiB with 2 KiB of scopes and 4 KiB of demands.
_RESULT_BYTES: Final = 960
_REPLY_BUDGET_BYTES: Final = MAX_FRAME_BYTES - 16 * 1024


class TgsService:
    """Answers TGS requests of one realm. `gate` and `copies` are shared with the initial exchange."""

    def __init__(self, view: RealmView, gate: Gate, copies: Copies, entropy: Callable[[int], bytes]) -> None:
        self._view = view
        self._gate = gate
        self._copies = copies
        self._entropy = entropy
        self._opened: OrderedDict[tuple[int, bytes], OpenedTgt] = OrderedDict()

    async def answer(self, signed: Signed, peer: Peer, now: Timestamp) -> Answer:
        """The answer to a TGS-REQ. Raises PeerMisbehaved or Refused while nothing is proven, and Malformed."""
        realm = await self._view.realm()
        unverified = parse_tgs_request(signed)
        tgt = self._open_tgt(unverified, realm)
        client = await self._view.client(tgt.ticket.client_uid)
        request = verify_tgs_request(unverified, tgt, _open_evidence(unverified, client, realm))
        facts = _facts_of(request)
        is_own = False
        try:
            caller = check_caller(request, unverified, client, now)
            is_own = self._copies.is_makers_own(request, now, "tgs", caller.principal.name, peer.source)
            payer = payer_of(caller.principal.name, is_own)
            self._gate.charge(payer)
            # Reading caveats costs more than sending them, so strangers cannot have it done.
            _require_shapes(unverified)
            require_source(caller.principal, peer)
            onward = onward_of(request, await self._parties(request.evidence, realm), now)
            results = await self._decide_all(request, onward, caller, realm, now, payer, peer, facts)
            reply = seal_tgs_reply(
                request,
                results,
                kdc_id=self._gate.kdc_id,
                policy_seq=realm.policy.seq,
                now=now,
                entropy=self._entropy(ENTROPY_BYTES),
            )
            return Answer(reply, authenticated=is_own)
        except Malformed:
            raise  # whoever sends it; there is nothing to say about it under seal
        except OrthrosError as error:
            ref = self._gate.new_ref()
            refusal = sealable(error, ref)
            self._gate.record_refusal(
                TgsRefused(
                    at=now,
                    kdc_id=self._gate.kdc_id,
                    source=peer.source,
                    code=error.code,
                    detail=error.detail,
                    ref=ref.hex(),
                    **facts,
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

    async def _parties(self, evidence: OpenedEvidence | None, realm: RealmFacts) -> Parties | None:
        """Those whom evidence names, which is the KDC's own word, so that looking for them tells nobody anything."""
        if evidence is None:
            return None
        shown, home = evidence.ticket, realm.record.realm

        async def numbered(principal: Principal, uid: int) -> ClientView | None:
            return await self._view.client(uid) if uid and principal.realm == home else None

        async def named(principal: Principal) -> ClientView | None:
            record = await self._view.principal(principal.name) if principal.realm == home else None
            return None if record is None else await self._view.client(record.uid)

        subject = shown.subject
        hops = [await named(hop.principal) for hop in shown.chain]
        return Parties(
            caller=await numbered(shown.client, shown.client_uid),
            subject=None if subject is None else await numbered(subject.principal, subject.uid),
            hops=tuple(hops),
        )

    async def _decide_all(  # noqa: PLR0917  # one caller, and the order in which the facts were gathered
        self,
        request: TgsRequest,
        onward: Onward,
        caller: ClientView,
        realm: RealmFacts,
        now: Timestamp,
        payer: Hashable,
        peer: Peer,
        facts: dict[str, Any],
    ) -> list[Granted | NotGranted]:
        shared = {"at": now, "kdc_id": self._gate.kdc_id, "source": peer.source, **facts}
        results: list[Granted | NotGranted] = []
        size = 0
        for position, want in enumerate(request.wants):
            # The first want is paid for already; the bucket counts targets.
            wait_s = self._gate.wait_of(payer) if position else 0.0
            if wait_s or size > _REPLY_BUDGET_BYTES:
                # The rest is asked for again: after a while, or in a smaller batch.
                decided = Decided.refused(want, "not-attempted", self._gate.new_ref(), retry_s=ceil(wait_s))
            else:
                excluded = is_excluded(want, onward, now)
                decided = decide_want(
                    want,
                    NO_FACTS if excluded else await self._gather(want, caller.principal.name, realm),
                    onward,
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
        """Policy before existence: without a rule the target's row is never read, nor that of any discharger."""
        rules = realm.policy.rules_for(client, want.target.name) if want.target.realm == realm.record.realm else ()
        if not rules:
            return NO_FACTS
        named = {demand.discharger for rule in rules for demand in rule.caveats.discharges}
        return WantFacts(
            rules,
            await self._view.target(want.target.name),
            {name: await self._view.target(name) for name in named},
        )


def _require_shapes(request: UnverifiedTgsRequest) -> None:
    """Raises Malformed for caveats of a wrong shape, wherever they stand."""
    shown = b"" if request.behalf is None else request.behalf.caveats
    for blob in (request.tgt_caveats, shown, *(want.limits for want in request.wants)):
        if blob:
            require_shapes(split_caveats(blob))


def _open_evidence(
    request: UnverifiedTgsRequest, client: ClientView | None, realm: RealmFacts
) -> OpenedEvidence | None:
    """The evidence, if there is any: a ticket for the owner of the TGT, so one of its own live keys opens it."""
    header = None if request.behalf is None else peek_unverified_evidence(request.behalf)
    if request.behalf is None or header is None:
        return None
    key = None if client is None else client.ticket_keys.get(header.kid)
    if key is None:
        raise PeerMisbehaved("unknown-key", f"evidence kvno {header.kvno} kid {header.kid.hex()}")
    return open_evidence(request.behalf, key, realm.keys.mac_keys)


def _facts_of(request: TgsRequest) -> dict[str, Any]:
    """What every event of one request says of who asks, in whose name, and through whom it came."""
    login, evidence = request.tgt.ticket, request.evidence
    facts: dict[str, Any] = {"client": login.client.name, "txn": login.txn.hex(), "request": request.nonce.hex()}
    subject = request.asserted if evidence is None else acting_for(evidence)
    if subject is not None:
        facts |= {"subject": named_at(login.client.realm, subject.principal), "how": subject.how}
    if evidence is not None:
        shown = evidence.ticket
        facts |= {"txn": shown.txn.hex(), "chain": path_before(evidence), "evidence": shown.tid.hex()}
    return facts


def _event_of(decided: Decided, want: Want, policy_seq: int, shared: dict[str, Any]) -> Event:
    facts = {
        **shared,
        "target": str(want.target),
        "kind": "jwt" if want.kind == WANT_JWT else "ticket",
        "notes": decided.notes,
    }
    result = decided.result
    if isinstance(result, NotGranted):
        return TgsRefused(
            code=result.reason.name, scopes=want.scopes, ref=result.ref.hex(), detail=decided.detail, **facts
        )
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
    texts = sum(len(scope) + 2 for scope in result.scopes)
    return _RESULT_BYTES + len(result.credential) + texts + sum(len(demand) + 4 for demand in result.demands)
