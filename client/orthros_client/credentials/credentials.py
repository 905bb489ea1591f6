"""Credentials for one target: make authenticated requests in process, and check the target's answers.

Sans-IO: requests come out as bytes, replies go in as bytes; how they travel is the caller's business.
Nothing a target says counts before its MAC has been verified against the request it answers.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal, Self

from attrs import Factory, evolve, field, fields, frozen

from orthros_client.credentials.known_targets import KnownTargets, PeerState
from orthros_client.credentials.narrowing import Demanded, Limits, demanded_by, those_held, unbroken
from orthros_client.credentials.pending_call import Confirmed, PendingCall
from orthros_client.credentials.refusal_reports import NO_DAEMON, Reports
from orthros_client.credentials.repetition import Course
from orthros_client.flows import HostRest, Pause, Rest, adrive, drive
from orthros_protocol.errors import LocalMisuse, Malformed, Refused
from orthros_protocol.exchanges.ap_exchange import (
    SAFE,
    USE_RAW,
    ApRequest,
    AssertedUser,
    TargetRefusal,
    sign_ap_request,
)
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_DISCHARGES, MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import join_caveats, mix_discharges, pop_key_of
from orthros_protocol.tickets.credential import Credential
from orthros_protocol.tickets.discharges import DemandSource, Discharge, demand_of_holder
from orthros_protocol.tickets.hand_over import seal_hand_over
from orthros_protocol.tickets.notes import describe_note
from orthros_protocol.tickets.ticket import DELEGABLE, TGT, peek_unverified_header
from orthros_runtime.clocks import Clock, Entropy, HostClock, RealmTime

__all__ = ["Confirmed", "Credentials", "KnownTargets", "Pause", "PeerState", "PendingCall"]

_NONCE_BYTES: Final = 16
_BOX_ENTROPY_BYTES: Final = 24
_OF_A_CREDENTIAL: Final = fields(Credential)


@frozen(eq=False, kw_only=True)
class Credentials(Credential):
    """A ticket that this process uses, with what it needs for that. Thread-safe; secrets never show in repr.

    `realm_offset_ms` is how far the realm's clock was ahead of this host's when this was obtained; from then on `time`
    counts.
    """

    tail: bytes = field(repr=False)
    realm_offset_ms: int = 0
    discharges: tuple[Discharge, ...] = ()
    peers: KnownTargets = field(factory=KnownTargets, repr=False)
    reports: Reports = field(default=NO_DAEMON, repr=False)
    _clock: Clock = field(factory=HostClock, repr=False)
    _rest: Rest = field(factory=HostRest, repr=False)
    _entropy: Entropy = field(default=os.urandom, repr=False)
    time: RealmTime = field(
        default=Factory(lambda self: RealmTime.of(self._clock, self.realm_offset_ms), takes_self=True), repr=False
    )
    _pop_key: bytes = field(init=False, repr=False)
    _shown_caveats: bytes = field(init=False, repr=False)
    _shown_discharges: tuple[bytes, ...] = field(init=False, repr=False)
    _ends: float = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        ready = unbroken(self.demanded, self.discharges) if self.discharges else ()
        key, ahead_s = pop_key_of(self.tail), self.time.ahead_ms / 1000
        if self.life.ahead_s != ahead_s:
            object.__setattr__(self, "life", self.life.seen(ahead_s))
        object.__setattr__(self, "_pop_key", mix_discharges(key, [one.tail for one in ready]) if ready else key)
        object.__setattr__(self, "_shown_caveats", join_caveats(self.caveats) if self.caveats else b"")
        object.__setattr__(self, "_shown_discharges", tuple([one.caveats for one in ready]))
        ends = [self.time.elapsed_at(one.expires) for one in self.discharges]
        object.__setattr__(self, "_ends", min(self.life.end, *ends) if ends else self.life.end)

    @classmethod
    def of(
        cls,
        credential: Credential,
        *,
        realm_offset_ms: int = 0,
        peers: KnownTargets | None = None,
        reports: Reports = NO_DAEMON,
        clock: Clock | None = None,
        entropy: Entropy = os.urandom,
    ) -> Self:
        """A ticket from a daemon, a file or a hand-over, ready for use; its life counts from now.

        Raises Refused `ticket-expired` when it has ended, Malformed for a JWT.
        """
        if credential.tail is None:
            raise Malformed("a token came for a ticket")
        clock = clock or HostClock()
        now = clock.elapsed_s()
        time = RealmTime.of(clock, realm_offset_ms)
        given: dict[str, Any] = {one.name: getattr(credential, one.name) for one in _OF_A_CREDENTIAL}
        given["life"] = credential.life.since(now, time.ahead_ms / 1000)
        found = cls(
            **given,
            realm_offset_ms=realm_offset_ms,
            time=time,
            peers=peers or KnownTargets(),
            reports=reports,
            clock=clock,
            entropy=entropy,
        )
        if found._ends <= now:
            raise Refused("ticket-expired", "it has ended")
        return found

    __getstate__ = not_exported

    @property
    def expires_in_s(self) -> float:
        """Seconds of life left, never negative."""
        return max(0.0, self._ends - self._clock.elapsed_s())

    @property
    def delegable(self) -> bool:
        """Whether the target may show this ticket to the KDC, to act for its client."""
        return bool(self.flags & DELEGABLE)

    @property
    def demanded(self) -> tuple[Demanded, ...]:
        """Every discharge that the ticket demands, those in hand included, in order."""
        return demanded_by(self.caveats, self.demands) if self.demands else ()

    @property
    def peer(self) -> PeerState:
        """What raw calls have taught of the target."""
        return self.peers.at()

    def describe_notes(self, asked: tuple[str, ...] | None = None) -> list[str]:
        """What was granted less than asked for, as sentences; `asked` are the scopes of the question."""
        return [describe_note(note, asked) for note in self.notes]

    def narrow(
        self,
        *,
        scopes: Iterable[str] | None = None,
        methods: Iterable[str] | None = None,
        path: str | None = None,
        lifetime: float | None = None,
        peer: Iterable[str] | None = None,
        channel: bytes | None = None,
        targets: Iterable[Principal] | None = None,
        app: Mapping[str, bytes] | None = None,
    ) -> Self:
        """The same for less, without asking anybody; never for more. What is None stays as it is.

        `lifetime` is seconds from now, the other arguments are those of `Limits`; `targets` are for ticket-granting
        tickets. What was learnt of the target is shared with this object. Raises LocalMisuse for a value that no
        caveat can hold and beyond 16 caveats, Misconfigured for scopes.
        """
        if targets is not None and peek_unverified_header(self.ticket).ticket_type != TGT:
            raise LocalMisuse("value-invalid", "targets narrow ticket-granting tickets; this one has its target")
        left = None if scopes is None else those_held(self.scopes, scopes)
        second = None if lifetime is None else self._second_after(lifetime)
        limits = Limits(
            scopes=left,
            methods=methods,
            path=path,
            peer=peer,
            channel=channel,
            targets=targets,
            app=app,
            expires_at=second,
        )
        return self.with_caveats(
            limits.to_caveats(),
            scopes=self.scopes if left is None else left,
            life=self.life if second is None else self.life.no_later(realm_end=second),
        )

    def demand(
        self, source: Credentials, predicate: str, *, about: Principal | None = None, lifetime: float | None = None
    ) -> Self:
        """The same, good only with a discharge: the word of `source.target` that `predicate` holds of `about`.

        `source` is a ticket of this process to the discharger, `about` the client of the ticket unless stated,
        `lifetime` how many seconds the discharger may be asked; by default as long as the ticket lives. The holder of
        this object can discharge what it adds: it restricts those to whom the result is handed. Raises LocalMisuse.
        """
        if len(self.demands) >= MAX_DISCHARGES:
            raise LocalMisuse("value-invalid", f"at most {MAX_DISCHARGES} discharges")
        new = demand_of_holder(
            self.tail,
            source._demand_source(),
            about=about or self.client,
            predicate=predicate,
            expires=self._second_after(lifetime),
            salt=self._entropy(16),
            entropy=self._entropy(_BOX_ENTROPY_BYTES),
        )
        return self.with_caveats([new.caveat], demands=(*self.demands, new.cid))

    def with_discharges(self, discharges: Iterable[Discharge]) -> Self:
        """The same with these, one for each demand and in any order; each replaces what was in hand for its demand.

        Without all that are demanded the target refuses, and says of whom. Raises LocalMisuse for a discharge of
        another ticket.
        """
        named = [one.cid_digest for one in self.demanded]
        found = {one.cid_digest: one for one in (*self.discharges, *discharges)}
        if not found.keys() <= set(named):
            raise LocalMisuse("value-invalid", "a discharge that this ticket does not demand")
        return evolve(self, discharges=tuple([found[name] for name in named if name in found]))

    def life_of(self, discharge: Discharge) -> float:
        """Seconds of life left of a discharge for this ticket, never negative. Raises Refused `discharge-mismatch`."""
        return max(0.0, self.time.elapsed_at(discharge.expires) - self._clock.elapsed_s())

    def hand_over(self, to: Credentials) -> bytes:
        """These credentials in a box for `to.target` alone; `to` is this process's own ticket to it.

        Discharges stay here: the receiver collects its own. This process could read what the receiver does with them.
        Raises LocalMisuse for a `to` that is narrowed or in another's name, and beyond 48 KiB.
        """
        to._require_plain("hand anything over")
        self.require_alive()
        return seal_hand_over(
            self,
            ticket=to.ticket,
            pop_key=to.pop_key,
            sender=to.client,
            receiver=to.target,
            entropy=self._entropy(_BOX_ENTROPY_BYTES),
        )

    def require_alive(self) -> None:
        """Raises Refused `ticket-expired` when nothing is left to hand over or to write down."""
        if not self.life.left_s(self._clock.elapsed_s()):
            raise Refused("ticket-expired", "nothing is left to hand over")

    def _second_after(self, lifetime: float | None) -> int:
        if lifetime is None:
            return self.life.second
        if not 0 < lifetime <= MAX_TICKET_LIFE_S:
            raise LocalMisuse("value-invalid", f"a lifetime is more than 0 and at most {MAX_TICKET_LIFE_S} seconds")
        return self.time.second_at(min(self.life.end, self._clock.elapsed_s() + lifetime))

    def _require_plain(self, purpose: str) -> None:
        if self.caveats or self.demands or self.subject is not None:
            raise LocalMisuse("value-invalid", f"only a ticket that is not narrowed and in the own name can {purpose}")

    def _demand_source(self) -> DemandSource:
        self._require_plain("demand a discharge")
        return DemandSource(ticket=self.ticket, pop_key=self.pop_key, adder=self.client, discharger=self.target)

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
        place: str = "",
        epoch: bytes | Literal["newest"] | None = "newest",
    ) -> PendingCall:
        """The same for other profiles: `bind` is the 32-byte digest of what the request is bound to.

        `place` is where the target is met, such as an origin: epochs and clocks are learnt for each place. `epoch` is
        another one to name than the newest; None names none: then nobody executes the request unless it may be
        repeated. By default a request that is not `safe` names none where replay instances take turns.
        """
        peer, now_s = self.peers.at(place), self._clock.elapsed_s()
        realm_now = self.time.now_ms()
        request = ApRequest(
            use=use,
            ticket=self.ticket,
            caveats=self._shown_caveats,
            discharges=self._shown_discharges,
            ts=Timestamp(max(0, realm_now + peer.read()[1])),
            nonce=self._entropy(_NONCE_BYTES),
            epoch=peer.epoch_to_name(now_s, repeatable=safe) if epoch == "newest" else epoch,
            flags=SAFE if safe else 0,
            bind=bind,
            user=user,
        )
        return PendingCall(
            target=self.target,
            safe=safe,
            on_behalf=self.subject is not None or user is not None,
            pending=sign_ap_request(request, self._pop_key),
            refused=partial(self.reports.note, self),
            peer=peer,
            clock=self._clock,
            sent=Timestamp(realm_now),
            started_s=now_s,
        )

    def course(self, method: str, path: str, *, repeatable: bool, place: str = "", once: bool = False) -> Course:
        """The course of one call to the target at `place`, with its repeats; see `Course`."""
        return Course(self.peers.at(place), self._clock, self._rest, (method, path), repeatable=repeatable, once=once)

    def calls(
        self, endpoint: str, payload: bytes = b"", *, safe: bool = False, channel_binding: bytes | None = None
    ) -> Generator[bytes | Pause, bytes | None, Confirmed]:
        """One call with the repeats that are allowed: yields requests, is sent replies, returns Confirmed.

        First contact with a replay instance of the target costs one repeat, because its epoch must be learnt. A `safe`
        call may also yield Pauses, 6 s in all at most, when instances have just begun: wait with `block` or `sleep` of
        each, and send None. Raises what `PendingCall.finish` raises.
        """
        bind = bind_raw(endpoint, payload, channel_binding=channel_binding)
        course = self.course("", endpoint, repeatable=safe)
        while True:
            call = self.present(bind, safe=course.repeatable, epoch=course.epoch)
            reply = yield call.request
            try:
                return call.finish(reply or b"")
            except TargetRefusal as refusal:
                yield from course.after(call, refusal)

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
        return drive(flow, send, self.reports.telling)

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
        return await adrive(flow, send, self.reports.telling)
