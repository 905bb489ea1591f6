"""The replay store in a real Redis or Valkey: what any store does, and what becomes of it when the server does not."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from typing import Self

import pytest
import redis
import structlog.testing

from orthros_client.verifier.stores.redis_server import WAIT_S, RedisStore
from orthros_client.verifier.stores.shares import Shares
from orthros_protocol.errors import Misconfigured
from orthros_protocol.exchanges.replay import NO_EPOCH, Admission, Entry
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import TOO_FAR_AHEAD_MS
from orthros_runtime.clocks import read_clocks
from tests.replay_stores.conftest import NAME
from tests.support.redis_server import RedisServer

FRESH, SEEN, STALE, QUOTA = Admission.FRESH, Admission.SEEN, Admission.STALE, Admission.QUOTA


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(server.url, NAME)


def entry(*, after_ms: int = 0, client: str = "billing@test.realm", ticket: bytes = b"t" * 16) -> Entry:
    return Entry(os.urandom(16), Timestamp(read_clocks()[0] + after_ms), client, ticket)


def words(store: RedisStore, *entries: Entry) -> list[Admission]:
    return [store.admit(one).admission for one in entries]


def head(server: RedisServer, **changes: object) -> None:
    """Changes what the store has noted of its memory: the past, as it would be after another one."""
    server.client.hset(f"orthros:replay:{{{NAME}}}:m", mapping={name: str(value) for name, value in changes.items()})


def test_every_process_that_names_the_server_shares_the_memory(server: RedisServer) -> None:
    stores, one = [RedisStore(server.url, NAME) for _ in range(2)], entry()
    told = [each.admit(one) for each in stores]
    assert [each.admission for each in told] == [FRESH, SEEN]
    assert told[0].epoch == told[1].epoch != NO_EPOCH


def test_two_services_share_a_server_and_no_memory(server: RedisServer) -> None:
    one = entry()
    told = [RedisStore(server.url, name).admit(one) for name in (NAME, "another")]
    assert [each.admission for each in told] == [FRESH, FRESH]
    assert told[0].epoch != told[1].epoch


def test_of_equal_requests_at_once_one_is_fresh(store: RedisStore) -> None:
    one, answers = entry(), []
    barrier = threading.Barrier(16)

    def admit() -> None:
        barrier.wait()
        answers.append(store.admit(one).admission)

    threads = [threading.Thread(target=admit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answers) == Counter({FRESH: 1, SEEN: 15})


def test_the_servers_time_judges(server: RedisServer) -> None:
    """The host's clock is a little wrong; what is ahead, old or newborn is so by the server's."""
    wrong = RedisStore(server.url, NAME, clocks=lambda: (Timestamp(read_clocks()[0] + 4_000), 0))
    told = wrong.admit(entry())
    assert abs(told.now - read_clocks()[0]) < 2_000
    assert told.born == told.now + 10_000  # another master may be that much ahead
    assert words(wrong, entry(after_ms=TOO_FAR_AHEAD_MS + 3_000), entry(after_ms=-90_000)) == [Admission.AHEAD, STALE]


def test_a_host_whose_clock_is_wrong_is_told_at_the_start_and_busy_later(server: RedisServer) -> None:
    ahead_ms = [0]
    store = RedisStore(server.url, NAME, clocks=lambda: (Timestamp(read_clocks()[0] + ahead_ms[0]), 0))
    ahead_ms[0] = 6_000
    assert store.admit(entry()).epoch == NO_EPOCH
    with pytest.raises(Misconfigured, match="clock"):
        RedisStore(server.url, NAME, clocks=lambda: (Timestamp(read_clocks()[0] + 6_000), 0))


def test_what_has_expired_is_deleted_a_few_at_a_time_and_does_not_count(server: RedisServer) -> None:
    store = RedisStore(server.url, NAME, Shares(capacity=400, per_client=400, per_ticket=400))
    old = entry()
    assert set(words(store, old, *(entry() for _ in range(199)))) == {FRESH}
    prefix = f"orthros:replay:{{{NAME}}}"
    later = int(server.client.hget(f"{prefix}:m", "floor") or 0) + 8
    head(server, floor=later)
    assert store.admit(old).admission is STALE
    sizes = []
    for _ in range(6):
        store.admit(old)
        sizes.append(sum(server.client.hlen(key) for key in server.client.scan_iter(f"{prefix}:*:t")))
    assert sizes[-1] == 0
    assert all(before - after <= 64 for before, after in pairwise(sizes))


def test_nothing_in_the_server_has_a_time_to_live(server: RedisServer, store: RedisStore) -> None:
    """A server clock that jumps would end entries while the epoch stays."""
    words(store, *(entry(after_ms=1_000 * n) for n in range(20)))
    assert {server.client.ttl(key) for key in server.client.scan_iter()} == {-1}


@pytest.mark.parametrize("change", [{"run": "another"}, {"history": "another"}, {"high": 2_000_000_000_000}])
def test_any_doubt_about_the_memory_begins_a_new_one(
    server: RedisServer, store: RedisStore, change: dict[str, object]
) -> None:
    """Another run, another history, a clock that went back by more than a second."""
    one = entry()
    before = store.admit(one)
    head(server, **change)
    after = store.admit(one)
    assert (after.admission, after.epoch != before.epoch) == (FRESH, True)
    assert after.born >= max(after.now, int(str(change.get("high", 0)))) + 10_000
    assert store.admit(one).epoch == after.epoch


def test_a_birth_never_goes_back(server: RedisServer, store: RedisStore) -> None:
    store.admit(entry())
    head(server, high=2_000_000_000_000)
    born = store.admit(entry()).born
    head(server, run="another")
    assert store.admit(entry()).born == born


def test_flushall_begins_a_new_memory(server: RedisServer, store: RedisStore) -> None:
    one = entry()
    before = store.admit(one)
    server.client.flushall()
    after = store.admit(one)
    assert (after.admission, after.epoch != before.epoch, after.born > one.ts) == (FRESH, True, True)


def test_a_lost_answer_can_be_asked_for_again(server: RedisServer, store: RedisStore) -> None:
    """The connection breaks after the server has burnt: with the call's own token, what it finds is its own."""
    one, script, calls = entry(), store._script, []

    def lose_the_first(**arguments: object) -> object:
        answer = script(**arguments)
        calls.append(arguments)
        if len(calls) == 1:
            raise redis.ConnectionError("the answer is lost")
        return answer

    store._script = lose_the_first
    assert store.admit(one).admission is FRESH
    store._script = script
    assert store.admit(one).admission is SEEN


def test_a_restarted_server_is_another_memory_and_calls_go_on() -> None:
    with RedisServer() as server:
        store, one = RedisStore(server.url, NAME), entry()
        before = store.admit(one)
        server.kill()
        server.start()
        after = store.admit(one)
        assert (after.admission, after.epoch != before.epoch) == (FRESH, True)
        assert after.born >= one.ts + 10_000 - 1_000


def test_a_server_that_is_away_makes_everything_busy(server: RedisServer) -> None:
    with RedisServer() as short, structlog.testing.capture_logs() as lines:
        store = RedisStore(short.url, NAME)
        store.admit(entry())
        short.pause()
        told = [store.admit(entry()) for _ in range(50)]
        short.resume()
    assert {(one.admission, one.epoch) for one in told} == {(Admission.FULL, NO_EPOCH)}
    assert [line["event"] for line in lines] == ["replay-store-unavailable"]
    away = RedisStore(short.url, NAME)  # a service starts also while its store is down
    assert away.admit(entry()).epoch == NO_EPOCH


class SlowLine:
    """Leads connections to a server; while `held` is set, those that are new then get no answer."""

    def __init__(self, port: int) -> None:
        self.held, self.caught = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._upstream = port
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is shut down
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                if self.held.is_set():
                    self.caught.set()
                    continue
                far = socket.create_connection(("127.0.0.1", self._upstream))
                self._sockets.append(far)
                for source, sink in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=(source, sink)))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # either side hung up
            while data := source.recv(65536):
                sink.sendall(data)


def test_one_answer_that_stays_away_makes_nothing_else_busy_while_others_come(server: RedisServer) -> None:
    """A crowded server keeps one of many waiting for too long; one that has stopped answers nobody."""
    with SlowLine(server.port) as line:
        store = RedisStore(f"redis://127.0.0.1:{line.port}/0", NAME)
        assert words(store, entry()) == [FRESH]
        pool = store._server.connection_pool
        in_use = pool.get_connection()  # so that the next question takes a connection of its own
        line.held.set()
        late: list[Admission] = []
        waiting = threading.Thread(target=lambda: late.append(store.admit(entry()).admission))
        waiting.start()
        assert line.caught.wait(10)
        pool.release(in_use)
        others = [timed(store)]
        while waiting.is_alive():
            others.append(timed(store))
        line.held.clear()
        others.append(timed(store))  # at once, for it was no second without answers
        assert late == [Admission.FULL]
        # On a crowded machine another one waits for too long as well, and if none was answered meanwhile, it makes
        # those behind it busy. None is told busy before that.
        until = next((at for at, (_, waited_s) in enumerate(others) if waited_s >= WAIT_S), len(others))
        assert {word for word, _ in others[:until]} <= {FRESH}
        assert FRESH in {word for word, _ in others}


def timed(store: RedisStore) -> tuple[Admission, float]:
    began = time.monotonic()
    return store.admit(entry()).admission, time.monotonic() - began


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--maxmemory-policy", "allkeys-lru"), "noeviction"), (("--cluster-enabled", "yes"), "cluster"),
        (("--replicaof", "127.0.0.1 1"), "replica"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_keep_a_memory_is_refused_at_the_start(options: tuple[str, ...], word: str) -> None:
    with RedisServer(*options) as server, pytest.raises(Misconfigured, match=word):
        RedisStore(server.url, NAME)


def test_a_master_that_became_a_replica_is_busy() -> None:
    with RedisServer() as server:
        store = RedisStore(server.url, NAME)
        store.admit(entry())
        server.client.replicaof("127.0.0.1", "1")
        assert store.admit(entry()).epoch == NO_EPOCH


def test_a_server_without_memory_left_is_busy_and_forgets_nothing() -> None:
    """Full never renews the epoch."""
    with RedisServer() as server:
        store, one = RedisStore(server.url, NAME), entry()
        before = store.admit(one)
        server.client.config_set("maxmemory", "1")
        assert store.admit(entry()).epoch == NO_EPOCH
        server.client.config_set("maxmemory", "0")
        store._busy_until_s = 0.0
        after = store.admit(one)
        assert (after.admission, after.epoch) == (SEEN, before.epoch)


def test_a_server_without_memory_for_more_than_a_minute_begins_again() -> None:
    """All that is left has expired by then, and takes the room of what comes."""
    with RedisServer() as server:
        store, one = RedisStore(server.url, NAME), entry()
        before = store.admit(one)
        head(server, high=before.now - 90_000)
        server.client.config_set("maxmemory", "1")
        assert store.admit(entry()).epoch == NO_EPOCH
        assert not [key for key in server.client.scan_iter() if not key.endswith(b":m")]
        server.client.config_set("maxmemory", "0")
        store._busy_until_s = 0.0
        assert store.admit(entry()).epoch not in {before.epoch, NO_EPOCH}


def test_a_server_that_evicts_is_busy_and_what_it_evicted_is_no_replay() -> None:
    """Also when it did so for a moment only: what is gone could be presented again."""
    with RedisServer() as server:
        store = RedisStore(server.url, NAME)
        burnt = [entry(after_ms=1_000 * n) for n in range(200)]
        before = {store.admit(one).epoch for one in burnt}
        server.client.config_set("maxmemory-policy", "allkeys-random")
        assert store.admit(entry()).epoch == NO_EPOCH
        used = server.client.info("memory")["used_memory"]
        server.client.config_set("maxmemory", str(used))
        for n in range(100):
            with suppress(redis.OutOfMemoryError):
                server.client.set(f"other{n}", b"x" * 1_000)
        assert server.client.info("stats")["evicted_keys"]
        server.client.config_set("maxmemory", "0")
        server.client.config_set("maxmemory-policy", "noeviction")
        store._busy_until_s = 0.0
        again = [store.admit(one) for one in burnt]
        assert not {one.epoch for one in again if one.admission is FRESH} & before


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis.example:6379/0",
        "redis://:hunter2@10.0.0.5/0",
        "redis://127.0.0.1:port/0",
        "ftp://x/",
        "redis://127.0.0.1/0?socket_timeout=20",
        "redis://127.0.0.1/0?decode_responses=True",
        "redis://127.0.0.1/?a=",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(url: str) -> None:
    """Plain text only to this host; a password is never told."""
    with pytest.raises(Misconfigured) as told:
        RedisStore(url, NAME)
    assert url not in str(told.value)
    assert "hunter2" not in str(told.value)


def test_the_store_does_not_show_its_url(server: RedisServer) -> None:
    store = RedisStore(server.url.replace("//", "//:hunter2@"), NAME)
    assert "hunter2" not in repr(store) + repr(vars(store).get("_prefix"))
