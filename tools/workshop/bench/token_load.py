"""The KDC's token endpoint under wrk, beside oidc-provider on Node: client_credentials, one process each.

Knows both servers only by their addresses. Needs Debian's wrk, node and npm, and the npm registry for the peer.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import field, frozen

from workshop.bench.figures import Figure, cpu_seconds

__all__ = ["TokenEndpoint", "measure_tokens", "running_oidc_provider"]

_CONNECTIONS: Final = 16
_SECONDS: Final = 5
_PEER_FILES: Final = Path(__file__).with_name("oidc_provider")
_SCRIPT: Final = """\
wrk.method = "POST"
wrk.body = "{body}"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = "Basic {basic}"
"""


@frozen(kw_only=True)
class TokenEndpoint:
    """Where to ask for a token, how, and which process answers."""

    name: str
    pid: int
    url: str
    form: str
    client_id: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The credentials of `Authorization: Basic`; neither half needs form-encoding here."""
        return b64encode(f"{self.client_id}:{self.secret}".encode("ascii")).decode("ascii")


@contextmanager
def running_oidc_provider(folder: Path) -> Iterator[TokenEndpoint]:
    """oidc-provider in `folder`, installed there by npm; stopped at the end. Raises OSError or CalledProcessError."""
    for file in _PEER_FILES.iterdir():
        shutil.copy(file, folder)
    subprocess.run(["npm", "ci", "--silent", "--no-progress"], cwd=folder, check=True)
    secret = secrets.token_urlsafe(32)
    with subprocess.Popen(
        ["node", "server.mjs"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CLIENT_SECRET": secret, "NODE_ENV": "production"},
    ) as process:
        try:
            line = b"" if process.stdout is None else process.stdout.readline()
            if not line.startswith(b"ready "):
                raise OSError("oidc-provider did not start")
            yield TokenEndpoint(
                name="oidc-provider on Node",
                pid=process.pid,
                url=f"http://127.0.0.1:{int(line.split()[1])}/token",
                form="grant_type=client_credentials&scope=read&resource=urn:orthros:orders",
                client_id="billing",
                secret=secret,
            )
        finally:
            process.terminate()
            process.wait()


def _ask_once(endpoint: TokenEndpoint) -> None:
    """Raises RuntimeError unless the endpoint gives a token for these credentials: errors are fast as well."""
    request = urllib.request.Request(  # noqa: S310  # the address is one of our own, on loopback
        endpoint.url,
        data=endpoint.form.encode("ascii"),
        headers={"Authorization": f"Basic {endpoint.basic}", "Content-Type": "application/x-www-form-urlencoded"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        if json.load(response).get("scope") != "read":
            raise RuntimeError(f"{endpoint.name} gave no token with the scope read")


def _tokens(endpoint: TokenEndpoint, folder: Path) -> tuple[float, float]:
    script = folder / "token.lua"
    script.touch(mode=0o600)
    script.write_text(_SCRIPT.format(body=endpoint.form, basic=endpoint.basic), encoding="ascii")
    return _load(endpoint, "-s", str(script), endpoint.url)


def _load(endpoint: TokenEndpoint, *words: str) -> tuple[float, float]:
    """Microseconds per request over all connections, and CPU microseconds of the server per request."""
    cpu = cpu_seconds(endpoint.pid)
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", *words]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = cpu_seconds(endpoint.pid) - cpu
    count, seconds = re.search(r"(\d+) requests in ([\d.]+)s", said), re.search(r"Requests/sec:\s+([\d.]+)", said)
    if count is None or seconds is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{endpoint.name} under load: {said}")
    return 1e6 / float(seconds[1]), spent / int(count[1]) * 1e6


def measure_tokens(ours: TokenEndpoint, peer: TokenEndpoint, folder: Path) -> list[Figure]:
    """Requests per second with 16 connections, and CPU of the server per request; the better of two runs each."""
    for endpoint in (ours, peer):
        _ask_once(endpoint)
    runs = [(_tokens(ours, folder), _tokens(peer, folder)) for _ in range(2)]
    alone_us, alone_cpu = _load(ours, ours.url.removesuffix("/token") + "/livez")
    (our_us, our_cpu), (peer_us, peer_cpu) = min(run[0] for run in runs), min(run[1] for run in runs)

    def rate(us: float) -> str:
        return f"{1e6 / us:,.0f}/s"

    return [
        Figure(
            name="POST /token, 16 connections",
            us=our_us,
            beside=peer.name,
            beside_us=peer_us,
            goal="<= 1.0",
            remark=f"{rate(our_us)} beside {rate(peer_us)}",
        ),
        Figure(name="POST /token, CPU of the server", us=our_cpu, beside=peer.name, beside_us=peer_cpu),
        Figure(
            name="GET /livez, CPU of the server",
            us=alone_cpu,
            beside=f"{peer.name}, POST /token",
            beside_us=peer_cpu,
            remark=f"what the HTTP server costs before there is anything to do, {rate(alone_us)}",
        ),
    ]
