"""One HTTP request of a client, from its authenticator to its proven response: which attempts to make, what to believe.

Sans-IO: a generator yields attempts and is sent response heads; bodies are digests, and pieces to feed. Knows no HTTP
library, and believes nothing in a response before `Orthros-Reply` or the MAC of a refusal has been verified.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Final, Literal, NoReturn

from attrs import field, frozen

from orthros_client.credentials import REPEATABLE, Credentials, PendingCall
from orthros_client.errors import LocalMisuse, Malformed, PeerMisbehaved, TargetRefusal
from orthros_client.http.origins import Origin
from orthros_protocol import USE_HTTP, AssertedUser, Discharge, Principal
from orthros_protocol.derivation import RunningDigest, digest, mac_matches
from orthros_protocol.http_profile import (
    HttpBinding,
    HttpResponse,
    canonical_authority,
    decode_base64url,
    format_authorization,
    format_content_digest,
    parse_challenge,
    parse_content_digest,
)

__all__ = [
    "EMPTY", "NOT_IN_A_PROBE", "REQUEST_FLOOR", "RESPONSE_FLOOR", "SAFE_METHODS", "Attempt", "Body", "BodyProof",
    "OutgoingRequest", "Proven", "check_cover", "exchange", "unproven",
]  # fmt: skip

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
REQUEST_FLOOR: Final = ("content-type", "content-encoding", "idempotency-key")
RESPONSE_FLOOR: Final = ("content-type", "content-encoding", "location")
NOT_IN_A_PROBE: Final = frozenset({
    "content-length", "content-type", "content-encoding", "content-digest", "content-range", "transfer-encoding",
    "trailer", "expect", "idempotency-key",
})  # fmt: skip
# Bound by other means, or rewritten on the way by right.
_NEVER_COVERED: Final = frozenset({
    "authorization", "host", "content-digest", "content-length", "connection", "transfer-encoding", "te", "trailer",
    "upgrade", "keep-alive", "proxy-authorization", "proxy-connection",
})  # fmt: skip
_ACCEPTED: Final = "orthros-accepted"
# How often one call is repeated after each refusal. A target of several processes may show another one each time.
_REPEATS: Final = 1
_EPOCH_REPEATS: Final = 3


@frozen(kw_only=True)
class Body:
    """The body of a request: what binds it, and whether it can be sent twice.

    `content_digest` is the value of that header; None for an empty body, and for one that the caller leaves unbound.
    """

    content_digest: bytes | None = None
    replayable: bool = True

    @classmethod
    def of(cls, content: bytes, stated: bytes | None = None) -> Body:
        """A body in memory. `stated` is a Content-Digest that the caller set; raises LocalMisuse if it is wrong."""
        own = format_content_digest(digest(content)) if content else None
        if stated is not None and not mac_matches(stated, format_content_digest(digest(content))):
            raise LocalMisuse("body-mismatch", "the Content-Digest that the caller set is not that of the body")
        return cls(content_digest=stated if own is None else own)

    @classmethod
    def of_stream(cls, stated: bytes | None, *, unbound: bool) -> Body:
        """A body that can be read once. Raises LocalMisuse when nothing binds it and `unbound` does not allow that."""
        if stated is None and not unbound:
            raise LocalMisuse(
                "not-covered", "the body is a stream: send a FileBody or bytes, set Content-Digest, or allow it unbound"
            )
        if stated is not None:
            try:
                parse_content_digest(stated)
            except Malformed as error:
                raise LocalMisuse("value-invalid", error.detail) from None
        return cls(content_digest=stated, replayable=False)


EMPTY: Final = Body()


@frozen(kw_only=True)
class OutgoingRequest:
    """A request as it will be sent: `target` are the raw bytes of the request line, `headers` lower-case names."""

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

    def check(self) -> None:
        """Raises LocalMisuse for a request that cannot be bound: another Host, no path, two schemes."""
        for name, value in self.headers:
            if name == "host":
                self._check_host(value)
            if name == "authorization" and not value[:8].lower() == b"orthros ":
                raise LocalMisuse("value-invalid", "the request has an Authorization header of its own")
        if not self.target.startswith(b"/"):
            raise LocalMisuse("value-invalid", "the request target does not begin with a slash")

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
    """Compares a response's raw bytes, before any decoding, with the digest that was proven."""

    def __init__(self, sha256: bytes, where: str) -> None:
        self._expected = sha256
        self._where = where
        self._running = RunningDigest()
        self._size = 0

    def feed(self, data: bytes) -> None:
        """The next bytes as they came."""
        self._running.update(data)
        self._size += len(data)

    def finish(self) -> None:
        """The end of the body. Raises PeerMisbehaved `response-unproven` unless every byte was the target's."""
        if not mac_matches(self._running.digest(), self._expected):
            raise unproven(f"{self._where}: {self._size} bytes came, and they are not the body that the target sent")


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


def check_cover(names: Iterable[str]) -> tuple[str, ...]:
    """Header names to cover, in lower case. Raises LocalMisuse for those that cannot be."""
    lowered = tuple(name.lower() for name in names)
    for name in lowered:
        if name in _NEVER_COVERED:
            raise LocalMisuse("value-invalid", f"the header {name} cannot be covered")
    try:
        format_authorization(b"\0", tuple(dict.fromkeys((*REQUEST_FLOOR, *lowered))))
    except LocalMisuse as error:
        raise LocalMisuse("value-invalid", f"headers to cover: {error.detail}") from None
    return lowered


def unproven(detail: str) -> PeerMisbehaved:
    """The error for everything that is not this target's answer to this request."""
    return PeerMisbehaved("response-unproven", detail)


def exchange(
    request: OutgoingRequest,
    credentials: Credentials,
    *,
    cover: tuple[str, ...] = (),
    accept_unproven_bodies: bool = False,
    forwarded: bool = False,
    user: AssertedUser | None = None,
    harmless: bool = False,
) -> Generator[Attempt, HttpResponse, Proven]:
    """One call with the repeats that are allowed: yields attempts, is sent response heads, returns what is proven.

    forwarded: a proxy asks the target's daemon about each request, so `Orthros-Accepted` is as good as a proof: the
    target let this request through. Status, headers and body of the response are then only what TLS makes them.
    user: for whom the caller says that it calls. harmless: running it twice does no harm, whatever its method.

    Raises TargetRefusal when the target refused under MAC; MaybeExecuted when it did and an unsafe request may have
    been executed all the same; PeerMisbehaved `response-unproven` for every response that proves nothing; LocalMisuse
    for a request that cannot be bound.
    """
    request.check()
    covered = request.covered(cover)
    safe = harmless or request.method in SAFE_METHODS
    idempotent = any(name == "idempotency-key" and value for name, value in covered)
    bind = _bind(request, request.method, covered, request.body.content_digest)
    where = f"{request.method} {request.origin}"
    epoch: bytes | Literal["latest"] | None = "latest"
    if not request.body.replayable:
        yield from _probe(request, credentials, cover, forwarded=forwarded, user=user)
    elif not (safe or idempotent) and credentials.peer_is_plural:
        epoch = None  # a refusal of a request that no process can run may be repeated
    repeats: dict[str, int] = {}
    while True:
        call = credentials.present(bind, use=USE_HTTP, safe=safe, user=user, idempotent=idempotent, epoch=epoch)
        authorization = format_authorization(call.request, [name for name, _value in covered])
        response = yield Attempt(authorization=authorization, content_digest=request.body.content_digest)
        try:
            if forwarded and response.values_of(_ACCEPTED):
                return _judge_forwarded(call, response, where)
            return _judge(call, request.method, response, where, accept_unproven_bodies)
        except TargetRefusal as refusal:
            done = repeats[refusal.code] = repeats.get(refusal.code, 0) + 1
            most = _EPOCH_REPEATS if refusal.code == "epoch-required" and credentials.peer_is_plural else _REPEATS
            if refusal.code not in REPEATABLE or done > most or not request.body.replayable:
                raise
            epoch = refusal.epoch


def _probe(
    request: OutgoingRequest,
    credentials: Credentials,
    cover: tuple[str, ...],
    *,
    forwarded: bool,
    user: AssertedUser | None,
) -> Generator[Attempt, HttpResponse, None]:
    """Learns the epoch before a body that cannot be sent twice is consumed; the guard refuses before any handler."""
    if credentials.peer.read()[0] is not None and not credentials.peer_is_plural:
        return
    kept = tuple((name, value) for name, value in request.headers if name not in NOT_IN_A_PROBE)
    probe = OutgoingRequest(method="OPTIONS", origin=request.origin, target=request.target, headers=kept)
    covered = probe.covered(cover)
    call = credentials.present(_bind(probe, "OPTIONS", covered, None), use=USE_HTTP, user=user, epoch=None)
    authorization = format_authorization(call.request, [name for name, _value in covered])
    response = yield Attempt(authorization=authorization, probe=True)
    try:
        # A target that does without epochs may serve the OPTIONS request: its answer proves and teaches as well.
        if forwarded and response.values_of(_ACCEPTED):
            _judge_forwarded(call, response, f"OPTIONS {request.origin}")
            return
        _judge(call, "OPTIONS", response, f"OPTIONS {request.origin}", accept_unproven_bodies=True)
    except TargetRefusal as refusal:
        if refusal.code not in REPEATABLE or refusal.code == "busy":
            raise


def _bind(
    request: OutgoingRequest, method: str, covered: tuple[tuple[str, bytes], ...], content_digest: bytes | None
) -> bytes:
    try:
        return HttpBinding(
            method=method,
            scheme=request.origin.scheme,
            authority=request.origin.authority,
            target=request.target,
            covered=covered,
            content_digest=content_digest,
        ).bind()
    except Malformed as error:
        raise LocalMisuse("value-invalid", f"the request cannot be bound: {error.detail}") from None


def _judge(call: PendingCall, method: str, response: HttpResponse, where: str, accept_unproven_bodies: bool) -> Proven:
    where = f"{where}: status {response.status}"
    replies = response.values_of("orthros-reply")
    if not replies:
        _raise_refusal(call, response, where)
    if len(replies) > 1:
        raise unproven(f"{where} with more than one Orthros-Reply")
    try:
        reply = call.finish_http(replies[0].decode("latin-1"), response)
    except PeerMisbehaved as error:
        raise unproven(f"{where}: {error.detail or error.cause}") from error
    for name in RESPONSE_FLOOR:
        if name not in reply.covered and response.values_of(name):
            raise unproven(f"{where}: its {name} is not covered")
    has_body = method != "HEAD" and response.status not in (204, 304)
    if has_body and reply.body_digest is None and not accept_unproven_bodies:
        raise unproven(f"{where}: its body is not covered; streams are accepted with accept_unproven_bodies")
    check = None
    if method != "HEAD" and reply.body_digest is not None:
        check = BodyProof(reply.body_digest, where)
    proven = not has_body or reply.body_digest is not None
    return Proven(
        target=call.target, status=response.status, covered=reply.covered, body_is_proven=proven, body=check, call=call
    )


def _judge_forwarded(call: PendingCall, response: HttpResponse, where: str) -> Proven:
    """The target accepted this very request; what came back, nobody has proven."""
    where = f"{where}: status {response.status}"
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


def _raise_refusal(call: PendingCall, response: HttpResponse, where: str) -> NoReturn:
    """Raises the refusal that the response proves, else `response-unproven`."""
    challenges = [value for value in response.values_of("www-authenticate") if value.lower().startswith(b"orthros ")]
    if response.status < 400 or len(challenges) != 1:
        raise unproven(f"{where} without Orthros-Reply")
    try:
        challenge = parse_challenge(challenges[0].decode("latin-1"))
    except Malformed as error:
        raise unproven(f"{where}: {error.detail}") from None
    if challenge.reply is None:
        word = f", which says {challenge.code}" if challenge.code else ""
        raise unproven(f"{where}{word}; the refusal carries no proof")
    try:
        call.finish(challenge.reply)
    except PeerMisbehaved as error:
        raise unproven(f"{where}: {error.detail or error.cause}") from error
    raise unproven(f"{where}: an acceptance in the place of a refusal")
