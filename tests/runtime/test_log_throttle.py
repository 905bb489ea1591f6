"""Log lines that anybody can cause: so many in a period, then a count."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orthros_runtime.log_throttle import LogThrottle

Line = tuple[str, dict[str, Any]]


class Lines:
    """What was written, and a clock."""

    def __init__(self) -> None:
        self.written: list[Line] = []
        self.now = 0.0

    def throttle(self, **options: Any) -> LogThrottle:
        return LogThrottle(monotonic_s=lambda: self.now, **options)

    def emit(self, event: str, **facts: Any) -> None:
        self.written.append((event, facts))

    def take(self) -> list[Line]:
        taken, self.written = self.written, []
        return taken


def test_so_many_lines_then_a_count_with_the_next_line_after_the_period() -> None:
    lines = Lines()
    throttle = lines.throttle(most=3, period_s=60)
    for number in range(10):
        throttle.write(lines.emit, "refused", {"reason": "malformed"}, ref=f"r{number}", path="/")
    told = lines.take()
    assert [facts["ref"] for _event, facts in told] == ["r0", "r1", "r2"]
    assert [facts.get("further") for _event, facts in told] == [None, None, "counted"]
    lines.now = 60.0
    throttle.write(lines.emit, "refused", {"reason": "malformed"}, ref="r10", path="/")
    assert lines.take() == [
        ("refused", {"reason": "malformed", "left_out": 7, "within_s": 60, "last_ref": "r9"}),
        ("refused", {"reason": "malformed", "ref": "r10", "path": "/"}),
    ]


def test_a_kind_that_stopped_is_told_with_the_next_line_of_any_kind() -> None:
    lines = Lines()
    throttle = lines.throttle(most=1)
    for _ in range(5):
        throttle.write(lines.emit, "refused", {"reason": "malformed"})
    throttle.write(lines.emit, "refused", {"reason": "replayed"})
    assert [facts["reason"] for _event, facts in lines.take()] == ["malformed", "replayed"]
    lines.now = 61.0
    throttle.write(lines.emit, "failed", {})
    assert [(event, facts.get("left_out")) for event, facts in lines.take()] == [("refused", 4), ("failed", None)]


def test_memory_is_bounded_and_what_does_not_fit_is_counted_together() -> None:
    lines = Lines()
    throttle = lines.throttle(most=2, most_kinds=3)
    for number in range(100):
        throttle.write(lines.emit, "refused", {"client": number})
    # Three kinds of their own, and two lines of all others together.
    assert [facts["client"] for _event, facts in lines.take()] == [0, 1, 2, 3, 4]
    assert len(throttle._periods) == 4
    lines.now = 61.0
    throttle.write(lines.emit, "refused", {"client": 7})
    assert [facts.get("left_out") for _event, facts in lines.take()] == [95, None]
    assert len(throttle._periods) == 1


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcdef")), max_size=200),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_nothing_is_lost_between_lines_and_counts(events: list[tuple[int, str]], most: int, kinds: int) -> None:
    lines = Lines()
    throttle = lines.throttle(most=most, period_s=60, most_kinds=kinds)
    for after_s, kind in events:
        lines.now += after_s
        throttle.write(lines.emit, "event", {"kind": kind})
    lines.now += 1000
    throttle.write(lines.emit, "end", {})
    told = lines.take()
    counted = sum(facts.get("left_out", 0) for _event, facts in told)
    written = sum("left_out" not in facts for event, facts in told if event == "event")
    assert counted + written == len(events)


def test_threads_share_it() -> None:
    lines = Lines()
    throttle = lines.throttle(most=50)

    def write() -> None:
        for _ in range(100):
            throttle.write(lines.emit, "event", {})

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines.take()) == 50
    lines.now = 61.0
    throttle.write(lines.emit, "event", {})
    assert lines.take()[0][1]["left_out"] == 750
