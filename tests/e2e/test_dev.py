"""`orthros-kdc dev`, used as its own words say: a realm to try things out with, gone when it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jwt

from orthros_tools.demo.stage import Stage
from tests.support.processes import eventually


def test_dev_realm_works_as_it_says_and_leaves_nothing() -> None:
    """P15: one command, and a ticket and a JWT can be had."""
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
        claims = jwt.decode(token, key, ["HS256"], audience="orders@dev.test", issuer="https://dev.test")
        assert claims["scope"].split() == ["read", "write"]

        assert daemon.stop() == 0
        assert kdc.stop() == 0
        assert not folder.exists()
