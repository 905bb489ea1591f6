"""Forward authentication: a proxy asks about each request, and the guard answers for the service behind the proxy.

Says 200, 401 or 403 and nothing else; whatever goes wrong is a 403. Knows no proxy by itself: its dialect reads the
question, the guard judges it, and what is true of the caller goes back in headers that only this side may set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, evolve, field, frozen

from orthros_client.daemon.listeners.forward_auth_dialects import (
    DIALECTS,
    TELLS_BODY,
    Misdirected,
    ProxyQuestion,
    spoofed,
)
from orthros_client.daemon.listeners.forward_auth_settings import ForwardAuthSettings
from orthros_client.daemon.listeners.http_answers import answer_failure
from orthros_client.errors import busy
from orthros_client.flows import adrive
from orthros_client.http.server.callers import Caller, path_before
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.options import Bearers
from orthros_client.verifier import VerifiedCaller, Verifier
from orthros_client.verifier.stores.waiting import THREAD_WITHIN_S, admit_async
from orthros_protocol.errors import Misconfigured
from orthros_protocol.exchanges.http_profile import encode_base64url
from orthros_protocol.exchanges.replay import Entry, ReplayStore, Standing
from orthros_protocol.keys.keytab import Keytab
from orthros_runtime.log_throttle import LogThrottle
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.http.conversation import HttpConversation
from orthros_runtime.serving.http.messages import Unreadable, answer_bytes
from orthros_runtime.serving.peers import Peer

__all__ = ["ForwardAuth", "Verdict"]

log = structlog.get_logger()

# A proxy passes on the client's cookies, and a ticket with caveats is larger than everything else.
_MOST_HEAD_BYTES: Final = 96 * 1024
_SAFE_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|", re.ASCII)
_REFUSED: Final = b'{"error":"access_denied","error_description":"The request was refused before it was judged."}\n'
_JSON: Final = ("content-type", "application/json")


@frozen
class Verdict:
    """An answer to the proxy: 200, 401 or 403."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


_NO: Final = Verdict(403, (_JSON,), _REFUSED)


@frozen(eq=False)
class _Terms:
    """What holds until the next reload."""

    settings: ForwardAuthSettings
    keytab: Keytab
    verifier: Verifier
    guard: Guard

    @classmethod
    def load(cls, settings: ForwardAuthSettings, before: _Terms | None = None) -> _Terms:
        """Reads the key files. The verifier `before` is kept for the same service, and is given its keys later."""
        keytab = Keytab.load(settings.keytab).verify_only()
        if not keytab.entries:
            raise Misconfigured("key-missing", f"{settings.keytab} holds no key that opens tickets")
        # It remembers what it has seen; another one has another epoch, and costs each client a round trip.
        same = before is not None and (before.keytab.principal, before.keytab.uid) == (keytab.principal, keytab.uid)
        verifier = before.verifier if before is not None and same else Verifier(keytab)
        rows = settings.rows
        if settings.dialect not in TELLS_BODY:  # then every body is one of unknown length
            rows = tuple(evolve(route, unsized_bodies=True) for route in rows)
        bearer = _bearer_of(settings) if settings.jwk else None
        guard = Guard(verifier=verifier, bearer=bearer, origins=settings.origins, routes=rows)
        return cls(settings, keytab, verifier, guard)


@define(eq=False)
class ForwardAuth:
    """One section of the configuration, open. `converse` is what a listener runs for each connection."""

    _terms: _Terms
    _throttle: LogThrottle = field(factory=LogThrottle, init=False)

    @classmethod
    def open(cls, settings: ForwardAuthSettings) -> ForwardAuth:
        """Raises Misconfigured for key files or routes that cannot be used."""
        return cls(_Terms.load(settings))

    @property
    def settings(self) -> ForwardAuthSettings:
        """Those in force."""
        return self._terms.settings

    @property
    def place(self) -> str:
        """Where it listens."""
        return self._terms.settings.place

    def prepare(self, settings: ForwardAuthSettings) -> Callable[[], None]:
        """Reads everything again for `settings`; what is returned puts it into force. Raises like `open`."""
        terms = _Terms.load(settings, self._terms)

        def commit() -> None:
            terms.verifier.replace_keytab(terms.keytab)
            self._terms = terms

        return commit

    async def converse(self, connection: Connection) -> None:
        """Answers one question after the other until the proxy leaves, is silent too long, or misbehaves."""
        conversation = HttpConversation(connection, _MOST_HEAD_BYTES)
        goes_on = True
        while goes_on:
            try:
                request = await conversation.next_request()
                if request is None:
                    return
                await conversation.read_body(0)
            except Unreadable as error:
                about = {"at": self.place, "detail": error.detail}
                self._throttle.write(log.error, "forward-auth question not understood", about)
                await conversation.answer(_NO.status, _headers(_NO), _NO.body)
                return
            question = ProxyQuestion(method=request.method, target=request.target, headers=request.headers)
            if not connection.proven and self._is_asked_by_its_proxy(question):
                connection.prove()
            verdict = await self.judge(question)
            goes_on = await conversation.answer(verdict.status, _headers(verdict), verdict.body)

    @staticmethod
    def busy_answer(cause: str, _peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for.

        403, because a 503 is a permission for a proxy that lets requests pass when it takes the daemon to be down, such
        as Envoy with `failure_mode_allow`.
        """
        answer = answer_failure(busy(cause))
        headers = (_JSON, ("retry-after", str(answer.retry_after_s)))
        refused = Verdict(403, headers, json.dumps(answer.body).encode("ascii") + b"\n")
        return answer_bytes(refused.status, _headers(refused), refused.body, close=True)

    def _is_asked_by_its_proxy(self, question: ProxyQuestion) -> bool:
        """Whether the question has the form of the section's dialect; then the connection is closed after others."""
        try:
            DIALECTS[self._terms.settings.dialect](question)
        except Misdirected:
            return False
        return True

    async def judge(self, question: ProxyQuestion) -> Verdict:
        """What to tell the proxy. Raises nothing."""
        terms = self._terms
        try:
            name = spoofed(question.headers)
            if name is not None:
                about = {"reason": "spoofed-header", "at": self.place}
                self._throttle.write(log.warning, "refused", about, header=name[:64])
                return _NO
            original = DIALECTS[terms.settings.dialect](question)
            request = IncomingRequest(
                method=original.method,
                target=original.target,
                headers=original.headers,
                transport_peer=original.peer,
                tells_upgrade=original.upgrade is not None,
            )
            found = await adrive(terms.guard.judging(request), partial(_admit, terms.guard.store))
            return _refusal(found) if isinstance(found, Denied) else _permission(found)
        except Misdirected as error:
            about = {"at": self.place, "dialect": terms.settings.dialect}
            self._throttle.write(log.error, "the proxy is misconfigured", about, detail=error.detail)
        except Exception as error:  # noqa: BLE001  # whatever fails here refuses; the proxy must not take it for an outage
            about = {"at": self.place, "error": type(error).__name__}
            self._throttle.write(log.error, "forward-auth failed", about)
        return _NO


async def _admit(store: ReplayStore, entry: Entry) -> Standing:
    return await admit_async(store, entry, sleep=trio.sleep, in_thread=_in_thread)


async def _in_thread(admit: Callable[[Entry], Standing], entry: Entry) -> Standing | None:
    with trio.move_on_after(THREAD_WITHIN_S):  # what a thread has begun is waited for: it may burn the request
        return await trio.to_thread.run_sync(admit, entry)
    return None


def _bearer_of(settings: ForwardAuthSettings) -> Bearers:
    from orthros_client.verifier.bearer import BearerVerifier  # PyJWT is needed only here

    return BearerVerifier.from_file(settings.jwk, audience=settings.audience, issuer=settings.issuer)


def _headers(verdict: Verdict) -> list[tuple[str, str]]:
    return [*verdict.headers, ("Content-Length", str(len(verdict.body))), ("Cache-Control", "no-store")]


def _permission(admitted: Admitted) -> Verdict:
    caller = admitted.caller
    if caller is None:  # a public route: there is nobody to name
        return Verdict(200, ())
    facts = {
        "x-orthros-client": str(caller.client),
        "x-orthros-scopes": " ".join(sorted(caller.scopes)),
        "x-orthros-subject": _subject_of(caller),
        "x-orthros-chain": ", ".join(path_before(caller)),
        "x-orthros-transaction": caller.transaction_id,
    }
    if isinstance(caller, VerifiedCaller):
        facts["orthros-accepted"] = encode_base64url(caller.reply)
    for name, value in facts.items():
        if _SAFE_VALUE.fullmatch(value) is None:
            raise ValueError(f"{name} would not be one header")
    return Verdict(200, tuple(facts.items()))


def _subject_of(caller: Caller) -> str:
    if caller.subject is not None:
        return str(caller.subject.principal)
    if isinstance(caller, VerifiedCaller) and caller.user is not None:
        return caller.user.name
    return str(caller.client)


def _refusal(denied: Denied) -> Verdict:
    # Proxies take everything but 401 and 403 for trouble of their own; the body and the log say what it was.
    answer = denied.answer
    headers = tuple((name, value.decode("latin-1")) for name, value in answer.headers if name not in _OWN_HEADERS)
    return Verdict(401 if answer.status == 401 else 403, headers, answer.body)


# `_headers` writes the first two; the third is a proof of this very response, which the proxy does not hand on.
_OWN_HEADERS: Final = frozenset({"content-length", "cache-control", "orthros-reply"})
