"""ASGI: what is left unread of a request's body when it is answered.

Knows no verdicts beyond how much reading they are worth.
"""

from __future__ import annotations

from orthros_client.http.server.exchange import most_discarded
from orthros_client.http.server.guard import Denied
from orthros_client.integrations.asgi_call import Message, Receive, Send
from orthros_protocol.primitives.http_fields import stated_length
from orthros_runtime.extras import extra

with extra("asgi"):
    from anyio import Event, Lock

__all__ = ["AnswersLast", "discard"]


async def discard(denied: Denied, receive: Receive) -> None:
    """Reads the body of a request that is refused, if it is not too large for that.

    Servers hang up on a client that is answered before all of its request has come, some before it could read the
    answer. Its repeat, which a first contact takes, would meet another worker then, and be refused once more.
    """
    request = denied.request
    most, length = most_discarded(denied), stated_length(request.fields.values_of("content-length"))
    has_body = bool(length) or bool(request.fields.values_of("transfer-encoding"))
    if not has_body or (length or 0) > most or request.fields.values_of("expect"):
        return
    while most > 0 and (message := await receive())["type"] == "http.request" and message.get("more_body"):
        most -= len(message.get("body", b""))


class AnswersLast:
    """The channels of one request over HTTP/2 or 3, on which an answer ends after its request has.

    hypercorn cannot have it the other way round: its connection breaks, under trio all its worker. What comes meanwhile
    is dropped; a client that wants no answer to the rest resets the stream.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._reading = Lock()
        self._ended = Event()

    async def receive(self) -> Message:
        """The next message, which may be the last about the body."""
        async with self._reading:
            return await self._take()

    async def send(self, message: Message) -> None:
        """A message of the answer; its last one waits."""
        if message["type"] == "http.response.body" and not message.get("more_body") and not self._ended.is_set():
            await self._send({**message, "more_body": True})
            async with self._reading:
                while not self._ended.is_set():
                    await self._take()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _take(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self._ended.set()
        return message
