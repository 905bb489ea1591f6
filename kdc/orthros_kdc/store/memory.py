"""The store in memory, for tests and development: every change works on a copy that replaces the original.

Knows no file, no thread and no SQL; what is lost at exit is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import trio
from attrs import define, evolve, field

from orthros_kdc.policy.model import RealmLimits, Rule, Selector
from orthros_kdc.store.base import (
    FIRST_UID,
    KEY_RETIRED,
    AuditAnchor,
    JwtKeyRecord,
    KeyRecord,
    PolicyRows,
    PrincipalRecord,
    RealmKeyRecord,
    RealmRecord,
    Transaction,
    check_principal_name,
)
from orthros_protocol import LocalMisuse, Misconfigured, check_name

__all__ = ["MemoryStore"]

T = TypeVar("T")


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@define
class _State:
    """Everything, as flat dicts of frozen rows: a shallow copy of each dict is a full copy."""

    seq: int = 0
    last_uid: int = FIRST_UID - 1
    last_rule_id: int = 0
    realm: RealmRecord | None = None
    principals: dict[int, PrincipalRecord] = field(factory=dict)
    uids: dict[str, int] = field(factory=dict)
    keys: dict[int, tuple[KeyRecord, ...]] = field(factory=dict)
    kids: dict[tuple[str, bytes], tuple[int, int]] = field(factory=dict)
    realm_keys: dict[tuple[str, str, int], RealmKeyRecord] = field(factory=dict)
    jwt_keys: dict[int, tuple[JwtKeyRecord, ...]] = field(factory=dict)
    rules: dict[int, Rule] = field(factory=dict)
    groups: dict[str, frozenset[str]] = field(factory=dict)
    anchors: dict[str, AuditAnchor] = field(factory=dict)

    def copy(self) -> _State:
        return evolve(
            self,
            principals=dict(self.principals),
            uids=dict(self.uids),
            keys=dict(self.keys),
            kids=dict(self.kids),
            realm_keys=dict(self.realm_keys),
            jwt_keys=dict(self.jwt_keys),
            rules=dict(self.rules),
            groups=dict(self.groups),
            anchors=dict(self.anchors),
        )


def _kids(record: KeyRecord) -> tuple[tuple[str, bytes], ...]:
    return (("as", record.kid_as), ("ticket", record.kid_ticket), ("sync", record.kid_sync))


def _missing(what: object) -> Misconfigured:
    return Misconfigured("not-found", str(what))


@define
class _Rows:
    """The Transaction over one `_State`, which it owns when `seq_after` is given and only reads otherwise."""

    _state: _State
    _seq_after: int | None

    def _changing(self) -> _State:
        if self._seq_after is None:
            raise LocalMisuse("wrong-state", "this transaction only reads, or has ended")
        self._state.seq = self._seq_after
        return self._state

    def _known(self, uid: int) -> PrincipalRecord:
        found = self._state.principals.get(uid)
        if found is None:
            raise _missing(f"principal with uid {uid}")
        return found

    def end(self) -> None:
        self._seq_after = None

    # The realm

    def realm(self) -> RealmRecord:
        if self._state.realm is None:
            raise Misconfigured("database-invalid", "it holds no realm yet")
        return self._state.realm

    def create_realm(self, record: RealmRecord) -> None:
        if self._state.realm is not None:
            raise Misconfigured("already-exists", f"realm {self._state.realm.realm}")
        self._changing().realm = record

    def set_realm(self, *, issuer: str, limits: RealmLimits) -> None:
        self._changing().realm = evolve(self.realm(), issuer=issuer, limits=limits)

    def set_key_check(self, key_check: bytes) -> None:
        self._changing().realm = evolve(self.realm(), key_check=key_check)

    def count_secrets_without(self, head: bytes) -> int:
        sealed = [key.sealed for key in self._state.realm_keys.values()]
        sealed += [key.sealed for held in self._state.jwt_keys.values() for key in held]
        sealed += [
            secret for held in self._state.keys.values() for key in held for secret in (key.sealed, key.sealed_as)
        ]
        return sum(1 for secret in sealed if secret and not secret.startswith(head))

    # Principals

    def principal_by_name(self, name: str) -> PrincipalRecord | None:
        uid = self._state.uids.get(name)
        return None if uid is None else self._state.principals[uid]

    def principal_by_uid(self, uid: int) -> PrincipalRecord | None:
        return self._state.principals.get(uid)

    def principals(self, *, after: str = "", most: int = 1000) -> tuple[PrincipalRecord, ...]:
        names = sorted(name for name in self._state.uids if name > after)[:most]
        return tuple(self._state.principals[self._state.uids[name]] for name in names)

    def add_principal(self, *, name: str, created: int) -> PrincipalRecord:
        if check_principal_name(name) in self._state.uids:
            raise Misconfigured("already-exists", f"principal {name}")
        state = self._changing()
        state.last_uid += 1
        record = PrincipalRecord(uid=state.last_uid, name=name, created=created)
        state.principals[record.uid] = record
        state.uids[name] = record.uid
        return record

    def set_principal(self, record: PrincipalRecord) -> None:
        before = self._known(record.uid)
        if (before.name, before.created) != (record.name, record.created):
            raise Misconfigured("conflict", f"the name of uid {record.uid} cannot change")
        self._changing().principals[record.uid] = record

    def delete_principal(self, uid: int) -> None:
        gone = self._known(uid)
        state = self._changing()
        del state.principals[uid]
        del state.uids[gone.name]
        for key in state.keys.pop(uid, ()):
            for kid in _kids(key):
                del state.kids[kid]
        state.jwt_keys.pop(uid, None)
        state.groups = {name: members - {gone.name} for name, members in state.groups.items()}
        self._forget_rules(Selector(gone.name))

    # Keys of principals

    def _key_by(self, role: str, kid: bytes) -> KeyRecord | None:
        uid, kvno = self._state.kids.get((role, kid), (0, 0))
        return next((key for key in self._state.keys.get(uid, ()) if key.kvno == kvno), None)

    def key_by_as_kid(self, kid: bytes) -> KeyRecord | None:
        return self._key_by("as", kid)

    def key_by_ticket_kid(self, kid: bytes) -> KeyRecord | None:
        return self._key_by("ticket", kid)

    def keys_of(self, uid: int) -> tuple[KeyRecord, ...]:
        return self._state.keys.get(uid, ())

    def add_key(self, record: KeyRecord) -> None:
        self._known(record.uid)
        state = self._changing()
        held = state.keys.get(record.uid, ())
        if any(key.kvno == record.kvno for key in held) or any(kid in state.kids for kid in _kids(record)):
            raise Misconfigured("conflict", f"key version {record.kvno} or one of its key ids is taken")
        state.keys[record.uid] = tuple(sorted((*held, record), key=lambda key: key.kvno))
        state.kids |= dict.fromkeys(_kids(record), (record.uid, record.kvno))

    def set_key(self, record: KeyRecord) -> None:
        held = self._state.keys.get(record.uid, ())
        before = next((key for key in held if key.kvno == record.kvno), None)
        if before is None:
            raise _missing(f"key version {record.kvno}")
        if _kids(before) != _kids(record) or before.created != record.created:
            raise Misconfigured("conflict", f"the ids of key version {record.kvno} cannot change")
        self._changing().keys[record.uid] = tuple(record if key is before else key for key in held)

    def delete_tombstones(self, *, retired_before: int) -> int:
        old = [
            key
            for held in self._state.keys.values()
            for key in held
            if key.state == KEY_RETIRED and key.retired is not None and key.retired < retired_before
            if key.kvno != held[-1].kvno or key.sealed_as
        ]
        for key in old:
            held = self._changing().keys[key.uid]
            if key.kvno == held[-1].kvno:
                kept = (*held[:-1], evolve(key, sealed=b"", sealed_as=b""))
            else:
                kept = tuple(other for other in held if other.kvno != key.kvno)
                for kid in _kids(key):
                    del self._state.kids[kid]
            self._state.keys[key.uid] = kept
        return len(old)

    # Keys of the realm, and JWT keys

    def realm_keys(self) -> tuple[RealmKeyRecord, ...]:
        return tuple(record for _, record in sorted(self._state.realm_keys.items(), key=lambda item: item[0]))

    def add_realm_key(self, record: RealmKeyRecord) -> None:
        at = (record.role, record.name, record.number)
        if at in self._state.realm_keys:
            raise Misconfigured("conflict", f"realm key {at} is taken")
        self._changing().realm_keys[at] = record

    def delete_realm_key(self, role: str, name: str, number: int) -> None:
        if (role, name, number) not in self._state.realm_keys:
            raise _missing(f"realm key {role} {name} {number}")
        del self._changing().realm_keys[role, name, number]

    def jwt_keys_of(self, uid: int) -> tuple[JwtKeyRecord, ...]:
        return self._state.jwt_keys.get(uid, ())

    def add_jwt_key(self, record: JwtKeyRecord) -> None:
        self._known(record.uid)
        held = self.jwt_keys_of(record.uid)
        if any(key.kid == record.kid for key in held):
            raise Misconfigured("conflict", f"JWT key id {record.kid} is taken")
        self._changing().jwt_keys[record.uid] = (record, *held)

    def delete_jwt_key(self, uid: int, kid: str) -> None:
        held = self.jwt_keys_of(uid)
        kept = tuple(key for key in held if key.kid != kid)
        if kept == held:
            raise _missing(f"JWT key {kid}")
        self._changing().jwt_keys[uid] = kept

    # Policy

    def policy(self) -> PolicyRows:
        return PolicyRows(seq=self._state.seq, rules=tuple(self._state.rules.values()), groups=dict(self._state.groups))

    def rules_between(self, client: Selector, target: Selector) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._state.rules.values() if (rule.client, rule.target) == (client, target))

    def add_rule(self, *, client: Selector, target: Selector, scopes: tuple[str, ...], max_ttl_s: int | None,
                 jwt: bool, delegable: bool) -> Rule:  # fmt: skip
        for selector in (client, target):
            if selector.name not in (self._state.groups if selector.is_group else self._state.uids):
                raise _missing(selector)
        rule = Rule(rule_id=self._state.last_rule_id + 1, client=client, target=target, scopes=scopes,
                    max_ttl_s=max_ttl_s, jwt=jwt, delegable=delegable)  # fmt: skip
        state = self._changing()
        state.last_rule_id = rule.rule_id
        state.rules[rule.rule_id] = rule
        return rule

    def delete_rule(self, rule_id: int) -> None:
        if rule_id not in self._state.rules:
            raise _missing(f"rule {rule_id}")
        del self._changing().rules[rule_id]

    def _forget_rules(self, gone: Selector) -> None:
        rules = self._state.rules
        self._state.rules = {at: rule for at, rule in rules.items() if gone not in (rule.client, rule.target)}

    def _members(self, group: str) -> frozenset[str]:
        if group not in self._state.groups:
            raise _missing(f"group {group}")
        return self._state.groups[group]

    def add_group(self, name: str) -> None:
        if check_name(name, "group") in self._state.groups:
            raise Misconfigured("already-exists", f"group {name}")
        self._changing().groups[name] = frozenset()

    def delete_group(self, name: str) -> None:
        self._members(name)
        del self._changing().groups[name]
        self._forget_rules(Selector(name, is_group=True))

    def add_member(self, group: str, principal: str) -> None:
        members = self._members(group)
        if principal not in self._state.uids:
            raise _missing(f"principal {principal}")
        if principal in members:
            raise Misconfigured("already-exists", f"{principal} is in {group}")
        self._changing().groups[group] = members | {principal}

    def remove_member(self, group: str, principal: str) -> None:
        members = self._members(group)
        if principal not in members:
            raise _missing(f"{principal} in {group}")
        self._changing().groups[group] = members - {principal}

    # Audit

    def anchor(self, writer: str) -> AuditAnchor | None:
        return self._state.anchors.get(writer)

    def anchors(self) -> tuple[AuditAnchor, ...]:
        return tuple(anchor for _, anchor in sorted(self._state.anchors.items()))

    def set_anchor(self, anchor: AuditAnchor) -> None:
        seq = self._state.seq
        state = self._changing()
        state.seq = seq
        state.anchors[anchor.writer] = anchor


class MemoryStore:
    """A Store that lives as long as this object."""

    def __init__(self, *, now_ms: Callable[[], int] = _wall_clock_ms) -> None:
        self._state = _State()
        self._now_ms = now_ms
        self._closed = False

    def peek_generation(self) -> int:
        self._require_open()
        return self._state.seq

    async def read(self, work: Callable[[Transaction], T]) -> T:
        await self._checkpoint()
        return work(_Rows(self._state, None))

    async def change(self, work: Callable[[Transaction], T]) -> T:
        await self._checkpoint()
        draft = self._state.copy()
        rows = _Rows(draft, max(draft.seq + 1, self._now_ms()))
        try:
            outcome = work(rows)
        finally:
            rows.end()
        self._state = draft
        return outcome

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.checkpoint()

    async def _checkpoint(self) -> None:
        # The only point at which cancellation can strike: afterwards the change happens whole.
        await trio.lowlevel.checkpoint()
        self._require_open()

    def _require_open(self) -> None:
        if self._closed:
            raise LocalMisuse("wrong-state", "the store is closed")
