"""What an operator tells the KDCs of a machine: the command says what it did, and for how long that holds."""

from __future__ import annotations

from orthros_runtime.screen import instant
from tests.tools.admin.bench import AdminBench


def test_a_clock_is_accepted_for_two_minutes_whether_or_not_a_kdc_waits_for_it(bench: AdminBench) -> None:
    """The KDCs cannot be asked, so the command does not claim that one goes on."""
    (row,) = bench.rows("kdc accept-clock")
    assert row["until"] - row["accepted"] == 120
    lines = bench.ok("kdc accept-clock").out.splitlines()
    (facts,) = (row["facts"] for row in bench.rows("audit tail -n 1 --event kdc.clock-accepted"))
    assert lines == [
        f"recorded: the clock of this machine is right, it shows {instant(facts['second'])}",
        "a KDC of this machine that issues nothing because of a jump goes on within a second",
        "this command cannot ask the KDCs: their logs say whether one has stopped and goes on",
        f"the record counts until {instant(facts['second'] + 120)}; after another jump, run this command again",
    ]
