"""Makes values fit for a log: no secret, no long bytes, no text of a key, at any depth.

Pure, and knows no logger: the KDC and the daemon each hang it into theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, Final

import attrs

from orthros_protocol.primitives.secrets import Secret

__all__ = ["redact", "redact_text"]

_MOST_BYTES: Final = 16
_MOST_DEPTH: Final = 8
# The text forms of keys, client secrets and handles are made to be found like this; whole ones also inside a longer
# word, such as behind the `n` of an escaped line break. Handles (`ort1h_`) are base64url, the others base32.
_KEY_TEXT = re.compile(
    r"(?<![A-Za-z0-9])(?:ort1h_[A-Za-z0-9_-]+|ort1[a-z]_[A-Za-z0-9]+)"
    r"|ort1h_[A-Za-z0-9_-]{32,}|ort1[a-z]_[A-Za-z0-9]{32,}"
)
# Header and payload of a JWT, also of one that was cut off behind them. It begins where its characters begin, or
# behind an escaped line break: if it might begin anywhere among them, a long text would take its square of time.
_JWT_TEXT = re.compile(r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")


def redact_text(text: str) -> str:
    """`text` with every key in text form and every JWT cut out."""
    if "ort1" not in text and "eyJ" not in text:  # neither expression could match
        return text
    return _JWT_TEXT.sub("<token redacted>", _KEY_TEXT.sub("<key redacted>", text))


def redact(value: object) -> Any:
    """`value` as a log may show it.

    Bytes of at most 16 (ids, references) become hex, longer ones `<N bytes>`; secrets become their
    redacted repr; keys in text form are cut out; containers and attrs objects are searched.
    """
    return _redact(value, 0)


def _redact(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        return value.hex() if size <= _MOST_BYTES else f"<{size} bytes>"
    if isinstance(value, Secret):
        return repr(value)
    if depth == _MOST_DEPTH:
        return f"<{type(value).__name__}, nested too deep>"
    if isinstance(value, Mapping):
        return {_redact(key, depth + 1): _redact(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [_redact(item, depth + 1) for item in value]
    if attrs.has(type(value)):
        shown = (one.name for one in attrs.fields(type(value)) if one.repr)
        parts = (f"{name}={_redact(getattr(value, name, None), depth + 1)!r}" for name in shown)
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, BaseException):
        parts = (repr(_redact(item, depth + 1)) for item in value.args)
        return f"{type(value).__name__}({', '.join(parts)})"
    return redact_text(repr(value))
