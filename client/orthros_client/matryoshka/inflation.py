"""Compressed containers: gzip and Brotli in base64, read within a budget and written only when that is smaller.

Knows no token: it sees bytes, and stops before it has made more of them than it may.
"""

from __future__ import annotations

import gzip
import re
import zlib
from base64 import b64decode, b64encode
from typing import Final, Literal

from orthros_client.matryoshka.values import StackLimits
from orthros_protocol.errors import Malformed
from orthros_runtime.extras import extra

with extra("matryoshka"):
    import brotli  # type: ignore[import-untyped]

__all__ = ["Compression", "Inflation", "deflate"]

Compression = Literal["gzip", "brotli"]

_STANDARD = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_URLSAFE = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WRAPPER: Final = 31  # zlib's wbits for exactly one gzip member
_MOST_BROTLI_WINDOW_BITS: Final = 22  # what encoders use unless told otherwise: 4 MiB inside the decoder
_BROTLI_WINDOW_BITS: Final = 18
_CMP_CHARS: Final = len('"cmp":"g",')


class Inflation:
    """The budget of one stack: what all its containers together may become."""

    def __init__(self, limits: StackLimits) -> None:
        self._ratio = limits.max_ratio
        self._left = limits.max_inflated

    def inflate(self, container: str, cmp: str | None) -> tuple[str, bool]:
        """The token in a base64 container, and whether `cmp` said truly how it was compressed.

        gzip tells itself by its first bytes, whatever `cmp` says; Brotli has none and is believed. Exactly one
        stream: Malformed for a second gzip member, for anything after the end, for a stream without end, and as
        soon as there is more output than budget or ratio allow.
        """
        data = _decoded(container)
        most = min(self._left, self._ratio * len(data))
        if data.startswith(_GZIP_MAGIC):
            found, said = _gunzip(data, most), cmp == "g"
        elif cmp == "b":
            found, said = _unbrotli(data, most), True
        else:
            # Neither: perhaps a token that somebody only wrapped in base64. What it is, is judged by who reads it.
            found, said = data[: most + 1], False
        if len(found) > most:
            raise Malformed("a container inflates to more than its limit")
        self._left -= len(found)
        try:
            return found.decode("ascii"), said
        except UnicodeDecodeError:
            raise Malformed("a container holds no token") from None


def _decoded(container: str) -> bytes:
    """From either base64 alphabet, padded or not, without characters of any other kind."""
    standard = _STANDARD.fullmatch(container)
    if standard is None and _URLSAFE.fullmatch(container) is None:
        raise Malformed("a container is neither a token nor base64")
    bare = container.rstrip("=")
    if bare != container and len(container) % 4:
        raise Malformed("a container is padded wrongly")
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), altchars=None if standard else b"-_", validate=True)
    except ValueError:
        raise Malformed("a container is not base64") from None


def _gunzip(data: bytes, most: int) -> bytes:
    stream = zlib.decompressobj(wbits=_GZIP_WRAPPER)
    try:
        found = stream.decompress(data, most + 1)
    except zlib.error:
        raise Malformed("a container is not gzip") from None
    if len(found) <= most and (not stream.eof or stream.unused_data):
        raise Malformed("a container is not exactly one gzip member")
    return found


def _unbrotli(data: bytes, most: int) -> bytes:
    # The window size is in the first bits (RFC 7932, section 9.1). The decoder fills its window before it hands
    # anything out, so the largest windows would cost what the budget is to prevent.
    if data[0] & 1 and 17 + (data[0] >> 1 & 7) > _MOST_BROTLI_WINDOW_BITS:
        raise Malformed("a Brotli window larger than 4 MiB")
    stream = brotli.Decompressor()
    try:
        found: bytes = stream.process(data, output_buffer_limit=most + 1)
    except brotli.error:
        raise Malformed("a container is not exactly one Brotli stream") from None
    if len(found) <= most and not stream.is_finished():
        raise Malformed("a container is not exactly one Brotli stream")
    return found


def deflate(text: str, compression: Compression, limits: StackLimits) -> tuple[str, Literal["g", "b"]] | None:
    """The container for `text` and its `cmp`, the same bytes each time; None when that does not make it smaller.

    Also None when it would shrink by more than readers with these limits believe.
    """
    data = text.encode("ascii")
    if compression == "gzip":
        packed = gzip.compress(data, 9, mtime=0)
    else:
        packed = brotli.compress(data, mode=brotli.MODE_TEXT, quality=11, lgwin=_BROTLI_WINDOW_BITS)
    container = b64encode(packed).decode("ascii")
    if len(container) + _CMP_CHARS >= len(text) or len(data) > limits.max_ratio * len(packed):
        return None
    return container, "g" if compression == "gzip" else "b"
