"""A realm on disk, and `orthros-admin` run on it in this process; everything that it ever printed is kept."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import time
from base64 import b32encode, b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from attrs import define, evolve, field, frozen

from orthros_kdc.admin import Admin, master_keys
from orthros_kdc.audit import AdminAuditLog, AuditLog
from orthros_kdc.audit.events import Facts, KdcStopped, RealmApplied
from orthros_kdc.oauth.http_boundary import HttpRequest, OAuthOptions
from orthros_kdc.rate_limits import RateLimiter
from orthros_kdc.realm.master_key import load_master_key
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.vault import Vault, open_vault
from orthros_kdc.service.kdc_service import KdcService
from orthros_kdc.service.shell import Rates, Shell
from orthros_kdc.service.token_service import TokenService
from orthros_kdc.store.base import KEY_RETIRED, Transaction
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, Granted, NotGranted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from orthros_tools.admin.__main__ import main
from tests.support.realm_views import PromptView

REALM = "corp.example"


def now_ms() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


async def _obtained(
    service: KdcService, keytab: Keytab, want: Want, behalf: Behalf | None = None
) -> Granted | NotGranted:
    key = keytab.as_key()
    pending = build_as_request(key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=now_ms(), nonce=os.urandom(16))
    login = open_as_reply(pending, key, (await service.answer(pending.message, "test")).message)
    pop_key = pop_key_of(tail_of(login.session_key, login.ticket))
    asked = build_tgs_request(login.ticket, pop_key, [want], now=now_ms(), nonce=os.urandom(16), behalf=behalf)
    (result,) = open_tgs_reply(asked, (await service.answer(asked.message, "test")).message).results
    return result


@frozen
class Told:
    """What one run ended with and printed."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output of a run with --output json: always an array of objects."""
        found = json.loads(self.out)
        assert isinstance(found, list)
        assert all(isinstance(row, dict) for row in found)
        return found

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.err)["error"]
        return found


@define
class AdminBench:
    """Run commands with `run`, or with `ok` where they must succeed."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    printed: list[str] = field(factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "realm" / "kdc.toml"

    @property
    def audit(self) -> Path:
        return self.folder / "realm" / "audit"

    @property
    def kdc_file(self) -> Path:
        """The newest segment of the KDC's log."""
        return max(self.audit.glob("kdc-1.*.jsonl"))

    def logged(self) -> str:
        """All that the KDCs of this realm have written down."""
        return "\n".join(path.read_text("utf-8", "replace") for path in sorted(self.audit.glob("*")))

    def run(self, line: str, *, secret: bool = False) -> Told:
        """`secret`: a key on standard output is what this command was asked for."""
        self.capture.readouterr()
        code = main(shlex.split(line))
        out, err = self.capture.readouterr()
        self.printed += [err] if secret else [out, err]
        return Told(code, out, err)

    def ok(self, line: str, *, secret: bool = False) -> Told:
        told = self.run(line, secret=secret)
        assert told.code == 0, told.err
        return told

    def rows(self, line: str) -> list[dict[str, Any]]:
        return self.ok(f"{line} --output json").rows

    def add(self, *names: str) -> None:
        for name in names:
            self.ok(f"principal add {name} --quiet")

    def files(self) -> set[str]:
        """Everything beside the realm's own folder."""
        return {path.name for path in self.folder.iterdir()} - {"realm"}

    def snapshot(self) -> str:
        """All that a command could have changed: every row of the database, and the audit log."""
        with closing(sqlite3.connect(self.folder / "realm" / "kdc.db")) as connection:
            return "\n".join([*connection.iterdump(), self.logged()])

    def secrets(self) -> set[str]:
        """Every key of the realm, in every way in which it could have been printed."""
        material: list[bytes] = []

        def collect(tx: Transaction, vault: Vault) -> None:
            for principal in tx.principals():
                live = [key for key in tx.keys_of(principal.uid) if key.state != KEY_RETIRED]
                material.extend(vault.root_key(principal, key).material for key in live)
                material.extend(vault.as_key(principal, key).material for key in live)
                material.extend(vault.ticket_key(principal, key).material for key in live)
                material.extend(vault.jwt_key(key).material for key in tx.jwt_keys_of(principal.uid))
                material.extend(vault.oauth_secret(held).material for held in tx.oauth_secrets_of(principal.uid))

        async def look(admin: Admin) -> None:
            material.append(admin.vault.master.material)
            await admin.store.read(lambda tx: collect(tx, admin.vault))

        self._with_admin(look)
        forms = (bytes.hex, repr, _b32, _b64, _b64url)
        return {form(one) for one in material for form in forms}

    def secrets_of(self, name: str) -> set[str]:
        """The texts of a principal's client secrets."""

        def collect(tx: Transaction, vault: Vault) -> set[str]:
            principal = tx.principal_by_name(name)
            assert principal is not None
            return {vault.oauth_secret(held).text for held in tx.oauth_secrets_of(principal.uid)}

        async def look(admin: Admin) -> set[str]:
            return await admin.store.read(lambda tx: collect(tx, admin.vault))

        found: set[str] = self._with_admin(look)
        return found

    def kdc_refuses(self, client: str, target: str, *, key_file: str | None = None, stop: bool = False) -> NotGranted:
        """`client`, by its key file, asks a KDC on this realm for a ticket with scope read, and is refused. `stop`:
        the KDC says goodbye in its log, so that the next one begins a segment."""

        async def ask(service: KdcService) -> NotGranted:
            key = Keytab.load(self.folder / (key_file or f"{client}.key"))
            result = await _obtained(service, key, Want(target=Principal(REALM, target), scopes=("read",)))
            assert isinstance(result, NotGranted)
            return result

        refused: NotGranted = self._with_admin(lambda admin: self._with_kdc(admin, ask, stop=stop))
        return refused

    def kdc_refuses_behalf(self, names: tuple[str, str, str], subject: str | None) -> NotGranted:
        """The first of `names` calls the second, in the name of `subject` if it is set; the second asks on its behalf
        for a ticket for the third, and is refused."""

        async def ask(service: KdcService) -> NotGranted:
            caller, middle = (Keytab.load(self.folder / f"{name}.key") for name in names[:2])
            said = None if subject is None else Behalf(subject=Principal(REALM, subject))
            want = Want(target=Principal(REALM, names[1]), flags=WANT_DELEGABLE)
            called = await _obtained(service, caller, want, said)
            assert isinstance(called, Granted)
            proof = evidence_proof(called.session_key or b"", called.credential)
            shown = Behalf(evidence=called.credential, proof=proof)
            result = await _obtained(service, middle, Want(target=Principal(REALM, names[2])), shown)
            assert isinstance(result, NotGranted)
            return result

        refused: NotGranted = self._with_admin(lambda admin: self._with_kdc(admin, ask))
        return refused

    def kdc_rejects_bytes(self) -> bytes:
        """Somebody without any key sends a KDC on this realm what is no message; the reference he is given."""

        async def send(service: KdcService) -> bytes:
            return (await service.answer(b"no message", "192.0.2.7")).message

        nak: bytes = self._with_admin(lambda admin: self._with_kdc(admin, send))
        return nak[-8:]

    def kdc_drowns(self, client: str, target: str) -> tuple[bytes, bytes]:
        """A stranger sends 500 times what is no message, and `client` is refused 60 times in long words; the last
        reference of each."""

        async def flood(service: KdcService) -> tuple[bytes, bytes]:
            key = Keytab.load(self.folder / f"{client}.key")
            scopes = tuple(f"{'s' * 60}{number}" for number in range(10, 42))
            naks = [(await service.answer(b"no message", "192.0.2.7")).message for _ in range(500)]
            want = Want(target=Principal(REALM, target), scopes=scopes)
            refused = [await _obtained(service, key, want) for _ in range(60)][-1]
            assert isinstance(refused, NotGranted)
            return naks[-1][-8:], refused.ref

        refs: tuple[bytes, bytes] = self._with_admin(lambda admin: self._with_kdc(admin, flood))
        return refs

    def token_endpoint_refuses(self, client: str, secret: str, **fields: str) -> str:
        """`client` asks the token endpoint of a KDC on this realm, and is refused; the reference it is given."""

        async def ask(admin: Admin) -> str:
            log = AuditLog(self.folder / "realm" / "audit", "kdc-1", admin.store)
            shell = _shell_of(log)
            tokens = TokenService(PromptView(admin.store, admin.vault), admin.store, shell, OAuthOptions())
            form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, **fields}
            headers = (("content-type", "application/x-www-form-urlencoded"),)
            async with trio.open_nursery() as nursery:
                await nursery.start(log.serve)
                answer = await tokens.token(
                    HttpRequest(path="/token", method="POST", headers=headers, body=urlencode(form).encode("ascii"),
                        source="192.0.2.7", address="192.0.2.7")
                )  # fmt: skip
                log.close()
            ref: str = json.loads(answer.body)["ref"]
            return ref

        told: str = self._with_admin(ask)
        return told

    def begin_rewrap(self, next_key: str) -> None:
        """A change of the master key that was interrupted after its first step."""

        async def begin(admin: Admin) -> None:
            upcoming = load_master_key(self.folder / next_key, environ={})
            both = evolve(admin, vault=evolve(admin.vault, next_master=upcoming))
            await admin.store.change(lambda tx: master_keys._begin(tx, both, upcoming))

        self._with_admin(begin)

    async def _with_kdc(self, admin: Admin, work: Callable[[KdcService], Awaitable[Any]], *, stop: bool = False) -> Any:
        log = AuditLog(self.folder / "realm" / "audit", "kdc-1", admin.store)

        def applied(realm: RealmFacts) -> None:
            entry = realm.changed_by
            log.record(
                RealmApplied(about=Facts(at=now_ms(), kdc_id="kdc-1"), admin_seq=entry.seq, admin_hash=entry.hash)
            )

        service = KdcService(PromptView(admin.store, admin.vault, applied=applied), _shell_of(log))
        async with trio.open_nursery() as nursery:
            await nursery.start(log.serve)
            outcome = await work(service)
            service.sum_up(now_ms(), all_of_them=True)
            if stop:
                log.record(KdcStopped(about=Facts(at=now_ms(), kdc_id="kdc-1")))
            log.close()
        return outcome

    def _with_admin(self, work: Callable[[Admin], Awaitable[Any]]) -> Any:
        async def open_and_work() -> Any:
            master = load_master_key(self.folder / "realm" / "master.key", environ={})
            store = SqliteStore.open(self.folder / "realm" / "kdc.db")
            try:
                vault = await open_vault(store, master)
                audit = AdminAuditLog()
                return await work(Admin(store=store, vault=vault, audit=audit, now_ms=now_ms, actor="bench"))
            finally:
                await store.aclose()

        return trio.run(open_and_work)


def _shell_of(log: AuditLog) -> Shell:
    rates = Rates(
        sources=RateLimiter(per_s=1000, burst=1000),
        principals=RateLimiter(per_s=1000, burst=1000),
        monotonic=time.monotonic,
    )
    return Shell(log.record, rates, kdc_id="kdc-1", clock=now_ms, entropy=os.urandom)


def _b32(material: bytes) -> str:
    return b32encode(material).decode().rstrip("=").lower()


def _b64(material: bytes) -> str:
    return b64encode(material).decode().rstrip("=")


def _b64url(material: bytes) -> str:
    return urlsafe_b64encode(material).decode().rstrip("=")
