"""The daemon's side of the KDC exchanges: log in, obtain tickets in batches, learn the realm's time.

Holds the keytab, the TGT and the clock offset; knows no cache, no back-off and no local callers.
Everything it learns comes from sealed replies: an unauthenticated error changes nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import trio
from attrs import define, field, frozen

from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool, Question
from orthros_client.daemon.kdc.realm_clock import RealmClock
from orthros_client.daemon.tickets.cache import plan_renewal
from orthros_protocol.errors import OrthrosError, Unavailable
from orthros_protocol.exchanges.as_exchange import AsReply, build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import TgsReply, build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import Granted, NotGranted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import AsKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import KDC_TGT, cached_principal
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import join_caveats, tail_of
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.evidence import Behalf
from orthros_runtime.clocks import Clock, Entropy, fraction

__all__ = ["STALE_LOGIN", "KdcSession", "Login", "Obtained"]

T = TypeVar("T")

_NONCE_BYTES: Final = 16
_INSTANCE_BYTES: Final = 16
# A TGT that ends while the request travels is of no use.
_LOGIN_MARGIN_S: Final = 5.0
STALE_LOGIN: Final = frozenset({"tgt-expired", "revoked"})
# A refusal without a seal of a request with evidence may be about the evidence: it makes only an old login suspect, or
# a local process could have the daemon log in over and over.
_DOUBT_AFTER_S: Final = 60.0
# Local processes report what targets refuse, and a target whose own clock is wrong refuses everything.
_DOUBT_INTERVAL_S: Final = 10.0


@frozen(eq=False, kw_only=True)
class Login:
    """A TGT, and when it is replaced. Times are on the monotonic clock."""

    credential: Credential
    obtained_at: float
    half_spent_at: float
    renew_at: float
    newest_kvno: int = 0
    pop_key: bytes = field(init=False, repr=False)

    __getstate__ = not_exported

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "pop_key", self.credential.pop_key)


@frozen(eq=False, kw_only=True)
class Obtained:
    """The results of one TGS exchange; lives count from `asked_at` on the monotonic clock, and from `kdc_time` by the
    clock of the KDC that issued."""

    results: tuple[Granted | NotGranted, ...]
    asked_at: float
    kdc_time: Timestamp
    policy_seq: int


@define(eq=False)
class KdcSession:
    """One principal's conversation with its realm. `hint_ms` is how far the realm's clock was ahead of this host's when
    somebody else measured."""

    keytab: Keytab
    pool: KdcPool
    clock: Clock
    entropy: Entropy = field(repr=False)
    tgt_ttl_s: int = 0
    hint_ms: int = 0
    realm: RealmClock = field(init=False)
    login: Login | None = field(default=None, init=False)
    _instance: bytes = field(init=False, repr=False)
    _suspect: bool = field(default=False, init=False)
    _is_doubted: bool = field(default=False, init=False)
    _login_failure: OrthrosError | None = field(default=None, init=False, repr=False)
    _one_login: trio.Lock = field(factory=trio.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._instance = self.entropy(_INSTANCE_BYTES)
        self.realm = RealmClock(self.clock, self.hint_ms)

    @property
    def kvno(self) -> int:
        """The newest key version held; 0 where no key is."""
        return max(self.keytab.kvnos, default=0)

    @property
    def login_file(self) -> str | None:
        """Where logins are read from; None where they are obtained with the key file."""
        return None

    @property
    def trouble(self) -> OrthrosError | None:
        """What is wrong with a newer login that was not taken, while the one at hand still works."""
        return None

    def has_news(self) -> bool:
        """Whether something changed from outside, so that what failed may succeed now. Cheap."""
        return False

    def realm_now(self) -> Timestamp:
        """The KDC's time as far as known, in milliseconds."""
        return self.realm.now()

    @property
    def offset_ms(self) -> int:
        """How far the realm's clock is ahead of this host's wall clock, in milliseconds, as far as known."""
        return self.realm.offset_ms

    @property
    def doubt(self) -> str:
        """What is not known of the time, for people; empty when nothing is in doubt."""
        if self.realm.doubt:
            return self.realm.doubt
        return "a target refused a ticket because of its times, and no KDC has told the time since" * self._is_doubted

    def doubt_login(self) -> None:
        """A target has refused what was obtained with the login: the next exchange logs in anew, and so measures."""
        if self.login is None or self.clock.elapsed_s() - self.login.obtained_at >= _DOUBT_INTERVAL_S:
            self._suspect = self._is_doubted = True

    def replace_keytab(self, keytab: Keytab) -> None:
        """Uses another key file of the same realm; the next exchange logs in with it."""
        self.keytab = keytab
        self._suspect = True

    def login_is_due(self) -> bool:
        """Whether a new TGT should be obtained now: none yet, renewal planned, another key file, or the time in doubt.

        After a step of the wall clock one of this host's clocks is wrong: a login asks the realm which one.
        """
        now = self.clock.elapsed_s()
        if self.login is None or self._suspect or self.login.renew_at <= now or self.realm.has_stepped:
            return True
        return self.realm.confirms_at is not None and self.realm.confirms_at <= now

    async def ensure_login(self, *, renew: bool = False) -> Login:
        """The TGT, obtained afresh when there is none, when it ends, or on `renew`.

        Raises KdcRefusal, Unavailable, or Misconfigured `key-missing` for a verify-only key file.
        """
        before, failed_before = self.login, self._login_failure
        async with self._one_login:
            renewed_meanwhile = self.login is not before
            if self.login is not None and self._is_usable(self.login) and (renewed_meanwhile or not renew):
                return self.login
            failure = self._login_failure
            if failure is not None and failure is not failed_before:
                # Whoever held the lock has just tried; those behind them would only knock one after the other.
                raise failure.with_traceback(None)
            try:
                self.login = await self._log_in()
            except OrthrosError as error:
                self._login_failure = error
                raise
            self._suspect, self._is_doubted, self._login_failure = False, False, None
            return self.login

    async def obtain(self, wants: Sequence[Want], behalf: Behalf | None = None) -> Obtained:
        """One result per want (1 to 32), in their order, all on the same behalf. Raises KdcRefusal or Unavailable."""
        login = await self.login_with_life_left()
        try:
            return await self._ask_for(wants, behalf, login)
        except KdcRefusal as refusal:
            if refusal.code not in STALE_LOGIN:
                raise
            login = await self.ensure_login(renew=True)
            return await self._ask_for(wants, behalf, login)
        except Unavailable as error:
            # Perhaps the realm's keys changed. The TGT stays; the next attempt asks for a new one, and
            # only a sealed reply replaces it.
            if error.code == "unauthenticated-refusal":
                age_s = self.clock.elapsed_s() - login.obtained_at
                about_evidence = behalf is not None and behalf.evidence is not None
                self._suspect = self._suspect or not about_evidence or age_s > _DOUBT_AFTER_S
            raise

    async def login_with_life_left(self) -> Login:
        """The TGT for tickets. Raises what `ensure_login` raises.

        No ticket outlives the TGT it was obtained with, so one that is half spent is replaced first.
        """
        login = self.login
        if login is not None and self._is_usable(login) and self.clock.elapsed_s() >= login.half_spent_at:
            with suppress(KdcRefusal, Unavailable):  # the one at hand still works
                return await self.ensure_login(renew=True)
        return await self.ensure_login()

    def _is_usable(self, login: Login) -> bool:
        return not self._suspect and self._has_life_left(login)

    def _has_life_left(self, login: Login) -> bool:
        return login.credential.life.end - self.clock.elapsed_s() > _LOGIN_MARGIN_S

    async def _log_in(self) -> Login:
        key = self.keytab.as_key()
        asked_at = self.clock.elapsed_s()
        reply = await self._ask_in_time(lambda kdc: self._login_question(key, kdc))
        client = self.keytab.principal
        credential = Credential(
            ticket=reply.ticket,
            tail=tail_of(reply.session_key, reply.ticket),
            target=cached_principal(client.realm, KDC_TGT),
            client=client,
            life=Life(reply.ttl_s, asked_at + reply.ttl_s),
        )
        return Login(
            credential=credential,
            obtained_at=asked_at,
            half_spent_at=asked_at + reply.ttl_s / 2,
            renew_at=plan_renewal(asked_at, reply.ttl_s, chance=fraction(self.entropy)),
            newest_kvno=reply.newest_kvno,
        )

    async def _ask_for(self, wants: Sequence[Want], behalf: Behalf | None, login: Login) -> Obtained:
        asked_at = self.clock.elapsed_s()
        reply = await self._ask_in_time(lambda kdc: self._tickets_question(wants, behalf, login, kdc))
        return Obtained(results=reply.results, asked_at=asked_at, kdc_time=reply.kdc_time, policy_seq=reply.policy_seq)

    async def _ask_in_time(self, question: Question[T]) -> T:
        known = self.realm.state
        try:
            return await self.pool.ask(question)
        except KdcRefusal as refusal:
            # The sealed refusal carried the KDC's time; asking again makes sense once that is believed.
            if refusal.code != "clock-skew" or self.realm.state == known:
                raise
        return await self.pool.ask(question)

    def _login_question(self, key: AsKey, kdc: KdcAddress) -> tuple[bytes, Callable[[bytes, int], AsReply]]:
        sent_s = self.clock.elapsed_s()
        pending = build_as_request(
            key,
            service=KDC_TGT,
            ttl_s=self.tgt_ttl_s,
            instance=self._instance,
            now=self.realm_now(),
            nonce=self.entropy(_NONCE_BYTES),
        )

        def read(data: bytes, round_trip_ms: int) -> AsReply:
            return self._learn_from(lambda: open_as_reply(pending, key, data), sent_s, round_trip_ms, kdc)

        return pending.message, read

    def _tickets_question(
        self, wants: Sequence[Want], behalf: Behalf | None, login: Login, kdc: KdcAddress
    ) -> tuple[bytes, Callable[[bytes, int], TgsReply]]:
        sent_s = self.clock.elapsed_s()
        pending = build_tgs_request(
            login.credential.ticket,
            login.pop_key,
            wants,
            now=self.realm_now(),
            nonce=self.entropy(_NONCE_BYTES),
            caveats=join_caveats(login.credential.caveats),
            behalf=behalf,
        )

        def read(data: bytes, round_trip_ms: int) -> TgsReply:
            return self._learn_from(lambda: open_tgs_reply(pending, data), sent_s, round_trip_ms, kdc)

        return pending.message, read

    def _learn_from(
        self, open_reply: Callable[[], _Timed], sent_s: float, round_trip_ms: int, kdc: KdcAddress
    ) -> _Timed:
        try:
            reply = open_reply()
        except KdcRefusal as refusal:
            self._learn(refusal.kdc_time, sent_s, round_trip_ms, kdc)
            raise
        self._learn(reply.kdc_time, sent_s, round_trip_ms, kdc, reply.kdc_id)
        return reply

    def _learn(self, kdc_time: Timestamp, sent_s: float, round_trip_ms: int, kdc: KdcAddress, kdc_id: str = "") -> None:
        self.realm.learn(kdc_time, sent_s=sent_s, round_trip_ms=round_trip_ms, address=str(kdc), kdc_id=kdc_id)


_Timed = TypeVar("_Timed", AsReply, TgsReply)
