"""The ticket-granting exchange: one TGT, up to 32 wants, each granted or refused on its own.

Both halves of TGS-REQ, TGS-REP and TGS-ERR. Keys derive from the TGT's tail, so a narrowed TGT works and only narrows;
with evidence they derive from its session key as well. Knows no policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.wants import Granted, NotGranted, Want, check_result, wants_field
from orthros_protocol.keys.role_keys import KdcMacKey, TgtKey
from orthros_protocol.primitives.derivation import derive, digest, mac, require_mac
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import (
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_FRAME_BYTES,
    MAX_TICKET_BYTES,
    MAX_UNPROVEN_BYTES,
    MAX_WANTS,
)
from orthros_protocol.primitives.messages import (
    TGS_REQ,
    UNSIGNED,
    VERSION,
    Signed,
    open_reply_box,
    outer_reply,
    parse_signed,
    seal_error,
)
from orthros_protocol.primitives.names import is_name
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    array,
    binary,
    const,
    either,
    extensions,
    instant,
    integer,
    message,
    optional,
    record_of,
    text,
)
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.attenuation import pop_key_of, split_caveats, tail_after, tail_of
from orthros_protocol.tickets.evidence import Behalf, OpenedEvidence, UnverifiedBehalf, mixed_with_evidence
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


@frozen(eq=False, kw_only=True)
class OpenedTgt:
    """A TGT that the KDC opened and found its own, with the keys that hang off its tail."""

    ticket: Ticket
    caveats: tuple[bytes, ...]
    pop_key: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)
    error_key: bytes = field(repr=False)

    __getstate__ = not_exported


@message("TGS-REQ", limit=MAX_FRAME_BYTES)
class UnverifiedTgsRequest(Message):
    """A TGS-REQ whose shape is right. Nothing in it is true before `verify_tgs_request`."""

    version: int = const(VERSION)
    kind: int = const(TGS_REQ)
    tgt: bytes = binary(16, MAX_TICKET_BYTES, repr=False)
    tgt_caveats: bytes = binary(0, MAX_CAVEATS_BLOB_BYTES)
    discharges: tuple[bytes, ...] = array(binary(0, MAX_CAVEATS_BLOB_BYTES), MAX_DISCHARGES, default=())
    ts: Timestamp = instant()
    nonce: bytes = binary(16)
    wants: bytes = binary(1, MAX_FRAME_BYTES)
    behalf: UnverifiedBehalf | None = optional(record_of(UnverifiedBehalf))
    crit: tuple[Extension, ...] = extensions(default=())
    opt: tuple[Extension, ...] = extensions(default=())
    signed: Signed = field(default=UNSIGNED, repr=False)


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


@message("TGS-REP", limit=MAX_FRAME_BYTES)
class TgsReply(Message):
    """An opened TGS-REP: one result per want, in the order of the wants."""

    nonce: bytes = binary(16)
    kdc_time: Timestamp = instant()
    kdc_id: str = text(is_name)
    policy_seq: int = integer()
    results: tuple[Granted | NotGranted, ...] = array(either(Granted, NotGranted), MAX_WANTS, 1)
    opt: tuple[Extension, ...] = extensions(default=())


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
    request = UnverifiedTgsRequest(
        tgt=tgt,
        tgt_caveats=caveats,
        ts=now,
        nonce=nonce,
        wants=asked,
        behalf=None if behalf is None else behalf.shown(),
    )
    body = request.encode()
    if len(body) - len(asked) > MAX_UNPROVEN_BYTES:
        raise LocalMisuse("value-invalid", f"more than {MAX_UNPROVEN_BYTES} bytes besides the wants")
    key = pop_key if behalf is None else behalf.mixed_into(pop_key)
    message = Signed(body=body, mac=mac(key, "tgs-req", body)).encode()
    return PendingTgs(message=message, nonce=nonce, wants=tuple(wants), behalf=behalf, context=digest(message), key=key)


def parse_tgs_request(signed: Signed | bytes) -> UnverifiedTgsRequest:
    """The shape of a TGS-REQ, to find the keys with; the wants in it are for `read_wants`. Raises Malformed."""
    if isinstance(signed, bytes):
        signed = parse_signed(signed)
    request = UnverifiedTgsRequest.decode(signed.body, signed=signed)
    # Nobody has proven anything yet: what is read for strangers is little, and more than any real request has.
    if len(signed.body) - len(request.wants) > MAX_UNPROVEN_BYTES:
        raise Malformed(f"TGS-REQ: more than {MAX_UNPROVEN_BYTES} bytes besides the wants")
    if request.behalf is not None:
        request.behalf.require_sense()
    return request


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
    if request.crit:
        raise Refused("unsupported-critical", f"extension {request.crit[0][0]}")
    if request.discharges:
        raise Refused("discharge-mismatch", f"{len(request.discharges)} discharges, none expected")


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
    reply = TgsReply(nonce=request.nonce, kdc_time=now, kdc_id=kdc_id, policy_seq=policy_seq, results=tuple(results))
    body = reply.encode()
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
    reply = TgsReply.decode(plain)
    if reply.nonce != pending.nonce or len(reply.results) != len(pending.wants):
        raise PeerMisbehaved("reply-mismatch", "it names another request")
    for result, want in zip(reply.results, pending.wants, strict=True):
        check_result(result, want)
    for result in reply.results:
        if isinstance(result, Granted):
            _check_subject(result.subject, pending.behalf)
    return reply


def _check_subject(granted: Subject | None, asked: Behalf | None) -> None:
    """Nothing in another's name for an own call, and nothing in the own name for a call on behalf of somebody."""
    if asked is None or asked.subject is None:
        matches = (granted is None) == (asked is None)
    else:
        matches = granted is not None and granted.principal == asked.subject and granted.how == BY_ASSERTION
    if not matches:
        raise PeerMisbehaved("reply-mismatch", "a result is in another name than asked for")
