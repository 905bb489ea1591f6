"""One response on its way to an Orthros caller: held until its proof can be made, or let go piece by piece.

Takes head and pieces from the application, gives back what may leave. Knows no framework.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from orthros_client.http.server.callers import Caller
from orthros_client.http.server.routes import ORTHROS
from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.exchanges.http_profile import HttpResponse, parse_content_digest
from orthros_protocol.primitives.derivation import RunningDigest, digest, mac_matches
from orthros_protocol.primitives.http_fields import stated_length

__all__ = ["REPLY_FLOOR", "Leaving", "ReplyWriter"]

REPLY_FLOOR: Final = ("content-type", "content-encoding", "location")
"""Response headers that are covered whenever they are present: a client insists on them."""

_BODYLESS: Final = (204, 304)
_EVENTS: Final = b"text/event-stream"


@frozen(kw_only=True)
class Leaving:
    """What may leave now. `head` only once, and first."""

    head: HttpResponse | None
    data: bytes = field(repr=False)
    more: bool


class ReplyWriter:
    """Proves a response to `caller`; to nobody, and to bearers, it only passes it on.

    method: of the request. covers: headers to cover beyond `REPLY_FLOOR`, when present once.
    hold_bytes: a response up to this size is held whole, so that its body is proven; a larger one leaves without
    proof of its body, unless it comes in one piece or the application itself names its Content-Digest. stream: nothing
    is held.
    """

    def __init__(
        self,
        caller: Caller | None,
        *,
        method: str,
        covers: tuple[str, ...] = (),
        hold_bytes: int,
        stream: bool = False,
    ) -> None:
        self._caller = None if caller is None or caller.scheme != ORTHROS else caller
        self._method = method
        self._covers = tuple(dict.fromkeys((*REPLY_FLOOR, *covers)))
        self._hold_bytes = hold_bytes
        self._stream = stream
        self._head: HttpResponse | None = None
        self._held: list[bytes] = []
        self._size = 0
        self._promised: bytes | None = None
        self._running = RunningDigest()
        self._bodyless = False
        self.has_left = False

    @property
    def status(self) -> int | None:
        """The status that the application chose, None before it did."""
        return None if self._head is None else self._head.status

    def start(self, status: int, headers: tuple[tuple[str, bytes], ...]) -> None:
        """The head. May be replaced as long as nothing has left. Raises LocalMisuse afterwards."""
        if self.has_left:
            raise LocalMisuse("wrong-state", "the head of the response has left already")
        self._head = HttpResponse(status=status, headers=headers)
        self._held.clear()
        self._size = 0

    def write(self, data: bytes, *, more: bool) -> Leaving | None:
        """The next piece of the body; `more` says whether another follows. Returns what may leave, if anything.

        Raises LocalMisuse when the body is not the one that the application's own Content-Digest names; its last
        piece then never leaves.
        """
        head = self._head
        if head is None:
            raise LocalMisuse("wrong-state", "a body before its head")
        if self.has_left and self._bodyless:
            return Leaving(head=None, data=b"", more=more)
        if self.has_left:
            self._check(data, more=more)
            return Leaving(head=None, data=data, more=more)
        if self._caller is None:
            return self._leave(head, data, more=more)
        self._bodyless = self._method == "HEAD" or head.status in _BODYLESS
        if self._bodyless:
            return self._leave(self._sealed(head, digest(b"")), b"", more=more)
        self._held.append(data)
        self._size += len(data)
        length = stated_length(head.values_of("content-length"))
        if more and not self._flows(head, length):
            return None
        # WSGI tells the end apart from the last piece; the length that the application names tells it before.
        is_whole = not more or self._size == length
        whole = b"".join(self._held)
        promised = _own_digest(head)
        if is_whole:
            found = digest(whole)
            if promised is not None and not mac_matches(promised, found):
                raise _not_promised()
            return self._leave(self._sealed(head, found), whole, more=more)
        self._promised = promised
        self._check(whole, more=True)
        return self._leave(self._sealed(head, promised), whole, more=True)

    def _flows(self, head: HttpResponse, length: int | None) -> bool:
        """Whether pieces leave before the end is known."""
        if self._stream or self._size > self._hold_bytes:
            return True
        kind = head.values_of("content-type")
        if kind and kind[0].partition(b";")[0].strip().lower() == _EVENTS:
            return True
        return length is not None and length > self._hold_bytes

    def _check(self, data: bytes, *, more: bool) -> None:
        if self._promised is None:
            return
        self._running.update(data)
        if not more and not mac_matches(self._promised, self._running.digest()):
            raise _not_promised()

    def _sealed(self, head: HttpResponse, body_digest: bytes | None) -> HttpResponse:
        if self._caller is None:
            return head
        # The application cannot make this proof; one that it passes on from elsewhere would only mislead.
        headers = tuple([pair for pair in head.headers if pair[0] != "orthros-reply"])
        plain = HttpResponse(status=head.status, headers=headers)
        covered = [name for name in self._covers if len(plain.values_of(name)) == 1]
        proof = self._caller.seal_http(plain, covered=covered, body_digest=body_digest)
        proven = () if proof is None else (("orthros-reply", proof.encode("ascii")),)
        return HttpResponse(status=head.status, headers=(*headers, *proven))

    def _leave(self, head: HttpResponse, data: bytes, *, more: bool) -> Leaving:
        self.has_left = True
        self._held.clear()
        return Leaving(head=head, data=data, more=more)


def _own_digest(head: HttpResponse) -> bytes | None:
    """The SHA-256 that the application names itself, if it names just that."""
    values = head.values_of("content-digest")
    if len(values) != 1:
        return None
    try:
        return parse_content_digest(values[0])
    except Malformed:
        return None


def _not_promised() -> LocalMisuse:
    return LocalMisuse("value-invalid", "the response is not the one that its own Content-Digest names")
