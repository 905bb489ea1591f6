from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from orthros_client.cli.__main__ import main
from orthros_client.cli.doctor import _kdc
from orthros_client.cli.output import exit_code_of
from orthros_client.errors import (
    Failure,
    LocalMisuse,
    MaybeExecuted,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    TargetRefusal,
    Unavailable,
)
from orthros_client.local.api.values import Status
from orthros_client.reasons import PEER_NOT_ALLOWED
from orthros_client.verifier.stores.host import HostStore
from orthros_protocol.exchanges.replay import Entry
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import read_clocks
from orthros_runtime.screen import life
from tests.client.cli.told import code_told
from tests.client.house import NOBODY, House, as_user, open_house

A = "tcp://kdc-a:1"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; lives and references, which vary, are replaced."""

    def run_command(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as done:
            code = int(str(done.code))
        shown = capsys.readouterr()
        return code, steady(shown.out), steady(shown.err)

    return run_command


def steady(text: str) -> str:
    text = re.sub(r"[+-]\d+\.\d{3} s to", "OFFSET to", text)
    text = re.sub(r"\b(\d+ h \d+ min|\d+ min \d+ s|\d+ s)\b", "LIFE", text)
    return re.sub(r"\b[0-9a-f]{16}\b", "REF", text)


async def at(house: House, run: Run, *words: str) -> tuple[int, str, str]:
    return await house.in_thread(lambda: run("--socket", house.socket, *words))


TICKET = """\
target   orders@test.realm
client   web@test.realm
scopes   read
expires  in LIFE
kvno     1
"""
REFUSED = """\
orthros: No rule lets this client reach this target.
remedy: Check the spelling of payroll (an unknown name is refused alike), then ask an admin to run \
`orthros-admin policy allow web payroll --scope ...`.
code: not-granted
reference: REF
retry: in LIFE
"""
LIST = """\
TARGET             KIND    ASKED  SCOPES      EXPIRES      RENEWAL
orders@test.realm  ticket  (all)  read write  LIFE  LIFE
orders@test.realm  token   read   read        LIFE  LIFE
"""
STATUS = """\
ready        yes
client       web@test.realm
key version  1
login        valid for LIFE
cached       1 tickets and tokens
clock        OFFSET to the realm
kdcs         tcp://kdc-a:1  answered LIFE ago
uptime       LIFE
version      0.1.0
"""
DOCTOR = """\
key file       ok      web@test.realm, kvno 1, full
socket         ok      SOCKET
daemon         ok      version 0.1.0, runs as web@test.realm, up LIFE, 0 held
kdc            ok      1 of 1 answered: tcp://kdc-a:1
clock          ok      OFFSET to the realm
policy orders  ok      granted read write for LIFE
"""
SICK = """\
socket       ok      SOCKET
daemon       ok      version 0.1.0, runs as web@test.realm, up LIFE, 0 held
kdc          failed  kdc-unreachable: tcp://kdc-a:1: Connection refused
                     remedy: Check the daemon's KDC list and that the KDC runs; cached tickets stay valid.
clock        ok      OFFSET to the realm
policy logs  failed  kdc-unreachable: tcp://kdc-a:1: Connection refused
                     remedy: Check the daemon's KDC list and that the KDC runs; cached tickets stay valid.
"""


@pytest.mark.parity("K17")
async def test_ticket_shows_what_it_is_and_no_key(run: Run) -> None:
    """Golden text."""
    async with open_house() as house:
        assert await at(house, run, "ticket", "orders", "--scope", "read") == (0, TICKET, "")


@pytest.mark.parity("B3")
async def test_ticket_as_json(run: Run) -> None:
    """For scripts; the options may stand before or after the command."""
    async with open_house() as house:
        code, out, _ = await at(house, run, "ticket", "orders", "--ttl", "60", "--output", "json")
        facts = json.loads(out)
        assert code == 0
        assert 50 <= facts.pop("expires_in_s") <= 60
        assert facts == {
            "target": "orders@test.realm",
            "client": "web@test.realm",
            "scopes": ["read", "write"],
            "kvno": 1,
            "flags": [],
            "notes": [],
        }


@pytest.mark.parity("P2")
async def test_token_is_alone_on_stdout(run: Run) -> None:
    """`$(orthros token orders)`."""
    async with open_house() as house:
        code, out, err = await at(house, run, "token", "orders", "--scope", "read")
        assert (code, err) == (0, "")
        assert re.fullmatch(r"jwt-for\.orders\.[0-9a-f]{64}\n", out)
        code, out, _ = await at(house, run, "--output", "json", "token", "orders")
        assert json.loads(out)["scopes"] == ["read", "write"]


@pytest.mark.parity("B2", "K17")
async def test_a_refusal_reads_well(run: Run) -> None:
    """Code, cause, detail, remedy, reference; exit code 3."""
    async with open_house() as house:
        assert await at(house, run, "ticket", "payroll") == (3, "", REFUSED)
        code, out, err = await at(house, run, "--output", "json", "token", "payroll")
        assert (code, out) == (3, "")
        assert json.loads(err)["error"] == "not-granted"


@pytest.mark.parity("K17")
async def test_list_is_a_table(run: Run) -> None:
    """Golden text, and JSON beside it."""
    async with open_house() as house:
        nothing = await at(house, run, "list")
        assert nothing == (0, "The daemon holds no ticket for you yet.\n", "")
        await at(house, run, "ticket", "orders")
        await at(house, run, "token", "orders", "--scope", "read")
        code, out, _ = await at(house, run, "list")
        assert code == 0
        assert re.sub(" +", " ", out) == re.sub(" +", " ", LIST)
        _, out, _ = await at(house, run, "list", "--output", "json")
        assert [(row["kind"], row["asked"]) for row in json.loads(out)] == [("ticket", None), ("token", ["read"])]


@pytest.mark.parity("B7", "K11")
async def test_status_is_shown(run: Run) -> None:
    """Readiness, remaining login, offset, KDCs."""
    async with open_house() as house:
        await house.world.outcome(house.world.key("orders"))
        assert await at(house, run, "status") == (0, STATUS, "")
        code, out, _ = await at(house, run, "status", "--output", "json")
        assert code == 0
        assert json.loads(out)["ready"] is True


@pytest.mark.parity("B7")
async def test_a_daemon_without_kdc_says_so(run: Run) -> None:
    """Exit code 4 and the reason."""
    async with open_house(moods={A: "down"}) as house:
        code, out, _ = await at(house, run, "status")
        assert code == 4
        assert "ready        no: kdc-unreachable (tcp://kdc-a:1: Connection refused)\n" in out
        assert "login        none\n" in out
        assert "kdcs         tcp://kdc-a:1  failing: Connection refused\n" in out
        house.desk.request_timeout_s = 0.05
        assert (await at(house, run, "ticket", "orders"))[0] == 4


@pytest.mark.parity("K17")
async def test_doctor_on_a_healthy_host(run: Run, tmp_path: Path) -> None:
    """One line per link, key file to policy."""
    async with open_house() as house:
        house.world.realm.keytab("web").save(tmp_path / "web.key")
        await house.in_thread(lambda: run("--socket", house.socket, "status"))
        code, out, _ = await at(house, run, "doctor", "--keytab", f"{tmp_path}/web.key", "--target", "orders")
        assert (code, out.replace(house.socket, "SOCKET")) == (0, DOCTOR)


@pytest.mark.parity("K17", "B2")
async def test_doctor_names_each_failure_with_its_remedy(run: Run) -> None:
    """Exit code of the first failure."""
    async with open_house(moods={A: "down"}) as house:
        house.desk.request_timeout_s = 0.05
        code, out, _ = await at(house, run, "doctor", "--target", "logs")
        assert (code, out.replace(house.socket, "SOCKET")) == (4, SICK)


@pytest.mark.parity("K17", "K11")
async def test_doctor_finds_wrong_files_and_clocks(run: Run, tmp_path: Path) -> None:
    """An unsafe key file, another principal's, a clock that is ten minutes off."""
    async with open_house(wrong_ms=600_000) as house:
        await house.world.outcome(house.world.key("orders"))
        key = tmp_path / "orders.key"
        house.world.realm.keytab("orders").save(key)
        code, out, _ = await at(house, run, "doctor", "--keytab", str(key), "--output", "json")
        rows = {row["check"]: row for row in json.loads(out)}
        assert code == 3
        assert rows["key file"]["state"] == "ok"
        assert rows["daemon"]["code"] == "conflict"
        assert rows["clock"]["code"] == "clock-skew"
        key.chmod(0o644)
        code, out, _ = await at(house, run, "doctor", "--keytab", str(key))
        assert code == 1
        assert "key file  failed  key-file-unsafe" in out


@pytest.mark.parity("K17")
def test_without_a_daemon(run: Run, tmp_path: Path) -> None:
    """Exit code 4, and what to do."""
    code, out, err = run("ticket", "orders", "--socket", f"{tmp_path}/none.sock")
    assert (code, out) == (4, "")
    assert err == (
        f"orthros: The local daemon cannot be reached. ({tmp_path}/none.sock: No such file or directory)\n"
        "remedy: Start orthros-daemon, or set ORTHROS_SOCKET to its socket.\n"
        "code: daemon-unreachable\n"
    )
    code, out, _ = run("doctor", "--socket", f"{tmp_path}/none.sock")
    assert code == 4
    assert out.count("failed") == 2


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("tickets",),
        ("ticket",),
        ("ticket", "orders", "--ttl", "soon"),
        ("--output", "yaml", "list"),
        ("--timeout", "0", "list"),
        ("--timeout", "soon", "list"),
    ],
)
def test_wrong_usage_is_1(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert err.startswith("orthros: The command line cannot be followed. (")
    assert "\nremedy: Read `orthros " in err
    assert code_told(err) == "usage"


@pytest.mark.parity("K17")
def test_wrong_usage_is_json_where_errors_are(run: Run) -> None:
    """A script that asked for JSON gets it for each error, in the same form."""
    code, out, err = run("ticket", "--output", "json")
    assert (code, out) == (1, "")
    assert json.loads(err) == {
        "error": "usage",
        "cause": "The command line cannot be followed.",
        "detail": "the following arguments are required: TARGET",
        "remedy": "Read `orthros ticket --help`.",
    }


@pytest.mark.parity("K17")
def test_bad_names_are_local_errors(run: Run) -> None:
    """Nothing is asked, exit code 1."""
    code, _, err = run("ticket", "Orders")
    assert code == 1
    assert code_told(err) == "name-invalid"


@pytest.mark.parity("K17")
def test_help_has_examples_and_exit_codes(run: Run) -> None:
    """And the version."""
    code, out, _ = run("--help")
    assert code == 0
    assert "EXAMPLES\n" in out
    assert "EXIT CODES\n" in out
    assert run("version") == (0, "orthros 0.1.0\n", "")
    assert json.loads(run("version", "--output", "json")[1]) == {"version": "0.1.0"}


REFUSAL = TargetRefusal(40, "", target_time=Timestamp(0), epoch=bytes(8))


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Misconfigured("key-file-invalid"), 1),
        (LocalMisuse("value-invalid"), 1),
        (PeerMisbehaved("wrong-mac"), 2),
        (MaybeExecuted(REFUSAL), 2),
        (Failure.refused("kdc-fault").to_error(), 2),
        (Refused("not-granted"), 3),
        (Failure.refused(PEER_NOT_ALLOWED).to_error(), 3),
        (Unavailable("timeout"), 4),
        (Failure.refused("target-unavailable").to_error(), 4),
        (Misconfigured("not-found"), 5),
    ],
)
def test_exit_codes(error: OrthrosError, code: int) -> None:
    """1 local, 2 remote, 3 refused, 4 unavailable, 5 not found."""
    assert exit_code_of(error) == code


@pytest.mark.parity("K17")
def test_lives_are_words() -> None:
    assert [life(seconds) for seconds in (0.4, 59.9, 60, 3599, 3600, 90_000)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 0 min",
    ]  # fmt: skip


@pytest.mark.parity("K4")
async def test_no_key_in_any_output(run: Run) -> None:
    """Every command, searched for the keys of the ticket in hand."""
    async with open_house() as house:
        shown = ""
        for words in (("ticket", "orders"), ("list",), ("status",), ("doctor", "--target", "orders")):
            for form in ("table", "json"):
                _, out, err = await at(house, run, "--output", form, *words)
                shown += out + err
        await trio.lowlevel.checkpoint()
        held = next(house.world.agent.cache.entries(0.0))
        for secret in (held.credential.tail, house.world.opened(held).session_key, held.credential.ticket):
            assert secret is not None
            assert secret.hex() not in shown


@pytest.mark.parity("K17")
@pytest.mark.parametrize("command", ["list", "status"])
async def test_a_stranger_is_refused_in_words(run: Run, command: str) -> None:
    """Also by the commands that name no target."""
    stranger = NOBODY if os.geteuid() == 0 else os.geteuid()
    async with open_house(own_uid=os.geteuid() + 1) as house:
        with as_user(stranger):
            code, out, err = await at(house, run, command)
    assert (code, out) == (3, "")
    assert code_told(err) == "peer-not-allowed"


@pytest.mark.parity("K17")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_answer_that_cannot_be_written_is_1() -> None:
    """No traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "orthros_client.cli", "version"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"orthros: the answer could not be written: No space left on device\n"


@pytest.mark.parity("K17")
async def test_doctor_names_who_is_disabled(run: Run) -> None:
    """A remedy that can be pasted; a reason of a newer daemon is shown as it is."""
    async with open_house() as house:
        house.world.realm.disable("web")
        code, out, _ = await at(house, run, "doctor")
        assert code == 3
        assert "orthros-admin principal enable web`" in out
    newer = Status(
        client=house.world.realm.principal("web"), uid=17, kvno=1, newest_kvno=1, code="of-tomorrow", detail=None,
        tgt_remaining_s=0, cached=0, offset_ms=0, kdcs=(), uptime_s=1, version="9",
    )  # fmt: skip
    with pytest.raises(Unavailable, match="of-tomorrow"):
        _kdc(newer)


def test_renewing_finds_the_stores_of_this_user_or_says_where_it_looked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hook for restored snapshots that renews nothing must not report success."""
    with tempfile.TemporaryDirectory(prefix="orthros-test-", dir="/dev/shm") as folder:
        monkeypatch.setenv("ORTHROS_STATE_DIR", folder)
        assert main(["replay", "renew"]) == 5
        assert folder in capsys.readouterr().err
        store = HostStore(f"{folder}/replay-{'0' * 16}.mdb")
        before = store.admit(Entry(b"a" * 16, read_clocks()[0], "x")).epoch
        assert main(["replay", "renew"]) == 0
        assert "renewed" in capsys.readouterr().out
        assert store.admit(Entry(b"b" * 16, read_clocks()[0], "x")).epoch != before
