"""What the channels of `grpc` and of `grpc.aio` share: what a call is as an HTTP request, and what its end proves.

Sends nothing, and waits for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import evolve

from orthros_client.credentials.credentials import Credentials
from orthros_client.errors import LocalMisuse, Misconfigured, Refused
from orthros_client.http.client.attachment import Attachment
from orthros_client.http.client.authentication import Authentication, Steps
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.outgoing import Attempt, Body, OutgoingRequest, Proven
from orthros_client.http.client.sources import Place
from orthros_client.http.client.unproven import unproven
from orthros_client.integrations.grpc_messages import CHALLENGE, COVERED, REPLY, Metadata, answered, framed, lowered
from orthros_client.reasons import DISCHARGER_UNKNOWN
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.primitives.derivation import RunningDigest
from orthros_protocol.primitives.names import check_texts
from orthros_runtime.extras import extra

with extra("grpc"):
    import grpc

__all__ = [
    "PROVEN",
    "Content",
    "Ended",
    "GrpcCaller",
    "Patience",
    "check_content",
    "head_of",
    "judged",
    "proven_of",
    "sent_with",
    "unbound",
]

PROVEN: Final = "orthros"
_STREAM: Final = (
    "the messages of a client's stream cannot be bound: they are not known when the call is authorised. Send them in "
    "one message, or in several calls"
)


def proven_of(call: Any) -> Proven | None:
    """What the target proved of this call or RpcError; None: nobody has proven anything of it."""
    return getattr(call, PROVEN, None)


class GrpcCaller(Authentication):
    """What both kinds of channels share: one target at one origin, and which of its methods may run twice."""

    def __init__(
        self, targets: Mapping[str, str] | Attachment, client: object, repeatable: Iterable[str], options: AuthOptions
    ) -> None:
        super().__init__(targets, client, options)
        if len(self._attachment.origins) != 1:
            raise Misconfigured("config-invalid", "a channel of gRPC leads to one origin: name one target")
        (self._origin,) = self._attachment.origins
        self._repeatable = frozenset(check_texts(repeatable, "repeatable"))

    def _placed(self, headers: dict[str, Any]) -> Place:
        scheme, _, netloc = str(self._origin).partition("://")
        place = self._place(scheme, netloc, headers)
        if place is None or place.bearer or place.forwarded:
            raise LocalMisuse("value-invalid", "gRPC carries tickets, no tokens, and no forward authentication")
        return place

    def _exchange(self, method: str, raw: bytes, metadata: Any, place: Place, credentials: Credentials) -> Steps:
        if credentials.demands:
            raise Refused(
                DISCHARGER_UNKNOWN, "dischargers speak HTTP: hand over credentials that have their discharges"
            )
        # There is no OPTIONS to ask for an epoch first: a message that is refused is sent again, however large.
        body = evolve(Body.of(framed(raw)), size=1)
        request = OutgoingRequest(
            method="POST", origin=place.origin, target=method.encode("utf-8"), headers=lowered(metadata), body=body
        )
        auth = self.harmless() if method in self._repeatable else self
        return auth._steps(request, credentials, place)


def sent_with(metadata: Any, attempt: Attempt) -> tuple[Any, ...]:
    digest = () if attempt.content_digest is None else (("content-digest", attempt.content_digest.decode("ascii")),)
    return (*metadata, ("authorization", attempt.authorization), *digest)


def head_of(code: Any, details: str | None, trailing: Metadata, error: Exception | None) -> HttpResponse:
    """What came, as a response of HTTP. Raises `error` when it is nobody's word: a deadline, a lost connection."""
    fields = lowered(trailing)
    replies = tuple(pair for pair in fields if pair[0] == REPLY)
    if replies or error is None:
        return answered(code, details, *replies)
    challenges = tuple(pair for pair in fields if pair[0] == CHALLENGE)
    if not challenges:
        raise error
    return HttpResponse(status=403 if code is grpc.StatusCode.PERMISSION_DENIED else 401, headers=challenges)


def check_content(proven: Proven, content: Content) -> None:
    if not {*COVERED} <= {*proven.covered}:
        raise unproven(f"{proven.target}: its status is not covered")
    if proven.body is not None:
        proven.body.hashed(content.running, content.size)
        proven.body.finish()


class Content:
    """What an answer consisted of, message by message."""

    def __init__(self, *messages: bytes) -> None:
        self.running, self.size = RunningDigest(), 0
        for message in messages:
            self.add(message)

    def add(self, message: bytes) -> None:
        """The next message."""
        piece = framed(message)
        self.running.update(piece)
        self.size += len(piece)


class Patience:
    """One for all attempts of a call. `timeout` is in seconds, None without one."""

    def __init__(self, timeout: float | None) -> None:
        self._until = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """In seconds."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.001)


def unbound(*_arguments: Any, **_options: Any) -> Any:
    raise LocalMisuse("not-covered", _STREAM)


def judged(steps: Steps, call: Any, error: Exception | None, content: Content) -> tuple[Proven | None, Any]:
    head = head_of(call.code(), call.details(), call.trailing_metadata(), error)
    if content.size and not head.values_of(REPLY):
        raise unproven("a refusal behind messages: what came before it is not proven")
    try:
        return None, steps.send(head)
    except StopIteration as ended:
        proven: Proven = ended.value
        check_content(proven, content)
        return proven, None


class Ended:
    """How a call of `grpc.aio` ended, as one of `grpc` says it."""

    def __init__(self, code: Any, details: str | None, trailing: Metadata) -> None:
        self._facts = code, details, trailing

    def code(self) -> Any:
        """Its status."""
        return self._facts[0]

    def details(self) -> str | None:
        """Its message."""
        return self._facts[1]

    def trailing_metadata(self) -> Metadata:
        """With the proof."""
        return self._facts[2]
