"""Options that are typed once: what is no option is refused at once, as it is by a plain signature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask as flask_framework
import pytest
from aiohttp import web

from orthros_client import LocalMisuse, Misconfigured
from orthros_client.http.client.attachment import Attachment
from orthros_client.http.server.guard import Guard
from orthros_client.integrations import aiohttp_server, asgi, flask, grpc_server, wsgi
from orthros_client.integrations.aiohttp_auth import OrthrosAiohttpAuth
from orthros_client.integrations.grpc_aio_client import OrthrosAioChannel
from orthros_client.integrations.grpc_client import OrthrosChannel
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_client.integrations.urllib3_auth import OrthrosPoolManager
from tests.client.http.world import ORIGIN, House


async def _app(scope: Any, receive: Any, send: Any) -> None: ...


GUARDS: dict[str, Callable[..., Any]] = {
    "Guard": Guard,
    "asgi": lambda **options: asgi.OrthrosMiddleware(_app, **options),
    "wsgi": lambda **options: wsgi.OrthrosWsgiMiddleware(lambda _environ, _start: [], **options),
    "grpc": grpc_server.OrthrosServerInterceptor,
    "grpc.aio": grpc_server.OrthrosAioServerInterceptor,
    "aiohttp": lambda **options: aiohttp_server.protect(web.Application(), **options),
    "flask": lambda **options: flask.protect(flask_framework.Flask("x"), **options),
}
TARGETS = {ORIGIN: "orders"}
OTHERS: dict[str, Callable[..., Any]] = {
    "OrthrosAuth": lambda **options: OrthrosAuth(TARGETS, **options),
    "OrthrosRequestsAuth": lambda **options: OrthrosRequestsAuth(TARGETS, **options),
    "OrthrosAiohttpAuth": lambda **options: OrthrosAiohttpAuth(TARGETS, **options),
    "OrthrosChannel": lambda **options: OrthrosChannel(None, TARGETS, **options),
    "OrthrosAioChannel": lambda **options: OrthrosAioChannel(None, TARGETS, **options),
    "OrthrosPoolManager": lambda **options: OrthrosPoolManager(TARGETS, **options),
    "Verifier": lambda **options: House().verifier(**options),
}


@pytest.mark.parametrize("name", [*GUARDS, *OTHERS])
def test_a_misspelt_option_is_not_passed_over(name: str) -> None:
    """`trusted_proxy=[...]` would trust nobody, and `chains=...` would let every path pass."""
    make = OTHERS.get(name) or (lambda **options: GUARDS[name](**House().settings() | options))
    with pytest.raises(TypeError, match="no option 'chains'; the options are "):
        make(chains=None)


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_cannot_do_without_its_origins(name: str) -> None:
    with pytest.raises(TypeError, match="the option 'origins' is missing"):
        GUARDS[name](verifier=House().verifier())


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_takes_the_key_of_the_environment_by_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORTHROS_REPLAY_STORE", "memory")
    monkeypatch.delenv("ORTHROS_KEY", raising=False)
    monkeypatch.delenv("ORTHROS_KEY_FILE", raising=False)
    with pytest.raises(Misconfigured, match="key-missing"):
        GUARDS[name](origins=[ORIGIN])
    House().realm.keytab("orders").verify_only().save(tmp_path / "orders.key")
    monkeypatch.setenv("ORTHROS_KEY_FILE", str(tmp_path / "orders.key"))
    made = GUARDS[name](origins=[ORIGIN])
    guard = made if isinstance(made, Guard) else made.guard
    assert guard.origins.hosts == ("orders.test",)


@pytest.mark.parametrize("make", [OrthrosAuth, OrthrosRequestsAuth, OrthrosAiohttpAuth, OrthrosPoolManager])
def test_an_attachment_is_complete(make: Callable[..., Any]) -> None:
    """What it says is shown; what is said beside it would be passed over."""
    attachment = Attachment({ORIGIN: "orders"}, cover=["x-tenant"])
    assert repr(make(attachment)) == f"<{make.__name__} for {ORIGIN}>"
    with pytest.raises(LocalMisuse, match="pass_others came late"):
        make(attachment, pass_others=True)
