"""Whether OAuth clients that discover the KDC find what they demand: an issuer that is the URL they asked (RFC 8414).

Pure; compares the issuer with settings and addresses, and resolves no name.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from orthros_kdc.config import HttpSettings
from orthros_kdc.store.base import default_issuer

__all__ = ["is_found_at_its_issuer"]

_PORTS: Final = {"http": 80, "https": 443}


def is_found_at_its_issuer(issuer: str, realm: str, http: HttpSettings, addresses: Iterable[str]) -> bool:
    """Whether the issuer's URL leads to this HTTP port, or may do so as far as a KDC can know.

    `addresses` are those of the port, such as `http://127.0.0.1:7789`. A proxy that ends TLS, or another outer port, is
    the rule in production, and only the operator knows it. So an https issuer that the operator chose is believed, and
    so is the default one when the settings tell of a proxy. What is left is a mistake: the default issuer at another
    address, and an http issuer, before which no proxy ends TLS, that is not the address.
    """
    if any(_leads_to(issuer, address) for address in addresses):
        return True
    is_chosen = issuer != default_issuer(realm)
    if http.public_url:
        return is_chosen or http.public_url == issuer.rstrip("/")
    if http.trusted_proxies or not http.tcp:
        return True
    return is_chosen and issuer.startswith("https://")


def _leads_to(issuer: str, address: str) -> bool:
    try:
        wanted, own = urlsplit(issuer), urlsplit(address)
        if (wanted.scheme, _port(wanted)) != (own.scheme, _port(own)) or wanted.path.strip("/"):
            return False
    except ValueError:  # no URL, or one with an impossible port
        return False
    try:
        host, bound = ip_address(wanted.hostname or ""), ip_address(own.hostname or "")
    except ValueError:
        return True  # a name: where it leads, DNS knows
    return bound.is_unspecified or host == bound


def _port(url: SplitResult) -> int | None:
    return url.port or _PORTS.get(url.scheme)
