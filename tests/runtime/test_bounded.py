"""The map that keeps its bound, and the lock that a fork does not leave taken."""

from __future__ import annotations

import os

from orthros_runtime.bounded import BoundedMap
from orthros_runtime.process_lock import ProcessLock


def test_one_too_many_drops_what_was_used_longest_ago() -> None:
    dropped: list[tuple[str, int]] = []
    kept = BoundedMap[str, int](2, dropped=lambda key, value: dropped.append((key, value)))
    kept["a"], kept["b"] = 1, 2
    kept["a"] = 3  # a known key stays in its place
    kept.move_to_end("a")
    assert kept.setdefault("c", 4) == 4
    assert kept.setdefault("c", 5) == 4
    assert list(kept.items()) == [("a", 3), ("c", 4)]
    assert dropped == [("b", 2)]
    del kept["a"]
    kept.update(d=6)
    assert list(kept) == ["c", "d"]
    assert dropped == [("b", 2)]


def test_a_forked_child_finds_the_lock_open() -> None:
    lock = ProcessLock()
    with lock():
        assert lock().locked()
        child = os.fork()
        if child == 0:
            os._exit(int(lock().locked()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not lock().locked()
