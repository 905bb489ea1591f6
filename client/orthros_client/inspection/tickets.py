"""What a ticket and a request show: without any key, and with the key file of the service they are for.

Judges nothing that only the service itself can judge when it is called, and says which that is.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve

from orthros_client.inspection.findings import Eye, Fact, Finding, Moment
from orthros_client.inspection.words import (
    TICKET_TYPES,
    caveat_words,
    caveats_words,
    error_words,
    subject_words,
)
from orthros_protocol.errors import Malformed, OrthrosError
from orthros_protocol.exchanges.ap_exchange import (
    REQUEST_LABELS,
    SAFE,
    USE_CHANNEL,
    USE_HTTP,
    USE_KDC,
    USE_RAW,
    ApRequest,
    AssertedUser,
    parse_ap_request,
)
from orthros_protocol.primitives.derivation import mac, mac_matches
from orthros_protocol.tickets.presented import Presented, open_presented
from orthros_protocol.tickets.ticket import DELEGABLE, INITIAL, SERVICE_TICKET, Ticket, peek_unverified_header

__all__ = ["look_at_request", "look_at_ticket"]

_LEAST_BYTES: Final = 15 + 72  # header and an empty box
_USES: Final = {
    USE_RAW: "raw: one operation at a named endpoint",
    USE_HTTP: "HTTP: one request",
    USE_CHANNEL: "channel: everything until the channel ends",
    USE_KDC: "KDC",
}
_SEALED: Final = "client, scopes, times, subject, call chain, caveats that the KDC wrote, and the session key"
_UNMARKED: Final = (
    "that the KDC wrote it: only the KDC can check its mark, and whoever holds this service's key can write tickets "
    "to this service"
)
_RIGHT: Final = (
    "the MAC is right: whoever made it holds the ticket's key behind these caveats and discharges, and nothing was "
    "changed"
)
_WRONG: Final = (
    "the MAC: something was changed, a caveat was dropped, added or moved, a discharge is not the one that is "
    "demanded, or its maker does not hold the ticket's key"
)
_JUDGED_LATER: Final = (
    "whether it was presented before, its timestamp, what it is bound to, caveats, discharges' caveats and revocation: "
    "the service judges those when it is called"
)


def look_at_ticket(data: bytes, eye: Eye) -> Finding:
    """A ticket by itself. Raises OrthrosError for what is none."""
    header = peek_unverified_header(data)
    if len(data) < _LEAST_BYTES:
        raise Malformed("a ticket that is cut short")
    found = Finding(
        kind="ticket",
        title="Orthros ticket",
        size=len(data),
        facts={
            "type": TICKET_TYPES[header.ticket_type],
            "key_version": header.kvno,
            "key_id": header.kid.hex(),
        },
        unverified=("all of it: anybody could have written these bytes",),
    )
    if header.ticket_type != SERVICE_TICKET:
        return evolve(found, sealed=(_SEALED, "only the KDC opens it"))
    if eye.keytab is None:
        return evolve(found, sealed=(_SEALED, "for which service it is: only its key opens it"))
    try:
        ticket = open_presented(data, b"", eye.keytab).ticket
    except OrthrosError as error:
        wrong = f"it does not open with the key file of {eye.keytab.principal}: {error_words(error)}"
        return evolve(found, sealed=(_SEALED,), wrong=(wrong,))
    return evolve(
        found,
        facts={**found.facts, **_facts_of(ticket)},
        allows=tuple([f"{caveat_words(one)} (written into the ticket)" for one in ticket.caveats]),
        verified=(f"it opens with the key of {ticket.server}, version {ticket.kvno}: whoever sealed it held that key",),
        unverified=(_UNMARKED,),
        notes=("it has ended: every service refuses it",) if ticket.exp <= eye.now_s else (),
    )


def look_at_request(data: bytes, eye: Eye) -> Finding:
    """An AP-REQ. Raises OrthrosError for what is none."""
    request = parse_ap_request(data)
    shown = [caveats_words(one) for one in request.discharges]
    ticket = look_at_ticket(request.ticket, eye)
    found = Finding(
        kind="ap-request",
        title="Orthros request (AP-REQ)",
        size=len(data),
        facts={
            "use": _USES[request.use],
            "made": Moment(request.ts // 1000),
            "safe": "yes: it may run twice" if request.flags & SAFE else "no",
            "bound": "no" if request.bind is None else "yes, to a digest of what it is for",
            "process": "not named: a first contact" if request.epoch is None else "named: one process alone takes it",
            "user": None if request.user is None else _user_words(request.user),
            "discharges": len(request.discharges),
            "ticket_bytes": len(request.ticket),
            "caveat_bytes": len(request.caveats),
        },
        allows=(
            *caveats_words(request.caveats),
            *(f"discharge {at}: {words}" for at, all_words in enumerate(shown, 1) for words in all_words),
        ),
        inside=(ticket,),
    )
    if eye.keytab is None or not ticket.verified:
        why = "without the service's key nothing shows who made it" if eye.keytab is None else "its ticket is not open"
        return evolve(found, unverified=(f"all of it, its caveats included: {why}",))
    try:
        presented = open_presented(request.ticket, request.caveats, eye.keytab)
        is_right = _mac_is_right(request, presented)
    except OrthrosError as error:
        return evolve(found, unverified=("all of it",), wrong=(f"its caveats: {error_words(error)}",))
    notes: list[str] = []
    if len(presented.roots) != len(request.discharges):
        notes.append(f"the ticket demands {len(presented.roots)} discharges, which are not there: it is refused")
    if is_right:
        return evolve(found, verified=(_RIGHT,), unverified=(_JUDGED_LATER,), notes=tuple(notes))
    return evolve(found, unverified=("all of it, its caveats included",), wrong=(_WRONG,), notes=tuple(notes))


def _mac_is_right(request: ApRequest, presented: Presented) -> bool:
    key = presented.key_with(request.discharges)
    return mac_matches(mac(key, REQUEST_LABELS[request.use], request.body), request.mac)


def _facts_of(ticket: Ticket) -> dict[str, Fact]:
    chain = [{"principal": str(hop.principal), "auth_time": hop.auth_time} for hop in ticket.chain]
    flags = [name for bit, name in ((DELEGABLE, "delegable"), (INITIAL, "initial")) if ticket.flags & bit]
    return {
        "service": str(ticket.server),
        "client": str(ticket.client),
        "client_uid": ticket.client_uid,
        "subject": None if ticket.subject is None else subject_words(ticket.subject),
        "scopes": list(ticket.scopes),
        "issued": Moment(ticket.iat),
        "expires": Moment(ticket.exp),
        "logged_in": Moment(ticket.auth_time),
        "login_key_id": ticket.ckid.hex(),
        "flags": flags,
        "chain": chain,
        "ticket_id": ticket.tid.hex(),
        "transaction": ticket.txn.hex(),
    }


def _user_words(user: AssertedUser) -> str:
    how = "proven to the caller" if user.how == 1 else "asserted by the caller"
    return f"{user.name}, {how}"
