"""Changing the master key: step by step, interrupted, and beside other changes."""

import pytest
from attrs import evolve

from orthros_kdc.admin import jwt_keys, keys, master_keys, oauth_secrets, principals, realm
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.audit.admin_lines import lines_backwards, unnamed
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault, open_vault
from orthros_protocol.errors import LocalMisuse, Misconfigured
from tests.support.master_keys import BOTH, NEXT, OLD, WRONG, Between, secrets

pytestmark = pytest.mark.parity("K13")


DAY = 24 * 3600


def milestones(trail):
    """The events that a rewrap records once; those of the steps between them are as many as there are batches."""
    return [event for event in trail.names if event != "realm.rewrapped"]


@pytest.mark.parity("K13")
async def test_every_secret_moves_and_the_old_key_opens_nothing_afterwards(ready, store, trail):
    """Client secrets too."""
    before = await secrets(store, BOTH)
    done = await master_keys.rewrap(ready, batch=2)
    assert (done.number, done.rows) == (2, len(before))
    alone = await open_vault(store, NEXT)
    assert await secrets(store, alone) == before
    assert len(before) > 15
    assert set(await secrets(store, Vault(realm="example.org", master=OLD))) == {"master-key-wrong"}
    assert milestones(trail) == ["realm.rewrap-started", "realm.master-key-changed"]
    assert [facts.get("number") for event, facts in trail.events if event in milestones(trail)] == [2, 2]
    assert {facts["actor"] for _, facts in trail.events} == {"ops/ada"}
    with pytest.raises(Misconfigured, match="master-key-wrong") as refused:
        await open_vault(store, OLD)
    assert "realm new-master-key" in refused.value.remedy


async def test_the_key_itself_opens_no_row_of_the_new_one(ready, store):
    """Not only the number at the head of a row: the old key's material is of no use."""
    await master_keys.rewrap(ready)
    posing = Vault(realm="example.org", master=MasterKey(OLD.material, number=2))
    assert set(await secrets(store, posing)) == {"database-invalid"}


async def test_both_keys_go_on_opening_when_all_is_done(ready, store, trail):
    """Until the configuration names the new key alone; new secrets are sealed under it."""
    await master_keys.rewrap(ready)
    vault = await open_vault(store, OLD, NEXT)
    assert (vault.master, vault.next_master) == (NEXT, None)
    after = evolve(ready, vault=vault)
    await keys.rotate(after, "billing")
    assert trail.names[-1] == "key.rotated"
    assert await secrets(store, vault) == await secrets(store, await open_vault(store, NEXT))
    with pytest.raises(Misconfigured, match="conflict"):
        await master_keys.rewrap(after)


async def test_without_a_next_key_nothing_happens(admin, store, trail):
    before = store.peek_head()
    with pytest.raises(Misconfigured, match="conflict"):
        await master_keys.rewrap(admin)
    assert (store.peek_head(), trail.names) == (before, [])
    with pytest.raises(LocalMisuse, match="wrong-state"):
        admin.vault.resealed((await realm.show(admin)).keys[0])


@pytest.mark.parametrize("stop", range(1, 5))
async def test_an_interrupted_rewrap_needs_both_keys_and_goes_on(ready, store, trail, stop):
    before = await secrets(store, BOTH)
    changes = []

    async def power_cut():
        changes.append(1)
        if len(changes) == stop:
            raise KeyError("power cut")

    with pytest.raises(KeyError, match="power cut"):
        await master_keys.rewrap(evolve(ready, store=Between(store, power_cut)), batch=1)
    assert await secrets(store, await open_vault(store, OLD, NEXT)) == before
    generation = store.peek_head()
    for needs_both in ((OLD,), (NEXT,), (OLD, WRONG)):
        with pytest.raises(Misconfigured, match="master-key-wrong"):
            await open_vault(store, *needs_both)
    assert store.peek_head() == generation
    assert milestones(trail) == ["realm.rewrap-started"]
    again = evolve(ready, vault=await open_vault(store, OLD, NEXT))
    assert (await master_keys.rewrap(again, batch=1)).rows < len(before)
    assert await secrets(store, await open_vault(store, NEXT)) == before
    assert milestones(trail) == ["realm.rewrap-started", "realm.master-key-changed"]


async def test_every_row_that_is_sealed_anew_is_on_record(ready, store):
    """A change that no entry names would look like one that was made past `orthros-admin`."""
    logged = evolve(ready, audit=AdminAuditLog())
    before = (await store.read(lambda tx: tx.head())).seq
    with pytest.raises(KeyError, match="power cut"):
        await master_keys.rewrap(evolve(logged, store=Between(store, _power_cut)), batch=1)
    await realm.rotate_keys(logged)
    await master_keys.rewrap(logged, batch=1)
    lines = await store.read(lambda tx: [row.line for row in lines_backwards(tx)])
    newest = (await store.read(lambda tx: tx.head())).seq
    assert unnamed(range(before + 1, newest + 1), lines) == ()


async def _power_cut():
    raise KeyError("power cut")


@pytest.mark.parametrize("number", [1, 3])
async def test_the_next_key_has_the_next_number(admin, store, number):
    generation = store.peek_head()
    with pytest.raises(Misconfigured, match="master-key-wrong"):
        await open_vault(store, OLD, MasterKey(NEXT.material, number=number))
    assert store.peek_head() == generation


async def test_another_next_key_never_takes_over(ready, store, trail):
    """Two files of the same number: the one that a rewrap began with is the one that counts."""
    other = evolve(ready, vault=evolve(BOTH, next_master=WRONG))
    interfered: list[int] = []

    async def interfere():
        if not interfered:
            interfered.append(1)
            with pytest.raises(Misconfigured, match="database-invalid"):
                await master_keys.rewrap(other)

    before = await secrets(store, BOTH)
    await master_keys.rewrap(evolve(ready, store=Between(store, interfere)))
    assert interfered
    assert await secrets(store, await open_vault(store, NEXT)) == before
    assert milestones(trail) == ["realm.rewrap-started", "realm.master-key-changed"]


async def test_two_rewraps_at_once_end_once(ready, store, trail):
    before = await secrets(store, BOTH)
    rows: list[int] = []

    async def run_another():
        if not rows:
            rows.append(0)
            rows.append((await master_keys.rewrap(ready, batch=1)).rows)

    first = await master_keys.rewrap(evolve(ready, store=Between(store, run_another)), batch=1)
    assert first.rows + sum(rows) == len(before)
    assert await secrets(store, await open_vault(store, NEXT)) == before
    assert milestones(trail) == ["realm.rewrap-started", "realm.master-key-changed"]


async def test_what_others_add_meanwhile_is_sealed_anew_as_well(ready, admin, store, trail):
    """Changes by administrators with the old key alone at hand, in front of the rewrap and behind it."""
    added = iter(("aa-early", "zz-late"))

    async def add():
        for name in added:
            await principals.add(admin, name)
            await realm.rotate_keys(admin)
            await jwt_keys.rotate(admin, "payroll")
            await oauth_secrets.rotate(admin, "billing")
            break

    await master_keys.rewrap(evolve(ready, store=Between(store, add)), batch=1)
    assert {"aa-early", "zz-late"} <= {one.name for one in await store.read(lambda tx: tx.principals())}
    assert not {found for found in await secrets(store, await open_vault(store, NEXT)) if isinstance(found, str)}
    assert trail.names.count("realm.master-key-changed") == 1


async def test_own_keys_of_the_realm_are_not_erased_in_the_middle(ready, store, clock):
    """They are how a wrong next key is recognised."""

    async def stop():
        raise KeyError("power cut")

    with pytest.raises(KeyError, match="power cut"):
        await master_keys.rewrap(evolve(ready, store=Between(store, stop)))
    await realm.rotate_keys(ready)
    clock.seconds += 2 * DAY
    with pytest.raises(Misconfigured, match="conflict"):
        await realm.erase_old_keys(ready)
    with pytest.raises(Misconfigured, match="master-key-wrong"):
        await open_vault(store, OLD, WRONG)
    await master_keys.rewrap(ready)
    assert await realm.erase_old_keys(evolve(ready, vault=await open_vault(store, NEXT))) == 8


@pytest.mark.parametrize("vault", [Vault(realm="example.org", master=OLD), BOTH], ids=["old", "both"])
async def test_nothing_is_stored_under_the_old_key_once_the_new_one_counts(ready, store, trail, vault):
    """An administrator whose command began before the end and commits after it."""
    late = evolve(ready, vault=vault)
    await master_keys.rewrap(ready)
    trail.events.clear()
    generation = store.peek_head()
    for change in (principals.add(late, "late"), keys.rotate(late, "billing"), realm.rotate_keys(late),
                   keys.retire(late, "orders", 2), jwt_keys.rotate(late, "payroll"),
                   oauth_secrets.rotate(late, "billing")):  # fmt: skip
        with pytest.raises(Misconfigured, match=r"master-key-wrong|key-missing"):
            await change
    assert (store.peek_head(), trail.names) == (generation, [])


async def test_the_end_is_recorded_or_does_not_come(ready, store, trail):
    changes = []

    async def lose_the_disk():
        changes.append(1)
        trail.broken = len(changes) >= 3

    with pytest.raises(OSError, match="audit disk"):
        await master_keys.rewrap(evolve(ready, store=Between(store, lose_the_disk)), batch=2)
    trail.broken = False
    assert not {found for found in await secrets(store, await open_vault(store, OLD, NEXT)) if isinstance(found, str)}
    with pytest.raises(Misconfigured, match="master-key-wrong"):
        await open_vault(store, NEXT)


async def test_the_beginning_is_recorded_or_nothing_is_sealed_anew(ready, store, trail):
    trail.broken = True
    generation = store.peek_head()
    with pytest.raises(OSError, match="audit disk"):
        await master_keys.rewrap(ready)
    assert store.peek_head() == generation
    assert (await open_vault(store, OLD)).master is OLD


async def test_client_secrets_keep_their_order(ready, store):
    """The oldest goes first."""
    (before,) = await oauth_secrets.listed(ready)
    await master_keys.rewrap(ready)
    (after,) = await oauth_secrets.listed(ready)
    ids = [[held.secret_id for held in client.secrets] for client in (before, after)]
    assert (ids[0], len(ids[0])) == (ids[1], 2)


async def test_jwt_keys_keep_their_order(ready, store):
    """The newest signs."""
    uid = (await principals.show(ready, "payroll")).record.uid
    before = [key.kid for key in await store.read(lambda tx: tx.jwt_keys_of(uid))]
    assert len(before) == 2
    await master_keys.rewrap(ready)
    assert [key.kid for key in await store.read(lambda tx: tx.jwt_keys_of(uid))] == before


async def test_erased_secrets_stay_erased(ready, store, clock):
    clock.seconds += 31 * DAY
    await keys.retire(ready, "gone", 1, force=True)
    clock.seconds += 31 * DAY
    await keys.erase_tombstones(ready)
    await master_keys.rewrap(ready)
    (left,) = await keys.listed(ready, "gone")
    assert (left.sealed, left.sealed_as) == (b"", b"")


async def test_an_altered_row_stops_the_rewrap_before_the_end(ready, store, trail):
    def alter(tx):
        (key,) = tx.keys_of(tx.principal_by_name("gone").uid)
        tx.set_key(evolve(key, sealed=key.sealed[:-1] + bytes([key.sealed[-1] ^ 1])))

    await store.change(alter)
    with pytest.raises(Misconfigured, match="database-invalid"):
        await master_keys.rewrap(ready)
    assert "realm.master-key-changed" not in trail.names
    assert (await open_vault(store, OLD, NEXT)).next_master is NEXT


async def test_create_writes_the_next_number_to_a_new_file_only(admin, store, tmp_path, trail):
    generation = store.peek_head()
    path = tmp_path / "next.key"
    assert master_keys.create(admin, path) == 2
    made = MasterKey.from_text(path.read_text())
    assert (made.number, path.stat().st_mode & 0o777) == (2, 0o600)
    assert made.material != OLD.material
    with pytest.raises(Misconfigured, match="file-exists"):
        master_keys.create(admin, path)
    with pytest.raises(Misconfigured, match="conflict"):
        master_keys.create(evolve(admin, vault=BOTH), tmp_path / "third.key")
    assert not (tmp_path / "third.key").exists()
    assert (store.peek_head(), trail.names) == (generation, [])


async def test_a_vault_of_two_keys_shows_neither():
    assert repr(BOTH) == "<Vault example.org <MasterKey number=1 redacted> <MasterKey number=2 redacted>>"
