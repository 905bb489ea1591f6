"""The seven proxies in front of a service with a middleware, each configured by its example in docs/examples/proxy.

`changes` are what a mistake does to an example. Knows no application.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.interop.proxy_programs import CADDY_OPTIONS, Place, Running, adapted, caddy_with, start_program, traefik_with
from tests.support import nginx
from workshop.stage import Stage

__all__ = ["HOST", "MISTAKES", "PROXIES", "Change", "is_tls", "start_proxy"]

HOST: Final = "localhost"
Change = tuple[str, str]
_SERVICE: Final = "127.0.0.1:8080"
_APACHE: Final = """\
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/httpd.pid
Mutex file:{folder}
ErrorLog /dev/stderr
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule env_module {modules}/mod_env.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule http2_module {modules}/mod_http2.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule deflate_module {modules}/mod_deflate.so
LoadModule filter_module {modules}/mod_filter.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
Listen 127.0.0.1:{port}
"""
_APACHE_MODULES: Final = "/usr/lib/apache2/modules"


def _nginx(place: Place, *changes: Change) -> list[str]:
    folder = place.folder
    site = adapted(
        "proxy/nginx.conf",
        (_SERVICE, f"127.0.0.1:{place.application}"),
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{place.port} ssl http2;"),
        ("orders.example", HOST),
        ("/etc/nginx/orders.pem", f"{folder}/tls.pem"),
        ("/etc/nginx/orders.key", f"{folder}/tls.key"),
        *changes,
    )
    return [place.program, *nginx.configured(folder, site)]


def _haproxy(place: Place, *changes: Change) -> list[str]:
    folder = place.folder
    both = (folder / "tls.pem").read_bytes() + (folder / "tls.key").read_bytes()
    (folder / "both.pem").write_bytes(both)
    site = adapted(
        "proxy/haproxy.cfg",
        (_SERVICE, f"127.0.0.1:{place.application}"),
        ("bind :443 ", f"bind 127.0.0.1:{place.port} "),
        ("/etc/haproxy/orders.pem", f"{folder}/both.pem"),
        *changes,
    )
    (folder / "haproxy.cfg").write_text(site, "utf-8")
    return [place.program, "-db", "-f", str(folder / "haproxy.cfg")]


def _caddy(place: Place, *changes: Change) -> list[str]:
    folder = place.folder
    site = adapted(
        "proxy/Caddyfile",
        (_SERVICE, f"127.0.0.1:{place.application}"),
        ("{\n\tservers {", f"{{\n{CADDY_OPTIONS}\tservers {{"),
        ("\norders.example {", f"\n{HOST}:{place.port} {{"),
        ("/etc/caddy/orders.pem", f"{folder}/tls.pem"),
        ("/etc/caddy/orders.key", f"{folder}/tls.key"),
        *changes,
    )
    return caddy_with(place, site)


def _envoy(place: Place, *changes: Change) -> list[str]:
    folder = place.folder
    site = adapted(
        "proxy/envoy.yaml",
        ("address: 127.0.0.1, port_value: 8080", f"address: 127.0.0.1, port_value: {place.application}"),
        ("address: 0.0.0.0, port_value: 443", f"address: 127.0.0.1, port_value: {place.port}"),
        ("/etc/envoy/orders.pem", f"{folder}/tls.pem"),
        ("/etc/envoy/orders.key", f"{folder}/tls.key"),
        *changes,
    )
    (folder / "envoy.yaml").write_text(site, "utf-8")
    # Envoys of one host share memory unless told otherwise.
    return [place.program, "-c", str(folder / "envoy.yaml"), "--use-dynamic-base-id", "--log-level", "warn"]


def _traefik(place: Place, *changes: Change) -> list[str]:
    site = adapted(
        "proxy/traefik.yaml",
        ("orders.example", HOST),
        (f"http://{_SERVICE}", f"http://127.0.0.1:{place.application}"),
        *changes,
    )
    return traefik_with(place, site)


def _apache(place: Place, *changes: Change) -> list[str]:
    folder = place.folder
    site = adapted(
        "proxy/apache.conf",
        (f"http://{_SERVICE}/", f"http://127.0.0.1:{place.application}/"),
        ("<VirtualHost *:443>", f"<VirtualHost 127.0.0.1:{place.port}>"),
        ("orders.example", HOST),
        ("/etc/apache2/orders.pem", f"{folder}/tls.pem"),
        ("/etc/apache2/orders.key", f"{folder}/tls.key"),
        *changes,
    )
    frame = _APACHE.format(folder=folder, port=place.port, modules=_APACHE_MODULES)
    (folder / "apache.conf").write_text(frame + site, "utf-8")
    return [place.program, "-f", str(folder / "apache.conf"), "-DFOREGROUND"]


def _varnish(place: Place, *changes: Change) -> list[str]:
    folder = place.folder
    site = adapted("proxy/varnish.vcl", ('.port = "8080"', f'.port = "{place.application}"'), *changes)
    (folder / "varnish.vcl").write_text(site, "utf-8")
    (parameters,) = (line for line in site.splitlines() if line.startswith("# Start it with: varnishd -f orders.vcl "))
    words = ["-F", "-n", f"{folder}/work", "-j", "none", "-T", "none", "-s", "malloc,16m"]
    words += ["-a", f"127.0.0.1:{place.port}", "-f", str(folder / "varnish.vcl")]
    return [place.program, *words, *parameters.partition("orders.vcl ")[2].split()]


PROXIES: Final[Mapping[str, Callable[..., list[str]]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "caddy": _caddy,
    "envoy": _envoy,
    "traefik": _traefik,
    "apache2": _apache,
    "varnishd": _varnish,
}
"""By the name of the program."""

_TRAEFIK: Final = ("service: orders\n", "service: orders\n      middlewares: [wrong]\n")
_WRONG: Final = "  middlewares:\n    wrong:\n      {}\n\n  services:\n"
MISTAKES: Final[Mapping[str, Mapping[str, tuple[Change, ...]]]] = {
    "another Host": {
        "nginx": (("proxy_set_header Host $http_host;", ""),),
        "haproxy": (("    default_backend", "    http-request set-header Host orders.internal\n    default_backend"),),
        "caddy": (("lb_try_duration 5s", "header_up Host {upstream_hostport}"),),
        "envoy": (
            ("cluster: orders\n ", "cluster: orders\n                            host_rewrite_literal: internal\n "),
        ),
        "traefik": (("passHostHeader: true", "passHostHeader: false"),),
        "apache2": (("ProxyPreserveHost On", "ProxyPreserveHost Off"),),
        "varnishd": (("    return (pass);", '    set req.http.Host = "orders.internal";\n    return (pass);'),),
    },
    "no Authorization": {
        "nginx": (("proxy_redirect off;", 'proxy_set_header Authorization "";'),),
        "haproxy": (("    default_backend", "    http-request del-header Authorization\n    default_backend"),),
        "caddy": (("lb_try_duration 5s", "header_up -Authorization"),),
        "envoy": (
            (
                "match: { prefix: / }\n",
                "match: { prefix: / }\n                          request_headers_to_remove: [authorization]\n",
            ),
        ),
        "traefik": (
            _TRAEFIK,
            ("  services:\n", _WRONG.format('headers: { customRequestHeaders: { Authorization: "" } }')),
        ),
        "apache2": (("ProxyAddHeaders Off", "ProxyAddHeaders Off\n    RequestHeader unset Authorization"),),
        "varnishd": (("    return (pass);", "    unset req.http.Authorization;\n    return (pass);"),),
    },
    "another path": {
        "nginx": (("proxy_pass http://orders;", "proxy_pass http://orders/;"),),
        "haproxy": (("    default_backend", "    http-request set-path %[path,url_dec]\n    default_backend"),),
        "caddy": (("\treverse_proxy ", "\trewrite * {path}\n\treverse_proxy "),),
        "envoy": (("normalize_path: false", "normalize_path: true"),),
        "traefik": (),
        "apache2": ((" nocanon\n", "\n"),),
        "varnishd": (("    return (pass);", "    set req.url = std.querysort(req.url);\n    return (pass);"),),
    },
    "compression": {
        "nginx": (("gzip off;", "gzip on; gzip_types *; gzip_proxied any;"),),
        "haproxy": (("    retry-on", "    compression algo gzip\n    compression type text/plain\n    retry-on"),),
        "caddy": (("\treverse_proxy ", "\tencode gzip\n\treverse_proxy "),),
        "envoy": (
            (
                "http_filters: # no compressor\n",
                """\
http_filters:
                  - name: compressor
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
                      compressor_library:
                        name: gzip
                        typed_config:
                          "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
""",
            ),
        ),
        "traefik": (_TRAEFIK, ("  services:\n", _WRONG.format("compress: {}"))),
        "apache2": (("SetEnv no-gzip 1", "SetOutputFilter DEFLATE"),),
        "varnishd": (("beresp.do_gzip = false", "beresp.do_gzip = true"),),
    },
    "POST sent again": {
        "nginx": (
            ("keepalive 16;", "server 127.0.0.1:8080;"),
            ("proxy_next_upstream error timeout;", "proxy_next_upstream error timeout non_idempotent;"),
        ),
        "haproxy": (("retry-on conn-failure", "retry-on all-retryable-errors"),),
        "caddy": (("lb_try_duration 5s", "lb_try_duration 5s\n\t\tlb_retry_match {\n\t\t\tmethod POST\n\t\t}"),),
        "envoy": (("retry_on: connect-failure", 'retry_on: "connect-failure,reset"'),),
        "traefik": (
            _TRAEFIK,
            (
                "  services:\n",
                _WRONG.format("retry: { attempts: 3, status: [500-599], retryNonIdempotentMethod: true }"),
            ),
        ),
        "varnishd": (
            ("sub vcl_backend_response", "sub vcl_backend_error {\n    return (retry);\n}\n\nsub vcl_backend_response"),
        ),
    },
}
"""What each mistake is in each program, as changes of its example; where there are none, it is made anyway."""


def is_tls(program: str) -> bool:
    """Whether it ends TLS itself."""
    return program != "varnishd"


def start_proxy(stage: Stage, program: str, application: int, *changes: Change, port: int = 0) -> Running:
    """The proxy, in front of the service at this port. `changes` may name the service as the examples do."""
    here = [(shown, wrong.replace(_SERVICE, f"127.0.0.1:{application}")) for shown, wrong in changes]

    def configure(place: Place) -> list[str]:
        return PROXIES[program](place, *here)

    return start_program(stage, program, configure, application, host=HOST, tls=is_tls(program), port=port)
