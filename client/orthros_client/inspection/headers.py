"""What the values of HTTP's headers show: Authorization, Orthros-Reply, WWW-Authenticate.

A value may come with its header's name and a colon, as a log or a browser shows it.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import evolve

from orthros_client.inspection.findings import Eye, Fact, Finding, Moment
from orthros_client.inspection.messages import look_at_answer
from orthros_client.inspection.tickets import look_at_request
from orthros_client.inspection.tokens import look_at_token
from orthros_protocol.errors import Malformed
from orthros_protocol.exchanges.http_profile import parse_authorization, parse_challenge, peek_unverified_reply

__all__ = ["look_at_header", "without_name"]

_NAME: Final = re.compile(
    r"(?:[<>*] )?(?:(?:proxy-|x-original-)?authorization|orthros-reply|www-authenticate)[ \t]*:[ \t]*",
    re.ASCII | re.IGNORECASE,
)
_BEARER: Final = "bearer "


def without_name(text: str) -> str:
    """The value without the name of its header."""
    found = _NAME.match(text)
    return text if found is None else text[found.end() :]


def look_at_header(text: str, eye: Eye) -> Finding:
    """The value of one header. Raises OrthrosError for what is none of ours."""
    if text[: len(_BEARER)].lower() == _BEARER:
        token = look_at_token(text[len(_BEARER) :].strip(), eye)
        return Finding(kind="http-bearer", title="HTTP header Authorization: Bearer", size=len(text), inside=(token,))
    if text.startswith("s="):
        return _reply(text)
    if text[:8].lower() != "orthros ":
        raise Malformed("no header of Orthros")
    return _challenge(text, eye) if text[8:].startswith("realm=") else _authorization(text, eye)


def _authorization(text: str, eye: Eye) -> Finding:
    parsed = parse_authorization(text)
    covered: Fact = list(parsed.covered)
    return Finding(
        kind="http-authorization",
        title="HTTP header Authorization: Orthros",
        size=len(text),
        facts={"version": 1, "headers_covered": covered},
        inside=(look_at_request(parsed.message, eye),),
    )


def _reply(text: str) -> Finding:
    reply = peek_unverified_reply(text)
    return Finding(
        kind="http-reply",
        title="HTTP header Orthros-Reply",
        size=len(text),
        facts={
            "status": reply.status,
            "made": Moment(reply.target_time // 1000),
            "headers_covered": list(reply.covered),
            "body": "not covered" if reply.body_digest is None else "covered by its digest",
        },
        unverified=("all of it: only the client that sent the request can check its MAC",),
    )


def _challenge(text: str, eye: Eye) -> Finding:
    parsed = parse_challenge(text)
    found = Finding(
        kind="http-challenge",
        title="HTTP header WWW-Authenticate: Orthros",
        size=len(text),
        facts={"realm": parsed.realm, "code": parsed.code},
        unverified=("all of it: anything between client and service could have written it",),
    )
    if parsed.reply is None:
        return found
    answer = look_at_answer(parsed.reply, eye)
    if answer.facts.get("code") == parsed.code:
        return evolve(found, inside=(answer,))
    return evolve(found, inside=(answer,), wrong=("err is another code than the answer beside it gives",))
