"""docs/matrix.md: frameworks, servers and clients that are tested, with the versions of the lock file and the tests.

`python -m tests.docs.matrix` writes the page. A row names the distribution that the lock file pins, or a program, and
the test that runs it. Reads the tests without running them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from attrs import frozen

__all__ = ["PAGE", "SECTIONS", "Row", "names_of_tests", "page", "versions"]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "matrix.md"
_LOCK: Final = ROOT / "requirements" / "dev.txt"
_PINNED: Final = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)
_HEAD: Final = """\
# What is tested with what

A reference: each framework, server and client that a test runs, with the version that the tests install, and the test.
Other versions are likely to work; these are known to. Written by `python -m tests.docs.matrix` from the lock file.
"""


@frozen
class Row:
    """What is tested, how it is used, the distribution that brings it, and the test: a file and a function in it."""

    name: str
    how: str
    distribution: str
    test: str


_INTEGRATIONS: Final = "tests/client/integrations/"
_SERVERS: Final = "tests/e2e/test_every_server.py::test_whatever_a_server_makes_of_a_request_it_is_served_or_refused"
_CALLERS: Final = _INTEGRATIONS + "test_callers.py::test_a_call_is_authenticated_and_its_response_proven"
_OTHERS: Final = "tests/docs/test_frameworks.py::test_two_lines_protect_an_application_and_name_its_caller"


def _same(test: str, *rows: tuple[str, str, str]) -> tuple[Row, ...]:
    return tuple(Row(name, how, distribution, test) for name, how, distribution in rows)


SECTIONS: Final[dict[str, tuple[Row, ...]]] = {
    "Frameworks": (
        *_same(
            _INTEGRATIONS + "test_starlette.py::test_scopes_of_an_endpoint",
            ("FastAPI", "`integrations.asgi` and `.starlette`", "fastapi"),
            ("Starlette", "`integrations.asgi` and `.starlette`", "starlette"),
        ),
        Row(
            "Django as an app, with `runserver`",
            "`integrations.django_app`",
            "django",
            "tests/e2e/test_django_app.py::test_runserver_serves_verified_callers_only",
        ),
        Row("Flask", "`integrations.flask`", "flask", _INTEGRATIONS + "test_flask.py::test_scopes_of_a_view"),
        Row(
            "Django",
            "`integrations.django`, ASGI or WSGI",
            "django",
            _INTEGRATIONS + "test_django.py::test_scopes_of_a_view",
        ),
        Row(
            "aiohttp",
            "`integrations.aiohttp_server`",
            "aiohttp",
            _INTEGRATIONS
            + "test_aiohttp_server.py::test_one_call_protects_an_application_and_each_handler_names_its_scopes",
        ),
        Row(
            "gRPC, sync and aio",
            "`integrations.grpc_server`",
            "grpcio",
            _INTEGRATIONS + "test_grpc.py::test_calls_are_authenticated_and_their_answers_proven",
        ),
        *_same(
            _OTHERS,
            ("Litestar", "`integrations.asgi`", "litestar"),
            ("Quart", "`integrations.asgi`", "quart"),
            ("Falcon", "`integrations.asgi` or `.wsgi`", "falcon"),
            ("BlackSheep", "`integrations.asgi`", "blacksheep"),
            ("Sanic, under an ASGI server", "`integrations.asgi`", "sanic"),
            ("Bottle", "`integrations.wsgi`", "bottle"),
        ),
    ),
    "Servers": _same(
        _SERVERS,
        ("uvicorn", "ASGI, with h11 and with httptools", "uvicorn"),
        ("hypercorn", "ASGI, asyncio and trio", "hypercorn"),
        ("Daphne", "ASGI", "daphne"),
        ("granian", "ASGI and WSGI", "granian"),
        ("gunicorn", "WSGI: sync, threads, gevent", "gunicorn"),
        ("waitress", "WSGI", "waitress"),
        ("gevent", "WSGI", "gevent"),
        ("Tornado's `WSGIContainer`", "WSGI", "tornado"),
        ("Werkzeug", "WSGI", "werkzeug"),
        ("Django's `runserver`", "WSGI", "django"),
        ("a2wsgi under uvicorn", "WSGI", "a2wsgi"),
        ("uWSGI, by itself and behind nginx", "WSGI", "pyuwsgi"),
    ),
    "Clients": (
        *_same(
            _CALLERS,
            ("httpx", "`integrations.httpx_auth`", "httpx"),
            ("httpx2", "`integrations.httpx_auth`", "httpx2"),
            ("requests", "`integrations.requests_auth`", "requests"),
            ("aiohttp", "`integrations.aiohttp_auth`", "aiohttp"),
            ("urllib3", "`integrations.urllib3_auth`", "urllib3"),
        ),
        Row(
            "gRPC, sync and aio",
            "`integrations.grpc_client` and `.grpc_aio_client`",
            "grpcio",
            _INTEGRATIONS + "test_grpc.py::test_calls_are_authenticated_and_their_answers_proven",
        ),
    ),
}


def versions() -> dict[str, str]:
    """What the lock file pins, by the distribution's name in lower case."""
    found: dict[str, list[str]] = {}
    for name, version in _PINNED.findall(_LOCK.read_text("utf-8")):
        found.setdefault(name.lower(), []).append(version)
    return {name: " or ".join(several) for name, several in found.items()}  # it may depend on the version of Python


def names_of_tests(path: Path) -> set[str]:
    """The names of the tests in a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, functions)}


def page() -> str:
    """The page, as it should be."""
    pinned = versions()
    return _HEAD + "".join(f"\n## {title}\n\n{_table(rows, pinned)}" for title, rows in SECTIONS.items())


def _table(rows: Iterable[Row], pinned: dict[str, str]) -> str:
    lines = ["| | how | version | shown by |", "|---|---|---|---|"]
    for row in rows:
        path, _, test = row.test.partition("::")
        shown = f"[{path.removeprefix('tests/')}](../{path}): `{test}`"
        lines.append(f"| {row.name} | {row.how} | {pinned[row.distribution]} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
