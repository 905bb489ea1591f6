"""Every change records exactly one event inside its own transaction, and no event holds a key."""

import pytest

from orthros_kdc.admin import EVENTS, groups, jwt_keys, keys, oauth_secrets, principals, realm, rules
from orthros_kdc.realm.vault import OAuthSecret

DAY = 24 * 3600


async def _erase_tombstones(admin):
    admin.now_ms.seconds += 31 * DAY
    await keys.erase_tombstones(admin)


async def _erase_old_realm_keys(admin):
    admin.now_ms.seconds += DAY
    await realm.erase_old_keys(admin)


async def _retire_older_secret(admin):
    (client,) = await oauth_secrets.listed(admin)
    await oauth_secrets.retire(admin, "billing", client.secrets[-1].secret_id)


STORY = {
    "realm.initialised": realm.init,
    "realm.changed": lambda admin: realm.change(admin, limits={"max_ticket_s": 60}),
    "realm.key-rotated": realm.rotate_keys,
    "realm.key-erased": _erase_old_realm_keys,
    "principal.added": lambda admin: principals.add(admin, "billing"),
    "principal.disabled": lambda admin: principals.disable(admin, "billing"),
    "principal.enabled": lambda admin: principals.enable(admin, "billing"),
    "principal.capped": lambda admin: principals.set_caps(admin, "billing", max_ticket_s=60, max_jwt_s=None),
    "key.rotated": lambda admin: keys.rotate(admin, "billing"),
    "key.activated": lambda admin: keys.activate(admin, "billing"),
    "key.retired": lambda admin: keys.retire(admin, "billing", 1),
    "key.exported": lambda admin: keys.export(admin, "billing"),
    "key.tombstones-erased": _erase_tombstones,
    "group.added": lambda admin: groups.add(admin, "callers"),
    "group.member-added": lambda admin: groups.add_member(admin, "callers", "billing"),
    "group.member-removed": lambda admin: groups.remove_member(admin, "callers", "billing"),
    "rule.added": lambda admin: rules.allow(admin, "group:callers", "billing", scopes=("read",)),
    "rule.removed": lambda admin: rules.deny(admin, "group:callers", "billing"),
    "group.deleted": lambda admin: groups.delete(admin, "callers"),
    "jwt.enabled": lambda admin: jwt_keys.enable(admin, "billing"),
    "jwt.rotated": lambda admin: jwt_keys.rotate(admin, "billing"),
    "jwt.exported": lambda admin: jwt_keys.export(admin, "billing"),
    "jwt.claims-changed": lambda admin: jwt_keys.set_claims(admin, "billing", ["tenant"]),
    "oauth.enabled": lambda admin: oauth_secrets.enable(admin, "billing"),
    "oauth.audience-changed": lambda admin: oauth_secrets.set_default_audience(admin, "billing", "billing"),
    "oauth.secret-added": lambda admin: oauth_secrets.rotate(admin, "billing"),
    "oauth.secret-retired": _retire_older_secret,
    "oauth.disabled": lambda admin: oauth_secrets.disable(admin, "billing"),
    "jwt.disabled": lambda admin: jwt_keys.disable(admin, "billing"),
    "principal.deleted": lambda admin: principals.delete(admin, "billing"),
}


def everything(tx):
    people = tx.principals()
    uids = [person.uid for person in people]
    return (
        people, [tx.keys_of(uid) for uid in uids], [tx.jwt_keys_of(uid) for uid in uids],
        [tx.oauth_secrets_of(uid) for uid in uids], tx.realm_keys(), tx.policy(), tx.anchors(),
    )  # fmt: skip


ELSEWHERE = {"realm.rewrap-started", "realm.rewrapped", "realm.master-key-changed", "realm.restored"}
"""Told by `test_master_keys.py` and `test_going_back.py`."""
OF_FILES = {"audit.archived", "audit.restarted"}
"""Of what changes no row of the realm, which `test_keeping.py` tells."""
OF_CLOCKS = {"kdc.clock-accepted"}
"""Of what an operator says of a KDC's clock, which `tests/kdc/test_clock_guard.py` tells."""


async def test_the_story_tells_every_event():
    assert set(STORY) | ELSEWHERE | OF_FILES | OF_CLOCKS == set(EVENTS)


@pytest.mark.parity("K16")
async def test_each_change_records_exactly_one_event_and_names_the_actor(nobodys_realm, trail):
    for event, step in STORY.items():
        trail.events.clear()
        await step(nobodys_realm)
        assert trail.names == [event]
        assert trail.events[0][1]["actor"] == "ops/ada"


@pytest.mark.parity("K16")
@pytest.mark.parametrize("at", STORY)
async def test_a_change_that_cannot_be_recorded_does_not_happen(nobodys_realm, trail, store, at):
    """No change without its event."""
    for event, step in STORY.items():
        if event == at:
            break
        await step(nobodys_realm)
    before = await store.read(everything)
    trail.broken = True
    with pytest.raises(OSError, match="the audit disk is full"):
        await STORY[at](nobodys_realm)
    assert await store.read(everything) == before


async def test_no_event_holds_key_material(nobodys_realm, trail, vault, store):
    """Lesson 11."""
    secrets = []
    for event, step in STORY.items():
        made = await step(nobodys_realm)
        if isinstance(made, OAuthSecret):
            secrets += [made.text, made.material.hex()]
        if event == "jwt.rotated":
            secrets.append((await jwt_keys.export(nobodys_realm, "billing"))["k"])
            root = (await keys.export(nobodys_realm, "billing")).root_key()
            secrets += [root.material.hex(), root.as_key().material.hex(), root.ticket_key().material.hex()]
    told = repr(trail.events)
    assert len(secrets) == 8
    assert [secret for secret in secrets if secret in told] == []
    assert all(fact is None or isinstance(fact, str | int) for _, facts in trail.events for fact in facts.values())
