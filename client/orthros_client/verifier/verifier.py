"""The verifier that a service embeds: bytes in, a verified caller out, or an exception.

No I/O but an optional lease file, no event loop, safe to share between threads. Knows neither the
daemon nor the KDC: the service's own key is enough.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Self

from attrs import field, frozen

from orthros_client.verifier.app_rules import guarded
from orthros_client.verifier.lease import ReplayLease
from orthros_client.verifier.verified import VerifiedCaller
from orthros_protocol import (
    SAFE,
    USE_HTTP,
    USE_RAW,
    Access,
    Address,
    AppRule,
    ApRequest,
    ChainRule,
    Demand,
    EpochKeeper,
    Keytab,
    LocalMisuse,
    Misconfigured,
    Presented,
    Principal,
    ReplayCache,
    ReplaySet,
    Timestamp,
    accept,
    bind_raw,
    open_demand,
    open_presented,
    parse_ap_request,
)
from orthros_protocol.derivation import digest
from orthros_protocol.limits import MAX_TICKET_LIFE_S, WINDOW_FUTURE_MS

__all__ = ["Verifier"]

KEY_VARIABLE: Final = "ORTHROS_KEY"
KEY_FILE_VARIABLE: Final = "ORTHROS_KEY_FILE"


def _wall_clock() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@frozen(eq=False)
class _Process:
    """What belongs to one process and is made anew after a fork."""

    pid: int
    replay: ReplayCache
    epochs: EpochKeeper
    lock: threading.Lock = field(factory=threading.Lock)
    heirs: dict[int, _Process] = field(factory=dict)

    def heir(self, pid: int, candidate: _Process) -> _Process:
        """The successor in the forked child `pid`: `candidate`, unless another thread was first."""
        # No lock, since one that was held at the fork stays held; setdefault is one step.
        return self.heirs.setdefault(pid, candidate)


class Verifier:
    """Verifies AP-REQs for one service.

    keytab: the service's key file, full or verify-only.
    max_ticket_life_s: refuse tickets issued for longer, in seconds.
    replay_capacity, replay_per_client: entries of the replay set, in all and for one client.
    opened_capacity: how many opened tickets are kept.
    app_caveats: the service's own kinds of caveats, `namespace/name` to a function of payload and access that returns
        why it refuses, or None; without one of them, or when it fails, the request is refused. They run one at a time,
        so they decide quickly and without I/O.
    chain: what the path of a call on behalf of others may look like; by default as long as tickets allow, nobody twice.

    By default every request must name this process's epoch, so a captured one is dead on every other
    worker, replica and restart. Three opt-outs save the first round trip, each at a price:

    single_process_lease: path of a lease file. Price: exactly one process on one host may use this key
        file's service; a second process cannot take the lease.
    shared_replay_cache: a replay cache that all processes of the service share. Price: it must be up.
    at_most_once_per_instance: requests marked safe pass without an epoch. Price: such a request may run
        once on every worker and replica.

    `clock` (wall, milliseconds), `monotonic_ms` and `entropy` exist for tests.
    Raises Misconfigured for a lease that cannot be held, LocalMisuse for contradicting options.
    """

    def __init__(
        self,
        keytab: Keytab,
        *,
        max_ticket_life_s: int = MAX_TICKET_LIFE_S,
        replay_capacity: int = 1_000_000,
        replay_per_client: int = 250_000,
        opened_capacity: int = 4096,
        app_caveats: Mapping[str, AppRule] | None = None,
        chain: ChainRule | None = None,
        single_process_lease: str | os.PathLike[str] | None = None,
        shared_replay_cache: ReplayCache | None = None,
        at_most_once_per_instance: bool = False,
        clock: Callable[[], Timestamp] = _wall_clock,
        monotonic_ms: Callable[[], int] = _monotonic_ms,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if single_process_lease is not None and shared_replay_cache is not None:
            raise LocalMisuse("value-invalid", "a lease is for one process, a shared replay cache for several")
        if not 1 <= max_ticket_life_s <= MAX_TICKET_LIFE_S:
            raise LocalMisuse("value-invalid", f"max_ticket_life_s is 1 to {MAX_TICKET_LIFE_S}")
        if min(replay_capacity, replay_per_client, opened_capacity) < 1:
            raise LocalMisuse("value-invalid", "capacities are at least 1")
        self._keytab = keytab
        self._app_caveats = guarded(app_caveats)
        self._chain = chain or ChainRule()
        self._max_life_s = max_ticket_life_s
        self._capacities = (replay_capacity, replay_per_client)
        self._shared = shared_replay_cache
        self._safe_without_epoch = at_most_once_per_instance
        self._clock = clock
        self._monotonic_ms = monotonic_ms
        self._entropy = entropy
        self._lease = None if single_process_lease is None else ReplayLease(single_process_lease, clock())
        self._opened_capacity = opened_capacity
        self._opened: OrderedDict[bytes, Presented] = OrderedDict()
        self._process = self._begin_process()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: object) -> Self:
        """From a protected key file. Raises Misconfigured (see `Keytab.load`)."""
        return cls(Keytab.load(path), **options)  # type: ignore[arg-type]  # the options are __init__'s own

    @classmethod
    def from_environment(cls, **options: object) -> Self:
        """From `ORTHROS_KEY` (the text form) or `ORTHROS_KEY_FILE` (a path).

        Raises Misconfigured `key-missing` when neither or both are set.
        """
        text, path = os.environ.get(KEY_VARIABLE), os.environ.get(KEY_FILE_VARIABLE)
        if bool(text) == bool(path):
            raise Misconfigured("key-missing", f"set one of {KEY_VARIABLE} and {KEY_FILE_VARIABLE}")
        keytab = Keytab.from_text(text) if text else Keytab.load(path or "")
        return cls(keytab, **options)  # type: ignore[arg-type]  # the options are __init__'s own

    def __repr__(self) -> str:
        return f"<Verifier {self._keytab.principal} kvno={self._keytab.kvnos}>"

    @property
    def principal(self) -> Principal:
        """The service that this verifier speaks for."""
        return self._keytab.principal

    @property
    def chain(self) -> ChainRule:
        """What the path of a call on behalf of others may look like, unless a route says otherwise."""
        return self._chain

    def replace_keytab(self, keytab: Keytab) -> None:
        """Takes another version of the key file. The epoch and what was seen stay: no client notices.

        Raises Misconfigured `conflict` when it belongs to another principal, or to one re-created under its name.
        """
        held = self._keytab
        if (keytab.principal, keytab.uid) != (held.principal, held.uid):
            raise Misconfigured("conflict", f"keys of {keytab.principal} uid {keytab.uid}, not of {held.principal}")
        with self._process_of(os.getpid()).lock:
            self._keytab = keytab
            self._opened.clear()  # a key that is no longer held opens nothing

    def accept(
        self,
        request: bytes,
        endpoint: str,
        payload: bytes = b"",
        *,
        channel_binding: bytes | None = None,
        peer: Address | None = None,
        accept_user: bool = False,
        chain: ChainRule | None = None,
    ) -> VerifiedCaller:
        """Verifies an AP-REQ made for `endpoint` and `payload` (profile raw/1).

        channel_binding: what names the channel; a channel caveat wants it to be a 32-byte digest.
        peer: the address of the transport's other end, for caveats that ask for it.
        accept_user: whether this handler serves calls on behalf of others; refused otherwise.
        chain: what the path may look like here, in the place of the verifier's own rule.
        Raises Malformed or PeerMisbehaved for bytes that prove nothing, Refused for a proven request that
        is denied; then `.reply` holds the bytes to send back, so that the caller learns why, and `.presenter` says
        who it is, for the log.
        """
        return self._accept(
            parse_ap_request(request),
            USE_RAW,
            bind_raw(endpoint, payload, channel_binding=channel_binding),
            accept_user,
            chain,
            peer=peer,
            channel=channel_binding,
        )

    def accept_http(
        self,
        message: bytes,
        bind: bytes,
        *,
        method: str,
        path: str,
        peer: Address | None = None,
        channel: bytes | None = None,
        accept_user: bool = False,
        chain: ChainRule | None = None,
    ) -> VerifiedCaller:
        """Verifies the AP-REQ of an HTTP request (profile http/1).

        bind: `HttpBinding.bind()` of the request that was really received, 32 bytes.
        method, path: of that request, the path raw and without the query, for caveats that ask for them.
        peer: the address of the transport's other end, channel: 32 bytes that name it; None when unknown.
        accept_user: whether this route serves calls on behalf of others; refused otherwise.
        chain: what the path may look like here, in the place of the verifier's own rule.
        Raises as `accept`; `.reply` of a Refused goes into the challenge.
        """
        return self._accept(
            parse_ap_request(message), USE_HTTP, bind, accept_user, chain,
            method=method, path=path, peer=peer, channel=channel,
        )  # fmt: skip

    def open_demand(self, cid: bytes) -> Demand:
        """What somebody demands of this service as a discharger, sealed for it in `cid`.

        Raises Malformed, PeerMisbehaved or Refused as `orthros_protocol.open_demand`: nobody has proven anything yet.
        """
        return open_demand(cid, self._keytab, now=self._clock())

    def _accept(
        self,
        request: ApRequest,
        use: int,
        bind: bytes | None,
        accept_user: bool,
        chain: ChainRule | None,
        *,
        peer: Address | None,
        channel: bytes | None,
        method: str | None = None,
        path: str | None = None,
    ) -> VerifiedCaller:
        process = self._process_of(pid := os.getpid())
        # One thread at a time: a renewal of the epoch empties the replay set, and no request that was measured
        # against the old epoch or the old time may enter it afterwards.
        with process.lock:
            # One reading of the clock serves the replay set, the window and the ticket's times.
            now = self._clock()
            epoch = process.epochs.current(now=now, monotonic_ms=self._monotonic_ms(), pid=pid)
            accepted = accept(
                request,
                self._open,
                now=now,
                use=use,
                bind=bind,
                replay=process.replay,
                epoch=epoch,
                epochless=self._passes_without_epoch,
                accept_user=accept_user,
                max_life_s=self._max_life_s,
                access=Access(now=now, method=method, path=path, peer=peer, channel=channel, app=self._app_caveats),
                chain=chain or self._chain,
            )
        return VerifiedCaller(accepted, now)

    def _process_of(self, pid: int) -> _Process:
        process = self._process
        if pid != process.pid:
            # The parent's locks may have been held at the fork: start over instead of touching them.
            process = self._process = process.heir(pid, self._begin_process())
        return process

    def _begin_process(self) -> _Process:
        if self._shared is not None:
            return _Process(os.getpid(), self._shared, EpochKeeper(self._entropy, lambda: None))
        capacity, per_client = self._capacities
        replay = ReplaySet(capacity=capacity, per_client=per_client)
        return _Process(os.getpid(), replay, EpochKeeper(self._entropy, replay.clear))

    def _passes_without_epoch(self, request: ApRequest, now: Timestamp) -> bool:
        # After a backward step, what was accepted before it lies in the future: epochs only, until past it.
        if request.ts <= self._process.epochs.reached_before_step + WINDOW_FUTURE_MS:
            return False
        if self._shared is not None:
            return True
        if self._lease is not None:
            return self._lease.covers(request.ts)
        return self._safe_without_epoch and bool(request.flags & SAFE)

    def _open(self, ticket: bytes, caveats: bytes) -> Presented:
        name = digest(ticket)
        presented = self._opened.get(name)
        if presented is not None:
            self._opened.move_to_end(name)
        else:
            presented = self._opened[name] = open_presented(ticket, b"", self._keytab)
            if len(self._opened) > self._opened_capacity:
                self._opened.popitem(last=False)
        # A ticket vouches for itself, caveats do not before the MAC: whoever saw a ticket pass can make up as many
        # lists for it as he likes, so what they lead to is not kept.
        return presented.behind(caveats) if caveats else presented
