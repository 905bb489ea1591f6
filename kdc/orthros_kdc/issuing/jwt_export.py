"""JWT export: a bearer token for targets that speak nothing else (RFC 7519, RFC 9068 claim names).

Key and algorithm come from the target's key record, never from a request. A JWT is never accepted back.
"""

from __future__ import annotations

from typing import Final

import jwt

from orthros_kdc.vault import JwtKey
from orthros_protocol import Principal

__all__ = ["JWT_TYPE", "mint_jwt"]

JWT_TYPE: Final = "orthros+jwt"
_NOT_BEFORE_SLACK_S: Final = 5


def mint_jwt(
    key: JwtKey,
    *,
    issuer: str,
    audience: str,
    client: Principal,
    scopes: tuple[str, ...],
    issued_at: int,
    ttl_s: int,
    auth_time: int,
    txn: bytes,
    jti: bytes,
) -> str:
    """A compact JWT for one audience. Times are Unix seconds, `ttl_s` is at most the cap that policy applied."""
    claims: dict[str, str | int] = {
        "iss": issuer,
        "aud": audience,
        "sub": str(client),
        "client_id": str(client),
        "scope": " ".join(scopes),
        "iat": issued_at,
        # Verifiers without leeway and with a slightly slow clock must not reject a fresh token.
        "nbf": issued_at - _NOT_BEFORE_SLACK_S,
        "exp": issued_at + ttl_s,
        "jti": jti.hex(),
        "auth_time": auth_time,
        "txn": txn.hex(),
    }
    return jwt.encode(claims, key.material, algorithm=key.alg, headers={"typ": JWT_TYPE, "kid": key.kid})
