"""The realm of a test: what services under test verify with, who calls them, and what they obtain for others.

While it runs, this process's services get their keys from it. Random keys, in memory alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, ClassVar, Final, Self, Unpack

from orthros_client.credentials.credentials import Credentials, KnownTargets
from orthros_client.credentials.narrowing import Limits
from orthros_client.errors import Failure, LocalMisuse, Misconfigured, OrthrosError, TicketRefused
from orthros_client.http.client.origins import Origin
from orthros_client.local.conversation import parse_target
from orthros_client.local.on_behalf import AS_CONFIGURED, OnBehalfOf, choose, describe, resolve
from orthros_client.testing.clients import AsyncTestClient, Line, TestClient
from orthros_client.testing.hosts import SERVED, Host, serving
from orthros_client.testing.origin import origin_of
from orthros_client.testing.stand_ins import stand_ins
from orthros_client.testing.tickets import CallerWords, Tickets
from orthros_client.verifier import Verifier
from orthros_client.verifier.stores.memory import MemoryStore
from orthros_client.verifier.verifier import Accepting, HttpFacts, VerifierOptions
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.table import Code
from orthros_protocol.testing import ManualClock
from orthros_protocol.tickets.evidence import Behalf
from orthros_runtime.extras import extra

with extra("testing"):
    from orthros_client.integrations.httpx_auth import OrthrosAuth

__all__ = ["TestRealm", "async_test_client", "test_client"]

_MOST_NOTED: Final = 100


class _NotingVerifier(Verifier):
    """A verifier that keeps why it refused: it tells strangers no more than a reference."""

    noted: deque[tuple[str, OrthrosError]]

    def accepting_http(self, message: bytes, bind: bytes, **facts: Unpack[HttpFacts]) -> Accepting:
        """See `Verifier.accepting_http`."""
        try:
            return (yield from super().accepting_http(message, bind, **facts))
        except OrthrosError as error:
            self.noted.append((self.principal.name, error))
            raise


class TestRealm:
    """A realm in memory. `service` is the one under test, unless a block of `serving` or a client names another one.

    clock: the time of the realm, its services and its callers. It stands still until `clock.advance(seconds)`.
    From `start` to `stop`, and in a `with` block, `Verifier.from_environment` gets its keys from here, and `Client` and
    `AsyncClient` their tickets. Realms can be nested; the innermost one counts.
    """

    __test__ = False  # pytest collects no tests from it
    _running: ClassVar[list[TestRealm]] = []

    def __init__(self, service: str = "service", *, name: str = "test.realm") -> None:
        self.service = service
        self._tickets = Tickets(name)
        self._verifiers: list[_NotingVerifier] = []
        self._noted: deque[tuple[str, OrthrosError]] = deque(maxlen=_MOST_NOTED)
        self._hosts: dict[tuple[int, str], Host] = {}
        self._running_hosts: set[Host] = set()
        self._answers: dict[Origin, Host] = {}
        self._peers: dict[tuple[str, str], KnownTargets] = {}
        self._placed: ExitStack | None = None

    @property
    def clock(self) -> ManualClock:
        """The realm's."""
        return self._tickets.clock

    @classmethod
    def current(cls) -> TestRealm:
        """The one that runs. Raises LocalMisuse `wrong-state` where none does."""
        if not cls._running:
            raise LocalMisuse(
                "wrong-state",
                "no test realm runs: `TestRealm(...).start()`, or in conftest.py "
                '`pytest_plugins = ["orthros_client.testing.fixtures"]`',
            )
        return cls._running[-1]

    def start(self) -> Self:
        """From now on, this process's services get their keys from here. Raises LocalMisuse where it runs already."""
        if self._placed is not None:
            raise LocalMisuse("wrong-state", "this test realm runs already")
        placed = stand_ins(verifier=self._verifier_here, credentials=self._ask, answering=self._answering)
        with ExitStack() as opened:
            opened.enter_context(placed)
            self._placed = opened.pop_all()
        self._running.append(self)
        return self

    def stop(self) -> None:
        """Ends the applications, and puts everything back. Verifiers that were made keep their keys."""
        if not self._running or self._running[-1] is not self or self._placed is None:
            raise LocalMisuse("wrong-state", "this is not the innermost test realm that runs")
        self._running.pop()
        self.reset()
        placed, self._placed = self._placed, None
        placed.close()

    def reset(self) -> None:
        """Between two tests: ends the applications, and forgets `answer` and `refuse`. Keys and time stay."""
        for host in tuple(self._running_hosts):
            host.close()
        self._hosts.clear()
        self._answers.clear()
        self._tickets.forget()
        self._noted.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def serving(self, service: str) -> AbstractContextManager[None]:
        """What is imported or made in this block is `service`, and gets its key."""
        return serving(service)

    def verifier(self, service: str | None = None, **options: Unpack[VerifierOptions]) -> Verifier:
        """A real verifier of `service`, on the realm's clock, with a replay store in memory; other `options` stay."""
        options = {**options, "replay": "memory", "clock": self.clock.now, "monotonic_ms": self.clock.now}
        made = _NotingVerifier(self._tickets.keytab(service or self.service).verify_only(), **options)
        made.noted = self._noted
        self._verifiers.append(made)
        return made

    def credentials(self, caller: str, service: str | None = None, **words: Unpack[CallerWords]) -> Credentials:
        """Credentials of `caller` for calls without HTTP (`Credentials.call`). Raises as `Tickets.credentials`."""
        return self._tickets.credentials(caller, service or self.service, **words)

    def client(
        self,
        app: Any,
        caller: str | None = "caller",
        *,
        service: str | None = None,
        origin: str | None = None,
        **words: Unpack[CallerWords],
    ) -> TestClient:
        """See `test_client`."""
        line, origin, auth = self._connected(app, caller, service, origin, words, is_async=False)
        return TestClient(line, origin, auth)

    def async_client(
        self,
        app: Any,
        caller: str | None = "caller",
        *,
        service: str | None = None,
        origin: str | None = None,
        **words: Unpack[CallerWords],
    ) -> AsyncTestClient:
        """See `async_test_client`."""
        line, origin, auth = self._connected(app, caller, service, origin, words, is_async=True)
        return AsyncTestClient(line, origin, auth)

    def restart(self, service: str | None = None) -> None:
        """The service's replay instances begin anew, as after a restart: what they remembered is gone, and requests
        that name an earlier epoch are refused."""
        for one in self._verifiers:
            if one.principal.name == (service or self.service) and isinstance(one.store, MemoryStore):
                one.store.after_fork()

    def answer(self, origin: str, app: Any, *, service: str, scopes: Iterable[str] = ()) -> None:
        """Calls of services under test to `origin` are answered by `app`, which is `service`; tickets for it have
        `scopes` at most. Without this they obtain none. Calls to other origins go out, as they would without a test.

        Raises Misconfigured for what is no origin or no scope.
        """
        self._tickets.grant(service, scopes)
        self._answers[Origin.parse(origin)] = self._host(app, service)

    def refuse(self, service: str, code: Code = "not-granted") -> None:
        """Services under test obtain no ticket for `service`, for this reason, as a KDC would refuse it."""
        self._tickets.refuse(service, Failure.refused(code, "the test refuses it"))

    def _verifier_here(self, **options: Unpack[VerifierOptions]) -> Verifier:
        return self.verifier(SERVED.get(), **options)

    def _host(self, app: Any, service: str) -> Host:
        return self._hosts.setdefault((id(app), service), Host(app, service, self._running_hosts))

    def _connected(
        self,
        app: Any,
        caller: str | None,
        service: str | None,
        origin: str | None,
        words: CallerWords,
        *,
        is_async: bool,
    ) -> tuple[Line, str, OrthrosAuth | None]:
        service, origin = service or self.service, origin or origin_of(app)
        if caller is None and words:
            raise LocalMisuse("value-invalid", f"a stranger has no ticket, and so no {', '.join(sorted(words))}")
        line = Line(self._host(app, service), self._noted)
        if caller is None:
            return line, origin, None
        held = (_AsyncTicketsOf if is_async else _TicketsOf)(self._tickets, caller, words)
        held.credentials_of(service)  # what is wrong with the words is said here
        return line, origin, OrthrosAuth({origin: service}, client=held)

    def _answering(self, url: str) -> Host | None:
        scheme, _, rest = url.partition("://")
        try:
            return self._answers.get(Origin.parse(f"{scheme}://{rest.partition('/')[0].partition('?')[0]}"))
        except Misconfigured:
            return None

    def _ask(
        self,
        client: Any,
        target: str,
        scopes: Iterable[str] | None = None,
        _ttl_s: int = 0,
        *,
        delegable: bool = False,
        behalf: OnBehalfOf = AS_CONFIGURED,
        limits: Limits | None = None,
    ) -> Credentials:
        spoken = choose(behalf, propagate=client.propagate)
        evidence, subject = resolve(spoken)
        if subject is not None:
            evidence = Behalf(subject=Principal(self._tickets.name, subject))
        own, name = SERVED.get() or self.service, parse_target(target)[1]
        peers = self._peers.setdefault((own, name), KnownTargets())
        try:
            found = self._tickets.obtain(own, name, scopes, delegable=delegable, behalf=evidence, peers=peers)
        except TicketRefused as error:
            error.asked = describe(spoken, name, Principal(self._tickets.name, own))
            raise
        return found if limits is None else found.with_caveats(limits.to_caveats())


class _TicketsOf:
    """The tickets of one caller, as its daemon would keep them."""

    def __init__(self, tickets: Tickets, caller: str, words: CallerWords) -> None:
        self._tickets = tickets
        self._caller = caller
        self._words = words
        self._peers = KnownTargets()

    def credentials_of(self, target: str) -> Credentials:
        return self._tickets.credentials(self._caller, target, self._peers, **self._words)

    def credentials(self, target: str, scopes: Iterable[str] | None = None) -> Credentials:
        """See `CredentialSource`."""
        return self.credentials_of(target)

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Any:
        """See `CredentialSource`."""
        raise LocalMisuse("wrong-state", "a test realm issues tickets, no JWTs")


class _AsyncTicketsOf(_TicketsOf):
    async def credentials(self, target: str, scopes: Iterable[str] | None = None) -> Credentials:  # type: ignore[override]
        return self.credentials_of(target)


def test_client(
    app: Any,
    caller: str | None = "caller",
    *,
    service: str | None = None,
    origin: str | None = None,
    **words: Unpack[CallerWords],
) -> TestClient:
    """An `httpx.Client` of `caller`, whose calls `app` answers in this process, middleware and all.

    app: of ASGI or WSGI, in any framework. It starts before the first request (lifespan, with the self-test of the
        middleware) and ends with the realm.
    caller: None is a stranger, without a ticket. service: the name of the service, if it is not that of the realm.
    origin: one of the middleware's `origins`; by default the first. `words` are those of `CallerWords`.

    Raises LocalMisuse where no test realm runs or the origin cannot be seen, and what is wrong with the words.
    """
    return TestRealm.current().client(app, caller, service=service, origin=origin, **words)


def async_test_client(
    app: Any,
    caller: str | None = "caller",
    *,
    service: str | None = None,
    origin: str | None = None,
    **words: Unpack[CallerWords],
) -> AsyncTestClient:
    """`test_client` for tests under asyncio or trio, an `httpx.AsyncClient`. The application's lifespan does not
    run."""
    return TestRealm.current().async_client(app, caller, service=service, origin=origin, **words)


test_client.__test__ = False  # type: ignore[attr-defined]  # pytest collects it otherwise
