"""What `Client` and `AsyncClient` share: which question to ask the daemon, and what to keep of its answer.

Sans-IO: each question is a generator that yields requests and is sent replies (or is thrown the error of
the front). Keeps answers for a short while, so that a loop does not ask the daemon each time.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Mapping
from typing import Final, TypeVar

from attrs import field, frozen

from orthros_client.clocks import Clock, Entropy, HostClock
from orthros_client.credentials import Credentials, PeerState
from orthros_client.errors import Failure, LocalMisuse, OrthrosError, Unavailable
from orthros_client.local_api.values import (
    Entry,
    Grant,
    Listing,
    Op,
    Pong,
    Reply,
    Request,
    Status,
    WantRequest,
)
from orthros_protocol import Malformed, Misconfigured, Principal, Secret, check_name, check_scopes

__all__ = ["Conversation", "Token", "socket_path"]

T = TypeVar("T")
Flow = Generator[Request | WantRequest, Reply, T]

DEFAULT_SOCKET: Final = "/run/orthros/daemon.sock"
# The daemon should notice first that the KDC is late: its answer says why.
_DAEMON_SHARE: Final = 0.9
_MOST_TIMEOUT_S: Final = 86_400
_ASK_AGAIN_S: Final = 60.0
_ASK_SOONEST_S: Final = 1.0
# The daemon did not help: use what is in hand for a while before anybody waits for it again.
_ASK_AFTER_FAILURE_S: Final = 30.0
_MOST_KEPT: Final = 1024


def socket_path(socket: str | os.PathLike[str] | None, environ: Mapping[str, str] = os.environ) -> str:
    """Where the daemon listens: the argument, else ORTHROS_SOCKET, else /run/orthros/daemon.sock.

    Both may be a path or `unix:///path`. Raises Misconfigured `config-invalid`.
    """
    text = os.fsdecode(socket) if socket is not None else environ.get("ORTHROS_SOCKET") or DEFAULT_SOCKET
    path = text.removeprefix("unix://")
    if "://" in path or (not path.startswith("/") and text != path):
        raise Misconfigured("config-invalid", f"socket {text!r} is neither a path nor unix:///path")
    return path


def parse_target(text: str) -> tuple[str | None, str]:
    """`name` or `name@realm` as (realm or None, name). Raises Misconfigured `name-invalid`."""
    name, at, realm = text.partition("@")
    return (check_name(realm, "realm") if at else None), check_name(name, "target")


@frozen(kw_only=True)
class Token:
    """A JWT for targets that want one. It is bearer: whoever sees `value` can use it."""

    value: str = field(repr=False)
    target: Principal
    scopes: tuple[str, ...]
    expires: float = field(repr=False)
    _clock: Clock = field(repr=False)

    @property
    def expires_in_s(self) -> float:
        """Seconds of life left, never negative."""
        return max(0.0, self.expires - self._clock.elapsed_s())


@frozen
class _Kept:
    answer: Credentials | Token
    fresh_until: float


class Conversation:
    """The questions of one client and the answers it keeps. Thread-safe. `timeout_s` is for each question."""

    def __init__(self, timeout_s: float, *, clock: Clock | None = None, entropy: Entropy = os.urandom) -> None:
        if not 0 <= timeout_s <= _MOST_TIMEOUT_S:
            raise LocalMisuse("value-invalid", f"timeout: from 0 to {_MOST_TIMEOUT_S} seconds")
        self.timeout_s = timeout_s
        self._clock = clock or HostClock()
        self._entropy = entropy
        self._own_lock = (os.getpid(), threading.Lock())
        self._kept: OrderedDict[WantRequest, _Kept] = OrderedDict()
        self._peers: OrderedDict[tuple[Principal, int], PeerState] = OrderedDict()

    def credentials(self, target: str, scopes: Iterable[str] | None, ttl_s: int) -> Flow[Credentials]:
        """Raises TicketRefused, TicketUnavailable, Unavailable, Misconfigured or PeerMisbehaved."""
        answer = yield from self._obtain(Op.TICKET, target, scopes, ttl_s)
        if not isinstance(answer, Credentials):
            raise Malformed("a token came for a ticket")
        return answer

    def token(self, target: str, scopes: Iterable[str] | None, ttl_s: int = 0) -> Flow[Token]:
        """Raises what `credentials` raises."""
        answer = yield from self._obtain(Op.TOKEN, target, scopes, ttl_s)
        if not isinstance(answer, Token):
            raise Malformed("a ticket came for a token")
        return answer

    def entries(self) -> Flow[tuple[Entry, ...]]:
        """Everything that the daemon holds and this caller may use."""
        found: list[Entry] = []
        following: int | None = 0
        while following is not None:
            page = _expect(Listing, (yield Request(op=Op.LIST, argument=following)))
            found += page.entries
            following = page.following
        return tuple(found)

    def status(self, *, probe: bool) -> Flow[Status]:
        """How the daemon does; `probe` makes it ask the KDC if it has not heard from it lately."""
        return _expect(Status, (yield Request(op=Op.STATUS, argument=int(probe))))

    def ping(self) -> Flow[None]:
        """Whether the daemon answers."""
        _expect(Pong, (yield Request(op=Op.PING)))

    def _obtain(self, op: Op, target: str, scopes: Iterable[str] | None, ttl_s: int) -> Flow[Credentials | Token]:
        realm, name = parse_target(target)
        want = WantRequest(
            op=op,
            realm=realm,
            target=name,
            scopes=None if scopes is None else check_scopes(scopes if isinstance(scopes, str) else tuple(scopes)),
            ttl_s=ttl_s,
            timeout_ms=round(self.timeout_s * 1000 * _DAEMON_SHARE),
        )
        now = self._clock.elapsed_s()
        with self._lock():
            kept = self._kept.get(want)
            if kept is not None:
                self._kept.move_to_end(want)
                if now < kept.fresh_until:
                    return kept.answer
                # One caller asks; the others go on with what is in hand.
                self._rest(want, kept, self.timeout_s)
        try:
            reply = yield want
            return self._keep(want, _expect(Grant, reply))
        except Unavailable:
            # The daemon is away or cannot renew; what is in hand stays good until its own end.
            if kept is None or kept.answer.expires_in_s <= 0:
                raise
            with self._lock():
                self._rest(want, kept, _ASK_AFTER_FAILURE_S)
            return kept.answer
        except OrthrosError:
            if kept is not None:
                with self._lock():
                    self._rest(want, kept, 0)  # a refusal is not passed over by the next caller
            raise

    def _lock(self) -> threading.Lock:
        if self._own_lock[0] != os.getpid():  # another thread of the parent may have held it at the fork
            self._own_lock = (os.getpid(), threading.Lock())
        return self._own_lock[1]

    def _rest(self, want: WantRequest, kept: _Kept, seconds: float) -> None:
        seconds = min(seconds, kept.answer.expires_in_s / 2)
        current = self._kept.get(want)
        if current is not None and current.answer is kept.answer:  # else somebody had more luck meanwhile
            self._kept[want] = _Kept(kept.answer, self._clock.elapsed_s() + seconds)

    def _keep(self, want: WantRequest, grant: Grant) -> Credentials | Token:
        now = self._clock.elapsed_s()
        remaining_s = grant.remaining_ms / 1000
        answer: Credentials | Token
        if grant.tail is None:
            answer = Token(
                value=grant.credential.decode("ascii"),
                target=grant.target,
                scopes=grant.scopes,
                expires=now + remaining_s,
                clock=self._clock,
            )
        else:
            answer = Credentials(
                target=grant.target,
                client=grant.client,
                scopes=grant.scopes,
                ttl_s=grant.ttl_s,
                flags=grant.flags,
                kvno=grant.kvno,
                notes=grant.notes,
                realm_offset_ms=grant.offset_ms,
                ticket=grant.credential,
                tail=Secret(grant.tail),
                expires=now + remaining_s,
                peer=self._peer(grant.target, grant.target_uid),
                clock=self._clock,
                entropy=self._entropy,
            )
        # Never longer than half of what is left, so that short tickets are renewed in time as well.
        fresh_s = min(max(grant.fresh_ms / 1000, _ASK_SOONEST_S), _ASK_AGAIN_S, remaining_s / 2)
        with self._lock():
            self._kept[want] = _Kept(answer, now + fresh_s)
            self._kept.move_to_end(want)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return answer

    def _peer(self, target: Principal, uid: int) -> PeerState:
        with self._lock():
            peer = self._peers.setdefault((target, uid), PeerState())
            self._peers.move_to_end((target, uid))
            while len(self._peers) > _MOST_KEPT:
                self._peers.popitem(last=False)
            return peer


def _expect(kind: type[T], reply: Reply) -> T:
    if isinstance(reply, Failure):
        raise reply.to_error()
    if not isinstance(reply, kind):
        raise Malformed(f"a {type(reply).__name__} came for a {kind.__name__}")
    return reply
