"""What the authentications of all HTTP libraries share: options, on whose authority a call runs, and its exchange.

Knows no HTTP library; sends nothing and asks nobody.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, MutableMapping
from functools import partial
from typing import Any, Self

from attrs import evolve

from orthros_client.credentials.credentials import Credentials, Pause
from orthros_client.credentials.discharging import Discharges
from orthros_client.errors import LocalMisuse
from orthros_client.http.client.attachment import Attachment, asserted, wants_compression
from orthros_client.http.client.discharges import doubting
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.outgoing import Attempt, OutgoingRequest, Proven, exchange
from orthros_client.http.client.sources import Place, propagates
from orthros_client.http.propagation import traceparent
from orthros_client.http.tracing import TRACEPARENT
from orthros_client.local.on_behalf import AS_CONFIGURED, OnBehalfOf
from orthros_protocol.exchanges.ap_exchange import AssertedUser
from orthros_protocol.exchanges.http_profile import HttpResponse

__all__ = ["Authentication", "Steps"]

Steps = Generator[Attempt | Pause, HttpResponse | None, Proven]
"""One exchange; see `outgoing.exchange`."""


class Authentication:
    """The base of each library's own class. `client` is where credentials come from."""

    def __init__(self, targets: Mapping[str, str] | Attachment, client: object, options: AuthOptions) -> None:
        if isinstance(targets, Attachment) and options:
            raise LocalMisuse("value-invalid", f"an Attachment has its options: {', '.join(options)} came late")
        self._attachment = targets if isinstance(targets, Attachment) else Attachment(targets, **options)
        traces = self._attachment.traceparent
        self._traces = propagates(client) if traces is None else traces
        self._discharges = Discharges()
        self._terms = self._attachment.terms
        self._behalf: OnBehalfOf = AS_CONFIGURED

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {', '.join(map(str, self._attachment.origins)) or 'no origin'}>"

    def for_user(self, user: str | AssertedUser) -> Self:
        """The same, for requests of one end user: `client.get(url, auth=auth.for_user("alice"))`.

        For gateways that hold the scope `assert-user`: it is this client's word, told to the target under its MAC. A
        text is a name that is not proven here. Raises LocalMisuse for a name that cannot travel.
        """
        other = copy.copy(self)
        other._terms = evolve(self._terms, user=asserted(user))
        return other

    def on_behalf_of(self, behalf: OnBehalfOf) -> Self:
        """The same, with tickets on behalf of somebody: of a `VerifiedCaller`, of a subject whose name this client may
        assert, or with None of nobody, whoever is being served. See `Client.credentials`.
        """
        other = copy.copy(self)
        other._behalf = behalf
        return other

    def harmless(self) -> Self:
        """The same, for requests that may run twice whatever their method: `client.put(url, auth=auth.harmless())`.

        They are repeated as reads are. It is the caller's word: the target may know better, and say so.
        """
        other = copy.copy(self)
        other._terms = evolve(self._terms, harmless=True)
        return other

    def _place(self, scheme: str, netloc: str, headers: MutableMapping[str, Any]) -> Place | None:
        """Whose URL this is, as `Attachment.place`; adds to `headers` which trace the call belongs to."""
        place = self._attachment.place(scheme, netloc, self._behalf)
        if place is None:
            return None
        if self._traces and TRACEPARENT not in headers:
            value = traceparent()
            if value is not None:
                headers[TRACEPARENT] = value
        if place.bearer and self._terms.user is not None:
            raise LocalMisuse("value-invalid", f"{place.origin} gets a token, which names no user per request")
        return place

    def _complete(self, method: str, headers: MutableMapping[str, Any]) -> None:
        """Adds to `headers` what is bound with them: nothing of the request changes on its way."""
        key = self._attachment.new_key(method, headers.get("Idempotency-Key"))
        if key is not None:
            headers["Idempotency-Key"] = key
        if not wants_compression(headers.get("Accept-Encoding")):
            headers["Accept-Encoding"] = "identity"

    def _steps(self, request: OutgoingRequest, credentials: Credentials, place: Place) -> Steps:
        terms = evolve(self._terms, forwarded=True) if place.forwarded else self._terms
        return doubting(exchange(request, credentials, terms), partial(self._discharges.forget, credentials))
