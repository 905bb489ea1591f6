"""A target that holds only its JWK file: verify_pyjwt.py FILE AUDIENCE ISSUER < token. Needs PyJWT, no network."""

import json
import sys

import jwt

file, audience, issuer = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    key = jwt.PyJWK(json.load(opened))  # the algorithm stands in the file; what the token says of it never counts
# leeway, in seconds: this clock may differ that much from the KDC's
checks = {"algorithms": [key.algorithm_name], "audience": audience, "issuer": issuer, "leeway": 5}
found = jwt.decode_complete(sys.stdin.read().strip(), key, **checks, options={"require": ["exp", "sub", "scope"]})
if found["header"].get("typ") != "orthros+jwt":
    raise jwt.InvalidTokenError("another kind of JWT")
json.dump(found["payload"], sys.stdout)
