"""The client's side of third-party caveats: asks dischargers, and keeps what they gave while it is good.

Sans-IO: flows yield what is to be asked and are sent the answers; `drive` and `adrive` run them. Knows neither where a
discharger is, nor what it attests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Final

from attrs import evolve, frozen

from orthros_client.credentials.credentials import Credentials
from orthros_client.credentials.narrowing import Demanded
from orthros_client.flows import Pause, adrive, drive
from orthros_client.reasons import DISCHARGER_UNKNOWN
from orthros_protocol.errors import LocalMisuse, Misconfigured, Refused, Unavailable
from orthros_protocol.exchanges.ap_exchange import TargetRefusal
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.discharges import DISCHARGE_ENDPOINT, Discharge
from orthros_runtime.bounded import BoundedMap
from orthros_runtime.clocks import Clock, HostClock
from orthros_runtime.process_lock import ProcessLock

__all__ = ["DischargeExchange", "DischargeRefused", "Discharges", "aask", "ask"]

# What is about to end may end on its way to the target.
_MARGIN_S: Final = 10.0
_MOST_MARGIN: Final = 0.25
# Somebody may approve any moment; until then a loop does not ask the discharger each time.
_REFUSED_FOR_S: Final = 5.0
_ASK_AGAIN_S: Final = 2.0


class DischargeRefused(Refused):
    """The discharger proved itself and said no. `discharger` is who, `said` the code that it gave.

    `on_behalf` says that it was asked for a ticket on behalf of somebody, where that is known.
    """

    on_behalf = False

    def __init__(self, discharger: Principal, said: str, detail: str) -> None:
        super().__init__("discharge-refused", detail)
        self.discharger = discharger
        self.said = said


@frozen
class DischargeExchange:
    """One question for a discharger, profile raw/1: deliver both; the answer is its reply and the sealed discharge."""

    request: bytes
    cid: bytes


def asking(to: Credentials, cid: bytes) -> Generator[DischargeExchange | Pause, tuple[bytes, bytes] | None, Discharge]:
    """Asks `to.target` for the discharge of `cid`, with the repeats that are allowed; a Pause is answered with None.

    Raises DischargeRefused when it refuses under MAC; PeerMisbehaved or Malformed for anything that is not its answer.
    """
    course = to.course("", DISCHARGE_ENDPOINT, repeatable=True)
    bind = bind_raw(DISCHARGE_ENDPOINT, cid)
    while True:
        call = to.present(bind, safe=course.repeatable, epoch=course.epoch)
        answer = yield DischargeExchange(call.request, cid)
        reply, box = answer or (b"", b"")
        try:
            call.finish(reply)
        except TargetRefusal as refusal:
            try:
                yield from course.after(call, refusal)
            except TargetRefusal:
                raise DischargeRefused(to.target, refusal.code, _words(to.target, refusal)) from None
        else:
            return call.finish_discharge(cid, box)


def ask(to: Credentials, cid: bytes, send: Callable[[DischargeExchange], tuple[bytes, bytes]]) -> Discharge:
    """Drives `asking` with `send`."""
    return drive(asking(to, cid), send)


async def aask(
    to: Credentials, cid: bytes, send: Callable[[DischargeExchange], Awaitable[tuple[bytes, bytes]]]
) -> Discharge:
    """Drives `asking` with an async `send`."""
    return await adrive(asking(to, cid), send)


@frozen
class _Held:
    discharge: Discharge
    fresh_until: float
    ends: float


@frozen
class _Denied:
    discharger: Principal
    said: str
    detail: str
    until: float


class Discharges:
    """What dischargers gave, by demand: at most `capacity`, the least used goes first. Thread-safe.

    A discharge is asked for again before it ends; while its discharger is away, what is in hand serves until its end.
    A refusal is repeated from memory for a few seconds.
    """

    def __init__(self, *, capacity: int = 1024, clock: Clock | None = None) -> None:
        if capacity < 1:
            raise LocalMisuse("value-invalid", "a capacity is at least 1")
        self._clock = clock or HostClock()
        self._lock = ProcessLock()
        self._held = BoundedMap[bytes, _Held](capacity)
        self._denied = BoundedMap[bytes, _Denied](capacity)

    def __len__(self) -> int:
        return len(self._held)

    def collecting(self, credentials: Credentials) -> Generator[Demanded, Discharge, Credentials]:
        """`credentials` with every discharge that they demand; yields those to ask for, in order.

        An answer is a Discharge; an error that is thrown in ends the flow, unless what is in hand helps over it.
        Raises DischargeRefused, LocalMisuse for an answer to another demand, and Misconfigured `discharger-unknown`
        when nothing in hand says whom to ask.
        """
        try:
            return (yield from self._collecting(credentials))
        except DischargeRefused as refusal:
            refusal.on_behalf = credentials.subject is not None
            raise

    def _collecting(self, credentials: Credentials) -> Generator[Demanded, Discharge, Credentials]:
        found: list[Discharge] = []
        for demanded in credentials.demanded:
            held = self._recall(demanded)
            if held is not None and self._clock.elapsed_s() < held.fresh_until:
                found.append(held.discharge)
                continue
            if demanded.discharger is None:
                raise Misconfigured(DISCHARGER_UNKNOWN, "the demand names nobody")
            try:
                discharge = yield demanded
            except DischargeRefused as refusal:
                self._remember(demanded, refusal)
                raise
            except Unavailable:
                if held is None or self._clock.elapsed_s() >= held.ends:
                    raise
                discharge = held.discharge
            else:
                self._keep(demanded, discharge, credentials)
            found.append(discharge)
        return credentials.with_discharges(found) if found else credentials

    def collect(self, credentials: Credentials, obtain: Callable[[Demanded], Discharge]) -> Credentials:
        """Drives `collecting` with `obtain`, which asks a discharger, as `ask` does."""
        return drive(self.collecting(credentials), obtain)

    async def acollect(
        self, credentials: Credentials, obtain: Callable[[Demanded], Awaitable[Discharge]]
    ) -> Credentials:
        """Drives `collecting` with an async `obtain`."""
        return await adrive(self.collecting(credentials), obtain)

    def forget(self, credentials: Credentials) -> None:
        """Drops what is held for its demands, after the target refused it: the next time they are asked for again."""
        with self._lock():
            for demanded in credentials.demanded:
                self._held.pop(demanded.cid_digest, None)

    def _recall(self, demanded: Demanded) -> _Held | None:
        name, now = demanded.cid_digest, self._clock.elapsed_s()
        with self._lock():
            denied = self._denied.get(name)
            if denied is not None and now < denied.until:
                raise DischargeRefused(denied.discharger, denied.said, denied.detail)
            held = self._held.get(name)
            if held is None or now >= held.ends:
                self._held.pop(name, None)
                return None
            self._held.move_to_end(name)
            if now >= held.fresh_until:
                # Whoever comes first asks. The others go on with what is in hand, also when he learns nothing: an HTTP
                # library may not say here that nobody was there.
                self._held[name] = evolve(held, fresh_until=now + _ASK_AGAIN_S)
            return held

    def _keep(self, demanded: Demanded, discharge: Discharge, credentials: Credentials) -> None:
        name = demanded.cid_digest
        if discharge.cid_digest != name:
            raise LocalMisuse("value-invalid", "a discharge of another demand")
        now = self._clock.elapsed_s()
        life_s = credentials.life_of(discharge)
        with self._lock():
            self._denied.pop(name, None)
            self._held[name] = _Held(discharge, now + life_s - min(_MARGIN_S, life_s * _MOST_MARGIN), now + life_s)
            self._held.move_to_end(name)

    def _remember(self, demanded: Demanded, refusal: DischargeRefused) -> None:
        until = self._clock.elapsed_s() + _REFUSED_FOR_S
        with self._lock():
            self._held.pop(demanded.cid_digest, None)
            self._denied[demanded.cid_digest] = _Denied(refusal.discharger, refusal.said, refusal.detail, until)
            self._denied.move_to_end(demanded.cid_digest)


def _words(discharger: Principal, refusal: TargetRefusal) -> str:
    said = "" if refusal.code == "discharge-refused" else f" {refusal.code}"
    return f"{discharger}:{said} {refusal.detail}".rstrip(" :")
