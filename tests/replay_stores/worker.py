"""A process of a service: answers questions about one host store on its standard input, a line of JSON each.

A tag begins with the milliseconds at which its request was made.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

import structlog

from orthros_client.verifier.stores.host import HostStore
from orthros_protocol.exchanges.replay import Entry
from orthros_protocol.primitives.instants import Timestamp


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    store = HostStore(sys.argv[1])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(store, json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(store: HostStore, question: dict[str, Any]) -> Any:
    if "forked" in question:
        return forked(store, question["forked"], raw=question.get("raw", False))
    if "hold" in question:
        hold(store)
    tags = [bytes.fromhex(tag) for tag in question.get("tags", [])]
    entries = [Entry(tag, Timestamp(int.from_bytes(tag[:8], "big")), "billing@test.realm", b"t" * 16) for tag in tags]
    standings = [store.admit(entry) for entry in entries]
    return [[one.admission.value, one.epoch.hex()] for one in standings]


def hold(store: HostStore) -> None:
    """Stops in the middle of an admission, as a debugger, a frozen cgroup or SIGSTOP would."""
    clocks = store._clocks

    def stop_once() -> Any:
        store._clocks = clocks
        sys.stdout.write('"held"\n')
        sys.stdout.flush()
        sys.stdin.readline()
        return clocks()

    store._clocks = stop_once


def forked(store: HostStore, tag: str, *, raw: bool = False) -> list[list[str]]:
    """What parent and child are told of the same request. `raw`: the fork is one that Python does not notice."""
    reading, writing = os.pipe()
    child = ctypes.PyDLL(None).fork() if raw else os.fork()
    told = json.dumps(answer(store, {"tags": [tag]})[0])
    if child == 0:
        os.write(writing, told.encode("ascii"))
        os._exit(0)
    os.waitpid(child, 0)
    return [json.loads(told), json.loads(os.read(reading, 4096))]


if __name__ == "__main__":
    main()
