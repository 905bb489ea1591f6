"""Proxies as real programs, each configured by an example of the documentation, in a folder of its own.

Only the places that an example says are to be adapted are adapted. Knows no example, no daemon and no application.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trustme
import yaml  # type: ignore[import-untyped]
from attrs import frozen

from tests.chaos.hosts import is_open
from tests.support.peers import require
from tests.support.ports import free_port
from tests.support.processes import eventually
from workshop.stage import Process, Stage

__all__ = [
    "CADDY_OPTIONS",
    "EXAMPLES",
    "PATIENCE_S",
    "Configure",
    "Place",
    "Running",
    "adapted",
    "caddy_with",
    "start_program",
    "traefik_with",
]

PATIENCE_S: Final = 15.0
EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
CADDY_OPTIONS: Final = """\
	admin off
	auto_https disable_redirects
	persist_config off
	skip_install_trust
	default_bind 127.0.0.1
"""
"""Global options of Caddy: nothing outside of its folder, and no port but that of the test."""


@frozen(kw_only=True)
class Place:
    """What an example is adapted to: files go to `folder`, where the certificate is `tls.pem` with the key `tls.key`.

    `forward` is where a daemon is asked, for forward authentication: a path, or `127.0.0.1:PORT`.
    """

    program: str
    folder: Path
    port: int
    application: int
    forward: str = ""


Configure = Callable[[Place], list[str]]
"""Writes the configuration, and returns the command."""


@frozen(kw_only=True)
class Running:
    """A proxy that listens at `port`; with TLS, it has a certificate that `trust` accepts."""

    process: Process
    port: int
    trust: ssl.SSLContext


def adapted(example: str, *changes: tuple[str, str]) -> str:
    """The example, a file below docs/examples, with each of these places, which occur once, put to rights."""
    text = (EXAMPLES / example).read_text("utf-8")
    for shown, real in changes:
        assert text.count(shown) == 1, shown
        text = text.replace(shown, real)
    return text


def caddy_with(place: Place, caddyfile: str) -> list[str]:
    """Caddy with this Caddyfile, which has CADDY_OPTIONS among its own."""
    (place.folder / "Caddyfile").write_text(caddyfile, "utf-8")
    return [place.program, "run", "--config", str(place.folder / "Caddyfile"), "--adapter", "caddyfile"]


def traefik_with(place: Place, site: str) -> list[str]:
    """Traefik with this file of its dynamic configuration."""
    folder = place.folder
    (folder / "traefik").mkdir()
    (folder / "traefik" / "site.yaml").write_text(site, "utf-8")
    certificates = {"tls": {"certificates": [{"certFile": f"{folder}/tls.pem", "keyFile": f"{folder}/tls.key"}]}}
    (folder / "traefik" / "tls.yaml").write_text(yaml.safe_dump(certificates), "utf-8")
    static = {
        "entryPoints": {"websecure": {"address": f"127.0.0.1:{place.port}"}},
        "providers": {"file": {"directory": f"{folder}/traefik"}},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    (folder / "traefik.yaml").write_text(yaml.safe_dump(static), "utf-8")
    return [place.program, f"--configfile={folder}/traefik.yaml"]


def start_program(
    stage: Stage,
    program: str,
    configure: Configure,
    application: int,
    *,
    host: str,
    forward: str = "",
    tls: bool = True,
    port: int = 0,
) -> Running:
    """The proxy in front of the application at this port, as soon as it serves `host`."""
    folder = stage.folder / f"{program}-{len(stage.processes)}"
    folder.mkdir()
    folder.chmod(0o755)  # Apache's workers are another user
    authority = trustme.CA()
    made = authority.issue_cert(host)
    (folder / "tls.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    (folder / "tls.key").touch(0o600)
    (folder / "tls.key").write_bytes(made.private_key_pem.bytes())
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    port = port or free_port()
    place = Place(program=require(program), folder=folder, port=port, application=application, forward=forward)
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = stage.start(program, *configure(place), environ=home, cwd=folder)

    def serves() -> bool:
        return _greets(port, trust, host) if tls else is_open(port)

    eventually(lambda: not process.is_running or serves(), f"{program} serves: {process.errors()}")
    assert process.is_running, process.errors() + process.text()
    return Running(process=process, port=port, trust=trust)


def _greets(port: int, trust: ssl.SSLContext, host: str) -> bool:
    """Whether it serves TLS with the certificate that it was given; Traefik listens before it has read that."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw:
            trust.wrap_socket(raw, server_hostname=host).close()
    except (ConnectionError, ssl.SSLError):
        return False
    return True
