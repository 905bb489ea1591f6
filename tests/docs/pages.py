"""What the pages hold: fenced blocks, commands, links. Knows Markdown only as far as these pages use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["PAGES", "README", "ROOT", "anchors_of", "blocks", "commands_of", "links_of", "matches", "transcript"]

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
PAGES: Final = (
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "adr").glob("*.md")),
)
_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_COMMAND = re.compile(r"\$ (.*)\n((?:(?!\$ ).*\n)*)")
_PROGRAM = re.compile(r"(?<![\w/-])(orthros(?:-kdc|-admin|-daemon)?(?: [^`|&)\n]*)?)")
_NOUNS: Final = "principal|key|group|policy|jwt|oauth|audit|realm"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for found, body in _FENCE.findall(page.read_text("utf-8")) if found == language]


def transcript(block: str) -> list[tuple[str, str]]:
    """Commands and what is shown below them."""
    return _COMMAND.findall(block)


def matches(shown: str, found: str) -> bool:
    """`...` on the page stands for anything, of any length."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), found, re.DOTALL) is not None


def commands_of(page: Path) -> Iterator[str]:
    """Every command of our programs that the page names, in consoles and in running text."""
    text = page.read_text("utf-8")
    for block in blocks(page, "console"):
        for command, _shown in transcript(block):
            yield from _PROGRAM.findall(command)
    for span in re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)):
        if re.match(r"orthros(-kdc|-admin|-daemon)? [a-z-]", span):
            yield span
        elif re.match(rf"({_NOUNS}) [a-z][a-z-]*( |$)", span):
            yield f"orthros-admin {span}"


def links_of(page: Path) -> list[str]:
    """The targets of links within the repository."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return [link for link in _LINK.findall(text) if "://" not in link]


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as its viewers make them."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}
