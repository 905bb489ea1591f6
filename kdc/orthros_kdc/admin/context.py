"""What every admin use case works with: the store, the vault, a clock and the audit trail.

Knows no use case; each noun's module holds its own.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import trio
from attrs import frozen

from orthros_kdc.audit.admin_lines import head_of
from orthros_kdc.realm.vault import Vault
from orthros_kdc.reasons import NO_PRINCIPAL
from orthros_kdc.store.base import PrincipalRecord, Store, Transaction
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.instants import Timestamp, seconds_of

__all__ = [
    "EVENTS",
    "Admin",
    "AdminAudit",
    "Fact",
    "change_as_planned",
    "login_name",
    "require_principal",
    "require_seen",
]

Fact = str | int | None
P = TypeVar("P")
T = TypeVar("T")

_PLANS: Final = 5
# A plan that takes longer is not made under the write lock.
_LOCKED_S: Final = 1.0

EVENTS: Final = (
    "realm.initialised",
    "realm.changed",
    "realm.key-rotated",
    "realm.key-erased",
    "realm.rewrap-started",
    "realm.rewrapped",
    "realm.master-key-changed",
    "realm.restored",
    "kdc.clock-accepted",
    "principal.added",
    "principal.disabled",
    "principal.enabled",
    "principal.capped",
    "principal.deleted",
    "key.rotated",
    "key.activated",
    "key.retired",
    "key.exported",
    "key.tombstones-erased",
    "group.added",
    "group.deleted",
    "group.member-added",
    "group.member-removed",
    "rule.added",
    "rule.removed",
    "jwt.enabled",
    "jwt.disabled",
    "jwt.rotated",
    "jwt.exported",
    "jwt.claims-changed",
    "oauth.enabled",
    "oauth.disabled",
    "oauth.secret-added",
    "oauth.secret-retired",
    "oauth.audience-changed",
    "audit.archived",
    "audit.restarted",
)
"""Every event that a use case can record; each change records exactly one."""


class AdminAudit(Protocol):
    """Where events go."""

    def record_all(self, tx: Transaction, changes: Sequence[tuple[str, Mapping[str, Fact]]]) -> None:
        """Called inside the transaction of the changes, each an event and its facts, as its last step and before the
        commit.

        It may run in a worker thread. When it raises, the changes do not happen. Facts never hold key material;
        `actor` is always among them.
        """
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
        """Hands one event to the audit trail, as the last step of a change. Raises as `record_all`."""
        self.record_all(tx, [(event, facts)])

    def record_all(self, tx: Transaction, changes: Iterable[tuple[str, Mapping[str, Fact]]]) -> None:
        """As `record` for each of many events.

        Raises Misconfigured `master-key-wrong` when the master key has been changed since the vault was opened:
        nothing new is stored under a key that is about to be destroyed.
        """
        realm = tx.realm()
        self.vault.master.require_check(realm.realm, realm.key_check)
        self.audit.record_all(tx, [(event, {"actor": self.actor, **facts}) for event, facts in changes])


async def change_as_planned(store: Store, plan: Callable[[Transaction], P], make: Callable[[Transaction, P], T]) -> T:
    """What `make` returns, which makes within a change what `plan` has found. `plan` only looks.

    To read a large realm and to compare it with a file takes seconds, and meanwhile no admin could change anything.
    So it is planned without the write lock, and made if the realm is still the one that was planned for; else it is
    planned again, at last under the lock if that is quick. Raises Misconfigured `conflict` if it is not.
    """
    took_s = 0.0
    for _ in range(_PLANS):
        begun = trio.current_time()
        moment, planned = await store.read(lambda tx: (_moment(tx), plan(tx)))
        took_s = trio.current_time() - begun

        def made(tx: Transaction, moment: object = moment, planned: P = planned) -> tuple[T] | None:
            return (make(tx, planned),) if _moment(tx) == moment else None

        outcome = await store.change(made)
        if outcome is not None:
            return outcome[0]
    if took_s > _LOCKED_S:
        words = f"planning takes {took_s:.1f} s, and the realm changed each time meanwhile: repeat the command"
        raise Misconfigured("conflict", f"{words} when no other admin changes the realm")
    return await store.change(lambda tx: make(tx, plan(tx)))


def _moment(tx: Transaction) -> object:
    """Equal for two transactions between which neither the realm nor administration's record has changed."""
    return tx.head().seq, head_of(tx)


def login_name(environ: Mapping[str, str]) -> str:
    """Who is at the keyboard, for the audit trail; behind sudo, the person and not root.

    Read from the password database, since every user can set USER. `uid-NUMBER` for a uid without an entry there, as
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
        raise Misconfigured(NO_PRINCIPAL, f"principal {name}")
    return record


def require_seen(found: object, seen: object | None) -> None:
    """Raises Misconfigured `conflict` when what a person has agreed to, `seen`, is not what would be done now; None:
    nothing was asked."""
    if seen is not None and seen != found:
        raise Misconfigured("conflict", "the realm was changed meanwhile: repeat the command and read what it will do")
