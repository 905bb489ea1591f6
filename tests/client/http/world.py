"""One service and its callers on one clock, with the guard in front of it."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from orthros_client.verifier import Verifier
from orthros_protocol.testing import InMemoryRealm
from tests.support.http_caller import HttpCaller

ORIGIN = "http://orders.test"


class Lines:
    """A log that can be read back: (event, facts)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def debug(self, event: str, **facts: object) -> None:
        """Nobody reads these."""

    def warning(self, event: str, **facts: object) -> None:
        self.lines.append((event, facts))

    def error(self, event: str, **facts: object) -> None:
        self.lines.append((event, facts))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


@define(eq=False)
class House:
    """`billing` calls `orders`."""

    realm: InMemoryRealm = field(factory=InMemoryRealm)
    log: Lines = field(factory=Lines)

    def __attrs_post_init__(self) -> None:
        for name in ("billing", "orders", "payroll"):
            self.realm.add(name)

    def verifier(self, service: str = "orders", **options: Any) -> Verifier:
        clock = self.realm.clock
        return Verifier(self.realm.keytab(service).verify_only(), clock=clock.now, monotonic_ms=clock.now, **options)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Options of a guard or middleware."""
        verifier = changes.pop("verifier", None) or self.verifier()
        return {"verifier": verifier, "origins": [ORIGIN], "log": self.log} | changes

    def caller(self, *caveats: bytes, scopes: tuple[str, ...] = ("read",), **changes: Any) -> HttpCaller:
        options = {name: changes.pop(name) for name in ("origin", "epoch") if name in changes}
        issued = self.realm.issue("billing", "orders", scopes=scopes, **changes)
        return HttpCaller.of(issued, *caveats, clock=self.realm.clock.now, entropy=self.realm.entropy, **options)
