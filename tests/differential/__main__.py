"""The checkout beside the version where a rebuild began: `make differential`. Feeds both the same messages, valid ones,
changed ones, and ones that are sealed again with the right keys, and compares verdict, code, the check that failed and
what is written again. Ends with 1 for a difference that `decided.py` does not list.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack

from tests.differential import begin
from tests.differential.corpus import Case, case, cases
from tests.differential.decided import DECIDED
from tests.differential.report import Report
from tests.differential.sides import Side, this_side, verdicts

_WHOLE = 200_000


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--cases", type=int, default=_WHOLE, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="another choice of cases (default: %(default)s)"
    )
    parser.add_argument("--only", type=int, metavar="NUMBER", help="print one case of such a run and both verdicts")
    parser.add_argument("--same", action="store_true", help="compare the checkout with itself")
    fault = "a fault in the new one, to see that it is found: it accepts what it refuses with this code"
    parser.add_argument("--accept", metavar="CODE", help=fault)
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            old = stack.enter_context(this_side() if chosen.same else Side(*begin.built(begin.commit())))
        except begin.NotBuilt as reason:
            print(f"differential: {reason}", file=sys.stderr)
            return 2
        new = stack.enter_context(this_side(*(("--accept", chosen.accept) if chosen.accept else ())))
        realms = [side.ask("kdc-facts") for side in (old, new)]
        if failed := [one for one in realms if "out" not in one and "unknown" not in one]:
            print(f"differential: the KDC of whole_kdc.py could not be set up: {failed[0]}", file=sys.stderr)
            return 2
        kdc = realms[0].get("out") if realms[0] == realms[1] else None
        if chosen.only is not None:
            for one, *said in verdicts(old, new, [case(chosen.only, chosen.seed, chosen.cases, kdc)]):
                print(json.dumps({**one.as_json(), "old": said[0], "new": said[1]}, indent=1))
            return 0
        report = Report(DECIDED)
        report.note(Case(-1, "kdc-facts", {}, "vector", "keys of the realm"), *realms)
        for one, *said in verdicts(old, new, cases(chosen.cases, chosen.seed, kdc)):
            report.note(one, *said)
    print(*report.lines(), sep="\n")
    print(f"against {'itself' if chosen.same else begin.commit()[:12]}, {time.monotonic() - began:.0f} s")
    if report.differences and not chosen.same:
        report.write(begin.CACHE / "differences.jsonl")
        print(f"all of them: {(begin.CACHE / 'differences.jsonl').relative_to(begin.ROOT)}")
    if chosen.cases >= _WHOLE:
        for stale in report.stale:
            print(f"decided.py lists what no longer differs: {stale}")
    return 1 if report.undecided else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
