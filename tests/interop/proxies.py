"""nginx, Caddy, Traefik and Envoy asking a daemon, each configured by its example of forward authentication.

Knows no daemon and no application.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from tests.client.forwarding import HOST
from tests.interop.proxy_programs import (
    CADDY_OPTIONS,
    Configure,
    Place,
    Running,
    adapted,
    caddy_with,
    start_program,
    traefik_with,
)
from tests.support import nginx
from workshop.stage import Stage

__all__ = ["PROXIES", "start_proxy"]

_SOCKET: Final = "/run/orthros/forward-auth.sock"


def _nginx(place: Place) -> list[str]:
    folder = place.folder
    forward = place.forward if ":" in place.forward else f"unix:{place.forward}"
    site = adapted(
        "forward-auth/nginx.conf",
        (f"unix:{_SOCKET}", forward),
        ("127.0.0.1:8080", f"127.0.0.1:{place.application}"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{place.port} ssl;"),
        ("/etc/nginx/orders.pem", f"{folder}/tls.pem"),
        ("/etc/nginx/orders.key", f"{folder}/tls.key"),
    )
    return [place.program, *nginx.configured(folder, site)]


def _caddy(place: Place) -> list[str]:
    folder = place.folder
    site = adapted(
        "forward-auth/Caddyfile",
        (f"unix/{_SOCKET}", place.forward if ":" in place.forward else f"unix/{place.forward}"),
        ("127.0.0.1:8080", f"127.0.0.1:{place.application}"),
        ("\norders.example {", f"\norders.example:{place.port} {{"),
        ("/etc/caddy/orders.pem", f"{folder}/tls.pem"),
        ("/etc/caddy/orders.key", f"{folder}/tls.key"),
    )
    return caddy_with(place, f"{{\n{CADDY_OPTIONS}}}\n{site}")


def _traefik(place: Place) -> list[str]:
    site = adapted(
        "forward-auth/traefik.yaml",
        ("http://127.0.0.1:7790", f"http://{place.forward}"),
        ("http://127.0.0.1:8080", f"http://127.0.0.1:{place.application}"),
    )
    return traefik_with(place, site)


def _envoy(place: Place) -> list[str]:
    folder = place.folder
    parts = yaml.safe_load(adapted("forward-auth/envoy.yaml", (_SOCKET, place.forward)))
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


PROXIES: Final[Mapping[str, Configure]] = {"nginx": _nginx, "caddy": _caddy, "traefik": _traefik, "envoy": _envoy}
"""By the name of the dialect, which is that of the program."""


def start_proxy(stage: Stage, kind: str, application: int, forward: str) -> Running:
    """The proxy, in front of the application at this port, asking the daemon at `forward`."""
    return start_program(stage, kind, PROXIES[kind], application, host=HOST, forward=forward)
