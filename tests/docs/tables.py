"""The tables of docs/operations.md as the code knows them. `python -m tests.docs.tables` writes them into the page.

It also writes the table of answers into docs/protocol/http.md, those of mistakes into docs/refusals.md and
docs/behind-a-proxy.md, the two tables of codes into errors.md, and the public names into docs/library.md and
docs/testing.md. Knows the markers `<!-- table: NAME -->` and `<!-- end -->`, and nothing of the text around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

import orthros_client
import orthros_protocol
from orthros_client.daemon.config import DAEMON_SETTINGS
from orthros_client.http.server.answers import ROWS
from orthros_kdc.config import KDC_SETTINGS
from orthros_runtime.settings import Setting
from orthros_tools.reasons import CATALOGUE
from tests.mistakes.rows import ROWS as MISTAKES
from tests.mistakes.table import Mistake

__all__ = ["PAGE", "PLACES", "ROOT", "SERVICE_MODULES", "TABLES", "TESTING_MODULES", "blocks_of"]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "operations.md"
HTTP: Final = ROOT / "docs" / "protocol" / "http.md"
LIBRARY: Final = ROOT / "docs" / "library.md"
REFUSALS: Final = ROOT / "docs" / "refusals.md"
TESTING: Final = ROOT / "docs" / "testing.md"
BEHIND_A_PROXY: Final = ROOT / "docs" / "behind-a-proxy.md"
ERRORS: Final = ROOT / "docs" / "protocol" / "errors.md"
# What is public for services besides `orthros_client` itself; any other module is private.
SERVICE_MODULES: Final = (
    *(f"orthros_client.integrations.{name}" for name in ("asgi", "asgi_discharges", "django", "flask", "starlette")),
    *(
        f"orthros_client.integrations.{name}"
        for name in (
            "wsgi",
            "wsgi_discharges",
            "django_app",
            "aiohttp_server",
            "httpx_auth",
            "requests_auth",
            "aiohttp_auth",
            "urllib3_auth",
            "grpc_server",
            "grpc_client",
            "grpc_aio_client",
        )
    ),
    "orthros_client.http.propagation",
    "orthros_client.matryoshka",
)
# And what their tests may import.
TESTING_MODULES: Final = ("orthros_client.testing", "orthros_client.testing.fixtures", "orthros_kdc.testing")
# What has no docstring of its own: constants, and a type that is an integer.
DESCRIBED: Final = {
    "EXACT": "Flag of a want: the KDC refuses rather than grants less.",
    "KDC_TGT": "The service of the KDC that the initial exchange asks for: ticket-granting tickets.",
    "SAFE": "Flag of an AP-REQ: executing the call twice does no harm.",
    "USE_CHANNEL": "Use 2 of an AP-REQ: it opens a channel.",
    "USE_HTTP": "Use 1 of an AP-REQ: it authorises an HTTP request.",
    "USE_KDC": "Use 3 of an AP-REQ: it is for a service of the KDC.",
    "USE_RAW": "Use 0 of an AP-REQ: it authorises a payload at an endpoint.",
    "Timestamp": "Milliseconds since 1970-01-01T00:00:00Z.",
    "WANT_DELEGABLE": "Flag of a want: the ticket may serve as evidence.",
    "WANT_JWT": "Kind 1 of a want: a JWT.",
    "WANT_TICKET": "Kind 0 of a want: a ticket.",
}
_CODES = re.compile(r"(\| code \| name \|[^\n]*\n\|---[^\n]*\n)(?:\|[^\n]*\n)*")
_BLOCK = re.compile(r"<!-- table: ([a-z-]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _code(value: object) -> str:
    return f"`{value}`" if str(value) else "none"


def _settings(rows: Iterable[Setting]) -> str:
    return _table(
        ("setting", "default", "allowed", "on SIGHUP", "meaning"),
        (
            (
                _code(row.name),
                _code(row.kind.show(row.default)),
                row.kind.allowed,
                "taken" if row.reload else "restart",
                row.help,
            )
            for row in rows
        ),
    )


def kdc_settings() -> str:
    """Every setting of the KDC."""
    return _settings(KDC_SETTINGS.rows)


def daemon_settings() -> str:
    """Every setting of the daemon."""
    return _settings(DAEMON_SETTINGS.rows)


def reasons() -> str:
    """Every code, in the order of the code's own table."""
    return _table(
        ("number", "code", "retry", "cause", "remedy"),
        (
            (str(row.number or "-"), _code(row.name), "yes" if row.retry else "no", row.cause, row.remedy)
            for row in CATALOGUE.values()
        ),
    )


def answers() -> str:
    """Every answer that a service gives instead of its application, in the order of the code's own table."""
    names = {row.reason: row.reason if " " in row.reason else f"`{row.reason}`" for row in ROWS}
    return _table(
        ("reason", "status", "`error`", "challenge", "proven"),
        ((names[row.reason], str(row.status), f"`{row.error}`", str(row.challenge), str(row.proof)) for row in ROWS),
    )


def mistakes() -> str:
    """The usual mistakes of `make mistakes`, in its order, without those of proxies."""
    return _mistakes(row for row in MISTAKES if not row.is_of_a_proxy)


def mistakes_of_proxies() -> str:
    """Those that are made between caller and service."""
    return _mistakes(row for row in MISTAKES if row.is_of_a_proxy)


def _mistakes(rows: Iterable[Mistake]) -> str:

    def quoted(words: Sequence[str]) -> str:
        # Two of the words that are tested; their spaces are those of a message.
        return ", ".join(f"`{word.strip()}`" for word in words[:2])

    return _table(
        ("cause", "at fault", "the caller reads, among others", "the service logs", "what mends it"),
        ((row.name, row.at, quoted(row.caller), quoted(row.service) or "-", row.mend) for row in rows),
    )


def _names_of(package: ModuleType) -> str:
    """The public names of a package, each with the first sentence of its docstring."""

    def summary(name: str) -> str:
        words = DESCRIBED.get(name) or " ".join((getattr(package, name).__doc__ or "").split())
        return re.split(r"(?<=\.) ", words, maxsplit=1)[0]

    return _table(("name", "what it is"), ((f"`{name}`", summary(name)) for name in package.__all__))


def public_names() -> str:
    """What services import from `orthros_client`."""
    return _names_of(orthros_client)


def protocol_names() -> str:
    """What programs that speak the protocol themselves import from `orthros_protocol`."""
    return _names_of(orthros_protocol)


def _modules(names: Iterable[str]) -> str:
    return _table(
        ("module", "names"),
        (
            (f"`{name}`", ", ".join(f"`{one}`" for one in sorted(import_module(name).__all__, key=str.lower)))
            for name in names
        ),
    )


def public_modules() -> str:
    """The other modules that services import from, and what they offer."""
    return _modules(SERVICE_MODULES)


def testing_names() -> str:
    """What tests of services and of rules import."""
    return _modules(TESTING_MODULES)


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "kdc-settings": kdc_settings,
    "daemon-settings": daemon_settings,
    "reasons": reasons,
    "answers": answers,
    "mistakes": mistakes,
    "mistakes-of-proxies": mistakes_of_proxies,
    "public-names": public_names,
    "protocol-names": protocol_names,
    "public-modules": public_modules,
    "testing-names": testing_names,
}
_ELSEWHERE: Final = {
    "answers": HTTP,
    "mistakes": REFUSALS,
    "mistakes-of-proxies": BEHIND_A_PROXY,
    "public-names": LIBRARY,
    "protocol-names": LIBRARY,
    "public-modules": LIBRARY,
    "testing-names": TESTING,
}
PLACES: Final = {name: _ELSEWHERE.get(name, PAGE) for name in TABLES}
"""Which page has which table."""


def blocks_of(text: str) -> dict[str, str]:
    """The marked blocks of a page, by name."""
    return dict(_BLOCK.findall(text))


def errors_page(text: str) -> str:
    """docs/protocol/errors.md with the codes that travel in its first table, and all others in its second."""
    rows = CATALOGUE.values()
    tables = iter([[row for row in rows if row.number], [row for row in rows if not row.number]])

    def written(found: re.Match[str]) -> str:
        lines = []
        for row in next(tables):
            cells = (str(row.number or ""), f"`{row.name}`", row.cause, row.remedy, "yes" if row.retry else "")
            lines.append("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n")
        return f"{found[1]}{''.join(lines)}"

    return _CODES.sub(written, text)


def main() -> None:
    """Writes every table into its page."""
    ERRORS.write_text(errors_page(ERRORS.read_text("utf-8")), "utf-8")
    for page in {*PLACES.values()}:
        text = page.read_text("utf-8")
        page.write_text(
            _BLOCK.sub(lambda one: f"<!-- table: {one[1]} -->\n{TABLES[one[1]]()}<!-- end -->", text), "utf-8"
        )


if __name__ == "__main__":
    main()
