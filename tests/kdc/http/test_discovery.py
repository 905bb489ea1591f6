"""When the issuer and the HTTP port are told to disagree, and when the KDC cannot know."""

from __future__ import annotations

import pytest

from orthros_kdc.config import KDC_SETTINGS
from orthros_kdc.http.discovery import is_found_at_its_issuer

PLAIN = "http://127.0.0.1:7789"
DEFAULT = "https://corp.example"


def is_found(issuer: str, address: str = PLAIN, **http: str) -> bool:
    given = {"tcp": address.partition("://")[2], "plain": "true", **http}
    settings = KDC_SETTINGS.load(None, {}, {f"http.{name}": value for name, value in given.items()}).http
    return is_found_at_its_issuer(issuer, "corp.example", settings, [address])


@pytest.mark.parametrize(
    ("issuer", "address"),
    [
        (PLAIN, PLAIN),
        (f"{PLAIN}/", PLAIN),
        ("http://localhost:7789", PLAIN),
        ("http://kdc.corp.example:7789", "http://0.0.0.0:7789"),
        ("http://192.0.2.1:7789", "http://0.0.0.0:7789"),
        ("http://[::1]:7789", "http://[::]:7789"),
        ("https://kdc.corp.example:8443", "https://0.0.0.0:8443"),
        (DEFAULT, "https://0.0.0.0:443"),
        ("http://kdc.corp.example", "http://0.0.0.0:80"),
    ],
)
def test_they_agree(issuer: str, address: str) -> None:
    assert is_found(issuer, address)


@pytest.mark.parametrize(
    ("issuer", "address"),
    [
        (DEFAULT, PLAIN),  # a realm that was founded without --issuer
        (DEFAULT, "https://0.0.0.0:8443"),
        ("http://127.0.0.1:7788", PLAIN),
        ("http://127.0.0.2:7789", PLAIN),
        (f"{PLAIN}/realm", PLAIN),  # the endpoints are not below that path
        ("http://corp.example", PLAIN),
        ("http://127.0.0.1:port", PLAIN),
        ("http://[::1", PLAIN),
    ],
)
def test_they_disagree(issuer: str, address: str) -> None:
    assert not is_found(issuer, address)


@pytest.mark.parametrize(
    ("issuer", "http"),
    [
        ("https://kdc.corp.example", {}),  # TLS ends at a proxy on this host
        ("https://kdc.corp.example:8443", {}),
        ("https://corp.example/kdc", {}),
        (DEFAULT, {"trusted_proxies": "127.0.0.1/32"}),
        (DEFAULT, {"public_url": DEFAULT}),
        (f"{DEFAULT}/", {"public_url": DEFAULT}),
        ("https://kdc.corp.example", {"public_url": "https://endpoints.corp.example"}),
    ],
)
def test_a_proxy_that_ends_tls_is_believed(issuer: str, http: dict[str, str]) -> None:
    """The rule in production: an https issuer, and an http address on this host. Nobody is warned of that."""
    assert is_found(issuer, **http)


def test_the_default_issuer_and_another_public_url_disagree() -> None:
    assert not is_found(DEFAULT, public_url="https://kdc.corp.example")


def test_behind_a_unix_socket_there_is_a_proxy() -> None:
    http = KDC_SETTINGS.load(None, {}, {"http.unix": "/run/orthros/http.sock", "http.tcp": ""}).http
    assert is_found_at_its_issuer(DEFAULT, "corp.example", http, ["unix:///run/orthros/http.sock"])
