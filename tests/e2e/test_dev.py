"""`orthros-kdc dev`, used as its own words say: a realm to try things out with, gone when it ends."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import httpx
import jwt
import pytest

from tests.support.processes import eventually
from workshop.stage import Stage


def assert_oauth_works(said: str, key: jwt.PyJWK) -> None:
    """The lines for curl do what they say, with the secret in a file that only its owner reads."""
    curl_lines = [shlex.split(line) for line in re.findall(r"^  (curl .+)$", said, re.MULTILINE)]
    token_line, metadata_line, ready_line = curl_lines
    held = Path(token_line[token_line.index("-K") + 1])
    assert stat.S_IMODE(held.stat().st_mode) == 0o600
    (secret,) = re.findall(r'user = "shop:(ort1s_[a-z2-7]+)"', held.read_text())
    assert secret not in said
    address = token_line[token_line.index("-K") + 2]
    form = {"grant_type": "client_credentials", "audience": "orders"}
    assert token_line[-4:] == ["-d", "grant_type=client_credentials", "-d", "audience=orders"]
    if shutil.which("curl"):
        asked = subprocess.run(token_line, capture_output=True, text=True, timeout=30, check=True)
        answer = json.loads(asked.stdout)
        ready = subprocess.run(ready_line, capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(ready.stdout)["status"] == "ok"
    else:
        answer = httpx.post(address, data=form, auth=("shop", secret)).json()
    assert answer["token_type"] == "Bearer"
    issuer = metadata_line[-1].removesuffix("/.well-known/oauth-authorization-server")
    assert httpx.get(metadata_line[-1]).json()["issuer"] == issuer  # what clients that discover demand
    claims = jwt.decode(answer["access_token"], key, ["HS256"], audience="orders@dev.test", issuer=issuer)
    assert claims["sub"] == "shop@dev.test"
    assert answer["expires_in"] == 300  # H3
    refused = httpx.post(address, data=form, auth=("shop", "wrong"))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.parity("P15")
def test_dev_realm_works_as_it_says_and_leaves_nothing() -> None:
    """One command, and a ticket and a JWT can be had."""
    with Stage("orthros-e2e-") as stage:
        kdc = stage.start("dev", "orthros-kdc", "dev")
        eventually(lambda: "Ctrl-C" in kdc.out.read_text(), "the realm is ready")
        said = kdc.out.read_text()
        (config,) = re.findall(r"orthros-daemon --config (\S+)", said)
        (socket,) = re.findall(r"ORTHROS_SOCKET=(\S+)", said)
        daemon = stage.start("daemon", "orthros-daemon", "--config", config)
        eventually(lambda: "ready" in daemon.out.read_text(), "the daemon is ready")

        for line in re.findall(r"^  orthros (.+?)(?: +#.*)?$", said, re.MULTILINE):
            outcome = stage.run("orthros", *line.split(), environ={"ORTHROS_SOCKET": socket})
            assert outcome.code == (3 if line == "ticket shop" else 0), outcome
        token = stage.run("orthros", "token", "orders", environ={"ORTHROS_SOCKET": socket}).out.strip()
        folder = Path(config).parent
        key = jwt.PyJWK.from_dict(json.loads((folder / "orders.jwk").read_text()))
        issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
        claims = jwt.decode(token, key, ["HS256"], audience="orders@dev.test", issuer=issuer)
        assert claims["scope"].split() == ["read", "write"]

        assert_oauth_works(said, key)
        assert daemon.stop() == 0
        assert kdc.stop() == 0
        assert not folder.exists()
