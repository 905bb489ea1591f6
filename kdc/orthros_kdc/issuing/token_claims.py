"""What a token says: its claims, the mark that only the KDC can make over them, and their strict reading.

Knows neither signatures nor boxes: `jwt_export.py` and `opaque_handle.py` wrap the same claims.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

from orthros_kdc.reasons import CLAIM_REFUSED, TOKEN_NOT_OWN
from orthros_protocol.errors import LocalMisuse, Misconfigured, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import KdcMacKey
from orthros_protocol.primitives.derivation import mac, mac_matches
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS
from orthros_protocol.primitives.names import Principal, is_name, is_scope

__all__ = [
    "MAX_EXTRA_BYTES",
    "MAX_EXTRA_CHARS",
    "MAX_EXTRA_CLAIMS",
    "RESERVED_CLAIMS",
    "Extra",
    "Lineage",
    "OwnToken",
    "TokenContent",
    "callers_of",
    "canonical_json",
    "check_extra_claims",
    "marked_claims",
    "read_marked",
    "subject_name",
]

Extra = Mapping[str, str | int | bool]
"""Claims that a client has copied into its tokens, as they stand under `ext`."""

RESERVED_CLAIMS: Final = frozenset(
    {
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",  # RFC 7519 section 4.1
        "active",
        "username",
        "token_type",
        "scope",
        "client_id",  # RFC 7662 section 2.2
        "act",
        "may_act",
        "cnf",  # RFC 8693 section 4, RFC 7800 section 3.1
        "auth_time",
        "nonce",
        "acr",
        "amr",
        "azp",
        "sid",
        "at_hash",
        "c_hash",  # OpenID Connect Core section 2
        "txn",
        "tctx",
        "rctx",
        "req_wl",  # transaction tokens
        "typ",
        "alg",
        "kid",
        "crit",  # of headers, which some libraries mix with claims
        "ext",
        "kdc",  # the KDC's own
    }
)
"""Names that mean something already, so that no client may fill them in."""

MAX_EXTRA_CLAIMS: Final = 8
MAX_EXTRA_CHARS: Final = 256
MAX_EXTRA_BYTES: Final = 1024
_MAX_EXTRA_INT: Final = 2**53  # what a reader that keeps numbers as IEEE 754 doubles still tells apart

_NOT_BEFORE_SLACK_S: Final = 5
_MARK: Final = "kdc"
_MARK_BYTES: Final = 16
_MARK_TEXT = re.compile(r"([1-9][0-9]{0,9})\.[A-Za-z0-9_-]{22}", re.ASCII)
_REQUIRED: Final = frozenset(
    {"iss", "aud", "sub", "client_id", "scope", "iat", "nbf", "exp", "jti", "auth_time", "txn"}
)
_OPTIONAL: Final = frozenset({"act", "may_act", "ext"})
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@frozen(kw_only=True)
class TokenContent:
    """What one token is to say. Times are Unix seconds, `ttl_s` is at most the cap that policy applied.

    `subject` is a name or `name@realm` when the client does not ask in its own name, and `actors` are those who
    acted for that subject before the client, the latest first; `may_act` may exchange the token further.
    """

    issuer: str
    audience: str
    client: Principal
    scopes: tuple[str, ...]
    issued_at: int
    ttl_s: int
    auth_time: int
    txn: bytes
    jti: bytes
    subject: str | None = None
    actors: tuple[str, ...] = ()
    may_act: Principal | None = None
    extra: Extra = field(factory=dict)


@frozen(kw_only=True)
class Lineage:
    """For whom a client asks for a token, proven by evidence of the native exchange.

    `subject` is `name@realm`, or the bare name that a client asserted; `act` are those who acted for it before the
    client, the latest first, as `name@realm`. `auth_time` is the Unix second of the login at which it all began,
    `exp` the one at which the evidence ends.
    """

    subject: str
    act: tuple[str, ...]
    auth_time: int
    txn: bytes
    exp: int


@frozen(kw_only=True)
class OwnToken:
    """A token that this KDC issued, in just this form. Times are Unix seconds.

    `subject` is `client` as text unless the token is in another name; then `act` names who acts for it, the
    present actor, which is the client, first. `may_act` names who may exchange it. `claims` are all claims but
    the mark, as introspection shows them.
    """

    client: Principal
    subject: str
    audience: str
    scopes: tuple[str, ...]
    jti: bytes
    iat: int
    exp: int
    auth_time: int
    txn: bytes
    act: tuple[str, ...]
    may_act: str | None
    ext: Extra
    claims: Mapping[str, Any] = field(repr=False)


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """The one JSON text of `value`: members sorted by code point, no white space, ASCII with \\u escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def check_extra_claims(names_allowed: Collection[str], claims: Mapping[str, Any]) -> dict[str, str | int | bool]:
    """The extra claims of a request, if the target takes them: `names_allowed` is its list of names.

    Raises Refused `claim-refused`, naming the claim, for a name that is reserved or not on the list, a value that
    is no str of at most 256 characters, no int within 2^53 and no bool, and for more than 8 claims or 1 KiB.
    """
    for name in claims:
        if name in RESERVED_CLAIMS:
            raise _claim_refused(name, "the name is reserved")
        if name not in names_allowed:
            raise _claim_refused(name, "the target does not take it")
    _require_small(claims)
    return dict(claims)


def _require_small(claims: Mapping[str, Any]) -> None:
    for number, (name, value) in enumerate(claims.items(), 1):
        if number > MAX_EXTRA_CLAIMS:
            raise _claim_refused(name, f"at most {MAX_EXTRA_CLAIMS} claims")
        if type(value) is str:
            if len(value) > MAX_EXTRA_CHARS:
                raise _claim_refused(name, f"at most {MAX_EXTRA_CHARS} characters")
            # Half of a surrogate pair is a str here and no text anywhere else.
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise _claim_refused(name, "not Unicode text")
        elif type(value) is int:
            if abs(value) > _MAX_EXTRA_INT:
                raise _claim_refused(name, "a number beyond 2^53")
        elif type(value) is not bool:
            raise _claim_refused(name, "neither text, nor a whole number, nor true or false")
    together: dict[str, Any] = {}
    for name, value in claims.items():
        together[name] = value
        if len(canonical_json(together)) > MAX_EXTRA_BYTES:
            raise _claim_refused(name, f"at most {MAX_EXTRA_BYTES} bytes of JSON together")


def _claim_refused(name: object, why: str) -> Refused:
    return Refused(CLAIM_REFUSED, f"claim {repr(name)[:64]}: {why}")


def subject_name(subject: str, realm: str) -> str:
    """The name by which rules know the `subject` of a token: `name` of a `name@realm` of this realm.

    Anything else is returned as it is; what is not a canonical name matches no rule.
    """
    name, _, where = subject.partition("@")
    return name if where == realm else subject


def callers_of(token: OwnToken, realm: str) -> tuple[str, ...]:
    """Whom a token came through and its client, the first caller first, as rules of `realm` know them."""
    # A subject without a realm is one that some client merely asserted: it never called a service.
    return tuple(subject_name(one, realm) for one in (token.subject, *reversed(token.act)) if "@" in one)


def marked_claims(content: TokenContent, kid: str, mark: KdcMacKey) -> bytes:
    """The claims of `content` as canonical JSON, with the KDC's mark for the key called `kid` (RFC 7519, RFC 9068
    and RFC 8693 claim names).

    Raises Refused `chain-refused` when more than 8 have acted, `claim-refused` for an unfit extra claim.
    """
    client = str(content.client)
    claims: dict[str, Any] = {
        "iss": content.issuer,
        "aud": content.audience,
        "sub": client,
        "client_id": client,
        "scope": " ".join(content.scopes),
        "iat": content.issued_at,
        # Verifiers without leeway and with a slightly slow clock must not reject a fresh token.
        "nbf": content.issued_at - _NOT_BEFORE_SLACK_S,
        "exp": content.issued_at + content.ttl_s,
        "jti": content.jti.hex(),
        "auth_time": content.auth_time,
        "txn": content.txn.hex(),
    }
    if content.subject is not None:
        if not _is_party(content.subject):
            raise Refused("subject-refused", "the subject is no canonical name")
        if len(content.actors) >= MAX_CHAIN_HOPS:
            raise Refused("chain-refused", f"more than {MAX_CHAIN_HOPS} would act for the subject")
        claims |= {"sub": content.subject, "act": _nested((client, *content.actors))}
    elif content.actors:
        raise LocalMisuse("value-invalid", "nobody acts for a client that asks in its own name")
    if content.may_act is not None:
        claims["may_act"] = {"sub": str(content.may_act)}
    if content.extra:
        _require_small(content.extra)
        claims["ext"] = dict(content.extra)
    return canonical_json({**claims, _MARK: _mark_text(claims, kid, mark)})


def _nested(actors: Sequence[str]) -> dict[str, Any]:
    """RFC 8693 section 4.1: the outermost is the present actor, the innermost the first."""
    act: dict[str, Any] = {}
    for actor in reversed(actors):
        act = {"sub": actor, "act": act} if act else {"sub": actor}
    return act


def _mark_text(claims: Mapping[str, Any], kid: str, key: KdcMacKey) -> str:
    mark = mac(key.material, "jwt", canonical_json({"claims": claims, "kid": kid}))[:_MARK_BYTES]
    return f"{key.number}.{_text_of(mark)}"


def _text_of(mark: bytes) -> str:
    return urlsafe_b64encode(mark).decode("ascii").rstrip("=")


def read_marked(payload: bytes, kid: str, mac_keys: Mapping[int, KdcMacKey]) -> OwnToken:
    """The token whose claims are `payload`, under the key called `kid`, if the KDC marked just these claims.

    Says nothing of issuer, audience and time. Raises PeerMisbehaved `token-not-own` for anything else.
    """
    claims = _parsed(payload)
    received = claims.pop(_MARK, None)
    numbered = _MARK_TEXT.fullmatch(received) if type(received) is str else None
    key = None if numbered is None else mac_keys.get(int(numbered[1]))
    if key is None:
        raise _not_own("no mark, or of a number that is not held")
    # Nothing that the claims say is looked at before this: their target can write any of them.
    if not mac_matches(_mark_text(claims, kid, key).encode("ascii"), str(received).encode("ascii")):
        raise _not_own("wrong mark")
    try:
        return _token_of(claims)
    except (Misconfigured, ValueError):
        raise _not_own("claims of another version") from None


def _parsed(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
        # Only what is canonical: with a member named twice, two readers would see two tokens.
        if type(claims) is dict and canonical_json(claims) == payload:
            return claims
    except (ValueError, RecursionError):
        pass
    raise _not_own("claims that are not canonical JSON")


def _token_of(claims: dict[str, Any]) -> OwnToken:
    """Reads claims that carry the mark. Raises ValueError or Misconfigured for those that this version never wrote."""
    if not _REQUIRED <= claims.keys() <= _REQUIRED | _OPTIONAL:
        raise ValueError
    client = Principal.parse(_typed(claims, "client_id", str))
    subject, act = _typed(claims, "sub", str), _actors(claims.get("act"))
    may_act = _actors(claims.get("may_act"))
    ext = claims.get("ext", {})
    scope = _typed(claims, "scope", str)
    scopes = tuple(scope.split(" ")) if scope else ()
    fits = (
        _is_party(subject)
        and act[:1] == (() if subject == str(client) and not act else (str(client),))
        and len(may_act) <= 1
        and type(ext) is dict
        and all(map(is_scope, scopes))
    )
    jti, txn = _typed(claims, "jti", str), _typed(claims, "txn", str)
    if not (fits and _ID.fullmatch(jti) and _ID.fullmatch(txn)):
        raise ValueError
    return OwnToken(
        client=client,
        subject=subject,
        audience=_typed(claims, "aud", str),
        scopes=scopes,
        jti=bytes.fromhex(jti),
        iat=_typed(claims, "iat", int),
        exp=_typed(claims, "exp", int),
        auth_time=_typed(claims, "auth_time", int),
        txn=bytes.fromhex(txn),
        act=act,
        may_act=may_act[0] if may_act else None,
        ext=MappingProxyType(ext),
        claims=MappingProxyType(claims),
    )


def _typed(claims: Mapping[str, Any], name: str, kind: type) -> Any:
    if type(claims[name]) is not kind:
        raise ValueError
    return claims[name]


def _actors(act: object) -> tuple[str, ...]:
    """The names of a nested `act`, outermost first."""
    names: list[str] = []
    while act is not None:
        if type(act) is not dict or not {"sub"} <= act.keys() <= {"sub", "act"} or not _is_party(act["sub"]):
            raise ValueError
        names.append(act["sub"])
        act = act.get("act")
    return tuple(names)


def _is_party(text: object) -> bool:
    """Whether `text` is a name that a client has asserted, or a `name@realm` that the KDC knows proven."""
    if type(text) is not str:
        return False
    name, at, realm = text.partition("@")
    return is_name(name) and (is_name(realm) if at else True)


def _not_own(why: str) -> PeerMisbehaved:
    return PeerMisbehaved(TOKEN_NOT_OWN, why)
