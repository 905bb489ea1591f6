"""The socket for everything else: HTTP/1.1 over a Unix socket, for `curl` and programs in any language.

Thin: the conversation reads and writes, the desk decides, `http_answers` words. Nothing is said to a request without
the static header, whatever it asks: a web page or a tricked URL fetcher cannot add it.
"""

from __future__ import annotations

import json
from typing import Final

import structlog
from attrs import frozen

from orthros_client.daemon.listeners.http_answers import LocalAnswer, answer_failure, answer_reply, parse_question
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.errors import Failure, busy
from orthros_client.reasons import BAD_LOCAL_REQUEST, HEADER_REQUIRED
from orthros_protocol.errors import OrthrosError
from orthros_runtime.log_throttle import LogThrottle
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.http.conversation import HttpConversation
from orthros_runtime.serving.http.messages import RequestHead, Unreadable, answer_bytes
from orthros_runtime.serving.peers import Peer

__all__ = ["LocalHttpServer"]

log = structlog.get_logger()

_throttle: Final = LogThrottle()


@frozen(eq=False)
class LocalHttpServer:
    """`converse` is what a listener runs for each connection."""

    desk: LocalApi

    async def converse(self, connection: Connection) -> None:
        """Answers requests one after the other until the peer leaves, is silent too long, or misbehaves."""
        conversation = HttpConversation(connection)
        goes_on = True
        while goes_on:
            try:
                request = await conversation.next_request()
                if request is None:
                    return
                answer = _refusal_of(request)
                if answer is None:
                    await conversation.read_body(0)
                    connection.prove()
                    goes_on = await _send(conversation, await self._answer(connection.peer, request))
                else:
                    goes_on = await _send(conversation, answer, close=True)
            except Unreadable as error:
                if error.why:
                    shown = {"peer": str(connection.peer), "error": error.why}
                    _throttle.write(log.info, "http request not understood", {}, **shown)
                goes_on = await _send(conversation, _unreadable(error))

    @staticmethod
    def busy_answer(cause: str, _peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for. They say nothing but that, unasked."""
        answer = answer_failure(busy(cause))
        headers, body = _written(answer)
        return answer_bytes(answer.status, headers, body, close=True)

    async def _answer(self, peer: Peer, request: RequestHead) -> LocalAnswer:
        try:
            question = parse_question(request.method, request.target)
        except OrthrosError as error:
            return answer_failure(Failure.of(error))
        if isinstance(question, LocalAnswer):
            return question
        reply = await self.desk.answer(peer, question.request)
        return answer_reply(question, reply, self.desk.agent.session.keytab.principal.name)


def _refusal_of(request: RequestHead) -> LocalAnswer | None:
    """The answer to a head that rules the request out."""
    values = [value for name, value in request.headers if name == "orthros-local"]
    if values != [b"1"] or any(name == "origin" for name, _ in request.headers):
        return answer_failure(Failure.refused(HEADER_REQUIRED))
    if request.method == "HEAD":
        return answer_failure(Failure.refused(BAD_LOCAL_REQUEST, "only GET"), 405)
    return None


def _unreadable(error: Unreadable) -> LocalAnswer:
    if error.status == 408:
        return answer_failure(Failure.unavailable("timeout", error.detail), 408)
    return answer_failure(Failure.refused(BAD_LOCAL_REQUEST, error.detail), error.status)


async def _send(conversation: HttpConversation, answer: LocalAnswer, *, close: bool = False) -> bool:
    headers, body = _written(answer)
    return await conversation.answer(answer.status, headers, body, close=close)


def _written(answer: LocalAnswer) -> tuple[list[tuple[str, str]], bytes]:
    body = json.dumps(answer.body).encode("ascii") + b"\n"
    headers = [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
    if answer.retry_after_s:
        headers.append(("Retry-After", str(answer.retry_after_s)))
    return [*headers, ("Content-Length", str(len(body))), ("Cache-Control", "no-store")], body
