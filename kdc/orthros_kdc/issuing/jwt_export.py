"""Tokens: a bearer JWT for targets that speak nothing else (RFC 7519), or an opaque handle if the target introspects.

Key and algorithm come from the target's key record, never from a request. What is opened again here serves
introspection, revocation and exchange by the KDC alone: a token is never accepted as a ticket or as evidence.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from orthros_kdc.issuing.opaque_handle import (
    is_handle,
    open_handle,
    peek_unverified_handle_kid,
    seal_handle,
)
from orthros_kdc.issuing.token_claims import (
    Extra,
    Lineage,
    OwnToken,
    TokenContent,
    canonical_json,
    check_extra_claims,
    marked_claims,
    read_marked,
    subject_name,
)
from orthros_kdc.policy.ask_and_grant import Grant
from orthros_kdc.realm.principals import TargetView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.vault import OPAQUE, JwtKey
from orthros_kdc.reasons import DATABASE_INVALID, TOKEN_NOT_OWN
from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import KdcMacKey
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.limits import TICKET_FUTURE_S
from orthros_protocol.primitives.names import Principal
from orthros_runtime.extras import extra

with extra("kdc"):
    import jwt

__all__ = [
    "JWT_TYPE",
    "Extra",
    "Issued",
    "Lineage",
    "OwnToken",
    "Requester",
    "TokenContent",
    "check_extra_claims",
    "issue_token",
    "mint_token",
    "open_own_token",
    "peek_unverified_kid",
    "subject_name",
]

JWT_TYPE: Final = "orthros+jwt"
_MAX_CHARS: Final = 16 * 1024
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_JWS: Final = jwt.PyJWS(algorithms=["HS256", "HS512"])


@frozen(kw_only=True)
class Issued:
    """A token and what it says. The text is the bearer's whole right, so it is never shown."""

    text: str = field(repr=False)
    content: TokenContent


@frozen
class Requester:
    """For whom a token is issued: the `client`, which logged in at the Unix second `auth_time`, and the 16 bytes that
    name the transaction. In the name of the grant's subject, if it has one: as the client says, or with `exchanged`, a
    token or the lineage of evidence, as that says. Then `auth_time` and `txn` are of that, and the client joins those
    who act."""

    client: Principal
    auth_time: int
    txn: bytes
    exchanged: OwnToken | Lineage | None = None


def issue_token(
    grant: Grant,
    target: TargetView,
    realm: RealmFacts,
    requester: Requester,
    *,
    jti: bytes,
    now: Timestamp,
    entropy: bytes,
    extra: Extra | None = None,
) -> Issued:
    """The token that `grant` allows `requester` at `target`; the one way to a token, for both of the KDC's ports.

    `jti` is 16 bytes, `jti` and the 24 bytes of `entropy` fresh. `extra` has passed `check_extra_claims`. When the
    grant is delegable, the target may exchange the token (`may_act`).

    Raises Misconfigured `database-invalid` for a target without key or audience, Refused as `mint_token`, LocalMisuse
    when the grant was not decided for this subject, outlives what is exchanged, or demands caveats.
    """
    if grant.caveats:
        raise LocalMisuse("value-invalid", "a token cannot carry the caveats of its rules")
    key, audience = target.jwt_key, target.principal.jwt_audience
    if key is None or audience is None:
        raise Misconfigured(DATABASE_INVALID, f"{target.principal.name} was granted without a JWT key or audience")
    second = seconds_of(now)
    subject, actors, exchanged = grant.subject, tuple[str, ...](), requester.exchanged
    if exchanged is not None:
        if subject != subject_name(exchanged.subject, realm.record.realm):
            raise LocalMisuse("value-invalid", "the grant was decided for another subject")
        if second + grant.ttl_s > exchanged.exp:
            raise LocalMisuse("value-invalid", "the grant outlives what it rests on")
        subject, actors = exchanged.subject, exchanged.act
    source = exchanged or requester
    content = TokenContent(
        issuer=realm.record.issuer,
        audience=audience,
        client=requester.client,
        scopes=grant.scopes,
        issued_at=second,
        ttl_s=grant.ttl_s,
        auth_time=source.auth_time,
        txn=source.txn,
        jti=jti,
        subject=subject,
        actors=actors,
        may_act=Principal(realm.record.realm, target.principal.name) if grant.delegable else None,
        extra={} if extra is None else extra,
    )
    return Issued(text=mint_token(key, content, mark=realm.keys.newest_mac, entropy=entropy), content=content)


def mint_token(key: JwtKey, content: TokenContent, *, mark: KdcMacKey, entropy: bytes) -> str:
    """A compact JWT, or a handle if the key's record says so. `entropy` is 24 fresh random bytes.

    Raises Refused `subject-refused`, `chain-refused` or `claim-refused` for content that no token may have.
    """
    claims = marked_claims(content, key.kid, mark)
    if key.alg == OPAQUE:
        return seal_handle(key, claims, entropy=entropy)
    return _JWS.encode(claims, key.material, algorithm=key.alg, headers={"typ": JWT_TYPE, "kid": key.kid})


def peek_unverified_kid(text: str) -> str:
    """The kid of the key that `text` says it was made with, to look that key up; nothing is verified.

    Raises Malformed for what is neither a JWT of this KDC's shape nor a handle.
    """
    if is_handle(text):
        return peek_unverified_handle_kid(text)
    kid = _peek_unverified_header(text).get("kid")
    if type(kid) is not str:
        raise Malformed("a token without a key id")
    return kid


def open_own_token(
    text: str,
    keys: Mapping[str, JwtKey],
    mac_keys: Mapping[int, KdcMacKey],
    *,
    issuer: str,
    audience: str,
    now: Timestamp,
) -> OwnToken:
    """A token that the KDC issued for `audience`, in just this form, and that has not ended.

    `keys` are live keys of the audience by kid, `mac_keys` the KDC's own by number. The kid selects the key and the
    key's record the algorithm; nothing else in the header has a say. A JWT with the right MAC proves nothing: its
    target holds the key. What counts is the mark.

    Raises Malformed; PeerMisbehaved `unknown-key`, `wrong-mac`, `box-unopened` or `token-not-own`; Refused
    `token-for-another`, `token-expired`, or `ticket-times-invalid` when it lies in the future.
    """
    key = keys.get(peek_unverified_kid(text))
    if key is None:
        raise PeerMisbehaved("unknown-key")
    if is_handle(text) != (key.alg == OPAQUE):
        raise PeerMisbehaved(TOKEN_NOT_OWN, "a token of another kind than its key's")
    token = read_marked(open_handle(key, text) if key.alg == OPAQUE else _open_jws(text, key), key.kid, mac_keys)
    if token.audience != audience or token.claims["iss"] != issuer:
        raise Refused("token-for-another")
    if token.exp <= seconds_of(now):
        raise Refused("token-expired")
    if token.iat > seconds_of(now) + TICKET_FUTURE_S:
        raise Refused("ticket-times-invalid")
    return token


def _open_jws(text: str, key: JwtKey) -> bytes:
    # The whole header is known beforehand, so that no parameter of it (alg, crit, jwk, jku, x5u, b64) can act.
    header = canonical_json({"alg": key.alg, "kid": key.kid, "typ": JWT_TYPE})
    if text.partition(".")[0] != urlsafe_b64encode(header).decode("ascii").rstrip("="):
        raise PeerMisbehaved(TOKEN_NOT_OWN, "another header")
    try:
        payload = _JWS.decode(text, key.material, algorithms=[key.alg])
    except jwt.InvalidSignatureError:
        raise PeerMisbehaved("wrong-mac") from None
    except jwt.InvalidTokenError:
        raise Malformed("not a JWT") from None
    return bytes(payload)


def _peek_unverified_header(text: str) -> dict[str, object]:
    if len(text) > _MAX_CHARS or _COMPACT.fullmatch(text) is None:
        raise Malformed("not a JWT")
    try:
        return dict(_JWS.get_unverified_header(text))
    except jwt.InvalidTokenError:
        raise Malformed("not a JWT") from None
