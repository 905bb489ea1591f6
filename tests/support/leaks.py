"""Looks for secrets in what programs wrote: raw, as hex, base64, base32, as Python shows bytes, or as numbers.

Knows forms, not where secrets come from.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["find_leaks", "forms_of"]


def forms_of(secret: bytes) -> dict[str, bytes]:
    """Every form in which `secret` might have been written, by name."""
    assert len(secret) >= 16, "shorter values are found by chance"
    forms = {
        "raw": secret,
        "raw, first half": secret[: len(secret) // 2],
        "raw, second half": secret[len(secret) // 2 :],
        "hex": secret.hex().encode(),
        "hex in capitals": secret.hex().upper().encode(),
        "hex with spaces": secret.hex(" ").encode(),
        "hex with colons": secret.hex(":").encode(),
        "repr": repr(secret)[2:-1].encode(),
        "repr in JSON": repr(secret)[2:-1].replace("\\", "\\\\").encode(),
        "numbers": ", ".join(map(str, secret)).encode(),
        "numbers in JSON": ",".join(map(str, secret)).encode(),
    }
    encoders: Sequence[tuple[str, Callable[[bytes], bytes], int, int]] = (
        ("base64", base64.b64encode, 3, 4),
        ("base64url", base64.urlsafe_b64encode, 3, 4),
        ("base32", base64.b32encode, 5, 8),
        ("base32 in small letters", lambda data: base64.b32encode(data).lower(), 5, 8),
    )
    for name, encode, group, letters in encoders:
        for offset in range(group):
            # Inside longer data the secret may begin at any place of a group: leave incomplete groups out.
            skipped = -offset % group
            inner = secret[skipped : skipped + (len(secret) - skipped) // group * group]
            forms[f"{name}, {offset} bytes in"] = encode(inner)[: len(inner) // group * letters]
    return forms


def find_leaks(secrets: Mapping[str, bytes], files: Iterable[Path]) -> list[str]:
    """Which secret stands in which file, and in which form."""
    patterns = [(name, form, text) for name, secret in secrets.items() for form, text in forms_of(secret).items()]
    found = []
    for file in files:
        content = file.read_bytes()
        found += [f"{name} as {form} in {file.name}" for name, form, text in patterns if text in content]
    return found
