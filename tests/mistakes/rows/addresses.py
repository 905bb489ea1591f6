"""Wrong addresses: where the caller believes the service to be, and what really listens there."""

from __future__ import annotations

from tests.mistakes.house import House
from tests.mistakes.table import Seen, mistake


@mistake(
    "the URL names the service by another host than its `origins`",
    at="caller, or the service's `origins`",
    mend="Call it by one of its `origins`, or add the name to them.",
    caller=("response-unproven", "status 400", "likelier localhost:", "none of its origins", "reference"),
    service=("received Host 'localhost:", "origins here: http://127.0.0.1:", "add this one to them"),
)
def wrong_host(house: House) -> Seen:
    return house.call("orders", host="localhost")


@mistake(
    "the URL has the port that a host forwards, and `origins` the one behind it",
    at="caller, or the service's `origins`",
    mend="Name the origin that callers see in `origins`: scheme, host and forwarded port.",
    caller=("response-unproven", "likelier 127.0.0.1:", "none of its origins", "add \"http://127.0.0.1:"),
    service=("received Host '127.0.0.1:", "origins here: http://127.0.0.1:"),
    needs=("nginx",),
)  # fmt: skip
def wrong_port(house: House) -> Seen:
    return house.call("forwarded", log="orders")


@mistake(
    "the URL begins with http, and the service's origin with https",
    at="caller, or the service's `origins`",
    mend="Write the same scheme in the URL and in `origins`; behind a proxy that ends TLS, `origins` say https.",
    caller=("wrong-binding", "signed: GET http://127.0.0.1:", "received: GET https://127.0.0.1:", "`origins`"),
    service=("reason='wrong-binding'", "client='shop@corp.test'", "received: GET https://", "begins with http://"),
)
def wrong_scheme(house: House) -> Seen:
    return house.call("https")


@mistake(
    "another server listens at this address",
    at="caller",
    mend="Correct host and port. `curl -si ORIGIN/` shows 401 and `WWW-Authenticate: Orthros` at the right place.",
    caller=(
        "nothing in it is of Orthros",
        "likelier another server (SimpleHTTP/0.6) is at this address",
        "curl -si http",
    ),
    service=("GET /orders/7",),
)
def another_server(house: House) -> Seen:
    return house.call("stranger")


@mistake(
    "the application has no middleware",
    at="service",
    mend="Install the middleware, outermost: `app.add_middleware(OrthrosMiddleware, verifier=..., origins=[...])`.",
    caller=("status 200 without Orthros-Reply", "likelier the application there has no Orthros middleware",
            "add_middleware(OrthrosMiddleware"),
    service=("GET /orders/7",),
)  # fmt: skip
def no_middleware(house: House) -> Seen:
    return house.call("bare")


@mistake(
    "the application has no middleware, and an endpoint demands a scope",
    at="service",
    mend="Install the middleware, outermost; `@require` alone serves nobody.",
    caller=("the endpoint demands a caller, but the application there has no Orthros middleware", "outermost"),
    service=("no-middleware", "no Orthros middleware is installed", "Install the middleware outermost"),
)
def no_middleware_but_a_mark(house: House) -> Seen:
    return house.call("bare", path="/admin")
