"""`python -m workshop.vectors --write` or `--check`; exit code 1 when files and code differ."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from workshop.vectors.build import all_files
from workshop.vectors.run import disagreement

FOLDER = Path(__file__).resolve().parents[3] / "tests" / "vectors"
_MOST_DIFF_LINES = 40


def main(arguments: list[str] | None = None) -> int:
    """Writes the files, or compares them with what the code makes and replays every vector."""
    parser = argparse.ArgumentParser(prog="python -m workshop.vectors", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the files anew")
    action.add_argument("--check", action="store_true", help="compare the files with the code")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are (default: %(default)s)")
    options = parser.parse_args(arguments)
    made = all_files()
    count = sum(text.count('"op"') for text, _ in made.values())
    if options.write:
        options.folder.mkdir(parents=True, exist_ok=True)
        for name, (text, _) in made.items():
            (options.folder / name).write_text(text, encoding="utf-8")
        print(f"wrote {count} vectors in {len(made)} files to {options.folder}")
        return 0
    problems = [problem for name, (text, _) in made.items() for problem in _compare(options.folder / name, text)]
    strays = {path.name for path in options.folder.glob("*.json")} - set(made)
    problems += [f"{stray}: not made by this tool" for stray in sorted(strays)]
    problems += [
        f"{name}: {found}" for name, (_, vectors) in made.items() for one in vectors if (found := disagreement(one))
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("The vectors and the code differ. If the change is meant, change docs/protocol/ with it and run",
              "python -m workshop.vectors --write", file=sys.stderr)  # fmt: skip
        return 1
    print(f"{count} vectors in {len(made)} files agree with the code")
    return 0


def _compare(path: Path, expected: str) -> list[str]:
    try:
        found = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [f"{path.name}: missing"]
    lines = list(
        difflib.unified_diff(
            found.splitlines(), expected.splitlines(), f"{path.name} (file)", "(code)", lineterm="", n=1
        )
    )
    if len(lines) > _MOST_DIFF_LINES:
        lines = [*lines[:_MOST_DIFF_LINES], f"... and {len(lines) - _MOST_DIFF_LINES} more lines"]
    return lines


if __name__ == "__main__":
    sys.exit(main())
