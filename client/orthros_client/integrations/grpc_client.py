"""gRPC clients: a channel around a channel, whose calls carry a ticket and whose answers are proven.

A channel and not an interceptor, because an interceptor does not see what is sent: it gets messages before they are
bytes. Needs the extra `grpc`. Decides nothing itself: `orthros_client.http` does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Unpack

from orthros_client.credentials.credentials import Credentials, Pause
from orthros_client.errors import LocalMisuse
from orthros_client.flows import drive
from orthros_client.http.client.attachment import Attachment
from orthros_client.http.client.authentication import Steps
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.outgoing import Attempt, Proven
from orthros_client.http.client.sources import CredentialSource
from orthros_client.integrations.grpc_calls import (
    PROVEN,
    Content,
    GrpcCaller,
    Patience,
    check_content,
    head_of,
    judged,
    proven_of,
    sent_with,
    unbound,
)
from orthros_client.integrations.grpc_messages import Metadata
from orthros_client.local.client import Client
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_runtime.extras import extra

with extra("grpc"):
    import grpc

__all__ = ["CredentialSource", "OrthrosChannel", "proven_of"]


class OrthrosChannel(GrpcCaller, grpc.Channel):  # type: ignore[misc]
    """A channel whose calls are authenticated: `OrthrosChannel(channel, {"https://orders.example": "orders"})`.

    channel: the one that sends, yours to close with this one. targets: one origin -> target; or an Attachment.
    repeatable: methods such as `/shop.Orders/Show` that may run twice; by default none may.
    client: a `Client` or anything like it, yours to close; None makes one. The other options are those of
    `AuthOptions`; `cover` names metadata.

    Unary calls are proven before they return. A stream is proven at its end, where iterating raises if it is not.
    An RpcError is the target's own word if `proven_of(error)` says so; else a deadline, or anybody's. Raises as
    `httpx_auth.OrthrosAuth`; LocalMisuse `not-covered` for a method with a stream of requests.
    """

    def __init__(
        self,
        channel: Any,
        targets: Mapping[str, str] | Attachment,
        *,
        client: CredentialSource | None = None,
        repeatable: Iterable[str] = (),
        **options: Unpack[AuthOptions],
    ) -> None:
        super().__init__(targets, client, repeatable, options)
        self._channel = channel
        self._client = client or Client()

    def _begin(self, method: str, raw: bytes, metadata: Metadata) -> tuple[tuple[Any, ...], Steps, Credentials]:
        fields: dict[str, Any] = {}
        place = self._placed(fields)
        sent = (*(metadata or ()), *((name, value) for name, value in fields.items()))
        credentials: Credentials = place.ask(self._client)
        return sent, self._exchange(method, raw, sent, place, credentials), credentials

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """As of any channel."""
        return _Unary(self, method, request_serializer, response_deserializer)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """As of any channel; the call begins when its first message is read."""
        inner = self._channel.unary_stream(method, None, None)

        def call(
            request: Any, timeout: float | None = None, metadata: Metadata = None, **options: Any
        ) -> Iterator[Any]:
            raw = request if request_serializer is None else request_serializer(request)
            sent, steps, credentials = self._begin(method, raw, metadata)
            deadline = Patience(timeout)

            def begin(attempt: Attempt) -> Any:
                return inner(raw, timeout=deadline.left, metadata=sent_with(sent, attempt), **options)

            return _streamed(begin, steps, credentials, response_deserializer or bytes)

        return call

    def stream_unary(self, method: str, *_arguments: Any, **_options: Any) -> Any:
        """Not authenticated: each call raises LocalMisuse."""
        return unbound

    def stream_stream(self, method: str, *_arguments: Any, **_options: Any) -> Any:
        """Not authenticated: each call raises LocalMisuse."""
        return unbound

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """As of any channel."""
        self._channel.subscribe(callback, try_to_connect=try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """As of any channel."""
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        """Closes the channel that sends."""
        self._channel.close()

    def __enter__(self) -> OrthrosChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Unary(grpc.UnaryUnaryMultiCallable):  # type: ignore[misc]
    """One method with one request and one answer."""

    def __init__(self, channel: OrthrosChannel, method: str, encode: Any, decode: Any) -> None:
        self._channel = channel
        self._method = method
        self._inner = channel._channel.unary_unary(method, None, None)
        self._encode = encode
        self._decode = decode

    def __call__(self, request: Any, *arguments: Any, **options: Any) -> Any:
        return self.with_call(request, *arguments, **options)[0]

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Metadata = None, **options: Any
    ) -> tuple[Any, Any]:
        """The answer, and the call that it came by."""
        raw = request if self._encode is None else self._encode(request)
        sent, steps, credentials = self._channel._begin(self._method, raw, metadata)
        deadline, came = Patience(timeout), list[tuple[bytes | None, Any]]()

        def send(attempt: Attempt) -> HttpResponse:
            error, response = None, None
            try:
                response, call = self._inner.with_call(
                    raw, timeout=deadline.left, metadata=sent_with(sent, attempt), **options
                )
            except grpc.RpcError as raised:
                error = call = raised
            came[:] = [(response, call)]
            return head_of(call.code(), call.details(), call.trailing_metadata(), error)

        proven: Proven = drive(steps, send, credentials.reports.telling)
        ((response, call),) = came
        check_content(proven, Content() if response is None else Content(response))
        setattr(call, PROVEN, proven)
        if response is None:
            raise call
        return (response if self._decode is None else self._decode(response)), call

    def future(self, *_arguments: Any, **_options: Any) -> Any:
        """Not there."""
        raise LocalMisuse("value-invalid", "a proven call has no future: call it in a thread, or use OrthrosAioChannel")


def _streamed(
    begin: Callable[[Attempt], Any], steps: Steps, credentials: Credentials, decode: Callable[[bytes], Any]
) -> Generator[Any, None, None]:
    """The messages of a stream; raises at its end unless all of it was the target's."""
    step, content = next(steps), Content()
    try:
        while True:
            if isinstance(step, Pause):
                step.block()
                step = steps.send(None)
                continue
            call, error = begin(step), None
            try:
                for raw in call:
                    content.add(raw)
                    yield decode(raw)
            except grpc.RpcError as raised:
                error = raised
            finally:
                call.cancel()  # whoever stops reading; of a call that has ended it is nothing
            done, step = judged(steps, call, error, content)
            if done is not None:
                if error is not None:
                    setattr(error, PROVEN, done)
                    raise error
                return
    finally:
        for pause in credentials.reports.telling():
            pause.block()
