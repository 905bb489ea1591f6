"""What one source that sends at its rate costs another one: the median time of a login, idle and beside that source.

A real KDC process with its default rates. The busy source keeps 250 connections and sends frames of 5 kB with 32 wants,
as many as its tokens pay for; the other one logs in again and again. A login that is refused ends the run.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import trio
from attrs import frozen

from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from workshop.bench.kdc_load import populate

__all__ = ["TurnsCost", "measure_turns", "render_turns"]

_BUSY, _OTHER = "127.0.0.3", "127.0.0.2"
_CONNECTIONS = 250
_FRAME_BYTES = 5000
# One token for each KiB of 1,000 a second: as fast as may be without a refusal.
_FRAMES_PER_S = 1000 / 5
_LOGINS = 100
_WAIT_S = 30.0


@frozen(kw_only=True)
class TurnsCost:
    """Median times of a login in milliseconds, and how many frames the busy source sent meanwhile, per second."""

    idle_ms: float
    beside_ms: float
    frames_per_s: float


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


def _connect(source: str, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _WAIT_S, source_address=(source, 0))


def _ask(sock: socket.socket, message: bytes) -> bytes:
    sock.sendall(frame(message))
    reader = FrameReader()
    while True:
        data = sock.recv(65_536)
        if not data:
            raise RuntimeError("the KDC ended a connection")
        reader.feed(data)
        for answer in reader.messages():
            return answer


def _log_in(keytab: Keytab, port: int, source: str) -> tuple[bytes, bytes]:
    key = keytab.as_key()
    asked = build_as_request(key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=_now(), nonce=os.urandom(16))
    with _connect(source, port) as sock:
        reply = open_as_reply(asked, key, _ask(sock, asked.message))  # raises for a refusal
    return reply.ticket, reply.session_key


def _large_request(keytab: Keytab, port: int) -> bytes:
    ticket, session_key = _log_in(keytab, port, _BUSY)
    target = Principal(keytab.principal.realm, "n" * 100)
    wants = [Want(target=target, scopes=("s",), ttl_s=number) for number in range(32)]
    pop_key = pop_key_of(tail_of(session_key, ticket))
    message = build_tgs_request(ticket, pop_key, wants, now=_now(), nonce=os.urandom(16)).message
    if not _FRAME_BYTES - 1100 < len(message) <= 5 * 1024:
        raise RuntimeError(f"a frame of {len(message)} bytes")
    return message


def _flood(port: int, message: bytes, sent: multiprocessing.sharedctypes.Synchronized[int]) -> None:
    """Sends the frame over all connections in turn, at the rate of the source, and reads what comes back."""
    connections = [_connect(_BUSY, port) for _ in range(_CONNECTIONS)]
    data, start = frame(message), time.monotonic()
    for number in range(10**9):
        time.sleep(max(0.0, start + number / _FRAMES_PER_S - time.monotonic()))
        at = number % _CONNECTIONS
        try:
            connections[at].sendall(data)
        except OSError:  # a stranger's time is over
            connections[at] = _connect(_BUSY, port)
            connections[at].sendall(data)
        sent.value = number


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[Keytab, Keytab, int]]:
    busy, other, _secret = trio.run(populate, folder)
    command = [sys.executable, "-m", "orthros_kdc", "serve", "--config", str(folder / "kdc.toml")]
    environ = os.environ | {"ORTHROS_LOG_LEVEL": "error"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        try:
            ready = re.search(rb"tcp://[0-9.]+:([0-9]+)", b"" if process.stdout is None else process.stdout.readline())
            if ready is None:
                raise RuntimeError("the KDC did not start")
            yield busy, other, int(ready[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _median_ms(keytab: Keytab, port: int) -> float:
    times = []
    for _ in range(_LOGINS):
        begun = time.perf_counter()
        _log_in(keytab, port, _OTHER)
        times.append(time.perf_counter() - begun)
    return 1000 * median(times)


def measure_turns(folder: Path) -> TurnsCost:
    """In `folder`, which must not exist."""
    with _serving(folder) as (busy, other, port):
        _median_ms(other, port)
        idle_ms = _median_ms(other, port)
        sent = multiprocessing.Value("i", 0)
        flood = multiprocessing.Process(target=_flood, args=(port, _large_request(busy, port), sent), daemon=True)
        flood.start()
        try:
            while not sent.value:
                time.sleep(0.01)
            before, begun = sent.value, time.monotonic()
            beside_ms = _median_ms(other, port)
            rate = (sent.value - before) / (time.monotonic() - begun)
        finally:
            flood.kill()
            flood.join()
    return TurnsCost(idle_ms=idle_ms, beside_ms=beside_ms, frames_per_s=rate)


def render_turns(cost: TurnsCost) -> str:
    """One line, with the goal."""
    return (
        f"login of one source: {cost.idle_ms:.2f} ms idle, {cost.beside_ms:.2f} ms beside a source with {_CONNECTIONS}"
        f" connections and {cost.frames_per_s:.0f} frames of 5 kB a second: {cost.beside_ms / cost.idle_ms:.1f} times"
        " (goal <= 3)"
    )
