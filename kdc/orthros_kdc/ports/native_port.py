"""The native port: frames in, frames out, in order.

Thin and dumb: knows connections and their peers, not what a message says. Room, deadlines and the drain are the
listener's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

import trio
from attrs import frozen

from orthros_kdc.audit.receipts import KEPT, Receipt
from orthros_kdc.config import LimitSettings
from orthros_kdc.ports.port_server import PortServer, source_of
from orthros_protocol.errors import OrthrosError, PeerMisbehaved
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.peers import Peer

__all__ = ["Handler", "NativeAnswer", "Reject", "Server"]

_numbers: Final = count(1)


@frozen
class NativeAnswer:
    """A reply. `proves` is the principal whose connection this is, where the request proves that.

    Nothing is read behind one that is `last`. A reply with a `receipt` leaves only when its line in the audit log is
    durable; else `instead`, told why not, makes the one that leaves in its place.
    """

    message: bytes
    proves: str = ""
    last: bool = False
    receipt: Receipt = KEPT
    instead: Callable[[OrthrosError], NativeAnswer] | None = None

    async def settled(self) -> bytes:
        """The message that may leave."""
        try:
            await self.receipt.wait()
        except OrthrosError as error:
            if self.instead is None:
                raise
            return self.instead(error).message
        return self.message


Handler = Callable[[bytes, str, str, int], Awaitable[NativeAnswer]]
"""From a request, its source, its IP address (empty on a local socket) and the number of its connection to the answer.

Never raises for what the request says.
"""
TurnAway = Callable[[str, str], bytes]
"""From a source, and a sentence that says what is full, to the message for a connection that there is no room for."""
Reject = Callable[[str, OrthrosError, int], None]
"""Counts bytes that are no request: their source, what is wrong, and how many there are."""


class Server(PortServer):
    """Serves one handler."""

    def __init__(self, handler: Handler, turn_away: TurnAway, reject: Reject, limits: LimitSettings) -> None:
        super().__init__(limits, "the native port")
        self._handler = handler
        self._turn_away = turn_away
        self._reject = reject

    def busy_answer(self, cause: str, peer: Peer) -> bytes:
        return frame(self._turn_away(source_of(peer), cause))

    async def converse(self, connection: Connection) -> None:
        source, number = source_of(connection.peer), next(_numbers)
        reader = FrameReader(self.limits.max_frame)
        unread: OrthrosError | None = PeerMisbehaved("connection-truncated", "the rest of a frame did not come")
        try:
            while data := await connection.receive(begun=bool(reader.pending_bytes)):
                reader.feed(data)
                answers: list[NativeAnswer] = []
                for message in reader.messages():
                    answers.append(await self._handler(message, source, connection.peer.address, number))
                    if answers[-1].proves:
                        connection.prove(answers[-1].proves)
                    if answers[-1].last:
                        break
                await _send(connection, answers)
                if answers and answers[-1].last:
                    unread = None
                    return
        except trio.TooSlowError:
            pass  # counted below
        except PeerMisbehaved as error:
            unread = error
        finally:
            if unread is not None and reader.pending_bytes and not connection.leaving:
                self._reject(source, unread, reader.pending_bytes)


async def _send(connection: Connection, answers: list[NativeAnswer]) -> None:
    """Sends the answers in order, each as soon as it may leave, and as many as possible at once."""
    ready: list[bytes] = []
    for position, answer in enumerate(answers):
        ready.append(frame(await answer.settled()))
        if position + 1 == len(answers) or not answers[position + 1].receipt.is_settled:
            await connection.send(b"".join(ready))
            ready.clear()
