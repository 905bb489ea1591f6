"""`orthros call` on whose authority: a user, a subject, a ticket that goes on, a file, and with discharges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
import pytest
from werkzeug.serving import make_server

from orthros_client import Attested, Client, Discharger, Verifier
from orthros_client.credentials.credential_file import save_credentials
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from orthros_client.integrations.wsgi_discharges import WsgiDischargeEndpoint
from orthros_protocol.exchanges.ap_exchange import ApRequest, parse_ap_request
from orthros_protocol.exchanges.http_profile import parse_authorization
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.tickets.ticket import DELEGABLE, Ticket, open_ticket
from tests.client.cli.test_cli_call import Counter, open_counter, typed
from tests.client.cli.told import code_told
from tests.support.http_target import HttpTarget


def last_request(counter: Counter) -> tuple[ApRequest, Ticket]:
    """What the target got, opened with its key."""
    value = counter.target.heard[-1].value("authorization")
    assert value is not None
    request = parse_ap_request(parse_authorization(value.decode("ascii")).message)
    return request, open_ticket(request.ticket, counter.house.world.realm.root("orders").ticket_key())


@pytest.mark.parity("P8")
async def test_a_user(capsys: pytest.CaptureFixture[str]) -> None:
    """Told to the target under MAC; this one serves nobody else, and says so."""
    async with open_counter(capsys) as counter:
        code, out, err = await counter.call("--user", "alice")
        assert (code, out, code_told(err)) == (3, "", "user-not-accepted")
        user = last_request(counter)[0].user
        assert user is not None
        assert (user.name, user.how) == ("alice", 2)


@pytest.mark.parity("P8")
async def test_a_subject_that_the_rules_let_us_name(capsys: pytest.CaptureFixture[str]) -> None:
    """And no other one."""
    async with open_counter(capsys) as counter:
        counter.house.world.realm.allow("web", "orders", "read", subjects=["alice"])
        code, _out, err = await counter.call("--behalf", "mallory")
        assert (code, code_told(err)) == (3, "subject-refused")
        assert counter.target.heard == []
        await counter.call("--behalf", "alice")
        subject = last_request(counter)[1].subject
        assert subject is not None
        assert str(subject.principal) == "alice@test.realm"


@pytest.mark.parity("K18")
async def test_a_ticket_that_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Only where it is asked for, and allowed."""
    async with open_counter(capsys) as counter:
        counter.house.world.realm.allow("web", "orders", "read", delegable=True)
        for words, flag in (((), 0), (("--delegable",), DELEGABLE)):
            assert (await counter.call(*words))[0] == 0
            assert last_request(counter)[1].flags & DELEGABLE == flag


@pytest.mark.parity("L23")
async def test_narrowed_credentials_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """They work without a daemon, and for no more than they say."""
    path = tmp_path / "orders.cred"
    async with open_counter(capsys) as counter:

        def write() -> None:
            with Client(counter.house.socket) as client:
                save_credentials(client.credentials("orders").narrow(methods=["GET"]), path)

        await counter.house.in_thread(write)

        async def call(*words: str, target: str = "orders") -> tuple[int, str, str]:
            line = ("--socket", "/nowhere", "call", counter.url(), "--target", target, "--credentials", str(path))
            return await counter.house.in_thread(lambda: typed(capsys, *line, *words))

        # The target of these tests tells caveats no method, so it can only refuse: proof that they were shown.
        code, _out, err = await call()
        assert (code, code_told(err)) == (3, "caveat-refused")
        assert last_request(counter)[0].caveats
        for words in (("--delegable",), ("--behalf", "alice"), ("--scope", "read"), ("--bearer",)):
            assert (await call(*words))[0] == 1
        code, _out, err = await call(target="billing")
        assert (code, code_told(err)) == (1, "config-invalid")
        path.chmod(0o644)
        code, _out, err = await call()
        assert (code, code_told(err)) == (1, "key-file-unsafe")


@pytest.mark.parity("L23")
@pytest.mark.parametrize("option", ["--credentials", "--behalf", "--user"])
async def test_a_name_that_is_empty_is_not_the_own_authority(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A script whose variable is not set calls for nobody, not for the whole host."""
    async with open_counter(capsys) as counter:
        code, _out, err = await counter.call(option, "")
        assert (code, bool(code_told(err))) == (1, True)
        assert counter.target.heard == []


@contextmanager
def discharger_at_work(realm: InMemoryRealm, target: HttpTarget, attests: bool) -> Iterator[str]:
    """`billing`, which attests what it is asked. Yields its origin."""
    holder: list[Any] = []

    def guarded(environ: Any, start_response: Any) -> Any:
        return holder[0](environ, start_response)

    server = make_server("127.0.0.1", 0, guarded, threaded=True)
    origin = f"http://127.0.0.1:{server.server_port}"
    verifier = Verifier(realm.keytab("billing"), clock=target.now)
    discharger = Discharger(verifier, lambda _question: Attested(lifetime_s=60) if attests else None)
    app = WsgiDischargeEndpoint(flask.Flask("billing"), discharger=discharger)
    holder.append(OrthrosWsgiMiddleware(app, verifier=verifier, origins=[origin]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parity("L8")
@pytest.mark.parametrize("attests", [True, False])
async def test_discharges(attests: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Collected where the command line says; without it, the error names whom to name."""
    async with open_counter(capsys) as counter:
        realm = counter.house.world.realm
        realm.allow("web", "orders", "read", discharges=[("billing", "paid")])
        code, _out, err = await counter.call()
        assert (code, code_told(err)) == (3, "discharger-unknown")
        assert "billing@test.realm" in err
        with discharger_at_work(realm, counter.target, attests) as origin:
            code, out, err = await counter.call("--discharger", f"billing={origin}")
        if attests:
            assert (code, out, err) == (0, "you sent ", "")
        else:
            assert (code, code_told(err)) == (3, "discharge-refused")
            assert counter.target.heard == []


@pytest.mark.parity("K17")
@pytest.mark.parametrize("option", ["billing", "=https://x.example", "billing=", "billing=x"])
async def test_a_discharger_has_a_name_and_an_origin(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, before anything is asked."""
    async with open_counter(capsys) as counter:
        code, _out, err = await counter.call("--discharger", option)
        assert (code, code_told(err) in ("value-invalid", "config-invalid")) == (1, True)
        assert counter.target.heard == []
