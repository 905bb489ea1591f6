"""README.md, typed in from top to bottom against a real realm, and its samples run in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from typing import Any

import httpx
import jwt
import pytest
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url  # type: ignore[import-untyped]

from orthros_client import Client
from tests.docs.pages import README, ROOT, blocks, transcript
from tests.docs.terminal import Terminal
from tests.support.peers import NODE_FOLDER, require_node

SERVICE, CALLER, BEARER = range(3)


def sample(number: int, terminal: Terminal) -> str:
    text = blocks(README, "python")[number]
    assert len(text.splitlines()) <= 12
    return terminal.moved(text)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = [command.removeprefix("make ") for command, _shown in transcript(blocks(README, "console")[0])]
    assert typed == ["demo", "test"]
    assert targets.issuperset(typed)


@pytest.mark.parity("P17")
def test_client_sample_calls_service_sample(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """ten-line samples, executed; the service runs under uvicorn."""
    monkeypatch.setenv("ORTHROS_SOCKET", os.fspath(terminal.folder / "shop.sock"))
    found: dict[str, Any] = {}
    exec(compile(sample(CALLER, terminal), "README.md", "exec"), found)
    found["auth"].close()
    assert found["order"] == {"order": "1138", "for": "shop"}


def test_protection_is_one_line(terminal: Terminal) -> None:
    lines = [line for line in sample(SERVICE, terminal).splitlines() if "OrthrosMiddleware" in line]
    assert [line.startswith("app.add_middleware(") for line in lines] == [False, True]


def test_realm_is_found_by_clients_that_discover(terminal: Terminal) -> None:
    """RFC 8414 as Authlib reads it: the issuer is the URL that was asked, and what it leads to gives good tokens."""
    issuer = terminal.moved("http://127.0.0.1:7789")
    told = httpx.get(get_well_known_url(issuer, external=True), trust_env=False).json()
    metadata = AuthorizationServerMetadata(told)
    metadata.validate()
    assert metadata["issuer"] == issuer
    secret = (terminal.folder / "shop.oauth-secret").read_text("ascii").strip()
    with OAuth2Session("shop", secret, token_endpoint=metadata["token_endpoint"], trust_env=False) as session:
        token = session.fetch_token(grant_type="client_credentials", audience="orders")
    assert claims_by_the_sample(terminal, token["access_token"])["iss"] == issuer


def test_realm_is_found_by_strict_clients_of_node(terminal: Terminal) -> None:
    """oauth4webapi and openid-client compare the issuer with the URL that they were given."""
    node = require_node()
    issuer = terminal.moved("http://127.0.0.1:7789")
    given = {"issuer": issuer, "secret": (terminal.folder / "shop.oauth-secret").read_text("ascii").strip()}
    ended = subprocess.run(
        [node, NODE_FOLDER / "discover.mjs"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["issuer"] == issuer
    assert claims_by_the_sample(terminal, found["token"])["sub"] == "shop@corp.example"


def claims_by_the_sample(terminal: Terminal, token: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with contextlib.chdir(terminal.folder):
        exec(compile(sample(BEARER, terminal), "README.md", "exec"), found)
    claims: dict[str, Any] = found["claims_of"](token)
    return claims


def test_jwt_sample_needs_pyjwt_only(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(terminal.folder)
    text = sample(BEARER, terminal)
    assert "orthros_" not in text
    found: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), found)
    with Client(terminal.folder / "shop.sock") as client:
        token = client.token("orders", ["read"]).value
    claims = found["claims_of"](token)
    assert (claims["sub"], claims["scope"]) == ("shop@corp.example", "read")
    head, body, mark = token.split(".")
    with pytest.raises(jwt.InvalidSignatureError):
        found["claims_of"](f"{head}.{body}.{'B' if mark[0] == 'A' else 'A'}{mark[1:]}")
