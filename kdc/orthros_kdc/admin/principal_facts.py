"""What may be written into a principal's record: caps, networks that it may ask from, names of extra claims.

Pure; knows no store. Whatever passes is canonical: the same fact is always written the same way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from orthros_kdc.issuing.token_claims import RESERVED_CLAIMS
from orthros_kdc.policy.sources import check_sources
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import MAX_INT
from orthros_protocol.primitives.names import check_texts

__all__ = ["check_caps", "check_sources", "check_token_claims"]

_MOST_CLAIMS: Final = 16
_CLAIM = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


def check_caps(**caps: int | None) -> dict[str, Any]:
    """The caps that are given, by name. Raises Misconfigured `value-invalid` outside 1 to 2^63-1 seconds."""
    for what, cap in caps.items():
        if cap is not None and not 1 <= cap <= MAX_INT:
            raise Misconfigured("value-invalid", f"{what} is 1 to 2^63-1 seconds")
    return caps


def check_token_claims(names: Sequence[str]) -> tuple[str, ...]:
    """The names of extra claims, sorted, each once.

    Raises Misconfigured `value-invalid` for a reserved name, one that is not a-z, 0-9 and _ (a letter first, at most
    32 characters), or for more than 16.
    """
    unique = sorted(set(check_texts(names, "claims")))
    for name in unique:
        if _CLAIM.fullmatch(name) is None:
            detail = f"claim {name!r}: use a-z, 0-9 and _, a letter first, at most 32 characters"
            raise Misconfigured("value-invalid", detail)
        if name in RESERVED_CLAIMS:
            raise Misconfigured("value-invalid", f"claim {name} has a meaning of its own")
    if len(unique) > _MOST_CLAIMS:
        raise Misconfigured("value-invalid", f"{len(unique)} claims, at most {_MOST_CLAIMS}")
    return tuple(unique)
