"""The ticket-granting exchange from request to reply: prove, charge, gather facts, decide, record, seal, in that order.

The async shell around `issuing/tgs_exchange.py`; knows no streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import ceil
from typing import Final

from attrs import evolve, frozen

from orthros_kdc.audit.events import Event, SenderFacts, TgsFacts, TgsRefused
from orthros_kdc.issuing.delegation import Parties, acting_for, delegation_of, named_at, path_before
from orthros_kdc.issuing.tgs_exchange import (
    ENTROPY_PER_WANT,
    EXCLUDED,
    NO_FACTS,
    Gathered,
    WantFacts,
    WantGranted,
    check_caller,
    decide_want,
    is_excluded,
)
from orthros_kdc.issuing.written_caveats import require_shapes
from orthros_kdc.ports.native_port import NativeAnswer
from orthros_kdc.realm.principals import ClientView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.view import RealmMoment, RealmView
from orthros_kdc.service.lookaside import LookasideCache
from orthros_kdc.service.native import NativeCase, require_source
from orthros_kdc.service.shell import Shell
from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.tgs_exchange import (
    OpenedTgt,
    TgsRequest,
    UnverifiedTgsRequest,
    open_tgt,
    parse_tgs_request,
    seal_tgs_error,
    seal_tgs_reply,
    verify_tgs_request,
)
from orthros_protocol.exchanges.wants import Granted, NotGranted, Want, read_wants
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES
from orthros_protocol.primitives.messages import Signed
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.sealing import ENTROPY_BYTES
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.evidence import OpenedEvidence, open_evidence, peek_unverified_evidence
from orthros_runtime.bounded import BoundedMap

__all__ = ["TgsExchange"]

_OPENED_TGTS: Final = 8192
# A large batch is many turns: otherwise it would hold up the requests of others for as long as it takes.
_WANTS_A_TURN: Final = 8
# Names, subject, key, times and notes of one result; and what a reply may hold before its last result, which is
# itself at most a ticket of 8 KiB with 2 KiB of scopes and 4 KiB of demands.
_RESULT_BYTES: Final = 960
_REPLY_BUDGET_BYTES: Final = MAX_FRAME_BYTES - 16 * 1024


@frozen(eq=False)
class _Proven:
    """A request that its client has made, what its events say, and by which facts that was judged."""

    unverified: UnverifiedTgsRequest
    request: TgsRequest
    about: TgsFacts
    caller: ClientView
    realm: RealmFacts


class TgsExchange:
    """Answers TGS requests of one realm. `lookaside` is shared with the initial exchange."""

    def __init__(self, view: RealmView, shell: Shell, lookaside: LookasideCache) -> None:
        self._view = view
        self._shell = shell
        self._lookaside = lookaside
        self._opened = BoundedMap[tuple[int, bytes], OpenedTgt](_OPENED_TGTS)

    async def answer(self, signed: Signed, case: NativeCase) -> NativeAnswer:
        """The answer to a TGS-REQ. Raises what `case` is to be refused with."""
        unverified = parse_tgs_request(signed)
        tgt, client, realm = await self._view.settled(partial(self._who_asks, unverified))
        request = verify_tgs_request(unverified, tgt, _open_evidence(unverified, client, realm))
        about = _facts_of(request, case.sender)
        case.verified(about.client, partial(TgsRefused, about=about), partial(seal_tgs_error, request))
        caller = check_caller(request, unverified, client, realm.not_before, case.now)
        case.sent_by(self._lookaside.maker_of(case, request, "tgs"))
        if case.is_own and self._lookaside.is_first_here(
            digest(unverified.tgt + unverified.tgt_caveats), case.connection
        ):
            case.proves = case.client
        self._shell.rates.charge(case.payer)
        # Reading wants and caveats costs more than sending them, so strangers cannot have it done.
        wants = read_wants(request.wants)
        _require_shapes(unverified, wants)
        proven = _Proven(unverified, request, about, caller, realm)
        results, policy_seq = await self._decide_all(wants, proven, case)
        reply = seal_tgs_reply(
            request,
            results,
            kdc_id=self._shell.kdc_id,
            policy_seq=policy_seq,
            now=case.now,
            entropy=self._shell.entropy(ENTROPY_BYTES),
        )
        return NativeAnswer(reply, case.proves, receipt=case.receipt, instead=partial(self._shell.refused, case))

    def _who_asks(
        self, request: UnverifiedTgsRequest, moment: RealmMoment
    ) -> tuple[OpenedTgt, ClientView | None, RealmFacts]:
        tgt = self._open_tgt(request, moment.facts)
        return tgt, moment.client(tgt.ticket.client_uid), moment.facts

    def _open_tgt(self, request: UnverifiedTgsRequest, realm: RealmFacts) -> OpenedTgt:
        """Opens each TGT once. Its expiry, client and login key are judged at every request all the same."""
        if request.tgt_caveats:
            return open_tgt(request.tgt, request.tgt_caveats, realm.keys.tgt_keys, realm.keys.mac_keys)
        name = (realm.keys.seq, digest(request.tgt))
        opened = self._opened.get(name)
        if opened is None:
            opened = open_tgt(request.tgt, b"", realm.keys.tgt_keys, realm.keys.mac_keys)
            self._opened[name] = opened
        else:
            self._opened.move_to_end(name)
        return opened

    def _gather(
        self, proven: _Proven, case: NativeCase, wants: tuple[Want, ...], moment: RealmMoment
    ) -> tuple[Gathered, list[WantFacts]]:
        """Raises Refused for the request as a whole, PeerMisbehaved when what it shows does not open any more."""
        request, about, realm, now = proven.request, proven.about, moment.facts, case.now
        caller = moment.client(request.tgt.ticket.client_uid)
        if realm is not proven.realm or caller is not proven.caller:
            # Something has changed since: what was judged by that is judged again.
            self._open_tgt(proven.unverified, realm)
            caller = check_caller(request, proven.unverified, caller, realm.not_before, now)
            _open_evidence(proven.unverified, caller, realm)
        require_source(caller.principal, case.address)
        parties = None if request.evidence is None else _parties(request.evidence, moment)
        delegation = delegation_of(request, parties, now)
        gathered = Gathered(realm=realm, caller=caller, delegation=delegation, about=about, address=case.address)
        return gathered, [
            EXCLUDED if is_excluded(want, delegation, now) else _want_facts(want, about.client, moment)
            for want in wants
        ]

    async def _decide_all(
        self,
        wants: tuple[Want, ...],
        proven: _Proven,
        case: NativeCase,
    ) -> tuple[list[Granted | NotGranted], int]:
        """The result of each want, and the oldest policy seq of them.

        Raises Refused as soon as the request as a whole is to be refused; what was issued before that is not sent.
        """
        shell, about = self._shell, proven.about
        results: list[Granted | NotGranted] = []
        moments: list[tuple[Gathered, list[WantFacts]]] = []
        size = 0
        for position, want in enumerate(wants):
            if not position % _WANTS_A_TURN:
                if position:
                    await shell.rates.turns.take(about.source)
                # The realm may have changed since: what a turn issues is of one moment, with all that it rests on.
                turn = wants[position : position + _WANTS_A_TURN]
                moments.append(await self._view.settled(partial(self._gather, proven, case, turn)))
                shell.require_issuing()
            # The first want is paid for already; the bucket counts targets.
            wait_s = shell.rates.wait_of(case.payer) if position else 0.0
            if wait_s or size > _REPLY_BUDGET_BYTES:
                # The rest is asked for again: after a while, or in a smaller batch.
                rest, reason = wants[position:], reason_for("not-attempted")
                refused = TgsRefused(about=about, code=reason.name, wants=len(rest))
                ref = shell.refuse(case, partial(_with_ref, refused))
                results += [NotGranted(target=one.target, reason=reason, retry_s=ceil(wait_s), ref=ref) for one in rest]
                break
            gathered, facts = moments[-1]
            entropy = shell.entropy(ENTROPY_PER_WANT)
            decided = decide_want(want, facts[position % _WANTS_A_TURN], gathered, entropy=entropy)
            if isinstance(decided, WantGranted):
                shell.issue(case, decided.event)
                results.append(decided.result)
            else:
                if decided.event.code == "not-granted":
                    shell.rates.surcharge_refusal(case.payer)
                ref = shell.refuse(case, partial(_with_ref, decided.event))
                results.append(decided.result.altered(ref=ref))
            size += _size_of(results[-1])
        return results, min(gathered.realm.policy.seq for gathered, _ in moments)


def _with_ref(event: TgsRefused, ref: bytes) -> Event:
    return evolve(event, ref=ref.hex())


def _parties(evidence: OpenedEvidence, moment: RealmMoment) -> Parties:
    """Those whom evidence names, which is the KDC's own word, so looking for them tells the client nothing."""
    shown, home = evidence.ticket, moment.facts.record.realm

    def numbered(principal: Principal, uid: int) -> ClientView | None:
        return moment.client(uid) if uid and principal.realm == home else None

    def named(principal: Principal) -> ClientView | None:
        record = moment.principal(principal.name) if principal.realm == home else None
        return None if record is None else moment.client(record.uid)

    subject = shown.subject
    return Parties(
        caller=numbered(shown.client, shown.client_uid),
        subject=None if subject is None else numbered(subject.principal, subject.uid),
        hops=tuple(named(hop.principal) for hop in shown.chain),
        not_before=moment.facts.not_before,
    )


def _want_facts(want: Want, client: str, moment: RealmMoment) -> WantFacts:
    """Policy before existence: without a rule the target's row is never read, nor that of any discharger."""
    realm = moment.facts
    rules = realm.policy.rules_for(client, want.target.name) if want.target.realm == realm.record.realm else ()
    if not rules:
        return NO_FACTS
    named = {one.discharger for rule in rules for one in rule.discharges}
    return WantFacts(rules, moment.target(want.target.name), {name: moment.target(name) for name in named})


def _require_shapes(request: UnverifiedTgsRequest, wants: Iterable[Want]) -> None:
    """For caveats of a wrong shape raises Malformed, and Refused `want-invalid` where they are limits of a want."""
    shown = b"" if request.behalf is None else request.behalf.caveats
    for blob in filter(None, (request.tgt_caveats, shown)):
        require_shapes(split_caveats(blob))
    for index, want in enumerate(wants):
        try:
            require_shapes(split_caveats(want.limits))
        except Malformed:
            raise Refused("want-invalid", f"want {index}: limits") from None


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


def _facts_of(request: TgsRequest, sender: SenderFacts) -> TgsFacts:
    """What every event of one request says of who asks, in whose name, and through whom it came."""
    login, evidence = request.tgt.ticket, request.evidence
    subject = request.asserted if evidence is None else acting_for(evidence)
    shown = None if evidence is None else evidence.ticket
    return TgsFacts(
        at=sender.at,
        kdc_id=sender.kdc_id,
        source=sender.source,
        client=login.client.name,
        subject="" if subject is None else named_at(login.client.realm, subject.principal),
        how=0 if subject is None else subject.how,
        chain=() if evidence is None else path_before(evidence),
        evidence="" if shown is None else shown.tid.hex(),
        txn=(login if shown is None else shown).txn.hex(),
        request=request.nonce.hex(),
    )


def _size_of(result: Granted | NotGranted) -> int:
    """At least as many bytes as the result takes in the reply."""
    if isinstance(result, NotGranted):
        return _RESULT_BYTES
    texts = sum(len(scope) + 2 for scope in result.scopes)
    return _RESULT_BYTES + len(result.credential) + texts + sum(len(demand) + 4 for demand in result.demands)
