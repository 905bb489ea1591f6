"""nginx, Caddy, Traefik and Envoy as real programs, each configured by its example of the documentation.

Only the places that the example says are to be adapted are adapted; knows no daemon and no application.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import trustme
import yaml  # type: ignore[import-untyped]
from attrs import frozen

from tests.client.forwarding import HOST
from tests.support import nginx
from tests.support.peers import require
from tests.support.processes import eventually
from workshop.stage import Process, Stage

__all__ = ["PATIENCE_S", "PROXIES", "Running", "free_port", "start_proxy"]

PATIENCE_S: Final = 15.0
_EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples" / "forward-auth"
_SOCKET: Final = "/run/orthros/forward-auth.sock"
_CADDY: Final = """\
{
	admin off
	auto_https disable_redirects
	persist_config off
	skip_install_trust
	default_bind 127.0.0.1
}
"""


@frozen(kw_only=True)
class _Place:
    """What an example is adapted to. `forward` is where the daemon listens: a path, or `127.0.0.1:PORT`."""

    program: str
    folder: Path
    port: int
    application: int
    forward: str


@frozen(kw_only=True)
class Running:
    """A proxy that listens at `port` with a certificate that `trust` accepts for the host of the tests."""

    process: Process
    port: int
    trust: ssl.SSLContext


def _adapted(example: str, *changes: tuple[str, str]) -> str:
    """The example with each of these places, which occur once, put to rights."""
    text = (_EXAMPLES / example).read_text("utf-8")
    for shown, real in changes:
        assert text.count(shown) == 1, shown
        text = text.replace(shown, real)
    return text


def _nginx(place: _Place) -> list[str]:
    folder = place.folder
    forward = place.forward if ":" in place.forward else f"unix:{place.forward}"
    site = _adapted(
        "nginx.conf",
        (f"unix:{_SOCKET}", forward),
        ("127.0.0.1:8080", f"127.0.0.1:{place.application}"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{place.port} ssl;"),
        ("/etc/nginx/orders.pem", f"{folder}/tls.pem"),
        ("/etc/nginx/orders.key", f"{folder}/tls.key"),
    )
    return [place.program, *nginx.configured(folder, site)]


def _caddy(place: _Place) -> list[str]:
    folder = place.folder
    site = _adapted(
        "Caddyfile",
        (f"unix/{_SOCKET}", place.forward if ":" in place.forward else f"unix/{place.forward}"),
        ("127.0.0.1:8080", f"127.0.0.1:{place.application}"),
        ("\norders.example {", f"\norders.example:{place.port} {{"),
        ("/etc/caddy/orders.pem", f"{folder}/tls.pem"),
        ("/etc/caddy/orders.key", f"{folder}/tls.key"),
    )
    (folder / "Caddyfile").write_text(_CADDY + site, "utf-8")
    return [place.program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _traefik(place: _Place) -> list[str]:
    folder = place.folder
    (folder / "traefik").mkdir()
    site = _adapted(
        "traefik.yaml",
        ("http://127.0.0.1:7790", f"http://{place.forward}"),
        ("http://127.0.0.1:8080", f"http://127.0.0.1:{place.application}"),
    )
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


def _envoy(place: _Place) -> list[str]:
    folder = place.folder
    parts = yaml.safe_load(_adapted("envoy.yaml", (_SOCKET, place.forward)))
    kind = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "application"}}
    route |= {name: parts[name] for name in ("request_headers_to_remove", "response_headers_to_remove")}
    if ":" in place.forward:  # the daemon's socket is to be adapted
        (cluster,) = parts["clusters"]
        cluster["load_assignment"] = _cluster("", place.forward)["load_assignment"]
        cluster["load_assignment"]["cluster_name"] = cluster["name"]
    manager = {
        "@type": kind,
        "stat_prefix": "orders",
        "common_http_protocol_options": parts["common_http_protocol_options"],
        "route_config": {"virtual_hosts": [{"name": "orders", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*parts["http_filters"], {"name": "router", "typed_config": {"@type": router}}],
    }
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
        "transport_socket": {"name": "tls", "typed_config": _tls(folder)},
    }
    listener = {"address": _address(f"127.0.0.1:{place.port}"), "filter_chains": [chain]}
    clusters = [*parts["clusters"], _cluster("application", f"127.0.0.1:{place.application}")]
    whole = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (folder / "envoy.json").write_text(json.dumps(whole), "utf-8")
    # Envoys of one host share memory unless told otherwise.
    return [place.program, "-c", str(folder / "envoy.json"), "--use-dynamic-base-id", "--log-level", "warn"]


def _tls(folder: Path) -> dict[str, Any]:
    files = {"certificate_chain": {"filename": f"{folder}/tls.pem"}, "private_key": {"filename": f"{folder}/tls.key"}}
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"@type": kind, "common_tls_context": {"tls_certificates": [files]}}


def _address(place: str) -> dict[str, Any]:
    host, _, port = place.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _cluster(name: str, place: str) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(place)}}]}]
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


PROXIES: Final[Mapping[str, Callable[[_Place], list[str]]]] = {
    "nginx": _nginx, "caddy": _caddy, "traefik": _traefik, "envoy": _envoy,
}  # fmt: skip
"""By the name of the dialect and of the program: writes the configuration, and returns the command."""


def start_proxy(stage: Stage, kind: str, application: int, forward: str) -> Running:
    """The proxy, in front of the application at this port, asking the daemon at `forward`."""
    program, folder = require(kind), stage.folder
    authority = trustme.CA()
    made = authority.issue_cert(HOST)
    (folder / "tls.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    (folder / "tls.key").touch(0o600)
    (folder / "tls.key").write_bytes(made.private_key_pem.bytes())
    port = free_port()
    place = _Place(program=program, folder=folder, port=port, application=application, forward=forward)
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = stage.start(kind, *PROXIES[kind](place), environ=home, cwd=folder)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    eventually(lambda: not process.is_running or _greets(port, trust), f"{kind} serves: {process.errors()}")
    assert process.is_running, process.errors()
    return Running(process=process, port=port, trust=trust)


def free_port() -> int:
    """A port of loopback that nobody listens at just now; none of these programs takes over an open socket."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def _greets(port: int, trust: ssl.SSLContext) -> bool:
    """Whether it serves TLS with the certificate that it was given; Traefik listens before it has read that."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw:
            trust.wrap_socket(raw, server_hostname=HOST).close()
    except (ConnectionError, ssl.SSLError):
        return False
    return True
