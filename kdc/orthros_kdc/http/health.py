"""The probes: alive, and ready with every component by name. Readiness of the store writes, as requests do.

Answers say nothing of principals and secrets; what exactly failed is in the log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog
import trio
from attrs import define, field

from orthros_kdc.audit import AuditLog
from orthros_kdc.clock_guard import ClockGuard
from orthros_kdc.http.app import failure
from orthros_kdc.oauth.http_boundary import HttpAnswer, HttpRequest
from orthros_kdc.realm.view import RealmView
from orthros_kdc.store.base import Store
from orthros_protocol.errors import OrthrosError, Refused, Unavailable
from orthros_protocol.primitives.instants import Timestamp

__all__ = ["Check", "Health", "checks_of"]

Check = Callable[[], Awaitable[None]]
"""Returns when the component works; raises when it does not."""

# Probes come from many places and need no credential: they must not become a flood of writes.
_FRESH_S: Final = 1.0
_PROBE: Final = "probe"
_PROBE_BYTES: Final = 16
_PROBE_S: Final = 2
_log = structlog.get_logger(__name__)


@define(eq=False)
class _Component:
    name: str
    check: Check
    lock: trio.Lock = field(factory=trio.Lock)
    checked_at: float | None = None
    problem: OrthrosError | None = None

    async def state(self) -> dict[str, str]:
        async with self.lock:
            if self.checked_at is None or trio.current_time() - self.checked_at >= _FRESH_S:
                before, self.problem = self.problem, await self._problem()
                if before is None and self.problem is not None:  # once for each trouble, not once a second
                    _log.error("not ready", component=self.name, code=self.problem.code, detail=self.problem.detail)
                self.checked_at = trio.current_time()
        if self.problem is None:
            return {"status": "ok"}
        # The detail of a refusal is for callers; that of a trouble may name paths of this machine.
        told = self.problem.detail if isinstance(self.problem, Refused) else ""
        return {"status": "failing", "code": self.problem.code, "reason": told or self.problem.cause}

    async def _problem(self) -> OrthrosError | None:
        try:
            await self.check()
        except OrthrosError as error:
            return error
        except Exception as error:  # noqa: BLE001  # whatever it is, the component does not work
            return Unavailable("kdc-fault", f"{type(error).__name__}: {error}")
        return None


class Health:
    """Answers `/livez`, `/readyz` and `/readyz/{component}`."""

    def __init__(self, checks: Mapping[str, Check], clock: Callable[[], Timestamp]) -> None:
        self._components = {name: _Component(name, check) for name, check in checks.items()}
        self._clock = clock

    @property
    def components(self) -> tuple[str, ...]:
        """The names behind `/readyz/`."""
        return tuple(self._components)

    async def live(self, _ask: HttpRequest) -> HttpAnswer:
        """200 as long as this process answers at all."""
        return self._answer({"status": "ok"})

    async def ready(self, _ask: HttpRequest) -> HttpAnswer:
        """200 when every component works, else 503; the body names each."""
        states = {name: await component.state() for name, component in self._components.items()}
        whole = "ok" if all(state["status"] == "ok" for state in states.values()) else "failing"
        return self._answer({"status": whole, "components": states})

    async def component(self, ask: HttpRequest) -> HttpAnswer:
        """The same for the component that the path ends with; 404 for one that there is not."""
        component = self._components.get(ask.path.rpartition("/")[2])
        if component is None:
            return failure(404, f"the components are {', '.join(self._components)}")
        return self._answer(dict(await component.state()))

    def _answer(self, found: dict[str, object]) -> HttpAnswer:
        now = self._clock()
        spelled = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = {**found, "server_time": spelled, "server_time_ms": now}
        return HttpAnswer(status=200 if found["status"] == "ok" else 503, body=json.dumps(body).encode("ascii"))


def checks_of(
    store: Store,
    audit: AuditLog,
    view: RealmView,
    clock: Callable[[], Timestamp],
    guard: ClockGuard | None = None,
) -> dict[str, Check]:
    """What must work before a KDC can issue anything: the store takes a write, the audit log an event, and the
    realm's keys open; its clock has not jumped, if `guard` watches it."""

    async def store_writes() -> None:
        now = (clock() if guard is None else guard.for_forgetting()) // 1000
        # Nothing that anybody's view of the realm depends on, and gone again after a moment.
        digest = os.urandom(_PROBE_BYTES)
        await store.change(lambda tx: tx.remember(_PROBE, 0, digest, until=now + _PROBE_S, now=now))

    async def audit_takes() -> None:
        audit.check()

    async def keys_open() -> None:
        view.loader.check()
        await view.settled(lambda moment: moment.facts)

    async def clock_counts() -> None:
        if guard is not None:
            guard.require_issuing()

    return {"store": store_writes, "audit": audit_takes, "keys": keys_open, "clock": clock_counts}
