"""The socket for everything else: HTTP/1.1 over a Unix socket, for `curl` and programs in any language.

Thin: `http_io` reads and writes, the desk decides, `http_answers` words. Nothing is said to a request without
the static header, whatever it asks: a web page or a tricked URL fetcher cannot add it.
"""

from __future__ import annotations

import json

from attrs import frozen

from orthros_client.daemon.listeners.desk import Desk
from orthros_client.daemon.listeners.http_answers import Answer, answer_failure, answer_reply, parse_question
from orthros_client.daemon.listeners.http_io import HttpConversation, Unreadable, answer_unasked
from orthros_client.errors import Failure, busy
from orthros_client.reasons import BAD_LOCAL_REQUEST, HEADER_REQUIRED
from orthros_protocol import OrthrosError
from orthros_runtime.extras import extra
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.peers import Peer

with extra("daemon"):
    import h11

__all__ = ["HttpServer"]


class _Rejected(Exception):
    """A request with a head that rules it out; answer, then close."""

    def __init__(self, answer: Answer, *, head: bool = False) -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.head = head


@frozen(eq=False)
class HttpServer:
    """`converse` is what a listener runs for each connection."""

    desk: Desk

    async def converse(self, connection: Connection) -> None:
        """Answers requests one after the other until the peer leaves, is silent too long, or misbehaves."""
        conversation = HttpConversation(connection)
        goes_on = True
        while goes_on:
            try:
                request = await conversation.next_request(_require_local)
                if request is None:
                    return
                connection.prove()
                answer = await self._answer(connection.peer, request)
            except Unreadable as error:
                await _send(conversation, _unreadable(error), close=True)
                return
            except _Rejected as rejected:
                await _send(conversation, rejected.answer, close=True, head=rejected.head)
                return
            goes_on = await _send(conversation, answer)

    @staticmethod
    def busy_answer(cause: str, _peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for. They say nothing but that, unasked."""
        answer = answer_failure(busy(cause))
        return answer_unasked(answer.status, _headers(answer), _body(answer))

    async def _answer(self, peer: Peer, request: h11.Request) -> Answer:
        try:
            question = parse_question(request.method, request.target)
        except OrthrosError as error:
            return answer_failure(Failure.of(error))
        if isinstance(question, Answer):
            return question
        reply = await self.desk.answer(peer, question.request)
        return answer_reply(question, reply, self.desk.agent.session.keytab.principal.name)


def _require_local(request: h11.Request) -> None:
    head = request.method == b"HEAD"
    values = [value for name, value in request.headers if name == b"orthros-local"]
    if values != [b"1"] or any(name == b"origin" for name, _ in request.headers):
        raise _Rejected(answer_failure(Failure.refused(HEADER_REQUIRED)), head=head)
    if head:
        raise _Rejected(answer_failure(Failure.refused(BAD_LOCAL_REQUEST, "only GET"), 405), head=True)


def _unreadable(error: Unreadable) -> Answer:
    if error.status == 408:
        return answer_failure(Failure.unavailable("timeout", error.detail), 408)
    return answer_failure(Failure.refused(BAD_LOCAL_REQUEST, error.detail), error.status)


async def _send(conversation: HttpConversation, answer: Answer, *, close: bool = False, head: bool = False) -> bool:
    """`head`: the answer to a HEAD, which has no body (RFC 9110, 9.3.2)."""
    return await conversation.answer(answer.status, _headers(answer), _body(answer), close=close, head=head)


def _headers(answer: Answer) -> list[tuple[str, str]]:
    headers = [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
    if answer.retry_after_s:
        headers.append(("Retry-After", str(answer.retry_after_s)))
    return headers


def _body(answer: Answer) -> bytes:
    return json.dumps(answer.body).encode("ascii") + b"\n"
