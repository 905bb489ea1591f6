"""A real KDC process under load over a real socket: CPU of that process per request, and requests per second.

Requests are made before the clock starts and replies opened after it stops, so the generator costs little.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from attrs import frozen

from orthros_kdc.admin import Admin, jwt_keys, oauth_secrets, principals, rules
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.process.founding import found_realm
from orthros_kdc.realm.master_key import load_master_key
from orthros_kdc.realm.vault import open_vault
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.exchanges.as_exchange import PendingAs, build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import PendingTgs, build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, Granted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import AsKey
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from workshop.bench.figures import Figure, cpu_seconds
from workshop.bench.krb5_peer import Krb5
from workshop.bench.token_load import TokenEndpoint

__all__ = ["KDC_TARGETS", "UNLIMITED", "RunningKdc", "login_request", "measure_kdc", "populate", "running_kdc"]

_REALM = "bench.example"
_CLIENT = "billing"
_FRONT = "front"
KDC_TARGETS = tuple(f"service-{number}" for number in range(16))
UNLIMITED = {
    "ORTHROS_RATE_PER_SOURCE_PER_S": "10000000",
    "ORTHROS_RATE_PER_SOURCE_BURST": "10000000",
    "ORTHROS_RATE_PER_PRINCIPAL_PER_S": "10000000",
    "ORTHROS_RATE_PER_PRINCIPAL_BURST": "10000000",
    "ORTHROS_LOG_LEVEL": "warning",
    "ORTHROS_HTTP_TCP": "127.0.0.1:0",
}


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


@frozen
class RunningKdc:
    """A KDC process with one client, sixteen targets and a rule for each; `front` calls the client, which may act on
    its behalf. `tokens` is its endpoint of that name."""

    pid: int
    socket_path: str
    keytab: Keytab
    front: Keytab
    tokens: TokenEndpoint


async def populate(folder: Path) -> tuple[Keytab, Keytab, str]:
    """Founds the realm in `folder`; the key files of the client and of `front`, and the client's OAuth secret."""
    await found_realm(_REALM, str(folder), None, "127.0.0.1:0")
    store = SqliteStore.open(folder / "kdc.db")
    try:
        vault = await open_vault(store, load_master_key(folder / "master.key", environ={}))
        admin = Admin(store=store, vault=vault, audit=AdminAuditLog(), now_ms=_now, actor="bench")
        keytab = await principals.add(admin, _CLIENT)
        front = await principals.add(admin, _FRONT)
        await rules.allow(admin, _FRONT, _CLIENT, scopes=("read",), delegable=True)
        for target in KDC_TARGETS:
            await principals.add(admin, target)
            await rules.allow(admin, _CLIENT, target, scopes=("read", "write"), jwt=True, behalf=(_FRONT,))
        await jwt_keys.enable(admin, KDC_TARGETS[0])
        secret = (await oauth_secrets.enable(admin, _CLIENT)).text
    finally:
        await store.aclose()
    return keytab, front, secret


@contextmanager
def running_kdc(folder: Path, *, sync: str = "always") -> Iterator[RunningKdc]:
    """A KDC on SQLite in `folder`, on a Unix socket; stopped at the end. `sync` is that of its audit log."""
    keytab, front, secret = trio.run(populate, folder)
    path = str(folder / "kdc.sock")
    command = [sys.executable, "-m", "orthros_kdc", "serve", "--config", str(folder / "kdc.toml"), "--unix", path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, **UNLIMITED, "ORTHROS_AUDIT_SYNC": sync}
    ) as process:
        try:
            line = b"" if process.stdout is None else process.stdout.readline()
            address = re.search(rb"http://[0-9.:]+", line)
            if address is None:
                raise RuntimeError("the KDC did not start")
            yield RunningKdc(
                process.pid,
                path,
                keytab,
                front,
                TokenEndpoint(
                    name="Orthros",
                    pid=process.pid,
                    url=f"{address[0].decode('ascii')}/token",
                    form=f"grant_type=client_credentials&scope=read&audience={KDC_TARGETS[0]}",
                    client_id=_CLIENT,
                    secret=secret,
                ),
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _exchange(path: str, messages: list[bytes], depth: int) -> list[bytes]:
    """Sends all messages over one connection, at most `depth` of them unanswered."""
    replies: list[bytes] = []
    reader = FrameReader()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        for at in range(0, len(messages), depth):
            batch = messages[at : at + depth]
            sock.sendall(b"".join(frame(message) for message in batch))
            while len(replies) < at + len(batch):
                reader.feed(sock.recv(1 << 18))
                replies += reader.messages()
    return replies


def _timed(kdc: RunningKdc, messages: list[bytes], depth: int) -> tuple[list[bytes], float, float]:
    """Replies, CPU microseconds of the KDC per message, messages per second."""
    cpu, started = cpu_seconds(kdc.pid), time.perf_counter()
    replies = _exchange(kdc.socket_path, messages, depth)
    elapsed = time.perf_counter() - started
    return replies, (cpu_seconds(kdc.pid) - cpu) / len(messages) * 1e6, len(messages) / elapsed


def login_request(key: AsKey) -> PendingAs:
    """A fresh AS-REQ."""
    return build_as_request(key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=_now(), nonce=os.urandom(16))


def _tgt(kdc: RunningKdc, key: AsKey) -> tuple[bytes, bytes]:
    """A TGT and its K_pop."""
    (reply,) = _exchange(kdc.socket_path, [(pending := login_request(key)).message], 1)
    login = open_as_reply(pending, key, reply)
    return login.ticket, pop_key_of(tail_of(login.session_key, login.ticket))


def _evidence(kdc: RunningKdc) -> Behalf:
    """What the client could show after a call by `front`."""
    tgt, pop_key = _tgt(kdc, kdc.front.as_key())
    want = Want(target=Principal(_REALM, _CLIENT), flags=WANT_DELEGABLE)
    asked = build_tgs_request(tgt, pop_key, [want], now=_now(), nonce=os.urandom(16))
    (reply,) = _exchange(kdc.socket_path, [asked.message], 1)
    (result,) = open_tgs_reply(asked, reply).results
    if not isinstance(result, Granted) or result.session_key is None:
        raise RuntimeError("the evidence was not granted")
    proof = evidence_proof(result.session_key, result.credential)
    return Behalf(evidence=result.credential, proof=proof)


def measure_kdc(kdc: RunningKdc, peer: Krb5, *, requests: int = 4000) -> list[Figure]:
    """AS, TGS one by one and pipelined, TGS in batches of 16."""
    key = kdc.keytab.as_key()

    def log_in() -> PendingAs:
        return login_request(key)

    tgt, pop_key = _tgt(kdc, key)
    evidence = _evidence(kdc)

    def ask(count: int, behalf: Behalf | None = None) -> PendingTgs:
        wants = [Want(target=Principal(_REALM, name)) for name in KDC_TARGETS[:count]]
        return build_tgs_request(tgt, pop_key, wants, now=_now(), nonce=os.urandom(16), behalf=behalf)

    def tgs(count: int, number: int, depth: int, behalf: Behalf | None = None) -> tuple[float, float]:
        asked = [ask(count, behalf) for _ in range(number)]
        replies, us, rate = _timed(kdc, [one.message for one in asked], depth)
        for one, reply in zip(asked, replies, strict=True):
            if not all(isinstance(result, Granted) for result in open_tgs_reply(one, reply).results):
                raise RuntimeError("a want was not granted")
        return us, rate

    def logins(depth: int) -> tuple[float, float]:
        asked = [log_in() for _ in range(requests)]
        replies, us, rate = _timed(kdc, [one.message for one in asked], depth)
        for one, reply in zip(asked, replies, strict=True):
            open_as_reply(one, key, reply)
        return us, rate

    def best(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
        return min(measure() for _ in range(3))

    def figure(name: str, taken: tuple[float, float], peer_us: float, goal: str, *, per: int = 1) -> Figure:
        us, rate = taken
        remark = f"{rate * per:,.0f}/s over one socket"
        return Figure(name=name, us=us / per, beside=peer.name, beside_us=peer_us, goal=goal, remark=remark)

    batches = best(lambda: tgs(16, requests // 8, 1))
    plain = best(lambda: tgs(1, requests, 1))
    by_evidence = best(lambda: tgs(1, requests, 1, evidence))
    return [
        figure("KDC CPU, AS exchange", best(lambda: logins(1)), peer.as_us, "<= 0.40"),
        figure("KDC CPU, AS exchange, 8 in flight", best(lambda: logins(8)), peer.as_us, "<= 0.40"),
        figure("KDC CPU, TGS exchange", plain, peer.tgs_us, "<= 0.40"),
        figure("KDC CPU, TGS exchange, 8 in flight", best(lambda: tgs(1, requests, 8)), peer.tgs_us, "<= 0.40"),
        figure("KDC CPU per ticket, batches of 16", batches, peer.tgs_us, "<= 0.17", per=16),
        Figure(name="KDC CPU, TGS exchange with evidence", us=by_evidence[0], beside="without evidence",
               beside_us=plain[0], remark=f"{by_evidence[1]:,.0f}/s over one socket"),
    ]  # fmt: skip
