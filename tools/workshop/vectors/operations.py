"""The operations of the vectors: JSON in, the library called, JSON out.

Which inputs are worth a vector is the business of other modules; what a refusal means, that of `run`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Final

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.as_exchange import (
    InitialTicket,
    check_as_extensions,
    open_as_reply,
    parse_as_request,
    seal_as_error,
    seal_as_reply,
    verify_as_request,
)
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.tgs_exchange import (
    TgsRequest,
    UnverifiedTgsRequest,
    check_tgs_extensions,
    open_tgs_reply,
    open_tgt,
    parse_tgs_request,
    seal_tgs_error,
    seal_tgs_reply,
    verify_tgs_request,
)
from orthros_protocol.exchanges.wants import (
    EXACT,
    KNOWN_WANT_FLAGS,
    WANT_DELEGABLE,
    Granted,
    NotGranted,
    demands_as,
    read_wants,
)
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import KdcMacKey, TgtKey, TicketKey
from orthros_protocol.primitives import canonical, derivation, sealing
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal, check_name, check_scopes
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.attenuation import add_caveat, join_caveats, pop_key_of, tail_of
from orthros_protocol.tickets.evidence import open_evidence, peek_unverified_evidence
from orthros_protocol.tickets.notes import Note
from orthros_protocol.tickets.ticket import (
    DELEGABLE,
    INITIAL,
    KNOWN_FLAGS,
    Hop,
    Ticket,
    TicketContent,
    check_flags,
    open_ticket,
    peek_unverified_header,
    require_kdc_mark,
    seal_ticket,
)
from workshop.vectors.ap_operations import AP_OPERATIONS
from workshop.vectors.authority_operations import (
    AUTHORITY_OPERATIONS,
    shown_subject,
    subject_of,
)
from workshop.vectors.error_operations import ERROR_OPERATIONS
from workshop.vectors.http_operations import HTTP_OPERATIONS
from workshop.vectors.parties import (
    Inputs,
    Vector,
    as_pending,
    items_of,
    mac_keys_of,
    optional,
    root_of,
    sealing_key_of,
    tgs_pending,
    unhex,
)
from workshop.vectors.stream_operations import STREAM_OPERATIONS
from workshop.vectors.token_operations import TOKEN_OPERATIONS


def to_items(value: Any) -> Any:
    """JSON to canonical items: bytes are {"bin": hex}."""
    if isinstance(value, dict):
        return unhex(value["bin"])
    return [to_items(one) for one in value] if isinstance(value, list) else value


def from_items(value: Any) -> Any:
    """Canonical items to JSON."""
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    return [from_items(one) for one in value] if isinstance(value, list) else value


def _role_keys(given: Inputs) -> Vector:
    root = root_of(given)
    as_key, ticket, sync = root.as_key(), root.ticket_key(), root.sync_key()
    return {
        "root_kid": root.kid.hex(),
        "as": {"key": as_key.material.hex(), "kid": as_key.kid.hex(), "reply_key": as_key.reply_key.hex(),
               "error_key": as_key.error_key.hex()},
        "ticket": {"key": ticket.material.hex(), "kid": ticket.kid.hex(), "box_key": ticket.box_key.hex(),
                   "header": ticket.header.hex(), "context": ticket.context.hex()},
        "sync": {"key": sync.material.hex(), "kid": sync.kid.hex()},
    }  # fmt: skip


def _keytab(keytab: Keytab) -> Vector:
    return {
        "principal": str(keytab.principal), "uid": keytab.uid, "kvnos": list(keytab.kvnos),
        "verify_only": keytab.is_verify_only, "kids": [entry.key.kid.hex() for entry in keytab.entries],
        "file": keytab.to_bytes().hex(), "text": keytab.to_text(),
    }  # fmt: skip


def _sealed_ticket(given: Inputs) -> bytes:
    """A ticket from {sealed_with, mac_no, mac_key, fields, entropy}."""
    fields = given["fields"]
    changes: dict[str, Any] = {name: unhex(fields[name]) for name in ("tid", "session_key", "ckid", "txn")}
    changes |= {name: fields[name] for name in ("client_uid", "iat", "exp", "auth_time", "flags")}
    changes["caveats_field"] = join_caveats(map(unhex, fields.get("caveats", [])))
    changes["chain"] = [Hop(Principal.parse(name), at) for name, at in fields.get("chain", [])]
    changes["subject"] = subject_of(fields.get("subject"))
    key = sealing_key_of(given["sealed_with"])
    mac_key = KdcMacKey(unhex(given["mac_key"]), number=given["mac_no"])
    content = TicketContent(
        client=Principal.parse(fields["client"]),
        scopes=tuple(fields["scopes"]),
        mac_number=mac_key.number,
        **changes,
    )
    return seal_ticket(key, mac_key, content, entropy=unhex(given["entropy"]))


def _ticket(ticket: Ticket) -> Vector:
    return {
        "server": str(ticket.server), "server_uid": ticket.server_uid, "kvno": ticket.kvno, "tid": ticket.tid.hex(),
        "client": str(ticket.client), "client_uid": ticket.client_uid, "session_key": ticket.session_key.hex(),
        "iat": ticket.iat, "exp": ticket.exp, "auth_time": ticket.auth_time, "ckid": ticket.ckid.hex(),
        "flags": ticket.flags, "scopes": list(ticket.scopes), "txn": ticket.txn.hex(),
        "caveats": [caveat.hex() for caveat in ticket.caveats],
        "chain": [[str(hop.principal), hop.auth_time] for hop in ticket.chain],
        "subject": shown_subject(ticket.subject),
    }  # fmt: skip


def _ticket_header(given: Inputs) -> Vector:
    header = peek_unverified_header(unhex(given["ticket"]))
    return {"type": header.ticket_type, "kvno": header.kvno, "kid": header.kid.hex()}


_FLAGS: Final = {
    "ticket": {"initial": INITIAL, "delegable": DELEGABLE},
    "want": {"exact": EXACT, "delegable": WANT_DELEGABLE},
}
_KNOWN: Final = {"ticket": KNOWN_FLAGS, "want": KNOWN_WANT_FLAGS}


def _flags(given: Inputs) -> Vector:
    of, flags = given["of"], given["flags"]
    check_flags(flags, _KNOWN[of])
    return {"names": [name for name, bit in _FLAGS[of].items() if flags & bit]}


def _chain(given: Inputs) -> Vector:
    tails = [tail_of(unhex(given["session_key"]), unhex(given["ticket"]))]
    for caveat in given["caveats"]:
        tails.append(add_caveat(tails[-1], unhex(caveat)))
    return {"tails": [tail.hex() for tail in tails], "pop_key": pop_key_of(tails[-1]).hex()}


def _verify_as(given: Inputs) -> Vector:
    unverified = parse_as_request(unhex(given["message"]))
    request = verify_as_request(unverified, root_of(given["client"]).as_key())
    check_as_extensions(unverified)
    return {"service": request.service, "ts": request.ts, "ttl_s": request.ttl_s, "nonce": request.nonce.hex()}


def _as_rep(given: Inputs) -> Vector:
    key, pending = as_pending(given["request"])
    request = verify_as_request(parse_as_request(pending.message), key)
    if "error" in given:
        sealed = seal_as_error(
            request, given["error"], now=Timestamp(given["kdc_time"]), entropy=unhex(given["entropy"]),
            retry_s=given["retry_s"], detail=given["detail"],
        )  # fmt: skip
    else:
        sealed = seal_as_reply(
            request,
            InitialTicket(
                ticket=unhex(given["ticket"]), session_key=unhex(given["session_key"]), ttl_s=given["ttl_s"],
                flags=given["flags"],
            ),
            newest_kvno=given["newest_kvno"], kdc_id=given["kdc_id"], now=Timestamp(given["kdc_time"]),
            entropy=unhex(given["entropy"]),
        )  # fmt: skip
    return {"reply": sealed.hex()}


def _open_as_rep(given: Inputs) -> Vector:
    key, pending = as_pending(given["request"])
    reply = open_as_reply(pending, key, unhex(given["reply"]))
    return {
        "kdc_time": reply.kdc_time, "kdc_id": reply.kdc_id, "ticket": reply.ticket.hex(), "ttl_s": reply.ttl_s,
        "session_key": reply.session_key.hex(), "flags": reply.flags, "newest_kvno": reply.newest_kvno,
    }  # fmt: skip


def _open_tgs_req(message: bytes, kdc: Inputs) -> tuple[UnverifiedTgsRequest, TgsRequest]:
    unverified = parse_tgs_request(message)
    key = sealing_key_of(kdc["tgt_key"])
    if not isinstance(key, TgtKey):
        raise TypeError("a KDC opens TGTs with a TGT key")
    mac_keys = mac_keys_of(kdc["mac_keys"])
    opened = open_tgt(unverified.tgt, unverified.tgt_caveats, {key.kid: key}, mac_keys)
    evidence = None
    if unverified.behalf is not None and peek_unverified_evidence(unverified.behalf) is not None:
        own = sealing_key_of(kdc["evidence_key"])
        if not isinstance(own, TicketKey):
            raise TypeError("a KDC opens evidence with a ticket key")
        evidence = open_evidence(unverified.behalf, own, mac_keys)
    return unverified, verify_tgs_request(unverified, opened, evidence)


def _behalf(request: TgsRequest) -> Vector | None:
    if request.evidence is None:
        return None if request.asserted is None else {"subject": shown_subject(request.asserted)}
    return {
        "evidence": _ticket(request.evidence.ticket), "proof": request.evidence.proof.hex(),
        "caveats": [one.hex() for one in request.evidence.caveats], "reply_key": request.reply_key.hex(),
    }  # fmt: skip


def _verify_tgs(given: Inputs) -> Vector:
    unverified, request = _open_tgs_req(unhex(given["message"]), given["kdc"])
    check_tgs_extensions(unverified)
    return {
        "client": str(request.tgt.ticket.client),
        "pop_key": request.tgt.pop_key.hex(),
        "behalf": _behalf(request),
        "wants": [
            {"target": str(want.target), "kind": want.kind,
             "scopes": None if want.scopes is None else list(want.scopes), "ttl_s": want.ttl_s, "flags": want.flags,
             "limits": items_of(want.limits)}
            for want in read_wants(request.wants)
        ],
    }  # fmt: skip


def _read_wants(given: Inputs) -> Vector:
    try:
        read_wants(unhex(given["wants"]))
    except Refused as refusal:
        return {"detail": refusal.detail}
    return {"detail": ""}


def _result(given: Inputs) -> Granted | NotGranted:
    target = Principal.parse(given["target"])
    if "code" in given:
        reason = reason_for(given["code"])
        return NotGranted(target=target, reason=reason, retry_s=given["retry_s"], ref=unhex(given["ref"]))
    return Granted(
        target=target, target_uid=given["uid"], credential=unhex(given["credential"]),
        session_key=optional(given["session_key"]), ttl_s=given["ttl_s"], flags=given["flags"], kvno=given["kvno"],
        scopes=tuple(given["scopes"]), notes=tuple(Note(*note) for note in given["notes"]),
        subject=subject_of(given.get("subject")), ext=demands_as([unhex(one) for one in given.get("demands", [])]),
    )  # fmt: skip


def _shown(result: Granted | NotGranted) -> Vector:
    if isinstance(result, NotGranted):
        return {
            "target": str(result.target),
            "code": result.reason.name,
            "retry_s": result.retry_s,
            "ref": result.ref.hex(),
        }
    return {
        "target": str(result.target), "uid": result.target_uid, "credential": result.credential.hex(),
        "session_key": None if result.session_key is None else result.session_key.hex(), "ttl_s": result.ttl_s,
        "flags": result.flags, "kvno": result.kvno, "scopes": list(result.scopes),
        "notes": [[note.field, note.cause, note.index] for note in result.notes],
        "subject": shown_subject(result.subject), "demands": [cid.hex() for cid in result.demands],
    }  # fmt: skip


def _tgs_rep(given: Inputs) -> Vector:
    _unverified, request = _open_tgs_req(tgs_pending(given["request"]).message, given["kdc"])
    common: dict[str, Any] = {"now": Timestamp(given["kdc_time"]), "entropy": unhex(given["entropy"])}
    if "error" in given:
        retry = {"retry_s": given["retry_s"], "detail": given["detail"]}
        return {"reply": seal_tgs_error(request, given["error"], **common, **retry).hex()}
    results = [_result(result) for result in given["results"]]
    sealed = seal_tgs_reply(request, results, kdc_id=given["kdc_id"], policy_seq=given["policy_seq"], **common)
    return {"reply": sealed.hex()}


def _open_tgs_rep(given: Inputs) -> Vector:
    reply = open_tgs_reply(tgs_pending(given["request"]), unhex(given["reply"]))
    return {
        "kdc_time": reply.kdc_time, "kdc_id": reply.kdc_id, "policy_seq": reply.policy_seq,
        "results": [_shown(result) for result in reply.results],
    }  # fmt: skip


def _aes_gcm(given: Inputs) -> Vector:
    backend = sealing.AESGCM  # type: ignore[attr-defined]  # the very object that seals here
    sealed: bytes = backend(unhex(given["key"])).encrypt(unhex(given["nonce"]), unhex(given["plaintext"]), None)
    return {"sealed": sealed.hex()}


OPERATIONS: Final[dict[str, Callable[[Inputs], Vector]]] = {
    "hmac-sha512": lambda i: {"output": hmac.digest(unhex(i["key"]), unhex(i["message"]), "sha512").hex()},
    "hkdf-expand-sha512": lambda i: {
        "output": hmac.digest(unhex(i["prk"]), unhex(i["info"]) + b"\1", "sha512")[: i["size"]].hex()
    },
    "aes-256-gcm": _aes_gcm,
    "digest": lambda i: {"output": derivation.digest(unhex(i["data"])).hex()},
    "prf": lambda i: {"output": derivation.prf(unhex(i["key"]), i["label"], unhex(i["message"])).hex()},
    "derive": lambda i: {
        "output": derivation.derive(unhex(i["key"]), i["label"], unhex(i["context"]), i["size"]).hex()
    },
    "mac": lambda i: {"output": derivation.mac(unhex(i["key"]), i["label"], unhex(i["message"])).hex()},
    "seal": lambda i: {
        "box": sealing.seal(
            unhex(i["key"]), i["label"], unhex(i["context"]), unhex(i["plaintext"]), entropy=unhex(i["entropy"])
        ).hex()
    },
    "open": lambda i: {
        "plaintext": sealing.open_box(
            unhex(i["key"]), i["label"], unhex(i["context"]), unhex(i["box"]), limit=i["limit"]
        ).hex()
    },
    "encode": lambda i: {"bytes": canonical.encode(*to_items(i["items"])).hex()},
    "decode": lambda i: {"items": from_items(canonical.decode(unhex(i["bytes"]), i["limit"]))},
    "name": lambda i: {"name": check_name(i["text"])},
    "scope": lambda i: {"scopes": list(check_scopes([i["text"]]))},
    "scope-set": lambda i: {"scopes": list(check_scopes(i["texts"]))},
    "role-keys": _role_keys,
    "key-file": lambda i: _keytab(Keytab.from_bytes(unhex(i["file"]))),
    "key-text": lambda i: _keytab(Keytab.from_text(i["text"])),
    "ticket": lambda i: {"ticket": _sealed_ticket(i).hex()},
    "open-ticket": lambda i: _ticket(open_ticket(unhex(i["ticket"]), sealing_key_of(i["key"]))),
    "kdc-mark": lambda i: _ticket(
        require_kdc_mark(unhex(i["ticket"]), sealing_key_of(i["key"]), mac_keys_of(i["mac_keys"]))
    ),
    "ticket-header": _ticket_header,
    "flags": _flags,
    "chain": _chain,
    "bind-raw": lambda i: {
        "bind": bind_raw(i["endpoint"], unhex(i["payload"]), channel_binding=optional(i["channel_binding"])).hex()
    },
    "as-req": lambda i: {"message": as_pending(i)[1].message.hex()},
    "verify-as-req": _verify_as,
    "as-rep": _as_rep,
    "open-as-rep": _open_as_rep,
    "tgs-req": lambda i: {"message": tgs_pending(i).message.hex()},
    "verify-tgs-req": _verify_tgs,
    "read-wants": _read_wants,
    "tgs-rep": _tgs_rep,
    "open-tgs-rep": _open_tgs_rep,
    **AP_OPERATIONS,
    **HTTP_OPERATIONS,
    **AUTHORITY_OPERATIONS,
    **TOKEN_OPERATIONS,
    **STREAM_OPERATIONS,
    **ERROR_OPERATIONS,
}
