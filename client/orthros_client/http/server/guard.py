"""The guard in front of an HTTP service: one question, `judge`, with a request head as its argument.

Denies by default. Knows no framework and reads no body, so that a forward-auth endpoint can ask it as well.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Generator
from functools import partial
from typing import Final, Unpack

from attrs import frozen

from orthros_client.flows import drive
from orthros_client.http.server.answers import Answer, refuse, seal_answer, unavailable, upgrade_refused
from orthros_client.http.server.binding_mismatch import describe_mismatch
from orthros_client.http.server.callers import Caller, path_before
from orthros_client.http.server.client_addresses import check_networks, peer_of
from orthros_client.http.server.incoming import (
    IncomingRequest,
    OwnOrigins,
    Sent,
    binding_of,
    read_mount,
    read_path,
    read_sent,
)
from orthros_client.http.server.options import GuardOptions
from orthros_client.http.server.refusal_log import HANDSHAKE, Journal
from orthros_client.http.server.routes import BEARER, DISCHARGE_PATH, IDEMPOTENCY_KEY, ORTHROS, Route, Routes
from orthros_client.options import check_options
from orthros_client.reasons import CREDENTIALS_MISSING
from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.http_profile import SAFE_METHODS, HttpBinding, parse_authorization
from orthros_protocol.exchanges.replay import Entry, ReplayStore, Standing
from orthros_protocol.tickets.call_chain import ChainRule

__all__ = ["Admitted", "Denied", "Guard", "Judging"]

MODES: Final = ("enforce", "observe")
DEFAULT_HOLD_BYTES: Final = 1024 * 1024
_FLOOR: Final = ("content-type", "content-encoding", "idempotency-key")
_REF_BYTES: Final = 8
_NO_ROUTE: Final = "-"
_SCHEMES: Final = frozenset({ORTHROS, BEARER, "basic", "digest", "negotiate", "dpop", "signature"})
_LACKING: Final = "no Authorization came: likelier the caller sent none, else a proxy removed it"
_SEND: Final = (
    "Call with `orthros call` or an OrthrosAuth, and let proxies pass Authorization on; or make the route public."
)
_REBUILT: Final = "this server does not tell the raw request-target: escape as RFC 3986 does, or use another server"


class _NoStore:
    """That of a guard which accepts no tickets: nothing is ever burnt."""

    def admit(self, _entry: Entry) -> Standing:
        raise LocalMisuse("wrong-state", "a guard without verifier burns nothing")


_NO_STORE: Final = _NoStore()


@frozen(kw_only=True)
class Admitted:
    """A request that may go on. `caller` is None only on public routes, and when a refusal is merely observed.

    `sha256` and `length` are what its body must be, `checks_body` whether it must be anything at all.
    """

    request: IncomingRequest
    route: Route
    caller: Caller | None = None
    sha256: bytes | None = None
    length: int | None = None
    checks_body: bool = False


@frozen(kw_only=True)
class Denied:
    """A request that may not. `answer` is what to send, already proven to a caller that was verified."""

    request: IncomingRequest
    route: Route | None
    code: str
    answer: Answer
    ref: str

    @property
    def is_handshake(self) -> bool:
        """Whether this only tells a proven caller what its next request needs: sent in observe mode as well."""
        return self.code in HANDSHAKE


Judging = Generator[Entry, Standing, Admitted | Denied]
"""One judgement: yields the question for the replay store, if there is one, and is to be sent the store's answer."""


class _Stopped(Exception):
    """A refusal on its way to its answer, with what that wants to know."""

    def __init__(
        self,
        error: OrthrosError,
        *,
        presented: str | None = None,
        caller: Caller | None = None,
        scopes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(error.code)
        self.error = error
        self.presented = presented if caller is None else caller.scheme
        self.caller = caller
        self.scopes = scopes


class Guard:
    """Judges requests for one service; safe to share between threads and tasks. `options` are those of `GuardOptions`.

    Raises Misconfigured for origins, proxies or routes that cannot be served, or as `Verifier.from_environment`;
    LocalMisuse for another mode.
    """

    def __init__(self, **options: Unpack[GuardOptions]) -> None:
        check_options(options, GuardOptions)
        verifier, bearer = options.get("verifier"), options.get("bearer")
        mode, on_verify = options.get("mode", "enforce"), options.get("on_verify")
        if mode not in MODES:
            raise LocalMisuse("value-invalid", f"mode is one of {', '.join(MODES)}")
        if inspect.iscoroutinefunction(on_verify):
            raise LocalMisuse("value-invalid", "on_verify is a plain function: nobody would await its verdict")
        if verifier is None and bearer is None:
            verifier = Verifier.from_environment()
        # Whoever holds no ticket key can only mean bearers; where he has one, they must be asked for by name.
        default = Route("/*", schemes=(ORTHROS if verifier is not None else BEARER,))
        self.observing = mode == "observe"
        hold_bytes = options.get("hold_bytes")
        self.hold_bytes = DEFAULT_HOLD_BYTES if hold_bytes is None else hold_bytes
        self.origins = OwnOrigins(options["origins"])
        self.routes = Routes(options.get("routes", ()), default=default)
        self.store: ReplayStore = _NO_STORE if verifier is None else verifier.store
        self._verifier = verifier
        self._bearer = bearer
        self._proxies = check_networks(options.get("trusted_proxies", ()))
        self._on_verify = on_verify
        self._realm = verifier.principal.realm if verifier is not None else getattr(bearer, "audience", "")
        self._home = "" if verifier is None else f"@{self._realm}"
        self._target = self._realm if verifier is None else verifier.principal.name
        self.journal = Journal(observing=self.observing, log=options.get("log"), target=self._target)
        missing = {ORTHROS: verifier is None, BEARER: bearer is None}
        for route in self.routes.rows:
            for scheme in route.schemes:
                if missing[scheme]:
                    raise Misconfigured("config-invalid", f"route {route.path}: no verifier for the scheme {scheme}")

    def counts(self) -> dict[tuple[str, str], int]:
        """What was refused so far, or would have been in observe mode: (route, reason) -> how often."""
        return self.journal.counts()

    def judge(self, request: IncomingRequest) -> Admitted | Denied:
        """Whether this request may go on to the application. Raises nothing: whatever fails denies.

        In observe mode the verdict is the same; acting on it is the asker's part. A replay store that processes share
        may be waited for, up to 250 ms: `judging` is for callers that must not block.
        """
        return drive(self.judging(request), self.store.admit)

    def judging(self, request: IncomingRequest, *, upgrade: bool = False) -> Judging:
        """`judge` without asking the replay store: yields the question, if there is one, and is to be sent the answer.

        upgrade: a websocket is to be opened: on public routes only, since nothing proves its messages.
        """
        route = None
        try:
            path, segments = read_path(request)
            route = self.routes.find(segments, mounted=read_mount(request, segments))
            admitted = yield from self._admit(request, route, path, upgrade=upgrade)
        except _Stopped as stopped:
            return self._denied(request, route, stopped)
        except (PeerMisbehaved, Refused) as error:
            return self._denied(request, route, _Stopped(error))
        except Exception as error:  # noqa: BLE001  # whatever breaks in a verifier or a hook closes the service
            return self.broken(request, route, error)
        if not upgrade or route.public:
            return admitted
        ref = os.urandom(_REF_BYTES).hex()
        refusal = Refused("not-covered", "a websocket")
        self.journal.refused(refusal, request, route=route.path, caller=admitted.caller, ref=ref)
        return Denied(request=request, route=route, code=refusal.code, answer=upgrade_refused(ref), ref=ref)

    def deny(self, admitted: Admitted, error: Refused, scopes: tuple[str, ...] = ()) -> Denied:
        """A refusal after the request was admitted: a scope that the handler demands, a body that is another one."""
        return self._denied(admitted.request, admitted.route, _Stopped(error, caller=admitted.caller, scopes=scopes))

    def broken(self, request: IncomingRequest, route: Route | None, error: Exception) -> Denied:
        """The verdict when something of this side failed before there was one."""
        ref = os.urandom(_REF_BYTES).hex()
        self.journal.broken(error, request, route=_NO_ROUTE if route is None else route.path, ref=ref)
        return Denied(request=request, route=route, code="verifier-failed", answer=unavailable(ref), ref=ref)

    def _admit(
        self, request: IncomingRequest, route: Route, path: str, *, upgrade: bool
    ) -> Generator[Entry, Standing, Admitted]:
        presented, credentials = _credentials(request)
        if presented not in route.schemes:
            if route.public:
                return Admitted(request=request, route=route)
            raise _missing(route, presented, upgrade=upgrade)
        sent = read_sent(request)
        origin = self.origins.find(request)
        if presented == ORTHROS:
            caller = yield from self._accept_ticket(request, route, path, sent, origin=origin, credentials=credentials)
        else:
            caller = self._accept_bearer(route, credentials)
        try:
            caller.require(*route.scopes)
            verdict: object = None if self._on_verify is None else self._on_verify(caller, request)
            if verdict is not None:
                # True, False or a coroutine: somebody takes this for a verdict, and it must not be lost.
                raise LocalMisuse("value-invalid", "on_verify returns nothing; it raises to veto")
        except Refused as error:
            raise _Stopped(error, caller=caller, scopes=route.scopes) from None
        return Admitted(
            request=request,
            route=route,
            caller=caller,
            sha256=sent.sha256,
            length=sent.length,
            checks_body=presented == ORTHROS,
        )

    def _accept_ticket(
        self,
        request: IncomingRequest,
        route: Route,
        path: str,
        sent: Sent,
        *,
        origin: tuple[str, str],
        credentials: str,
    ) -> Generator[Entry, Standing, Caller]:
        verifier = self._verifier
        if verifier is None:
            raise LocalMisuse("wrong-state", "no verifier")
        parsed = parse_authorization(credentials)
        binding, bind = binding_of(request, origin, parsed.covered, sent.content_digest)
        try:
            caller = yield from verifier.accepting_http(
                parsed.message,
                bind,
                method=request.method,
                path=path,
                peer=partial(peer_of, request, self._proxies),
                channel=request.channel,
                accept_user=route.accept_user,
                chain=route.chain,
                repetition=_repetition(request, route, path, parsed.covered),
                mismatch=partial(self._mismatch, request, binding),
            )
        except Malformed as error:
            # Unlike the shape of the HTTP request, that of a sealed ticket is nobody's business.
            raise _Stopped(PeerMisbehaved("malformed", error.detail), presented=ORTHROS) from None
        except (PeerMisbehaved, Refused) as error:
            raise _Stopped(error, presented=ORTHROS) from None
        lacking = _not_covered(request, route, sent, parsed.covered)
        if lacking is not None:
            raise _Stopped(caller.refusal("not-covered", lacking, before_handler=True), caller=caller)
        return caller

    def _mismatch(self, request: IncomingRequest, received: HttpBinding, signed: bytes) -> str:
        return _REBUILT if request.is_rebuilt else describe_mismatch(received, signed, self.origins.bound)

    def _accept_bearer(self, route: Route, credentials: str) -> Caller:
        if self._bearer is None:
            raise LocalMisuse("wrong-state", "no bearer verifier")
        try:
            caller = self._bearer.accept(credentials.partition(" ")[2].strip(), accept_user=route.accept_user)
        except (PeerMisbehaved, Refused) as error:
            raise _Stopped(error, presented=BEARER) from None
        # The same service by another way in: what its verifier holds for every path holds for those of tokens.
        rule = route.chain or (None if self._verifier is None else self._verifier.chain)
        objection = None if rule is None else self._objection(rule, caller)
        if objection is not None:
            raise _Stopped(caller.refusal("chain-refused", objection), caller=caller)
        return caller

    def _objection(self, rule: ChainRule, caller: Caller) -> str | None:
        """What `rule` has against the path of a token. Without a verifier no realm is home: names are `name@realm`."""
        before = path_before(caller)
        path = [name.removesuffix(self._home) for name in (*before, str(caller.client))] if before else []
        return rule.objection(path, self._target)

    def _denied(self, request: IncomingRequest, route: Route | None, stopped: _Stopped) -> Denied:
        error, caller, ref = stopped.error, stopped.caller, os.urandom(_REF_BYTES).hex()
        answer = refuse(
            error,
            realm=self._realm,
            schemes=() if route is None else route.schemes,
            presented=stopped.presented,
            scopes=stopped.scopes,
            ref=ref,
        )
        place = _NO_ROUTE if route is None else route.path
        self.journal.refused(error, request, route=place, caller=caller, ref=ref)
        if answer.status != 401:  # there the challenge is the proof, and what a client acts on
            answer = seal_answer(answer, caller, request.method)
        return Denied(request=request, route=route, code=error.code, answer=answer, ref=ref)


def _missing(route: Route, presented: str | None, *, upgrade: bool) -> Refused:
    if upgrade:
        error = Refused(CREDENTIALS_MISSING, "websockets are served on public routes only")
        error.log_remedy = f"Say `Route({route.path!r}, public=True)` and let the handler verify, or use HTTP requests."
        return error
    error = Refused(CREDENTIALS_MISSING, f"this route accepts {' or '.join(route.schemes)}")
    scheme = presented if presented in _SCHEMES else "another one, or missing"  # a secret may stand in its place
    error.log_detail = _LACKING if presented is None else f"the scheme of Authorization is {scheme}"
    error.log_remedy = _SEND
    return error


def _credentials(request: IncomingRequest) -> tuple[str | None, str]:
    """The scheme of the Authorization header, None without one, and the whole value."""
    value = request.fields.one("authorization")
    if value is None:
        return None, ""
    text = value.decode("latin-1")
    return text.partition(" ")[0].lower(), text


def _repetition(request: IncomingRequest, route: Route, path: str, covered: Collection[str]) -> Repetition:
    """Whether two replay instances of this service may execute the request (docs/protocol/ap_exchange.md)."""
    # Whether an upgrade is asked for, forward authentication cannot always tell.
    safe = request.method in SAFE_METHODS and request.tells_upgrade and not request.fields.values_of("upgrade")
    if route.repeatable is False:
        return Repetition.DECLINED if safe else Repetition.UNSAFE
    # Attesting something twice changes nothing; a discharger that counts refuses by itself.
    promised = route.repeatable is True or (route.repeatable is None and path == DISCHARGE_PATH)
    keyed = route.repeatable == IDEMPOTENCY_KEY and IDEMPOTENCY_KEY in covered
    return Repetition.ALLOWED if safe or promised or keyed else Repetition.UNSAFE


def _not_covered(request: IncomingRequest, route: Route, sent: Sent, covered: tuple[str, ...]) -> str | None:
    """What matters to this request and could have been changed on its way, or None."""
    lacking = request.fields.uncovered((*_FLOOR, *route.covers), covered)
    if lacking:
        return f"the header {lacking[0]}"
    if sent.has_body and sent.sha256 is None:
        return "the body: send its Content-Digest"
    if sent.length is None and (sent.chunked or sent.sha256 is not None) and not route.unsized_bodies:
        return "the length of the body: send Content-Length"
    return None
