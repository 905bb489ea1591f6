"""A text where a list belongs is refused, in every option: its letters would cover, allow or forbid something else.

Walks the signatures of what programs import, so that a new option is in the table below or fails here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import flask as flask_framework
import pytest

from orthros_client import Attested, ChainRule, Client, Limits, LocalMisuse
from orthros_client.errors import Misconfigured
from orthros_client.http.message_signatures import Signable, SigningParameters, signature_base, verify
from orthros_client.http.server.guard import Guard
from orthros_client.http.server.probes import probes_of
from orthros_client.http.server.routes import Route
from orthros_client.integrations import asgi, django, flask, starlette, wsgi
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_kdc.admin.principal_facts import check_sources, check_token_claims
from orthros_kdc.policy.model import check_callers, check_subject_patterns
from orthros_protocol.exchanges.http_profile import format_authorization
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.primitives.names import Principal, check_list, check_scopes, check_texts
from orthros_protocol.tickets.caveats import MethodsCaveat, PeerCaveat, ScopesCaveat
from tests.client.http.world import ORIGIN, House
from tests.support.parties import Parties

PUBLIC = (
    "orthros_client",
    "orthros_client.http.server.guard",
    "orthros_client.http.server.routes",
    "orthros_client.integrations.asgi",
    "orthros_client.integrations.wsgi",
    "orthros_client.integrations.flask",
    "orthros_client.integrations.django",
    "orthros_client.integrations.starlette",
    "orthros_client.integrations.httpx_auth",
    "orthros_client.integrations.requests_auth",
    "orthros_client.http.message_signatures",
)
LIST = re.compile(r"\b(?:Iterable|Sequence|Collection|Set|list|tuple|frozenset)\[(?!tuple)([\w.]+)(?:, \.\.\.)?\]")
UNPACK = re.compile(r"Unpack\[(\w+)\]")
# Nobody writes these by hand: the library makes them, or is told by another part of itself.
MADE = {
    "Credentials", "Token", "VerifiedSignature", "Guard.deny", "VerifiedCaller.seal_http", "Caller.seal_http",
    "Credentials.describe_notes", "Credentials.with_discharges", "ChainRule.objection", "Routes.find",
}  # fmt: skip
# Interfaces, which do nothing; and what has the same code as its neighbour.
SAME = {
    "CredentialSource.credentials", "CredentialSource.token", "AsyncCredentialSource.credentials",
    "AsyncCredentialSource.token", "AsyncClient.credentials",
    "AsyncClient.token", "AsyncClient.login", "sign",
}  # fmt: skip

Options = dict[str, Any]
NO_STORE: Any = None
REQUEST = Signable(method="GET", target_uri="https://a.test/", authority="a.test", headers=())
TARGETS = {"https://orders.test": "orders"}


def guard(**options: Any) -> object:
    return Guard(**House().settings() | options)


async def _app(scope: Any, receive: Any, send: Any) -> None: ...


CALLS: dict[str, Callable[..., object]] = {
    "Attested": lambda **options: Attested(lifetime_s=60, **options),
    "ChainRule": ChainRule,
    "Client.credentials": lambda **options: Client("/nowhere").credentials("orders", **options),
    "Client.token": lambda **options: Client("/nowhere").token("orders", **options),
    "Client.login": lambda **options: Client("/nowhere").login(**{"targets": ["orders"]} | options),
    "Limits": Limits,
    "Credentials.narrow": lambda **options: Parties().credentials("web", "orders").narrow(**options),
    "Guard": guard,
    "Route": lambda **options: Route("/*", **options),
    "Routes": guard,
    "OrthrosMiddleware": lambda **options: asgi.OrthrosMiddleware(_app, **House().settings() | options),
    "OrthrosWsgiMiddleware": lambda **options: wsgi.OrthrosWsgiMiddleware(
        lambda _environ, _start: [], **House().settings() | options
    ),
    "asgi.self_test": lambda **options: list(probes_of(**{"routes": [], "host": "a.test"} | options)),
    "wsgi.self_test": lambda **options: wsgi.self_test(lambda _environ, _start: [], **options),
    "protect": lambda **options: flask.protect(flask_framework.Flask("x"), **House().settings() | options),
    "OrthrosAuth": lambda **options: OrthrosAuth(TARGETS, client=object(), **options),  # type: ignore[arg-type]
    "OrthrosRequestsAuth": lambda **options: OrthrosRequestsAuth(TARGETS, client=object(), **options),  # type: ignore[arg-type]
    "SigningParameters.to_text": lambda **options: SigningParameters(created=1, keyid="k").to_text(**options),
    "signature_base": lambda **options: signature_base(REQUEST, parameters="", **options),
    "verify": lambda **options: verify(REQUEST, "", "", lambda _name: None, replay=NO_STORE, **options),
}


def options_of(function: Callable[..., object]) -> Iterator[str]:
    for one in inspect.signature(function).parameters.values():
        unpacked = UNPACK.fullmatch(str(one.annotation))
        if unpacked is not None:  # the options of a TypedDict, its own and those that it has of others
            types = inspect.unwrap(function).__globals__[unpacked[1]].__annotations__
        else:
            types = {one.name: one.annotation}
        if one.kind is not one.VAR_POSITIONAL:
            yield from (name for name, kind in types.items() if LIST.search(_text_of(kind)))


def _text_of(kind: object) -> str:
    return str(getattr(kind, "__forward_arg__", kind))


def walked() -> Iterator[tuple[str, str]]:
    """(name, option) of everything public that takes a list."""
    for module in PUBLIC:
        for name in import_module(module).__all__:
            one = getattr(import_module(module), name)
            if not getattr(one, "__module__", "").startswith(("orthros_client", "orthros_protocol")):
                continue
            home = one.__module__.rpartition(".")[2]
            called = f"{home}.{name}" if name == "self_test" else name
            functions: dict[str, Any] = {called: one}
            if inspect.isclass(one):
                functions = {called: one.__init__} | {
                    f"{name}.{method}": function
                    for method, function in vars(one).items()
                    if not method.startswith("_") and inspect.isfunction(function)
                }
            for each, function in functions.items():
                if each not in MADE | SAME and callable(function) and not inspect.isbuiltin(function):
                    yield from ((each, option) for option in options_of(function))


# Of a service ticket any targets are refused; as an option of `Limits` they are here.
EVERY = sorted(set(walked()) - {("Credentials.narrow", "targets")})


def test_the_walk_finds_what_it_is_for() -> None:
    assert {("Route", "covers"), ("Guard", "origins"), ("Guard", "routes"), ("OrthrosAuth", "cover")} <= {*EVERY}
    assert {name for name, _option in EVERY} <= {*CALLS}


@pytest.mark.parametrize(("name", "option"), EVERY)
@pytest.mark.parametrize("text", ["x-tenant", "", b"x"])
def test_a_text_is_no_list(name: str, option: str, text: str | bytes) -> None:
    """`Route(covers="x-tenant")` covered `x`, `-`, `t`, ...: nothing that a request has."""
    with pytest.raises((LocalMisuse, Misconfigured), match="is a list, not one text") as refused:
        CALLS[name](**{option: text})
    assert refused.value.code == ("scope-invalid" if isinstance(refused.value, Misconfigured) else "value-invalid")
    assert option == "scopes" or isinstance(refused.value, LocalMisuse)


OTHERS: dict[str, Callable[[Any], object]] = {
    "scopes by target": lambda text: OrthrosAuth(TARGETS, client=object(), scopes={"orders": text}),  # type: ignore[arg-type]
    "scopes by target, requests": lambda text: OrthrosRequestsAuth(TARGETS, client=object(), scopes={"orders": text}),  # type: ignore[arg-type]
    "scopes of a want": lambda text: Want(target=Principal("a", "b"), scopes=text),
    "scopes caveat": ScopesCaveat,
    "methods caveat": MethodsCaveat,
    "peer caveat": PeerCaveat,
    "covered": lambda text: format_authorization(b"\0", text),
    "check_scopes": check_scopes,
    "check_texts": lambda text: check_texts(text, "names"),
    "check_list": lambda text: check_list(text, "names"),
    "networks of a rule": check_sources,
    "claims of a target": check_token_claims,
    "subjects of a rule": check_subject_patterns,
    "deny_via of a rule": lambda text: check_callers("deny_via", text),
}


@pytest.mark.parametrize("text", ["abc", ""])
@pytest.mark.parametrize("which", OTHERS)
def test_nor_is_it_one_elsewhere(which: str, text: str) -> None:
    with pytest.raises((LocalMisuse, Misconfigured), match="list"):
        OTHERS[which](text)


@pytest.mark.parametrize("require", [flask.require, starlette.require, django.require])
@pytest.mark.parametrize("scopes", [("read write",), ("read,write",), (["read"],), ("",)])
def test_what_is_no_scope_is_not_required(require: Callable[..., object], scopes: tuple[Any, ...]) -> None:
    """No caller would ever have it."""
    with pytest.raises(Misconfigured, match="scope-invalid"):
        require(*scopes)


def test_items_are_texts() -> None:
    for items in ([1], [None], [b"x-tenant"], [["x-tenant"]]):
        with pytest.raises(LocalMisuse, match="covers is a list of texts"):
            Route("/*", covers=items)  # type: ignore[arg-type]
    assert Route("/*", covers={"x-tenant": 1}.keys()).covers == ("x-tenant",)
    assert Guard(**House().settings(origins=(one for one in [ORIGIN]))).origins.hosts == ("orders.test",)
