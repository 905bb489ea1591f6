"""The initial exchange, decided: which logins get a ticket for the KDC.

Rules as rows, each with the code that the caller and the audit log will see. Knows no store and no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from orthros_kdc.audit.events import AsIssued, ClientFacts
from orthros_kdc.realm.principals import LoginView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.store.base import TOMBSTONE_S
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.as_exchange import (
    AsRequest,
    InitialTicket,
    UnverifiedAsRequest,
    check_as_extensions,
    seal_as_reply,
)
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.limits import KDC_SERVICE_TICKET_S, KDC_SKEW_MS
from orthros_protocol.primitives.names import KDC_KEYS, KDC_SERVICES, KDC_TGT
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.ticket import INITIAL, TicketContent, seal_ticket

__all__ = ["AS_ENTROPY", "is_known", "issue_initial_ticket"]

AS_ENTROPY: Final = 112
"""Bytes: ticket id, transaction id, session key, two boxes."""


class _Rule(NamedTuple):
    refuses: Callable[[AsRequest, LoginView, Timestamp], bool]
    code: Code


_RULES: Final = (
    _Rule(lambda request, _login, now: abs(request.ts - now) > KDC_SKEW_MS, "clock-skew"),
    _Rule(lambda _request, login, _now: login.is_retired, "key-retired"),
    _Rule(lambda _request, login, _now: login.principal.disabled, "principal-disabled"),
    _Rule(lambda request, _login, _now: request.service not in KDC_SERVICES, "unknown-service"),
    # Administration rights exist in no table yet, so no principal has them.
    _Rule(lambda request, _login, _now: request.service not in (KDC_TGT, KDC_KEYS), "not-granted"),
)


def is_known(login: LoginView, now: Timestamp) -> bool:
    """Whether this login key earns any answer: a retired one for 30 days, even when its row is still there."""
    return not login.is_retired or (login.retired is not None and login.retired + TOMBSTONE_S >= seconds_of(now))


def issue_initial_ticket(
    request: AsRequest,
    unverified: UnverifiedAsRequest,
    login: LoginView,
    realm: RealmFacts,
    about: ClientFacts,
    *,
    entropy: bytes,
) -> tuple[bytes, AsIssued]:
    """AS-REP for a verified request, and its event. `entropy` is `AS_ENTROPY` fresh random bytes.

    Raises Refused with the code to seal into the AS-ERR.
    """
    now = about.at
    for rule in _RULES:
        if rule.refuses(request, login, now):
            raise Refused(rule.code)
    check_as_extensions(unverified)
    most_s = realm.record.limits.max_tgt_s if request.service == KDC_TGT else KDC_SERVICE_TICKET_S
    ttl_s = min(request.ttl_s, most_s) if request.ttl_s else most_s
    key = realm.keys.newest_tgt if request.service == KDC_TGT else realm.keys.services[request.service]
    tid, txn, session_key = entropy[:16], entropy[16:32], entropy[32:64]
    second = seconds_of(now)
    mac_key = realm.keys.newest_mac
    content = TicketContent(
        tid=tid,
        client=request.key.principal,
        client_uid=login.principal.uid,
        session_key=session_key,
        iat=second,
        exp=second + ttl_s,
        auth_time=second,
        ckid=request.key.kid,
        flags=INITIAL,
        scopes=(),
        txn=txn,
        mac_number=mac_key.number,
    )
    ticket = seal_ticket(key, mac_key, content, entropy=entropy[64:88])
    reply = seal_as_reply(
        request,
        InitialTicket(ticket=ticket, session_key=session_key, ttl_s=ttl_s, flags=INITIAL),
        newest_kvno=login.newest_kvno,
        kdc_id=about.kdc_id,
        now=now,
        entropy=entropy[88:112],
    )
    issued = AsIssued(
        about=about, service=request.service, kvno=request.key.kvno, ttl_s=ttl_s, tid=tid.hex(), txn=txn.hex()
    )
    return reply, issued
