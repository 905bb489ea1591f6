"""What a section demands and when it changes: JWTs by route, new keys and routes at a reload."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from orthros_protocol.errors import Misconfigured
from orthros_protocol.exchanges.http_profile import encode_base64url
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import RootKey
from tests.client.forwarding import ASKS, Gate, Sent, settings_of

ANY = pytest.mark.parametrize("dialect", sorted(ASKS))


@pytest.mark.parity("P14", "L2")
@ANY
def test_a_token_passes_where_a_route_takes_one(tmp_path: Path, dialect: str, daemon_log: io.StringIO) -> None:
    """Bearers by name only; no proof for them, and no Orthros where only they are accepted."""
    key = os.urandom(32)
    jwk = tmp_path / "orders.jwk"
    jwk.touch(0o600)
    jwk.write_text(json.dumps({"kty": "oct", "use": "sig", "alg": "HS256", "kid": "k1", "k": encode_base64url(key)}))
    names: dict[str, Any] = {"jwk": str(jwk), "audience": "orders@test.realm", "issuer": "https://test.realm"}
    route = [{"path": "/api/*", "schemes": ["bearer"], "scopes": ["read"]}]
    gate = Gate.open(tmp_path, dialect, route=route, **names)

    def bearing(target: str, **changes: Any) -> Sent:
        now = int(time.time())
        claims = {
            "iss": "https://test.realm", "aud": "orders@test.realm", "sub": "web@test.realm",
            "client_id": "web@test.realm", "scope": "read", "iat": now, "nbf": now, "exp": now + 60,
            "jti": "0" * 32, "txn": "ab" * 16,
        } | changes  # fmt: skip
        token = jwt.encode(claims, key, "HS256", {"typ": "orthros+jwt", "kid": "k1"})
        return Sent(target=target, headers=(("authorization", f"Bearer {token}"),))

    verdict = gate.ask(bearing("/api/1"))
    facts = dict(verdict.headers)
    assert (verdict.status, facts["x-orthros-client"], facts["x-orthros-scopes"]) == (200, "web@test.realm", "read")
    assert facts["x-orthros-transaction"] == "ab" * 16
    assert "orthros-accepted" not in facts
    assert gate.status(bearing("/orders/1")) == 401
    assert gate.status(gate.sender.sign(Sent(target="/api/1"))) == 401
    scopeless = gate.ask(bearing("/api/1", scope="write"))
    assert scopeless.status == 403
    assert 'error="insufficient_scope"' in dict(scopeless.headers)["www-authenticate"]
    for changes in ({"aud": "billing@test.realm"}, {"exp": 1}, {"iss": "https://evil"}):
        assert gate.status(bearing("/api/1", **changes)) == 401
    assert dict(bearing("/api/1").headers)["authorization"][-40:] not in daemon_log.getvalue()


@pytest.mark.parity("P16")
def test_a_reload_keeps_what_was_seen_and_takes_new_terms(tmp_path: Path) -> None:
    """Same key file, same epoch: nobody pays a round trip, and nothing can be replayed."""
    gate = Gate.open(tmp_path, "nginx", "read")
    signed = gate.sender.sign(Sent())
    assert gate.status(signed) == 200
    gate.endpoint.prepare(
        settings_of(tmp_path, gate.realm, "nginx", route=[{"path": "/admin/*", "scopes": ["root"]}])
    )()
    assert gate.status(signed) == 401
    assert gate.status(gate.sender.sign(Sent())) == 200
    assert gate.status(gate.sender.sign(Sent(target="/admin/1"))) == 403


@pytest.mark.parity("K2")
def test_a_reload_takes_the_next_key_while_calls_go_on(tmp_path: Path) -> None:
    """Both versions for a while, then the new one alone; a re-created service is another one."""
    gate = Gate.open(tmp_path, "nginx")
    old = gate.realm.root("orders")
    new = RootKey(bytes(range(32)), principal=old.principal, uid=old.uid, kvno=2)
    again = RootKey(bytes(32), principal=old.principal, uid=old.uid + 100, kvno=1)
    settings = settings_of(tmp_path, gate.realm, "nginx")
    for keys, expected in (((old, new), 200), ((new,), 401), ((old,), 200), ((again,), 401)):
        Keytab.of(*keys).verify_only().save(tmp_path / "orders.verify.key", replace=True)
        gate.endpoint.prepare(settings)()
        assert gate.status(gate.sender.sign(Sent())) == expected


@pytest.mark.parity("P16", "K17")
def test_a_reload_that_fails_changes_nothing(tmp_path: Path) -> None:
    gate = Gate.open(tmp_path, "nginx")
    settings = settings_of(tmp_path, gate.realm, "nginx")
    (tmp_path / "orders.verify.key").chmod(0o644)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        gate.endpoint.prepare(settings)
    assert gate.status(gate.sender.sign(Sent())) == 200
