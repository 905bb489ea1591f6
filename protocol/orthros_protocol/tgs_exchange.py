"""The ticket-granting exchange: one TGT, up to 32 wants, each granted or refused on its own.

Both halves of TGS-REQ, TGS-REP and TGS-ERR. Keys derive from the TGT's tail, so a narrowed TGT works
and only narrows. Knows no policy; behalf and discharges have their place but are not evaluated yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.canonical import (
    Field,
    Schema,
    array,
    binary,
    const,
    extensions,
    integer,
    nested,
    optional,
    text,
    text_set,
)
from orthros_protocol.caveats import pop_key_of, split_caveats, tail_after, tail_of
from orthros_protocol.derivation import derive, digest, mac, require_mac
from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.instants import Timestamp
from orthros_protocol.keys import KdcMacKey, TgtKey, not_exported
from orthros_protocol.limits import (
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_FRAME_BYTES,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
    MAX_U32,
    MAX_WANTS,
)
from orthros_protocol.messages import (
    TGS_REQ,
    VERSION,
    Signed,
    join_signed,
    open_reply_box,
    outer_reply,
    parse_signed,
    seal_error,
)
from orthros_protocol.names import Principal, cached_principal, check_scopes, is_name, is_scope
from orthros_protocol.notes import Note
from orthros_protocol.reasons import Reason, reason_by_number
from orthros_protocol.sealing import seal
from orthros_protocol.tickets import SUBJECT, Ticket, peek_unverified_header, require_kdc_mark

__all__ = [
    "EXACT", "KNOWN_WANT_FLAGS", "WANT_DELEGABLE", "WANT_JWT", "WANT_TICKET", "Granted",
    "NotGranted", "OpenedTgt", "PendingTgs", "TgsReply", "TgsRequest", "UnverifiedTgsRequest",
    "Want", "build_tgs_request", "check_tgs_extensions", "open_tgs_reply", "open_tgt",
    "parse_tgs_request", "seal_tgs_error", "seal_tgs_reply", "verify_tgs_request",
]  # fmt: skip

WANT_TICKET, WANT_JWT = 0, 1
EXACT, WANT_DELEGABLE = 1, 2
KNOWN_WANT_FLAGS: Final = EXACT | WANT_DELEGABLE
"""A want with another low flag is refused on its own, by the KDC."""

_SCOPES: Final = text_set(is_scope, MAX_SCOPES)
_WANT: Final = nested(
    integer(WANT_JWT), text(is_name), text(is_name), optional(_SCOPES), integer(MAX_U32), integer(MAX_U32),
    extensions(),
)  # fmt: skip
_CAVEATS: Final = binary(0, MAX_CAVEATS_BLOB_BYTES)
_BEHALF: Final = nested(optional(binary(16, MAX_TICKET_BYTES)), _CAVEATS, optional(SUBJECT))
_REQUEST: Final = Schema(
    "TGS-REQ",
    const(VERSION), const(TGS_REQ), binary(16, MAX_TICKET_BYTES), _CAVEATS, array(_CAVEATS, MAX_DISCHARGES),
    integer(), binary(16), array(_WANT, MAX_WANTS, 1), optional(_BEHALF), extensions(), extensions(),
    limit=MAX_FRAME_BYTES,
)  # fmt: skip
# Notes inform and never widen, so values of a newer KDC pass and are shown as numbers.
_NOTE: Final = nested(integer(0xFF, 1), integer(0xFF, 1), optional(integer(MAX_SCOPES - 1)))
_OK: Final = Schema(
    "granted result",
    const(0), text(is_name), text(is_name), integer(), binary(16, MAX_TICKET_BYTES), optional(binary(32)),
    integer(MAX_U32), integer(MAX_U32), integer(MAX_U32), _SCOPES, optional(SUBJECT), array(_NOTE, 64), extensions(),
)  # fmt: skip
_NO: Final = Schema(
    "refused result",
    const(1), text(is_name), text(is_name), integer(0xFFFF), integer(MAX_U32), binary(8), extensions(),
)  # fmt: skip


def _check_result(items: list[Any]) -> None:
    (_OK if items and items[0] == 0 else _NO).check(items)


_RESULT: Final = Field(frozenset({list}), 7, 13, _check_result)
_REPLY: Final = Schema(
    "TGS-REP",
    binary(16), integer(), text(is_name), integer(), array(_RESULT, MAX_WANTS, 1), extensions(),
    limit=MAX_FRAME_BYTES,
)  # fmt: skip


def _scopes_or_none(scopes: object) -> tuple[str, ...] | None:
    return None if scopes is None else check_scopes(scopes)


@frozen(kw_only=True)
class Want:
    """One thing asked for. `scopes` None means all that the rule allows, () means authentication only.

    `ttl_s` is the wanted life in seconds, 0 for as long as allowed. Raises Misconfigured for bad names.
    """

    target: Principal
    kind: int = WANT_TICKET
    scopes: tuple[str, ...] | None = field(default=None, converter=_scopes_or_none)
    ttl_s: int = 0
    flags: int = 0


@frozen(kw_only=True)
class Granted:
    """One granted want. `credential` is a ticket, or a JWT as ASCII bytes with `session_key` None."""

    target: Principal
    target_uid: int
    credential: bytes = field(repr=False)
    session_key: bytes | None = field(repr=False)
    ttl_s: int
    flags: int = 0
    kvno: int = 0
    scopes: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    __getstate__ = not_exported


@frozen(kw_only=True)
class NotGranted:
    """One refused want, with the reference that finds it in the KDC's log."""

    target: Principal
    reason: Reason
    retry_s: int = 0
    ref: bytes


@frozen(eq=False, kw_only=True)
class OpenedTgt:
    """A TGT that the KDC opened and found its own, with the keys that hang off its tail."""

    ticket: Ticket
    caveats: tuple[bytes, ...]
    pop_key: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)
    error_key: bytes = field(repr=False)


@frozen(eq=False, kw_only=True)
class UnverifiedTgsRequest:
    """A TGS-REQ whose shape is right. Nothing in it is true before `verify_tgs_request`."""

    tgt: bytes = field(repr=False)
    tgt_caveats: bytes
    discharges: int
    ts: Timestamp
    nonce: bytes
    wants: tuple[Want, ...]
    on_behalf: bool
    critical: tuple[int, ...]
    signed: Signed = field(repr=False)


@frozen(eq=False, kw_only=True)
class TgsRequest:
    """A TGS-REQ whose sender holds the TGT's key. Only `verify_tgs_request` builds one."""

    tgt: OpenedTgt
    ts: Timestamp
    nonce: bytes
    wants: tuple[Want, ...]
    context: bytes = field(repr=False)
    replay_tag: bytes = field(repr=False)


@frozen(eq=False, kw_only=True)
class PendingTgs:
    """What the client keeps until the reply arrives. `message` is what to send."""

    message: bytes
    nonce: bytes
    wants: tuple[Want, ...]
    context: bytes = field(repr=False)
    pop_key: bytes = field(repr=False)

    __getstate__ = not_exported


@frozen(eq=False, kw_only=True)
class TgsReply:
    """An opened TGS-REP: one result per want, in the order of the wants."""

    kdc_time: Timestamp
    kdc_id: str
    policy_seq: int
    results: tuple[Granted | NotGranted, ...]


def build_tgs_request(
    tgt: bytes, pop_key: bytes, wants: Sequence[Want], *, now: Timestamp, nonce: bytes, caveats: bytes = b""
) -> PendingTgs:
    """TGS-REQ for 1 to 32 wants under the TGT whose K_pop (32 bytes) is `pop_key`.

    `nonce` is 16 fresh random bytes. Raises LocalMisuse.
    """
    if not 1 <= len(wants) <= MAX_WANTS:
        raise LocalMisuse("value-invalid", f"{len(wants)} wants, 1 to {MAX_WANTS} allowed")
    rows = [
        [
            want.kind, want.target.realm, want.target.name,
            None if want.scopes is None else list(want.scopes), want.ttl_s, want.flags, [],
        ]
        for want in wants
    ]  # fmt: skip
    body = _REQUEST.encode(VERSION, TGS_REQ, tgt, caveats, [], now, nonce, rows, None, [], [])
    message = join_signed(body, mac(pop_key, "tgs-req", body))
    return PendingTgs(message=message, nonce=nonce, wants=tuple(wants), context=digest(message), pop_key=pop_key)


def parse_tgs_request(signed: Signed | bytes) -> UnverifiedTgsRequest:
    """The shape of a TGS-REQ, to find the TGT's key with. Raises Malformed."""
    if isinstance(signed, bytes):
        signed = parse_signed(signed)
    _version, _kind, tgt, caveats, dis, ts, nonce, rows, behalf, crit, _opt = _REQUEST.decode(signed.body)
    wants = tuple(
        Want(
            kind=kind,
            target=cached_principal(realm, name),
            scopes=None if scopes is None else tuple(scopes),
            ttl_s=ttl_s,
            flags=flags,
        )
        for kind, realm, name, scopes, ttl_s, flags, _ext in rows
    )
    return UnverifiedTgsRequest(
        tgt=tgt,
        tgt_caveats=caveats,
        discharges=len(dis),
        ts=Timestamp(ts),
        nonce=nonce,
        wants=wants,
        on_behalf=behalf is not None,
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


def verify_tgs_request(request: UnverifiedTgsRequest, tgt: OpenedTgt) -> TgsRequest:
    """The request, once its MAC proved possession of the TGT's tail. Raises PeerMisbehaved `wrong-mac`.

    Extensions, discharges and times are judged after this, so that a refusal can be sealed.
    """
    require_mac(tgt.pop_key, "tgs-req", request.signed.body, request.signed.mac)
    return TgsRequest(
        tgt=tgt,
        ts=request.ts,
        nonce=request.nonce,
        wants=request.wants,
        context=digest(request.signed.whole),
        replay_tag=request.signed.mac[:16],
    )


def check_tgs_extensions(request: UnverifiedTgsRequest) -> None:
    """Raises Refused for what this version must not ignore: critical extensions, caveats on the TGT,
    discharges without a third-party caveat, and requests on behalf of somebody."""
    if request.critical:
        raise Refused("unsupported-critical", f"extension {request.critical[0]}")
    if request.tgt_caveats:
        raise Refused("caveat-unsupported", "this KDC does not accept caveats on a TGT yet")
    if request.discharges:
        raise Refused("discharge-mismatch", f"{request.discharges} discharges, none expected")
    if request.on_behalf:
        raise Refused("subject-refused", "this KDC does not issue on behalf of others yet")


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
    rows = [_row_of(result) for result in results]
    body = _REPLY.encode(request.nonce, now, kdc_id, policy_seq, rows, [])
    return outer_reply(seal(request.tgt.reply_key, "tgs-rep", request.context, body, entropy=entropy))


def seal_tgs_error(
    request: TgsRequest, code: str, *, now: Timestamp, entropy: bytes, retry_s: int = 0, detail: str = ""
) -> bytes:
    """TGS-ERR for the request as a whole."""
    return seal_error(
        request.tgt.error_key, "tgs-err", request.context, code,
        now=now, retry_s=retry_s, detail=detail, entropy=entropy,
    )  # fmt: skip


def open_tgs_reply(pending: PendingTgs, data: bytes) -> TgsReply:
    """The reply to `pending`, its results compared with what was asked.

    Raises KdcRefusal for a TGS-ERR, PeerMisbehaved (`unauthenticated-refusal`, `reply-mismatch`) or Malformed.
    """
    plain = open_reply_box(
        data,
        reply_key=derive(pending.pop_key, "tgs-rep"),
        reply_label="tgs-rep",
        error_key=derive(pending.pop_key, "tgs-err"),
        error_label="tgs-err",
        context=pending.context,
    )
    nonce, kdc_time, kdc_id, policy_seq, rows, _opt = _REPLY.decode(plain)
    if nonce != pending.nonce or len(rows) != len(pending.wants):
        raise PeerMisbehaved("reply-mismatch", "it names another request")
    return TgsReply(
        kdc_time=Timestamp(kdc_time),
        kdc_id=kdc_id,
        policy_seq=policy_seq,
        results=tuple(_result_of(row, want) for row, want in zip(rows, pending.wants, strict=True)),
    )


def _row_of(result: Granted | NotGranted) -> list[Any]:
    target = result.target
    if isinstance(result, NotGranted):
        return [1, target.realm, target.name, result.reason.number, result.retry_s, result.ref, []]
    return [
        0, target.realm, target.name, result.target_uid, result.credential, result.session_key, result.ttl_s,
        result.flags, result.kvno, list(result.scopes), None, [note.to_items() for note in result.notes], [],
    ]  # fmt: skip


def _result_of(row: list[Any], want: Want) -> Granted | NotGranted:
    if (row[1], row[2]) != (want.target.realm, want.target.name):
        raise PeerMisbehaved("reply-mismatch", "a result names another target")
    if row[0] == 1:
        return NotGranted(target=want.target, reason=reason_by_number(row[3]), retry_s=row[4], ref=row[5])
    _ok, _realm, _name, uid, credential, session_key, ttl_s, flags, kvno, scopes, _subject, notes, _ext = row
    if (session_key is None) != (want.kind == WANT_JWT):
        raise PeerMisbehaved("reply-mismatch", "a result is of another kind than asked for")
    return Granted(
        target=want.target,
        target_uid=uid,
        credential=credential,
        session_key=session_key,
        ttl_s=ttl_s,
        flags=flags,
        kvno=kvno,
        scopes=tuple(scopes),
        notes=tuple(Note(*note) for note in notes),
    )
