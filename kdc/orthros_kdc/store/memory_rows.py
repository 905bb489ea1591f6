"""The Transaction over plain dicts, and the state that it reads and changes.

Knows no SQL, no clock and no transactions' ends; `memory.py` copies the state and replaces it.
"""

from __future__ import annotations

from attrs import define, evolve, field

from orthros_kdc.policy.model import RealmLimits, Rule, Selector
from orthros_kdc.store.base import (
    FIRST_UID,
    KEY_RETIRED,
    MOST_REMEMBERED,
    REMEMBER_MARGIN_S,
    AuditAnchor,
    JwtKeyRecord,
    KeyRecord,
    OAuthSecretRecord,
    PolicyRows,
    PrincipalRecord,
    RealmKeyRecord,
    RealmRecord,
    check_principal_name,
)
from orthros_protocol import LocalMisuse, Misconfigured, Refused, check_name

__all__ = ["MemoryRows", "MemoryState"]


@define
class MemoryState:
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
    oauth_secrets: dict[int, tuple[OAuthSecretRecord, ...]] = field(factory=dict)
    remembered: dict[tuple[str, bytes], tuple[int, int]] = field(factory=dict)
    rules: dict[int, Rule] = field(factory=dict)
    groups: dict[str, frozenset[str]] = field(factory=dict)
    anchors: dict[str, AuditAnchor] = field(factory=dict)

    def copy(self) -> MemoryState:
        return evolve(
            self,
            principals=dict(self.principals),
            uids=dict(self.uids),
            keys=dict(self.keys),
            kids=dict(self.kids),
            realm_keys=dict(self.realm_keys),
            jwt_keys=dict(self.jwt_keys),
            oauth_secrets=dict(self.oauth_secrets),
            remembered=dict(self.remembered),
            rules=dict(self.rules),
            groups=dict(self.groups),
            anchors=dict(self.anchors),
        )


def _kids(record: KeyRecord) -> tuple[tuple[str, bytes], ...]:
    return (("as", record.kid_as), ("ticket", record.kid_ticket), ("sync", record.kid_sync))


def _missing(what: object) -> Misconfigured:
    return Misconfigured("not-found", str(what))


@define
class MemoryRows:
    """The Transaction over one `MemoryState`, which it owns when `seq_after` is given and only reads otherwise."""

    _state: MemoryState
    _seq_after: int | None

    def _changing(self) -> MemoryState:
        if self._seq_after is None:
            raise LocalMisuse("wrong-state", "this transaction only reads, or has ended")
        self._state.seq = self._seq_after
        return self._state

    def _changing_uncounted(self) -> MemoryState:
        """For what nobody's view of the realm depends on: the sequence stays as it is."""
        seq = self._state.seq
        state = self._changing()
        state.seq = seq
        return state

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
        sealed += [secret.sealed for held in self._state.oauth_secrets.values() for secret in held]
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

    def principal_by_jwt_kid(self, kid: str) -> PrincipalRecord | None:
        uids = [uid for uid, held in self._state.jwt_keys.items() for key in held if key.kid == kid]
        return self._state.principals.get(uids[0]) if len(uids) == 1 else None

    def principal_by_jwt_audience(self, audience: str) -> PrincipalRecord | None:
        found = [one for one in self._state.principals.values() if one.jwt_audience == audience]
        return found[0] if len(found) == 1 else None

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
        state.oauth_secrets.pop(uid, None)
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

    # Client secrets, and what is remembered until it ends

    def oauth_secrets_of(self, uid: int) -> tuple[OAuthSecretRecord, ...]:
        return self._state.oauth_secrets.get(uid, ())

    def add_oauth_secret(self, record: OAuthSecretRecord) -> None:
        self._known(record.uid)
        held = self.oauth_secrets_of(record.uid)
        if any(secret.secret_id == record.secret_id for secret in held):
            raise Misconfigured("conflict", f"client secret {record.secret_id} is taken")
        self._changing().oauth_secrets[record.uid] = (record, *held)

    def delete_oauth_secret(self, uid: int, secret_id: str) -> None:
        held = self.oauth_secrets_of(uid)
        kept = tuple(secret for secret in held if secret.secret_id != secret_id)
        if kept == held:
            raise _missing(f"client secret {secret_id}")
        self._changing().oauth_secrets[uid] = kept

    def remember(self, kind: str, uid: int, digest: bytes, *, until: int, now: int) -> bool:
        state = self._changing_uncounted()
        kept_since = now - REMEMBER_MARGIN_S
        state.remembered = {at: entry for at, entry in state.remembered.items() if entry[1] > kept_since}
        if until <= now or self.recalls(kind, digest, now=now):
            return False
        live = (at[0] for at, entry in state.remembered.items() if entry[0] == uid and entry[1] > now)
        held = sum(1 for held_kind in live if held_kind == kind)
        if held >= MOST_REMEMBERED:
            raise Refused("busy", f"{held} live entries of kind {kind}")
        state.remembered[kind, digest] = (uid, until)
        return True

    def recalls(self, kind: str, digest: bytes, *, now: int) -> bool:
        _, until = self._state.remembered.get((kind, digest), (0, now))
        return until > now

    # Policy

    def policy(self) -> PolicyRows:
        return PolicyRows(seq=self._state.seq, rules=tuple(self._state.rules.values()), groups=dict(self._state.groups))

    def rules_between(self, client: Selector, target: Selector) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._state.rules.values() if (rule.client, rule.target) == (client, target))

    def add_rule(self, rule: Rule) -> Rule:
        for selector in (rule.client, rule.target):
            if selector.name not in (self._state.groups if selector.is_group else self._state.uids):
                raise _missing(selector)
        added = evolve(rule, rule_id=self._state.last_rule_id + 1)
        state = self._changing()
        state.last_rule_id = added.rule_id
        state.rules[added.rule_id] = added
        return added

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
        self._changing_uncounted().anchors[anchor.writer] = anchor
