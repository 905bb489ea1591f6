"""The options that every HTTP library's adapter shares: whose origins, which scopes, which scheme, what to cover.

Knows no HTTP library and asks nobody; says what to obtain for a URL.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Unpack
from urllib.request import getproxies, proxy_bypass

from orthros_client.errors import LocalMisuse, Misconfigured, PeerMisbehaved, Refused
from orthros_client.http.client.covering import check_cover
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.origins import Origin, OriginMap
from orthros_client.http.client.outgoing import Terms
from orthros_client.http.client.sources import Place
from orthros_client.http.client.unproven import unproven
from orthros_client.local.conversation import parse_target
from orthros_client.local.on_behalf import AS_CONFIGURED, OnBehalfOf
from orthros_client.options import check_options
from orthros_client.reasons import DISCHARGER_UNKNOWN
from orthros_protocol.exchanges.ap_exchange import AssertedUser
from orthros_protocol.exchanges.http_profile import SAFE_METHODS
from orthros_protocol.primitives.names import Principal, check_texts, is_name
from orthros_protocol.tickets.ticket import BY_ASSERTION, BY_EVIDENCE

__all__ = ["Attachment", "asserted", "redirected", "wants_compression"]

# What httpx and requests send where nobody asked for it, as far as their extras are installed.
_BY_DEFAULT = re.compile(r"gzip, deflate(?:, br)?(?:, zstd)?")


class Attachment:
    """What is attached to which request: `targets`, origin -> target (`name` or `name@realm`), and `AuthOptions`.

    Raises Misconfigured for origins that are none, LocalMisuse for headers that cannot be covered.
    """

    def __init__(self, targets: Mapping[str, str], **options: Unpack[AuthOptions]) -> None:
        check_options(options, AuthOptions)
        self.origins = OriginMap(targets)
        self.terms = Terms(
            cover=check_cover(options.get("cover", ())),
            accept_unproven_bodies=options.get("accept_unproven_bodies", False),
            keyed=options.get("idempotency") is not None,
        )
        self.allow_unbound_bodies = options.get("allow_unbound_bodies", False)
        self.traceparent = options.get("traceparent")
        self._pass_others = options.get("pass_others", False)
        self._bearer = _origins(options.get("bearer", ()), "bearer")
        self._forwarded = _origins(options.get("forwarded", ()), "forwarded")
        self._delegable = _origins(options.get("delegable", ()), "delegable")
        dischargers = options.get("dischargers") or {}
        for name in dischargers:
            parse_target(name)
        self._dischargers = {name: Origin.parse(text) for name, text in dischargers.items()}
        self._scopes: Mapping[str, tuple[str, ...]] | tuple[str, ...] | None = None
        scopes = options.get("scopes")
        if isinstance(scopes, Mapping):
            self._scopes = {target: check_texts(names, f"scopes of {target}") for target, names in scopes.items()}
        elif scopes is not None:
            self._scopes = check_texts(scopes, "scopes")
        if options.get("idempotency") not in (None, "header"):
            raise LocalMisuse("value-invalid", "idempotency is 'header' or None")
        for chosen, what, without in (
            (self._bearer, "get tokens", "which everybody on the way could use"),
            (self._forwarded, "be forwarded to", "and everybody on the way could change its responses"),
        ):
            for origin in chosen:
                if origin not in self.origins:
                    raise Misconfigured("config-invalid", f"{origin} is to {what}, and names no target")
                if not origin.is_confidential:
                    raise Misconfigured("config-invalid", f"{origin} is to {what}, {without}")
        if self._bearer & self._forwarded:
            raise Misconfigured("config-invalid", "an origin gets tokens or tickets, not both")
        if not self._delegable <= self.origins.keys() - self._bearer:
            raise Misconfigured("config-invalid", "delegable: an origin that names no target, or gets tokens")

    def place(self, scheme: str, netloc: str, behalf: OnBehalfOf = AS_CONFIGURED) -> Place | None:
        """Whose URL this is, for a call on behalf of `behalf`; None for another's, when such requests go out untouched.

        Raises Misconfigured `origin-unknown` otherwise, before anything is sent, and `config-invalid` where a proxy of
        the environment would read or write what only this host protects.
        """
        try:
            origin, target = self.origins.locate(scheme, netloc)
        except Misconfigured:
            if self._pass_others:
                return None
            raise
        bearer, forwarded = origin in self._bearer, origin in self._forwarded
        if bearer or forwarded:
            _check_direct(origin)
        scopes = self._scopes.get(target) if isinstance(self._scopes, Mapping) else self._scopes
        return Place(origin, target, scopes, bearer, forwarded, origin in self._delegable, behalf)

    def new_key(self, method: str, given: str | bytes | None) -> str | None:
        """The Idempotency-Key to add to a request that has `given`; None where it needs none."""
        if not self.terms.keyed or given is not None or method.upper() in SAFE_METHODS:
            return None
        return str(uuid.UUID(bytes=os.urandom(16), version=4))

    def place_of_discharger(self, discharger: Principal | None, home: str) -> Place:
        """Where its discharges are asked for, in the client's own name; `home` is the realm of names without one.

        Raises Refused `discharger-unknown`: a demand is shown to nobody else.
        """
        origin = self._dischargers.get(str(discharger))
        if origin is None and discharger is not None and discharger.realm == home:
            origin = self._dischargers.get(discharger.name)
        if origin is None:
            raise Refused(DISCHARGER_UNKNOWN, f"{discharger}: name its origin in dischargers")
        return Place(origin, str(discharger), None, bearer=False, behalf=None)


def _origins(texts: Iterable[str], option: str) -> frozenset[Origin]:
    return frozenset(map(Origin.parse, check_texts(texts, option)))


def _check_direct(origin: Origin) -> None:
    """Raises Misconfigured when HTTP libraries would lead a request that nothing encrypts through a proxy."""
    name, proxies = origin.host.strip("[]"), getproxies()
    if origin.scheme == "http" and ("http" in proxies or "all" in proxies) and not proxy_bypass(name):
        raise Misconfigured("config-invalid", f"{origin} would be reached through a proxy: add {name} to NO_PROXY")


def asserted(user: str | AssertedUser) -> AssertedUser:
    """An end user, for whom the caller says that it calls. Raises LocalMisuse for a name that cannot travel."""
    named = AssertedUser(user, BY_ASSERTION) if isinstance(user, str) else user
    if not is_name(named.name) or named.how not in (BY_EVIDENCE, BY_ASSERTION):
        raise LocalMisuse("value-invalid", "a user has a name as principals have, and is proven (1) or asserted (2)")
    return named


def redirected(where: str) -> PeerMisbehaved:
    """The error for a redirect that the HTTP library has followed by itself: what came back is nobody's answer."""
    return unproven(
        f"a redirect was followed to {where} by the HTTP library: what came back answers another request",
        "Turn that off (httpx: `follow_redirects=False`, requests: `allow_redirects=False`), and make a new request "
        "for the place that a proven redirect names.",
    )


def wants_compression(accept_encoding: str | bytes | None) -> bool:
    """Whether the caller chose this Accept-Encoding, and did not leave it to the HTTP library.

    Otherwise `identity` is asked for: what a proxy on the way compresses is not what the target proved.
    """
    text = accept_encoding.decode("latin-1") if isinstance(accept_encoding, bytes) else accept_encoding
    return text is not None and _BY_DEFAULT.fullmatch(text) is None
