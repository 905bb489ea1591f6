"""All that decides for everybody, of one moment: the realm's record, its own keys, policy, and which login keys exist.

Read as a whole once; afterwards the change log says what to read again, and a new snapshot shares the rest with the
one before. Immutable: a request that began under one snapshot goes on under it whatever changes meanwhile. Knows no
task and no clock; `loader.py` decides when to read.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

from attrs import evolve, frozen

from orthros_kdc.audit.admin_lines import all_unnamed, head_of, lines_backwards, lines_of, unnamed
from orthros_kdc.audit.chain import Head
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.realm.known_kids import KnownKids
from orthros_kdc.realm.vault import ROLE_KDCMAC, ROLE_TGT, ROLE_TICKET, Vault
from orthros_kdc.reasons import DATABASE_INVALID
from orthros_kdc.store.base import RealmRecord, Transaction
from orthros_kdc.store.change_log import (
    CHANGED_LOGIN_KEY,
    CHANGED_MEMBER,
    CHANGED_PRINCIPAL,
    CHANGED_REALM,
    CHANGED_RULE,
    CHANGES_KEPT,
    ChangeEntry,
)
from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.role_keys import KdcMacKey, TgtKey, TicketKey

__all__ = ["RealmFacts", "RealmKeys", "RealmStep", "Snapshot", "Unrecorded", "follow", "load"]

V = TypeVar("V")

_ALL: Final = None
_MOST_SHOWN: Final = 8


@frozen(eq=False, kw_only=True)
class RealmKeys:
    """The realm's own keys; the newest of each seals, all of them open. `seq` is the change after which they were
    read: keys of one `seq` are the same."""

    seq: int
    tgt_keys: Mapping[bytes, TgtKey]
    mac_keys: Mapping[int, KdcMacKey]
    services: Mapping[str, TicketKey]
    newest_tgt: TgtKey
    newest_mac: KdcMacKey


@frozen(eq=False, kw_only=True)
class RealmFacts:
    """The realm record, its keys and its policy, all of one moment, and the newest entry of administration's record
    then: its number and hash. `not_before` is the Unix second before which no login counts."""

    record: RealmRecord
    not_before: int
    keys: RealmKeys
    policy: PolicySnapshot
    changed_by: Head


@frozen(eq=False, kw_only=True)
class Snapshot:
    """The realm after change `seq`."""

    seq: int
    facts: RealmFacts
    kids: KnownKids


@frozen(kw_only=True)
class Unrecorded:
    """The changes `first` to `last`, which no entry of administration's record names: somebody has written them past
    `orthros-admin`. `what` are entries of the change log, as `rule 17`; a few of them, where there are many."""

    first: int
    last: int
    what: tuple[str, ...]


@frozen(eq=False, kw_only=True)
class RealmStep:
    """From one snapshot to a later one. `principals` are the uids and names of those that may have changed; None is
    for all of them. `unrecorded` are changes among the new ones, or, at a start, among those that are still logged."""

    snapshot: Snapshot
    principals: Sequence[tuple[int, str]] | None
    unrecorded: Sequence[Unrecorded] = ()


def load(tx: Transaction, vault: Vault, before: Snapshot | None = None) -> RealmStep:
    """Everything; `before` is the snapshot in use, if there is one. Raises Misconfigured when the realm's keys do not
    open, or are missing."""
    was_enabled = gc.isenabled()
    gc.disable()  # it would pass over all that is being made again and again, and find nothing
    try:
        return _load(tx, vault, before)
    finally:
        if was_enabled:
            gc.enable()


def _load(tx: Transaction, vault: Vault, before: Snapshot | None) -> RealmStep:
    head = tx.head()
    facts = RealmFacts(
        record=tx.realm(),
        not_before=tx.not_before(),
        keys=_realm_keys(tx, vault),
        policy=PolicySnapshot.read(tx),
        changed_by=head_of(tx),
    )
    snapshot = Snapshot(seq=head.seq, facts=facts, kids=KnownKids.of(tx.login_kids()))
    unrecorded = _unrecorded_at_start(tx) if before is None else _unrecorded(tx, before)
    return RealmStep(snapshot=snapshot, principals=_ALL, unrecorded=unrecorded)


def follow(tx: Transaction, vault: Vault, before: Snapshot) -> RealmStep:
    """What has changed since `before`: one row for each entry of the change log. Everything, when entries are missing
    or say nothing, or when the store is behind `before`, as one that was restored is.

    Raises as `load`.
    """
    head, entries = tx.head(), tx.changes(after=before.seq)
    if head.seq < before.seq or [entry.seq for entry in entries] != list(range(before.seq + 1, head.seq + 1)):
        return load(tx, vault, before)
    try:
        return _followed(tx, vault, before, entries)
    except ValueError:  # an entry that nobody can read; what it stands for has changed all the same
        return load(tx, vault, before)


def _followed(tx: Transaction, vault: Vault, before: Snapshot, entries: Sequence[ChangeEntry]) -> RealmStep:
    head, facts = tx.head(), before.facts
    if _keys_of(entries, CHANGED_REALM):
        facts = evolve(facts, record=tx.realm(), not_before=tx.not_before(), keys=_realm_keys(tx, vault))
    rules = {int(key): tx.rule_row(int(key)) for key in _keys_of(entries, CHANGED_RULE)}
    members: dict[tuple[str, str], bool] = {}
    for key in _keys_of(entries, CHANGED_MEMBER):
        group, _, name = key.partition(" ")
        members[group, name] = tx.is_member(group, name)
    kids: dict[bytes, bool] = {}
    for key in _keys_of(entries, CHANGED_LOGIN_KEY):
        kid = bytes.fromhex(key)
        kids[kid] = tx.has_login_kid(kid)
    principals: list[tuple[int, str]] = []
    for key in _keys_of(entries, CHANGED_PRINCIPAL):
        uid, _, name = key.partition(" ")
        principals.append((int(uid), name))
    policy = facts.policy.changed(head.feed_seq, rules, members)
    facts = evolve(facts, policy=policy, changed_by=head_of(tx))
    snapshot = Snapshot(seq=head.seq, facts=facts, kids=before.kids.changed(kids))
    return RealmStep(snapshot=snapshot, principals=principals, unrecorded=_unrecorded(tx, before))


def _unrecorded(tx: Transaction, before: Snapshot) -> tuple[Unrecorded, ...]:
    """Of the changes since `before`, those that no entry since then names."""
    lines = [line.line for line in lines_of(tx, after=before.facts.changed_by.seq)]
    return _shown(tx, unnamed(range(before.seq + 1, tx.head().seq + 1), lines[::-1]))


def _unrecorded_at_start(tx: Transaction) -> tuple[Unrecorded, ...]:
    """Of the changes that are still logged, those that no entry names."""
    newest = tx.head().seq
    lines = [line.line for line in islice(lines_backwards(tx), CHANGES_KEPT)]
    return _shown(tx, all_unnamed(newest, lines, first=newest - CHANGES_KEPT + 1))


def _shown(tx: Transaction, gaps: Sequence[range]) -> tuple[Unrecorded, ...]:
    found = []
    for gap in gaps:
        entries = [entry for entry in tx.changes(after=gap.start - 1) if entry.seq in gap][:_MOST_SHOWN]
        what = tuple(f"{entry.kind} {entry.key}".rstrip() for entry in entries)
        found.append(Unrecorded(first=gap.start, last=gap.stop - 1, what=what))
    return tuple(found)


def _keys_of(entries: Sequence[ChangeEntry], kind: str) -> list[str]:
    """What the entries of this kind name, each once."""
    return list(dict.fromkeys(entry.key for entry in entries if entry.kind == kind))


def _realm_keys(tx: Transaction, vault: Vault) -> RealmKeys:
    records = tx.realm_keys()
    tgt = {row.number: vault.tgt_key(row) for row in records if row.role == ROLE_TGT}
    mac = {row.number: vault.kdcmac_key(row) for row in records if row.role == ROLE_KDCMAC}
    services: dict[str, TicketKey] = {}
    for row in sorted(records, key=lambda record: record.number):
        if row.role == ROLE_TICKET:
            services[row.name] = vault.service_key(row)
    return RealmKeys(
        seq=tx.head().seq,
        tgt_keys={key.kid: key for key in tgt.values()},
        mac_keys=mac,
        services=services,
        newest_tgt=_newest(tgt, "ticket-granting"),
        newest_mac=_newest(mac, "marking"),
    )


def _newest(keys: Mapping[int, V], what: str) -> V:
    if not keys:
        raise Misconfigured(DATABASE_INVALID, f"the realm has no {what} key")
    return keys[max(keys)]
