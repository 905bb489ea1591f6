from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import asdict, evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.daemon.agent import Agent
from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_client.daemon.kdc.session import KdcSession
from orthros_client.daemon.tickets.persistence import CacheStore
from orthros_protocol.errors import Malformed, PeerMisbehaved
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from orthros_protocol.tickets.cache_file import CachedTicket, CacheSnapshot, cache_kvno, open_cache, seal_cache
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.notes import Note
from tests.client.world import DaemonClock, World, elapse, new_realm, open_world

A = "tcp://kdc-a:1"
REALM = new_realm()
ROOT = REALM.root("web")
ENTROPY = b"\x07" * 24


def store_of(world: World, path: Path, agent: Agent | None = None) -> CacheStore:
    return CacheStore(str(path), agent or world.agent, world.clock, CountingEntropy(b"store"))


def restarted(world: World, keytab: Keytab | None = None) -> Agent:
    """An agent as after a restart: nothing in memory."""
    pool = KdcPool((KdcAddress.parse(A),), world.clock, world.network.connect)
    session = KdcSession(keytab or world.realm.keytab("web"), pool, world.clock, CountingEntropy(b"restarted"))
    return Agent(session, world.clock, CountingEntropy(b"restarted agent"))


@pytest.mark.parity("B7")
async def test_a_restart_serves_from_disk_without_a_kdc(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """Valid tickets are served before any contact, with the life that is really left."""
    async with open_world(wrong_ms=600_000) as world:
        before = await world.agent.obtain(world.key("orders", "read"), timeout_s=10)
        await world.agent.obtain(world.key("orders", kind=1), timeout_s=10)
        store_of(world, tmp_path / "cache").save()
        world.network.moods[A] = "down"
        await elapse(600)
        agent = restarted(world)
        assert store_of(world, tmp_path / "cache", agent).load() == 2
        after = await agent.obtain(world.key("orders", "read"), timeout_s=0)
        assert (after.name, after.credential.tail, after.credential.scopes) == (
            before.name,
            before.credential.tail,
            ("read",),
        )
        assert 2998 <= after.credential.life.left_s(world.clock.elapsed_s()) <= 3000
        assert agent.session.offset_ms == -600_000
        assert agent.session.login is None


@pytest.mark.parity("O3")
@pytest.mark.parametrize("changed", [False, True])
async def test_a_restart_asks_again_for_what_is_older_than_the_policy(
    changed: bool, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """One question tells whether policy has changed; then the others follow. Meanwhile the old tickets serve."""
    async with open_world() as world:
        keys = [world.key("orders", ttl_s=3000 + number) for number in range(40)]
        for key in keys:
            await world.agent.obtain(key, timeout_s=10)
        store_of(world, tmp_path / "cache").save()
        if changed:
            world.realm.allow("web", "billing", "charge", "refund")
        agent = restarted(world)
        assert store_of(world, tmp_path / "cache", agent).load() == 40
        before = {key: await agent.obtain(key, timeout_s=0) for key in keys}
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run)
            await elapse(30)
            after = {key: await agent.obtain(key, timeout_s=0) for key in keys}
            nursery.cancel_scope.cancel()
        renewed = [key for key in keys if after[key].credential.ticket != before[key].credential.ticket]
        assert renewed == (keys if changed else [keys[-1]])


@pytest.mark.parity("O3")
async def test_what_the_file_knows_to_be_older_is_asked_for_without_a_hint(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """Issued before the last policy that the daemon had heard of when it wrote the file."""
    path = tmp_path / "cache"
    async with open_world() as world:
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        world.realm.allow("web", "billing", "charge", "refund")
        await world.agent.obtain(world.key("billing"), timeout_s=10)
        store_of(world, path).save()
        snapshot = open_cache(path.read_bytes(), world.realm.root("web"))
        assert [snapshot.policy_seq - one.policy_seq for one in snapshot.entries] == [1, 0]
        agent = restarted(world)
        store_of(world, path, agent).load()
        assert {key.target.name for key, _plan in agent.renewals.take_due(trio.current_time())} == {"orders", "billing"}


@pytest.mark.parity("B7")
async def test_the_file_holds_no_secret_in_clear(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """Sealed, mode 0600, and without the TGT."""
    path = tmp_path / "cache"
    async with open_world() as world:
        held = await world.agent.obtain(world.key("orders"), timeout_s=10)
        store_of(world, path).save()
        login = world.agent.session.login
        assert login is not None
        tail = held.credential.tail
        assert tail is not None
        content = path.read_bytes()
        plain = repr(open_cache(content, world.realm.root("web"))).encode()
        for secret in (tail, held.credential.ticket, login.credential.ticket, login.pop_key, ROOT.material, b"orders"):
            assert secret not in content
        assert login.credential.ticket not in plain
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parity("B7")
async def test_changes_are_written_soon(tmp_path: Path) -> None:
    """A crash a moment later loses nothing."""
    path = tmp_path / "cache"
    async with open_world() as world, trio.open_nursery() as nursery:
        nursery.start_soon(store_of(world, path).save_after_changes)
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        with trio.fail_after(20):
            while not path.exists():
                await trio.lowlevel.checkpoint()
        assert len(open_cache(path.read_bytes(), world.realm.root("web")).entries) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parity("B7")
async def test_what_expired_meanwhile_is_not_loaded(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    async with open_world() as world:
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        store_of(world, tmp_path / "cache").save()
        await elapse(3599)
        assert store_of(world, tmp_path / "cache", restarted(world)).load() == 0


@pytest.mark.parity("K11")
async def test_a_clock_before_the_writing_loads_nothing(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """With the clock set back nobody knows how much life is left."""
    async with open_world() as world:
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        store_of(world, tmp_path / "cache").save()
        world.clock.wrong_ms = -3_600_000
        assert store_of(world, tmp_path / "cache", restarted(world)).load() == 0


@pytest.mark.parity("B7")
@pytest.mark.parametrize(
    "damage", ["flipped", "empty", "cut", "foreign", "mode", "symlink", "newer root", "older version"]
)
async def test_an_unreadable_file_is_discarded(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, damage: str
) -> None:
    """Logged, never fatal, and the daemon goes on with the KDC."""
    path = tmp_path / "cache"
    async with open_world() as world:
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        store_of(world, path).save()
        content = path.read_bytes()
        keytab = world.realm.keytab("web")
        if damage == "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif damage in ("empty", "cut"):
            path.write_bytes(content[: 0 if damage == "empty" else -9])
        elif damage == "foreign":
            root = world.realm.root("web")
            keytab = Keytab.of(RootKey(b"o" * 32, principal=root.principal, uid=root.uid, kvno=root.kvno))
        elif damage == "older version":
            path.write_bytes(content[:8] + b"\x02" + content[9:])
        elif damage == "mode":
            path.chmod(0o644)
        elif damage == "symlink":
            path.rename(tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
        else:
            root = world.realm.root("web")
            keytab = Keytab.of(RootKey(b"n" * 32, principal=root.principal, uid=root.uid, kvno=2))
        agent = restarted(world, keytab)
        assert store_of(world, path, agent).load() == 0
        assert len(agent.cache) == 0


@pytest.mark.parity("P16")
def test_no_path_means_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache on disk is a setting."""
    monkeypatch.chdir(tmp_path)
    clock = DaemonClock()
    session = KdcSession(REALM.keytab("web"), KdcPool((), clock), clock, CountingEntropy())
    store = CacheStore("", Agent(session, clock, CountingEntropy()), clock, CountingEntropy())
    assert store.load() == 0
    store.save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parity("B7")
async def test_an_unwritable_folder_is_logged(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """The daemon serves on without its file."""
    async with open_world() as world:
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        store_of(world, tmp_path / "missing" / "cache").save()
        assert await world.outcome(world.key("orders")) == "held"


def snapshot(realm: InMemoryRealm = REALM) -> CacheSnapshot:
    credential = Credential(
        ticket=b"c" * 40,
        tail=b"k" * 32,
        target=realm.principal("orders"),
        target_uid=17,
        client=realm.principal("web"),
        scopes=("read",),
        life=Life.until(1_800_000_060, 60),
        kvno=3,
        notes=(Note(1, 2, 0), Note(2, 3)),
    )
    entry = CachedTicket(credential=credential, asked_scopes=("read",), asked_ttl_s=60, asked_flags=1)
    token = entry.altered(credential=evolve(credential, tail=None, notes=()), asked_scopes=None)
    return CacheSnapshot(entries=(entry, token), offset_ms=-5, saved_ms=Timestamp(1_800_000_000_000))


@pytest.mark.parity("B7")
def test_what_was_sealed_is_what_opens() -> None:
    """Entries, offset and time of writing."""
    data = seal_cache(snapshot(), ROOT, entropy=ENTROPY)
    assert cache_kvno(data) == 1
    assert asdict(open_cache(data, ROOT)) == asdict(snapshot())


@pytest.mark.parity("B7")
@given(st.data())
def test_every_flipped_bit_is_noticed(data: st.DataObject) -> None:
    """The header is bound as well as the box."""
    sealed = seal_cache(snapshot(), ROOT, entropy=ENTROPY)
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[at // 8] ^= 1 << at % 8
    with pytest.raises(PeerMisbehaved):
        open_cache(bytes(flipped), ROOT)


@pytest.mark.parity("B7")
def test_the_root_of_another_host_does_not_open_it() -> None:
    """A copied file is worthless elsewhere."""
    sealed = seal_cache(snapshot(), ROOT, entropy=ENTROPY)
    for other in (
        REALM.root("orders"),
        RootKey(ROOT.material, principal=ROOT.principal, uid=ROOT.uid + 1, kvno=1),
        RootKey(ROOT.material, principal=REALM.principal("orders"), uid=ROOT.uid, kvno=1),
    ):
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            open_cache(sealed, other)


@pytest.mark.parity("B7")
def test_other_files_are_not_taken_for_a_cache() -> None:
    for data in (b"", b"ORTHROSK\x01" + bytes(100), b"ORTHROSC\x02" + bytes(100)):
        with pytest.raises(Malformed):
            cache_kvno(data)
