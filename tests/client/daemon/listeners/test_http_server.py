from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
import trio

from orthros_protocol.tickets.attenuation import pop_key_of
from orthros_protocol.tickets.ticket import peek_unverified_header
from tests.client.daemon.listeners.test_local_server import needs_root
from tests.client.house import NOBODY, House, as_user, open_house, read_response

HEADER = "Orthros-Local: 1"
A = "tcp://kdc-a:1"


async def json_of(house: House, path: str) -> tuple[int, dict[str, Any]]:
    status, headers, body = await house.get(path)
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    return status, json.loads(body)


@pytest.mark.parity("K4")
async def test_a_token_comes_as_json() -> None:
    """For curl and everybody else."""
    async with open_house() as house:
        status, body = await json_of(house, "/v1/token?target=orders&scope=read")
        assert status == 200
        assert body["token"].startswith("jwt-for.orders.")
        assert (body["token_type"], body["target"], body["scopes"]) == ("Bearer", "orders@test.realm", ["read"])
        assert 3500 < body["expires_in"] <= 3600


@pytest.mark.parity("K4")
async def test_a_ticket_comes_with_its_proof_key() -> None:
    """base64url, so that another language can build the request."""

    def raw(text: str) -> bytes:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))

    async with open_house() as house:
        status, body = await json_of(house, "/v1/ticket?target=orders@test.realm&scope=read+write&ttl=60")
        assert status == 200
        assert peek_unverified_header(raw(body["ticket"])).ticket_type == 2
        assert raw(body["pop_key"]) == pop_key_of(raw(body["tail"]))
        assert body["scopes"] == ["read", "write"]
        assert 50 <= body["expires_in"] <= 60


@pytest.mark.parity("L29")
@pytest.mark.parametrize("path", ["/v1/token?target=orders", "/v1/token?target=payroll", "/nowhere", "/livez"])
@pytest.mark.parametrize(
    "headers",
    [
        ("Accept: */*",),
        ("Orthros-Local: 0",),
        ("Orthros-Local: 1, 1",),
        (HEADER, HEADER),
        (HEADER, "Origin: http://localhost"),
        (HEADER, "Origin: null"),
    ],
)
async def test_without_the_header_nothing_is_told(path: str, headers: tuple[str, ...]) -> None:
    """403 and the same words whatever was asked; no oracle, no KDC request."""
    async with open_house() as house:
        status, _, body = await house.get(path, *headers)
        assert status == 403
        assert json.loads(body)["error"] == "header-required"
        assert json.loads(body)["retry"] is False
        assert len(house.world.agent.cache) == 0


@pytest.mark.parity("B2", "L29")
@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/", 404, "not-found"),
        ("/v1/tokens", 404, "not-found"),
        ("/v1/token", 400, "bad-local-request"),
        ("/v1/token?target=", 400, "name-invalid"),
        ("/v1/token?target=Orders", 400, "name-invalid"),
        ("/v1/token?target=orders@", 400, "name-invalid"),
        ("/v1/token?target=orders&target=billing", 400, "bad-local-request"),
        ("/v1/token?target=orders&realm=x", 400, "bad-local-request"),
        ("/v1/token?target=orders&scope=READ", 400, "scope-invalid"),
        ("/v1/token?target=orders&ttl=-1", 400, "bad-local-request"),
        ("/v1/token?target=orders&ttl=99999999999", 400, "bad-local-request"),
        ("/v1/token?target=orders&" + "scope=a&" * 70, 400, "bad-local-request"),
        ("/v1/status?x=1", 400, "bad-local-request"),
        ("/v1/token?target=payroll", 403, "not-granted"),
        ("/v1/token?target=billing", 403, "jwt-not-enabled"),
    ],
)
async def test_errors_are_explained(path: str, status: int, error: str) -> None:
    """{error, detail, remedy, retry}."""
    async with open_house() as house:
        seen, body = await json_of(house, path)
        assert (seen, body["error"]) == (status, error)
        assert body["detail"]
        assert body["remedy"]
        assert body["retry"] is False


@pytest.mark.parity("B2")
async def test_a_refusal_carries_its_reference_and_pause() -> None:
    async with open_house() as house:
        status, headers, body = await house.get("/v1/ticket?target=payroll")
        facts = json.loads(body)
        assert status == 403
        assert len(facts["ref"]) == 16
        assert facts["retry_after_s"] == int(headers["retry-after"]) in (1, 2)
        assert "orthros-admin policy allow web payroll" in facts["remedy"]


@pytest.mark.parity("B7")
async def test_no_kdc_is_a_503_with_retry() -> None:
    """And readiness says so, while the process lives."""
    async with open_house(moods={A: "down"}) as house:
        house.desk.request_timeout_s = 0.05
        status, body = await json_of(house, "/v1/token?target=orders")
        assert (status, body["error"], body["retry"]) == (503, "kdc-unreachable", True)
        assert (await json_of(house, "/readyz"))[0] == 503
        assert (await json_of(house, "/livez"))[0] == 200
        house.world.network.moods.clear()


@pytest.mark.parity("B7")
async def test_ready_and_status() -> None:
    """Ready means that a fresh ticket can be served."""
    async with open_house() as house:
        await json_of(house, "/v1/ticket?target=orders")
        assert await json_of(house, "/readyz") == (200, {"ready": True, "client": "web@test.realm", "cached": 1})
        status, body = await json_of(house, "/v1/status")
        assert status == 200
        assert body["kdcs"][0]["address"] == A
        assert (body["ready"], body["client"], body["cached"]) == (True, "web@test.realm", 1)


@pytest.mark.parity("L29")
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /v1/token?target=orders HTTP/1.1\r\nHost: x\r\nOrthros-Local: 1\r\n\r\n", 405),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nOrthros-Local: 1\r\nContent-Length: 3\r\n\r\nabc", 413),
        (b"GET /livez HTTP/1.1\r\nOrthros-Local: 1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nOrthros-Local: 1\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_not_expected_is_refused(request_bytes: bytes, status: int) -> None:
    """Methods, bodies, broken and oversized heads."""
    async with open_house() as house:
        assert (await house.http(request_bytes))[0] == status


@pytest.mark.parity("K4")
async def test_a_connection_serves_several_requests() -> None:
    """keep-alive, answered in order."""
    async with open_house() as house:
        stream = await trio.open_unix_socket(house.http_socket)
        async with stream:
            for path in ("/livez", "/nowhere", "/livez"):
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n{HEADER}\r\n\r\n".encode())
                assert (await read_response(stream))[0] in (200, 404)


@pytest.mark.parity("K4")
async def test_draining_ends_connections() -> None:
    async with open_house() as house:
        stream = await trio.open_unix_socket(house.http_socket)
        async with stream:
            await stream.send_all(f"GET /livez HTTP/1.1\r\nHost: x\r\n{HEADER}\r\n\r\n".encode())
            await read_response(stream)
            house.http_listener.drain()
            with trio.fail_after(10):
                assert await stream.receive_some(10) == b""


@pytest.mark.parity("K4")
@needs_root
async def test_the_allow_list_holds_here_as_well() -> None:
    """Another user on the HTTP socket."""
    async with open_house() as house:
        with as_user(NOBODY):
            stream = await trio.open_unix_socket(house.http_socket)
        async with stream:
            for path in ("/v1/token?target=orders", "/v1/status", "/readyz"):
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n{HEADER}\r\n\r\n".encode())
                status, _, body = await read_response(stream)
                assert (status, json.loads(body)["error"]) == (403, "peer-not-allowed")


@pytest.mark.parity("K4")
@pytest.mark.parametrize(("headers", "status"), [((), b"403"), ((HEADER,), b"405")])
async def test_a_head_has_no_body_and_ends_nobody_else(headers: tuple[str, ...], status: bytes) -> None:
    """`curl -I`, also of somebody who is told nothing."""
    async with open_house() as house:
        stream = await trio.open_unix_socket(house.http_socket)
        async with stream:
            await stream.send_all("\r\n".join(["HEAD /livez HTTP/1.1", "Host: x", *headers, "", ""]).encode())
            answer = b""
            with trio.fail_after(10):
                while data := await stream.receive_some(4096):
                    answer += data
        assert answer.split()[1] == status
        assert answer.endswith(b"\r\n\r\n")
        assert (await house.get("/livez"))[0] == 200
