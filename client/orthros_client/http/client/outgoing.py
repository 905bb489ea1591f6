"""One HTTP request of a client, from its authenticator to its proven response: which attempts to make, what to believe.

Sans-IO: a generator yields attempts and is sent response heads; bodies are digests, and pieces to feed. Knows no HTTP
library, and believes nothing in a response before `Orthros-Reply` or the MAC of a refusal has been verified.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Final

from attrs import evolve, field, frozen

from orthros_client.credentials.credentials import Credentials, Pause, PendingCall
from orthros_client.credentials.known_targets import NO_EPOCH
from orthros_client.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved, TargetRefusal
from orthros_client.http.client.covering import REQUEST_FLOOR
from orthros_client.http.client.origins import Origin
from orthros_client.http.client.targets import check_path
from orthros_client.http.client.unproven import Addressed, raise_refusal, unproven
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, AssertedUser
from orthros_protocol.exchanges.http_profile import (
    SAFE_METHODS,
    HttpBinding,
    HttpResponse,
    canonical_authority,
    decode_base64url,
    format_authorization,
    format_content_digest,
    parse_content_digest,
)
from orthros_protocol.primitives.derivation import RunningDigest, digest, mac_matches
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.discharges import Discharge

__all__ = [
    "EMPTY",
    "NOT_IN_A_PROBE",
    "REQUEST_FLOOR",
    "RESPONSE_FLOOR",
    "Attempt",
    "Body",
    "BodyProof",
    "OutgoingRequest",
    "Proven",
    "Terms",
    "exchange",
]

RESPONSE_FLOOR: Final = ("content-type", "content-encoding", "location")
NOT_IN_A_PROBE: Final = frozenset(
    {
        "content-length",
        "content-type",
        "content-encoding",
        "content-digest",
        "content-range",
        "transfer-encoding",
        "trailer",
        "expect",
        "idempotency-key",
    }
)
_HINTS: Final = {
    "content-encoding": "; a proxy on the way compressed it: turn that off there for responses with Orthros-Reply",
}
_ACCEPTED: Final = "orthros-accepted"
# What is larger waits until an epoch is known: a refusal would cost the connection, or a second upload.
_MOST_UNASKED_BYTES: Final = 64 * 1024
# What a refused probe says of itself, and not of the request that follows; each tells the epoch.
_OF_THE_PROBE: Final = frozenset(
    {
        "epoch-required",
        "not-repeatable",
        "clock-skew",
        "too-far-ahead",
        "replayed",
        "caveat-refused",
        "insufficient-scope",
        "not-covered",
    }
)


@frozen(kw_only=True)
class Body:
    """The body of a request: what binds it, and whether it can be sent twice.

    `content_digest` is the value of that header; None for an empty body, and for one that the caller leaves unbound.
    `size` is its length in bytes, None when it is not known.
    """

    content_digest: bytes | None = None
    replayable: bool = True
    size: int | None = 0

    @classmethod
    def of(cls, content: bytes, stated: bytes | None = None) -> Body:
        """A body in memory; see `measured`."""
        return cls.measured(len(content), digest(content), stated)

    @classmethod
    def measured(cls, size: int, sha256: bytes, stated: bytes | None = None) -> Body:
        """A body of `size` bytes that was read, and can be read again.

        `stated` is a Content-Digest that the caller set; raises LocalMisuse if it is wrong.
        """
        own = format_content_digest(sha256)
        if stated is not None and not mac_matches(stated, own):
            raise LocalMisuse("body-mismatch", "the Content-Digest that the caller set is not that of the body")
        return cls(content_digest=own if size else stated, size=size)

    @classmethod
    def of_stream(cls, stated: bytes | None, *, unbound: bool) -> Body:
        """A body that can be read once. Raises LocalMisuse when nothing binds it and `unbound` does not allow that."""
        if stated is None and not unbound:
            raise LocalMisuse(
                "not-covered",
                "the body is a stream that can be read once: send bytes, a file that can be rewound or a FileBody, set "
                "Content-Digest, or allow it unbound",
            )
        if stated is not None:
            try:
                parse_content_digest(stated)
            except Malformed as error:
                raise LocalMisuse("value-invalid", error.detail) from None
        return cls(content_digest=stated, replayable=False, size=None)

    @property
    def waits_for_epoch(self) -> bool:
        """Whether it is not sent to an instance that may refuse it for its epoch."""
        return not self.replayable or self.size is None or self.size > _MOST_UNASKED_BYTES


EMPTY: Final = Body()


@frozen(kw_only=True)
class OutgoingRequest:
    """A request as it will be sent: `target` are the raw bytes of the request line, `headers` lower-case names.

    Raises LocalMisuse for a request that no target takes: another Host, no plain path, two schemes.
    """

    method: str
    origin: Origin
    target: bytes
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)
    body: Body = EMPTY

    def covered(self, cover: Iterable[str] = ()) -> tuple[tuple[str, bytes], ...]:
        """The covered headers: the floor and `cover`, as far as they are there. Raises LocalMisuse for a double."""
        found = []
        for name in dict.fromkeys((*REQUEST_FLOOR, *cover)):
            values = [value.strip(b" \t") for known, value in self.headers if known == name]
            if len(values) > 1:
                raise LocalMisuse("value-invalid", f"the header {name} is covered and must not be sent twice")
            found += [(name, value) for value in values]
        return tuple(found)

    @property
    def path(self) -> str:
        """The raw path without the query."""
        return self.target.partition(b"?")[0].decode("latin-1")

    @property
    def is_safe(self) -> bool:
        """Whether its method is safe (RFC 9110 section 9.2.1) and it does not turn into another protocol."""
        return self.method in SAFE_METHODS and "upgrade" not in dict(self.headers)

    def __attrs_post_init__(self) -> None:
        for name, value in self.headers:
            if name == "host":
                self._check_host(value)
            if name == "authorization" and not value[:8].lower() == b"orthros ":
                raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")
        if not self.target.startswith(b"/"):
            raise LocalMisuse("value-invalid", "the request target does not begin with a slash")
        check_path(self.path)

    def _check_host(self, value: bytes) -> None:
        try:
            authority = canonical_authority(value.decode("latin-1"), self.origin.scheme)
        except Malformed:
            authority = ""
        if authority != self.origin.authority:
            raise LocalMisuse("value-invalid", f"the Host header names another authority than {self.origin}")


@frozen(kw_only=True)
class Attempt:
    """One request to send. `probe`: instead of the request itself, an OPTIONS request to its target without body."""

    authorization: str = field(repr=False)
    content_digest: bytes | None = None
    probe: bool = False


class BodyProof:
    """Compares a response's raw bytes, before any decoding, with the digest that was proven. `size`: how many came."""

    def __init__(self, sha256: bytes, where: str) -> None:
        self._expected = sha256
        self._where = where
        self._running = RunningDigest()
        self.size = 0

    def feed(self, data: bytes) -> None:
        """The next bytes as they came."""
        self._running.update(data)
        self.size += len(data)

    def hashed(self, running: RunningDigest, size: int) -> None:
        """The whole body was hashed while it came, before its proof was there."""
        self._running, self.size = running, size

    def finish(self) -> None:
        """The end of the body. Raises PeerMisbehaved `response-unproven` unless every byte was the target's."""
        if not mac_matches(self._running.digest(), self._expected):
            raise unproven(
                f"{self._where}: {self.size} bytes came, and they are not the body that the target sent: its head is "
                "proven, so likelier something between changed the body; else the connection ended early",
                "Let the proxies between leave responses with Orthros-Reply as they are (nginx: no `sub_filter`, no "
                "`gzip`; no minifying, no scripts put into pages).",
            )


@frozen(kw_only=True)
class Proven:
    """A response head that the target proved. `body` is to be fed with the raw body; None: nothing to check.

    `covered` are the headers that were proven besides the status.
    """

    target: Principal
    status: int
    covered: tuple[str, ...]
    body_is_proven: bool
    body: BodyProof | None = field(default=None, repr=False)
    _call: PendingCall = field(repr=False)

    def open_discharge(self, cid: bytes, box: bytes) -> Discharge:
        """The discharge that the whole, proven body of a discharger's response holds. Raises as
        `PendingCall.finish_discharge`."""
        return self._call.finish_discharge(cid, box)


@frozen(kw_only=True)
class Terms:
    """How a request is called, besides what it is.

    cover: headers to bind besides `REQUEST_FLOOR`. accept_unproven_bodies: as in `AuthOptions`.
    forwarded: a proxy asks the target's daemon about each request, so `Orthros-Accepted` is as good as a proof: the
    target let this request through. Status, headers and body of the response are then only what TLS makes them.
    user: for whom the caller says that it calls. harmless: running it twice does no harm, whatever its method.
    keyed: the target executes requests with the same Idempotency-Key once; that is the caller's promise.
    """

    cover: tuple[str, ...] = ()
    accept_unproven_bodies: bool = False
    forwarded: bool = False
    user: AssertedUser | None = None
    harmless: bool = False
    keyed: bool = False


def exchange(
    request: OutgoingRequest, credentials: Credentials, terms: Terms = Terms()
) -> Generator[Attempt | Pause, HttpResponse | None, Proven]:
    """One call with the repeats that are allowed: yields attempts, is sent response heads, returns what is proven.

    A Pause is to be waited for and answered with None; the first thing is never one.

    Raises TargetRefusal when the target refused under MAC; MaybeExecuted when it did and a request that must not run
    twice may have been executed all the same; PeerMisbehaved `response-unproven` for every response that proves
    nothing; LocalMisuse for a request that cannot be bound.
    """
    covered = request.covered(terms.cover)
    has_key = terms.keyed and any(name == "idempotency-key" and value for name, value in covered)
    bind = _bind(request, covered)
    to, place = _addressed(request, credentials), str(request.origin)
    course = credentials.course(
        request.method,
        request.path,
        repeatable=terms.harmless or has_key or request.is_safe,
        place=place,
        once=not request.body.replayable,
    )
    if request.body.waits_for_epoch and course.is_blind:
        is_answered = yield from _ask_first(request, credentials, terms)
        course.epoch = credentials.peers.at(place).read()[0] if is_answered else course.epoch
    while True:
        call = credentials.present(
            bind, use=USE_HTTP, safe=course.repeatable, user=terms.user, place=place, epoch=course.epoch
        )
        authorization = format_authorization(call.request, [name for name, _value in covered])
        response = yield Attempt(authorization=authorization, content_digest=request.body.content_digest)
        try:
            return _judge(call, response, to, terms)
        except TargetRefusal as refusal:
            if refusal.code == "wrong-binding":  # the target cannot say what this side signed
                refusal.detail = "; ".join(filter(None, (f"signed: {to}{request.path}", refusal.detail)))
            yield from course.after(call, refusal)


def _ask_first(
    request: OutgoingRequest, credentials: Credentials, terms: Terms
) -> Generator[Attempt, HttpResponse | None, bool]:
    """Learns an epoch, by an OPTIONS request, before a large body is sent or one that can be read once.

    False when something on the way answered instead, so that nothing was learnt.
    """
    kept = tuple((name, value) for name, value in request.headers if name not in NOT_IN_A_PROBE)
    probe = OutgoingRequest(method="OPTIONS", origin=request.origin, target=request.target, headers=kept)
    covered = probe.covered(terms.cover)
    bind = _bind(probe, covered)
    call = credentials.present(bind, use=USE_HTTP, safe=True, user=terms.user, place=str(request.origin), epoch=None)
    authorization = format_authorization(call.request, [name for name, _value in covered])
    response = yield Attempt(authorization=authorization, probe=True)
    try:
        # An instance that has run for a while may let its application answer: that proves and teaches as well.
        _judge(call, response, _addressed(probe, credentials), evolve(terms, accept_unproven_bodies=True))
    except TargetRefusal as refusal:
        if refusal.code not in _OF_THE_PROBE or refusal.epoch == NO_EPOCH:
            raise
    except PeerMisbehaved:
        # Something on the way may answer OPTIONS by itself. What can be sent again meets the target without an epoch.
        if not request.body.replayable:
            raise
        return False
    return True


def _bind(request: OutgoingRequest, covered: tuple[tuple[str, bytes], ...]) -> bytes:
    try:
        return HttpBinding(
            method=request.method,
            scheme=request.origin.scheme,
            authority=request.origin.authority,
            target=request.target,
            covered=covered,
            content_digest=request.body.content_digest,
        ).bind()
    except Malformed as error:
        raise LocalMisuse("value-invalid", f"the request cannot be bound: {error.detail}") from None


def _addressed(request: OutgoingRequest, credentials: Credentials) -> Addressed:
    return Addressed(method=request.method, origin=request.origin, target=credentials.target, ticket=credentials.ticket)


def _judge(call: PendingCall, response: HttpResponse | None, to: Addressed, terms: Terms) -> Proven:
    if response is None:
        raise LocalMisuse("wrong-state", "an attempt is answered with the head of its response")
    where = f"{to}: status {response.status}"
    if terms.forwarded and response.values_of(_ACCEPTED):
        return _judge_forwarded(call, response, where)
    replies = response.values_of("orthros-reply")
    if not replies:
        raise_refusal(call, response, to)
    if len(replies) > 1:
        raise unproven(f"{where} with more than one Orthros-Reply")
    try:
        reply = call.finish_http(replies[0].decode("latin-1"), response)
    except PeerMisbehaved as error:
        raise unproven(f"{where}: {error.detail or error.cause}") from error
    for name in RESPONSE_FLOOR:
        if name not in reply.covered and response.values_of(name):
            raise unproven(f"{where}: its {name} is not covered{_HINTS.get(name, '')}")
    has_body = to.method != "HEAD" and response.status not in (204, 304)
    if has_body and reply.body_digest is None and not terms.accept_unproven_bodies:
        raise unproven(f"{where}: its body is not covered; streams are accepted with accept_unproven_bodies")
    if response.status in (401, 403):  # a refusal of the caller: its own proof says why
        with suppress(OrthrosError):
            raise_refusal(call, response, to)
    check = None
    if to.method != "HEAD" and reply.body_digest is not None:
        check = BodyProof(reply.body_digest, where)
    proven = not has_body or reply.body_digest is not None
    return Proven(
        target=call.target, status=response.status, covered=reply.covered, body_is_proven=proven, body=check, call=call
    )


def _judge_forwarded(call: PendingCall, response: HttpResponse, where: str) -> Proven:
    """The target accepted this very request; what came back, nobody has proven."""
    replies = response.values_of(_ACCEPTED)
    if len(replies) > 1:
        raise unproven(f"{where} with more than one Orthros-Accepted")
    try:
        call.finish(decode_base64url(replies[0].decode("latin-1")))
    except PeerMisbehaved as error:
        raise unproven(f"{where}: {error.detail or error.cause}") from error
    except TargetRefusal:
        raise unproven(f"{where}: a refusal in the place of an acceptance") from None
    return Proven(target=call.target, status=response.status, covered=(), body_is_proven=False, call=call)
