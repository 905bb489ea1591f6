"""What the second half adds to the realm: rules from a reviewed file, three more services, daemons for those that call.

Knows what runs and where; tells nothing and calls nobody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx
from attrs import frozen

from workshop.stage import Outcome, StageError
from workshop.tour.calls import Answered, Caller, plain_http
from workshop.tour.realm import Realm

__all__ = ["ADDED", "House"]

ADDED: Final = """\

[principals.gateway]
[principals.approvals]

[[rules]]
client = "gateway"
target = "orders"
scopes = ["read", "write"]
subjects = ["user/*"]     # gateway knows its users: its word is enough
delegable = true          # orders may act for them in turn

[[rules]]
client = "orders"
target = "ledger"
scopes = ["read", "write"]
behalf = ["user/*"]       # only for those for whom orders has been called, which it has to prove
deny_via = ["shop"]
delegable = true

[[rules]]
client = "shop"
target = "orders"
scopes = ["read"]
subjects = ["user/*"]
delegable = true

[[rules]]
client = "ledger"
target = "orders"
scopes = ["read"]
behalf = ["user/*"]

[[rules]]
client = "orders"
target = "ledger"
scopes = ["refund"]
discharges = ["approvals=four-eyes"]

[[rules]]
client = "orders"
target = "approvals"

[[rules]]
client = "gateway"
target = "approvals"
scopes = ["approve"]
subjects = ["user/*"]
"""
_APPLY: Final = """\
orthros-admin realm apply realm.toml --yes
orthros-admin key export gateway --out gateway.key
orthros-admin key export approvals --verify-only --out approvals.verify.key
orthros-admin key export ledger --verify-only --out ledger.verify.key
orthros-admin realm diff realm.toml
"""
CALLERS: Final = ("gateway", "orders", "ledger")
PROGRAMS: Final = ("gateway", "ledger", "approvals")
_READY_S: Final = 15.0


@frozen(eq=False)
class House:
    """The three services that call each other, and the one that attests."""

    realm: Realm

    @property
    def file(self) -> Path:
        """The realm as a file."""
        return self.realm.key_file("realm.toml")

    def propose(self) -> Outcome:
        """Adds to the realm's file what the house needs; returns how it differs from the realm."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(ADDED)
        return self.realm.admin("realm", "diff", str(self.file))

    def apply(self) -> Outcome:
        """The file becomes the realm, in one transaction; key files are handed out."""
        return self.realm.administer(_APPLY)

    def start(self) -> None:
        """Every service with the key file that it needs, and a daemon for each that calls others."""
        origins = {name.upper(): self.realm.origin(name) for name in ("orders", "ledger", "approvals")}
        for name in PROGRAMS:
            settings = {
                "ORTHROS_KEY_FILE": str(self.realm.key_file(f"{name}.verify.key")),
                "ORTHROS_SOCKET": f"{self.realm.folder}/{name}.sock",
                "ORIGIN": self.realm.origin(name),
            }
            program = f"workshop.tour.behalf.{name}:app"
            self.realm.serve(name, program, settings=settings | origins)
        for name in CALLERS:
            self.realm.start_daemon(name)

    def await_all(self) -> None:
        """Until everything answers."""
        for name in CALLERS:
            self.realm.await_daemon(name)
        for name in PROGRAMS:  # their doors are open already: whoever knocks waits for them
            answer = httpx.get(f"{self.realm.origin(name)}/", trust_env=False, timeout=_READY_S)
            if answer.status_code not in (401, 404):
                raise StageError(f"{name} answers a stranger with {answer.status_code}")

    def browse(self, method: str, path: str, session: str) -> Answered:
        """What a user's browser does: plain HTTP to the gateway, with the cookie of a session."""
        with plain_http() as http:
            cookie = {"Cookie": f"session={session}"}
            response = http.request(method, f"{self.realm.origin('gateway')}{path}", headers=cookie)
        return Answered(response.status_code, response.json(), response.elapsed.total_seconds() * 1000)

    def process(self, name: str, target: str, *, behalf: str | None = None, **settings: Any) -> Caller:
        """Another process on the host of `name`, which calls `target`. The caller closes it."""
        return Caller({self.realm.origin(target): target}, self.realm.client(name), behalf, settings)
