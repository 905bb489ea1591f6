"""A realm of real programs for the stories that need them: a KDC, the daemons of shop and ledger, a service over HTTP.

Knows no story. KDC and daemon write their logs as JSON, into files of the stage.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define

from tests.docs.pages import ROOT
from tests.support.http_servers import await_open
from tests.support.ports import free_port
from tests.support.processes import Estate, Founded, open_estate
from workshop.stage import Process

__all__ = ["Street", "open_street"]

_DAEMON: Final = """\
log_format = "json"
http_socket = "{folder}/http.sock"

[workers]
[[workers.allow]]
uid = {uid}
targets = ["orders"]
"""
_KDC: Final = {
    "ORTHROS_LOG_FORMAT": "json",
    "ORTHROS_HTTP_TCP": "127.0.0.1:0",
    "ORTHROS_HTTP_PALADIN": "true",
    "ORTHROS_HTTP_SIMPLE_TOKEN": "true",
}
_SERVICE: Final = "fastapi_service"


@define
class Street:
    """Where it runs; `daemon` is that of shop, and `origin` that of the service."""

    estate: Estate
    kdc: Process
    daemon: Process
    origin: str

    @property
    def folder(self) -> Path:
        return self.estate.folder


@contextmanager
def open_street(founded: Founded, *, serves: bool = True) -> Iterator[Street]:
    """Everything runs, the service only if it `serves`; everything ends with the block."""
    with open_estate(founded) as estate:
        kdc = estate.start_kdc(**_KDC)
        daemon = estate.start_daemon(more=_DAEMON.format(folder=estate.folder, uid=os.geteuid()))
        estate.start_daemon("ledger")
        yield Street(estate, kdc, daemon, _start_service(estate) if serves else "")


def _start_service(estate: Estate) -> str:
    """The example of the documentation, which learns its port before it starts: the port is part of its origin."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    example = (ROOT / "docs" / "examples" / f"{_SERVICE}.py").read_text("utf-8")
    (estate.folder / f"{_SERVICE}.py").write_text(example.replace("https://orders.example", origin), encoding="utf-8")
    words = (sys.executable, "-m", "uvicorn", "--port", str(port), "--no-proxy-headers", f"{_SERVICE}:app")
    command = ("sh", "-c", 'exec "$0" "$@" 2>&1', *words)  # its ready line goes to standard error
    settings = {"ORTHROS_KEY_FILE": str(estate.key_file("orders.verify.key"))}
    await_open(estate.stage.start("orders", *command, environ=settings, cwd=estate.folder))
    return origin
