"""The change log: each change takes the next number and says what to read again; on every store."""

import pytest
from attrs import evolve

from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.store.base import (
    KEY_RETIRED,
    AuditAnchor,
    JwtKeyRecord,
    OAuthSecretRecord,
    RealmKeyRecord,
)
from orthros_kdc.store.change_log import ChangeEntry
from orthros_protocol.errors import Misconfigured

RULE = Rule(rule_id=0, client=Selector("billing"), target=Selector("orders"), scopes=("read",))


@pytest.fixture
async def uid(store, realm_record, key_of):
    """The uid of `billing`, which has a key, a rule to `orders` and a place in the group `callers`."""

    def fill(tx):
        tx.create_realm(realm_record)
        billing = tx.add_principal(name="billing", created=1)
        tx.add_principal(name="orders", created=1)
        tx.add_key(key_of(billing.uid, 1, 1))
        tx.add_group("callers")
        tx.add_member("callers", "billing")
        tx.add_rules([RULE])
        return billing.uid

    return await store.change(fill)


async def logged(store, *steps):
    """What each of `steps`, a transaction of its own, wrote into the log."""
    found = []
    for step in steps:
        before = (await store.read(lambda tx: tx.head())).seq
        await store.change(step)
        entries = await store.read(lambda tx, before=before: tx.changes(after=before))
        head = await store.read(lambda tx: tx.head())
        assert [entry.seq for entry in entries] == list(range(before + 1, head.seq + 1)), "a gap"
        assert store.peek_head() == head.seq
        found.append([(entry.kind, entry.key) for entry in entries])
    return found


async def test_each_change_says_what_to_read_again(store, uid, key_of, realm_record):
    key = key_of(uid, 2, 2)
    secret = OAuthSecretRecord(uid=uid, secret_id="aa", created=1, sealed=b"x")
    jwt_key = JwtKeyRecord(uid=uid, kid="bb", alg="HS256", created=1, sealed=b"x")
    own_key = RealmKeyRecord(role="tgt", name="kdc/tgt", number=1, created=1, sealed=b"x")
    billing = await store.read(lambda tx: tx.principal_by_uid(uid))
    about = ("principal", f"{uid} billing")
    assert await logged(
        store,
        lambda tx: tx.set_realm(issuer="https://b", limits=RealmLimits()),
        lambda tx: tx.set_key_check(b"d" * 32),
        lambda tx: tx.add_realm_key(own_key),
        lambda tx: tx.delete_realm_key("tgt", "kdc/tgt", 1),
        lambda tx: tx.set_principal(evolve(billing, disabled=True)),
        lambda tx: tx.add_key(key),
        lambda tx: tx.set_key(evolve(key, state=KEY_RETIRED, retired=5, sealed=b"", sealed_as=b"x")),
        lambda tx: tx.add_jwt_key(jwt_key),
        lambda tx: tx.delete_jwt_key(uid, "bb"),
        lambda tx: tx.add_oauth_secret(secret),
        lambda tx: tx.delete_oauth_secret(uid, "aa"),
        lambda tx: tx.add_rules([RULE]),
        lambda tx: tx.delete_rules([2]),
        lambda tx: tx.add_group("others"),
        lambda tx: tx.add_member("others", "billing"),
        lambda tx: tx.remove_member("others", "billing"),
        lambda tx: tx.delete_group("others"),
    ) == [
        *[[("realm", "")]] * 4,
        [about],
        [about, ("login-key", key.kid_as.hex())],
        *[[about]] * 5,
        *[[("rule", "2")]] * 2,
        [("group", "others")],
        *[[("member", "others billing")]] * 2,
        [("group", "others")],
    ]  # fmt: skip


async def test_what_goes_along_is_named_as_well(store, uid, key_of):
    """Whoever follows the log must not keep the rule of somebody who is gone."""
    kid = key_of(uid, 1, 1).kid_as.hex()
    by_group = Rule(rule_id=0, client=Selector("callers", is_group=True), target=Selector("orders"), scopes=("a",))
    await store.change(lambda tx: tx.add_rules([by_group]))
    group, principal = await logged(
        store, lambda tx: tx.delete_group("callers"), lambda tx: (tx.add_group("g"), tx.add_member("g", "billing"),
                                                                  tx.delete_principal(uid))
    )  # fmt: skip
    assert group == [("group", "callers"), ("rule", "2"), ("member", "callers billing")]
    assert principal == [("group", "g"), ("member", "g billing"), ("principal", f"{uid} billing"),
                         ("login-key", kid), ("rule", "1")]  # fmt: skip


async def test_erased_versions_are_named(store, uid, key_of):
    old, newest = (
        key_of(uid, kvno, kvno + 10, state=KEY_RETIRED, retired=5, sealed=b"", sealed_as=b"x") for kvno in (2, 3)
    )
    (_, erased, nothing) = await logged(
        store,
        lambda tx: (tx.add_key(old), tx.add_key(newest)),
        lambda tx: tx.delete_tombstones(retired_before=6),
        lambda tx: tx.delete_tombstones(retired_before=6),
    )
    assert erased == [("login-key", old.kid_as.hex()), ("principal", f"{uid} billing")]
    assert nothing == []


async def test_one_transaction_names_each_thing_once(store, uid):
    def work(tx):
        for _ in range(3):
            tx.set_key_check(b"d" * 32)
        tx.add_group("a")
        tx.set_key_check(b"e" * 32)

    assert await logged(store, work) == [[("realm", ""), ("group", "a")]]


async def test_what_is_undone_or_refused_takes_no_number(store, uid):
    before = await store.read(lambda tx: tx.head())

    def fails(tx):
        tx.add_group("a")
        raise ValueError("the last step fails")

    def refused(tx):
        with pytest.raises(Misconfigured):
            tx.add_group("callers")
        with pytest.raises(Misconfigured):
            tx.delete_principal(99)
        with pytest.raises(Misconfigured):
            tx.delete_group("nobody")

    with pytest.raises(ValueError, match="the last step fails"):
        await store.change(fails)
    await store.change(refused)
    assert await store.read(lambda tx: tx.head()) == before
    assert await store.read(lambda tx: tx.changes(after=before.seq)) == ()


async def test_what_no_view_of_the_realm_depends_on_takes_no_number(store, uid):
    """Used assertions, revoked tokens and anchors come at the rate of requests."""
    assert await logged(
        store,
        lambda tx: tx.remember("assertion", uid, b"jti", until=9, now=1),
        lambda tx: tx.remember("revoked", uid, b"jti", until=9, now=1),
        lambda tx: tx.set_anchor(AuditAnchor(writer="kdc-1", seq=1, head="aa")),
    ) == [[], [], []]


async def test_only_the_last_entries_are_kept(store, uid, monkeypatch):
    """Whoever is farther behind finds a gap, and reads everything once more."""
    monkeypatch.setattr("orthros_kdc.store.statements.CHANGES_KEPT", 3)
    for number in range(5):
        await store.change(lambda tx, number=number: tx.add_group(f"g{number}"))
    head = (await store.read(lambda tx: tx.head())).seq
    assert await store.read(lambda tx: tx.changes(after=0)) == tuple(
        ChangeEntry(seq=head - 2 + at, kind="group", key=f"g{at + 2}") for at in range(3)
    )


async def test_a_change_sees_its_own_number(store, uid, clock):
    def work(tx):
        before = tx.head()
        tx.add_group("a")
        return before, tx.head()

    before, after = await store.change(work)
    assert (after.seq, after.feed_seq) == (before.seq + 1, before.feed_seq + 1)
