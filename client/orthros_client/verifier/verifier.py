"""The verifier that a service embeds: bytes in, a verified caller out, or an exception.

No event loop, safe to share between threads. Knows neither the daemon nor the KDC: the service's own key is enough.
What it burnt, it shares with the other processes of the service through its replay store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from typing import Final, Required, Self, TypedDict, Unpack

from attrs import evolve

from orthros_client.flows import drive
from orthros_client.options import check_options
from orthros_client.verifier.app_rules import guarded
from orthros_client.verifier.stores.choice import open_store
from orthros_client.verifier.stores.shares import Shares
from orthros_client.verifier.verified import VerifiedCaller
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.exchanges.acceptance import AcceptanceRules, Received, judge, prove
from orthros_protocol.exchanges.ap_exchange import SAFE, USE_HTTP, USE_RAW, ApRequest, parse_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.replay import Entry, ReplayStore, Standing
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.access import AppRule, PeerSource
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.discharges import Demand, open_demand
from orthros_protocol.tickets.presented import Presented, open_presented
from orthros_runtime.bounded import BoundedMap
from orthros_runtime.clocks import Clocks, Entropy, read_clocks
from orthros_runtime.process_lock import ProcessLock

__all__ = ["Verifier", "VerifierOptions"]

KEY_VARIABLE: Final = "ORTHROS_KEY"
KEY_FILE_VARIABLE: Final = "ORTHROS_KEY_FILE"


Accepting = Generator[Entry, Standing, VerifiedCaller]
"""One acceptance: yields the question for the replay store, once, and is to be sent the store's answer."""


class CommonFacts(TypedDict, total=False):
    """What holds for a request of any profile.

    peer: the address of the transport's other end, for caveats that ask for it.
    accept_user: whether this handler serves calls on behalf of others; refused otherwise.
    chain: what the path may look like here, in the place of the verifier's own rule.
    """

    peer: PeerSource
    accept_user: bool
    chain: ChainRule | None


class RawFacts(CommonFacts, total=False):
    """Those of profile raw/1.

    channel_binding: what names the channel; a channel caveat wants it to be a 32-byte digest.
    repeatable: whether this call may be executed by a second replay instance; None: if its client says that it is safe.
    """

    channel_binding: bytes | None
    repeatable: bool | None


class HttpFacts(CommonFacts, total=False):
    """Those of profile http/1.

    method, path: of the request, the path raw and without the query, for caveats that ask for them.
    channel: 32 bytes that name the connection, None when unknown.
    repetition: whether such a request may be executed by a second replay instance.
    mismatch: says what may be the matter when the caller signed another binding, which it is given.
    """

    method: Required[str]
    path: Required[str]
    channel: bytes | None
    repetition: Repetition
    mismatch: Callable[[bytes], str]


class VerifierOptions(TypedDict, total=False):
    """What a verifier may be told besides its key.

    max_ticket_life_s: refuse tickets issued for longer, in seconds.
    replay: where requests are burnt. All processes that share a store are one replay instance, with one epoch: a
        captured request is dead at every other instance, unless it may be repeated. None: what `ORTHROS_REPLAY_STORE`
        names (`memory`, `redis://...`, `rediss://...`, `unix://...`); else a file on tmpfs that all processes of this
        service on this host share; else this process's memory. Those texts or a ReplayStore choose one.
    replay_capacity, replay_per_client, replay_per_ticket: how many requests the store remembers, in all, of one client
        (by default a quarter of them) and of one ticket (an eighth).
    repeat_safe_calls: whether a request of the raw profile may be executed by a second instance when its client says
        that this does no harm.
    opened_capacity: how many opened tickets are kept.
    app_caveats: the service's own kinds of caveats, `namespace/name` to a function of payload and access that returns
        why it refuses, or None; without one of them, or when it fails, the request is refused. They run one at a time,
        so they decide quickly and without I/O.
    chain: what the path of a call on behalf of others may look like; by default as long as tickets allow, nobody twice.

    `clock` (wall, milliseconds), `monotonic_ms` and `entropy` exist for tests, and choose a store in memory.
    """

    max_ticket_life_s: int
    replay: ReplayStore | str | None
    replay_capacity: int
    replay_per_client: int | None
    replay_per_ticket: int | None
    repeat_safe_calls: bool
    opened_capacity: int
    app_caveats: Mapping[str, AppRule] | None
    chain: ChainRule | None
    clock: Callable[[], Timestamp] | None
    monotonic_ms: Callable[[], int] | None
    entropy: Entropy


class Verifier:
    """Verifies AP-REQs for one service.

    keytab: the service's key file, full or verify-only. `options` are those of `VerifierOptions`.
    Raises Misconfigured for a store that cannot be used, LocalMisuse for other values.
    """

    def __init__(self, keytab: Keytab, **options: Unpack[VerifierOptions]) -> None:
        check_options(options, VerifierOptions)
        self._keytab = keytab
        self._repeat_safe_calls = options.get("repeat_safe_calls", True)
        max_life_s = options.get("max_ticket_life_s", MAX_TICKET_LIFE_S)
        if not 1 <= max_life_s <= MAX_TICKET_LIFE_S:
            raise LocalMisuse("value-invalid", f"max_ticket_life_s is 1 to {MAX_TICKET_LIFE_S}")
        self._rules = AcceptanceRules(
            max_life_s=max_life_s,
            chain=options.get("chain") or ChainRule(),
            app_caveats=guarded(options.get("app_caveats")),
        )
        opened_capacity = options.get("opened_capacity", 4096)
        if opened_capacity < 1:
            raise LocalMisuse("value-invalid", "opened_capacity is at least 1")
        self._opened = BoundedMap[bytes, Presented](opened_capacity)
        self._lock = ProcessLock()
        wall, replay = options.get("clock"), options.get("replay")
        self._clocks: Clocks = read_clocks
        if wall is not None:
            boot = options.get("monotonic_ms") or wall
            self._clocks = lambda: (wall(), boot())
            replay = "memory" if replay is None else replay
        shares = {
            "capacity": options.get("replay_capacity"),
            "per_client": options.get("replay_per_client"),
            "per_ticket": options.get("replay_per_ticket"),
        }
        self.store = open_store(
            replay,
            keytab,
            Shares(**{name: value for name, value in shares.items() if value is not None}),
            clocks=self._clocks,
            entropy=options.get("entropy", os.urandom),
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Unpack[VerifierOptions]) -> Self:
        """From a protected key file. Raises Misconfigured (see `Keytab.load`)."""
        return cls(Keytab.load(path), **options)

    @classmethod
    def from_environment(cls, **options: Unpack[VerifierOptions]) -> Self:
        """From `ORTHROS_KEY` (the text form) or `ORTHROS_KEY_FILE` (a path).

        Raises Misconfigured `key-missing` when neither or both are set.
        """
        text, path = os.environ.get(KEY_VARIABLE), os.environ.get(KEY_FILE_VARIABLE)
        if bool(text) == bool(path):
            raise Misconfigured("key-missing", f"set one of {KEY_VARIABLE} and {KEY_FILE_VARIABLE}")
        keytab = Keytab.from_text(text) if text else Keytab.load(path or "")
        return cls(keytab, **options)

    def __repr__(self) -> str:
        return f"<Verifier {self._keytab.principal} kvno={self._keytab.kvnos}>"

    @property
    def principal(self) -> Principal:
        """The service that this verifier speaks for."""
        return self._keytab.principal

    @property
    def chain(self) -> ChainRule:
        """What the path of a call on behalf of others may look like, unless a route says otherwise."""
        return self._rules.chain

    def replace_keytab(self, keytab: Keytab) -> None:
        """Takes another version of the key file. The epoch and what was seen stay: no client notices.

        Raises Misconfigured `conflict` when it belongs to another principal, or to one re-created under its name.
        """
        held = self._keytab
        if (keytab.principal, keytab.uid) != (held.principal, held.uid):
            raise Misconfigured("conflict", f"keys of {keytab.principal} uid {keytab.uid}, not of {held.principal}")
        with self._lock():
            self._keytab = keytab
            self._opened.clear()  # a key that is no longer held opens nothing

    def accept(self, request: bytes, endpoint: str, payload: bytes = b"", **facts: Unpack[RawFacts]) -> VerifiedCaller:
        """Verifies an AP-REQ made for `endpoint` and `payload` (profile raw/1); `facts` are those of `RawFacts`.

        Raises Malformed or PeerMisbehaved for bytes that prove nothing, Refused for a proven request that
        is denied; then `.reply` holds the bytes to send back, so that the caller learns why, and `.presenter` says
        who it is, for the log. A store that processes share may be waited for, up to 250 ms: `accepting` is for
        callers that must not block.
        """
        return drive(self.accepting(request, endpoint, payload, **facts), self.store.admit)

    def accepting(self, request: bytes, endpoint: str, payload: bytes = b"", **facts: Unpack[RawFacts]) -> Accepting:
        """`accept` without asking the store: yields the question, and is to be sent the answer. Raises as `accept`."""
        parsed = parse_ap_request(request)
        safe, channel = bool(parsed.flags & SAFE), facts.get("channel_binding")
        repeatable = facts.get("repeatable")
        if repeatable is None:
            repeatable = safe and self._repeat_safe_calls
        denied = Repetition.DECLINED if safe else Repetition.UNSAFE
        received = Received(
            use=USE_RAW,
            bind=bind_raw(endpoint, payload, channel_binding=channel),
            repetition=Repetition.ALLOWED if repeatable else denied,
            peer=facts.get("peer"),
            channel=channel,
        )
        return self._accepting(parsed, received, facts)

    def accept_http(self, message: bytes, bind: bytes, **facts: Unpack[HttpFacts]) -> VerifiedCaller:
        """Verifies the AP-REQ of an HTTP request (profile http/1); `facts` are those of `HttpFacts`.

        bind: `HttpBinding.bind()` of the request that was really received, 32 bytes.
        Raises as `accept`; `.reply` of a Refused goes into the challenge.
        """
        return drive(self.accepting_http(message, bind, **facts), self.store.admit)

    def accepting_http(self, message: bytes, bind: bytes, **facts: Unpack[HttpFacts]) -> Accepting:
        """`accept_http` without asking the store: yields the question, and is to be sent the answer."""
        received = Received(
            use=USE_HTTP,
            bind=bind,
            repetition=facts.get("repetition", Repetition.UNSAFE),
            method=facts["method"],
            path=facts["path"],
            peer=facts.get("peer"),
            channel=facts.get("channel"),
            mismatch=facts.get("mismatch"),
        )
        return self._accepting(parse_ap_request(message), received, facts)

    def open_demand(self, cid: bytes) -> Demand:
        """What somebody demands of this service as a discharger, sealed for it in `cid`.

        Raises Malformed, PeerMisbehaved or Refused as `orthros_protocol.open_demand`: nobody has proven anything yet.
        """
        return open_demand(cid, self._keytab, now=self._clocks()[0])

    def _accepting(self, request: ApRequest, received: Received, facts: CommonFacts) -> Accepting:
        with self._lock():
            possession = prove(request, self._open, use=received.use, now=self._clocks()[0])
        standing = yield possession.entry
        rules = self._rules
        if facts.get("accept_user") or facts.get("chain"):
            served, chain = facts.get("accept_user", False), facts.get("chain") or rules.chain
            rules = evolve(rules, accept_user=served, chain=chain)
        with self._lock():
            accepted = judge(possession, standing, received, rules)
        return VerifiedCaller(accepted)

    def _open(self, ticket: bytes, caveats: bytes) -> Presented:
        name = digest(ticket)
        presented = self._opened.get(name)
        if presented is not None:
            self._opened.move_to_end(name)
        else:
            presented = self._opened[name] = open_presented(ticket, b"", self._keytab)
        # A ticket vouches for itself, caveats do not before the MAC: whoever saw a ticket pass can make up as many
        # lists for it as he likes, so what they lead to is not kept.
        return presented.behind(caveats) if caveats else presented
