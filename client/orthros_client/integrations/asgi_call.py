"""ASGI: one request of an application behind the middleware, and what is sent for it.

Reads and writes what the exchange decides; decides nothing itself.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from orthros_client.http.propagation import Serving
from orthros_client.http.server.answers import Answer
from orthros_client.http.server.bodies import RequestBodyMismatch
from orthros_client.http.server.exchange import Exchange, refusal_in
from orthros_client.http.server.responses import Leaving
from orthros_protocol.errors import LocalMisuse, Refused
from orthros_runtime.extras import extra

with extra("asgi"):
    from anyio import Lock

__all__ = ["App", "AsgiCall", "Message", "Receive", "Scope", "Send", "send_answer"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiCall:
    """The two channels of one verified request, checked both ways. `request` ends with the answer to it."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, request: Serving) -> None:
        self._exchange = exchange
        self._request = request
        self._receive = receive
        self._send = send
        self._reading = Lock(fast_acquire=True)
        self._last: Leaving | None = None
        self._told_end = False  # of the request's body
        self._begun = False  # something of an answer has left
        self._replaced = False  # it was not the application's
        self._ahead: Message | None = None  # a small body, before the application has asked for it

    async def run(self, app: App, scope: Scope) -> None:
        exchange = self._exchange
        if exchange.reads_ahead:
            await self._read_ahead()
            if exchange.refusal is not None:
                await self._answer(exchange.refusal.answer)
                return
        exchange.begin()
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:
            refusal, begun = refusal_in(error), self._begun
            self._exchange.blame(error)
            if not begun:
                await self._settle(error, refusal)
            if refusal is None or begun:
                raise
            return
        if self._begun:
            return
        if self._exchange.is_spoilt and self._exchange.refusal is not None:
            await self._answer(self._exchange.refusal.answer)
        elif self._last is not None:
            await self._pass_on(self._last)

    async def _settle(self, error: Exception, refusal: Refused | None) -> None:
        """Answers for an application that raised before anything of its answer had left."""
        exchange = self._exchange
        if refusal is not None:
            await self._answer(exchange.answer_to(refusal))
        elif (due := exchange.due(error)) is not None:
            await self._answer(due.answer)
        elif self._last is not None:
            await self._pass_on(self._last)
        elif (instead := exchange.answer_instead(500)) is not None:
            await self._answer(instead)
        elif exchange.proves:
            await self._answer(exchange.failure())

    async def _read_ahead(self) -> None:
        body = b""
        with suppress(RequestBodyMismatch):  # the exchange keeps it as its refusal
            while not self._exchange.body.settled:
                body += (await self._next()).get("body", b"")
        self._ahead = {"type": "http.request", "body": body, "more_body": False}

    async def receive(self) -> Message:
        """What the application reads: pieces of the body that may be handed on, then whatever the server says."""
        exchange = self._exchange
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            return ahead
        if not exchange.body.settled:
            async with self._reading:
                while not exchange.body.settled:
                    message = await self._next()
                    if message["type"] != "http.request" or message["body"] or exchange.body.settled:
                        return message
        exchange.require_whole()
        ended = self._told_end
        while True:
            message = await self._next()
            # Servers may tell the end on its own, behind the piece with which the application was told of it here.
            if not ended or message["type"] != "http.request":
                return message

    async def _next(self) -> Message:
        """The next message about the body or the connection. Others, such as trailers, are not verified."""
        while (message := await self._receive())["type"] not in ("http.request", "http.disconnect"):
            pass
        return await self._pass_in(message)

    async def _pass_in(self, message: Message) -> Message:
        exchange = self._exchange
        if message["type"] == "http.disconnect":
            exchange.cut()
        if message["type"] != "http.request":
            return message
        more = bool(message.get("more_body", False))
        data = exchange.received(message.get("body", b""), more=more)
        more = more and not exchange.body.settled
        self._told_end = self._told_end or not more
        return {"type": "http.request", "body": data, "more_body": more}

    async def _drain(self) -> None:
        """Reads what the application left unread: nothing that succeeds leaves before the body is known to be right."""
        exchange = self._exchange
        try:
            async with self._reading:
                while not exchange.body.settled:
                    await self._next()
        except RequestBodyMismatch:
            pass  # the exchange keeps it as its refusal

    async def send(self, message: Message) -> None:
        """What the application answers: held, proven and let go.

        Raises RequestBodyMismatch instead of letting anything go, so that work that follows a response never begins.
        """
        reply = self._exchange.reply
        if self._replaced:
            return
        if not self._begun:
            self._exchange.require_whole()
        if message["type"] == "http.response.start":
            headers = [(name.lower().decode("latin-1"), bytes(value)) for name, value in message.get("headers", ())]
            reply.start(message["status"], tuple(headers))
        elif message["type"] == "http.response.body":
            leaving = reply.write(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))
            if leaving is None:
                return
            failed = leaving.head is not None and leaving.head.status >= 500 and not leaving.more
            if failed and sys.exc_info()[1] is not None:
                # A framework that answers 500 to an error may raise it next, and the error can be a refusal.
                self._last = leaving
            else:
                await self._pass_on(leaving)
        else:
            raise LocalMisuse("value-invalid", f"{message['type']} cannot be proven to an Orthros caller")

    async def _pass_on(self, leaving: Leaving) -> None:
        exchange = self._exchange
        head = leaving.head
        if head is not None:
            if head.status < 400 and not exchange.body.settled:
                await self._drain()
            exchange.require_whole()
            instead = exchange.answer_instead(head.status)
            if instead is not None:
                self._replaced = True
                await self._answer(instead)
                return
            headers = [(name.encode("latin-1"), value) for name, value in head.headers]
            self._begun = True
            await self._send({"type": "http.response.start", "status": head.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": leaving.data, "more_body": leaving.more})
        if not leaving.more:
            self._request.end()  # what the application still does, it does in its own name or not at all

    async def _answer(self, answer: Answer) -> None:
        self._begun = True
        with suppress(OSError):  # the client may be gone; one that has merely stopped sending is told
            await send_answer(answer, self._send)


async def send_answer(answer: Answer, send: Send, *, prefix: str = "http.response") -> None:
    headers = [(name.encode("latin-1"), value) for name, value in answer.headers]
    await send({"type": f"{prefix}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": answer.body, "more_body": False})
