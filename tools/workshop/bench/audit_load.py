"""What it costs that nothing is issued before its line is durable: exchanges a second, by connections and by `sync`.

Each connection has one request under way. Requests are made before the clock starts, so the generator costs little;
it shares the machine with the KDC all the same.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from orthros_protocol.primitives.framing import FrameReader, frame
from workshop.bench.figures import Figure
from workshop.bench.kdc_load import RunningKdc, login_request, running_kdc

__all__ = ["measure_audit"]

_CONNECTIONS: Final = (1, 8, 64)
_GOAL_AT: Final = 64


async def _converse(path: str, messages: list[bytes]) -> None:
    reader = FrameReader()
    async with await trio.open_unix_socket(path) as stream:
        for message in messages:
            await stream.send_all(frame(message))
            while not list(reader.messages()):
                reader.feed(bytes(await stream.receive_some(1 << 16)))


async def _all(path: str, batches: list[list[bytes]]) -> None:
    async with trio.open_nursery() as nursery:
        for batch in batches:
            nursery.start_soon(_converse, path, batch)


def _rate(kdc: RunningKdc, connections: int, requests: int) -> float:
    """Logins a second."""
    key = kdc.keytab.as_key()
    batches = [[login_request(key).message for _ in range(requests // connections)] for _ in range(connections)]
    began = time.perf_counter()
    trio.run(_all, kdc.socket_path, batches)
    return sum(map(len, batches)) / (time.perf_counter() - began)


def measure_audit(*, requests: int = 3200, rounds: int = 3) -> list[Figure]:
    """Microseconds for one login by the clock, with `sync` always and beside it written."""
    rates: dict[tuple[str, int], float] = {}
    for sync in ("written", "always"):
        with tempfile.TemporaryDirectory(prefix="orthros-bench-") as name, running_kdc(Path(name), sync=sync) as kdc:
            for connections in _CONNECTIONS:
                rates[sync, connections] = max(_rate(kdc, connections, requests) for _ in range(rounds))
    return [
        Figure(
            name=f"KDC, AS exchange by the clock, {connections} at once, audit always",
            us=1e6 / rates["always", connections],
            beside="audit written",
            beside_us=1e6 / rates["written", connections],
            goal="<= 1.25" if connections == _GOAL_AT else "",
            remark=f"{rates['always', connections]:,.0f}/s and {rates['written', connections]:,.0f}/s",
        )
        for connections in _CONNECTIONS
    ]


if __name__ == "__main__":
    from workshop.bench.figures import render

    print(render(measure_audit()))
