"""The session of a worker's daemon: it holds no key, and lives off the narrowed login that others write into a file.

Reads the file again when it changed; an unusable successor takes nothing from the login at hand. Knows neither who
writes the file, nor cache and callers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Self

from attrs import define, evolve, field

from orthros_client.credentials.worker_login import MAX_LOGIN_BYTES, WorkerLogin
from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_client.daemon.kdc.session import STALE_LOGIN, KdcSession, Login, Obtained
from orthros_client.reasons import LOGIN_EXPIRED, LOGIN_FILE_INVALID
from orthros_protocol.errors import Misconfigured, OrthrosError, Unavailable
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.secret_file import read_secret_file
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.tickets.evidence import Behalf
from orthros_runtime.clocks import Clock, Entropy

__all__ = ["WorkerSession"]


@define(eq=False)
class WorkerSession(KdcSession):
    """One worker's conversation with its realm, after the login file at `path`. Its key file is empty."""

    path: str = field(kw_only=True)
    _record: WorkerLogin = field(kw_only=True, repr=False)
    _seen: tuple[int, ...] | None = field(kw_only=True, repr=False)
    _trouble: OrthrosError | None = field(default=None, init=False, repr=False)

    @classmethod
    def open(cls, path: str, pool: KdcPool, clock: Clock, entropy: Entropy) -> Self:
        """Raises Misconfigured (`file-unreadable`, `key-file-unsafe`, `login-file-invalid`); an ended login waits for
        its successor."""
        seen = _identity_of(path)
        record = _read(path)
        keytab = Keytab(record.credential.client, record.uid, ())
        return cls(keytab, pool, clock, entropy, hint_ms=record.offset_ms, path=path, record=record, seen=seen)

    @property
    def login_file(self) -> str:
        """Where logins are read from."""
        return self.path

    @property
    def trouble(self) -> OrthrosError | None:
        """What is wrong with the file as it is now, while the login at hand still works."""
        return self._trouble

    def has_news(self) -> bool:
        """Whether the file changed since it was read."""
        return _identity_of(self.path) != self._seen

    def login_is_due(self) -> bool:
        """Whether the file should be read again."""
        return self.login is None or self.has_news() or not self.login.credential.life.left_s(self.clock.elapsed_s())

    async def login_with_life_left(self) -> Login:
        """The narrowed TGT, the newest that the file holds. Raises Unavailable `login-expired`, or Misconfigured."""
        return await self.ensure_login(renew=self.has_news())

    async def obtain(self, wants: Sequence[Want], behalf: Behalf | None = None) -> Obtained:
        """As a session with a key, but for the end of a login: Unavailable `login-expired`."""
        try:
            return await super().obtain(wants, behalf)
        except KdcRefusal as refusal:
            if refusal.code not in STALE_LOGIN:
                raise
            raise Unavailable(LOGIN_EXPIRED, f"{self.path}: the KDC says {refusal.code}") from None

    async def _log_in(self) -> Login:
        if self.has_news():
            self._read_again()
        login = self._login_of(self._record)
        if self._has_life_left(login):
            return login
        if self._trouble is not None:
            raise self._trouble.with_traceback(None)
        raise Unavailable(LOGIN_EXPIRED, f"{self.path}: its end is {_moment(self._record.credential.life.second)}")

    def _read_again(self) -> None:
        self._seen, self._trouble = _identity_of(self.path), None
        try:
            record = _read(self.path)
            client = record.credential.client
            if (client, record.uid) != (self.keytab.principal, self.keytab.uid):
                raise Misconfigured("conflict", f"{self.path} is for {client} uid {record.uid}: restart")
        except OrthrosError as error:
            self._trouble = error
        else:
            self._record = record

    def _login_of(self, record: WorkerLogin) -> Login:
        now = self.clock.elapsed_s()
        life = record.credential.life.seen(self.realm_now() / 1000 - now)
        credential = evolve(record.credential, life=life)
        return Login(credential=credential, obtained_at=now, half_spent_at=life.end, renew_at=life.end)

    def _learn(self, kdc_time: Timestamp, sent_s: float, round_trip_ms: int, kdc: KdcAddress, kdc_id: str = "") -> None:
        super()._learn(kdc_time, sent_s, round_trip_ms, kdc, kdc_id)
        if self.login is not None:
            # Its end is a moment of the realm: this host's clock may just have turned out to be wrong.
            self.login = evolve(self._login_of(self._record), obtained_at=self.login.obtained_at)


def _read(path: str) -> WorkerLogin:
    try:
        return WorkerLogin.from_bytes(read_secret_file(path, most_bytes=MAX_LOGIN_BYTES))
    except Misconfigured as error:
        if error.code not in ("login-file-invalid", "key-file-invalid"):
            raise
        raise Misconfigured(LOGIN_FILE_INVALID, f"{path}: {error.detail}") from None


def _moment(second: int) -> str:
    try:
        return f"{datetime.fromtimestamp(second, UTC).isoformat().removesuffix('+00:00')}Z"
    except (ValueError, OverflowError):  # a file may say anything
        return f"second {second}"


def _identity_of(path: str) -> tuple[int, ...] | None:
    try:
        facts = os.lstat(path)
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
