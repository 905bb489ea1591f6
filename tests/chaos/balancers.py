"""nginx, HAProxy, Caddy, Envoy and Traefik as load balancers in front of replicas, each as its manual shows.

Knows ports and how each program names its policies; knows no Orthros.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from attrs import frozen

from tests.chaos.hosts import is_open
from tests.support import nginx
from tests.support.peers import locate
from tests.support.ports import free_port
from tests.support.processes import eventually
from workshop.stage import Stage

__all__ = ["BALANCERS", "Balancer", "balancing", "installed"]


@frozen
class Balancer:
    """A program and one of its policies."""

    program: str
    policy: str

    def __str__(self) -> str:
        return f"{self.program} {self.policy}"


_NGINX: Final = """\
upstream orders {{
    {policy}
    {servers}
    keepalive 16;
}}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://orders;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
    }}
}}
"""
_HAPROXY: Final = """\
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend orders
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance {policy}
{servers}
"""
_CADDY: Final = """\
{{
    admin off
    auto_https off
    persist_config off
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {servers} {{
        lb_policy {policy}
    }}
}}
"""


def _nginx(folder: Path, policy: str, port: int, ports: Sequence[int]) -> list[str]:
    text = _NGINX.format(
        port=port,
        policy="" if policy == "round_robin" else f"{policy};",
        servers=" ".join(f"server 127.0.0.1:{each};" for each in ports),
    )
    return [*nginx.configured(folder, text)]


def _haproxy(folder: Path, policy: str, port: int, ports: Sequence[int]) -> list[str]:
    servers = "\n".join(f"    server r{each} 127.0.0.1:{each}" for each in ports)
    (folder / "haproxy.cfg").write_text(_HAPROXY.format(port=port, policy=policy, servers=servers), "utf-8")
    return ["-db", "-f", str(folder / "haproxy.cfg")]


def _caddy(folder: Path, policy: str, port: int, ports: Sequence[int]) -> list[str]:
    servers = " ".join(f"127.0.0.1:{each}" for each in ports)
    (folder / "Caddyfile").write_text(_CADDY.format(port=port, policy=policy, servers=servers), "utf-8")
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _envoy(folder: Path, policy: str, port: int, ports: Sequence[int]) -> list[str]:
    kinds = "type.googleapis.com/envoy.extensions.filters"
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "replicas"}}]
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "orders",
        "route_config": {"virtual_hosts": [{"name": "orders", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    cluster = {
        "name": "replicas",
        "type": "STATIC",
        "lb_policy": policy,
        "load_assignment": {
            "cluster_name": "replicas",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(each)}} for each in ports]}],
        },
    }
    listeners = [{"address": _address(port), "filter_chains": [chain]}]
    whole = {"static_resources": {"listeners": listeners, "clusters": [cluster]}}
    (folder / "envoy.json").write_text(json.dumps(whole), "utf-8")
    # Envoys of one host share memory unless told otherwise.
    return ["-c", str(folder / "envoy.json"), "--use-dynamic-base-id", "--log-level", "warn", "--concurrency", "1"]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _traefik(folder: Path, policy: str, port: int, ports: Sequence[int]) -> list[str]:
    servers = [{"url": f"http://127.0.0.1:{each}"} for each in ports]
    router = {"rule": "PathPrefix(`/`)", "service": "orders"}
    service = {"loadBalancer": {"strategy": policy, "servers": servers}}
    site = {"http": {"routers": {"orders": router}, "services": {"orders": service}}}
    (folder / "site.yaml").write_text(yaml.safe_dump(site), "utf-8")
    static = {
        "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}},
        "providers": {"file": {"filename": f"{folder}/site.yaml", "watch": False}},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    (folder / "traefik.yaml").write_text(yaml.safe_dump(static), "utf-8")
    return [f"--configfile={folder}/traefik.yaml"]


_CONFIGURED: Final[dict[str, Callable[[Path, str, int, Sequence[int]], list[str]]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "caddy": _caddy,
    "envoy": _envoy,
    "traefik": _traefik,
}
BALANCERS: Final = tuple(
    Balancer(program, policy)
    for program, policies in (
        ("nginx", ("round_robin", "least_conn", "random")),
        ("haproxy", ("roundrobin", "leastconn", "random")),
        ("caddy", ("round_robin", "least_conn", "random")),
        ("envoy", ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM")),
        ("traefik", ("wrr", "p2c")),
    )
    for policy in policies
)


def installed(balancer: Balancer) -> bool:
    """Whether its program is there."""
    return locate(balancer.program) is not None


@contextmanager
def balancing(stage: Stage, balancer: Balancer, ports: Sequence[int], *, serves: bool = True) -> Iterator[int]:
    """The balancer in front of replicas at these ports. Yields its own port; with `serves`, a replica answers there."""
    program = locate(balancer.program)
    assert program is not None, f"{balancer.program} is not installed"
    folder = stage.folder / f"{balancer.program}-{len(stage.processes)}"
    folder.mkdir()
    port = free_port()
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    words = _CONFIGURED[balancer.program](folder, balancer.policy, port, ports)
    process = stage.start(balancer.program, program, *words, environ=home, cwd=folder)
    is_there = _serves if serves else is_open
    eventually(lambda: not process.is_running or is_there(port), f"{balancer} serves: {process.errors()}")
    assert process.is_running, process.errors() + process.text()
    try:
        yield port
    finally:
        process.stop()


def _serves(port: int) -> bool:
    """Whether a replica answers behind it: its answer is no 404 of a router that has not read its rules yet."""
    request = b"GET /health HTTP/1.1\r\nHost: orders.example\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(request)
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
