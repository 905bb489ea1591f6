"""docs/grpc.md: its samples run, and call each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from orthros_client.integrations.grpc_client import OrthrosChannel
from orthros_client.integrations.grpc_server import OrthrosServerInterceptor
from orthros_protocol.testing import InMemoryRealm, ManualClock
from tests.docs.pages import ROOT, blocks
from tests.support.http_caller import wall_clock
from tests.support.http_target import RealmSource

PAGE = ROOT / "docs" / "grpc.md"


def test_the_samples_of_the_page_serve_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's server, with its method and its interceptor, and a channel as the page makes it, without TLS."""
    realm = InMemoryRealm(clock=ManualClock(wall_clock()))
    realm.add("web")
    realm.add("orders").verify_only().save(tmp_path / "orders.key")
    monkeypatch.setenv("ORTHROS_KEY_FILE", str(tmp_path / "orders.key"))
    monkeypatch.setenv("ORTHROS_REPLAY_STORE", "memory")
    names: dict[str, Any] = {}
    for sample in blocks(PAGE, "python"):
        exec(compile(sample, str(PAGE), "exec"), names)
    names["inner"].close()
    assert isinstance(names["guard"], OrthrosServerInterceptor)
    assert [route.path for route in names["guard"].guard.routes.rows][:1] == ["/shop.Orders/Show"]
    handler = grpc.unary_unary_rpc_method_handler(names["show"])
    server: Any = names["server"]
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Orders", {"Show": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as inner:
            stranger = inner.unary_unary("/shop.Orders/Show")
            with pytest.raises(grpc.RpcError, match="unauthorized"):
                stranger(b"x")
            source = RealmSource(realm)
            channel = OrthrosChannel(inner, {"https://orders.example": "orders"}, client=source)
            assert channel.unary_unary("/shop.Orders/Show")(b"x") == b"for web"
    finally:
        server.stop(0).wait()
