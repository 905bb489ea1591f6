"""What every admin use case works with: the store, the vault, a clock and the audit trail.

Knows no use case; each noun's module holds its own.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from attrs import frozen

from orthros_kdc.store.base import PrincipalRecord, Store, Transaction
from orthros_kdc.vault import Vault
from orthros_protocol import Misconfigured, Timestamp, seconds_of

__all__ = ["EVENTS", "Admin", "AdminAudit", "BatchAudit", "Fact", "login_name", "require_principal", "require_seen"]

Fact = str | int | None

EVENTS: Final = (
    "realm.initialised", "realm.changed", "realm.key-rotated", "realm.key-erased",
    "realm.rewrap-started", "realm.master-key-changed", "realm.restored", "kdc.clock-accepted",
    "principal.added", "principal.disabled", "principal.enabled", "principal.capped", "principal.deleted",
    "key.rotated", "key.activated", "key.retired", "key.exported", "key.tombstones-erased",
    "group.added", "group.deleted", "group.member-added", "group.member-removed",
    "rule.added", "rule.removed",
    "jwt.enabled", "jwt.disabled", "jwt.rotated", "jwt.exported", "jwt.claims-changed",
    "oauth.enabled", "oauth.disabled", "oauth.secret-added", "oauth.secret-retired", "oauth.audience-changed",
    "audit.archived", "audit.restarted",
)  # fmt: skip
"""Every event that a use case can record; each change records exactly one."""


class AdminAudit(Protocol):
    """Where events go."""

    def record(self, tx: Transaction, event: str, **facts: Fact) -> None:
        """Called inside the transaction of the change, as its last step and before the commit.

        It may run in a worker thread. When it raises, the change does not happen. Facts never hold key
        material; `actor` is always among them.
        """
        ...


@runtime_checkable
class BatchAudit(Protocol):
    """An AdminAudit that takes many events faster than one by one: a change of thousands of rows holds up others."""

    def record_all(self, tx: Transaction, changes: Sequence[tuple[str, Mapping[str, Fact]]]) -> None:
        """As `AdminAudit.record` for each of them in turn."""
        ...


@frozen(kw_only=True)
class Admin:
    """One administrator at work. `actor` is who the audit trail will name."""

    store: Store
    vault: Vault
    audit: AdminAudit
    now_ms: Callable[[], Timestamp]
    actor: str

    def now(self) -> int:
        """The Unix second that new rows carry."""
        return seconds_of(self.now_ms())

    def record(self, tx: Transaction, event: str, **facts: Fact) -> None:
        """Hands one event to the audit trail, as the last step of a change.

        Raises Misconfigured `master-key-wrong` when the master key has been changed since the vault was opened:
        nothing new is stored under a key that is about to be destroyed.
        """
        realm = tx.realm()
        self.vault.master.require_check(realm.realm, realm.key_check)
        self.audit.record(tx, event, actor=self.actor, **facts)


def login_name(environ: Mapping[str, str]) -> str:
    """Who is at the keyboard, for the audit trail; behind sudo, the person and not root.

    Read from the password database, since anybody can set USER. `uid-NUMBER` for a uid without an entry there, as
    containers have it.
    """
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    person = environ.get("SUDO_USER", "") if uid == 0 else ""
    return person or name


def require_principal(tx: Transaction, name: str) -> PrincipalRecord:
    """The principal called `name`, or Misconfigured `not-found`."""
    record = tx.principal_by_name(name)
    if record is None:
        raise Misconfigured("not-found", f"principal {name}")
    return record


def require_seen(found: object, seen: object | None) -> None:
    """Raises Misconfigured `conflict` when what somebody has agreed to, `seen`, is not what would be done now; None:
    nothing was asked."""
    if seen is not None and seen != found:
        raise Misconfigured("conflict", "the realm was changed meanwhile: repeat the command and read what it will do")
