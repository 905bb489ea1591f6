"""gRPC servers: an interceptor that verifies every call before a method sees it, and proves every answer.

For `grpc.server` and `grpc.aio.server`. Needs the extra `grpc`. Decides nothing itself: `orthros_client.http` does.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any, Final, NoReturn, Unpack

from orthros_client.http.propagation import Serving, serves_requests
from orthros_client.http.server.answers import Answer
from orthros_client.http.server.bodies import RequestBodyMismatch
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.exchange import CALLER, Exchange, refusal_in
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.options import GuardOptions
from orthros_client.http.server.routes import Route
from orthros_client.integrations.async_judge import judge_async
from orthros_client.integrations.grpc_messages import CHALLENGE, COVERED, REPLY, answered, framed, lowered, status_of
from orthros_protocol import Misconfigured
from orthros_protocol.primitives.derivation import RunningDigest
from orthros_runtime.extras import extra

with extra("grpc"):
    import grpc
    import grpc.aio

__all__ = ["Caller", "OrthrosAioServerInterceptor", "OrthrosServerInterceptor", "Route", "caller_of"]

_STREAM: Final = "the messages of a client's stream cannot be bound: they are not known when the call is authorised"
_FAILED: Final = "the method failed before it answered"


def caller_of(context: Any) -> Caller | None:
    """The verified caller; None on public routes and when refusals are merely observed."""
    caller: Caller | None = getattr(context, CALLER.replace(".", "_"), None)
    return caller


class _Aborted(Exception):
    """A method ended its call with a status."""

    def __init__(self, code: Any, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


class _Context:
    """The context of a call, as its method has it: status and trailing metadata are kept until they can be proven."""

    def __init__(self, context: Any, caller: Caller | None) -> None:
        self._context = context
        self.orthros_caller = caller
        self.trailing: tuple[Any, ...] = ()
        self.status: Any = grpc.StatusCode.OK
        self.message = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Sent with the proof."""
        self.trailing = tuple(trailing_metadata)

    def set_code(self, code: Any) -> None:
        """Of the answer."""
        self.status = code

    def set_details(self, details: str) -> None:
        """Of the answer."""
        self.message = details

    def code(self) -> Any:
        """Of the answer."""
        return self.status

    def details(self) -> str:
        """Of the answer."""
        return self.message


class _SyncContext(_Context):
    def abort(self, code: Any, details: str) -> NoReturn:
        """Ends the call."""
        raise _Aborted(code, details)

    def abort_with_status(self, status: Any) -> NoReturn:
        """Ends the call."""
        self.trailing = tuple(status.trailing_metadata or ())
        raise _Aborted(status.code, status.details)


class _AioContext(_Context):
    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call."""
        self.trailing = tuple(trailing_metadata)
        raise _Aborted(code, details)


class _Call:
    """One call: what it says as an HTTP request, and the answer as it is proven."""

    def __init__(self, guard: Guard, method: str, metadata: Any, raw: bytes | None, peer: str) -> None:
        self._guard = guard
        self._method = method
        self._content = b"" if raw is None else framed(raw)
        kind, _, address = peer.partition(":")
        self.request = IncomingRequest(
            method="POST",
            target=method.encode("utf-8"),
            # Python's gRPC does not tell `:authority`. There is one origin, and a call for another is bound to that.
            headers=(
                ("host", guard.origins.hosts[0].encode("ascii")),
                ("content-length", str(len(self._content)).encode("ascii")),
                *lowered(metadata),
            ),
            decoded_path=method,
            transport_peer=address.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else "",
        )
        self._running = RunningDigest()

    def admit(self, verdict: Admitted | Denied) -> Answer | None:
        """The answer in the place of the method's; None when it may begin."""
        if isinstance(verdict, Denied):
            if not self._guard.observing or verdict.is_handshake:
                return verdict.answer
            verdict = Admitted(request=verdict.request, route=verdict.route or Route("/*"))
        self.exchange = Exchange(self._guard, verdict)
        if verdict.checks_body:
            with suppress(RequestBodyMismatch):  # the exchange keeps it as its refusal
                self.exchange.received(self._content, more=False)
        if self.exchange.refusal is not None:
            return self.exchange.refusal.answer
        self.exchange.begin()
        self.serving = Serving(self.exchange.caller, traceparent=self.exchange.traceparent)
        return None

    def sends(self, raw: bytes, context: _Context | None = None) -> bytes:
        """A message of the answer. That of a unary call, whose `context` is given, leaves with the status OK alone."""
        if context is None or context.status is grpc.StatusCode.OK:
            self._running.update(framed(raw))
        return raw

    def ended(self, context: _Context, error: Exception | None = None) -> tuple[Any, str, tuple[Any, ...]]:
        """Status, message and trailing metadata of an answer that is complete, or that `error` has ended."""
        self.serving.end()
        if isinstance(error, _Aborted):
            context.status, context.message = error.code, error.details
        elif error is not None:
            if (refusal := refusal_in(error)) is not None:
                return refused(self.exchange.answer_to(refusal))
            self._guard.journal.log.error("method-failed", method=self._method, exc_info=error)
            context.status, context.message = grpc.StatusCode.UNKNOWN, _FAILED
        caller, proof = self.exchange.caller, None
        if caller is not None:
            head = answered(context.status, context.message)
            proof = caller.seal_http(head, covered=COVERED, body_digest=self._running.digest())
        own = tuple(pair for pair in context.trailing if pair[0].lower() not in (REPLY, CHALLENGE))
        return context.status, context.message, own if proof is None else (*own, (REPLY, proof))


def refused(answer: Answer) -> tuple[Any, str, tuple[Any, ...]]:
    """A refusal in gRPC's words: the same challenge, as trailing metadata."""
    challenges = [(name, value.decode("latin-1")) for name, value in answer.headers if name == CHALLENGE]
    return status_of(answer.status), answer.body.decode("utf-8").strip(), tuple(challenges)


def _guard_of(options: GuardOptions) -> Guard:
    serves_requests(from_now_on=True)
    guard = Guard(**options)
    if len(guard.origins.known) != 1:
        raise Misconfigured(
            "config-invalid", "a server of gRPC has one origin: Python's gRPC does not tell which was called"
        )
    return guard


def _decoded(handler: Any, raw: bytes) -> Any:
    return raw if handler.request_deserializer is None else handler.request_deserializer(raw)


def _encoded(handler: Any, message: Any) -> bytes:
    raw: bytes = message if handler.response_serializer is None else handler.response_serializer(message)
    return raw


class OrthrosServerInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """For `grpc.server(..., interceptors=[OrthrosServerInterceptor(origins=["https://orders.example"])])`.

    Rows of `routes` are methods: `Route("/shop.Orders/Show", scopes=["read"])`. `caller_of(context)` is the verified
    caller. Unary calls and streams of answers are served; calls with a stream of requests are refused, unless their
    route is public. The options are those of `GuardOptions`, with one origin. Raises as `Guard`.
    """

    def __init__(self, **options: Unpack[GuardOptions]) -> None:
        self.guard = _guard_of(options)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """What gRPC asks for each call."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method, metadata = handler_call_details.method, handler_call_details.invocation_metadata

        def begun(raw: bytes | None, context: Any) -> _Call:
            call = _Call(self.guard, method, metadata, raw, context.peer())
            answer = call.admit(self.guard.judge(call.request))
            if answer is not None:
                _end(context, *refused(answer))
            return call

        def unary(raw: bytes, context: Any) -> bytes:
            call = begun(raw, context)
            own, error, response = _SyncContext(context, call.exchange.caller), None, b""
            try:
                with call.serving.active():
                    response = call.sends(_encoded(handler, handler.unary_unary(_decoded(handler, raw), own)), own)
            except Exception as raised:  # noqa: BLE001  # its status is the answer
                error = raised
            _end(context, *call.ended(own, error))
            return response

        def stream(raw: bytes, context: Any) -> Iterator[bytes]:
            call = begun(raw, context)
            own, error = _SyncContext(context, call.exchange.caller), None
            try:
                with call.serving.active():
                    messages = iter(handler.unary_stream(_decoded(handler, raw), own))
                while True:
                    with call.serving.active():  # the thread may serve others between two messages
                        message = next(messages, call)
                    if message is call:
                        break
                    yield call.sends(_encoded(handler, message))
            except Exception as raised:  # noqa: BLE001  # its status is the answer
                error = raised
            finally:
                call.serving.end()
            _end(context, *call.ended(own, error))

        if handler.request_streaming:
            return handler if self._is_public(method, metadata) else _refusing(handler, _end)
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(stream if handler.response_streaming else unary)

    def _is_public(self, method: str, metadata: Any) -> bool:
        verdict = self.guard.judge(_Call(self.guard, method, metadata, None, "").request)
        return isinstance(verdict, Admitted) and verdict.route.public


def _end(context: Any, code: Any, details: str, trailing: tuple[Any, ...]) -> None:
    context.set_trailing_metadata(trailing)
    if code is not grpc.StatusCode.OK:
        context.abort(code, details)
    context.set_details(details)


def _refusing(handler: Any, end: Callable[..., Any]) -> Any:
    def refuse(_messages: Any, context: Any) -> Any:
        return end(context, grpc.StatusCode.UNAUTHENTICATED, f"not-covered: {_STREAM}", ())

    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse)
    return grpc.stream_unary_rpc_method_handler(refuse)


class OrthrosAioServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The same for `grpc.aio.server`. Methods are coroutine functions, or async generators for streams."""

    def __init__(self, **options: Unpack[GuardOptions]) -> None:
        self.guard = _guard_of(options)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """What gRPC asks for each call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method, metadata = handler_call_details.method, handler_call_details.invocation_metadata

        async def begun(raw: bytes, context: Any) -> _Call:
            call = _Call(self.guard, method, metadata, raw, context.peer())
            answer = call.admit(await judge_async(self.guard, call.request))
            if answer is not None:
                await _aend(context, *refused(answer))
            return call

        async def unary(raw: bytes, context: Any) -> bytes:
            call = await begun(raw, context)
            own, error, response = _AioContext(context, call.exchange.caller), None, b""
            try:
                with call.serving.active():
                    response = call.sends(
                        _encoded(handler, await handler.unary_unary(_decoded(handler, raw), own)), own
                    )
            except Exception as raised:  # noqa: BLE001  # its status is the answer
                error = raised
            await _aend(context, *call.ended(own, error))
            return response

        async def stream(raw: bytes, context: Any) -> AsyncIterator[bytes]:
            call = await begun(raw, context)
            own, error = _AioContext(context, call.exchange.caller), None
            try:
                async with aclosing(handler.unary_stream(_decoded(handler, raw), own)) as messages:
                    while True:
                        with call.serving.active():  # not across a yield: who goes on there may be another task
                            message = await anext(messages, call)
                        if message is call:
                            break
                        yield call.sends(_encoded(handler, message))
            except Exception as raised:  # noqa: BLE001  # its status is the answer
                error = raised
            finally:
                call.serving.end()
            await _aend(context, *call.ended(own, error))

        if handler.request_streaming:
            verdict = await judge_async(self.guard, _Call(self.guard, method, metadata, None, "").request)
            if isinstance(verdict, Admitted) and verdict.route.public:
                return handler
            return _arefusing(handler)
        served = handler.unary_stream if handler.response_streaming else handler.unary_unary
        if not (inspect.isasyncgenfunction(served) or inspect.iscoroutinefunction(served)):
            raise Misconfigured(
                "config-invalid", f"{method}: methods behind Orthros are async functions on this server"
            )
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(stream if handler.response_streaming else unary)


async def _aend(context: Any, code: Any, details: str, trailing: tuple[Any, ...]) -> None:
    context.set_trailing_metadata(trailing)
    if code is not grpc.StatusCode.OK:
        await context.abort(code, details, trailing)
    context.set_details(details)


def _arefusing(handler: Any) -> Any:
    async def refuse(_messages: Any, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"not-covered: {_STREAM}")
        return b""

    async def refuse_stream(_messages: Any, context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"not-covered: {_STREAM}")
        yield b""

    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse_stream)
    return grpc.stream_unary_rpc_method_handler(refuse)
