"""The library's socket: framed messages, answered in order.

Thin I/O: the desk decides, the session encodes.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio
from attrs import frozen

from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.local.api.session import ServerSession
from orthros_protocol.errors import LocalMisuse, PeerMisbehaved
from orthros_runtime.log_throttle import LogThrottle
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.peers import Peer

__all__ = ["LocalServer"]

log = structlog.get_logger()

_throttle: Final = LogThrottle()


@frozen(eq=False)
class LocalServer:
    """`converse` is what a listener runs for each connection."""

    desk: LocalApi

    async def converse(self, connection: Connection) -> None:
        """Answers requests until the peer leaves, is silent too long, or is not understood."""
        session = ServerSession()
        try:
            while data := await connection.receive(begun=session.is_pending):
                for request in session.received(data):
                    connection.prove()
                    reply = await self.desk.answer(connection.peer, request)
                    await connection.send(session.reply(request.op, reply))
        except trio.TooSlowError:
            _throttle.write(log.info, "local request did not arrive", {}, peer=str(connection.peer))
        except PeerMisbehaved as error:
            shown = {"peer": str(connection.peer), "code": error.code, "detail": error.detail}
            _throttle.write(log.info, "local request not understood", {}, **shown)
            await connection.send(session.farewell(error))
        except LocalMisuse as error:
            log.error("answer does not fit", peer=str(connection.peer), code=error.code, detail=error.detail)

    @staticmethod
    def busy_answer(cause: str, _peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for."""
        return ServerSession().busy(cause)
