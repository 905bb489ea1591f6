from __future__ import annotations

import io
import json
import os
import ssl
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import define, evolve

from orthros_client.cli.__main__ import main
from orthros_client.cli.call_options import load_targets
from orthros_client.errors import Misconfigured
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import HostClock
from tests.client.cli.told import code_told
from tests.client.house import House, open_house
from tests.client.world import KdcClock
from tests.support.http_target import Heard, HttpTarget, Said, listening

Outcome = tuple[int, str, str]
JSON = b"application/json"


@define
class Counter:
    """A daemon, a target that listens, and somebody who types."""

    house: House
    target: HttpTarget
    origin: str
    capsys: pytest.CaptureFixture[str]

    def url(self, path: str = "/v1/orders?id=7") -> str:
        return self.origin + path

    async def call(self, *words: str, path: str = "/v1/orders?id=7", target: str | None = "orders") -> Outcome:
        named = ("--target", target) if target else ()
        return await self.type("call", self.url(path), *named, *words)

    async def type(self, *words: str) -> Outcome:
        return await self.house.in_thread(lambda: typed(self.capsys, "--socket", self.house.socket, *words))


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> Outcome:
    try:
        code = main(words)
    except SystemExit as done:
        code = int(str(done.code))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@asynccontextmanager
async def open_counter(capsys: pytest.CaptureFixture[str], **options: Any) -> AsyncIterator[Counter]:
    ahead = HostClock().wall_ms() - KdcClock().now()
    async with open_house(wrong_ms=ahead) as house:
        target = HttpTarget(house.world.realm, scheme="http", host_is_ahead_ms=ahead)
        with listening(target.hear, **options) as port:
            target.authority = f"127.0.0.1:{port}"
            yield Counter(house, target, f"http://127.0.0.1:{port}", capsys)


@pytest.mark.parity("P2", "L6")
async def test_a_call(capsys: pytest.CaptureFixture[str]) -> None:
    """The body on stdout, nothing on stderr."""
    async with open_counter(capsys) as counter:
        assert await counter.call("-d", "a=1", "-d", "b=2") == (0, "you sent a=1&b=2", "")
        sent = counter.target.executed[0]
        assert (sent.method, sent.target) == ("POST", b"/v1/orders?id=7")
        assert sent.value("content-type") == b"application/x-www-form-urlencoded"
        assert (sent.value("user-agent") or b"").startswith(b"orthros/")
        assert sent.value("accept-encoding") == b"identity"


@pytest.mark.parity("L6")
@pytest.mark.parametrize(
    ("words", "method", "body", "headers"),
    [
        ((), "GET", b"", {"content-type": None, "content-digest": None}),
        (("-X", "delete"), "DELETE", b"", {}),
        (("--json", '{"a":1}'), "POST", b'{"a":1}', {"content-type": JSON, "accept": JSON}),
        (("--json", "@FILE", "-H", "Content-Type: application/x+json"), "POST", b"one\ntwo\n",
         {"content-type": b"application/x+json"}),
        (("-d", "@FILE"), "POST", b"onetwo", {}),
        (("--data-binary", "@FILE"), "POST", b"one\ntwo\n", {"content-length": b"8"}),
        (("--data-binary", "@FILE", "-d", "x"), "POST", b"one\ntwo\n&x", {}),
        (("-T", "FILE"), "PUT", b"one\ntwo\n", {"content-type": None, "transfer-encoding": None}),
        (("-T", "FILE", "-X", "POST"), "POST", b"one\ntwo\n", {}),
        (("-d", "@-"), "POST", b"from stdin", {}),
        (("-T", "-"), "PUT", b"from\nstdin\n", {"content-length": b"11"}),
        (("-H", "X-A: 1", "-H", "X-B;", "-H", "Accept:", "-H", "User-Agent: me"), "GET", b"",
         {"x-a": b"1", "x-b": b"", "accept": None, "user-agent": b"me"}),
        (("-H", "X-Tenant: acme", "--cover", "X-Tenant"), "GET", b"", {"x-tenant": b"acme"}),
        (("-d", "x", "--idempotency-key", "k1"), "POST", b"x", {"idempotency-key": b"k1"}),
        (("-H", "Accept-Encoding: gzip"), "GET", b"", {"accept-encoding": b"gzip"}),
    ],
)  # fmt: skip
async def test_what_curl_would_send(  # noqa: PLR0917  # the columns of the table
    words: tuple[str, ...],
    method: str,
    body: bytes,
    headers: dict[str, bytes | None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Curl's words mean what they mean there, and every body has its digest."""
    (tmp_path / "file").write_bytes(b"one\ntwo\n")
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from\nstdin\n" if "-" in words else b"from stdin\n"))
    )
    async with open_counter(capsys) as counter:
        words = tuple(word.replace("FILE", str(tmp_path / "file")) for word in words)
        code, _out, err = await counter.call(*words)
        assert (code, err) == (0, "")
        sent = counter.target.executed[0]
        assert (sent.method, sent.body) == (method, body)
        expected = format_content_digest(digest(body)) if body else None
        assert sent.value("content-digest") == expected
        for name, value in headers.items():
            assert sent.value(name) == value
        if "--cover" in words:
            assert b'h="x-tenant"' in (sent.value("authorization") or b"")


@pytest.mark.parity("L6")
async def test_the_head_and_where_it_goes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """-i, -I, -o; a file appears when all of it is proven."""
    out = tmp_path / "body"
    async with open_counter(capsys) as counter:
        code, shown, _err = await counter.call("-i", "-d", "x")
        assert code == 0
        assert shown.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nOrthros-Reply: s=")
        assert shown.endswith("\r\n\r\nyou sent x")
        code, shown, _err = await counter.call("-I")
        assert (code, counter.target.executed[-1].method) == (0, "HEAD")
        assert shown.endswith("\r\n\r\n")
        assert await counter.call("-o", str(out), "-d", "x") == (0, "", "")
        assert out.read_bytes() == b"you sent x"
        assert await counter.call("--out", "/dev/null") == (0, "", "")
        counter.target.between = lambda said: evolve(said, body=b"forged")
        code, shown, err = await counter.call("-o", str(out))
        assert (code, shown) == (2, "")
        assert code_told(err) == "response-unproven"
        assert out.read_bytes() == b"you sent x"
        assert list(tmp_path.iterdir()) == [out]
        executed = len(counter.target.executed)
        for place in (f"{tmp_path}/none/body", str(tmp_path)):
            code, _shown, err = await counter.call("-o", place)
            assert (code, code_told(err)) == (1, "file-unreadable")
        assert len(counter.target.executed) == executed
        counter.target.between = lambda said: said
        if Path("/dev/full").exists():
            code, _shown, err = await counter.call("-o", "/dev/full")
            assert (code, "No space left" in err) == (4, True)


@pytest.mark.parity("L6")
async def test_verbose_shows_what_was_bound_and_proven(capsys: pytest.CaptureFixture[str]) -> None:
    """Never the authenticator, cookies or tokens."""
    async with open_counter(capsys) as counter:
        code, out, err = await counter.call("-v", "-d", "x", "-H", "Cookie: session=hunter2")
        assert (code, out) == (0, "you sent x")
        assert f"* orders at {counter.origin}, with a ticket\n" in err
        assert "* bound: method, origin, target, content-type, body\n> POST /v1/orders?id=7 HTTP/1.1\n" in err
        assert '> Authorization: Orthros v=1, h="content-type", <' in err
        assert "> Cookie: <15 bytes, not shown>\n" in err
        assert err.count("* an answer of status 401, to be proven\n") == 1
        assert "< HTTP/1.1 200 OK\n" in err
        assert "* proven by orders@test.realm: status, content-type, body (at its end)\n" in err
        for heard in counter.target.heard:
            assert (heard.value("authorization") or b"").decode().partition('r="')[2][:40] not in err
        assert "hunter2" not in err
        counter.target.sealed_bodies = False
        assert (await counter.call())[0] == 2
        code, out, err = await counter.call("-v", "--accept-unproven-body")
        assert (code, out) == (0, "you sent ")
        assert "* the body is not proven\n" in err


@pytest.mark.parity("L6")
async def test_explain_sends_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The head as it would be, without daemon, network or secrets."""
    (tmp_path / "file").write_bytes(b"one\ntwo\n")
    words = ("--explain-http", "-H", "Cookie: session=hunter2", "-H", "Idempotency-Key: k1", "--socket", "/nowhere")
    url = "https://orders.example/v1?q=a b"
    code, out, err = typed(capsys, "call", url, "--target", "orders", "--json", "{}", *words)
    assert (code, err) == (0, "")
    digest_line = f"Content-Digest: {format_content_digest(digest(b'{}')).decode()}\n"
    assert out.startswith("POST /v1?q=a%20b HTTP/1.1\nHost: orders.example\n")
    assert digest_line in out
    assert 'Authorization: Orthros v=1, h="content-type;idempotency-key", r="<AP-REQ for orders, new' in out
    assert out.endswith(
        "\nBound: method, origin https://orders.example, target, content-type, idempotency-key, body.\n"
    )
    assert "hunter2" not in out
    code, out, _err = typed(capsys, "call", url, "--target", "orders", "-T", str(tmp_path / "file"), "--explain-http")
    assert (code, "Content-Length: 8\n" in out) == (0, True)
    assert "Bound: method, origin https://orders.example, target, body.\n" in out
    code, out, _err = typed(capsys, "call", url, "--target", "ledger", "--bearer", "--explain-http")
    assert "Authorization: Bearer <a JWT for ledger>\n" in out
    assert "there is no body" in typed(capsys, "call", url, "--target", "orders", "--explain-http")[1]


@pytest.mark.parity("L29")
async def test_origins_from_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--targets or ORTHROS_TARGETS; every other origin is refused before anything is asked or sent."""
    file = tmp_path / "targets.toml"
    async with open_counter(capsys) as counter:
        file.write_text(
            f'bearer = ["https://l.example"]\n[targets]\n"{counter.origin}" = "orders"\n"https://l.example" = "l"\n'
        )
        assert (await counter.call("--targets", str(file), target=None))[0] == 0
        monkeypatch.setenv("ORTHROS_TARGETS", str(file))
        assert (await counter.call(target=None))[0] == 0
        heard = len(counter.target.heard)
        for url in (
            counter.url().replace("127.0.0.1", "localhost"),
            counter.url().replace("//", "//x@"),
            "http://[::1]/",
        ):
            code, out, err = await counter.type("call", url)
            assert (code, out) == (1, "")
            assert code_told(err) == "origin-unknown"
        monkeypatch.delenv("ORTHROS_TARGETS")
        code, _out, err = await counter.call(target=None)
        assert code == 1
        assert "name its target with --target, or map it with --targets FILE" in err
        assert len(counter.target.heard) == heard


@pytest.mark.parity("L29")
@pytest.mark.parametrize(
    "content",
    [
        "targets = 1",
        "other = 1",
        "bearer = 1",
        'bearer = [1]\n[targets]\n"https://o" = "o"',
        "[targets]\nx = 1",
        "=",
        "\xff",
    ],
)
def test_a_file_of_origins_is_read_strictly(content: str, tmp_path: Path) -> None:
    """A mistake in it is said, not passed over."""
    file = tmp_path / "targets.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(Misconfigured, match="config-invalid"):
        load_targets(str(file))
    with pytest.raises(Misconfigured, match="file-unreadable"):
        load_targets(str(tmp_path / "none"))
    assert load_targets(None, {}).origins == {}


@pytest.mark.parity("K17", "B2")
async def test_refusals_and_faults_have_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """3 refused with cause and remedy, by the KDC or the target; 2 unproven; 4 unavailable."""
    async with open_counter(capsys) as counter:
        code, out, err = await counter.call(target="payroll")
        assert (code, out) == (3, "")
        assert code_told(err) == "not-granted"
        assert "policy allow web payroll" in err
        code, _out, err = await counter.call(target="billing")
        assert code == 2
        assert code_told(err) == "response-unproven"
        assert (await counter.call())[0] == 0
        counter.target.between = lambda said: said.with_header("orthros-reply", None)
        code, out, err = await counter.call()
        assert (code, out) == (2, "")
        assert "status 200 without Orthros-Reply" in err
        code, _out, err = await counter.type("call", "http://127.0.0.1:1/", "--target", "orders")
        assert code == 4
        assert code_told(err) == "target-unreachable"
        code, _out, err = await counter.call("--output", "json", target="payroll")
        assert (code, json.loads(err)["error"]) == (3, "not-granted")
    code, _out, err = typed(capsys, "call", "https://o.example", "--target", "orders", "--socket", "/nowhere")
    assert (code, code_told(err)) == (4, "daemon-unreachable")


@pytest.mark.parity("K17")
async def test_what_may_have_been_executed_has_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """2, with cause and remedy; with a promise the call is repeated instead."""
    async with open_counter(capsys) as counter:
        for process in counter.target.processes:
            process.born = Timestamp(counter.target.now() - 60_000)  # nobody has to wait for it

        def take_turns() -> None:
            counter.target.heard.clear()
            counter.target.choose = lambda number: [0, 1, 1][number]

        take_turns()
        code, out, err = await counter.call("-d", "x")
        assert (code, out, counter.target.executed) == (2, "", [])
        assert code_told(err) == "maybe-executed"
        assert err.startswith("orthros: The target refused the call, but a copy of it may")
        assert "Find out at the target before you repeat the call." in err
        for words in (("--harmless",), ("--idempotency-key",), ("--idempotency-key", "k1")):
            take_turns()
            counter.target.executed.clear()
            assert (await counter.call("-d", "x", *words))[0] == 0
            (sent,) = counter.target.executed
            keys = {heard.value("idempotency-key") for heard in counter.target.heard}
            assert keys == {sent.value("idempotency-key")}
            assert (keys != {None}) == (words != ("--harmless",))


@pytest.mark.parity("B2", "L6")
async def test_a_refusal_of_the_target_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Something between rewrote the request; the target's proven reason, cause and remedy."""
    async with open_counter(capsys) as counter:
        honest = counter.target.hear

        def meddle(heard: Heard) -> Said:
            return honest(evolve(heard, target=b"/v2"))

        with listening(meddle) as port:
            counter.target.authority = f"127.0.0.1:{port}"
            code, out, err = await counter.type("call", f"http://127.0.0.1:{port}/v1", "--target", "orders")
    assert (code, out) == (3, "")
    assert code_told(err) == "wrong-binding"
    assert err.startswith("orthros: The request was made for another endpoint")
    assert "(signed: GET http://127.0.0.1:" in err
    assert "remedy: Compare what was signed with what was received: " in err


@pytest.mark.parity("L19", "K17")
@pytest.mark.parametrize(
    ("status", "code"), [(200, 0), (302, 0), (400, 2), (401, 3), (403, 3), (404, 5), (429, 4), (500, 2), (503, 4)]
)
async def test_fail_turns_a_status_into_an_exit_code(
    status: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only with --fail; what the target says is proven in both cases."""
    async with open_counter(capsys) as counter:
        counter.target.application = lambda _heard: Said(status, (), b"words")
        assert await counter.call() == (0, "words", "")
        got, out, err = await counter.call("--fail")
        assert (got, out) == (code, "words" if code == 0 else "")
        assert err == ("" if code == 0 else f"orthros: the target answered {status} {HTTPStatus(status).phrase}\n")


@pytest.mark.parity("L11")
async def test_a_truncated_download_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nothing of it is shown, and the exit code is not 0; also when the length itself was forged."""
    async with open_counter(capsys) as counter:
        counter.target.application = lambda _heard: Said(200, (("Connection", "close"),), b"x" * 100)
        assert (await counter.call())[0] == 0

        def cut(said: Said) -> Said:
            return evolve(said, headers=(*said.headers, ("Content-Length", "100")), body=said.body[:40])

        counter.target.between = lambda said: cut(said) if said.status == 200 else said
        code, out, err = await counter.call()
        assert (code, out) == (2, "")
        assert code_told(err) == "connection-truncated"
        assert "after 40 bytes" in err
        assert (await counter.call("-o", str(tmp_path / "body")))[0] == 2
        assert list(tmp_path.iterdir()) == []
        counter.target.between = lambda said: evolve(said, body=said.body[:40])
        code, out, err = await counter.call()
        assert (code, out) == (2, "")
        assert "40 bytes came" in err
        size = 3 << 20
        counter.target.application = lambda _heard: Said(200, (("Connection", "close"),), b"x" * size)
        counter.target.between = lambda said: evolve(said, body=said.body[:-1] + b"y") if said.status == 200 else said
        code, out, err = await counter.call()
        # Too large to hold, but for its last piece: who pipes it on looks at the exit code, or says -o.
        assert code == 2
        assert (1 << 20) < len(out) < size
        assert f"{size} bytes came" in err


@pytest.mark.parity("L6")
async def test_tls_and_unix_sockets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--cacert and --unix-socket; the origin stays what the URL says."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    async with open_counter(capsys, tls=context) as counter:
        counter.target.scheme = "https"
        counter.origin = counter.origin.replace("http:", "https:")
        assert await counter.call("--cacert", str(bundle)) == (0, "you sent ", "")
        code, _out, err = await counter.call()
        assert code == 4
        assert "CERTIFICATE_VERIFY_FAILED" in err
        code, _out, err = await counter.call("--cacert", str(tmp_path / "none"))
        assert (code, code_told(err)) == (1, "file-unreadable")
    path = f"{tmp_path}/s"
    async with open_counter(capsys, path=path) as counter:
        counter.target.authority = "orders.example:80"
        words = ("call", "http://orders.example/x", "--target", "orders", "--unix-socket", path)
        assert await counter.type(*words) == (0, "you sent ", "")


@pytest.mark.parity("P14", "P2")
async def test_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    """--bearer sends a JWT, on loopback or over TLS only."""
    reached: list[Heard] = []

    def ledger(heard: Heard) -> Said:
        reached.append(heard)
        return Said(200, (), b"booked")

    async with open_counter(capsys) as counter:
        with listening(ledger) as port:
            code, out, err = await counter.type(
                "call", f"http://127.0.0.1:{port}/", "--target", "orders", "--bearer", "-v"
            )
        assert (code, out) == (0, "booked")
        sent = (reached[0].value("authorization") or b"").decode()
        assert sent.startswith("Bearer jwt-for.orders.")
        assert sent.removeprefix("Bearer ") not in err
        assert "* nothing is proven beyond TLS" in err
        code, _out, err = await counter.type("call", "http://10.0.0.1/", "--target", "orders", "--bearer")
        assert (code, code_told(err)) == (1, "config-invalid")


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-d", "x", "--json", "{}"), "value-invalid"),
        (("-d", "x", "-T", "/etc/hostname"), "value-invalid"),
        (("-I", "-d", "x"), "value-invalid"),
        (("-X", "G T"), "value-invalid"),
        (("-H", "no colon"), "value-invalid"),
        (("-H", "X: a\nY: b"), "value-invalid"),
        (("-H", "Authorization: Bearer x"), "value-invalid"),
        (("-H", "Host: evil.example"), "value-invalid"),
        (("--cover", "host"), "value-invalid"),
        (("-H", "Idempotency-Key: a", "--idempotency-key", "b"), "value-invalid"),
        (("--idempotency-key", "a\nb"), "value-invalid"),
        (("-d", "@/nowhere"), "file-unreadable"),
        (("-T", "/nowhere"), "file-unreadable"),
        (("-T", "/"), "file-unreadable"),
        (("--scope", "B A D"), "scope-invalid"),
    ],
)
async def test_contradictions_are_local_errors(
    words: tuple[str, ...], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is sent, exit code 1, and no traceback."""
    async with open_counter(capsys) as counter:
        got, out, err = await counter.call(*words)
        assert (got, out, code_told(err)) == (1, "", code)
        assert counter.target.heard == []


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    "url",
    [
        "orders.example/x",
        "ftp://orders.example/",
        "https://",
        "https://orders.example:x/",
        "https://a b/",
        "https://\x00/",
    ],
)
def test_a_bad_url_is_a_local_error(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason."""
    code, out, err = typed(capsys, "call", url, "--target", "orders", "--socket", "/nowhere")
    assert (code, out) == (1, "")
    assert code_told(err) in ("value-invalid", "origin-unknown")


@pytest.mark.parity("K17")
def test_without_httpx_the_way_to_get_it_is_said() -> None:
    """Every other command works without the extra."""
    script = textwrap.dedent(
        """
        import sys
        sys.modules["httpx"] = sys.modules["httpx2"] = None
        from orthros_client.cli.__main__ import main
        assert main(["version"]) == 0
        sys.exit(main(["call", "https://orders.example/", "--target", "orders"]))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 1
    assert "httpx is in the extra httpx of the wheel that you installed" in done.stderr
    assert "-m pip install " in done.stderr
    assert "Traceback" not in done.stderr
