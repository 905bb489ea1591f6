"""Keys and contents of tokens for the tests, and a forger who holds the target's own JWT key."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from attrs import evolve

from orthros_kdc.issuing.jwt_export import OwnToken, TokenContent, mint_token, open_own_token
from orthros_kdc.realm.vault import JwtKey
from orthros_protocol.keys.role_keys import KdcMacKey
from orthros_protocol.primitives.derivation import derive
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal

NOW = 1_800_000_000
ISSUER, AUDIENCE = "https://corp.test", "ledger@corp.test"
BILLING, LEDGER = Principal("corp.test", "billing"), Principal("corp.test", "ledger")
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def jwt_key(alg: str, first: int) -> JwtKey:
    material = bytes(range(first, first + (64 if alg == "HS512" else 32)))
    return JwtKey(material, kid=derive(material[:32], "jwt-kid", size=8).hex(), alg=alg)


HS256, HS512, OPAQUE = jwt_key("HS256", 0), jwt_key("HS512", 64), jwt_key("opaque", 128)
KEYS = (HS256, HS512, OPAQUE)
MARK, OLD_MARK = KdcMacKey(bytes(range(200, 232)), number=2), KdcMacKey(bytes(range(100, 132)), number=1)

PLAIN = TokenContent(
    issuer=ISSUER,
    audience=AUDIENCE,
    client=BILLING,
    scopes=("pay", "read"),
    issued_at=NOW,
    ttl_s=300,
    auth_time=NOW - 40,
    txn=b"t" * 16,
    jti=b"j" * 16,
)
FULL = evolve(
    PLAIN,
    subject="user/ada",
    actors=("gate@corp.test", "edge@corp.test"),
    may_act=LEDGER,
    extra={"tenant": "blue", "seats": 7, "trial": False},
)


def minted(
    key: JwtKey = HS256, content: TokenContent = FULL, mark: KdcMacKey = MARK, entropy: bytes = b"e" * 24
) -> str:
    return mint_token(key, content, mark=mark, entropy=entropy)


def opened(text: str, *keys: JwtKey, **changed: Any) -> OwnToken:
    facts: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "now": Timestamp(NOW * 1000)}
    held = {key.kid: key for key in keys or KEYS}
    return open_own_token(text, held, {1: OLD_MARK, 2: MARK}, **{**facts, **changed})


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def as_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def claims_of(text: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(unb64(text.split(".")[1]))
    return claims


def signed(claims: bytes | dict[str, Any], key: JwtKey = HS256, **header: Any) -> str:
    """What anybody who holds the target's JWT key can make: any claims, any header, the right MAC."""
    named = {"alg": key.alg, "kid": key.kid, "typ": "orthros+jwt"} | header
    present = {name: value for name, value in named.items() if value is not None}
    payload = claims if isinstance(claims, bytes) else as_json(claims)
    return signed_as(as_json(present), payload, key, str(present.get("alg")))


def signed_as(header: bytes, payload: bytes, key: JwtKey, alg: str) -> str:
    message = f"{b64(header)}.{b64(payload)}"
    if alg not in HASHES:
        return f"{message}."
    return f"{message}.{b64(hmac.digest(key.material, message.encode(), HASHES[alg]))}"
