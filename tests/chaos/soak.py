"""`make soak`: ten minutes of ordinary work, and whether the memory of KDC, daemon and service stays flat.

20 calls a second, reads and orders in turn; every ten seconds a rule changes and the ticket is renewed, so that KDC and
daemon have work as well. Prints the resident memory four times a minute, and ends with 1 when a process grew after its
first third of the time, or when a call failed.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Final

from tests.chaos.callers import Tally
from tests.chaos.hosts import Service
from tests.chaos.street import Street, open_street

_LOOK_S: Final = 15.0
_CHANGE_S: Final = 10.0
# What an allocator may keep besides: a leak of one small object a call is 2 MB after 12,000 calls.
_SLACK_KB: Final = 2048


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; 10 by default")
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second; 20 by default")
    chosen = parser.parse_args(arguments)
    with open_street() as street:
        service = street.service(street.host(), "gunicorn", workers=2, options="-k gthread --threads 4")
        return _soak(street, service, chosen.minutes * 60, chosen.rate)


def _soak(street: Street, service: Service, seconds: float, rate: float) -> int:
    tally, ended, seen = Tally(), threading.Event(), list[dict[str, int]]()
    caller = street.caller(service.port, kept=True)
    calls = threading.Thread(target=caller.paced, args=(("GET", "POST"), tally, ended, rate))
    changes = threading.Thread(target=_change, args=(street, ended))
    began = time.monotonic()
    for thread in (calls, changes):
        thread.start()
    try:
        while not ended.wait(max(0.0, min(_LOOK_S, began + seconds - time.monotonic()))):
            seen.append(_resident_kb(street, service))
            passed_s = time.monotonic() - began
            words = "  ".join(f"{name} {kb / 1024:.1f} MB" for name, kb in seen[-1].items())
            print(f"{passed_s:6.0f} s  {tally.calls:6d} calls  {tally.failed} failed  {words}", flush=True)
            caller.heard.clear()
            if passed_s >= seconds:
                break
    finally:
        ended.set()
        for thread in (calls, changes):
            thread.join()
    return _verdict(seen, tally)


def _change(street: Street, ended: threading.Event) -> None:
    """A rule comes and goes, and the daemon gets another ticket."""
    while not ended.wait(_CHANGE_S):
        street.estate.admin("policy allow spy orders --scope read").require()
        street.estate.orthros("renew orders").require()
        street.estate.admin("policy deny spy orders").require()


def _resident_kb(street: Street, service: Service) -> dict[str, int]:
    """The resident memory of each program in KiB; of the service, that of its workers together."""
    kdc = street.estate.kdc
    assert kdc is not None
    return {
        "kdc": _rss_kb(kdc.popen.pid),
        "daemon": _rss_kb(street.estate.daemons["shop"].popen.pid),
        "service": sum(map(_rss_kb, service.worker_pids())),
    }


def _rss_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def _verdict(seen: list[dict[str, int]], tally: Tally) -> int:
    """Compares the second third of the time with the last one, each by its median."""
    third = len(seen) // 3
    grown = []
    for name in seen[0]:
        middle, last = (
            sorted(one[name] for one in part)[len(part) // 2] for part in (seen[third : 2 * third], seen[2 * third :])
        )
        print(f"{name}: {middle / 1024:.1f} MB in the second third, {last / 1024:.1f} MB in the last one")
        if last > middle + _SLACK_KB:
            grown.append(name)
    print(f"{tally.calls} calls, {tally.failed} failed{f': {tally}' if tally.failed else ''}")
    print(f"memory grew: {', '.join(grown)}" if grown else "memory is flat")
    return 1 if grown or tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
