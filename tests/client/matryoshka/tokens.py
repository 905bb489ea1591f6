"""Nested tokens as others make them, well and badly: written with nothing but the standard library.

Knows nothing of our reader and writer, so that both can be compared with it.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

__all__ = ["HEADER", "MATERIAL", "claims_of", "container_hash", "encoded", "jwt", "layer", "padded", "signed"]

MATERIAL: Final = b"a secret of thirty-two bytes ..."
HEADER: Final = {"alg": "HS256", "typ": "JWT"}


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def padded(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def signed(header: str, payload: str, material: bytes = MATERIAL) -> str:
    """From the two texts, whatever they are."""
    start = f"{encoded(header.encode())}.{encoded(payload.encode())}"
    return f"{start}.{encoded(hmac.digest(material, start.encode(), 'sha256'))}"


def jwt(claims: dict[str, Any], material: bytes = MATERIAL, **header: Any) -> str:
    return signed(json.dumps(HEADER | header), json.dumps(claims), material)


def container_hash(container: str, material: bytes = MATERIAL) -> str:
    return hmac.digest(material, container.encode(), "sha256").hex()


def layer(
    container: str, material: bytes = MATERIAL, /, *, header: dict[str, Any] | None = None, **members: Any
) -> str:
    """A token around `container`, complete unless members say otherwise; a member None is left out."""
    stack: dict[str, Any] = {"fmt": "jwt", "container": container} | members
    stack = {"hash": container_hash(str(stack["container"]), material)} | stack
    kept = {name: value for name, value in stack.items() if value is not None}
    return jwt({"sub": "somebody", "auth_stack": kept}, material, **(header or {}))


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found
