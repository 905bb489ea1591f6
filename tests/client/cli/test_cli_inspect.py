from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from orthros_client import Credentials, save_credentials
from orthros_client.cli.__main__ import main
from orthros_client.cli.inspect import lines_of
from orthros_client.credentials.worker_login import WorkerLogin
from orthros_client.inspection import Eye, Finding, inspect
from orthros_client.matryoshka import SigningKey, nest
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, AssertedUser, parse_ap_request
from orthros_protocol.exchanges.http_profile import (
    HttpResponse,
    format_authorization,
    format_challenge,
    seal_http_reply,
)
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
)
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.discharges import Discharge
from orthros_protocol.tickets.ticket import open_ticket
from tests.client.cli.told import code_told
from tests.support.leaks import forms_of
from tests.support.parties import BIND, PREDICATE, Parties
from tests.support.specimens import collect_specimens

JWT_KEY = bytes(range(32))


@define
class Shelf:
    """One thing of every kind that `inspect` knows, and what must never be shown of it."""

    parties: Parties = field(factory=Parties)
    things: dict[str, bytes] = field(factory=dict)
    secrets: dict[str, list[bytes]] = field(factory=dict)

    @property
    def second(self) -> int:
        return self.parties.second

    def keytab(self, name: str) -> Keytab:
        return self.parties.realm.keytab(name)

    def eye(self, name: str | None = None) -> Eye:
        return Eye(keytab=None if name is None else self.keytab(name), now_s=self.second)

    def look(self, thing: str, name: str | None = None) -> Finding:
        return inspect(self.things[thing], self.eye(name))

    def put(self, name: str, thing: bytes | str, *secrets: bytes) -> None:
        self.things[name] = thing if isinstance(thing, bytes) else thing.encode()
        self.secrets[name] = list(secrets)


def request_of(credentials: Credentials, **options: Any) -> bytes:
    return credentials.present(BIND, use=USE_HTTP, **options).request


def stock(folder: Path) -> Shelf:
    """The shelf, with files written into `folder`."""
    shelf = Shelf()
    parties, realm = shelf.parties, shelf.parties.realm
    realm.allow("web", "orders", "read", "write", caveats=[PeerCaveat(("10.0.0.0/8",))])
    plain = parties.credentials("web", "orders")
    session_key = open_ticket(plain.ticket, realm.root("orders").ticket_key()).session_key
    narrowed = plain.narrow(scopes=["read"], methods=["GET"], path="/v1", lifetime=600, app={"shop/tenant": b"acme"})
    demanding = narrowed.demand(parties.credentials("web", "approvals"), PREDICATE)
    obtain = parties.obtain("web", parties.discharger())
    discharge: Discharge = obtain(demanding.demanded[0])
    ready = demanding.with_discharges([discharge])
    request = request_of(ready, user=AssertedUser("alice", 2))
    proof = parse_ap_request(request).mac
    known = (session_key, plain.tail, narrowed.tail, ready.tail, discharge.tail)
    sealed = (plain.ticket[15:47], plain.ticket[-32:])
    shelf.put("ticket", plain.ticket, *known, *sealed)
    shelf.put("request", request, proof, *known, *sealed)
    shelf.put("header", f"Authorization: {format_authorization(request, ['content-type'])}\r\n", proof, *known, *sealed)
    with pytest.raises(Refused) as refused:
        parties.verifier().accept(plain.present(BIND).request, "elsewhere", b"")
    answer, code = refused.value.reply, refused.value.code
    assert answer is not None
    shelf.put("answer", answer, answer[-32:], *known)
    shelf.put("challenge", "WWW-Authenticate: " + format_challenge(realm.name, code, answer), answer[-32:], *known)
    response = HttpResponse(status=200, headers=(("content-type", b"text/plain"),))
    reply = seal_http_reply(
        known[1], request, response, covered=["content-type"], body_digest=None, now=realm.clock.now(), epoch=b"e" * 8
    )
    shelf.put("reply", f"Orthros-Reply: {reply}", base64.urlsafe_b64decode(reply.rpartition("m=")[2] + "="), *known)
    handed = narrowed.hand_over(parties.credentials("web", "worker"))
    shelf.put("hand-over", handed, handed[-32:], *known, *sealed)
    shelf.put("demand", demanding.demands[0], demanding.demands[0][-32:], *known)
    save_credentials(narrowed, folder / "credentials")
    shelf.put("credentials", (folder / "credentials").read_bytes(), *known, *sealed)
    root: RootKey = realm.root("orders")
    keys = (root.material, root.ticket_key().material, root.as_key().material)
    shelf.put("key file", Keytab.of(root).to_bytes(), *keys)
    shelf.put("key text", Keytab.of(root).verify_only().to_text() + "\n", *keys)
    shelf.put("login", login_of(shelf), b"t" * 32)
    token = jwt.encode(
        {"sub": "shop", "exp": shelf.second + 60, "kdc": "1.AAAAAAAAAAAAAAAAAAAAAA", "note": Keytab.of(root).to_text()},
        JWT_KEY, algorithm="HS256", headers={"typ": "orthros+jwt"},
    )  # fmt: skip
    shelf.put("token", token, signature_of(token), *keys)
    shelf.put("bearer", f"Bearer {token}", signature_of(token), *keys)
    key = SigningKey(material=JWT_KEY, sid="edge")
    inner = nest({"sub": "alice"}, key)
    outer = nest({"sub": "edge"}, key, previous=inner, sid="edge")
    shelf.put("nested", outer, signature_of(inner), signature_of(outer), JWT_KEY)
    jwk = {"kty": "oct", "alg": "HS256", "kid": "k1", "k": base64.urlsafe_b64encode(JWT_KEY).decode().rstrip("=")}
    shelf.put("jwk", json.dumps(jwk), JWT_KEY)
    shelf.put("oauth", "ort1s_" + base64.b32encode(JWT_KEY).decode().rstrip("=").lower(), JWT_KEY)
    return shelf


def login_of(shelf: Shelf) -> bytes:
    tgt = bytearray(shelf.parties.credentials("web", "orders").ticket)
    tgt[2] = 1
    caveats = (
        ExpiresCaveat(shelf.second + 600).to_bytes(),
        TargetsCaveat((shelf.parties.realm.principal("orders"),)).to_bytes(),
    )
    credential = Credential(
        ticket=bytes(tgt),
        caveats=caveats,
        tail=b"t" * 32,
        target=Principal("test.realm", KDC_TGT),
        client=shelf.parties.realm.principal("web"),
        life=Life.until(shelf.second + 600, 3600),
    )
    return WorkerLogin(credential=credential, uid=16).to_bytes()


def signature_of(token: str) -> bytes:
    encoded = token.rpartition(".")[2]
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return stock(tmp_path_factory.mktemp("shelf"))


def shown(found: Finding, now_s: int) -> str:
    return "\n".join([*lines_of(found, now_s), json.dumps(found.to_json(), allow_nan=False)])


def walk(found: Finding) -> Iterator[Finding]:
    yield found
    for one in found.inside:
        yield from walk(one)


KINDS = {
    "ticket": ["ticket"],
    "request": ["ap-request", "ticket"],
    "header": ["http-authorization", "ap-request", "ticket"],
    "answer": ["ap-error"],
    "challenge": ["http-challenge", "ap-error"],
    "reply": ["http-reply"],
    "hand-over": ["hand-over", "ticket"],
    "demand": ["demand", "ticket"],
    "credentials": ["credential-file", "ticket"],
    "key file": ["key-file"],
    "key text": ["key-file"],
    "login": ["login-file", "ticket"],
    "token": ["jwt"],
    "bearer": ["http-bearer", "jwt"],
    "nested": ["nested-jwt", "jwt"],
    "jwk": ["jwk"],
    "oauth": ["oauth-secret"],
}


@pytest.mark.parity("L7", "B4")
def test_every_kind_is_told_by_itself(shelf: Shelf) -> None:
    """And each says what is unverified, or that it proves nothing by itself."""
    assert {name: [one.kind for one in walk(shelf.look(name))] for name in shelf.things} == KINDS
    for name in shelf.things:
        innermost = [*walk(shelf.look(name))][-1]
        assert innermost.unverified, name
        assert not shelf.look(name).has_wrong


@pytest.mark.parity("B4", "L23")
@pytest.mark.parametrize("holder", [None, "orders", "worker", "web"])
@pytest.mark.parametrize("name", KINDS)
def test_no_secret_is_shown(name: str, holder: str | None, shelf: Shelf) -> None:
    """Neither in words nor as JSON, with a key or without."""
    text = shown(shelf.look(name, holder), shelf.second).encode()
    leaks = [form for secret in shelf.secrets[name] for form, found in forms_of(secret).items() if found in text]
    assert leaks == []


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("jwk", "login")])
def test_bytes_may_come_as_text(name: str, shelf: Shelf) -> None:
    """What is copied from a log or a terminal: hex, base64, base64url, broken into lines."""
    data = shelf.things[name]
    if data.isascii():
        return
    for text in (
        data.hex().encode(),
        base64.encodebytes(data),
        base64.urlsafe_b64encode(data).rstrip(b"="),
    ):
        found = inspect(text, shelf.eye())
        assert found.kind == KINDS[name][0]
        assert found.facts["came_as"] in ("hex", "base64")


@pytest.mark.parity("L7")
def test_caveats_in_words(shelf: Shelf) -> None:
    """Each type; what this version cannot read is said to be refused."""
    second = shelf.second
    rows = [
        ExpiresCaveat(second).to_bytes(),
        ScopesCaveat(()).to_bytes(),
        MethodsCaveat(("GET", "PUT")).to_bytes(),
        ChannelCaveat(b"c" * 32).to_bytes(),
        TargetsCaveat((Principal("test.realm", "orders"),)).to_bytes(),
        AppCaveat("shop/raw", b"\x1b[2J").to_bytes(),
        encode(77, "future"),
    ]
    plain = shelf.parties.credentials("web", "orders")
    body = encode(
        1, 3, 0, plain.ticket, join_caveats(rows), [join_caveats(rows[:1])], shelf.second * 1000, b"n" * 16, None, 0,
        b"b" * 32, None, [], [],
    )  # fmt: skip
    found = inspect(encode(body, b"m" * 32), shelf.eye())
    assert found.allows == (
        "only before 2027-01-15 08:00:00 UTC",
        "no scope: it authenticates alone",
        "only the HTTP methods GET PUT",
        "only over the channel (a certificate, for example) with a given digest",
        "only tickets for orders@test.realm",
        "shop/raw, which only the service understands: 4 bytes",
        "a caveat that this version cannot read (type 77, unknown): a service refuses it",
        "discharge 1: only before 2027-01-15 08:00:00 UTC",
    )


WITHOUT_KEY = """\
Orthros request (AP-REQ), SIZE bytes
  use           HTTP: one request
  made          2027-01-15 08:00:00 UTC, in 0 s
  safe          no
  bound         yes, to a digest of what it is for
  process       not named: a first contact
  user          alice, asserted by the caller
  discharges    1
  ticket bytes  SIZE
  caveat bytes  SIZE
  caveats       only before 2027-01-15 08:10:00 UTC
                only the scopes read
                only the HTTP methods GET
                only HTTP paths at or below /v1
                shop/tenant, which only the service understands: acme
                only with a discharge of approvals@test.realm
                discharge 1: only before 2027-01-15 08:01:00 UTC
  UNVERIFIED    all of it, its caveats included: without the service's key nothing shows who made it
  Orthros ticket, SIZE bytes
    type          service ticket
    key version   1
    key id        ID
    UNVERIFIED    all of it: anybody could have written these bytes
    sealed        client, scopes, times, subject, call chain, caveats that the KDC wrote, and the session key
                  for which service it is: only its key opens it"""

WITH_KEY = """\
  verified      the MAC is right: whoever made it holds the ticket's key behind these caveats and discharges,
                and nothing was changed
  UNVERIFIED    whether it was presented before, its timestamp, what it is bound to, caveats, discharges'
                caveats and revocation: the service judges those when it is called
  Orthros ticket, SIZE bytes
    type          service ticket
    key version   1
    key id        ID
    service       orders@test.realm
    client        web@test.realm
    client uid    16
    scopes        read write
    issued        2027-01-15 08:00:00 UTC, in 0 s
    expires       2027-01-15 09:00:00 UTC, in 1 h 0 min
    logged in     2027-01-15 08:00:00 UTC, in 0 s
    login key id  ID
    flags         none
    chain         none
    ticket id     ID
    transaction   ID
    caveats       only from 10.0.0.0/8 (written into the ticket)
    verified      it opens with the key of orders@test.realm, version 1: whoever sealed it held that key
    UNVERIFIED    that the KDC wrote it: only the KDC can check its mark, and whoever holds this service's key
                  can write tickets to this service"""


def steady(lines: Iterator[str]) -> str:
    text = re.sub(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b", "ID", "\n".join(lines))
    return re.sub(r"\b\d{2,4}( bytes)|(?<=bytes  )\d+", r"SIZE\1", text)


@pytest.mark.parity("L7", "B4")
def test_a_request_without_and_with_the_key_of_its_service(shelf: Shelf) -> None:
    """Golden; what a service may know of it, and what it may not."""
    assert steady(lines_of(shelf.look("request"), shelf.second)) == WITHOUT_KEY
    text = steady(lines_of(shelf.look("request", "orders"), shelf.second))
    assert text == WITHOUT_KEY.partition("  UNVERIFIED")[0] + WITH_KEY


@pytest.mark.parity("L7")
def test_what_was_changed_is_wrong(shelf: Shelf) -> None:
    """A caveat that is dropped, edited or moved, and a discharge that is left out, break the MAC."""
    eye = shelf.eye("orders")
    plain = shelf.parties.credentials("web", "orders")
    narrowed = plain.narrow(scopes=["read"]).narrow(path="/orders")
    parsed = parse_ap_request(request_of(narrowed))
    rows = narrowed.caveats
    assert not inspect(parsed.whole, eye).has_wrong
    for changed in (
        (),
        rows[:1],
        rows[1:],
        rows[::-1],
        (rows[0], rows[1].replace(b"/orders", b"/order/")),
        (*rows, rows[0]),
    ):
        items = [1, 3, 1, plain.ticket, join_caveats(changed), [], parsed.ts, parsed.nonce, parsed.epoch, 0, BIND, None]
        found = inspect(encode(encode(*items, [], []), parsed.mac), eye)
        assert found.verified == ()
        assert found.wrong[0].startswith("the MAC: something was changed")
        assert found.inside[0].verified
    demanding = narrowed.demand(shelf.parties.credentials("web", "approvals"), PREDICATE)
    found = inspect(request_of(demanding), eye)
    assert found.verified
    assert found.notes == ("the ticket demands 1 discharges, which are not there: it is refused",)


@pytest.mark.parity("B4")
def test_anothers_key_opens_nothing(shelf: Shelf) -> None:
    """It is said, and the rest is unverified."""
    for name in ("request", "ticket", "credentials", "header"):
        ticket = [*walk(shelf.look(name, "ledger"))][-1]
        assert ticket.wrong[0].startswith("it does not open with the key file of ledger@test.realm: The message names")
        assert ticket.verified == ()
    found = shelf.look("hand-over", "ledger")
    assert found.has_wrong
    assert "target" not in found.facts


@pytest.mark.parity("L23")
def test_a_hand_over_with_the_key_of_its_receiver(shelf: Shelf) -> None:
    """From whom, for what, within which caveats; its ticket stays sealed."""
    found = shelf.look("hand-over", "worker")
    assert (found.facts["handed_over_by"], found.facts["target"]) == ("web@test.realm", "orders@test.realm")
    assert found.allows[1:4] == ("only the scopes read", "only the HTTP methods GET", "only HTTP paths at or below /v1")
    assert "web@test.realm sealed it" in found.verified[0]
    later = Eye(keytab=shelf.keytab("worker"), now_s=shelf.second + 7200)
    assert "The ticket has expired." in inspect(shelf.things["hand-over"], later).wrong[0]


def test_what_has_ended_is_said(shelf: Shelf) -> None:
    later = shelf.second + 90_000
    for name, holder in (("ticket", "orders"), ("credentials", None), ("login", None), ("token", None)):
        eye = Eye(keytab=None if holder is None else shelf.keytab(holder), now_s=later)
        found = inspect(shelf.things[name], eye)
        assert any("it has ended" in note for note in found.notes)
        assert not any("it has ended" in note for note in shelf.look(name, holder).notes)


@pytest.mark.parity("K17")
def test_damaged_files_say_what_they_claim_to_be(shelf: Shelf) -> None:
    """With the reason, and without their content."""
    for name in ("credentials", "key file", "login"):
        found = inspect(shelf.things[name][:-1], shelf.eye())
        assert not found.is_recognised
        assert "checksum is wrong" in found.notes[0]


@pytest.mark.parity("P9")
def test_tokens_say_that_nothing_was_checked(shelf: Shelf) -> None:
    """Claims of every layer, tokens and keys in them cut out, controls made harmless."""
    token = shelf.look("token")
    assert token.facts["claims"] == {
        "sub": "shop",
        "exp": shelf.second + 60,
        "kdc": "a mark that only the KDC can check",
        "note": "<key redacted>",
    }
    nested = shelf.look("nested")
    assert nested.facts["claims"] == {"sub": "edge", "auth_stack": "a token inside, see below"}
    assert nested.inside[0].facts["claims"] == {"sub": "alice"}
    assert nested.inside[0].facts["remarks"] == ["signature-unchecked"]
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=") + b".e30."
    assert "it is not signed at all" in inspect(unsigned, shelf.eye()).notes
    evil = jwt.encode({"sub": "\x1b[2J\u202e\x7f", "\x07": 1}, JWT_KEY, algorithm="HS256")
    text = "".join(lines_of(inspect(evil.encode(), shelf.eye()), shelf.second))
    assert text.isprintable()
    assert text.isascii()


def test_messages_of_other_kinds_are_not_taken_for_ours(shelf: Shelf) -> None:
    """What is unknown stays unknown, whoever looks."""
    kinds = {name: inspect(message, shelf.eye()).kind for name, message in collect_specimens().messages.items()}
    assert {kinds[name] for name in kinds if "AS-" in name or "TGS-" in name} <= {"unknown"}
    assert "ap-request" in kinds.values()


def run(capsys: pytest.CaptureFixture[str], *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main(("inspect", *words))
        except SystemExit as done:
            code = int(str(done.code))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parity("K17")
def test_the_command(shelf: Shelf, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file, standard input, words or JSON; 2 says that something in it is wrong."""
    path, keys = tmp_path / "thing", tmp_path / "orders.key"
    path.write_bytes(shelf.things["request"])
    path.chmod(0o644)
    shelf.keytab("orders").verify_only().save(keys)
    code, out, err = run(capsys, str(path), "--key-file", str(keys))
    assert (code, err) == (0, "")
    assert "verified      the MAC is right" in out
    code, out, _err = run(capsys, "--output", "json", stdin=shelf.things["header"])
    facts = json.loads(out)
    assert (code, facts["kind"], facts["exposed"]) == (0, "http-authorization", False)
    assert facts["inside"][0]["inside"][0]["kind"] == "ticket"
    path.write_bytes(shelf.things["request"][:-1] + b"!")
    code, out, _err = run(capsys, str(path), "--key-file", str(keys))
    assert (code, "WRONG         the MAC" in out) == (2, True)
    path.write_bytes(shelf.things["credentials"])
    code, out, _err = run(capsys, str(path))
    assert (code, "its mode is 0644: other users may read it; make it 0600" in out) == (0, True)
    code, out, _err = run(capsys, "-", "--output", "json", stdin=shelf.things["credentials"])
    assert (code, json.loads(out)["exposed"], json.loads(out)["secret"]) == (0, False, True)
    code, out, _err = run(capsys, "--key-file", str(keys), stdin=shelf.things["token"])
    assert (code, "--key-file opens nothing here" in out) == (0, True)


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("words", "stdin", "code", "detail"),
    [
        ((), b"", "not-recognised", "it is empty"),
        ((), b"hello", "not-recognised", "5 bytes"),
        ((), b"ORTHROSK\x01", "not-recognised", "it begins as a key file, but"),
        (("FOLDER/none",), b"", "file-unreadable", "No such file"),
        (("FOLDER",), b"", "file-unreadable", "Is a directory"),
        (("a\0b",), b"", "file-unreadable", "null byte"),
        ((), b"x" * ((1 << 20) + 1), "file-unreadable", "more than 1048576 bytes"),
        (("--key-file", "FOLDER/none"), b"x", "file-unreadable", "No such file"),
    ],
)
def test_what_cannot_be_looked_at(  # noqa: PLR0917  # the columns of the table
    words: tuple[str, ...],
    stdin: bytes,
    code: str,
    detail: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Exit code 1, cause and remedy."""
    got, out, err = run(capsys, *(word.replace("FOLDER", str(tmp_path)) for word in words), stdin=stdin)
    assert (got, out, code_told(err)) == (1, "", code)
    assert detail in err


@pytest.mark.parity("K17")
@pytest.mark.parametrize("name", ["header", "token", "bearer", "key text", "oauth", "nested"])
def test_texts_are_not_taken_from_the_command_line(name: str, shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """Other users see command lines; it is refused, and not repeated."""
    text = shelf.things[name].decode().strip()
    code, out, err = run(capsys, text)
    assert (code, out) == (1, "")
    assert "others see command lines" in err
    assert text[40:80] not in err


@pytest.mark.parity("K17")
def test_without_the_extra_the_outermost_token_is_shown(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the way to get at the others."""
    for name in [name for name in sys.modules if name.startswith("orthros_client.matryoshka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "joserfc", None)
    found = shelf.look("nested")
    assert found.inside == ()
    assert "joserfc is in the extra matryoshka of the wheel that you installed" in found.notes[-1]
    assert "[matryoshka]" in found.notes[-1]
    assert shelf.secrets["nested"][0].hex() not in shown(found, shelf.second)


HEADS = [
    b"", b"\x01\x01\x02", b"\x92\xc4", b"\x94\x01\xc4", b"\x95", b"ORTHROSK\x01", b"ORTHROSN\x02", b"ORTHROSL\x02",
    b"ORTHROSC\x03", b"ort1k_", b"Bearer ", b'Orthros v=1, h="", r="', b'Orthros realm="x"', b"s=", b'{"kty":', b"e30.",
]  # fmt: skip
LOOKERS = [None, "orders", "worker"]


def unleaked(found: Finding, shelf: Shelf, secrets: list[bytes]) -> bool:
    text = shown(found, shelf.second)
    assert text.isascii()
    return not any(form in text.encode() for secret in secrets for form in forms_of(secret).values())


@pytest.mark.parity("K17")
@given(st.sampled_from(HEADS), st.binary(max_size=400), st.sampled_from(LOOKERS), st.booleans())
def test_random_bytes_are_looked_at_calmly(
    shelf: Shelf, head: bytes, data: bytes, holder: str | None, as_text: bool
) -> None:
    """Nothing raises, and no run of 16 of their bytes is shown in any form."""
    body = base64.urlsafe_b64encode(data) if as_text else data
    found = inspect(head + body, shelf.eye(holder))
    chunks = [data[at : at + 16] for at in range(0, len(data) - 15, 16) if len(set(data[at : at + 16])) > 8]
    assert unleaked(found, shelf, chunks)


@pytest.mark.parity("K17", "B4")
@given(st.sampled_from(sorted(KINDS)), st.data(), st.sampled_from(LOOKERS))
def test_damaged_things_are_looked_at_calmly(shelf: Shelf, name: str, data: st.DataObject, holder: str | None) -> None:
    """Changed, cut, doubled: nothing raises, and what was secret before is not shown."""
    thing = bytearray(shelf.things[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(thing)))
        match data.draw(st.sampled_from(["change", "cut", "insert", "repeat"])):
            case "change" if at < len(thing):
                thing[at] = data.draw(st.integers(0, 255))
            case "cut":
                del thing[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                thing[at:at] = data.draw(st.binary(max_size=8))
            case _:
                thing[at:at] = thing[:at][-40:]
        if not thing:
            return
    # The key in a token's claim is told by its mark; once that is damaged it is a text like any other.
    secrets = shelf.secrets[name][:1] if name in ("token", "bearer") else shelf.secrets[name]
    assert unleaked(inspect(bytes(thing), shelf.eye(holder)), shelf, secrets)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


CLAIMS = st.dictionaries(st.sampled_from(["exp", "iat", "auth_stack", "auth_token", "act", "x"]), JSON_VALUES)


@pytest.mark.parity("P9", "K17")
@given(CLAIMS, st.binary(min_size=32, max_size=32))
def test_claims_of_any_shape_are_shown_safely(shelf: Shelf, claims: dict[str, Any], signature: bytes) -> None:
    """Printable, never raising, without the signature."""
    parts = [json.dumps({"alg": "HS256"}).encode(), json.dumps(claims).encode(), signature]
    token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    found = inspect(token, shelf.eye())
    assert found.kind in ("jwt", "nested-jwt")
    text = "".join(lines_of(found, shelf.second))
    assert text.isascii()
    assert text.isprintable()
    secrets = [signature] if len(set(signature)) > 16 else []
    assert unleaked(found, shelf, secrets)


def test_schema_shows_the_fields_and_the_source_of_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--schema", "AP-REP"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("AP-REP, orthros_protocol.exchanges.ap_exchange.ApReply, at most 4096 bytes\n")
    assert re.search(r"^   1  nonce +bin 16$", shown, re.MULTILINE)
    assert "raise Malformed('AP-REP: nonce has a wrong length')" in shown
    assert main(["--output", "json", "inspect", "--schema", "note"]) == 0
    [note] = json.loads(capsys.readouterr().out)
    assert note["fields"][2] == {"at": 2, "name": "index", "type": "0..31 or nil"}
    assert (note["class"], note["most_bytes"]) == ("orthros_protocol.tickets.notes.Note", None)


def test_schema_shows_each_message_that_errors_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name it lists them; a name that nearly fits is answered with the one that was meant."""
    # In a process of its own: it lists what is loaded, and here tests have messages of theirs.
    program = [sys.executable, "-m", "orthros_client.cli", "inspect", "--schema"]
    names = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"AS-REQ", "TGS-REP", "ticket body", "cached ticket", "worker's login", "grant"} <= {*names}
    assert main(["--output", "json", "inspect", "--schema"]) == 0
    assert {*names} <= {*json.loads(capsys.readouterr().out)}
    for name in names:
        assert main(["inspect", "--schema", name]) == 0
        assert f"{name}: not an array of " in capsys.readouterr().out
    for typed, words in (("ap-rek", "did you mean 'AP-REQ'?"), ("x", "lists the names")):
        assert main(["inspect", "--schema", typed]) == 1
        told = capsys.readouterr()
        assert (told.out, code_told(told.err)) == ("", "value-invalid")
        assert words in told.err
