"""JWTs made by hand, with any header: what libraries refuse to write, and attackers do not."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from tests.interop.house import House

__all__ = ["altered", "forge", "key_of"]

_HEADER: Final = {"alg": "HS256", "typ": "orthros+jwt"}


def forge(header: Mapping[str, Any], claims: Mapping[str, Any], key: bytes) -> str:
    """A JWT in compact form. `alg` is believed as far as a hash goes: HS512 is one, everything else is HS256."""
    signed = ".".join(_part(json.dumps(dict(part)).encode()) for part in (header, claims))
    if str(header["alg"]).lower() == "none":
        return signed + "."
    mac = hmac.digest(key, signed.encode("ascii"), "sha512" if header["alg"] == "HS512" else "sha256")
    return f"{signed}.{_part(mac)}"


def altered(house: House, changes: Mapping[str, Any]) -> str:
    """A token for orders that would be good but for `changes`, made with the key that only orders has.

    `header` changes the header, `key` is another key, None takes a claim away.
    """
    now = int(time.time())
    said = {"iss": house.issuer, "aud": "orders@corp.test", "sub": "shop@corp.test", "client_id": "shop@corp.test",
            "scope": "read", "iat": now, "nbf": now - 5, "exp": now + 60, **changes}  # fmt: skip
    header = {**_HEADER, "kid": house.jwk("orders")["kid"], **said.pop("header", {})}
    key = said.pop("key", None) or key_of(house, "orders")
    claims = {name: value for name, value in said.items() if value is not None}
    return forge({name: value for name, value in header.items() if value is not None}, claims, key)


def key_of(house: House, target: str) -> bytes:
    text = house.jwk(target)["k"]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _part(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
