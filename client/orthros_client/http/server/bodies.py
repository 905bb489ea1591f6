"""The body of a request against the digest that its authenticator covers, while it streams by.

Counts and hashes; keeps one piece at most, and never reads by itself.
"""

from __future__ import annotations

from orthros_protocol.errors import Refused
from orthros_protocol.primitives.derivation import RunningDigest, digest, mac_matches

__all__ = ["BodyCheck", "RequestBodyMismatch"]

_EMPTY = digest(b"")


class RequestBodyMismatch(Refused):
    """The body is not the one that was authorised. Nothing that depends on it may be kept."""

    def __init__(self, detail: str, *, reply: bytes | None = None) -> None:
        super().__init__("body-mismatch", detail, reply=reply)


class BodyCheck:
    """Takes the pieces of a body and hands on those that may be handed on.

    sha256: what the body must hash to, None for a body that must be empty.
    size: its length in bytes as announced, None when it is not known.
    checked: False lets everything pass.

    The last piece comes out only when the whole is right: with a known size the one that completes it, else the one
    before the end. `settled` says that nothing is left to be decided, `mismatch` why the body is wrong.
    """

    def __init__(self, *, sha256: bytes | None = None, size: int | None = None, checked: bool = True) -> None:
        self._expected = _EMPTY if sha256 is None else sha256
        self._size = 0 if sha256 is None else size
        self._running = RunningDigest()
        self._got = 0
        self._withheld = b""
        self._checked = checked
        self.settled = not checked
        self.mismatch: str | None = None

    def feed(self, data: bytes, *, more: bool) -> bytes:
        """The next piece; `more` says whether another may follow. Returns what may be handed on now.

        Once `mismatch` is set, nothing more may be.
        """
        if not self._checked:
            return data
        if self.mismatch is not None:
            return b""
        over = bool(data) and (self.settled or (self._size is not None and self._got + len(data) > self._size))
        if over:
            return self._fail("it is longer than announced")
        if data:
            self._running.update(data)
            self._got += len(data)
        if more and self._got != self._size:
            if self._size is None and data:
                data, self._withheld = self._withheld, data
            return data
        if not self.settled:
            self.settled = True
            if self._size is not None and self._got < self._size:
                return self._fail(f"it ends early, with {self._got} of {self._size} bytes")
            if not mac_matches(self._expected, self._running.digest()):
                return self._fail(f"the SHA-256 of its {self._got} bytes is another" if self._got else "it is empty")
        data, self._withheld = self._withheld + data, b""
        return data

    def cut(self) -> None:
        """The connection ended inside the body: it will never be whole."""
        if not self.settled:
            self._fail("the connection ended within it")

    def _fail(self, why: str) -> bytes:
        self.settled = True
        self.mismatch = why
        self._withheld = b""
        return b""
