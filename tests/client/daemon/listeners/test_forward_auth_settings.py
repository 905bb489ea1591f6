from __future__ import annotations

import re
from pathlib import Path

import pytest

from orthros_client.daemon.config import DAEMON_SETTINGS
from orthros_client.daemon.listeners.forward_auth import ForwardAuth
from orthros_client.daemon.listeners.forward_auth_settings import _ROUTE, _SECTION
from orthros_protocol.errors import Misconfigured
from tests.client.forwarding import new_forward_realm, settings_of

PAGE = Path(__file__).parents[4] / "docs" / "forward-auth.md"
EXAMPLE = PAGE.parent / "examples" / "forward-auth" / "daemon.toml"
MINIMAL = 'version = 1\nkdcs = ["tcp://kdc:1"]\n'
SECTION = """
[[forward_auth]]
tcp = "127.0.0.1:7790"
dialect = "nginx"
keytab = "/etc/orthros/orders.verify.key"
origins = ["https://orders.example"]
"""
ROUTE = '[[forward_auth.route]]\npath = "/orders/*"\n'


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "daemon.toml"
    path.write_text(MINIMAL + text)
    return str(path)


@pytest.mark.parity("P16")
def test_a_section_as_it_is_documented(tmp_path: Path) -> None:
    """What is not said has the strictest value."""
    more = ROUTE + 'scopes = ["write", "read"]\ncovers = ["x-tenant"]\n'
    unix = SECTION.replace('tcp = "127.0.0.1:7790"', 'socket = "/run/orthros/forward.sock"')
    config = DAEMON_SETTINGS.load(written(tmp_path, SECTION + more + unix + "proxy_uid = 33\n"), {})
    first, second = config.forward_auth
    assert (first.tcp, first.place, first.dialect) == (("127.0.0.1", 7790), "127.0.0.1:7790", "nginx")
    (orders, rest) = first.rows
    assert (orders.path, orders.scopes, orders.covers, orders.schemes) == (
        "/orders/*", ("read", "write"), ("x-tenant",), ("orthros",),
    )  # fmt: skip
    assert (rest.path, rest.schemes, rest.public, rest.accept_user) == ("/*", ("orthros",), False, False)
    assert (second.place, second.socket_mode) == ("/run/orthros/forward.sock", 0o660)
    assert (first.proxy_uid, second.proxy_uid) == (None, 33)
    shown = [row for row in DAEMON_SETTINGS.shown(config, effective=True) if row[0].startswith("forward_auth")]
    assert shown[0] == (
        "forward_auth 127.0.0.1:7790",
        "nginx, https://orders.example",
        config.source_of("forward_auth"),
    )


@pytest.mark.parity("P16")
def test_the_example_is_valid() -> None:
    """As it stands in the documentation."""
    nginx, traefik = DAEMON_SETTINGS.load(str(EXAMPLE), {}).forward_auth
    assert (nginx.dialect, nginx.place) == ("nginx", "/run/orthros/forward-auth.sock")
    assert [(row.path, row.schemes) for row in nginx.rows] == [
        ("/orders/*", ("orthros",)), ("/reports/*", ("orthros", "bearer")), ("/*", ("orthros",)),
    ]  # fmt: skip
    assert (traefik.dialect, traefik.place) == ("traefik", "127.0.0.1:7790")


@pytest.mark.parity("P16")
@pytest.mark.parametrize(
    ("name", "known"), [("forward_auth", _SECTION.keys() - {"route"}), ("forward_auth.route", _ROUTE.keys())]
)
def test_the_page_names_every_key(name: str, known: set[str]) -> None:
    """And no other one."""
    tables = re.findall(r"\| key \| default \| meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE.read_text("utf-8"))
    rows = tables[0 if name == "forward_auth" else 1].splitlines()
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])} == set(known)


@pytest.mark.parity("P16")
def test_the_schemes_of_a_section_are_those_of_its_routes(tmp_path: Path) -> None:
    """Unless a route says something else."""
    routes = ROUTE + '[[forward_auth.route]]\npath = "/jobs"\nschemes = ["orthros"]\n'
    bearer = 'schemes = ["bearer"]\njwk = "/k"\naudience = "a"\nissuer = "i"\n'
    (section,) = DAEMON_SETTINGS.load(written(tmp_path, SECTION + bearer + routes), {}).forward_auth
    assert [row.schemes for row in section.rows] == [("bearer",), ("orthros",), ("bearer",)]


@pytest.mark.parity("P16")
def test_ipv6_and_a_row_for_everything(tmp_path: Path) -> None:
    text = SECTION.replace("127.0.0.1:7790", "[::1]:7790") + ROUTE.replace("/orders/*", "/*") + 'scopes = ["x"]\n'
    (section,) = DAEMON_SETTINGS.load(written(tmp_path, text), {}).forward_auth
    assert section.place == "[::1]:7790"
    assert [(row.path, row.scopes) for row in section.rows] == [("/*", ("x",))]


@pytest.mark.parity("P16", "K17")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("forward_auth = 1\n", "forward_auth: expected up to 64 sections"),
        (
            SECTION.replace("127.0.0.1:7790", "0.0.0.0:7790"),
            "1: tcp: '0.0.0.0:7790' is not a loopback address",
        ),
        (SECTION.replace("127.0.0.1:7790", "192.0.2.1:7790"), "is not a loopback address"),
        (SECTION.replace("127.0.0.1:7790", "[::ffff:192.0.2.1]:7790"), "is not a loopback address"),
        (SECTION.replace("127.0.0.1:7790", "localhost:7790"), "is not a loopback address"),
        (SECTION.replace("127.0.0.1:7790", "127.0.0.1:70000"), "is not a loopback address"),
        (SECTION.replace('tcp = "127.0.0.1:7790"', ""), "expected one of socket and tcp"),
        (SECTION + 'socket = "/run/x"\n', "expected one of socket and tcp"),
        (SECTION + 'socket_mode = "0660"\n', "socket_mode: a port has none"),
        (SECTION.replace('tcp = "127.0.0.1:7790"', 'socket = ""'), "socket: '' is not a path"),
        (SECTION + 'proxy_uid = "www-data"\n', "proxy_uid: 'www-data' is not a whole number"),
        (SECTION + "proxy_uid = -1\n", "proxy_uid: -1 is not a whole number"),
        (SECTION.replace("nginx", "haproxy"), "dialect: 'haproxy' is not one of nginx, caddy, traefik, envoy"),
        (SECTION.replace('dialect = "nginx"', ""), "dialect is missing"),
        (
            SECTION.replace("keytab", "key_file"),
            "known: socket, tcp, socket_mode, proxy_uid, dialect, keytab",
        ),
        (SECTION + 'sockett = "/x"\n', "there is no setting 'sockett'; write socket"),
        (SECTION.replace("https://orders.example", "orders.example"), "is not an origin"),
        (SECTION.replace('"https://orders.example"', ""), "name the origins"),
        (
            SECTION.replace('["https://orders.example"]', '"https://orders.example"'),
            "example' is not a list",
        ),
        (SECTION + 'schemes = ["basic"]\n', "schemes are"),
        (SECTION + "schemes = []\n", "schemes are"),
        (SECTION + ROUTE + "methods = []\n", "route 1: there is no setting 'methods'; known: path, schemes"),
        (SECTION + ROUTE.replace("/orders/*", "orders"), "route 1: route 'orders'"),
        (SECTION + ROUTE.replace("/orders/*", "/a/../b"), "route 1"),
        (SECTION + ROUTE + 'scopes = ["READ"]\n', "route 1"),
        (SECTION + ROUTE + 'public = "yes"\n', "route 1: public: 'yes' is not true or false"),
        (SECTION + ROUTE + "max_depth = 9\n", "route 1: max_depth: 9 is not a whole number from 0 to 8"),
        (SECTION + ROUTE + "max_depth = true\n", "route 1: max_depth: True is not a whole number"),
        (SECTION + ROUTE + 'deny_via = "portal"\n', "route 1: deny_via: 'portal' is not a list"),
        (SECTION + ROUTE + ROUTE, "two routes for /orders/*"),
        (SECTION + '[[forward_auth.route]]\nscopes = ["x"]\n', "route 1: path is missing"),
        (SECTION + 'route = "x"\n', "route: 'x' is not up to 1024 sections"),
        (SECTION + 'jwk = "/etc/orthros/orders.jwk"\n', "jwk: no route accepts the scheme bearer"),
        (SECTION + 'schemes = ["bearer"]\n', "jwk is missing: the scheme bearer needs jwk"),
        (SECTION + SECTION, "two sections listen at 127.0.0.1:7790"),
        (
            'socket = "/run/x"\n' + SECTION.replace('tcp = "127.0.0.1:7790"', 'socket = "/run/x"'),
            "/run/x is one of the daemon's other sockets",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    """File, section and key."""
    with pytest.raises(Misconfigured, match="config-invalid") as caught:
        DAEMON_SETTINGS.load(written(tmp_path, text), {})
    assert place in caught.value.detail


@pytest.mark.parity("P16")
@pytest.mark.parametrize("name", ["FORWARD_AUTH", "FORWARD_AUTH_SOCKET"])
def test_sections_exist_in_the_file_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match=f"ORTHROS_DAEMON_{name} sets nothing"):
        DAEMON_SETTINGS.load(written(tmp_path, SECTION), {f"ORTHROS_DAEMON_{name}": "/x"})


@pytest.mark.parity("K17")
@pytest.mark.parametrize(("damage", "code"), [("mode", "key-file-unsafe"), ("text", "key-file-invalid")])
def test_key_files_are_loaded_with_the_usual_checks(tmp_path: Path, damage: str, code: str) -> None:
    settings = settings_of(tmp_path, new_forward_realm(), "nginx")
    path = tmp_path / "orders.verify.key"
    if damage == "mode":
        path.chmod(0o644)
    else:
        path.write_text("not a key")
    with pytest.raises(Misconfigured, match=code):
        ForwardAuth.open(settings)


@pytest.mark.parity("P1")
def test_of_a_full_key_file_only_what_verifies_is_kept(tmp_path: Path) -> None:
    """The endpoint cannot log in as the service."""
    realm = new_forward_realm()
    settings = settings_of(tmp_path, realm, "nginx")
    realm.keytab("orders").save(tmp_path / "orders.verify.key", replace=True)
    endpoint = ForwardAuth.open(settings)
    assert endpoint._terms.keytab.is_verify_only
    assert realm.root("orders").material.hex() not in repr(endpoint)
