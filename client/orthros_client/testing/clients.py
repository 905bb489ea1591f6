"""What a test calls: clients of httpx whose requests are signed with real tickets and answered in this process.

Responses are proven before a test sees them, as everywhere. Knows neither keys nor how tickets come about.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from attrs import define, field, frozen

from orthros_client.errors import LocalMisuse, Malformed, MaybeExecuted, OrthrosError, TargetRefusal
from orthros_client.testing.hosts import Host, request_of
from orthros_protocol.exchanges.http_profile import parse_challenge
from orthros_runtime.extras import extra

with extra("testing"):
    import httpx

    from orthros_client.integrations.httpx_auth import OrthrosAuth

__all__ = ["AsyncTestClient", "Line", "Refusal", "TestClient"]

_REFUSING: Final = (400, 401, 403, 503)


Between = Callable[[httpx.Request], httpx.Request]
"""Takes a signed request, and returns what arrives."""


@frozen(kw_only=True)
class Refusal:
    """A request that was refused.

    `code` is the reason: what the service has proven to its caller, or what its verifier found where it tells strangers
    no more than a reference. `is_proven` says which. `response` is what came back.
    """

    code: str
    detail: str
    is_proven: bool
    response: httpx.Response = field(repr=False)

    @property
    def status(self) -> int:
        """Of the response."""
        return self.response.status_code


@define(eq=False)
class Line:
    """What is in place of the network between one client and its service.

    `noted` are the refusals of the service's verifiers.
    """

    host: Host
    noted: deque[tuple[str, OrthrosError]]
    between: Between | None = None
    sent: httpx.Request | None = None
    received: httpx.Response | None = None

    def arriving(self, request: httpx.Request, body: bytes) -> httpx.Request:
        """What the service gets."""
        sent = request_of(request.method, str(request.url), request.headers.raw, body)
        self.noted.clear()
        self.sent = sent if self.between is None else self.between(sent)
        return request_of(self.sent.method, str(self.sent.url), self.sent.headers.raw, self.sent.read())

    def left(self, response: httpx.Response) -> httpx.Response:
        """What the caller gets."""
        body = response.read()
        self.received = httpx.Response(response.status_code, headers=response.headers.raw, content=body)
        return httpx.Response(response.status_code, headers=response.headers.raw, stream=httpx.ByteStream(body))

    def again(self) -> httpx.Request:
        """The last request, byte by byte. Raises LocalMisuse before the first one."""
        if self.sent is None:
            raise LocalMisuse("wrong-state", "nothing has been sent yet that could be sent again")
        return request_of(self.sent.method, str(self.sent.url), self.sent.headers.raw, self.sent.read())

    def refusal(self, raised: OrthrosError | None) -> Refusal:
        """What the last call came to. Raises `raised` when nothing came back, AssertionError when it was served."""
        response = self.received
        if raised is not None and (response is None or response.status_code not in _REFUSING):
            raise raised
        if response is None:
            raise LocalMisuse("wrong-state", "nothing has been answered yet")
        told = raised.refusal if isinstance(raised, MaybeExecuted) else raised
        if isinstance(told, TargetRefusal):
            return Refusal(code=told.code, detail=told.detail, is_proven=True, response=response)
        said = _said_in(response)
        if response.status_code not in _REFUSING or not said:
            raise AssertionError(f"the request was not refused: {response.status_code} {response.text[:200]!r}")
        is_proven = any(_carries_proof(one) for one in response.headers.get_list("www-authenticate"))
        noted = [error for service, error in self.noted if service == self.host.service]
        if noted and not is_proven:
            return Refusal(code=noted[-1].code, detail=noted[-1].detail, is_proven=False, response=response)
        code = str(said.get("code") or said["error"])
        return Refusal(code=code, detail=str(said.get("error_description", "")), is_proven=is_proven, response=response)


def _said_in(response: httpx.Response) -> dict[str, Any]:
    """The body of a refusal of the middleware; empty for anything else."""
    with suppress(ValueError):
        found = json.loads(response.content)
        if isinstance(found, dict) and "error" in found:
            return found
    return {}


def _carries_proof(challenge: str) -> bool:
    with suppress(Malformed):
        return parse_challenge(challenge).reply is not None
    return False


class _Transport(httpx.BaseTransport):
    def __init__(self, line: Line) -> None:
        self._line = line

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._line.host.is_asgi:
            self._line.host.start()  # its self-test is refused, which is not what the test is about
        return self._line.left(self._line.host.handle(self._line.arriving(request, request.read())))


class _AsyncTransport(httpx.AsyncBaseTransport):
    def __init__(self, line: Line) -> None:
        self._line = line

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        arriving = self._line.arriving(request, await request.aread())
        return self._line.left(await self._line.host.ahandle(arriving))


class _OnItsWay:
    """What is common to both clients."""

    line: Line

    @property
    def between(self) -> Between | None:
        """What is done to each signed request on its way, as a proxy or an attacker would; None: nothing."""
        return self.line.between

    @between.setter
    def between(self, change: Between | None) -> None:
        self.line.between = change


class TestClient(_OnItsWay, httpx.Client):
    """An `httpx.Client` of one caller. Paths are enough: `client.get("/orders/7")`. See `test_client`."""

    __test__ = False  # pytest collects no tests from it

    def __init__(self, line: Line, origin: str, auth: OrthrosAuth | None) -> None:
        super().__init__(transport=_Transport(line), base_url=origin, auth=auth, trust_env=False)
        self.line = line

    def refusal(self, method: str, url: str, **options: Any) -> Refusal:
        """Sends a request that the service is to refuse, and says why it did. `options` are those of `request`.

        Raises AssertionError when the request was served, and errors of the caller's own side.
        """
        return self._outcome(lambda: self.request(method, url, **options))

    def send_again(self) -> Refusal:
        """Sends the last request once more, byte by byte, as who captured it would. As `refusal`."""
        request = self.line.again()
        return self._outcome(lambda: self.send(request, auth=None))

    def _outcome(self, call: Callable[[], httpx.Response]) -> Refusal:
        self.line.received = None
        try:
            call()
        except OrthrosError as error:
            return self.line.refusal(error)
        return self.line.refusal(None)


class AsyncTestClient(_OnItsWay, httpx.AsyncClient):
    """`TestClient` for tests under asyncio or trio. The application's lifespan does not run."""

    __test__ = False

    def __init__(self, line: Line, origin: str, auth: OrthrosAuth | None) -> None:
        super().__init__(transport=_AsyncTransport(line), base_url=origin, auth=auth, trust_env=False)
        self.line = line

    async def refusal(self, method: str, url: str, **options: Any) -> Refusal:
        """See `TestClient.refusal`."""
        return await self._outcome(self.request(method, url, **options))

    async def send_again(self) -> Refusal:
        """See `TestClient.send_again`."""
        return await self._outcome(self.send(self.line.again(), auth=None))

    async def _outcome(self, call: Awaitable[httpx.Response]) -> Refusal:
        self.line.received = None
        try:
            await call
        except OrthrosError as error:
            return self.line.refusal(error)
        return self.line.refusal(None)
