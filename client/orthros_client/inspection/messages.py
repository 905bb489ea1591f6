"""What the answers of services, hand-overs and demands show in clear.

Opens a hand-over with its receiver's key file, and shows what it is good for; never its tail.
"""

from __future__ import annotations

from attrs import evolve

from orthros_client.credentials.narrowing import demanded_by
from orthros_client.inspection.findings import Eye, Fact, Finding, Moment
from orthros_client.inspection.tickets import look_at_ticket
from orthros_client.inspection.words import caveat_words, error_words, plain, subject_words
from orthros_protocol.errors import Malformed, OrthrosError
from orthros_protocol.exchanges.ap_exchange import ApError, ApReply, ApSigned
from orthros_protocol.primitives.canonical import decode
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.reasons.table import reason_by_number
from orthros_protocol.tickets.credential import Credential
from orthros_protocol.tickets.discharges import MAX_DEMAND_BYTES, peek_unverified_discharger
from orthros_protocol.tickets.hand_over import open_hand_over, peek_unverified_hand_over

__all__ = ["credential_facts", "look_at_answer", "look_at_demand", "look_at_hand_over"]

_UNPROVEN = ("all of it: only the client that asked can check its MAC",)


def look_at_answer(data: bytes, _eye: Eye) -> Finding:
    """An AP-REP or AP-ERR. Raises OrthrosError for what is neither."""
    body = ApSigned.decode(data).body
    try:
        ts = ApReply.decode(body).target_time
    except OrthrosError:
        error = ApError.decode(body)
        ts, reason = error.target_time, reason_by_number(error.number)
        detail = plain(error.detail or "") or None
        facts: dict[str, Fact] = {"code": reason.name, "cause": reason.cause, "detail": detail}
        kind, title = "ap-error", "refusal by a service (AP-ERR)"
    else:
        facts, kind, title = {}, "ap-reply", "acceptance by a service (AP-REP)"
    facts["made"] = Moment(ts // 1000)
    return Finding(kind=kind, title=title, size=len(data), facts=facts, unverified=_UNPROVEN)


def look_at_demand(data: bytes, eye: Eye) -> Finding:
    """A demand (cid), as it is shown to a discharger. Raises OrthrosError for what is none."""
    discharger = peek_unverified_discharger(data)
    found = Finding(
        kind="demand",
        title="demand for a discharge",
        size=len(data),
        facts={"added_by": "the KDC", "discharger": str(discharger)},
        unverified=("all of it: anybody could have written these bytes",),
        sealed=("what is to be attested, of whom, and until when: only the discharger's key opens it",),
    )
    if discharger is not None:
        return found
    items = decode(data, MAX_DEMAND_BYTES)
    if len(items) != 2 or type(items[0]) is not bytes:
        raise Malformed("not a demand")
    # It is sealed with a ticket to the discharger, which says no more than any ticket.
    plain_eye = evolve(eye, keytab=None)
    return evolve(found, facts={"added_by": "a holder of the ticket"}, inside=(look_at_ticket(items[0], plain_eye),))


def look_at_hand_over(data: bytes, eye: Eye) -> Finding:
    """A hand-over. Raises OrthrosError for what is none."""
    ticket, box = peek_unverified_hand_over(data)
    found = Finding(
        kind="hand-over",
        title="hand-over of credentials",
        size=len(data),
        facts={"box_bytes": box},
        unverified=("all of it: anybody could have written these bytes",),
        sealed=(
            "who handed it over, to whom, for which target, its caveats and its key: only the receiver's key opens it",
        ),
        inside=(look_at_ticket(ticket, evolve(eye, keytab=None)),),
    )
    if eye.keytab is None:
        return found
    try:
        handed = open_hand_over(data, eye.keytab, now=Timestamp(eye.now_s * 1000))
    except OrthrosError as error:
        wrong = f"it does not open with the key file of {eye.keytab.principal}: {error_words(error)}"
        return evolve(found, wrong=(wrong,))
    return evolve(
        found,
        facts={**found.facts, "handed_over_by": str(handed.sender), "to": str(eye.keytab.principal)}
        | credential_facts(handed.credential),
        allows=tuple(map(caveat_words, handed.credential.caveats)),
        verified=(f"it opens with the key of {eye.keytab.principal}: {handed.sender} sealed it, as the KDC knows it",),
        unverified=("what it says of the ticket inside: its target opens that, and decides",),
        sealed=("the ticket inside, and its key, which is not shown",),
    )


def credential_facts(credential: Credential) -> dict[str, Fact]:
    """What credentials say that they are good for."""
    demanded = demanded_by(credential.caveats, credential.demands)
    facts: dict[str, Fact] = {
        "target": str(credential.target),
        "client": str(credential.client),
        "subject": None if credential.subject is None else subject_words(credential.subject),
        "scopes": list(credential.scopes),
        "expires": Moment(credential.life.second),
        "discharges_demanded": [str(one.discharger or "somebody unnamed") for one in demanded],
    }
    return facts
