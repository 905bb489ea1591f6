"""How the clients of the demo call its two services: httpx with a ticket, httpx with a token from the KDC.

What a team would write, no more; knows addresses and credentials, not the story.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

import httpx
from attrs import define, field, frozen

from orthros_client import Credentials, LocalMisuse, Token
from orthros_client.integrations.httpx_auth import CredentialSource, OrthrosAuth

__all__ = ["Answered", "Caller", "Held", "OAuthDesk", "plain_http", "post_to_ledger"]

_TIMEOUT_S: Final = 5.0


@frozen
class Answered:
    """What came back, how long everything took, and how many requests that were."""

    status: int
    body: dict[str, Any]
    took_ms: float
    requests: int = 1


@define(eq=False)
class Caller:
    """A process that calls HTTP services with tickets. `targets` says which target answers at which origin, `behalf` in
    whose name it calls if not its own, `settings` are further ones of `OrthrosAuth`."""

    targets: dict[str, str]
    source: CredentialSource
    behalf: str | None = None
    settings: dict[str, Any] = field(factory=dict)
    _http: httpx.Client = field(init=False)
    _sent: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._http = plain_http()
        auth = OrthrosAuth(self.targets, client=self.source, **self.settings)
        self._http.auth = auth if self.behalf is None else auth.on_behalf_of(self.behalf)
        self._http.event_hooks = {"request": [self._count]}

    def get(self, url: str) -> Answered:
        """Raises what `OrthrosAuth` raises: a refusal by the target, or an answer that is not the target's."""
        return self._call("GET", url)

    def post(self, url: str, content: dict[str, Any]) -> Answered:
        """The same, with a JSON body, and with a name of its own: so it may be repeated at another worker."""
        return self._call("POST", url, json=content, headers={"Idempotency-Key": uuid4().hex})

    def close(self) -> None:
        """Hangs up."""
        self._http.close()

    def _call(self, method: str, url: str, **content: Any) -> Answered:
        self._sent, began = 0, time.perf_counter()
        response = self._http.request(method, url, **content)
        return Answered(response.status_code, response.json(), (time.perf_counter() - began) * 1000, self._sent)

    def _count(self, _request: httpx.Request) -> None:
        self._sent += 1


@frozen
class Held:
    """A source of one ticket that was obtained earlier, whatever has become of it."""

    credentials_: Credentials = field(alias="credentials")

    def credentials(self, target: str, scopes: Iterable[str] | None = None, **_: object) -> Credentials:
        """That ticket."""
        return self.credentials_

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        """None is held: raises LocalMisuse."""
        raise LocalMisuse("value-invalid", "no token is held")


@frozen
class OAuthDesk:
    """The KDC's OAuth endpoints as one client uses them: a form, HTTP Basic, JSON back. Nothing here is of Orthros."""

    http: httpx.Client
    url: str
    name: str
    secret: str = field(repr=False)

    def token(self, audience: str, scope: str) -> dict[str, Any]:
        """`POST /token`. Raises httpx.HTTPError."""
        return self._post("/token", grant_type="client_credentials", audience=audience, scope=scope)

    def introspect(self, token: str) -> dict[str, Any]:
        """`POST /introspect`."""
        return self._post("/introspect", token=token)

    def revoke(self, token: str) -> None:
        """`POST /revoke`."""
        self._post("/revoke", token=token)

    def _post(self, path: str, **form: str) -> dict[str, Any]:
        response = self.http.post(f"{self.url}{path}", auth=(self.name, self.secret), data=form).raise_for_status()
        told: dict[str, Any] = response.json() if response.content else {}
        return told


def plain_http() -> httpx.Client:
    """A client that attaches nothing to anything. The caller closes it."""
    return httpx.Client(trust_env=False, timeout=_TIMEOUT_S, verify=False)  # noqa: S501  # there is no TLS on loopback here


def post_to_ledger(http: httpx.Client, url: str, token: str) -> Answered:
    """A booking with a bearer token."""
    began = time.perf_counter()
    response = http.post(f"{url}/entries", json={}, headers={"Authorization": f"Bearer {token}"})
    return Answered(response.status_code, response.json(), (time.perf_counter() - began) * 1000)
