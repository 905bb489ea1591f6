"""The replay store of all processes that name one Redis or Valkey server. Needs the extra `redis`.

One script per request asks, judges the memory by the server's clock, and burns; the epoch is derived from what the
script saw of the server in that moment. Nothing in the server has a time to live: a server clock that jumps would end
entries while the epoch stays. Knows nothing of messages.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import structlog

from orthros_client.verifier.stores.redis_script import SCRIPT
from orthros_client.verifier.stores.shares import Shares
from orthros_protocol.errors import Misconfigured
from orthros_protocol.exchanges.epochs import RANDOM_BYTES, derive_epoch
from orthros_protocol.exchanges.replay import Admission, Entry, Standing
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import CLOCK_STEP_MS, TOO_FAR_AHEAD_MS, WINDOW_PAST_MS
from orthros_runtime.clocks import Clocks, Entropy, read_clocks
from orthros_runtime.extras import extra

with extra("redis"):
    import redis
    from redis.backoff import NoBackoff
    from redis.connection import parse_url
    from redis.retry import Retry

__all__ = ["RedisStore"]

WAIT_S: Final = 0.25
_BUSY_FOR_S: Final = 1.0
_TELL_EVERY_S: Final = 10.0
_QUICK_S: Final = 0.05
_MOST_CONNECTIONS: Final = 64
_BUCKET_MS: Final = 16_000
_MOST_DELETED: Final = 64
# Two masters of one failover may differ by this: what the old one accepted is dated no later than the new one's birth.
_MARGIN_MS: Final = 10_000
_MOST_CLOCK_DIFFERENCE_MS: Final = 5_000
_NUMBERS: Final = (WINDOW_PAST_MS, TOO_FAR_AHEAD_MS, _BUCKET_MS, CLOCK_STEP_MS, _MARGIN_MS, _MOST_DELETED)
_WORDS: Final = {
    b"fresh": Admission.FRESH,
    b"seen": Admission.SEEN,
    b"stale": Admission.STALE,
    b"ahead": Admission.AHEAD,
    b"quota": Admission.QUOTA,
    b"full": Admission.FULL,
}

_log = structlog.get_logger("orthros.verifier")


_TROUBLE: Final = {
    b"role": "it is a replica",
    b"policy": "its maxmemory-policy is not noeviction",
    b"memory": "it has no memory left",
}
# What a URL may say besides address, name, password and database: where its certificates are.
_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


class RedisStore:
    """A bounded store below one prefix of a server's keys. Thread-safe.

    url: `rediss://...`, or `redis://...` to this host alone, or `unix://...`; it may hold a password and is shown
        nowhere. name: what tells this service from others. `clocks` and `entropy` exist for tests.
    A server that does not answer makes every request busy, also at the start. Raises Misconfigured for a URL that
    cannot be used, and for a server that answers and cannot serve: a replica, a cluster, one that evicts keys or may
    do so, one whose clock is more than 5 s from this host's.
    """

    is_remote: Final = True
    """`admit` waits for the network: programs with an event loop call it in a thread."""

    def __init__(
        self,
        url: str,
        name: str,
        shares: Shares | None = None,
        *,
        clocks: Clocks = read_clocks,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._prefix = f"orthros:replay:{{{name}}}"
        self._shares = shares or Shares()
        self._clocks = clocks
        self._entropy = entropy
        self._busy_until_s = 0.0
        self._answered_s = 0.0
        self._told_s = 0.0
        self._server = _connect(url)
        self._script: Callable[..., Any] = self._server.register_script(SCRIPT)
        try:
            self._check()
        except (redis.RedisError, OSError) as error:
            self._tell(_words_of(error))

    def __repr__(self) -> str:
        return f"<RedisStore {self._prefix}>"

    def admit(self, entry: Entry) -> Standing:
        """See `ReplayStore`. After 250 ms in which nobody got an answer, everything is busy for a second.

        A crowded server that answers others meanwhile is busy for this request alone.
        """
        here = self._clocks()[0]
        now_s = time.monotonic()
        if now_s < self._busy_until_s:
            return Standing.unavailable(here)
        try:
            answer = self._ask(entry)
        except (redis.RedisError, OSError) as error:
            return self._unavailable(here, _words_of(error), since_s=now_s)
        answered_s = time.monotonic()
        if answered_s - now_s > WAIT_S and self._answered_s < now_s:
            # It was burnt, so this answer counts; the next second's requests do not wait as well.
            self._busy_until_s = answered_s + _BUSY_FOR_S
        self._answered_s = answered_s
        word, there = answer[0], Timestamp(answer[1])
        if word not in _WORDS:
            return self._unavailable(here, _TROUBLE.get(word, "it answers something else"))
        if abs(there - here) > _MOST_CLOCK_DIFFERENCE_MS:
            return self._unavailable(here, _clocks_differ(there, here))
        born, random, run, history = answer[2:]
        return Standing(_WORDS[word], derive_epoch(random, run, history), Timestamp(born), there)

    def _ask(self, entry: Entry) -> list[Any]:
        """The script's answer. The token is the call's own, so a lost answer can be asked for again."""
        shares, client = self._shares, entry.client.encode("ascii")
        values = (
            entry.tag,
            entry.ts,
            digest(client)[:8],
            digest(client + b"\0" + entry.ticket)[:8],
            self._entropy(RANDOM_BYTES),
            self._entropy(RANDOM_BYTES),
            shares.capacity,
            shares.per_client,
            shares.per_ticket,
            *_NUMBERS,
        )
        began_s = time.monotonic()
        try:
            answer: list[Any] = self._script(keys=[self._prefix], args=values)
        except redis.ConnectionError:
            if time.monotonic() - began_s > _QUICK_S:
                raise
            # A server that was restarted leaves dead connections behind: once more, over a new one.
            self._server.connection_pool.disconnect(inuse_connections=False)
            answer = self._script(keys=[self._prefix], args=values)
        return answer

    def _check(self) -> None:
        """Raises Misconfigured for a server that cannot keep a memory unbroken, and what redis raises."""
        facts: dict[str, Any] = self._server.info("everything")
        seconds, microseconds = self._server.time()
        here, there = self._clocks()[0], Timestamp(seconds * 1000 + microseconds // 1000)
        objection = None
        if facts.get("role") != "master":
            objection = "it is a replica: name the master"
        elif facts.get("cluster_enabled"):
            objection = "it is a cluster: a store needs one server"
        elif facts.get("maxmemory_policy", "noeviction") != "noeviction":
            objection = (
                f"its maxmemory-policy is {facts['maxmemory_policy']}: set noeviction, or entries could be replayed"
            )
        elif abs(there - here) > _MOST_CLOCK_DIFFERENCE_MS:
            objection = _clocks_differ(there, here)
        if objection is not None:
            raise Misconfigured("config-invalid", f"the server of ORTHROS_REPLAY_STORE: {objection}")

    def _unavailable(self, here: Timestamp, why: str, *, since_s: float = math.inf) -> Standing:
        """`since_s`: when the question was asked, if others may have been answered meanwhile."""
        if self._answered_s < since_s:
            self._busy_until_s = time.monotonic() + _BUSY_FOR_S
        self._tell(why)
        return Standing.unavailable(here)

    def _tell(self, why: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._told_s:
            self._told_s = now_s + _TELL_EVERY_S
            _log.error("replay-store-unavailable", store=self._prefix, error=why)


def _words_of(error: Exception) -> str:
    # What a server answers names commands; what fails on the way there may name the URL.
    return f"{type(error).__name__}: {error}"[:200] if isinstance(error, redis.ResponseError) else type(error).__name__


def _clocks_differ(there: int, here: int) -> str:
    return f"its clock is {abs(there - here) / 1000:.1f} s from this host's, at most 5 s"


def _connect(url: str) -> redis.Redis:
    """A client that answers within the deadline or raises. Nothing is sent yet. Raises Misconfigured."""
    try:
        parts: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise Misconfigured("config-invalid", "ORTHROS_REPLAY_STORE: not a URL of a Redis server") from None
    unknown = sorted(parse_qs(urlsplit(url).query, keep_blank_values=True).keys() - _OPTIONS)
    if unknown:
        raise Misconfigured(
            "config-invalid", f"ORTHROS_REPLAY_STORE: options of a URL are {', '.join(sorted(_OPTIONS))}, and no others"
        )
    if url.startswith("redis://") and not _is_this_host(parts.get("host", "localhost")):
        raise Misconfigured(
            "config-invalid", "ORTHROS_REPLAY_STORE: to another host only rediss://, which encrypts and authenticates"
        )
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=_MOST_CONNECTIONS,
        timeout=WAIT_S,
        socket_timeout=WAIT_S,
        socket_connect_timeout=WAIT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return redis.Redis(connection_pool=pool)


def _is_this_host(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
