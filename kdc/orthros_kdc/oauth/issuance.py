"""Decides one wish by the same policy as the native exchange, and makes the token and the reply.

Pure: facts come in, a token or a refusal in the shapes of OAuth goes out. Policy comes before existence: without
a rule the target is never looked up.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from orthros_kdc.issuing.jwt_export import Issued, Requester, issue_token
from orthros_kdc.issuing.token_claims import callers_of, check_extra_claims
from orthros_kdc.oauth.errors import ErrorCode, OAuthError, json_answer
from orthros_kdc.oauth.grants import JWT_TOKEN_TYPE, Wish
from orthros_kdc.oauth.http_boundary import HttpAnswer
from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, Kind
from orthros_kdc.policy.decide import decide, dropped_scopes
from orthros_kdc.policy.rule import Rule
from orthros_kdc.realm.principals import OAuthClientView, TargetView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.vault import OPAQUE
from orthros_protocol.errors import Refused
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code, reason_for

__all__ = ["TOKEN_ENTROPY", "Minted", "TargetRules", "decide_wish", "expiry_header", "token_answer"]

TOKEN_ENTROPY: Final = 16 + 16 + 24
"""Bytes: token id, transaction id, box."""
_NOT_GRANTED: Final = {
    False: "",
    True: "No token can be issued for the default target of this client. Name the target as audience or resource.",
}


@frozen(eq=False, kw_only=True)
class TargetRules:
    """What was gathered for one wish: the target's name, the pair's rules, and the target only if there are any."""

    name: str
    rules: tuple[Rule, ...]
    target: TargetView | None


@frozen(eq=False, kw_only=True)
class Minted:
    """A token, what it rests on, and which scopes were not granted."""

    issued: Issued
    grant: Grant
    dropped: tuple[str, ...]


def decide_wish(
    wish: Wish,
    client: OAuthClientView,
    facts: TargetRules,
    realm: RealmFacts,
    *,
    now: Timestamp,
    entropy: bytes,
    address: str,
) -> Minted:
    """The token for `wish` from the IP address `address`, empty on a Unix socket, or OAuthError. `entropy` is
    `TOKEN_ENTROPY` fresh random bytes.

    Every rule that allows delegation does so here: OAuth has no parameter to ask for it.
    """
    me = Principal(realm.record.realm, client.principal.name)
    ask = Ask(
        target=facts.name,
        kind=Kind.JWT,
        scopes=wish.scopes,
        ttl_s=wish.ttl_s,
        delegable=any(rule.delegable for rule in facts.rules),
        subject=wish.subject,
        proven=wish.exchanged is not None,
        path=_path(wish, me),
    )
    second = seconds_of(now)
    known = Circumstances(
        address=address,
        now=second,
        groups_of=realm.policy.groups_of,
        scopes_of=realm.policy.own_scopes,
        client_caps=client.caps,
        target=None if facts.target is None else facts.target.facts,
        limits=realm.record.limits,
        remaining_tgt_s=MAX_TICKET_LIFE_S if wish.exchanged is None else wish.exchanged.exp - second,
    )
    grant = decide(ask, facts.rules, known)
    if isinstance(grant, Denial) or facts.target is None:
        raise _refusal(grant.code if isinstance(grant, Denial) else "target-unavailable", wish)
    if wish.token_type == JWT_TOKEN_TYPE and grant_is_opaque(facts.target):
        raise _refusal("jwt-not-enabled", wish)
    taken = facts.target.principal.token_claims
    try:
        issued = issue_token(
            grant,
            facts.target,
            realm,
            Requester(me, second, entropy[16:32], wish.exchanged),
            jti=entropy[:16],
            now=now,
            entropy=entropy[32:],
            extra=check_extra_claims(taken, {name: wish.claims[name] for name in taken if name in wish.claims}),
        )
    except Refused as refusal:
        raise _refusal(refusal.reason, wish, refusal.detail) from None
    return Minted(issued=issued, grant=grant, dropped=dropped_scopes(ask, grant))


def grant_is_opaque(target: TargetView) -> bool:
    """Whether tokens for this target are handles, which nobody but the KDC can read."""
    return target.facts.jwt_alg == OPAQUE


def token_answer(minted: Minted, wish: Wish) -> HttpAnswer:
    """The reply (RFC 6749 section 5.1, RFC 8693 section 2.2.1): it always says what was granted, and what was not."""
    content = minted.issued.content
    body: dict[str, Any] = {
        "access_token": minted.issued.text,
        "token_type": "Bearer",
        "expires_in": content.ttl_s,
        "scope": " ".join(content.scopes),
    }
    if wish.token_type is not None:
        body["issued_token_type"] = wish.token_type
    if minted.dropped:
        body["dropped"] = list(minted.dropped)
    return json_answer(200, body, expiry_header(minted))


def expiry_header(minted: Minted) -> tuple[str, str]:
    """The token's `exp`, for clients that do not parse the body."""
    content = minted.issued.content
    return "x-expiry", str(content.issued_at + content.ttl_s)


def _path(wish: Wish, me: Principal) -> tuple[str, ...]:
    """Whom an exchanged token came through, the first caller first, and then the client (protocol, section 11)."""
    if wish.exchanged is None:
        return ()
    return (*callers_of(wish.exchanged, me.realm), me.name)


def _refusal(code: Code | Reason, wish: Wish, detail: str = "") -> OAuthError:
    reason = reason_for(code)
    exchange = wish.exchanged is not None
    by_code = {
        "no-scope-left": ErrorCode.INVALID_SCOPE,
        # RFC 8693 section 2.2.2: what the policy says of a subject token is no invalid_grant there.
        "subject-refused": ErrorCode.INVALID_REQUEST if exchange else ErrorCode.INVALID_GRANT,
        "claim-refused": ErrorCode.INVALID_GRANT,
        "tgt-expired": ErrorCode.INVALID_REQUEST,
    }
    # Only where a rule exists may the answer say more. That the default is meant tells nothing of the target.
    text = _NOT_GRANTED[wish.target.by_default] if reason.name == "not-granted" else reason.cause
    if wish.target.by_default:
        detail = " ".join(filter(None, (detail, "the request names no target, this is the client's default")))
    return OAuthError(by_code.get(reason.name, ErrorCode.INVALID_TARGET), reason, detail, text=text)
