"""The library's door: framed messages, answered in order.

Thin I/O: the desk decides, the session encodes.
"""

from __future__ import annotations

import structlog
from attrs import frozen

from orthros_client.daemon.desk import Desk
from orthros_client.daemon.doors import Visitor
from orthros_client.local_api.session import ServerSession
from orthros_protocol import LocalMisuse, PeerMisbehaved

__all__ = ["LocalServer"]

log = structlog.get_logger()


@frozen(eq=False)
class LocalServer:
    """`converse` is what a Door runs."""

    desk: Desk

    async def converse(self, visitor: Visitor) -> None:
        """Answers requests until the peer leaves, is silent too long, or is not understood."""
        session = ServerSession()
        while data := await visitor.receive():
            try:
                for request in session.received(data):
                    reply = await self.desk.answer(visitor.peer, request)
                    await visitor.send(session.reply(request.op, reply))
            except PeerMisbehaved as error:
                log.info("local request not understood", peer=str(visitor.peer), code=error.code, detail=error.detail)
                await visitor.send(session.farewell(error))
                return
            except LocalMisuse as error:
                log.error("answer does not fit", peer=str(visitor.peer), code=error.code, detail=error.detail)
                return
