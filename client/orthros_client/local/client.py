"""The blocking client: tickets and tokens from the local daemon, from any thread.

Knows neither keys nor the KDC; the daemon holds the key file and decides who may ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from attrs import frozen

from orthros_client.credentials.credentials import Credentials
from orthros_client.credentials.narrowing import Limits
from orthros_client.errors import OrthrosError
from orthros_client.flows import in_thread
from orthros_client.local.api.blocking import BlockingLocal
from orthros_client.local.api.values import (
    CacheEntry,
    Forgotten,
    Renewed,
    Status,
)
from orthros_client.local.conversation import TELLING_S, Conversation, Flow, Token, socket_path
from orthros_client.local.on_behalf import AS_CONFIGURED, OnBehalfOf, Propagate

__all__ = ["Client", "Token"]

T = TypeVar("T")


class Client:
    """Asks the daemon at `socket` (else ORTHROS_SOCKET, else /run/orthros/daemon.sock).

    Thread-safe; one per process is enough. `timeout` is in seconds and holds for every question.
    With `propagate`, what is asked while a middleware or `serving` serves a verified caller is asked on its behalf.
    Where a process that serves requests serves no verified caller, True asks nothing, and `"or-own-name"` asks in the
    own name.
    Every method raises Unavailable (`daemon-unreachable`, `timeout`), TicketRefused with the code of the
    refusal, TicketUnavailable, Misconfigured for bad names, or PeerMisbehaved; on behalf of others also Refused
    `evidence-refused`, and LocalMisuse `wrong-state` where nobody is served, or not by the code that asks.
    """

    def __init__(
        self, socket: str | os.PathLike[str] | None = None, timeout: float = 10.0, *, propagate: Propagate = False
    ) -> None:
        self._local = BlockingLocal(socket_path(socket))
        self._conversation = Conversation(timeout, propagate=propagate)
        self._conversation.reports.front = _Telling(self)

    @property
    def propagate(self) -> Propagate:
        """Whether it asks on behalf of the caller that is being served, unless told otherwise."""
        return self._conversation.propagate

    def credentials(
        self,
        target: str,
        scopes: Iterable[str] | None = None,
        ttl_s: int = 0,
        *,
        delegable: bool = False,
        behalf: OnBehalfOf = AS_CONFIGURED,
        limits: Limits | None = None,
    ) -> Credentials:
        """Credentials for `target` (`name` or `name@realm`), renewed in time: ask before every call.

        `scopes` None means all that the rules allow without a caveat, or else with one; `ttl_s` 0 means as long as
        allowed. `delegable` asks for a ticket that lets the target act on behalf of this client. `behalf` is for whom
        to ask: evidence (`Behalf`), a `VerifiedCaller`, the name of a subject that the rules let this client assert, or
        None for the own name; by default the caller that is being served if the client propagates, else the own name.
        `limits` is what the KDC shall write into the ticket: it binds everybody who ever holds it, also one who leaves
        out what `narrow` adds.
        Raises also LocalMisuse for limits with targets or larger than 1018 bytes.
        """
        flow = self._conversation.credentials(target, scopes, ttl_s, delegable=delegable, behalf=behalf, limits=limits)
        return self._run(flow)

    def token(self, target: str, scopes: Iterable[str] | None = None, *, behalf: OnBehalfOf = AS_CONFIGURED) -> Token:
        """A JWT for `target`, where the realm exports them; `behalf` as in `credentials`.

        Bearer: send it over TLS only.
        """
        return self._run(self._conversation.token(target, scopes, behalf=behalf))

    def receive(self, data: bytes) -> Credentials:
        """The credentials that somebody handed over (`Credentials.hand_over`) to this host's principal.

        The daemon opens the box. Raises also PeerMisbehaved for a box that is not for this principal.
        """
        return self._run(self._conversation.receive(data))

    def login(self, targets: Iterable[str], scopes: Iterable[str] | None = None, lifetime_s: int = 0) -> bytes:
        """A narrowed login for a worker, as the content of its login file: secret, mode 0600.

        It obtains tickets for `targets` alone, with `scopes` at most, for `lifetime_s` seconds (0: as long as the
        daemon's configuration allows); it asks for no delegable ticket, no JWT, and on nobody's behalf.
        """
        return self._run(self._conversation.login(targets, scopes, lifetime_s))

    def list(self) -> tuple[CacheEntry, ...]:
        """What the daemon holds for the targets that this process may use; no secrets."""
        return self._run(self._conversation.entries())

    def renew(self, target: str) -> Renewed:
        """Makes the daemon ask the KDC again for everything that it holds for `target` in the own name.

        A ticket without a successor stays. Raises also TicketRefused `not-found` where the daemon holds nothing.
        """
        return self._run(self._conversation.renew(target))

    def forget(self, target: str | None = None) -> Forgotten:
        """Makes the daemon drop what it holds for `target`, or for every target, and drops it in this process.

        What other local users were given stays, unless root or the daemon's own user asks.
        """
        return self._run(self._conversation.forget(target))

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

    def _run(self, flow: Flow[T], timeout_s: float | None = None) -> T:
        timeout_s = self._conversation.timeout_s if timeout_s is None else timeout_s
        try:
            request = next(flow)
            while True:
                try:
                    reply = self._local.ask(request, timeout_s)
                except OrthrosError as error:
                    request = flow.throw(error)
                else:
                    request = flow.send(reply)
        except StopIteration as done:
            answer: T = done.value
            return answer


@frozen
class _Telling:
    """Tells the daemon what targets have refused: what a Pause after a refused call waits for."""

    _client: Client

    def block(self, seconds: float) -> None:
        """In this thread, for `TELLING_S` at most."""
        conversation = self._client._conversation
        self._client._run(conversation.tell(), min(conversation.timeout_s, TELLING_S))

    async def sleep(self, seconds: float) -> None:
        """In a thread, since an event loop may not wait for the daemon."""
        await in_thread(partial(self.block, seconds))
