"""`make chaos`: services as they are deployed, and what befalls them, with figures; ends with 1 when a bound is broken.

`--quick` is what fits into `.ci/run`: nginx, HAProxy, faketime and one server for the store, in less than four minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final

from tests.chaos.figures import Report
from tests.chaos.scenes import audit, clocks, floods, replicas, stores, workers
from tests.chaos.street import Street, open_street

Scene = Callable[..., None]
SCENES: Final[dict[str, Scene]] = {
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
    "clocks": clocks.clocks,
    "floods-fresh-start": floods.fresh_start,
    "floods-connections": floods.connections,
    "floods-strangers": floods.strangers,
    "audit-killed": audit.killed,
    "audit-full": audit.full,
    "audit-locked": audit.locked,
    "audit-moved": audit.moved,
    "audit-altered": audit.altered,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"which: {', '.join(SCENES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="less of everything, and only small programs")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.scenes) - set(SCENES)
    if unknown:
        parser.error(f"no scene is called {', '.join(sorted(unknown))}")
    began = time.monotonic()
    report = Report()
    crashed: list[str] = []
    with open_street() as street:
        for name, scene in SCENES.items():
            if not chosen.scenes or name in chosen.scenes:
                _play(street, report, name, scene, crashed, quick=chosen.quick)
    verdict = f"{report.broken} of {len(report.lines)} lines broke a bound" if report.broken else "no bound was broken"
    crash = f"; not played to the end: {', '.join(crashed)}" if crashed else ""
    print(f"{len(report.lines)} lines in {time.monotonic() - began:.0f} s: {verdict}{crash}")
    return 1 if report.broken or crashed else 0


def _play(street: Street, report: Report, name: str, scene: Scene, crashed: list[str], *, quick: bool) -> None:
    try:
        scene(street, report, quick=quick)
    except Exception:  # noqa: BLE001  # the other scenes are played all the same
        traceback.print_exc()
        crashed.append(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
