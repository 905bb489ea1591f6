"""A realm whose KDC serves OAuth over TLS, for software that knows nothing of Orthros.

Founded and filled with the programs that an operator uses; its issuer is the address that it is reached at, so that
whoever compares them finds them equal.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final

import httpx
import trustme
from attrs import define, field, frozen

from orthros_tools.admin.__main__ import main as orthros_admin
from tests.support.http_port import Got, request
from tests.support.processes import REALM, Estate
from workshop.stage import Stage

__all__ = ["FORM", "ROOT", "House", "open_house", "open_second_door", "seen"]

ROOT: Final = Path(__file__).parents[2]
FORM: Final = ("content-type", "application/x-www-form-urlencoded")
_PATIENCE_S: Final = 15.0
_CLIENTS: Final = ("shop", "shop/web", "renewer", "spy", "barred", "faraway", "relay", "orders", "archive")
# spy may ask nobody; the rules say more about shop than it is asked for: what is granted is what the replies say.
_SCRIPT: Final = """\
principal add shop --out {keys}/shop.key
principal add shop/web --out {keys}/shop.web.key
principal add renewer --out {keys}/renewer.key
principal add spy --out {keys}/spy.key
principal add barred --out {keys}/barred.key
principal add faraway --out {keys}/faraway.key
principal add plain --out {keys}/plain.key
principal add relay --out {keys}/relay.key
principal add orders --out {keys}/orders.key --verify-only-out {keys}/orders.verify.key
principal add ledger --out {keys}/ledger.key
principal add archive --out {keys}/archive.key
policy allow shop orders --scope read --scope write --jwt
policy allow shop ledger --scope post --jwt
policy allow shop archive --scope read --jwt
policy allow shop relay --scope call --jwt --delegable
policy allow relay orders --scope read --jwt --subject shop
policy allow shop/web orders --scope read --max-ttl 2m --jwt
policy allow renewer orders --scope read --scope write --jwt
policy allow renewer ledger --scope post --jwt
policy allow barred orders --scope read --jwt
policy allow faraway orders --scope read --jwt
principal limit faraway --from 192.0.2.0/24
jwt enable orders
jwt enable ledger --alg HS512 --audience https://ledger.example
jwt enable relay
jwt enable archive --alg opaque
jwt export orders --out {keys}/orders.jwk
jwt export ledger --out {keys}/ledger.jwk
"""
_HTTP: Final = """
[http]
tcp = "127.0.0.1:{port}"
tls_cert = "{folder}/tls.pem"
tls_key = "{folder}/tls.key"
"""


@define(eq=False)
class House:
    """A running realm. `ca` is the file of the authority that signed its certificate."""

    estate: Estate
    port: int
    ca: Path
    _http: httpx.Client | None = field(default=None, init=False, repr=False)

    @property
    def folder(self) -> Path:
        return self.estate.folder

    @property
    def keys(self) -> Path:
        """Where the key files, JWKs and client secrets lie, named after their principals."""
        return self.folder / "keys"

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.port}"

    def secret(self, client: str) -> str:
        return self.secret_file(client).read_text("ascii").strip()

    def secret_file(self, client: str) -> Path:
        return self.keys / f"{client.replace('/', '.')}.oauth-secret"

    def jwk(self, target: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.keys / f"{target}.jwk").read_text("utf-8"))
        return found

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.issuer, verify=self.trust(), trust_env=False, timeout=_PATIENCE_S)

    def post(self, path: str, client: str, fields: Mapping[str, Any]) -> httpx.Response:
        """A form, with the client's secret by HTTP Basic, on a connection that is kept."""
        if self._http is None:
            self._http = self.http()
        return self._http.post(path, auth=(client, self.secret(client)), data=dict(fields))

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def token(self, client: str = "shop", target: str = "orders", **fields: Any) -> str:
        answer = self.post("/token", client, {"grant_type": "client_credentials", "audience": target, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def ask(self, data: bytes, *, hang_up: bool = False) -> Got | None:
        """What comes back for exactly these bytes; with `hang_up`, nothing more is sent after them."""
        with (
            socket.create_connection(("127.0.0.1", self.port), _PATIENCE_S) as raw,
            self.trust().wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=True) as wire,
        ):
            # As every HTTP library does; TLS 1.3 ends with a small packet that nobody is in a hurry to acknowledge.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.sendall(data)
            if hang_up:
                # TLS has no half-closed connections, TCP has.
                socket.socket.shutdown(wire, socket.SHUT_WR)
            with closing(HTTPResponse(wire, method="POST")) as response:
                try:
                    response.begin()
                except ConnectionError:
                    return None
                headers = {name.lower(): value for name, value in response.getheaders()}
                return Got(response.status, headers, response.read())

    def ask_form(self, path: str, body: bytes, *headers: tuple[str, str]) -> Got:
        got = self.ask(request("POST", path, *(headers if _has_type(headers) else (FORM, *headers)), body=body))
        assert got is not None
        return got

    def environ(self) -> dict[str, str]:
        """For programs that shall trust this realm's certificate and reach it without a detour."""
        trusted = {
            name: str(self.ca)
            for name in ("NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        }
        ours = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return ours | trusted

    def run(self, *words: str | Path, given: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A program of somebody else's, to its end."""
        return subprocess.run(
            [str(word) for word in words], input=given, cwd=cwd or self.keys, env=self.environ(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@frozen
class _Reserved:
    """A port that nobody else is given until `holder` is closed, although it does not listen."""

    port: int
    holder: socket.socket


def _reserve() -> _Reserved:
    holder = socket.socket()
    # The KDC sets this as well, so it may listen at an address that is bound here.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return _Reserved(holder.getsockname()[1], holder)


@contextmanager
def open_house() -> Iterator[House]:
    """Founds a realm, fills it, starts its KDC; everything is gone afterwards."""
    with ExitStack() as stack:
        stage = stack.enter_context(Stage("orthros-interop-"))
        reserved = _reserve()
        stack.callback(reserved.holder.close)
        estate = stack.enter_context(closing(Estate(stage)))
        house = stack.enter_context(closing(House(estate, reserved.port, stage.folder / "ca.pem")))
        _found(house, stage)
        house.estate.start_kdc()
        yield house


@contextmanager
def open_second_door(house: House, **settings: str) -> Iterator[House]:
    """A second KDC process of the same realm, with other settings of its HTTP port."""
    reserved = _reserve()
    with closing(reserved.holder):
        door = House(house.estate, reserved.port, house.ca)
        environ = {
            "ORTHROS_LISTEN_TCP": "127.0.0.1:0",
            "ORTHROS_AUDIT_WRITER": "kdc-2",
            "ORTHROS_HTTP_TCP": f"127.0.0.1:{reserved.port}",
            "ORTHROS_HTTP_PUBLIC_URL": door.issuer,
            **settings,
        }
        words = ("orthros-kdc", "serve", "--config", str(house.estate.config))
        process = house.estate.stage.start("second-kdc", *words, environ=environ)
        process.await_line("^orthros-kdc ready: ")
        yield door
        process.stop()


def _found(house: House, stage: Stage) -> None:
    data = house.folder / "kdc"
    stage.run(
        "orthros-kdc", "init", "--realm", REALM, "--data", str(data), "--issuer", house.issuer,
        "--listen", "127.0.0.1:0",
    ).require()  # fmt: skip
    house.keys.mkdir(mode=0o700)
    secrets = (f"oauth enable {name} --out {house.secret_file(name)}" for name in _CLIENTS)
    last = ("oauth audience renewer orders", "principal disable barred")
    for line in (*_SCRIPT.format(keys=house.keys).splitlines(), *secrets, *last):
        assert orthros_admin(["--config", str(house.estate.config), "--quiet", *shlex.split(line)]) == 0, line
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(house.ca))
    made = authority.issue_cert("localhost", "127.0.0.1")
    (data / "tls.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    key = data / "tls.key"
    key.touch(0o600)
    key.write_bytes(made.private_key_pem.bytes())
    with house.estate.config.open("a", encoding="utf-8") as config:
        config.write(_HTTP.format(port=house.port, folder=data))


def _has_type(headers: tuple[tuple[str, str], ...]) -> bool:
    return any(name == "content-type" for name, _ in headers)


def seen(got: Got) -> tuple[int, dict[str, str], bytes]:
    """Everything that a caller sees but what tells one answer of the same kind from another: date and reference."""
    headers = {name: value for name, value in got.headers.items() if name != "date"}
    ref = got.json.get("ref", "")
    return got.status, headers, got.body.replace(str(ref).encode("ascii"), b"REF")
