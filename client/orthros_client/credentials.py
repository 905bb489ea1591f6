"""Credentials for one target: make authenticated requests in process, and check the target's answers.

Sans-IO: requests come out as bytes, replies go in as bytes; how they travel is the caller's business.
Nothing a target says counts before its MAC has been verified against the request it answers.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator
from typing import Final, Literal

from attrs import field, frozen

from orthros_client.clocks import Clock, Entropy, HostClock
from orthros_client.errors import MaybeExecuted, TargetRefusal
from orthros_protocol import (
    SAFE,
    USE_RAW,
    AssertedUser,
    LocalMisuse,
    Note,
    PendingAp,
    Principal,
    Secret,
    Timestamp,
    bind_raw,
    build_ap_request,
    describe_note,
    measure_offset,
    open_ap_reply,
    pop_key_of,
)
from orthros_protocol.http_profile import HttpReply, HttpResponse, open_http_reply
from orthros_protocol.limits import MAX_TARGET_OFFSET_MS

__all__ = ["Confirmed", "Credentials", "PeerState", "PendingCall"]

_NONCE_BYTES: Final = 16
# After these the target knows no more about the request than before: a fresh one may succeed.
REPEATABLE: Final = frozenset({"epoch-required", "clock-skew", "busy"})
_EPOCHS_KEPT: Final = 16
# A restart leaves two epochs behind as well: after this time without the old one, the target counts as single again.
_PLURAL_FOR_S: Final = 3600.0


class PeerState:
    """What one target taught us under its MAC: its epoch, and how far its clock is from the realm's."""

    def __init__(self) -> None:
        # One tuple, exchanged whole: no lock that a fork could leave held for ever.
        self._known: tuple[bytes | None, int] = (None, 0)
        self._seen: tuple[tuple[bytes, float], ...] = ()

    def read(self) -> tuple[bytes | None, int]:
        """Epoch (None before first contact) and offset in milliseconds, both of the same moment."""
        return self._known

    def learn(self, epoch: bytes, offset_ms: int | None, now_s: float = 0.0) -> None:
        """Takes over what a verified answer said at `now_s` (monotonic); an offset of None teaches nothing."""
        self._known = (epoch, self._known[1] if offset_ms is None else offset_ms)
        others = [one for one in self._seen if one[0] != epoch]
        self._seen = (*others[1 - _EPOCHS_KEPT :], (epoch, now_s))

    def is_plural(self, now_s: float) -> bool:
        """Whether more than one process answered lately: the next request may meet another one than the last."""
        return sum(now_s - seen_s < _PLURAL_FOR_S for _epoch, seen_s in self._seen) > 1


@frozen(kw_only=True)
class Confirmed:
    """The target proved itself: it opened the ticket and saw this very request."""

    target: Principal
    target_time: Timestamp
    round_trip_ms: int


@frozen(eq=False, kw_only=True)
class PendingCall:
    """One request on its way. Send `request`, then hand the answer to `finish` (over HTTP to `finish_http`)."""

    target: Principal
    safe: bool
    idempotent: bool = False
    _pending: PendingAp = field(repr=False)
    _peer: PeerState = field(repr=False)
    _clock: Clock = field(repr=False)
    _sent: Timestamp
    _started_s: float

    @property
    def request(self) -> bytes:
        """The AP-REQ: 16 KiB at most, usually about 300 bytes."""
        return self._pending.message

    @property
    def context(self) -> bytes:
        """SHA-256 of the request: what later keys of the same conversation are bound to."""
        return self._pending.context

    def finish(self, reply: bytes) -> Confirmed:
        """Checks the target's answer, and learns its epoch and time from it.

        Raises TargetRefusal when the target refused under MAC; MaybeExecuted instead, when the call is not
        safe and a copy of the request may have been executed (it named an epoch, or came second);
        PeerMisbehaved or Malformed for anything that is not this target's answer to this request.
        """
        try:
            confirmed = open_ap_reply(self._pending, reply)
        except TargetRefusal as refusal:
            self._learn(refusal.target_time, refusal.epoch)
            if not self.safe and self._may_have_run(refusal):
                raise MaybeExecuted(refusal) from None
            raise
        round_trip_ms = self._learn(confirmed.target_time, confirmed.epoch)
        return Confirmed(target=self.target, target_time=confirmed.target_time, round_trip_ms=round_trip_ms)

    def finish_http(self, reply: str, response: HttpResponse) -> HttpReply:
        """Checks the value of an `Orthros-Reply` header against the response that it came with, and learns from it.

        Raises PeerMisbehaved or Malformed when it does not prove this response to this request.
        """
        proven = open_http_reply(self._pending, reply, response)
        self._learn(proven.target_time, proven.epoch)
        return proven

    def _may_have_run(self, refusal: TargetRefusal) -> bool:
        # A copy delivered first is what makes an original "replayed"; with an epoch in it, a copy may also
        # have run before the target's clock or epoch changed. What a full replay set refused was not burnt: where
        # epochs are not demanded, a copy may still run later. An idempotency key makes a second run harmless.
        if refusal.code in REPEATABLE:
            return (self._pending.epoch is not None or refusal.code == "busy") and not self.idempotent
        return refusal.code == "replayed"

    def _learn(self, target_time: Timestamp, epoch: bytes) -> int:
        now_s = self._clock.elapsed_s()
        round_trip_ms = round((now_s - self._started_s) * 1000)
        offset = measure_offset(target_time, sent=self._sent, round_trip_ms=round_trip_ms, most_ms=MAX_TARGET_OFFSET_MS)
        self._peer.learn(epoch, offset, now_s)
        return round_trip_ms


@frozen(eq=False, kw_only=True)
class Credentials:
    """A ticket for `target` and what proves its possession. Thread-safe; secrets never show in repr.

    `realm_offset_ms` is how far the realm's clock is ahead of this host's, `expires` the end of the
    ticket's life on the monotonic clock of this host.
    """

    target: Principal
    client: Principal
    scopes: tuple[str, ...]
    ttl_s: int
    flags: int = 0
    kvno: int = 0
    notes: tuple[Note, ...] = ()
    realm_offset_ms: int = 0
    ticket: bytes = field(repr=False)
    tail: Secret = field(repr=False)
    expires: float = field(repr=False)
    peer: PeerState = field(factory=PeerState, repr=False)
    _clock: Clock = field(factory=HostClock, repr=False)
    _entropy: Entropy = field(default=os.urandom, repr=False)
    _pop_key: bytes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_pop_key", pop_key_of(self.tail.material))

    def __getstate__(self) -> object:
        raise LocalMisuse("secret-not-exported", "credentials stay in the process that obtained them")

    @property
    def expires_in_s(self) -> float:
        """Seconds of life left, never negative."""
        return max(0.0, self.expires - self._clock.elapsed_s())

    @property
    def peer_is_plural(self) -> bool:
        """Whether several processes of the target answered lately."""
        return self.peer.is_plural(self._clock.elapsed_s())

    def describe_notes(self, asked: tuple[str, ...] | None = None) -> list[str]:
        """What was granted less than asked for, as sentences; `asked` are the scopes of the question."""
        return [describe_note(note, asked) for note in self.notes]

    def authenticate(
        self, endpoint: str, payload: bytes = b"", *, safe: bool = False, channel_binding: bytes | None = None
    ) -> PendingCall:
        """A request that authorises `payload` at `endpoint`, and nothing else, once.

        `endpoint` names the operation as both sides agreed, in 1 to 255 printable ASCII characters.
        `safe` says that executing the call twice does no harm. Raises LocalMisuse.
        """
        return self.present(bind_raw(endpoint, payload, channel_binding=channel_binding), safe=safe)

    def present(
        self,
        bind: bytes | None,
        *,
        use: int = USE_RAW,
        safe: bool = False,
        user: AssertedUser | None = None,
        idempotent: bool = False,
        epoch: bytes | Literal["latest"] | None = "latest",
    ) -> PendingCall:
        """The same for other profiles: `bind` is the 32-byte digest of what the request is bound to.

        `idempotent` says that the request covers a key by which the target tells a repeat. `epoch` names another one
        than the latest that was learnt, or None: then the target refuses before anything runs, and tells its own.
        """
        latest, offset_ms = self.peer.read()
        realm_now = self._clock.wall_ms() + self.realm_offset_ms
        pending = build_ap_request(
            self.ticket,
            self._pop_key,
            use=use,
            bind=bind,
            now=Timestamp(max(0, realm_now + offset_ms)),
            nonce=self._entropy(_NONCE_BYTES),
            epoch=latest if epoch == "latest" else epoch,
            flags=SAFE if safe else 0,
            user=user,
        )
        return PendingCall(
            target=self.target,
            safe=safe,
            idempotent=idempotent,
            pending=pending,
            peer=self.peer,
            clock=self._clock,
            sent=Timestamp(realm_now),
            started_s=self._clock.elapsed_s(),
        )

    def calls(
        self, endpoint: str, payload: bytes = b"", *, safe: bool = False, channel_binding: bytes | None = None
    ) -> Generator[bytes, bytes, Confirmed]:
        """One call with the repeats that are allowed: yields requests, is sent replies, returns Confirmed.

        First contact with a process of the target costs one repeat, because its epoch must be learnt;
        `clock-skew` and `busy` are repeated once as well. Raises what `PendingCall.finish` raises.
        """
        repeated: set[str] = set()
        while True:
            call = self.authenticate(endpoint, payload, safe=safe, channel_binding=channel_binding)
            reply = yield call.request
            try:
                return call.finish(reply)
            except TargetRefusal as refusal:
                if refusal.code not in REPEATABLE or refusal.code in repeated:
                    raise
                repeated.add(refusal.code)

    def call(
        self,
        send: Callable[[bytes], bytes],
        endpoint: str,
        payload: bytes = b"",
        *,
        safe: bool = False,
        channel_binding: bytes | None = None,
    ) -> Confirmed:
        """Drives `calls` with `send`, which delivers a request (and `payload`) and returns the reply."""
        flow = self.calls(endpoint, payload, safe=safe, channel_binding=channel_binding)
        try:
            request = next(flow)
            while True:
                request = flow.send(send(request))
        except StopIteration as done:
            confirmed: Confirmed = done.value
            return confirmed

    async def acall(
        self,
        send: Callable[[bytes], Awaitable[bytes]],
        endpoint: str,
        payload: bytes = b"",
        *,
        safe: bool = False,
        channel_binding: bytes | None = None,
    ) -> Confirmed:
        """`call` for an async `send`, under any event loop."""
        flow = self.calls(endpoint, payload, safe=safe, channel_binding=channel_binding)
        request = next(flow)
        while True:
            reply = await send(request)
            try:
                request = flow.send(reply)
            except StopIteration as done:
                confirmed: Confirmed = done.value
                return confirmed
