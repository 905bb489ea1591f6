"""`make chaos`: services as they are deployed, a KDC and its daemons, and what befalls them, with figures.

Ends with 1 when a bound is broken. `--quick` is what fits into `.ci/run`: a line for each fault, only small programs,
less than five minutes. `--write` puts the figures of the KDC's part into a page, if the part was played as a whole and
kept every promise.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from orthros_tools.admin.__main__ import main as orthros_admin
from tests.chaos.at_work import Ground
from tests.chaos.faults import Fault, written
from tests.chaos.figures import Report
from tests.chaos.kdc import FAULTS
from tests.chaos.scenes import floods, replicas, stores, workers
from tests.chaos.street import open_street
from tests.support.processes import Founded, found_realm

SCENES: Final[dict[str, Callable[..., None]]] = {
    "copies": workers.copies,
    "inside-an-admission": workers.inside_an_admission,
    "no-room": workers.no_room,
    "posts": workers.posts,
    "every-server": workers.every_server,
    "restarted": workers.restarted,
    "without-a-store": replicas.without_a_store,
    "with-a-store": replicas.with_a_store,
    "newborn": replicas.newborn,
    "two-hosts": replicas.two_hosts,
    "lost": stores.lost,
    "failed-over": stores.failed_over,
    "floods-fresh-start": floods.fresh_start,
    "floods-connections": floods.connections,
    "floods-strangers": floods.strangers,
}


def main(arguments: list[str]) -> int:
    chosen = _parsed(arguments)
    scenes = [name for name in SCENES if chosen.only != "kdc" and _is_chosen(name, chosen.names)]
    faults = [
        fault
        for fault in FAULTS
        if chosen.only != "services" and _is_chosen(fault.words, chosen.names) and (fault.quick or not chosen.quick)
    ]
    began = time.monotonic()
    report = Report()
    crashed: list[str] = []
    with ExitStack() as stack:
        if scenes:
            street = stack.enter_context(open_street())
            for name in scenes:
                _play(partial(SCENES[name], street, report, quick=chosen.quick), name, crashed)
    with tempfile.TemporaryDirectory(prefix="orthros-chaos-") as folder:
        ground = Ground(_founded(Path(folder)) if faults else Founded(Path(folder)))
        for fault in faults:
            _play(partial(_befall, report, fault, ground, quick=chosen.quick), fault.words, crashed)
    verdict = f"{report.broken} of {len(report.lines)} lines broke a bound" if report.broken else "no bound was broken"
    crash = f"; not played to the end: {', '.join(crashed)}" if crashed else ""
    for line in report.lines:
        if line.broken:
            print(f"broken: {line}")
    print(f"{len(report.lines)} lines in {time.monotonic() - began:.0f} s: {verdict}{crash}")
    if report.broken or crashed:
        return 1
    return 0 if chosen.write is None else _write(chosen.write, report, arguments)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="WORDS", help="only what has these words in its name")
    parser.add_argument("--only", choices=("services", "kdc"), help="one part: services, or KDC and daemons")
    parser.add_argument("--quick", action="store_true", help="less of everything, and only small programs")
    parser.add_argument(
        "--write", metavar="PAGE", type=Path, help="put the KDC's figures between the marks in this page"
    )
    chosen = parser.parse_args(arguments)
    known = (*SCENES, *(fault.words for fault in FAULTS))
    if not all(any(word in name for name in known) for word in chosen.names):
        parser.error(f"the scenes are {', '.join(known)}")
    if chosen.write is not None and (chosen.quick or chosen.names or chosen.only == "services"):
        parser.error("only figures of the whole part are written: not with --quick, WORDS or --only services")
    return chosen


def _is_chosen(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def _founded(folder: Path) -> Founded:
    """A realm as operations.md tells to found it, where logins may last a day."""
    founded = found_realm(folder)
    limit = ["--config", str(folder / "kdc" / "kdc.toml"), "--quiet", "realm", "limit", "--max-tgt-s", "24h"]
    assert orthros_admin(limit) == 0
    return founded


def _befall(report: Report, fault: Fault, ground: Ground, *, quick: bool) -> None:
    with report.outage(fault) as outage:
        fault.play(ground, outage, quick)


def _play(work: Callable[[], None], name: str, crashed: list[str]) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001  # the others are played all the same
        traceback.print_exc()
        crashed.append(name)


def _write(page: Path, report: Report, arguments: list[str]) -> int:
    outages = report.outages
    unplayed = [outage.fault.words for outage in outages if outage.unplayed]
    if unplayed:
        print(f"nothing is written, for this was not played: {', '.join(unplayed)}")
        return 1
    written(page, f'make chaos CHAOS="{shlex.join(arguments)}"', outages)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
