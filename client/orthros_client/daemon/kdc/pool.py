"""A list of KDCs as one: asks the last good one first, and the next as soon as that one is slow or fails.

Knows addresses, frames and deadlines, not messages: the caller builds the question and reads the answer,
and reading raises when the answer proves nothing.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # found now: a process that gives up its rights may not be able to later
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar
from urllib.parse import urlsplit

import trio
from attrs import define, field, frozen

from orthros_client.reasons import KDC_UNREACHABLE
from orthros_protocol.errors import Misconfigured, PeerMisbehaved, Unavailable
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_runtime.clocks import Clock

__all__ = ["Connect", "KdcAddress", "KdcHealth", "KdcPool", "Question", "open_stream"]

T = TypeVar("T")

_READ_BYTES: Final = 16 * 1024
# Faults of one KDC, said under seal: another one may do better.
_FAULTS: Final = frozenset({"kdc-fault", "clock-skew"})


@frozen
class KdcAddress:
    """Where one KDC listens: `tcp://host:port` or `unix:///path`."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> KdcAddress:
        """Raises Misconfigured `config-invalid`."""
        try:
            parts = urlsplit(text)
            port = parts.port
            (parts.hostname or "").encode("idna")  # what the resolver does with it: UnicodeError is a ValueError
        except ValueError:
            raise Misconfigured("config-invalid", f"KDC address {text!r} is not a URL") from None
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            return cls("", 0, parts.path)
        if parts.scheme == "tcp" and parts.hostname and port and parts.path in ("", "/") and not parts.username:
            return cls(parts.hostname, port, "")
        raise Misconfigured("config-invalid", f"KDC address {text!r} is neither tcp://host:port nor unix:///path")

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


Connect = Callable[[KdcAddress], Awaitable[trio.abc.Stream]]
Question = Callable[[KdcAddress], tuple[bytes, Callable[[bytes, int], T]]]
"""Makes one message for a KDC and the function that reads its answer (bytes, round trip in milliseconds)."""


async def open_stream(address: KdcAddress) -> trio.abc.Stream:
    """A connection. Raises OSError."""
    if address.path:
        return await trio.open_unix_socket(address.path)
    return await trio.open_tcp_stream(address.host, address.port)


@define
class KdcHealth:
    """What was last seen of one KDC; `last_good` is on the monotonic clock."""

    last_good: float | None = None
    last_failure: str = ""


@define(eq=False)
class KdcPool:
    """Asks KDCs until one gives an answer that reads. `stagger_s` and `attempt_s` are in seconds."""

    addresses: Sequence[KdcAddress]
    clock: Clock
    connect: Connect = field(default=open_stream, repr=False)
    stagger_s: float = 0.25
    attempt_s: float = 5.0
    health: dict[KdcAddress, KdcHealth] = field(factory=dict, init=False)
    last_good: KdcAddress | None = field(default=None, init=False)

    async def ask(self, question: Question[T]) -> T:
        """The first answer that reads, or the first refusal under seal; slower KDCs are dropped.

        Raises KdcRefusal, or Unavailable (`kdc-unreachable`, `unauthenticated-refusal`, `kdc-fault` where each said
        so) when every KDC failed; each attempt makes a question of its own, so nothing is sent twice.
        """
        answers: list[T] = []
        refusals: list[KdcRefusal] = []
        faults: list[KdcRefusal] = []
        failures: dict[KdcAddress, str] = {}
        naks: list[str] = []

        async def attempt(address: KdcAddress, failed: trio.Event) -> None:
            try:
                answers.append(await self._exchange(address, question))
            except KdcRefusal as refusal:
                if refusal.code not in _FAULTS:
                    refusals.append(refusal)
                    self._succeeded(address)
                    race.cancel_scope.cancel()
                    return
                faults.append(refusal)
                failures[address] = f"{refusal.code} ({refusal.detail})" if refusal.detail else refusal.code
            except PeerMisbehaved as error:
                # Unauthenticated, hence no reason to believe anything but that this KDC is of no use now.
                failures[address] = f"{error.code} ({error.detail})" if error.detail else error.code
                if error.code == "unauthenticated-refusal":
                    naks.append(error.detail)
            except trio.TooSlowError:
                failures[address] = f"no answer within {self.attempt_s:g} s"
            except (OSError, trio.BrokenResourceError) as error:
                failures[address] = _words_of(error)
            else:
                self._succeeded(address)
                race.cancel_scope.cancel()
                return
            self.health.setdefault(address, KdcHealth()).last_failure = failures[address]
            failed.set()

        async with trio.open_nursery() as race:
            for address in self._order():
                failed = trio.Event()
                race.start_soon(attempt, address, failed)
                with trio.move_on_after(self.stagger_s):
                    await failed.wait()
        if answers:
            return answers[0]
        if refusals:
            raise refusals[0]
        for refusal in faults:
            if refusal.code == "clock-skew":
                raise refusal
        seen = "; ".join(f"{address}: {why}" for address, why in failures.items()) or "no KDC is configured"
        if faults and len(faults) == len(failures):
            trouble = Unavailable("kdc-fault", seen)
            trouble.retry_s = min(refusal.retry_s for refusal in faults)
            raise trouble
        raise Unavailable("unauthenticated-refusal" if naks else KDC_UNREACHABLE, seen)

    def _order(self) -> list[KdcAddress]:
        rest = [address for address in self.addresses if address != self.last_good]
        return [self.last_good, *rest] if self.last_good in self.addresses and self.last_good is not None else rest

    def _succeeded(self, address: KdcAddress) -> None:
        self.last_good = address
        health = self.health.setdefault(address, KdcHealth())
        health.last_good = self.clock.elapsed_s()
        health.last_failure = ""

    async def _exchange(self, address: KdcAddress, question: Question[T]) -> T:
        with trio.fail_after(self.attempt_s):
            stream = await self.connect(address)
            async with stream:
                # Built only now, so that the timestamp and the round trip do not contain the connecting.
                message, read = question(address)
                started = self.clock.elapsed_s()
                await stream.send_all(frame(message))
                reply = await _receive_frame(stream)
                return read(reply, round((self.clock.elapsed_s() - started) * 1000))


async def _receive_frame(stream: trio.abc.ReceiveStream) -> bytes:
    reader = FrameReader()
    while True:
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            reader.end()
            raise PeerMisbehaved("connection-truncated", "closed without an answer")
        reader.feed(bytes(data))
        for message in reader.messages():
            return message


def _words_of(error: Exception) -> str:
    """Why no connection came about. A host name may stand for several addresses: the first attempt's reason."""
    attempts = error.__cause__
    if isinstance(attempts, ExceptionGroup):
        error = attempts.exceptions[0]
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error) or type(error).__name__
