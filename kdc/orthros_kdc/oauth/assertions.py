"""JWTs that clients sign with their own secret, read strictly (RFC 7519, RFC 7523 section 3).

The one place that parses them: every other module sees claims only after these checks. Knows no principal.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from typing import Any, Final

from attrs import field, frozen

from orthros_kdc.oauth.forms import no_constant, unique_pairs
from orthros_runtime.extras import extra

with extra("kdc"):
    import jwt

__all__ = [
    "ASSERTION_ALGORITHMS",
    "MAX_ASSERTION_CHARS",
    "Assertion",
    "BadAssertion",
    "check_audience",
    "check_single_use",
    "check_times",
    "is_signed_by",
    "parse_assertion",
]

ASSERTION_ALGORITHMS: Final = ("HS256", "HS512")
MAX_ASSERTION_CHARS: Final = 16 * 1024
_MAX_JTI_CHARS: Final = 255
_LEEWAY_S: Final = 30
_JWS: Final = jwt.PyJWS(options={"enforce_minimum_key_length": True})

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_PRINTABLE = re.compile(r"[\x21-\x7e]+", re.ASCII)
# Each of these would let the sender choose the key, or change what the bytes mean.
_REFUSED_HEADERS: Final = frozenset(
    {"crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc", "cty", "epk", "apu", "apv"}
)


class BadAssertion(Exception):
    """Why an assertion does not count, for the audit log; what is sent back tells nothing of it."""


@frozen(eq=False, kw_only=True)
class Assertion:
    """A well-formed JWT of unproven origin."""

    text: str = field(repr=False)
    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)

    def text_claim(self, name: str) -> str | None:
        """A claim that must be visible ASCII when it is there. Raises BadAssertion."""
        value = self.claims.get(name)
        if value is None:
            return None
        if type(value) is not str or _PRINTABLE.fullmatch(value) is None:
            raise BadAssertion(f"{name} is not a text of visible ASCII")
        return value

    def second(self, name: str) -> int | None:
        """A time in Unix seconds. A fraction is cut off (RFC 7519 section 2). Raises BadAssertion."""
        value = self.claims.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 <= value < 2**53:
            raise BadAssertion(f"{name} is not a time in seconds")
        return int(value)


def parse_assertion(text: str, *, types: Collection[str]) -> Assertion:
    """A JWT in compact form whose `typ` is among `types` (in lower case) or missing. Raises BadAssertion."""
    if len(text) > MAX_ASSERTION_CHARS or _COMPACT.fullmatch(text) is None:
        raise BadAssertion("not a JWT in compact form")
    parts = [_bytes_of(part) for part in text.split(".")]
    header, claims = _object_in(parts[0], "header"), _object_in(parts[1], "payload")
    if header.get("alg") not in ASSERTION_ALGORITHMS:
        raise BadAssertion(f"alg is not one of {' and '.join(ASSERTION_ALGORITHMS)}")
    refused = _REFUSED_HEADERS & header.keys()
    if refused:
        raise BadAssertion(f"header {min(refused)} is not accepted")
    typ = header.get("typ", "jwt")
    if type(typ) is not str or typ.lower().removeprefix("application/") not in types:
        raise BadAssertion("typ names another kind of JWT")
    return Assertion(text=text, header=header, claims=claims)


def is_signed_by(assertion: Assertion, key: bytes) -> bool:
    """Whether `key` made its MAC."""
    try:
        _JWS.decode(assertion.text, key, algorithms=list(ASSERTION_ALGORITHMS))
    except jwt.PyJWTError:
        return False
    return True


def check_times(assertion: Assertion, now_s: int, *, max_ahead_s: int) -> int:
    """`exp` in Unix seconds of an assertion that is valid now. Raises BadAssertion.

    `exp` is required, allows no grace, and lies at most `max_ahead_s` ahead; the client's clock may be 30 s fast.
    """
    exp, nbf, iat = (assertion.second(name) for name in ("exp", "nbf", "iat"))
    if exp is None:
        raise BadAssertion("exp is missing")
    if exp <= now_s:
        raise BadAssertion(f"expired {now_s - exp} s ago")
    if exp > now_s + max_ahead_s + _LEEWAY_S:
        raise BadAssertion(f"exp is {exp - now_s} s ahead, at most {max_ahead_s} s are accepted")
    for name, begin in (("nbf", nbf), ("iat", iat)):
        if begin is not None and begin > now_s + _LEEWAY_S:
            raise BadAssertion(f"{name} is {begin - now_s} s in the future")
        if begin is not None and begin > exp:
            raise BadAssertion(f"{name} lies behind exp")
    return exp


def check_audience(assertion: Assertion, accepted: Collection[str]) -> None:
    """Requires `aud` to be one of `accepted` and nothing else: for two audiences, one could replay at the other."""
    audience = assertion.claims.get("aud")
    sole = audience[0] if isinstance(audience, list) and len(audience) == 1 else audience
    if type(sole) is not str or sole not in accepted:
        raise BadAssertion("aud is not this server alone")


def check_single_use(assertion: Assertion) -> str:
    """`jti`, which is required: an assertion without it could be used twice. Raises BadAssertion."""
    jti = assertion.text_claim("jti")
    if not jti or len(jti) > _MAX_JTI_CHARS:
        raise BadAssertion(f"jti is missing, or longer than {_MAX_JTI_CHARS} characters")
    return jti


def _bytes_of(part: str) -> bytes:
    """Base64url without padding and without stray bits (RFC 7515 section 2)."""
    try:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise BadAssertion("not base64url") from None
    if urlsafe_b64encode(raw).rstrip(b"=") != part.encode("ascii"):
        raise BadAssertion("not canonical base64url")
    return raw


def _object_in(raw: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=unique_pairs, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise BadAssertion(f"the {what} is not JSON") from None
    if not isinstance(found, dict):
        raise BadAssertion(f"the {what} is not a JSON object")
    return found
