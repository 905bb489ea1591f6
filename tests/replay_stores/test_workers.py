"""A warning where several processes serve and nothing is shared: seen from real processes, forked and spawned."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKED = """
import os, sys
from orthros_client.verifier.stores.workers import has_fellow_workers
count, ready, go, end = int(sys.argv[1]), os.pipe(), os.pipe(), os.pipe()
for _ in range(count):
    if os.fork() == 0:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os.write(1, f"{has_fellow_workers()} ".encode())
        os.write(ready[1], b".")
        os.read(end[0], 1)
        os._exit(0)
for step in (go, end):
    for _ in range(count):
        os.read(ready[0], 1)
    os.write(step[1], b"." * count)
for _ in range(count):
    os.wait()
"""

SPAWNED = """
import multiprocessing, os, sys
from orthros_client.verifier.stores.workers import has_fellow_workers

def work(barrier):
    barrier.wait()
    os.write(1, f"{has_fellow_workers()} ".encode())
    barrier.wait()

if __name__ == "__main__":
    context, count = multiprocessing.get_context("spawn"), int(sys.argv[1])
    barrier = context.Barrier(count)
    workers = [context.Process(target=work, args=(barrier,)) for _ in range(count)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
"""


@pytest.mark.parametrize("program", [FORKED, SPAWNED], ids=["forked", "spawned"])
@pytest.mark.parametrize(("count", "seen"), [(1, "False"), (3, "True")])
def test_workers_see_each_other(program: str, count: int, seen: str, tmp_path: object) -> None:
    path = f"{tmp_path}/server.py"
    with open(path, "w", encoding="utf-8") as file:
        file.write(program)
    words = [sys.executable, path, str(count)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.split() == [seen] * count, told.stderr


def test_a_program_of_its_own_has_no_fellows() -> None:
    script = "from orthros_client.verifier.stores.workers import has_fellow_workers; print(has_fellow_workers())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False"]
