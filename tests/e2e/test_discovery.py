"""A realm whose issuer was not thought of: `serve` says so, its remedy helps, and then it says nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.processes import Estate, found_realm, open_estate

pytestmark = pytest.mark.stories

METADATA = "/.well-known/oauth-authorization-server"


def start_with_http(estate: Estate, http: str, **settings: str) -> tuple[str, str]:
    """The address of the HTTP port, and what the KDC has said on standard error before it was ready."""
    assert estate.start_kdc(ORTHROS_HTTP_TCP=http, **settings).is_running
    *_, address = estate.kdc_addresses
    return address, estate.kdc.errors() if estate.kdc is not None else ""


def test_serve_says_when_the_issuer_is_not_the_address_and_its_remedy_helps(tmp_path: Path) -> None:
    with open_estate(found_realm(tmp_path)) as estate:
        address, said = start_with_http(estate, "127.0.0.1:0")
        assert "the issuer is not the address of the HTTP port" in said
        assert '"issuer": "https://corp.test"' in said
        assert address in said
        assert "orthros-admin realm issuer URL" in said
        assert httpx.get(f"{address}{METADATA}").json()["issuer"] == "https://corp.test"  # which clients refuse
        assert estate.admin(f"realm issuer {address}").code == 0
        told = httpx.get(f"{address}{METADATA}").json()
        assert (told["issuer"], told["token_endpoint"]) == (address, f"{address}/token")
        assert estate.kdc is not None
        assert estate.kdc.stop() == 0
        again, said = start_with_http(estate, address.removeprefix("http://"))
        assert (again, "issuer" in said) == (address, False)


def test_serve_says_nothing_of_an_issuer_behind_a_proxy(tmp_path: Path) -> None:
    """TLS ends before this host's loopback address: the rule in production."""
    with open_estate(found_realm(tmp_path)) as estate:
        assert estate.admin("realm issuer https://kdc.corp.test").code == 0
        _, said = start_with_http(estate, "127.0.0.1:0")
        assert "issuer" not in said
        assert estate.kdc is not None
        assert estate.kdc.stop() == 0
        assert estate.admin("realm issuer https://corp.test").code == 0  # the default; a setting tells of the proxy
        _, said = start_with_http(estate, "127.0.0.1:0", ORTHROS_HTTP_TRUSTED_PROXIES="127.0.0.1/32")
        assert "issuer" not in said
