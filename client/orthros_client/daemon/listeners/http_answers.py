"""What the local HTTP API can be asked and how it answers, as values: no sockets, no parser.

Every answer is a JSON object; every error is {error, detail, remedy, retry}.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import field, frozen

from orthros_client.errors import Failure, LocalMisuse, Misconfigured, Unavailable
from orthros_client.local.api.values import (
    CredentialGrant,
    Op,
    Reply,
    Status,
    StatusRequest,
    WantRequest,
)
from orthros_client.reasons import BAD_LOCAL_REQUEST
from orthros_protocol.primitives.limits import MAX_U32
from orthros_protocol.primitives.names import check_name, check_scopes
from orthros_protocol.reasons.reason import fill_remedy
from orthros_protocol.tickets.notes import describe_note

__all__ = ["LocalAnswer", "LocalQuestion", "answer_failure", "answer_reply", "parse_question"]

_MOST_FIELDS: Final = 64
_WAIT_MS: Final = 300_000  # the daemon's own request_timeout_s is shorter and decides
_GRANTS: Final = {"/v1/ticket": Op.TICKET, "/v1/token": Op.TOKEN}


@frozen
class LocalAnswer:
    """A status, a JSON object, and the seconds for a Retry-After header (0: none)."""

    status: int
    body: dict[str, Any] = field(repr=False)  # it may hold a ticket's key
    retry_after_s: int = 0


@frozen
class LocalQuestion:
    """A path and the request to the desk that it stands for."""

    path: str
    request: StatusRequest | WantRequest


def parse_question(method: str, target: bytes) -> LocalQuestion | LocalAnswer:
    """The question behind a request line, or the answer when it needs no asking.

    Raises LocalMisuse `bad-local-request` or Misconfigured for parameters that cannot be.
    """
    path, _, query = target.decode("ascii").partition("?")
    if path not in ("/livez", "/readyz", "/v1/status", *_GRANTS):
        return answer_failure(
            Failure.refused("not-found", "paths: /v1/token /v1/ticket /v1/status /livez /readyz"), 404
        )
    if method != "GET":
        return answer_failure(Failure.refused(BAD_LOCAL_REQUEST, "only GET"), 405)
    if path in _GRANTS:
        return LocalQuestion(path, _want_of(_GRANTS[path], query))
    if query:
        raise LocalMisuse(BAD_LOCAL_REQUEST, "this path takes no parameters")
    if path == "/livez":
        return LocalAnswer(200, {"alive": True})
    return LocalQuestion(path, StatusRequest(probe=int(path == "/readyz")))


def answer_reply(question: LocalQuestion, reply: Reply, client: str) -> LocalAnswer:
    """The desk's reply as JSON; `client` is the name that the daemon's key file is for."""
    if isinstance(reply, Failure):
        names = {"CLIENT": client, "PRINCIPAL": client}
        if isinstance(question.request, WantRequest):
            names["TARGET"] = question.request.target
        return answer_failure(reply, names=names)
    if isinstance(reply, CredentialGrant):
        return LocalAnswer(200, _granted_of(reply))
    if isinstance(reply, Status):
        return _readiness_of(reply) if question.path == "/readyz" else LocalAnswer(200, _status_of(reply))
    return answer_failure(Failure.refused(BAD_LOCAL_REQUEST), 400)


def answer_failure(
    failure: Failure, status: int | None = None, *, names: Mapping[str, str] | None = None
) -> LocalAnswer:
    """A failure as JSON; `status` where the kind of failure does not say it, `names` for its remedy."""
    body: dict[str, Any] = {
        "error": failure.reason.name,
        "detail": failure.detail or failure.reason.cause,
        "remedy": fill_remedy(failure.reason.remedy, names or {}),
        "retry": failure.reason.retry,
    }
    if failure.ref:
        body["ref"] = failure.ref
    if failure.retry_s:
        body["retry_after_s"] = failure.retry_s
    if failure.remaining_s:
        body["remaining_s"] = failure.remaining_s
    return LocalAnswer(status or _status_code(failure), body, failure.retry_s)


def _status_code(failure: Failure) -> int:
    if failure.family == Unavailable.family:
        return 503
    if failure.family in (LocalMisuse.family, Misconfigured.family):
        return 400
    return 403


def _want_of(op: Op, query: str) -> WantRequest:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise LocalMisuse(BAD_LOCAL_REQUEST, "the query cannot be read, or lacks target=") from None
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    unknown = set(given) - {"target", "scope", "ttl"}
    if unknown or len(given.get("target", [])) != 1 or len(given.get("ttl", [])) > 1:
        raise LocalMisuse(BAD_LOCAL_REQUEST, "parameters: target once, scope any number of times, ttl in seconds")
    name, at, realm = given["target"][0].partition("@")
    scopes = given.get("scope")
    return WantRequest(
        op=op,
        realm=check_name(realm, "realm") if at else None,
        target=check_name(name, "target"),
        scopes=None if scopes is None else check_scopes([scope for words in scopes for scope in words.split()]),
        ttl_s=_seconds_of(given.get("ttl", ["0"])[0]),
        timeout_ms=_WAIT_MS,
    )


def _seconds_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= MAX_U32):
        raise LocalMisuse(BAD_LOCAL_REQUEST, "ttl is a whole number of seconds")
    return int(text)


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _granted_of(grant: CredentialGrant) -> dict[str, Any]:
    credential = grant.credential
    facts = {
        "target": str(credential.target),
        "client": str(credential.client),
        "scopes": list(credential.scopes),
        "expires_in": int(credential.life.left_s(0)),
        "notes": [describe_note(note) for note in credential.notes],
    }
    if credential.tail is None:
        return {"token": credential.ticket.decode("ascii"), "token_type": "Bearer", **facts}
    return {
        "ticket": _b64(credential.ticket),
        "tail": _b64(credential.tail),
        "pop_key": _b64(credential.pop_key),
        "target_uid": credential.target_uid,
        "kvno": credential.kvno,
        "flags": credential.flags,
        "realm_offset_ms": grant.offset_ms,
        "demands": [_b64(demand) for demand in credential.demands],
        **facts,
    }


def _readiness_of(status: Status) -> LocalAnswer:
    if status.code is None:
        return LocalAnswer(200, {"ready": True, "client": str(status.client), "cached": status.cached})
    body = {"ready": False, "error": status.code, "detail": status.detail or "", "cached": status.cached}
    return LocalAnswer(503, body)


def _status_of(status: Status) -> dict[str, Any]:
    return {
        "ready": status.ready,
        "error": status.code,
        "detail": status.detail,
        "client": str(status.client),
        "kvno": status.kvno,
        "newest_kvno": status.newest_kvno,
        "tgt_remaining_s": status.tgt_remaining_s,
        "cached": status.cached,
        "clock_offset_ms": status.offset_ms,
        "kdcs": [
            {"address": line.address, "answered_s_ago": line.good_age_s, "failure": line.failure}
            for line in status.kdcs
        ],
        "login_file": status.login_file,
        "uptime_s": status.uptime_s,
        "version": status.version,
    }
