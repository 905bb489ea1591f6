"""The host store between real processes: one memory, whoever is forked, killed or stopped, and on whatever file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import structlog.testing

from orthros_client.verifier.stores.choice import open_store
from orthros_client.verifier.stores.folder import find_folder, is_tmpfs
from orthros_client.verifier.stores.host import HostStore
from orthros_client.verifier.stores.memory import MemoryStore
from orthros_client.verifier.stores.shares import Shares
from orthros_protocol.errors import Misconfigured
from orthros_protocol.exchanges.replay import Admission, Entry
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm
from orthros_runtime.clocks import read_clocks
from tests.replay_stores.conftest import Clocks

pytestmark = pytest.mark.stories

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """One process of a service."""

    def __init__(self, path: Path, *before: str) -> None:
        words = [*before, sys.executable, str(WORKER), str(path)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def say(self, **question: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, **question: Any) -> Any:
        self.say(**question)
        return self.hear()

    def admit(self, *tags: str) -> list[list[str]]:
        answers: list[list[str]] = self.ask(tags=list(tags))
        return answers


@pytest.fixture
def path(tmpfs: Path) -> Path:
    return tmpfs / "replay.mdb"


@pytest.fixture
def worker(path: Path) -> Iterator[Callable[[], Worker]]:
    """Starts another process of the service, which ends with the test."""
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(path))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def tag() -> str:
    """Of another request, which is made now: like that of a captured one, its time stays what it was."""
    return (int(read_clocks()[0]).to_bytes(8, "big") + os.urandom(8)).hex()


@pytest.mark.parity("K10")
def test_of_equal_requests_at_once_in_four_processes_one_is_fresh(worker: Callable[[], Worker]) -> None:
    """The same authenticator sent at once to all workers is accepted once."""
    workers, tags = [worker() for _ in range(4)], [tag() for _ in range(100)]
    for one in workers:
        one.say(tags=tags)
    answers = [one.hear() for one in workers]
    assert len({epoch for told in answers for _word, epoch in told}) == 1
    for words in zip(*[[word for word, _epoch in told] for told in answers], strict=True):
        assert Counter(words) == Counter({"fresh": 1, "seen": 3})


def test_a_restart_changes_nothing(worker: Callable[[], Worker]) -> None:
    first, request = worker(), tag()
    ((_word, epoch),) = first.admit(request)
    first.process.kill()
    first.process.wait()
    assert worker().admit(request, tag()) == [["seen", epoch], ["fresh", epoch]]


def test_a_killed_writer_leaves_a_whole_store(worker: Callable[[], Worker]) -> None:
    """kill -9 inside an admission: nothing of it was burnt, and nothing is locked."""
    first, request = worker(), tag()
    ((_word, epoch),) = first.admit(tag())
    first.say(hold=True, tags=[request])
    assert first.hear() == "held"
    first.process.kill()
    first.process.wait()
    assert worker().admit(request, request) == [["fresh", epoch], ["seen", epoch]]


def test_a_stopped_writer_stops_nobody(worker: Callable[[], Worker]) -> None:
    """SIGSTOP inside an admission: the others are told busy, at once after the first, and go on when it does."""
    stopped, other, request = worker(), worker(), tag()
    ((_word, epoch),) = other.admit(tag())
    stopped.say(hold=True, tags=[request])
    assert stopped.hear() == "held"
    os.kill(stopped.process.pid, signal.SIGSTOP)
    assert other.admit(request, tag()) == [["full", bytes(8).hex()]] * 2
    os.kill(stopped.process.pid, signal.SIGCONT)
    stopped.say()
    assert stopped.hear() == [["fresh", epoch]]
    assert other.admit(request, tag()) == [["seen", epoch], ["fresh", epoch]]


def test_a_process_that_starts_without_room_is_busy_and_no_other_instance(
    path: Path, worker: Callable[[], Worker]
) -> None:
    """A full tmpfs, as a limit of this process alone: it joins the memory as soon as it can write."""
    ((_word, epoch),) = worker().admit(tag())
    # Its log goes nowhere, since that may be a file as well.
    with Worker(path, "sh", "-c", 'exec prlimit --fsize=0:unlimited "$@" 2>/dev/null', "sh") as late:
        assert late.admit(tag(), tag()) == [["full", bytes(8).hex()]] * 2
        subprocess.run(["prlimit", "--fsize=unlimited:unlimited", "--pid", str(late.process.pid)], check=True)
        request = tag()
        assert late.admit(request) == [["fresh", epoch]]
        assert worker().admit(request) == [["seen", epoch]]


@pytest.mark.parametrize("raw", [False, True])
def test_parent_and_child_share_the_memory_and_no_descriptor(worker: Callable[[], Worker], raw: bool) -> None:
    """Also when the server forks without Python's knowledge, as uWSGI does."""
    one = worker()
    words = Counter(word for _ in range(20) for word, _epoch in one.ask(forked=tag(), raw=raw))
    assert words == Counter({"fresh": 20, "seen": 20})


FORKED_MEMORY = """
import ctypes, os, sys, time
from orthros_client.verifier.stores.memory import MemoryStore
from orthros_protocol import Entry, Timestamp
store, one = MemoryStore(), Entry(b"t" * 16, Timestamp(time.time_ns() // 1_000_000), "x")
told = store.admit(one)
child = ctypes.PyDLL(None).fork() if sys.argv[1] == "raw" else os.fork()
if child == 0:
    again = store.admit(one)
    print(again.admission.value, again.epoch != told.epoch, again.born >= told.born, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(store.admit(one).admission.value, store.admit(one).epoch == told.epoch)
"""


@pytest.mark.parametrize("how", ["raw", "noticed"])
def test_a_memory_of_one_process_is_not_its_childs(how: str) -> None:
    told = subprocess.run([sys.executable, "-c", FORKED_MEMORY, how], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["fresh", "True", "True", "seen", "True"]


INTERRUPTED = """
import os, signal, sys
from orthros_runtime.clocks import read_clocks
from orthros_client.verifier.stores.host import HostStore
from orthros_protocol import Entry
store, hits = HostStore(sys.argv[1]), 0
def interrupt(number, frame):
    raise InterruptedError
def admit():
    return store.admit(Entry(os.urandom(16), read_clocks()[0], "billing@test.realm")).admission.value
signal.signal(signal.SIGALRM, interrupt)
for n in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00002 * (n % 15 + 1))
        admit()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except InterruptedError:
        hits += 1
print(hits > 0, *[admit() for _ in range(3)])
"""


def test_a_question_that_was_interrupted_leaves_nothing_locked(path: Path) -> None:
    """A signal's handler raises anywhere in an admission: the next one, and other processes, go on."""
    # Not under coverage, which has locks of its own that an interruption leaves held.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    words = [sys.executable, "-c", INTERRUPTED, str(path)]
    told = subprocess.run(words, env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.splitlines()[-1].split() == ["True", "fresh", "fresh", "fresh"]  # the log comes before
    with Worker(path) as other:
        assert other.admit(tag())[0][0] == "fresh"


def test_a_handler_that_asks_inside_a_question_is_told_busy(path: Path) -> None:
    store, told = HostStore(str(path)), []
    clocks = store._clocks

    def asked() -> Any:
        store._clocks = clocks
        told.append(store.admit(Entry(os.urandom(16), clocks()[0], "x")).admission)
        return clocks()

    store._clocks = asked
    told.append(store.admit(Entry(os.urandom(16), clocks()[0], "x")).admission)
    assert told == [Admission.FULL, Admission.FRESH]


def test_a_folder_that_was_cleared_away_is_made_again(tmpfs: Path) -> None:
    path = tmpfs / "run" / "replay.mdb"
    path.parent.mkdir()
    store = HostStore(str(path))
    before = store.admit(Entry(os.urandom(16), read_clocks()[0], "x"))
    shutil.rmtree(path.parent)
    store._looked_s = 0.0  # as after a second
    after = store.admit(Entry(os.urandom(16), read_clocks()[0], "x"))
    assert (after.admission, after.epoch != before.epoch) == (Admission.FRESH, True)
    assert path.exists()


def test_threads_that_fork_while_others_admit(path: Path) -> None:
    """The lock is held over the fork, so no child begins inside a transaction."""
    store, done = HostStore(str(path)), threading.Event()

    def admit() -> None:
        while not done.is_set():
            store.admit(Entry(os.urandom(16), read_clocks()[0], "billing@test.realm"))

    threads = [threading.Thread(target=admit) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        script = f"import os, sys; sys.argv[1:] = [{str(path)!r}]; exec(open({str(WORKER)!r}).read())"
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            told, _ = process.communicate(b"".join(json.dumps({"forked": tag()}).encode() + b"\n" for _ in range(10)))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    words = Counter(word for line in told.splitlines() for word, _epoch in json.loads(line))
    assert words["fresh"] + words["full"] >= 10
    assert words["fresh"] <= 10


def test_another_file_at_the_path_is_another_memory(worker: Callable[[], Worker], path: Path) -> None:
    ((_word, before),) = worker().admit(tag())
    path.unlink()
    ((_word, after),) = worker().admit(tag())
    assert before != after


def test_a_copy_of_the_file_is_another_memory(tmpfs: Path) -> None:
    """A backup that is restored, a folder that is copied: the inode is another, so the epoch is."""
    one, two = tmpfs / "a.mdb", tmpfs / "b.mdb"
    first = HostStore(str(one))
    request = Entry(os.urandom(16), read_clocks()[0], "billing@test.realm")
    told = first.admit(request)
    shutil.copy(one, two)
    copied = HostStore(str(two)).admit(request)
    assert copied.admission is Admission.FRESH
    assert copied.epoch != told.epoch
    assert copied.born >= told.now


@pytest.mark.parametrize("content", [b"x" * 5000, b"\0" * 8192, b"short"])
def test_a_damaged_file_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    request = Entry(os.urandom(16), read_clocks()[0], "billing@test.realm")
    store = HostStore(str(path))
    assert [store.admit(request).admission for _ in range(2)] == [Admission.FRESH, Admission.SEEN]


def test_renewing_begins_a_new_memory_for_all(worker: Callable[[], Worker], path: Path) -> None:
    one, request = worker(), tag()
    ((_word, before),) = one.admit(request)
    HostStore(str(path)).renew()
    ((word, after),) = one.admit(request)
    assert (word, after != before) == ("fresh", True)


def test_a_small_map_is_busy_when_full_and_empties_again(path: Path) -> None:
    """Full never renews the epoch, and never ends a process."""
    clocks = Clocks()
    store = HostStore(str(path), Shares(capacity=10**9, per_client=10**9, per_ticket=10**9), clocks=clocks)
    assert store._file is not None
    store._file.map_bytes = 10**12  # as if nothing were held back, so that LMDB itself is full first
    store._file.env.set_mapsize(4 << 20)
    epoch = store.admit(entry_at(clocks)).epoch
    while (told := store.admit(entry_at(clocks))).admission is Admission.FRESH:
        assert told.epoch == epoch
    assert (told.admission, told.epoch) == (Admission.FULL, epoch)
    clocks.advance(90)
    answers = Counter(store.admit(entry_at(clocks)).admission for _ in range(3000))
    assert answers[Admission.FRESH] > 2900
    assert store.admit(entry_at(clocks)).epoch == epoch


def entry_at(clocks: Clocks) -> Entry:
    return Entry(os.urandom(16), clocks.wall.now(), "billing@test.realm", b"t" * 16)


# Where the file may be.


@pytest.mark.parametrize("spoil", ["link", "wider", "folder"])
def test_a_file_that_is_not_this_users_alone_is_not_used(path: Path, spoil: str) -> None:
    if spoil == "link":
        path.symlink_to(path.with_name("elsewhere"))
    elif spoil == "folder":
        path.mkdir()
    else:
        path.touch(mode=0o600)
        path.chmod(0o644)
    with pytest.raises((Misconfigured, OSError)):
        HostStore(str(path))


def test_only_tmpfs_will_do(tmp_path: Path, tmpfs: Path) -> None:
    """A disk rolls back, loses what was not written, and outlives a reboot."""
    kinds = {}
    for folder in (tmp_path, tmpfs):
        descriptor = os.open(folder, os.O_RDONLY)
        kinds[folder] = is_tmpfs(descriptor)
        os.close(descriptor)
    assert kinds[tmpfs]
    if not kinds[tmp_path]:
        with pytest.raises(Misconfigured, match="tmpfs"):
            HostStore(str(tmp_path / "replay.mdb"))
        with pytest.raises(Misconfigured, match="tmpfs"):
            find_folder({"ORTHROS_STATE_DIR": str(tmp_path)})


def test_the_first_folder_that_can_be_used_is_made(tmpfs: Path) -> None:
    linked, shared = tmpfs / "linked", tmpfs / "shared"
    (tmpfs / "own").mkdir()
    linked.symlink_to(tmpfs / "own")
    shared.mkdir()
    shared.chmod(0o777)
    for bad in (linked, shared, tmpfs / "no" / "such"):
        with pytest.raises(Misconfigured, match="config-invalid"):
            find_folder({"ORTHROS_STATE_DIR": str(bad)})
        session = {"RUNTIME_DIRECTORY": f"{bad}:{tmpfs}", "XDG_RUNTIME_DIR": str(tmpfs)}
        assert find_folder(session) == str(tmpfs / "orthros")
    assert find_folder({"RUNTIME_DIRECTORY": f"{tmpfs}:/nowhere"}) == str(tmpfs)
    made = tmpfs / "chosen"
    assert find_folder({"ORTHROS_STATE_DIR": str(made)}) == str(made)
    assert made.stat().st_mode & 0o777 == 0o700


def test_services_share_a_folder_and_no_store(tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHROS_STATE_DIR", str(tmpfs))
    monkeypatch.delenv("ORTHROS_REPLAY_STORE", raising=False)
    realm = InMemoryRealm()
    keytabs = [realm.add(name).verify_only() for name in ("orders", "payroll")]
    stores = [open_store(None, one, Shares(), clocks=read_clocks, entropy=os.urandom) for one in (*keytabs, keytabs[0])]
    assert all(isinstance(one, HostStore) for one in stores)
    now = read_clocks()[0]
    epochs = [one.admit(Entry(os.urandom(16), now, "x")).epoch for one in stores]
    assert epochs[0] == epochs[2] != epochs[1]
    assert len(list(tmpfs.iterdir())) == 2


def test_what_is_found_and_cannot_be_used_is_told_once_and_replaced_by_memory(
    tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORTHROS_STATE_DIR", str(tmpfs))
    monkeypatch.delenv("ORTHROS_REPLAY_STORE", raising=False)
    keytab = InMemoryRealm().add("orders").verify_only()
    open_store(None, keytab, Shares(), clocks=read_clocks, entropy=os.urandom)
    (file,) = tmpfs.iterdir()
    file.chmod(0o644)
    with structlog.testing.capture_logs() as lines:
        store = open_store(None, keytab, Shares(), clocks=read_clocks, entropy=os.urandom)
    assert isinstance(store, MemoryStore)
    assert [line["event"] for line in lines] == ["replay-store-not-shared"]


@pytest.mark.parametrize("named", ["disk", "http://x", "redis:/x"])
def test_an_unknown_store_stops_the_start_and_is_not_shown(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHROS_REPLAY_STORE", named)
    keytab = InMemoryRealm().add("orders").verify_only()
    with pytest.raises(Misconfigured, match="memory") as told:
        open_store(None, keytab, Shares(), clocks=read_clocks, entropy=os.urandom)
    assert named not in str(told.value)


def test_a_process_in_another_time_namespace_does_not_share(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its boot clock is another one: each would take the other's turns for steps of the clock."""
    store = HostStore(str(path))
    before = store.admit(Entry(os.urandom(16), read_clocks()[0], "x")).epoch
    monkeypatch.setattr("orthros_client.verifier.stores.host._time_namespace", lambda: 7)
    wall, boot = read_clocks()
    with pytest.raises(Misconfigured, match="time namespace"):
        HostStore(str(path), clocks=lambda: (wall, boot + 1_000_000))
    assert store.admit(Entry(os.urandom(16), read_clocks()[0], "x")).epoch == before


def test_another_boot_is_another_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = read_clocks()[0]
    before = HostStore(str(path)).admit(Entry(os.urandom(16), now, "x")).epoch
    monkeypatch.setattr("orthros_client.verifier.stores.host._boot_id", lambda: b"b" * 16)
    after = HostStore(str(path)).admit(Entry(os.urandom(16), Timestamp(now + 1), "x")).epoch
    assert before != after
