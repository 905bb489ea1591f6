"""The tables of docs/operations.md as the code knows them. `python -m tests.docs.tables` writes them into the page.

It also writes the two tables of codes into docs/protocol/errors.md. Knows the markers `<!-- table: NAME -->` and
`<!-- end -->`, and nothing about the text around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from orthros_client.daemon.settings import SETTINGS
from orthros_kdc.config import settings_table
from orthros_protocol import REASONS

__all__ = ["PAGE", "RELOADED", "ROOT", "TABLES", "blocks_of"]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "operations.md"
ERRORS: Final = ROOT / "docs" / "protocol" / "errors.md"
# What `Service.reload` hands on to a running part; nothing in the code lists it.
RELOADED: Final = frozenset({"keytab", "kdcs", "request_timeout_s", "kdc_timeout_s", "kdc_stagger_s", "drain_s"})
_CODES = re.compile(r"(\| code \| name \|[^\n]*\n\|---[^\n]*\n)(?:\|[^\n]*\n)*")
_BLOCK = re.compile(r"<!-- table: ([a-z-]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _code(value: object) -> str:
    return f"`{value}`" if str(value) else "none"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, tuple) else str(value)


def kdc_settings() -> str:
    """Every setting of the KDC."""
    return _table(
        ("setting", "default", "allowed", "on SIGHUP", "meaning"),
        (
            (_code(row.name), _code(row.form.show(row.default)), row.form.allowed, "taken" if row.reload else "restart",
             row.help)
            for row in settings_table()
        ),
    )  # fmt: skip


def daemon_settings() -> str:
    """Every setting of the daemon."""
    return _table(
        ("setting", "default", "on SIGHUP", "meaning"),
        (
            (_code(row.name), _code(_plain(row.default)), "taken" if row.name in RELOADED else "restart", row.meaning)
            for row in SETTINGS
        ),
    )


def reasons() -> str:
    """Every code, in the order of the code's own table."""
    return _table(
        ("number", "code", "retry", "cause", "remedy"),
        (
            (str(row.number or "-"), _code(row.name), "yes" if row.retry else "no", row.cause, row.remedy)
            for row in REASONS
        ),
    )


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "kdc-settings": kdc_settings,
    "daemon-settings": daemon_settings,
    "reasons": reasons,
}


def blocks_of(text: str) -> dict[str, str]:
    """The marked blocks of a page, by name."""
    return dict(_BLOCK.findall(text))


def errors_page(text: str) -> str:
    """docs/protocol/errors.md with the codes that travel in its first table, and all others in its second."""
    tables = iter([[row for row in REASONS if row.number], [row for row in REASONS if not row.number]])

    def rows(found: re.Match[str]) -> str:
        lines = []
        for row in next(tables):
            cells = (str(row.number or ""), f"`{row.name}`", row.cause, row.remedy, "yes" if row.retry else "")
            lines.append("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n")
        return f"{found[1]}{''.join(lines)}"

    return _CODES.sub(rows, text)


def main() -> None:
    """Writes every table into its page."""
    ERRORS.write_text(errors_page(ERRORS.read_text("utf-8")), "utf-8")
    text = PAGE.read_text("utf-8")
    PAGE.write_text(_BLOCK.sub(lambda one: f"<!-- table: {one[1]} -->\n{TABLES[one[1]]()}<!-- end -->", text), "utf-8")


if __name__ == "__main__":
    main()
