"""A service that checks a JWT with stock PyJWT and with joserfc, given a key, an audience and an issuer.

Imports no module of Orthros, and says so. One JSON object in, one out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import joserfc.jwt
import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey


def by_pyjwt(given: dict[str, Any]) -> dict[str, Any]:
    key = jwt.PyJWK.from_dict(given["jwk"])
    claims: dict[str, Any] = jwt.decode(
        given["token"], key, algorithms=["HS256"], audience=given["audience"], issuer=given["issuer"]
    )
    return claims


def by_joserfc(given: dict[str, Any]) -> dict[str, Any]:
    key = OctKey.import_key(given["jwk"])
    token = joserfc.jwt.decode(given["token"], key, algorithms=["HS256"])
    registry = joserfc.jwt.JWTClaimsRegistry(
        aud={"essential": True, "value": given["audience"]},
        iss={"essential": True, "value": given["issuer"]},
        exp={"essential": True},
    )
    registry.validate(token.claims)
    return token.claims


def tell(check: Callable[[dict[str, Any]], dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"claims": check(given)}
    except (jwt.InvalidTokenError, JoseError) as error:
        return {"refused": type(error).__name__}


def main() -> None:
    given = json.load(sys.stdin)
    said = {"pyjwt": tell(by_pyjwt, given), "joserfc": tell(by_joserfc, given)}
    borrowed = [name for name in sys.modules if name.startswith("orthros")]
    print(json.dumps({**said, "orthros_modules": borrowed}))


if __name__ == "__main__":
    main()
