"""What stands between: proxies and gateways that change a request or its response."""

from __future__ import annotations

from tests.mistakes.house import House
from tests.mistakes.table import Seen, mistake

ORDER = ("--json", '{"item":7}')


@mistake(
    "a proxy takes a prefix off the path",
    at="proxy",
    mend="Let the proxy pass the path on as it came (nginx: `proxy_pass http://orders;` without a path).",
    caller=("wrong-binding", "/shop/orders/7; received: GET http", "a proxy passes path, query, Host"),
    service=("reason='wrong-binding'", "client='shop@corp.test'", "received: GET http://127.0.0.1:", "/orders/7"),
    needs=("nginx",),
)
def path_rewritten(house: House) -> Seen:
    return house.call("prefix", path="/shop/orders/7", log="orders")


@mistake(
    "a proxy normalises the path",
    at="proxy",
    mend="Let the proxy pass the path on as it came (nginx: `proxy_pass http://orders;` without a path, not even `/`).",
    caller=("wrong-binding", "/orders/a%3Ab; received: GET http", "a proxy passes path, query, Host"),
    service=("reason='wrong-binding'", "/orders/a:b", "client='shop@corp.test'", "received: GET http://127.0.0.1:"),
    needs=("nginx",),
)
def path_normalised(house: House) -> Seen:
    return house.call("normal", path="/orders/a%3Ab", log="orders")


@mistake(
    "a proxy puts its own name for the service into Host",
    at="proxy",
    mend="Let the proxy pass Host on (nginx: `proxy_set_header Host $http_host;`).",
    caller=("response-unproven", "a proxy sent it another Host", "proxy_set_header Host $http_host"),
    service=("received Host 'orders'", "origins here: http://127.0.0.1:", "proxy_set_header Host $http_host"),
    needs=("nginx",),
)
def host_replaced(house: House) -> Seen:
    return house.call("host", log="orders")


@mistake(
    "a proxy rewrites the response's body",
    at="proxy",
    mend="Turn off what changes responses on the way: `sub_filter`, minifying, compression.",
    caller=("response-unproven", "they are not the body that the target sent", "likelier something between changed",
            "sub_filter"),
    service=("GET /orders/7",),
    needs=("nginx",),
)  # fmt: skip
def body_rewritten(house: House) -> Seen:
    return house.call("body", log="orders")


@mistake(
    "a proxy compresses the response, and the caller had asked for that",
    at="proxy",
    mend="Turn compression off in the proxy (nginx: `gzip off;`), or let the caller ask for `identity`, the default.",
    caller=("response-unproven", "a proxy on the way compressed it: turn that off there"),
    service=("GET /orders/7",),
    needs=("nginx",),
)
def body_compressed(house: House) -> Seen:
    return house.call("gzip", "-H", "Accept-Encoding: gzip", log="orders")


@mistake(
    "a proxy renames a header that the caller covers",
    at="proxy",
    mend="Let the proxy pass covered headers on, once and under their own names.",
    caller=(
        "response-unproven",
        "a proxy changed the path, or added, renamed or removed headers",
        "its log says which",
    ),
    service=("the covered header idempotency-key is missing", "reason='malformed'", "pass covered headers on once"),
    needs=("nginx",),
)
def header_renamed(house: House) -> Seen:
    return house.call("renamed", *ORDER, "--idempotency-key", "k1", path="/orders", log="orders")


@mistake(
    "a proxy removes the Authorization header",
    at="proxy",
    mend="Let the proxy pass Authorization on.",
    caller=("response-unproven", "got no credentials", "removed the Authorization header", "pass Authorization on"),
    service=("reason='credentials-missing'", "no Authorization came", "let proxies pass Authorization on"),
    needs=("nginx",),
)
def credentials_removed(house: House) -> Seen:
    return house.call("strip", log="orders")


@mistake(
    "a gateway reads JSON and writes it again",
    at="gateway",
    mend="Let the gateway pass bodies on byte for byte, or let it be the caller, with a ticket of its own.",
    caller=("body-mismatch", "the SHA-256 of its", "bytes is another", "a gateway that writes JSON anew"),
    service=("reason='body-mismatch'", "client='shop@corp.test'", "bytes is another"),
)
def json_written_again(house: House) -> Seen:
    return house.call("reencoding", *ORDER, path="/orders", log="orders")


@mistake(
    "a proxy sends a POST again that the service may have executed",
    at="proxy",
    mend="Turn off retries of what may have been executed (nginx: no `non_idempotent` in `proxy_next_upstream`).",
    caller=("maybe-executed", "refused as replayed", "in a proxy, the retries of POST", "no `non_idempotent`"),
    service=("reason='replayed'", "client='shop@corp.test'", "a proxy or an HTTP library that repeats requests"),
    needs=("nginx",),
)
def post_sent_again(house: House) -> Seen:
    with house.watching("orders") as logged:
        said = house.orthros("call", f"{house.origin('again')}/orders", "--target", "orders", "--json", "no JSON")
        lines = [line for line in logged().splitlines() if "reason=" in line]
    return Seen(said, "\n".join(lines))


@mistake(
    "the body is larger than the proxy takes",
    at="proxy",
    mend="Raise the proxy's limit (nginx: `client_max_body_size`, 1 MiB by default).",
    caller=("response-unproven", "status 413", "takes no request of this size", "client_max_body_size"),
    needs=("nginx",),
)
def body_too_large(house: House) -> Seen:
    (house.folder / "large").write_bytes(bytes(2 << 20))
    said = house.orthros(
        "call", f"{house.origin('turns')}/orders", "--target", "orders", "--data-binary", f"@{house.folder}/large"
    )
    return Seen(said, "")


@mistake(
    "the service behind the proxy does not run",
    at="service, or the proxy's address of it",
    mend="Start the service, or correct the address in the proxy (nginx: `proxy_pass`, `upstream`).",
    caller=("response-unproven", "status 502", "likelier it cannot reach the service behind it", "Start the service"),
    needs=("nginx",),
)
def service_gone(house: House) -> Seen:
    said = house.orthros("call", f"{house.origin('gone')}/orders/7", "--target", "orders")
    return Seen(said, "")


@mistake(
    "a POST reaches instances that take turns and share nothing",
    at="service",
    mend="Share a replay store (`ORTHROS_REPLAY_STORE`), say `repeatable` on the route, or use sticky sessions.",
    caller=("maybe-executed", "another instance", "share a replay store", "`repeatable`", "sticky sessions"),
    service=("epoch-required", "names another instance's epoch", "take turns", "ORTHROS_REPLAY_STORE"),
    needs=("nginx",),
)
def instances_take_turns(house: House) -> Seen:
    with house.watching("second") as second, house.watching("orders") as first:
        said = house.orthros("call", f"{house.origin('turns')}/orders", "--target", "orders", *ORDER)
        logged = (first(), second())
    return Seen(said, next((one for one in logged if "epoch-required" in one), "\n".join(logged)))
