"""The options that every HTTP library's adapter shares: whose origins, which scopes, which scheme, what to cover.

Knows no HTTP library and asks nobody; says what to obtain for a URL.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.request import getproxies, proxy_bypass

from attrs import field, frozen

from orthros_client.errors import LocalMisuse, Misconfigured, PeerMisbehaved, Refused
from orthros_client.http.client.covering import check_cover
from orthros_client.http.client.origins import Origin, OriginMap
from orthros_client.http.client.unproven import unproven
from orthros_client.local.conversation import parse_target
from orthros_protocol import SAFE_METHODS, AssertedUser, Principal
from orthros_protocol.primitives.names import check_texts, is_name
from orthros_protocol.tickets.ticket import BY_ASSERTION, BY_EVIDENCE

__all__ = ["Attachment", "Place", "asserted", "redirected", "wants_compression"]

# What httpx and requests send where nobody asked for it, as far as their extras are installed.
_BY_DEFAULT = re.compile(r"gzip, deflate(?:, br)?(?:, zstd)?")


@frozen
class Place:
    """Where a request goes: its origin, the target there, the scopes to ask for, whether it wants a JWT, whether a
    proxy in front of it asks the target's daemon (forward authentication), and whether the target may act on behalf
    of this client."""

    origin: Origin
    target: str
    scopes: tuple[str, ...] | None
    bearer: bool
    forwarded: bool = False
    delegable: bool = False


@frozen(kw_only=True)
class Attachment:
    """What is attached to which request. Made by `of`, which checks everything."""

    origins: OriginMap
    scopes: Mapping[str, tuple[str, ...]] | tuple[str, ...] | None
    bearer: frozenset[Origin]
    forwarded: frozenset[Origin]
    cover: tuple[str, ...]
    delegable: frozenset[Origin] = frozenset()
    dischargers: Mapping[str, Origin] = field(factory=dict)
    accept_unproven_bodies: bool = False
    allow_unbound_bodies: bool = False
    pass_others: bool = field(default=False)
    idempotency: Literal["header"] | None = None

    @classmethod
    def of(
        cls,
        targets: Mapping[str, str],
        *,
        scopes: Iterable[str] | Mapping[str, Iterable[str]] | None,
        bearer: Iterable[str],
        forwarded: Iterable[str],
        cover: Iterable[str],
        accept_unproven_bodies: bool,
        allow_unbound_bodies: bool,
        pass_others: bool,
        delegable: Iterable[str] = (),
        dischargers: Mapping[str, str] | None = None,
        idempotency: Literal["header"] | None = None,
    ) -> Attachment:
        """Raises Misconfigured for origins that are none, LocalMisuse for headers that cannot be covered."""
        if idempotency not in (None, "header"):
            raise LocalMisuse("value-invalid", "idempotency is 'header' or None")
        origins = OriginMap(targets)
        tokens, proxied, passed_on = (
            frozenset(map(Origin.parse, check_texts(chosen, what)))
            for what, chosen in (("bearer", bearer), ("forwarded", forwarded), ("delegable", delegable))
        )
        for chosen, what, without in (
            (tokens, "get tokens", "which everybody on the way could use"),
            (proxied, "be forwarded to", "and everybody on the way could change its responses"),
        ):
            for origin in chosen:
                if origin not in origins:
                    raise Misconfigured("config-invalid", f"{origin} is to {what}, and names no target")
                if not origin.is_confidential:
                    raise Misconfigured("config-invalid", f"{origin} is to {what}, {without}")
        if tokens & proxied:
            raise Misconfigured("config-invalid", "an origin gets tokens or tickets, not both")
        if not passed_on <= origins.keys() - tokens:
            raise Misconfigured("config-invalid", "delegable: an origin that names no target, or gets tokens")
        for discharger in dischargers or {}:
            parse_target(discharger)
        asked: Mapping[str, tuple[str, ...]] | tuple[str, ...] | None = None
        if isinstance(scopes, Mapping):
            asked = {target: check_texts(names, f"scopes of {target}") for target, names in scopes.items()}
        elif scopes is not None:
            asked = check_texts(scopes, "scopes")
        return cls(
            origins=origins,
            scopes=asked,
            bearer=tokens,
            forwarded=proxied,
            cover=check_cover(cover),
            delegable=passed_on,
            dischargers={name: Origin.parse(text) for name, text in (dischargers or {}).items()},
            accept_unproven_bodies=accept_unproven_bodies,
            allow_unbound_bodies=allow_unbound_bodies,
            pass_others=pass_others,
            idempotency=idempotency,
        )

    def place(self, scheme: str, netloc: str) -> Place | None:
        """Whose URL this is; None when it is nobody's and such requests go out untouched.

        Raises Misconfigured `origin-unknown` otherwise, before anything is sent, and `config-invalid` where a proxy of
        the environment would read or write what only this host protects.
        """
        try:
            origin, target = self.origins.locate(scheme, netloc)
        except Misconfigured:
            if self.pass_others:
                return None
            raise
        if origin in self.bearer or origin in self.forwarded:
            _check_direct(origin)
        scopes = self.scopes.get(target) if isinstance(self.scopes, Mapping) else self.scopes
        return Place(origin, target, scopes, origin in self.bearer, origin in self.forwarded, origin in self.delegable)

    @property
    def keyed(self) -> bool:
        """Whether targets execute requests with the same Idempotency-Key once, as the caller promises."""
        return self.idempotency == "header"

    def new_key(self, method: str, given: str | bytes | None) -> str | None:
        """The Idempotency-Key to add to a request that has `given`; None where it needs none."""
        if not self.keyed or given is not None or method.upper() in SAFE_METHODS:
            return None
        return str(uuid.UUID(bytes=os.urandom(16), version=4))

    def place_of_discharger(self, discharger: Principal | None, home: str) -> Place:
        """Where its discharges are asked for; `home` is the realm of names without one.

        Raises Refused `discharger-unknown`: a demand is shown to nobody else.
        """
        origin = self.dischargers.get(str(discharger))
        if origin is None and discharger is not None and discharger.realm == home:
            origin = self.dischargers.get(discharger.name)
        if origin is None:
            raise Refused("discharger-unknown", f"{discharger}: name its origin in dischargers")
        return Place(origin, str(discharger), None, bearer=False)


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
