"""The callers of this library and a service of several replay instances without a shared store: what gets through,
what fails by design, and that nothing which must not run twice ever does.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import pytest
import requests
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.serving import make_server

from orthros_client import Credentials, MaybeExecuted, TargetRefusal
from orthros_client.http.server.routes import Route
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_protocol.testing import InMemoryRealm
from tests.support.fleet import Fleet, Seen
from tests.support.http_target import RealmSource

ORIGIN = "https://orders.example"
ROUTES = (
    Route("/once", repeatable=False),
    Route("/often", repeatable=True),
    Route("/keyed", repeatable="idempotency-key"),
)


def new_realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    return realm


@define
class Caller:
    """One of the HTTP libraries: sends requests to a fleet, each with a number of its own."""

    fleet: Fleet
    source: RealmSource
    auth: Any
    session: Any
    calls: int = 0
    outcomes: list[tuple[str, str]] = field(factory=list)

    def call(self, method: str, path: str, *, harmless: bool = False, content: bytes = b"") -> str:
        """`done`, or the code of the error; never another exception."""
        self.calls += 1
        name = str(self.calls)
        auth = self.auth.harmless() if harmless else self.auth
        body = {"data": content} if isinstance(self.session, requests.Session) else {"content": content}
        try:
            response = self.session.request(
                method, self.fleet.origin + path, headers={"X-Call": name}, auth=auth, **(body if content else {})
            )
            outcome = {200: "done"}.get(response.status_code, str(response.status_code))
        except MaybeExecuted:
            outcome = "maybe"
        except TargetRefusal as refusal:
            outcome = refusal.code
        self.outcomes.append((name, outcome))
        return outcome


@contextmanager
def calling(library: str, size: int, **options: Any) -> Iterator[Caller]:
    """A caller and `size` instances, which are as old as one can be."""
    realm = new_realm()
    source = RealmSource(realm)
    auth: Any
    if library != "requests":
        module: Any = {"httpx": httpx, "httpx2": httpx2}[library]
        fleet = Fleet(realm, ORIGIN, size, ROUTES)
        realm.clock.advance(60)
        auth = OrthrosAuth({ORIGIN: "orders"}, client=source, **options)
        with module.Client(transport=module.WSGITransport(app=fleet)) as session:
            yield Caller(fleet, source, auth, session)
        return
    logging.getLogger("werkzeug").disabled = True
    holder: list[Fleet] = []

    def dealt(environ: Any, start_response: Any) -> Any:
        return holder[0](environ, start_response)

    server = make_server("127.0.0.1", 0, dealt, threaded=True)
    origin = f"http://127.0.0.1:{server.server_port}"
    holder.append(Fleet(realm, origin, size, ROUTES))
    realm.clock.advance(60)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with requests.Session() as session:
            session.trust_env = False
            auth = OrthrosRequestsAuth({origin: "orders"}, client=source, **options)
            yield Caller(holder[0], source, auth, session)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


LIBRARIES = pytest.mark.parametrize("library", ["httpx", "httpx2", "requests"])


@pytest.mark.parity("L6")
@LIBRARIES
@pytest.mark.parametrize("size", [2, 3, 12])
def test_reads_get_through_instances_that_take_turns(library: str, size: int) -> None:
    """None fails, none is sent twice once an epoch is known, none runs twice."""
    with calling(library, size) as caller:
        assert [caller.call("GET", "/") for _ in range(40)] == ["done"] * 40
        assert len(caller.fleet.seen) == 40
    assert Counter(call for call, _ in caller.fleet.executed) == Counter(str(n) for n in range(1, 41))


@pytest.mark.parity("L6")
@LIBRARIES
@pytest.mark.parametrize("apart_s", [0, 0.3])
@pytest.mark.parametrize("size", [2, 3, 12])
def test_reads_get_through_a_rolling_deploy(library: str, size: int, apart_s: float) -> None:
    """In which every instance is new. A read waits for those that it met, then for all."""
    with calling(library, size) as caller:
        for number in range(size):
            caller.fleet.realm.clock.advance(apart_s)
            caller.fleet.restart(number)
        assert caller.call("GET", "/") == "done"
        assert 1 < sum(caller.source.waits) <= 6
        assert [caller.call("GET", "/") for _ in range(30)] == ["done"] * 30
        assert apart_s or len(caller.source.waits) == 1
    assert len(caller.fleet.executed) == 31


@pytest.mark.parity("L6")
@LIBRARIES
def test_reads_get_through_restarts(library: str) -> None:
    """One instance after the other, each before the calls that meet it."""
    with calling(library, 3) as caller:
        for number in range(9):
            caller.fleet.restart(number % 3)
            assert [caller.call("GET", "/") for _ in range(4)] == ["done"] * 4


@pytest.mark.parity("L6")
@LIBRARIES
def test_what_must_not_run_twice_fails_by_design(library: str) -> None:
    """Without a shared store, behind turns; never silently, and never executed twice."""
    with calling(library, 2) as caller:
        outcomes = {caller.call("POST", "/") for _ in range(20)}
    assert outcomes <= {"done", "maybe"}
    assert "maybe" in outcomes
    assert max(Counter(call for call, _ in caller.fleet.executed).values(), default=0) <= 1
    done = [name for name, outcome in caller.outcomes if outcome == "done"]
    assert sorted(done) == sorted(call for call, _ in caller.fleet.executed)


@pytest.mark.parity("L6")
@LIBRARIES
@pytest.mark.parametrize("path", ["/", "/once", "/often"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_sticky_balancing_serves_everything(library: str, path: str, method: str) -> None:
    """Each caller stays at one instance."""
    with calling(library, 3) as caller:
        caller.fleet.turn = lambda _number: 1
        assert [caller.call(method, path) for _ in range(10)] == ["done"] * 10
        assert len(caller.fleet.seen) <= 12


REMEDIES: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "a route that may be repeated": ("POST", "/often", {}, False),
    "the same, and a caller who knows": ("POST", "/often", {}, True),
    "keys that both sides honour": ("POST", "/keyed", {"idempotency": "header"}, False),
}


@pytest.mark.parity("L6")
@LIBRARIES
@pytest.mark.parametrize("remedy", REMEDIES)
def test_what_may_run_twice_gets_through(library: str, remedy: str) -> None:
    """Behind turns, without a shared store."""
    method, path, options, harmless = REMEDIES[remedy]
    with calling(library, 3, **options) as caller:
        assert [caller.call(method, path, harmless=harmless) for _ in range(20)] == ["done"] * 20
    assert max(Counter(call for call, _ in caller.fleet.executed).values()) == 1


@pytest.mark.parity("L6")
@LIBRARIES
def test_a_read_that_must_not_be_repeated(library: str) -> None:
    """At first contact it is; behind turns it ends as it would for a POST, and the caller remembers."""
    with calling(library, 2) as caller:
        caller.fleet.turn = lambda _number: 0
        assert caller.call("GET", "/once") == "done"
        assert len(caller.fleet.seen) == 2
        caller.fleet.turn = lambda number: number
        outcomes = {caller.call("GET", "/once") for _ in range(10)}
    assert "maybe" in outcomes
    assert max(Counter(call for call, _ in caller.fleet.executed).values()) == 1


@pytest.mark.parity("L6")
@LIBRARIES
def test_a_large_body_is_uploaded_once(library: str) -> None:
    """At first contact, and where instances take turns; the question before it is answered by any of them."""
    content = b"x" * 70_000
    with calling(library, 2) as caller:
        caller.fleet.turn = lambda _number: 0
        assert caller.call("PUT", "/", content=content) == "done"
        assert [seen.environ["REQUEST_METHOD"] for seen in caller.fleet.seen] == ["OPTIONS", "PUT"]
        assert caller.call("PUT", "/", content=content) == "done"
        assert len(caller.fleet.seen) == 3
        for number in (1, 0):  # another instance, and the first one again
            caller.fleet.turn = lambda _number, number=number: number  # type: ignore[misc]
            caller.call("POST", "/")
        del caller.fleet.seen[:]
        assert caller.call("PUT", "/", content=content) == "done"
        assert [seen.environ["REQUEST_METHOD"] for seen in caller.fleet.seen] == ["OPTIONS", "PUT"]


class Narrowed(RealmSource):
    """Tickets for PUT alone."""

    def credentials(self, target: str, scopes: Any = None) -> Credentials:
        return RealmSource.credentials(self, target, scopes).narrow(methods=["PUT"])


@pytest.mark.parity("L6")
def test_a_question_that_the_ticket_does_not_allow_teaches_all_the_same() -> None:
    """The refusal of OPTIONS names the epoch, and says nothing of PUT."""
    with calling("httpx", 1) as caller:
        narrowed = OrthrosAuth({ORIGIN: "orders"}, client=Narrowed(caller.fleet.realm))
        response = caller.session.put(f"{ORIGIN}/", content=b"x" * 70_000, auth=narrowed)
        assert response.status_code == 200
        assert [one.status_code for one in response.history] == [403]
        assert [seen.environ["REQUEST_METHOD"] for seen in caller.fleet.seen] == ["OPTIONS", "PUT"]


# Who stands between: to which instance a request goes, which captured requests go where before that, and a restart.
MOVES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=2), st.booleans()),
    max_size=9,
)


@pytest.mark.parity("L6")
@given(moves=MOVES, call=st.sampled_from([("POST", "/"), ("GET", "/"), ("GET", "/once")]), met=st.booleans())
def test_nothing_that_must_not_run_twice_does(
    moves: list[tuple[int, list[tuple[int, int]], bool]], call: tuple[str, str], met: bool
) -> None:
    """Whoever stands between deals requests out, delivers copies before and after them, and restarts instances.

    What was refused never runs, what succeeded ran once, and where that is left open it ran once at most. A read of a
    route that must not be repeated runs once at most as well, also before its caller knows; but until then, its caller
    takes a refusal for one that matters little.
    """
    with calling("httpx", 3) as caller:
        fleet = caller.fleet
        if met:
            caller.call("GET", "/")
        del fleet.seen[:], fleet.executed[:], caller.outcomes[:]
        left = list(moves)

        def meddle(_seen: Seen) -> None:
            _instance, copies, restarts = left[0] if left else (0, [], False)
            for which, where in copies:
                fleet.deliver(fleet.seen[which % len(fleet.seen)], where)
            if restarts:
                fleet.restart(0)

        fleet.meddle = meddle
        fleet.turn = lambda _number: left.pop(0)[0] if left else 0
        for _ in range(3):
            caller.call(*call)
        for later_s in (0, 30, 40):  # what was captured is delivered everywhere, at once and later
            fleet.realm.clock.advance(later_s)
            for seen in fleet.seen:
                for number in range(fleet.size):
                    fleet.deliver(seen, number)
    runs = Counter(call for call, _ in fleet.executed)
    for name, outcome in caller.outcomes:
        if call == ("GET", "/"):
            assert runs[name] >= (outcome == "done")
        elif outcome == "done":
            assert runs[name] == 1
        else:
            assert runs[name] <= (outcome == "maybe" or call[0] == "GET"), outcome
