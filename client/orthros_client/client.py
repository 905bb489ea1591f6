"""The blocking client: tickets and tokens from the local daemon, from any thread.

Knows neither keys nor the KDC; the daemon holds the key file and decides who may ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

from orthros_client.conversation import Conversation, Flow, Token, socket_path
from orthros_client.credentials import Credentials
from orthros_client.errors import OrthrosError
from orthros_client.local_api.blocking import BlockingLocal
from orthros_client.local_api.values import (
    Entry,
    Status,
)

__all__ = ["Client", "Token"]

T = TypeVar("T")


class Client:
    """Asks the daemon at `socket` (else ORTHROS_SOCKET, else /run/orthros/daemon.sock).

    Thread-safe; one per process is enough. `timeout` is in seconds and holds for every question.
    Every method raises Unavailable (`daemon-unreachable`, `timeout`), TicketRefused with the code of the
    refusal, TicketUnavailable, Misconfigured for bad names, or PeerMisbehaved.
    """

    def __init__(self, socket: str | os.PathLike[str] | None = None, timeout: float = 10.0) -> None:
        self._local = BlockingLocal(socket_path(socket))
        self._conversation = Conversation(timeout)

    def credentials(self, target: str, scopes: Iterable[str] | None = None, ttl_s: int = 0) -> Credentials:
        """Credentials for `target` (`name` or `name@realm`), renewed in time: ask before every call.

        `scopes` None means all that the rules allow; `ttl_s` 0 means as long as allowed.
        """
        return self._run(self._conversation.credentials(target, scopes, ttl_s))

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        """A JWT for `target`, where the realm exports them. Bearer: send it over TLS only."""
        return self._run(self._conversation.token(target, scopes))

    def list(self) -> tuple[Entry, ...]:
        """What the daemon holds for the targets that this process may use; no secrets."""
        return self._run(self._conversation.entries())

    def status(self, *, probe: bool = False) -> Status:
        """How the daemon does. `probe` makes it ask the KDC if it has not heard from it lately."""
        return self._run(self._conversation.status(probe=probe))

    def ping(self) -> None:
        """Returns when the daemon answers."""
        self._run(self._conversation.ping())

    def close(self) -> None:
        """Closes idle connections; the client can still be used."""
        self._local.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        try:
            request = next(flow)
            while True:
                try:
                    reply = self._local.ask(request, self._conversation.timeout_s)
                except OrthrosError as error:
                    request = flow.throw(error)
                else:
                    request = flow.send(reply)
        except StopIteration as done:
            answer: T = done.value
            return answer
