"""The JOSE of nested tokens, by joserfc: HS256 or HS512 as the key says, `dir` with A256GCM, the container's hash.

Knows no claim and no stack. Algorithms come from key objects; a header is only compared with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from orthros_client.matryoshka.claims import parse_object
from orthros_client.matryoshka.values import ReaderKey, SigningKey, is_label
from orthros_client.reasons import TOKEN_INVALID
from orthros_protocol.errors import Malformed, PeerMisbehaved
from orthros_protocol.exchanges.http_profile import decode_base64url
from orthros_protocol.primitives.derivation import mac_matches
from orthros_runtime.extras import extra

with extra("matryoshka"):
    from joserfc import jwe, jws
    from joserfc.errors import JoseError
    from joserfc.jwa import HMACAlgorithm
    from joserfc.jwk import OctKey

__all__ = [
    "JWT_TYPE",
    "Jws",
    "Sealed",
    "container_hash",
    "hash_matches",
    "open_sealed",
    "parse_sealed",
    "parse_signed",
    "seal",
    "sign",
    "signature_matches",
    "token_kind",
]

JWT_TYPE: Final = "matryoshka+jwt"

_JWT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}", re.ASCII)
_JWE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+){3}", re.ASCII)
_HEADER_CHARS: Final = 2048
_MOST_CHARS: Final = 2 * 1024 * 1024  # callers limit what they hand in; joserfc's own limits must not be smaller
_SEALING: Final = {"alg": "dir", "enc": "A256GCM"}
# Whoever honours these would read other bytes than were signed or sealed, or fetch a key.
_CRITICAL: Final = ("b64", "crit", "zip")
_HASHING: Final = HMACAlgorithm(256)


@frozen(kw_only=True)
class Jws:
    """A JWT taken apart; nothing in it is verified."""

    text: str
    alg: str
    kid: str | None
    claims: Mapping[str, Any]


@frozen(kw_only=True)
class Sealed:
    """A JWE of which only the header is known; nothing in that is verified."""

    text: str
    header: Mapping[str, Any]
    kid: str | None


def token_kind(text: str) -> str | None:
    """ "jwt" or "jwe" by the number of parts, None for what is neither in compact form."""
    if _JWT.fullmatch(text):
        return "jwt"
    return "jwe" if _JWE.fullmatch(text) else None


def _header_of(text: str) -> tuple[dict[str, Any], str | None]:
    encoded = text.partition(".")[0]
    if len(encoded) > _HEADER_CHARS:
        raise Malformed("a token's header is too long")
    header = parse_object(decode_base64url(encoded), "a token's header")
    if type(header.get("alg")) is not str or (header.get("kid") is not None and not is_label(header["kid"])):
        raise Malformed("a token's header names its algorithm or key in no usable way")
    return header, header.get("kid")


def parse_signed(text: str) -> Jws:
    """Takes a compact JWT apart (RFC 7519).

    Raises Malformed; PeerMisbehaved `token-invalid` for alg `none` and for headers that change what is signed.
    """
    header, kid = _header_of(text)
    if header["alg"].lower() == "none" or any(name in header for name in _CRITICAL):
        raise PeerMisbehaved(TOKEN_INVALID, "a token without signature, or with a critical header")
    _, payload, signature = text.split(".")
    decode_base64url(signature)
    claims = parse_object(decode_base64url(payload), "a token's content")
    return Jws(text=text, alg=header["alg"], kid=kid, claims=claims)


def parse_sealed(text: str) -> Sealed:
    """Reads the header of a compact JWE (RFC 7516). Raises Malformed."""
    header, kid = _header_of(text)
    return Sealed(text=text, header=header, kid=kid)


def _oct(key: SigningKey | ReaderKey) -> OctKey:
    # import_key would also try the bytes as certificates, and warn about each weak key.
    return OctKey(key.material, key.material)


def _signing_registry(key: SigningKey) -> jws.JWSRegistry:
    registry = jws.JWSRegistry(algorithms=[key.alg], strict_check_header=False)
    registry.max_payload_length = _MOST_CHARS
    registry.max_header_length = _HEADER_CHARS
    return registry


def _sealing_registry() -> jwe.JWERegistry:
    registry = jwe.JWERegistry(algorithms=list(_SEALING.values()), strict_check_header=False)
    registry.max_ciphertext_length = _MOST_CHARS
    registry.max_protected_header_length = _HEADER_CHARS
    return registry


def signature_matches(token: Jws, key: SigningKey) -> bool:
    """Whether `key` signed the token, with the algorithm that it is for and no other."""
    if token.alg != key.alg:
        return False
    try:
        jws.deserialize_compact(token.text, _oct(key), registry=_signing_registry(key))
    except (JoseError, ValueError):
        return False
    return True


def sign(payload: bytes, key: SigningKey) -> str:
    """A compact JWT, typed explicitly (RFC 8725, section 3.11): under no key is it an Orthros token or an assertion."""
    header = {"alg": key.alg, "typ": JWT_TYPE} | ({} if key.kid is None else {"kid": key.kid})
    return jws.serialize_compact(header, payload, _oct(key), registry=_signing_registry(key))


def container_hash(container: str, key: SigningKey) -> str:
    """The undocumented `hash`: hex HMAC-SHA256 over the container as sent, whatever the algorithm of the signature.

    It has the key of signatures. Hashing "header.payload" would be signing it, so only whole tokens and base64 may
    be hashed for somebody else.
    """
    return _HASHING.sign(container.encode("ascii"), _oct(key)).hex()


def hash_matches(container: str, received: str, key: SigningKey) -> bool:
    """Whether `received`, 64 hex digits, is the hash of the container; in constant time."""
    return mac_matches(bytes.fromhex(container_hash(container, key)), bytes.fromhex(received))


def seal(text: str, key: ReaderKey) -> str:
    """A compact JWE around a JWT for one reader (RFC 7516; cty as RFC 7519, section 5.2, wants it)."""
    header = _SEALING | {"kid": key.kid, "cty": "JWT"}
    return jwe.encrypt_compact(header, text, _oct(key), registry=_sealing_registry())


def open_sealed(sealed: Sealed, key: ReaderKey) -> str | None:
    """The token inside; None when the JWE names no key and was not sealed with this one.

    Raises PeerMisbehaved: `box-unopened` when it names this key and does not open with it, `token-invalid` when
    it names this key with an algorithm that the key is not for.
    """
    named = sealed.kid is not None
    if any(sealed.header.get(name) != value for name, value in _SEALING.items()) or any(
        name in sealed.header for name in _CRITICAL
    ):
        if not named:
            return None
        raise PeerMisbehaved(TOKEN_INVALID, "sealed in another way than its key is for")
    try:
        opened = jwe.decrypt_compact(sealed.text, _oct(key), registry=_sealing_registry()).plaintext or b""
    except (JoseError, ValueError):
        if not named:
            return None
        raise PeerMisbehaved("box-unopened", "a sealed container does not open") from None
    try:
        return opened.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("a sealed container holds no token") from None
