"""The messages about tickets at hand as bytes: reports of refusals, renewing and forgetting.

Encodes and decodes. Knows no socket and no daemon.
"""

from __future__ import annotations

from typing import Final

from orthros_client.local.api.entries import ENTRY, FAILURE, entry_items, entry_of, failure_items, failure_of
from orthros_client.local.api.values import (
    REPORTED,
    ForgetRequest,
    Forgotten,
    Op,
    Renewal,
    Renewed,
    RenewRequest,
    Reported,
    ReportOutcome,
    ReportRequest,
)
from orthros_protocol import cached_principal, is_name
from orthros_protocol.primitives.canonical import Schema, array, binary, integer, nested, optional, text
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_U32

__all__ = [
    "RENEWALS_PAGE",
    "AboutHeld",
    "decode_about_held",
    "decode_outcome",
    "encode_about_held",
    "encode_outcome",
]

RENEWALS_PAGE: Final = 64
"""As many renewals are listed in one reply."""

AboutHeld = ReportRequest | RenewRequest | ForgetRequest
_Outcomes = Reported | Renewed | Forgotten

_NAME: Final = text(is_name)
_U32: Final = integer(MAX_U32)
_REPORT: Final = Schema("report", _NAME, _NAME, binary(32), text(lambda code: code in REPORTED), integer())
_RENEW: Final = Schema("renewal request", optional(_NAME), _NAME, _U32)
_FORGET: Final = Schema("request to forget", optional(_NAME), optional(_NAME))
_REPORTED: Final = Schema("report taken", integer(max(ReportOutcome)), _U32)
_RENEWED: Final = Schema("renewed", array(nested(ENTRY, optional(FAILURE)), RENEWALS_PAGE), _U32, limit=MAX_FRAME_BYTES)
_FORGOTTEN: Final = Schema("forgotten", _U32, _U32)


def encode_about_held(request: AboutHeld) -> bytes:
    """The body of a request. Raises LocalMisuse for values that do not fit."""
    if isinstance(request, ReportRequest):
        target = request.target
        return _REPORT.encode(target.realm, target.name, request.ticket, request.code, request.time)
    if isinstance(request, RenewRequest):
        return _RENEW.encode(request.realm, request.target, request.timeout_ms)
    return _FORGET.encode(request.realm, request.target)


def decode_about_held(op: Op, body: bytes) -> AboutHeld:
    """Raises Malformed."""
    if op is Op.REPORT:
        realm, name, ticket, code, time = _REPORT.decode(body)
        return ReportRequest(target=cached_principal(realm, name), ticket=ticket, code=code, time=time)
    if op is Op.RENEW:
        realm, name, timeout_ms = _RENEW.decode(body)
        return RenewRequest(realm=realm, target=name, timeout_ms=timeout_ms)
    realm, name = _FORGET.decode(body)
    return ForgetRequest(realm=realm, target=name)


def encode_outcome(reply: _Outcomes) -> bytes:
    """The body of a reply."""
    if isinstance(reply, Reported):
        return _REPORTED.encode(int(reply.outcome), min(reply.retry_s, MAX_U32))
    if isinstance(reply, Renewed):
        rows = [
            [entry_items(one.entry), None if one.failure is None else failure_items(one.failure)]
            for one in reply.renewals
        ]
        return _RENEWED.encode(rows, reply.others)
    return _FORGOTTEN.encode(reply.dropped, reply.kept)


def decode_outcome(op: Op, body: bytes) -> _Outcomes:
    """Raises Malformed."""
    if op is Op.REPORT:
        outcome, retry_s = _REPORTED.decode(body)
        return Reported(outcome=ReportOutcome(outcome), retry_s=retry_s)
    if op is Op.RENEW:
        rows, others = _RENEWED.decode(body)
        return Renewed(
            renewals=tuple(
                Renewal(entry_of(row), None if failure is None else failure_of(failure)) for row, failure in rows
            ),
            others=others,
        )
    dropped, kept = _FORGOTTEN.decode(body)
    return Forgotten(dropped=dropped, kept=kept)
