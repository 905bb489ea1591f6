from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import flask
import pytest
import trio
from attrs import define
from werkzeug.serving import make_server

from orthros_client import Client, Verifier
from orthros_client.backoff import Backoff
from orthros_client.cli.__main__ import main
from orthros_client.credentials.credential_file import read_credentials
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_client.daemon.kdc.session import KdcSession
from orthros_client.daemon.listeners.allow_list import AllowList
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.listeners.local_server import LocalServer
from orthros_client.daemon.listeners.shares import ListenerShares
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from orthros_runtime.clocks import HostClock
from orthros_runtime.serving.sockets import open_unix_listener
from tests.client.cli.told import code_told
from tests.client.house import House, listener_for, open_house
from tests.client.world import KdcClock
from tests.support.leaks import forms_of
from tests.support.ruled_realm import RuledRealm

Outcome = tuple[int, str, str]


@define
class Bench:
    """`web` types, with a daemon and a service `orders` that listens; `folder` is where it types."""

    house: House
    origin: str
    folder: Path
    capsys: pytest.CaptureFixture[str]
    heard: list[tuple[str, str, str]]

    @property
    def realm(self) -> RuledRealm:
        return self.house.world.realm

    async def type(self, *words: str, socket: str | None = None) -> Outcome:
        socket = socket or self.house.socket
        return await self.house.in_thread(lambda: typed(self.capsys, "--socket", socket, *words))

    async def narrow(self, *words: str, out: str = "x") -> Outcome:
        return await self.type("narrow", *words, "--out", self.at(out))

    async def call(self, name: str, path: str, *words: str, socket: str = "/nowhere") -> Outcome:
        """A call with the credentials of a file: no daemon is needed."""
        file = ("--target", "orders", "--credentials", self.at(name))
        return await self.type("call", self.origin + path, *file, *words, socket=socket)

    def at(self, name: str) -> str:
        return str(self.folder / name)


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> Outcome:
    try:
        code = main(words)
    except SystemExit as done:
        code = int(str(done.code))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def code_of(outcome: Outcome) -> tuple[int, str]:
    """Exit code and the code of the error; nothing was shown on stdout."""
    code, out, err = outcome
    assert out == ""
    return code, code_told(err)


@contextmanager
def orders_listening(realm: InMemoryRealm, ahead_ms: int, heard: list[tuple[str, str, str]]) -> Iterator[str]:
    application, holder = flask.Flask("orders"), list[Any]()

    @application.route("/<path:_rest>", methods=["GET", "POST"])
    def answer(_rest: str) -> Any:
        caller = flask.request.environ["orthros.caller"]
        heard.append((flask.request.method, str(caller.client), " ".join(sorted(caller.scopes))))
        return "done"

    def guarded(environ: Any, start_response: Any) -> Any:
        return holder[0](environ, start_response)

    server = make_server("127.0.0.1", 0, guarded, threaded=True)
    origin = f"http://127.0.0.1:{server.server_port}"
    verifier = Verifier(realm.keytab("orders"), clock=lambda: Timestamp(HostClock().wall_ms() - ahead_ms))
    holder.append(OrthrosWsgiMiddleware(application, verifier=verifier, origins=[origin]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def open_bench(capsys: pytest.CaptureFixture[str], folder: Path) -> AsyncIterator[Bench]:
    ahead_ms = HostClock().wall_ms() - KdcClock().now()
    heard: list[tuple[str, str, str]] = []
    async with open_house(wrong_ms=ahead_ms) as house:
        with orders_listening(house.world.realm, ahead_ms, heard) as origin:
            yield Bench(house, origin, folder, capsys, heard)


@asynccontextmanager
async def second_daemon(bench: Bench, name: str) -> AsyncIterator[str]:
    """The daemon of another host, whose principal is `name`. Yields its socket."""
    world, entropy, socket = bench.house.world, CountingEntropy(name.encode()), bench.at(f"{name}.sock")
    pool = KdcPool((KdcAddress.parse("tcp://kdc-a:1"),), world.clock, world.network.connect)
    session = KdcSession(world.realm.keytab(name), pool, world.clock, entropy)
    agent = Agent(session, world.clock, entropy, backoff=Backoff())
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run)
        listener = listener_for(
            LocalServer(LocalApi(agent, world.clock, AllowList(os.geteuid(), ()))), ListenerShares(most=8)
        )
        await nursery.start(listener.serve, open_unix_listener(socket, 0o600))
        yield socket
        nursery.cancel_scope.cancel()


NARROWED = """\
file     FILE
target   orders@test.realm
client   web@test.realm
scopes   read
caveats  only before DATE UTC
         only the scopes read
         only the HTTP methods GET
         only HTTP paths at or below /v1/orders
         only from 127.0.0.0/8
until    DATE UTC, in LIFE
note     whoever reads the file can use it until then
"""


@pytest.mark.parity("L7", "L23", "B4")
async def test_less_in_a_file_for_a_job(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What the file says in words is what the service lets through, without a daemon."""
    async with open_bench(capsys, tmp_path) as bench:
        limits = ("--scope", "read", "--method", "get", "--path", "/v1/orders", "--peer", "127.0.0.0/8")
        code, out, err = await bench.narrow("orders", *limits, "--lifetime", "10m", out="job")
        out = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", out).replace(bench.at("job"), "FILE")
        assert (code, re.sub(r"\b(9 min 5\d s|10 min 0 s)", "LIFE", out), err) == (0, NARROWED, "")
        assert (tmp_path / "job").stat().st_mode & 0o777 == 0o600
        assert await bench.call("job", "/v1/orders/7") == (0, "done", "")
        assert bench.heard == [("GET", "web@test.realm", "read")]
        for path, words, why in (
            ("/v1/orders/7", ("-X", "POST"), "the methods caveat excludes 'POST'"),
            ("/v1/ordersx", (), "the path caveat allows only what is below /v1/orders"),
            ("/v2", (), "the path caveat allows only what is below /v1/orders"),
        ):
            code, out, err = await bench.call("job", path, *words)
            assert (code, out, code_told(err)) == (3, "", "caveat-refused")
            assert f"({why})\n" in err
        assert len(bench.heard) == 1


@pytest.mark.parity("L7", "L23")
async def test_narrower_still(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file is narrowed without asking anybody, and never widened."""
    async with open_bench(capsys, tmp_path) as bench:
        assert (await bench.narrow("orders", "--scope", "read", "--lifetime", "10m", out="job"))[0] == 0
        words = ("narrow", "--from", bench.at("job"), "--output", "json")
        code, out, _err = await bench.type(
            *words, "--path", "/v1", "--app", "shop/tenant=acme", "--out", bench.at("step"), socket="/nowhere"
        )
        facts = json.loads(out)
        assert code == 0
        assert facts["caveats"][1:] == [
            "only the scopes read",
            "only HTTP paths at or below /v1",
            "shop/tenant, which only the service understands: acme",
        ]
        assert 590 <= facts.pop("expires_in_s") <= 600
        assert (facts["target"], facts["client"], facts["scopes"]) == ("orders@test.realm", "web@test.realm", ["read"])
        code, _out, err = await bench.call("step", "/v1/a")
        assert (code, "this service does not know the caveat shop/tenant" in err) == (3, True)
        for more, code_and_name in (
            (("--scope", "write"), (3, "insufficient-scope")),
            (("--scope", "erase"), (3, "insufficient-scope")),
            (("--lifetime", "20m"), (3, "exact-not-possible")),
            (("billing", "--scope", "read"), (1, "config-invalid")),
        ):
            assert code_of(await bench.narrow("--from", bench.at("job"), *more)) == code_and_name
        assert (await bench.narrow("--from", bench.at("job"), "--scope", "", out="nothing"))[0] == 0
        assert await bench.call("nothing", "/v1/a") == (0, "done", "")
        assert bench.heard == [("GET", "web@test.realm", "")]
        assert not (tmp_path / "x").exists()


@pytest.mark.parity("L23", "B4")
async def test_a_hand_over_is_used_by_its_receiver_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Sealed to `billing`, whose daemon opens it; the service sees the delegator, within the caveats."""
    async with open_bench(capsys, tmp_path) as bench, second_daemon(bench, "billing") as socket:
        words = ("orders", "--scope", "read", "--method", "GET", "--to", "billing")
        code, out, _err = await bench.narrow(*words, out="handed")
        assert code == 0
        assert "for      billing@test.realm, which opens it with `orthros receive`\n" in out
        assert "you, and whoever held it before you, can read what is done with it" in out
        assert code_of(await bench.type("receive", bench.at("handed"), "--out", bench.at("mine"))) == (2, "unknown-key")
        code, out, err = await bench.type("receive", bench.at("handed"), "--out", bench.at("got"), socket=socket)
        assert (code, err) == (0, "")
        assert "caveats  only the scopes read\n         only the HTTP methods GET\n" in out
        assert await bench.call("got", "/v1", socket=socket) == (0, "done", "")
        assert bench.heard == [("GET", "web@test.realm", "read")]
        assert (await bench.call("got", "/v1", "-X", "POST", socket=socket))[0] == 3
        passed_on = ("narrow", "--from", bench.at("got"), "--to", "web", "--out", bench.at("back"))
        assert code_of(await bench.type(*passed_on, socket=socket)) == (3, "not-granted")
        bench.realm.allow("billing", "payroll", "x")
        passed_on = ("narrow", "--from", bench.at("got"), "--to", "payroll", "--out", bench.at("on"))
        code, out, _err = await bench.type(*passed_on, socket=socket)  # already narrowed: it may go on as it is
        assert (code, "only the HTTP methods GET" in out) == (0, True)


@pytest.mark.parity("K17")
async def test_standard_input_and_what_is_no_hand_over(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before the daemon is asked."""
    async with open_bench(capsys, tmp_path) as bench, second_daemon(bench, "billing") as socket:
        await bench.narrow("orders", "--scope", "read", out="job")
        await bench.narrow("orders", "--scope", "read", "--to", "billing", out="handed")
        words = ("receive", bench.at("job"), "--out", bench.at("got"))
        code, out, err = await bench.type(*words, socket="/nowhere")
        assert (code, out) == (1, "")
        assert "is no hand-over (file of narrowed credentials)" in err
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "handed").read_bytes())))
        assert (await bench.type("receive", "-", "--out", bench.at("got"), socket=socket))[0] == 0


@pytest.mark.parity("L8")
async def test_a_discharge_is_demanded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The file names whom the service wants to hear; `about` is whom the word concerns."""
    async with open_bench(capsys, tmp_path) as bench:
        words = ("orders", "--demand", "billing=paid up", "--about", "kiosk")
        code, out, _err = await bench.narrow(*words, out="job")
        assert (code, "caveats  only with a discharge of billing@test.realm\n" in out) == (0, True)
        handed, _offset_ms = read_credentials(bench.at("job"))
        assert len(handed.demands) == 1
        assert code_of(await bench.call("job", "/v1"))[1] == "discharger-unknown"
        refused = await bench.narrow("orders", "--demand", "payroll=paid")
        assert code_of(refused) == (3, "not-granted")
        assert "policy allow web payroll" in refused[2]


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("orders",), "value-invalid"),
        ((), "value-invalid"),
        (("--scope", "read"), "value-invalid"),
        (("orders", "--to", "billing"), "value-invalid"),
        (("orders", "--about", "web", "--scope", "read"), "value-invalid"),
        (("orders", "--demand", "billing"), "value-invalid"),
        (("orders", "--app", "shop/tenant"), "value-invalid"),
        (("orders", "--app", "tenant=acme"), "value-invalid"),
        (("orders", "--app", "a/b=1", "--app", "a/b=2"), "value-invalid"),
        (("orders", "--app", "a/b=" + "x" * 500), "value-invalid"),
        (("orders", "--path", "/a/../b"), "value-invalid"),
        (("orders", "--path", "/a%2fb"), "value-invalid"),
        (("orders", "--method", "G T"), "value-invalid"),
        (("orders", "--peer", "10.0.0.1/8"), "value-invalid"),
        (("orders", "--scope", "B A D"), "scope-invalid"),
        (("ORDERS", "--scope", "read"), "name-invalid"),
        (("--from", "FOLDER/none", "--scope", "read"), "file-unreadable"),
    ],
)
async def test_nothing_is_written_for_wrong_words(
    words: tuple[str, ...], code: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each with its cause, exit code 1."""
    async with open_bench(capsys, tmp_path) as bench:
        words = tuple(word.replace("FOLDER", str(tmp_path)) for word in words)
        assert code_of(await bench.narrow(*words)) == (1, code)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parity("K17")
async def test_refusals_of_policy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The remedy names the pair that lacks a rule."""
    async with open_bench(capsys, tmp_path) as bench:
        for words, pair in (
            (("payroll", "--lifetime", "1m"), "web payroll"),
            (("orders", "--lifetime", "1m", "--to", "payroll"), "web payroll"),
        ):
            outcome = await bench.narrow(*words)
            assert code_of(outcome) == (3, "not-granted")
            assert f"policy allow {pair} " in outcome[2]
        outcome = await bench.narrow("orders", "--scope", "erase")
        assert code_of(outcome) == (3, "insufficient-scope")
        assert "erase is not among its scopes: read write" in outcome[2]
        assert (
            code_of(await bench.type("narrow", "orders", "--lifetime", "1m", "--out", "/tmp/x", socket="/no"))[0] == 4
        )


@pytest.mark.parity("P5")
async def test_a_life_beyond_the_tickets_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A fresh ticket if that lives longer, and the truth if it does not."""
    async with open_bench(capsys, tmp_path) as bench:
        bench.realm.allow("web", "orders", "read", max_ttl_s=300)
        code, out, _err = await bench.narrow("orders", "--lifetime", "1h", "--output", "json")
        facts = json.loads(out)
        assert code == 0
        assert 290 <= facts["expires_in_s"] <= 300
        assert "the ticket lives no longer than" in facts["notes"][0]


@pytest.mark.parity("B3")
async def test_safe_places_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Refused before the daemon is asked; what is there stays."""
    opened, taken, dangling = tmp_path / "open", tmp_path / "taken", tmp_path / "dangling"
    opened.mkdir()
    opened.chmod(0o777)
    taken.write_text("mine")
    dangling.symlink_to(tmp_path / "nowhere")
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    async with open_bench(capsys, tmp_path) as bench:
        for out, code in (
            ("open/x", "place-unsafe"),
            ("taken", "file-exists"),
            ("dangling", "file-exists"),
            ("open", "file-exists"),
            ("none/x", "file-unreadable"),
            ("taken/x", "file-unreadable"),
        ):
            words = ("--lifetime", "1m", "--out", bench.at(out))
            assert code_of(await bench.type("narrow", "orders", *words, socket="/nowhere")) == (1, code)
            assert code_of(await bench.type("receive", "-", "--out", bench.at(out), socket="/nowhere")) == (1, code)
        for out in ("", "-", ".."):
            outcome = await bench.type("narrow", "orders", "--scope", "a", "--out", out, socket="/nowhere")
            assert outcome[0] == 1
        assert taken.read_text() == "mine"
        assert (await bench.narrow("orders", "--lifetime", "1m", out="sticky/x"))[0] == 0


@pytest.mark.parity("B3")
async def test_no_key_is_ever_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Neither the tail of the ticket nor that of the file, in any form and in no output."""
    async with open_bench(capsys, tmp_path) as bench:
        shown = ""
        for out, words in (
            ("a", ("orders", "--scope", "read")),
            ("b", ("orders", "--scope", "read", "--output", "json")),
            ("c", ("orders", "--scope", "read", "--to", "billing")),
            ("d", ("--from", bench.at("a"), "--path", "/x")),
        ):
            code, out_text, err = await bench.narrow(*words, out=out)
            assert code == 0
            shown += out_text + err
        secrets = [read_credentials(bench.at(name))[0].pop_key for name in ("a", "b", "d")]

        def of_daemon() -> bytes:
            with Client(bench.house.socket) as client:
                return client.credentials("orders").pop_key

        secrets.append(await bench.house.in_thread(of_daemon))
        found = [name for secret in secrets for name, form in forms_of(secret).items() if form in shown.encode()]
        assert found == []


@pytest.mark.parity("B3")
@pytest.mark.parametrize("command", ["narrow", "receive", "inspect"])
def test_help_has_examples_and_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As the whole program's."""
    code, out, _err = typed(capsys, command, "--help")
    assert code == 0
    assert f"EXAMPLES\n  orthros {command} " in out
    assert "EXIT CODES\n  0  " in out


@pytest.mark.parity("K17")
async def test_a_worker_login_that_is_refused_for_several_targets(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In words, for no target in particular."""
    async with open_bench(capsys, tmp_path) as bench:
        words = ("worker-login", "--target", "orders", "--target", "billing", "--out", bench.at("login"))
        assert code_of(await bench.type(*words)) == (3, "peer-not-allowed")
