"""Bearer tokens: verifies the JWTs that the KDC exports to this service, with the service's own JWT keys (RFC 7519).

For callers that speak nothing else. A JWT can be replayed by whoever sees it; key and algorithm come from the key
record alone, never from the token. Needs the extra `jwt`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import evolve, field, frozen

from orthros_client.reasons import TOKEN_INVALID
from orthros_protocol.errors import Malformed, Misconfigured, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.exchanges.http_profile import HttpResponse, decode_base64url
from orthros_protocol.keys.secret_file import read_secret_file
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS, MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal, check_scopes, is_name
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.presenters import Presenter
from orthros_protocol.tickets.ticket import Hop, Subject
from orthros_runtime.extras import extra

with extra("jwt"):
    import jwt

__all__ = ["BearerCaller", "BearerVerifier"]

JWT_TYPE: Final = "orthros+jwt"
JWK_VARIABLE: Final = "ORTHROS_JWK"
JWK_FILE_VARIABLE: Final = "ORTHROS_JWK_FILE"
LEEWAY_S: Final = 5
_MOST_CHARS: Final = 16 * 1024
_MOST_KEYS: Final = 8
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_ID = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_KEY_BYTES: Final = {"HS256": 32, "HS512": 64}
_REQUIRED: Final = ("iss", "aud", "sub", "client_id", "scope", "iat", "nbf", "exp", "jti")
_ASSERTED: Final = 2


@frozen(kw_only=True)
class BearerCaller:
    """A caller by its token. Whoever holds a copy of the token is the same caller.

    `expires_at` is a Unix second, `token_id` the id under which the KDC's audit log knows the token.
    """

    scheme: ClassVar[str] = "bearer"

    client: Principal
    scopes: frozenset[str]
    subject: Subject | None
    act: tuple[str, ...]
    transaction_id: str
    expires_at: int
    token_id: str
    claims: Mapping[str, Any] = field(repr=False)
    _told: Callable[[Refused], object] | None = field(default=None, repr=False, eq=False)

    def telling(self, told: Callable[[Refused], object]) -> BearerCaller:
        """The same caller; `told` learns of each refusal that is made for it. For middlewares."""
        return evolve(self, told=told)

    @property
    def chain(self) -> tuple[Hop, ...]:
        """Empty: who acted before is in `act`, and no login times with it."""
        return ()

    def require(self, *scopes: str) -> None:
        """Raises Refused `insufficient-scope` unless the token carries all of `scopes`."""
        lacking = [scope for scope in scopes if scope not in self.scopes]
        if lacking:
            check_scopes(lacking)  # what is no scope, such as "read write", no caller ever has
            raise self.refusal("insufficient-scope", f"{self.client} lacks {' '.join(lacking)}")

    def refusal(self, code: Code | Reason, detail: str = "", *, before_handler: bool = False) -> Refused:
        """A Refused for this caller: nothing in it is proven to anybody."""
        refusal = Refused(code, detail)
        refusal.before_handler = before_handler
        refusal.presenter = Presenter(
            client=self.client, subject=self.subject, act=self.act, transaction_id=self.transaction_id
        )
        if self._told is not None:
            self._told(refusal)
        return refusal

    def seal_http(self, response: HttpResponse, *, covered: Sequence[str], body_digest: bytes | None) -> None:
        """None: a bearer has no key with which anything could be proven."""


_MOST_SHOWN = 100


@frozen
class _JwtKey:
    alg: str
    material: bytes = field(repr=False, eq=False)


class BearerVerifier:
    """Verifies JWTs for one audience.

    jwk: one JWK, a set of them or a list, as `orthros-admin jwt export` writes them: the new and the old key while
        keys are rotated. The token's `kid` selects exactly one; nothing is tried in turn.
    audience: exactly the `aud` that tokens must carry; issuer: exactly their `iss`.

    `now_s` (Unix seconds) exists for tests. Raises Misconfigured `key-file-invalid` for keys that cannot be used.
    """

    def __init__(
        self,
        jwk: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        audience: str,
        issuer: str,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        if not (audience and issuer):
            raise Misconfigured("config-invalid", "name the audience and the issuer of tokens")
        self.audience = audience
        self._issuer = issuer
        self._now_s = now_s
        self._keys = _keys_of(jwk)

    def __repr__(self) -> str:
        return f"<BearerVerifier {self.audience} kids={sorted(self._keys)} redacted>"

    @classmethod
    def from_file(cls, *paths: str | os.PathLike[str], audience: str, issuer: str) -> BearerVerifier:
        """From protected files of JWKs.

        Raises Misconfigured `file-unreadable`, `key-file-unsafe` or `key-file-invalid`.
        """
        keys: list[Mapping[str, Any]] = []
        for path in paths:
            keys += _listed(_parsed(read_secret_file(path)))
        return cls(keys, audience=audience, issuer=issuer)

    @classmethod
    def from_environment(cls, *, audience: str, issuer: str) -> BearerVerifier:
        """From `ORTHROS_JWK` (JSON) or `ORTHROS_JWK_FILE` (a path).

        Raises Misconfigured `key-missing` when neither or both are set.
        """
        text, path = os.environ.get(JWK_VARIABLE), os.environ.get(JWK_FILE_VARIABLE)
        if bool(text) == bool(path):
            raise Misconfigured("key-missing", f"set one of {JWK_VARIABLE} and {JWK_FILE_VARIABLE}")
        if path:
            return cls.from_file(path, audience=audience, issuer=issuer)
        return cls(_parsed((text or "").encode("utf-8")), audience=audience, issuer=issuer)

    def accept(self, token: str, *, accept_user: bool = False) -> BearerCaller:
        """The caller that `token` names.

        accept_user: whether tokens in somebody else's name are served.
        Raises PeerMisbehaved `token-invalid` for what no key of ours made, Refused for a token of ours that does not
        hold here: `token-invalid` (expired, for another audience, ...) or `user-not-accepted`.
        """
        key = self._key_for(token)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.material,
                algorithms=[key.alg],
                # Times are judged here, by one clock and after the MAC.
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except jwt.InvalidSignatureError:
            raise PeerMisbehaved(TOKEN_INVALID, "the MAC is wrong") from None
        except jwt.PyJWTError as error:
            raise PeerMisbehaved(TOKEN_INVALID, type(error).__name__) from None
        try:
            return self._judge(claims, accept_user)
        except Refused:
            raise
        except (OrthrosError, AttributeError, KeyError, TypeError, ValueError):
            raise Refused(TOKEN_INVALID, "its claims are not those of a KDC") from None

    def _key_for(self, token: str) -> _JwtKey:
        if len(token) > _MOST_CHARS or _COMPACT.fullmatch(token) is None:
            raise PeerMisbehaved(TOKEN_INVALID, "not a compact JWT")
        try:
            for part in token.split("."):
                decode_base64url(part)
            header = json.loads(decode_base64url(token.partition(".")[0]))
        except (Malformed, ValueError, RecursionError):
            raise PeerMisbehaved(TOKEN_INVALID, "not base64url of JSON") from None
        # Exactly these three: no crit, no key and no place to fetch one from.
        if type(header) is not dict or header.keys() != {"alg", "typ", "kid"} or header["typ"] != JWT_TYPE:
            raise PeerMisbehaved(TOKEN_INVALID, "another kind of token")
        key = self._keys.get(header["kid"]) if type(header["kid"]) is str else None
        if key is None:
            error = PeerMisbehaved(TOKEN_INVALID, "of a key that is not held here")
            error.log_detail = self._about(token)
            raise error
        if header["alg"] != key.alg:
            raise PeerMisbehaved(TOKEN_INVALID, "another algorithm than its key is for")
        return key

    def _about(self, token: str) -> str:
        """For the log: for whom a token says that it is, which nothing proves, and whom this service expects."""
        try:
            claims = json.loads(decode_base64url(token.split(".")[1]))
            said = f"unverified: for {_plain(claims['aud'])}, by {_plain(claims['iss'])}"
        except (Malformed, ValueError, RecursionError, LookupError, TypeError):
            said = "it does not say for whom it is"
        return f"{said}; expected: for {self.audience}, by {self._issuer}"

    def _judge(self, claims: Mapping[str, Any], accept_user: bool) -> BearerCaller:
        if any(name not in claims for name in _REQUIRED):
            raise Refused(TOKEN_INVALID, "a claim is missing")
        if claims["iss"] != self._issuer:
            error = Refused(TOKEN_INVALID, "of another issuer")
            error.log_detail = f"received {_plain(claims['iss'])}, expected {self._issuer}"
            raise error
        if type(claims["aud"]) is not str or claims["aud"] != self.audience:
            error = Refused(TOKEN_INVALID, "for another audience")
            error.log_detail = f"received {_plain(claims['aud'])}, expected {self.audience}"
            raise error
        now = self._now_s()
        times = [claims[name] for name in ("iat", "nbf", "exp")]
        if not all(type(value) is int and value >= 0 for value in times):
            raise Refused(TOKEN_INVALID, "its times are no whole seconds")
        iat, nbf, exp = times
        if not (nbf <= iat < exp <= iat + MAX_TICKET_LIFE_S):
            raise Refused(TOKEN_INVALID, "its times contradict each other")
        if exp <= now - LEEWAY_S:
            raise Refused(TOKEN_INVALID, "it has expired")
        if nbf > now + LEEWAY_S or iat > now + LEEWAY_S:
            raise Refused(TOKEN_INVALID, "it is not valid yet")
        client = Principal.parse(claims["client_id"])
        act = _actors(claims.get("act"))
        subject = None
        if claims["sub"] != str(client):
            subject = _subject_of(claims["sub"], client)
        if (subject is not None and not act) or (act and act[0] != str(client)):
            raise Refused(TOKEN_INVALID, "it does not say who acts for its subject")
        scope: str = claims["scope"]
        caller = BearerCaller(
            client=client,
            scopes=frozenset(check_scopes(scope.split(" ") if scope else ())),
            subject=subject,
            act=act,
            transaction_id=_id_of(claims.get("txn", "")),
            expires_at=exp,
            token_id=_id_of(claims["jti"]),
            claims=claims,
        )
        if subject is not None and not accept_user:
            raise caller.refusal("user-not-accepted")
        return caller


def _plain(value: Any) -> str:
    return ascii(value)[:_MOST_SHOWN]


def _subject_of(text: str, client: Principal) -> Subject:
    """A bare name is one that the client gave; nothing in a bearer token is proven about it."""
    principal = Principal.parse(text) if "@" in text else Principal(client.realm, text)
    return Subject(principal, 0, _ASSERTED)


def _actors(act: Any) -> tuple[str, ...]:
    """The names of a nested `act`, the present actor first (RFC 8693, section 4.1)."""
    names: list[str] = []
    while act is not None:
        name, _, realm = act["sub"].partition("@")
        if not is_name(name) or (realm and not is_name(realm)) or len(names) > MAX_CHAIN_HOPS:
            raise ValueError
        names.append(act["sub"])
        act = act.get("act")
    return tuple(names)


def _id_of(text: Any) -> str:
    return text if type(text) is str and _ID.fullmatch(text) else ""


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Misconfigured("key-file-invalid", "not JSON") from None


def _listed(jwk: Any) -> list[Mapping[str, Any]]:
    """The keys of a JWK, a JWK Set (RFC 7517, section 5) or a list."""
    if isinstance(jwk, Mapping):
        jwk = jwk.get("keys", [jwk])
    if not isinstance(jwk, Sequence) or isinstance(jwk, str) or not all(isinstance(key, Mapping) for key in jwk):
        raise Misconfigured("key-file-invalid", "neither a JWK nor a set of them")
    return list(jwk)


def _keys_of(jwk: Any) -> dict[str, _JwtKey]:
    keys: dict[str, _JwtKey] = {}
    for one in _listed(jwk):
        kid, alg, text = one.get("kid"), one.get("alg"), one.get("k")
        if one.get("kty") != "oct" or one.get("use", "sig") != "sig" or alg not in _KEY_BYTES:
            raise Misconfigured("key-file-invalid", "a key is not one for HS256 or HS512")
        if type(kid) is not str or not kid or kid in keys:
            raise Misconfigured("key-file-invalid", "a key has no id, or the id of another one")
        try:
            material = decode_base64url(text if type(text) is str else "")
        except Malformed:
            raise Misconfigured("key-file-invalid", f"the key {kid} is not base64url") from None
        if len(material) != _KEY_BYTES[alg]:
            raise Misconfigured("key-file-invalid", f"the key {kid} does not have the length for {alg}")
        keys[kid] = _JwtKey(alg, material)
    if not 1 <= len(keys) <= _MOST_KEYS:
        raise Misconfigured("key-file-invalid", f"1 to {_MOST_KEYS} keys")
    return keys
