"""One realm with everything that the mistakes are made with: its KDC, daemons, services and a proxy, all real programs.

Knows who has which key, and what stands in front of what; makes no mistake itself.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from orthros_tools.admin.__main__ import main as orthros_admin
from tests.chaos.hosts import is_open
from tests.mistakes.table import Seen
from tests.support import nginx
from tests.support.peers import locate
from tests.support.ports import free_port
from tests.support.processes import Estate, eventually, found_realm, open_estate
from workshop.stage import Outcome, Process

__all__ = ["House", "open_house", "shown"]

PROGRAMS: Final = Path(__file__).with_name("programs")
# Every caller meets it once with each instance, and answers it by itself.
_HANDSHAKE: Final = re.compile(r"reason='(?:epoch-required|clock-skew)' (?!.*detail=)")
_REFERENCE: Final = re.compile(r"\b[0-9a-f]{16}\b")
# The lines in which uvicorn says that it is there.
_UVICORN: Final = re.compile(r"^INFO: +(?:Started|Waiting|Application|Uvicorn|Shutting|Finished)")
_NGINX: Final = """\
proxy_http_version 1.1;
upstream orders {{ server 127.0.0.1:{orders}; }}
upstream again {{ server 127.0.0.1:{orders}; server 127.0.0.1:{orders}; }}
upstream turns {{ server 127.0.0.1:{orders}; server 127.0.0.1:{second}; }}
server {{
    listen 127.0.0.1:{prefix};
    location /shop/ {{ proxy_pass http://orders/; proxy_set_header Host $http_host; }}
}}
server {{
    listen 127.0.0.1:{host};
    location / {{ proxy_pass http://orders; }}
}}
server {{
    listen 127.0.0.1:{forwarded};
    location / {{ proxy_pass http://orders; proxy_set_header Host $http_host; }}
}}
server {{
    listen 127.0.0.1:{body};
    location / {{
        proxy_pass http://orders;
        proxy_set_header Host $http_host;
        sub_filter_types *;
        sub_filter '"order"' '"bestellung"';
    }}
}}
server {{
    listen 127.0.0.1:{strip};
    location / {{ proxy_pass http://orders; proxy_set_header Host $http_host; proxy_set_header Authorization ""; }}
}}
server {{
    listen 127.0.0.1:{normal};
    location / {{ proxy_pass http://orders/; proxy_set_header Host $http_host; }}
}}
server {{
    listen 127.0.0.1:{gzip};
    gzip on;
    gzip_types *;
    gzip_proxied any;
    gzip_min_length 1;
    location / {{ proxy_pass http://orders; proxy_set_header Host $http_host; }}
}}
server {{
    listen 127.0.0.1:{renamed};
    location / {{
        proxy_pass http://orders;
        proxy_set_header Host $http_host;
        proxy_set_header Idempotency-Key "";
        proxy_set_header X-Idempotency-Key $http_idempotency_key;
    }}
}}
server {{
    listen 127.0.0.1:{again};
    location / {{
        proxy_pass http://again;
        proxy_set_header Host $http_host;
        proxy_next_upstream error timeout http_500 non_idempotent;
    }}
}}
server {{
    listen 127.0.0.1:{gone};
    location / {{ proxy_pass http://127.0.0.1:1; proxy_set_header Host $http_host; }}
}}
server {{
    listen 127.0.0.1:{turns};
    location / {{ proxy_pass http://turns; proxy_set_header Host $http_host; }}
}}
"""
PROXIES: Final = (
    *("prefix", "host", "forwarded", "body", "strip", "turns"),
    *("normal", "gzip", "renamed", "again", "gone"),
)
_ADMIN: Final = """\
jwt enable orders
jwt export orders --out {keys}/orders.jwk
principal add reports --out {keys}/reports.key --verify-only-out {keys}/reports.v1.key
principal add archive --out {keys}/archive.key --verify-only-out {keys}/archive.v1.key
principal add temp --out {keys}/temp.key
policy allow shop reports --scope read
policy allow shop archive --scope read
"""
_ROTATE: Final = """\
key rotate reports --out {keys}/reports.both.key
key activate reports
key rotate archive --out {keys}/archive.both.key
key activate archive
key retire archive 1
key export archive --verify-only --out {keys}/archive.v2.key
principal delete temp --yes
principal add temp --out {keys}/temp.new.key
"""


@define(eq=False)
class House:
    """Everything running. `ports` are those of services and proxies by their names."""

    estate: Estate
    ports: dict[str, int] = field(factory=dict)
    proxy: Process | None = None

    @property
    def folder(self) -> Path:
        return self.estate.folder

    def key(self, name: str) -> Path:
        return self.estate.key_file(name)

    def origin(self, name: str, *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        if name in PROXIES and self.proxy is not None:
            assert self.proxy.is_running, f"nginx has ended: {self.proxy.errors()}"
        return f"{scheme}://{host}:{self.ports[name]}"

    def log_file(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log_of(self, name: str, after: int = 0) -> str:
        """What this service has logged after so many characters, without what is no news."""
        lines = self.log_file(name).read_text("utf-8")[after:].splitlines()
        return "\n".join(line for line in lines if not _HANDSHAKE.search(line) and not _UVICORN.search(line))

    @contextmanager
    def watching(self, name: str) -> Iterator[Callable[[], str]]:
        """What this service logs meanwhile, and until it has logged anything."""
        before = len(self.log_file(name).read_text("utf-8"))
        yield lambda: str(eventually(lambda: self.log_of(name, before), f"{name} logs something", 10.0))

    def orthros(self, *words: str, host: str = "shop", **environ: str) -> str:
        """What a terminal shows of this command, in front of the daemon of one host."""
        socket = {"ORTHROS_SOCKET": f"unix://{self.folder}/{host}.sock"}
        return shown(self.estate.stage.run("orthros", *words, environ=socket | environ))

    def call(
        self, service: str, *words: str, path: str = "/orders/7", target: str = "orders", log: str = "", **where: str
    ) -> Seen:
        """`orthros call` to a service or proxy, and what the service behind it logs."""
        log = log or service
        with self.watching(log) as logged:
            said = self.orthros("call", self.origin(service, **where) + path, "--target", target, *words)
            return Seen(said, logged())

    def asked_kdc(self, *words: str, host: str) -> Seen:
        """What a terminal shows of this command, and what the KDC's log says of the reference in it."""
        said = self.orthros(*words, host=host)
        reference = _REFERENCE.search(said)
        assert reference is not None, said
        explain = f"explain {reference[0]}"
        # After many refusals it is one of a sum, which is written within ten seconds.
        eventually(lambda: self.estate.admin(explain).code == 0, "an entry with the reference")
        return Seen(said, self.admin(explain))

    def admin(self, line: str) -> str:
        """What a terminal shows of `orthros-admin`."""
        return shown(self.estate.admin(line))


def shown(outcome: Outcome) -> str:
    return (outcome.out + outcome.err).strip()


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """Founds the realm in `folder`, starts everything, ends it at last."""
    with open_estate(found_realm(folder)) as estate:
        house = House(estate)
        _run(estate, _ADMIN)
        estate.start_kdc()
        estate.start_daemon()
        # A ticket under the version of the key that is about to be erased.
        estate.client().credentials("archive")
        _run(estate, _ROTATE)
        _start_services(house)
        if (nginx := locate("nginx")) is not None:
            _start_proxy(house, nginx)
        yield house


def _run(estate: Estate, script: str) -> None:
    for line in script.format(keys=estate.folder / "keys").splitlines():
        assert orthros_admin(["--config", str(estate.config), "--quiet", *shlex.split(line)]) == 0, line


def _start_services(house: House) -> None:
    for name in (*PROXIES, "orders", "second", "https", "ledgers-key", "old-key", "new-key", "bare", "stranger",
                 "reencoding", "slow-clock"):  # fmt: skip
        house.ports[name] = free_port()
    own = house.key("orders.verify.key")
    # What stands at `forwarded` was forgotten, and the proxy at `host` sends the service's own address.
    origins = [
        house.origin(name) for name in ("orders", "reencoding", *PROXIES) if name not in ("host", "forwarded", "gone")
    ]
    orders = {"key": str(own), "origins": origins}
    services: list[dict[str, Any]] = [
        {"name": "orders", "kind": "guarded", "jwk": str(house.key("orders.jwk")), **orders},
        {"name": "second", "kind": "guarded", **orders},
        {"name": "https", "kind": "guarded", "key": str(own), "origins": [house.origin("https", scheme="https")]},
        {"name": "slow-clock", "kind": "guarded", "key": str(own), "behind_s": 1800},
        {"name": "ledgers-key", "kind": "guarded", "key": str(house.key("ledger.verify.key"))},
        {"name": "old-key", "kind": "guarded", "key": str(house.key("reports.v1.key"))},
        {"name": "new-key", "kind": "guarded", "key": str(house.key("archive.v2.key"))},
        {"name": "bare", "kind": "bare"},
        {"name": "stranger", "kind": "stranger"},
        {"name": "reencoding", "kind": "reencoding", "upstream": house.ports["orders"]},
    ]
    for one in services:
        name = one["name"]
        one["port"], one["log"] = house.ports[name], str(house.log_file(name))
        one.setdefault("origins", [house.origin(name)])
        house.log_file(name).touch()
    listed = house.folder / "services.json"
    listed.write_text(json.dumps(services), "utf-8")
    environ = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    process = house.estate.stage.start(
        "services", sys.executable, str(PROGRAMS / "services.py"), str(listed), environ=environ
    )
    process.await_line("^started$")
    for one in services:
        _await_port(process, one["port"], one["name"])


def _start_proxy(house: House, program: str) -> None:
    ports = {name: port for name, port in house.ports.items() if name.isidentifier()}
    process = house.proxy = house.estate.stage.start(
        "nginx", program, *nginx.configured(house.folder, _NGINX.format(**ports))
    )
    for name in PROXIES:
        _await_port(process, house.ports[name], f"nginx, {name}")


def _await_port(process: Process, port: int, what: str) -> None:
    eventually(lambda: is_open(port) or not process.is_running, f"{what} accepts connections")
    assert process.is_running, process.errors()
