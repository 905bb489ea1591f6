"""The door for everyone else: HTTP/1.1 on a Unix socket, for `curl` and programs in any language.

Thin I/O around h11: the desk decides, `http_answers` words. Nothing is said to a request without the static
header, whatever it asks: a web page or a tricked URL fetcher cannot add it.
"""

from __future__ import annotations

import json
from math import inf
from typing import Any, Final

import h11
import structlog
import trio
from attrs import frozen

from orthros_client.daemon.desk import Desk
from orthros_client.daemon.doors import Visitor
from orthros_client.daemon.http_answers import Answer, answer_failure, answer_reply, parse_question
from orthros_client.daemon.peers import Peer
from orthros_client.errors import Failure
from orthros_protocol import OrthrosError

__all__ = ["HttpServer"]

log = structlog.get_logger()

_MOST_HEADER_BYTES: Final = 8192
_REQUEST_S: Final = 10.0


class _Rejected(Exception):
    """The request cannot be read to its end; answer, then close."""

    def __init__(self, answer: Answer, *, head: bool = False) -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.head = head


@frozen(eq=False)
class HttpServer:
    """`converse` is what a Door runs."""

    desk: Desk

    async def converse(self, visitor: Visitor) -> None:
        """Answers requests one after the other until the peer leaves, is silent too long, or misbehaves."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADER_BYTES)
        while True:
            try:
                request = await _next_request(connection, visitor)
                if request is None:
                    return
                answer = await self._answer(visitor.peer, request)
            except _Rejected as rejected:
                await _send(connection, visitor, rejected.answer, close=True, head=rejected.head)
                return
            await _send(connection, visitor, answer, close=visitor.draining)
            if connection.our_state is h11.MUST_CLOSE or visitor.draining:
                return
            connection.start_next_cycle()

    async def _answer(self, peer: Peer, request: h11.Request) -> Answer:
        try:
            question = parse_question(request.method, request.target)
        except OrthrosError as error:
            return answer_failure(Failure.of(error))
        if isinstance(question, Answer):
            return question
        reply = await self.desk.answer(peer, question.request)
        return answer_reply(question, reply, self.desk.agent.session.keytab.principal.name)


async def _next_request(connection: h11.Connection, visitor: Visitor) -> h11.Request | None:
    """The next request, complete; None when there is none. Its time runs from its first byte."""
    request: h11.Request | None = None
    deadline: float | None = None
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            log.info("http request not understood", peer=str(visitor.peer), error=str(error))
            status = error.error_status_hint if error.error_status_hint in (400, 413, 431, 501, 505) else 400
            raise _Rejected(answer_failure(Failure.refused("bad-local-request", "not HTTP/1.1"), status)) from None
        if event is h11.NEED_DATA:
            with trio.CancelScope(deadline=deadline or inf) as timer:
                data = await visitor.receive()
            if timer.cancelled_caught:
                raise _Rejected(answer_failure(Failure.unavailable("timeout", "the request did not arrive"), 408))
            if not data and deadline is None:
                return None
            deadline = deadline or trio.current_time() + _REQUEST_S
            connection.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
            _require_local(event)
        elif isinstance(event, h11.Data):
            raise _Rejected(answer_failure(Failure.refused("bad-local-request", "a body is not expected"), 413))
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


def _require_local(request: h11.Request) -> None:
    head = request.method == b"HEAD"
    values = [value for name, value in request.headers if name == b"orthros-local"]
    if values != [b"1"] or any(name == b"origin" for name, _ in request.headers):
        raise _Rejected(answer_failure(Failure.refused("header-required")), head=head)
    if head:
        raise _Rejected(answer_failure(Failure.refused("bad-local-request", "only GET"), 405), head=True)


async def _send(
    connection: h11.Connection, visitor: Visitor, answer: Answer, *, close: bool, head: bool = False
) -> None:
    """`head`: the answer to a HEAD, which has no body (RFC 9110, 9.3.2)."""
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = json.dumps(answer.body).encode("ascii") + b"\n"
    headers: list[Any] = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if answer.retry_after_s:
        headers.append(("Retry-After", str(answer.retry_after_s)))
    if close:
        headers.append(("Connection", "close"))
    parts: list[h11.Event] = [
        h11.Response(status_code=answer.status, headers=headers),
        *(() if head else (h11.Data(data=body),)),
        h11.EndOfMessage(),
    ]
    await visitor.send(b"".join(connection.send(part) or b"" for part in parts))
