"""Lines of cases in, lines of verdicts out: `python runner.py < cases > verdicts`, by the version that is installed.

A line in is a JSON array of cases `{"op", "in"}`, a line out that of their verdicts. Stands alone, since either version
runs it. `--accept CODE` lets each refusal with this code pass, to show that such a fault is found.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

# The operations of the vectors, where they have been.
PLACES = ("orthros_tools.vectors", "workshop.vectors")
# What an operation has read, written again: the operation that writes it, and what of the output it takes.
AGAIN: dict[str, tuple[str, dict[str, str]]] = {
    "decode": ("encode", {"items": "items"}),
    "authorization": ("write-authorization", {"message": "message", "covered": "covered"}),
    "challenge": ("write-challenge", {"realm": "realm", "code": "code", "reply": "reply"}),
    "content-digest": ("write-content-digest", {"sha256": "sha256"}),
    "key-file": ("key-text", {"text": "text"}),
    "key-text": ("key-file", {"file": "file"}),
}


class Runner:
    """The operations of the installed version."""

    def __init__(self, let_pass: str | None) -> None:
        found = next(filter(None, map(_imported, PLACES)), None)
        if found is None:
            raise SystemExit(f"this version has its operations in none of {', '.join(PLACES)}")
        self.operations: dict[str, Callable[[Any], Any]] = {**found[0].OPERATIONS, **_whole_kdc()}
        self.integers = found[1]
        self.error: type[Exception] = importlib.import_module("orthros_protocol").OrthrosError
        self.let_pass = let_pass

    def verdict(self, op: str, given: Any) -> Any:
        """`{"out"}`; `{"refused"}`: by which check, in which words; `{"raised"}`: by accident."""
        if op not in self.operations:
            return {"unknown": op}
        try:
            out = self.operations[op](self.integers.read(given))
        except self.error as error:
            return {"out": {}} if error.code == self.let_pass else {"refused": _refusal(error)}  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001  # both versions must come through every case
            return {"raised": type(error).__name__}
        return {"out": self.integers.written(out)}

    def whole_verdict(self, op: str, given: Any) -> Any:
        """The same, and beside an output under `"again"` what becomes of it when it is written anew."""
        found = self.verdict(op, given)
        if "out" not in found or op not in AGAIN or not found["out"]:
            return found
        writes, fields = AGAIN[op]
        return found | {"again": self.verdict(writes, {ours: found["out"][theirs] for ours, theirs in fields.items()})}


def _imported(place: str) -> tuple[Any, Any] | None:
    try:
        return importlib.import_module(f"{place}.operations"), importlib.import_module(f"{place}.integers")
    except ModuleNotFoundError as missing:
        if place.startswith(str(missing.name)):
            return None
        raise


def _whole_kdc() -> dict[str, Callable[[Any], Any]]:
    """The operations of this version's own tests, which are beside the packages in its tree; none where it had none."""
    try:
        found: dict[str, Callable[[Any], Any]] = importlib.import_module("tests.differential.whole_kdc").OPERATIONS
    except ModuleNotFoundError as missing:
        if missing.name not in {"tests.differential", "tests.differential.whole_kdc"}:
            raise
        return {}
    return found


def _refusal(error: Any) -> dict[str, Any]:
    found = {"family": error.family, "code": error.code, "detail": error.detail, "for_the_log": error.log_detail}
    found["reply"] = None if error.reply is None else error.reply.hex()
    for name in ("ready_in_ms", "before_handler", "retry_s"):
        if hasattr(error, name):
            found[name] = getattr(error, name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accept", metavar="CODE")
    runner = Runner(parser.parse_args().accept)
    for line in sys.stdin:
        print(json.dumps([runner.whole_verdict(one["op"], one["in"]) for one in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
