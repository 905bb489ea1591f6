"""gRPC clients under asyncio: what `grpc_client` is, around a channel of `grpc.aio`.

Needs the extra `grpc`. Decides nothing itself: `orthros_client.http` does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Unpack, cast

from orthros_client.credentials.credentials import Credentials, Pause
from orthros_client.flows import adrive
from orthros_client.http.client.attachment import Attachment
from orthros_client.http.client.authentication import Steps
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.outgoing import Attempt, Proven
from orthros_client.http.client.sources import AsyncCredentialSource, CredentialSource
from orthros_client.integrations.async_sources import Sources
from orthros_client.integrations.grpc_calls import (
    PROVEN,
    Content,
    Ended,
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
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_runtime.extras import extra

with extra("grpc"):
    import grpc.aio

__all__ = ["AsyncCredentialSource", "CredentialSource", "OrthrosAioChannel", "proven_of"]


class OrthrosAioChannel(GrpcCaller):
    """The same around a channel of `grpc.aio`, for stubs: a call is to be awaited, a stream to be read by `async for`.

    client: a `Client`, `AsyncClient` or anything like them; None makes one.
    """

    def __init__(
        self,
        channel: Any,
        targets: Mapping[str, str] | Attachment,
        *,
        client: CredentialSource | AsyncCredentialSource | None = None,
        repeatable: Iterable[str] = (),
        **options: Unpack[AuthOptions],
    ) -> None:
        super().__init__(targets, client, repeatable, options)
        self._channel = channel
        self._sources = Sources(client)

    async def _begin(self, method: str, raw: bytes, metadata: Metadata) -> tuple[tuple[Any, ...], Steps, Credentials]:
        fields: dict[str, Any] = {}
        place = self._placed(fields)
        sent = (*(metadata or ()), *((name, value) for name, value in fields.items()))
        credentials = cast(Credentials, await self._sources.aask(place))
        return sent, self._exchange(method, raw, sent, place, credentials), credentials

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """As of any channel."""
        inner = self._channel.unary_unary(method, None, None)

        async def call(request: Any, timeout: float | None = None, metadata: Metadata = None, **options: Any) -> Any:
            raw = request if request_serializer is None else request_serializer(request)
            sent, steps, credentials = await self._begin(method, raw, metadata)
            deadline, came = Patience(timeout), list[tuple[bytes | None, Any]]()

            async def send(attempt: Attempt) -> HttpResponse:
                error, response = None, None
                running = inner(raw, timeout=deadline.left, metadata=sent_with(sent, attempt), **options)
                try:
                    response = await running
                except grpc.aio.AioRpcError as raised:
                    error = raised
                came[:] = [(response, error)]
                return head_of(await running.code(), await running.details(), await running.trailing_metadata(), error)

            proven: Proven = await adrive(steps, send, credentials.reports.telling)
            ((response, error),) = came
            check_content(proven, Content() if response is None else Content(response))
            if response is None:
                setattr(error, PROVEN, proven)
                raise error
            return response if response_deserializer is None else response_deserializer(response)

        return call

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """As of any channel; the call begins when its first message is read."""
        inner = self._channel.unary_stream(method, None, None)
        decode = response_deserializer or bytes

        async def call(
            request: Any, timeout: float | None = None, metadata: Metadata = None, **options: Any
        ) -> AsyncIterator[Any]:
            raw = request if request_serializer is None else request_serializer(request)
            sent, steps, credentials = await self._begin(method, raw, metadata)
            deadline, content = Patience(timeout), Content()
            step = next(steps)
            try:
                while True:
                    if isinstance(step, Pause):
                        await step.sleep()
                        step = steps.send(None)
                        continue
                    running = inner(raw, timeout=deadline.left, metadata=sent_with(sent, step), **options)
                    error = None
                    try:
                        async for piece in running:
                            content.add(piece)
                            yield decode(piece)
                    except grpc.aio.AioRpcError as raised:
                        error = raised
                    finally:
                        running.cancel()
                    ended = Ended(await running.code(), await running.details(), await running.trailing_metadata())
                    done, step = judged(steps, ended, error, content)
                    if done is not None:
                        if error is not None:
                            setattr(error, PROVEN, done)
                            raise error
                        return
            finally:
                for pause in credentials.reports.telling():
                    await pause.sleep()

        return call

    def stream_unary(self, method: str, *_arguments: Any, **_options: Any) -> Any:
        """Not authenticated: each call raises LocalMisuse."""
        return unbound

    def stream_stream(self, method: str, *_arguments: Any, **_options: Any) -> Any:
        """Not authenticated: each call raises LocalMisuse."""
        return unbound

    async def close(self) -> None:
        """Closes the channel that sends."""
        await self._channel.close()
        await self._sources.aclose()
