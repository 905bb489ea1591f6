"""The ticket-granting exchange: one TGT, up to 32 wants, each granted or refused on its own.

Both halves of TGS-REQ, TGS-REP and TGS-ERR. Keys derive from the TGT's tail, so a narrowed TGT works and only narrows;
with evidence they derive from its session key as well. Knows no policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.wants import RESULTS, Granted, NotGranted, Want, result_of, result_row, wants_field
from orthros_protocol.keys.role_keys import KdcMacKey, TgtKey, not_exported
from orthros_protocol.primitives.canonical import (
    Schema,
    array,
    binary,
    const,
    extensions,
    integer,
    optional,
    text,
)
from orthros_protocol.primitives.derivation import derive, digest, mac, require_mac
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import (
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_FRAME_BYTES,
    MAX_TICKET_BYTES,
    MAX_UNPROVEN_BYTES,
)
from orthros_protocol.primitives.messages import (
    TGS_REQ,
    VERSION,
    Signed,
    join_signed,
    open_reply_box,
    outer_reply,
    parse_signed,
    seal_error,
)
from orthros_protocol.primitives.names import is_name
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.attenuation import pop_key_of, split_caveats, tail_after, tail_of
from orthros_protocol.tickets.evidence import BEHALF, Behalf, OpenedEvidence, UnverifiedBehalf, mixed_with_evidence
from orthros_protocol.tickets.ticket import (
    BY_ASSERTION,
    Subject,
    Ticket,
    peek_unverified_header,
    require_kdc_mark,
)

__all__ = [
    "OpenedTgt",
    "PendingTgs",
    "TgsReply",
    "TgsRequest",
    "UnverifiedTgsRequest",
    "build_tgs_request",
    "check_tgs_extensions",
    "open_tgs_reply",
    "open_tgt",
    "parse_tgs_request",
    "seal_tgs_error",
    "seal_tgs_reply",
    "verify_tgs_request",
]

_CAVEATS: Final = binary(0, MAX_CAVEATS_BLOB_BYTES)
_REQUEST: Final = Schema(
    "TGS-REQ",
    const(VERSION),
    const(TGS_REQ),
    binary(16, MAX_TICKET_BYTES),
    _CAVEATS,
    array(_CAVEATS, MAX_DISCHARGES),
    integer(),
    binary(16),
    binary(1, MAX_FRAME_BYTES),
    optional(BEHALF),
    extensions(),
    extensions(),
    limit=MAX_FRAME_BYTES,
)
_REPLY: Final = Schema(
    "TGS-REP", binary(16), integer(), text(is_name), integer(), RESULTS, extensions(), limit=MAX_FRAME_BYTES
)


@frozen(eq=False, kw_only=True)
class OpenedTgt:
    """A TGT that the KDC opened and found its own, with the keys that hang off its tail."""

    ticket: Ticket
    caveats: tuple[bytes, ...]
    pop_key: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)
    error_key: bytes = field(repr=False)

    __getstate__ = not_exported


@frozen(eq=False, kw_only=True)
class UnverifiedTgsRequest:
    """A TGS-REQ whose shape is right. Nothing in it is true before `verify_tgs_request`."""

    tgt: bytes = field(repr=False)
    tgt_caveats: bytes
    discharges: int
    ts: Timestamp
    nonce: bytes
    wants: bytes
    behalf: UnverifiedBehalf | None
    critical: tuple[int, ...]
    signed: Signed = field(repr=False)


@frozen(eq=False, kw_only=True)
class TgsRequest:
    """A TGS-REQ whose sender holds the TGT's key, and opened the evidence if there is any.

    Only `verify_tgs_request` builds one. `asserted` is the subject that the client names without evidence; `wants` is
    for `read_wants`.
    """

    tgt: OpenedTgt
    evidence: OpenedEvidence | None
    asserted: Subject | None
    ts: Timestamp
    nonce: bytes
    wants: bytes
    context: bytes = field(repr=False)
    replay_tag: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)
    error_key: bytes = field(repr=False)

    __getstate__ = not_exported


@frozen(eq=False, kw_only=True)
class PendingTgs:
    """What the client keeps until the reply arrives. `message` is what to send."""

    message: bytes
    nonce: bytes
    wants: tuple[Want, ...]
    behalf: Behalf | None
    context: bytes = field(repr=False)
    key: bytes = field(repr=False)

    __getstate__ = not_exported


@frozen(eq=False, kw_only=True)
class TgsReply:
    """An opened TGS-REP: one result per want, in the order of the wants."""

    kdc_time: Timestamp
    kdc_id: str
    policy_seq: int
    results: tuple[Granted | NotGranted, ...]


def build_tgs_request(
    tgt: bytes,
    pop_key: bytes,
    wants: Sequence[Want],
    *,
    now: Timestamp,
    nonce: bytes,
    caveats: bytes = b"",
    behalf: Behalf | None = None,
) -> PendingTgs:
    """TGS-REQ for 1 to 32 wants under the TGT whose K_pop (32 bytes, behind `caveats`) is `pop_key`.

    `nonce` is 16 fresh random bytes; `behalf` holds for every want. Raises LocalMisuse.
    """
    asked = wants_field(wants)
    name = None if behalf is None else behalf.to_items()
    body = _REQUEST.encode(VERSION, TGS_REQ, tgt, caveats, [], now, nonce, asked, name, [], [])
    if len(body) - len(asked) > MAX_UNPROVEN_BYTES:
        raise LocalMisuse("value-invalid", f"more than {MAX_UNPROVEN_BYTES} bytes besides the wants")
    key = pop_key if behalf is None else behalf.mixed_into(pop_key)
    message = join_signed(body, mac(key, "tgs-req", body))
    return PendingTgs(message=message, nonce=nonce, wants=tuple(wants), behalf=behalf, context=digest(message), key=key)


def parse_tgs_request(signed: Signed | bytes) -> UnverifiedTgsRequest:
    """The shape of a TGS-REQ, to find the keys with; the wants in it are for `read_wants`. Raises Malformed."""
    if isinstance(signed, bytes):
        signed = parse_signed(signed)
    _version, _kind, tgt, caveats, dis, ts, nonce, wants, behalf, crit, _opt = _REQUEST.decode(signed.body)
    # Nobody has proven anything yet: what is read for strangers is little, and more than any real request has.
    if len(signed.body) - len(wants) > MAX_UNPROVEN_BYTES:
        raise Malformed(f"TGS-REQ: more than {MAX_UNPROVEN_BYTES} bytes besides the wants")
    return UnverifiedTgsRequest(
        tgt=tgt,
        tgt_caveats=caveats,
        discharges=len(dis),
        ts=Timestamp(ts),
        nonce=nonce,
        wants=wants,
        behalf=None if behalf is None else UnverifiedBehalf.of_items(*behalf),
        critical=tuple(entry[0] for entry in crit),
        signed=signed,
    )


def open_tgt(
    tgt: bytes, caveats: bytes, tgt_keys: Mapping[bytes, TgtKey], mac_keys: Mapping[int, KdcMacKey]
) -> OpenedTgt:
    """Opens a TGT among the realm's keys by kid, checks the KDC's mark and walks the caveats' tails.

    Raises Malformed, PeerMisbehaved (`unknown-key`, `wrong-ticket-type`, `box-unopened`) or Refused
    `ticket-altered`; all of them before the sender has proved anything, so the answer is a NAK.
    """
    header = peek_unverified_header(tgt)
    key = tgt_keys.get(header.kid)
    if key is None:
        raise PeerMisbehaved("unknown-key", f"TGT kvno {header.kvno} kid {header.kid.hex()}")
    ticket = require_kdc_mark(tgt, key, mac_keys)
    walked = split_caveats(caveats)
    pop_key = pop_key_of(tail_after(tail_of(ticket.session_key, tgt), walked))
    return OpenedTgt(
        ticket=ticket,
        caveats=walked,
        pop_key=pop_key,
        reply_key=derive(pop_key, "tgs-rep"),
        error_key=derive(pop_key, "tgs-err"),
    )


def verify_tgs_request(
    request: UnverifiedTgsRequest, tgt: OpenedTgt, evidence: OpenedEvidence | None = None
) -> TgsRequest:
    """The request, once its MAC proved possession of the TGT's tail, and of the key of the evidence if it has any.

    Extensions, discharges, times and the evidence itself are judged after this, so that a refusal can be sealed.
    Raises PeerMisbehaved (`wrong-mac`; `unknown-key` for evidence that was issued for somebody else); LocalMisuse
    when `evidence` is not that of the request.
    """
    behalf, client = request.behalf, tgt.ticket
    if (evidence is None) != (behalf is None or behalf.evidence is None):
        raise LocalMisuse("wrong-state", "the evidence of a request is opened before the request is verified")
    if evidence is not None:
        shown = evidence.ticket
        if (shown.server, shown.server_uid) != (client.client, client.client_uid):
            raise PeerMisbehaved("unknown-key", "evidence that was issued for another service")
    key = tgt.pop_key if evidence is None else mixed_with_evidence(tgt.pop_key, evidence.proof)
    require_mac(key, "tgs-req", request.signed.body, request.signed.mac)
    return TgsRequest(
        tgt=tgt,
        evidence=evidence,
        asserted=None if behalf is None else behalf.subject,
        ts=request.ts,
        nonce=request.nonce,
        wants=request.wants,
        context=digest(request.signed.whole),
        replay_tag=request.signed.mac[:16],
        reply_key=tgt.reply_key if evidence is None else derive(key, "tgs-rep"),
        error_key=tgt.error_key if evidence is None else derive(key, "tgs-err"),
    )


def check_tgs_extensions(request: UnverifiedTgsRequest) -> None:
    """Raises Refused for what this version must not ignore: critical extensions, and discharges, which no caveat of a
    TGT can demand."""
    if request.critical:
        raise Refused("unsupported-critical", f"extension {request.critical[0]}")
    if request.discharges:
        raise Refused("discharge-mismatch", f"{request.discharges} discharges, none expected")


def seal_tgs_reply(
    request: TgsRequest,
    results: Sequence[Granted | NotGranted],
    *,
    kdc_id: str,
    policy_seq: int,
    now: Timestamp,
    entropy: bytes,
) -> bytes:
    """TGS-REP to `request`: `results` in the order of its wants. `entropy` is 24 fresh random bytes."""
    body = _REPLY.encode(request.nonce, now, kdc_id, policy_seq, [result_row(result) for result in results], [])
    return outer_reply(seal(request.reply_key, "tgs-rep", request.context, body, entropy=entropy))


def seal_tgs_error(
    request: TgsRequest, code: Code | Reason, *, now: Timestamp, entropy: bytes, retry_s: int = 0, detail: str = ""
) -> bytes:
    """TGS-ERR for the request as a whole."""
    return seal_error(
        request.error_key,
        "tgs-err",
        request.context,
        code,
        now=now,
        retry_s=retry_s,
        detail=detail,
        entropy=entropy,
    )


def open_tgs_reply(pending: PendingTgs, data: bytes) -> TgsReply:
    """The reply to `pending`, its results compared with what was asked.

    Raises KdcRefusal for a TGS-ERR, PeerMisbehaved (`unauthenticated-refusal`, `reply-mismatch`) or Malformed.
    """
    plain = open_reply_box(
        data,
        reply_key=derive(pending.key, "tgs-rep"),
        reply_label="tgs-rep",
        error_key=derive(pending.key, "tgs-err"),
        error_label="tgs-err",
        context=pending.context,
    )
    nonce, kdc_time, kdc_id, policy_seq, rows, _opt = _REPLY.decode(plain)
    if nonce != pending.nonce or len(rows) != len(pending.wants):
        raise PeerMisbehaved("reply-mismatch", "it names another request")
    results = tuple(result_of(row, want) for row, want in zip(rows, pending.wants, strict=True))
    for result in results:
        if isinstance(result, Granted):
            _check_subject(result.subject, pending.behalf)
    return TgsReply(kdc_time=Timestamp(kdc_time), kdc_id=kdc_id, policy_seq=policy_seq, results=results)


def _check_subject(granted: Subject | None, asked: Behalf | None) -> None:
    """Nothing in another's name for an own call, and nothing in the own name for a call on behalf of somebody."""
    if asked is None or asked.subject is None:
        matches = (granted is None) == (asked is None)
    else:
        matches = granted is not None and granted.principal == asked.subject and granted.how == BY_ASSERTION
    if not matches:
        raise PeerMisbehaved("reply-mismatch", "a result is in another name than asked for")
