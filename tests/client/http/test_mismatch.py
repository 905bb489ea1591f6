"""What a service says of a request that is bound to something else than what it received."""

from __future__ import annotations

import pytest

from orthros_client.http.server.binding_mismatch import describe_mismatch
from orthros_protocol.exchanges.http_profile import HttpBinding

ORIGINS = (("https", "orders.example:443"), ("https", "shop.example:8443"))
RECEIVED = HttpBinding(
    method="GET", scheme="https", authority="orders.example:443", target=b"/orders/7?full=1",
    content_digest=b"sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:",
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scheme": "http"}, "the caller's URL begins with http://"),
        ({"scheme": "http", "authority": "orders.example:80"}, "the caller's URL begins with http://"),
        ({"authority": "shop.example:8443"}, "the caller's URL names https://shop.example:8443"),
        ({"target": b"/orders/7"}, "the caller sent no query"),
        ({"target": b"/orders/7/?full=1"}, "the caller's path has a / at its end"),
        ({"content_digest": None}, "the caller sent no Content-Digest"),
        ({"target": b"/shop/orders/7?full=1"}, "path, query, port or a covered header differ from it"),
    ],
)
def test_usual_changes_are_named(change: dict[str, object], words: str) -> None:
    signed = RECEIVED.altered(**change).bind()
    said = describe_mismatch(RECEIVED, signed, ORIGINS)
    assert said == f"received: GET https://orders.example/orders/7?...; {words}"


def test_what_is_said_fits_into_a_refusal() -> None:
    """200 printable characters at most, and nothing of the query."""
    received = RECEIVED.altered(target=b"/" + b"a" * 4000 + b"?secret=1")
    said = describe_mismatch(received, bytes(32), ORIGINS)
    assert len(said) <= 200
    assert said.isprintable()
    assert "secret" not in said
