"""Over a whole run at debug level, no key shows in anything that a program writes: output, logs, audit, database."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orthros_client import OrthrosError
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import ROLE_KDCMAC, ROLE_TGT, Vault
from orthros_kdc.store.base import RealmKeyRecord
from orthros_protocol.exchanges.as_exchange import PendingAs, open_as_reply, parse_as_request
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.derivation import derive, digest
from orthros_protocol.primitives.framing import frame
from orthros_protocol.primitives.messages import AS_REQ, parse_signed
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.ticket import open_ticket, peek_unverified_header
from tests.support.leaks import find_leaks, forms_of
from tests.support.processes import REALM, Estate, eventually
from tests.support.tap import Tap
from workshop.stage import Process
from workshop.tour.calls import Caller
from workshop.wire import Wire, deliver

pytestmark = pytest.mark.stories

PRINCIPALS = ("shop", "spy", "orders", "ledger")


def keys_at_rest(estate: Estate) -> dict[str, bytes]:
    """Master key, the realm's own keys, every principal's root and role keys, the JWT key."""
    master = MasterKey.from_text((estate.folder / "kdc" / "master.key").read_text())
    secrets = {"master key": master.material, "key-encryption key": master._kek}
    for name in PRINCIPALS:
        keytab = Keytab.load(estate.key_file(f"{name}.key"))
        root = keytab.root_key()
        login, ticket = root.as_key(), root.ticket_key()
        secrets |= {
            f"root of {name}": root.material,
            f"login key of {name}": login.material,
            f"reply key of {name}": login.reply_key,
            f"error key of {name}": login.error_key,
            f"ticket key of {name}": ticket.material,
            f"ticket box key of {name}": ticket.box_key,
            f"polling key of {name}": root.sync_key().material,
            f"cache key of {name}": derive(root.material, "cache"),
        }
    vault = Vault(realm=REALM, master=master)
    with sqlite3.connect(f"file:{estate.folder}/kdc/kdc.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT role, name, number, created, sealed FROM realm_keys").fetchall()
    database.close()
    for role, name, number, created, sealed in rows:
        record = RealmKeyRecord(role=role, name=name, number=number, created=created, sealed=sealed)
        if role == ROLE_TGT:
            key = vault.tgt_key(record)
            secrets |= {f"TGT key {number}": key.material, f"TGT box key {number}": key.box_key}
        elif role == ROLE_KDCMAC:
            secrets[f"KDC MAC key {number}"] = vault.kdcmac_key(record).material
        else:
            secrets[f"key of {name}"] = vault.service_key(record).material
    jwk = json.loads(estate.key_file("ledger.jwk").read_text())
    secrets["JWT key"] = base64.urlsafe_b64decode(jwk["k"] + "=" * (-len(jwk["k"]) % 4))
    return secrets


def keys_of_logins(estate: Estate, tap: Tap) -> dict[str, bytes]:
    """Session key and TGT of every login that the daemon of shop made, read from the wire with shop's key."""
    login_key = Keytab.load(estate.key_file("shop.key")).as_key()
    secrets: dict[str, bytes] = {}
    for request, reply in tap.heard:
        signed = parse_signed(request)
        if signed.kind != AS_REQ:
            continue
        asked = parse_as_request(signed)
        pending = PendingAs(message=request, nonce=asked.nonce, service=asked.service, context=digest(request))
        with suppress(OrthrosError):  # a refusal holds no key
            answer = open_as_reply(pending, login_key, reply)
            tail = tail_of(answer.session_key, answer.ticket)
            number = len(secrets)
            secrets |= {
                f"TGT session key {number}": answer.session_key,
                f"TGT {number}": answer.ticket[-48:],
                f"TGT tail {number}": tail,
                f"TGT proof key {number}": pop_key_of(tail),
            }
    return secrets


def keys_of_tickets(estate: Estate) -> dict[str, bytes]:
    """Session keys, tails and proof keys of the tickets that shop uses, opened with the targets' keys; its JWT."""
    secrets: dict[str, bytes] = {}
    for target in ("orders", "ledger"):
        credentials = estate.client().credentials(target)
        kid = peek_unverified_header(credentials.ticket).kid
        key = Keytab.load(estate.key_file(f"{target}.key")).ticket_key(kid)
        assert key is not None
        secrets |= {
            f"session key for {target}": open_ticket(credentials.ticket, key).session_key,
            f"tail for {target}": credentials.tail,
            f"proof key for {target}": pop_key_of(credentials.tail),
        }
    signature = estate.client().token("ledger").value.rpartition(".")[2]
    secrets["signature of the JWT"] = base64.urlsafe_b64decode(signature + "=")
    return secrets


def start_orders(estate: Estate, wire: Wire) -> Process:
    """The service of the demo, behind somebody on the wire."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        wire.upstream = f"127.0.0.1:{probe.getsockname()[1]}"
    port = wire.upstream.rpartition(":")[2]
    words = ("-m", "uvicorn", "--port", port, "--log-level", "debug", "workshop.tour.orders:app")
    settings = {"ORTHROS_KEY_FILE": str(estate.key_file("orders.key")), "ORDERS_ORIGINS": f"http://{wire.address}"}
    settings |= {"LEDGER": "http://127.0.0.1:1"}  # nobody is asked to book anything
    return estate.stage.start("orders", sys.executable, *words, environ=settings)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def use_everything(estate: Estate, orders: Process, wire: Wire) -> None:
    """Calls, refusals, commands and nonsense: whatever makes a program say something."""
    shop = estate.client()
    orders.await_line('"event": "ready"')
    eventually(lambda: _listens(wire.upstream), "orders listens, which it does a moment after it said so")
    ticket = shop.credentials("orders")
    caller = Caller({f"http://{wire.address}": "orders"}, shop)
    try:
        for number in range(3):
            assert caller.get(f"http://{wire.address}/orders/{number}").status == 200
        assert caller.post(f"http://{wire.address}/orders/7", {"state": "packed"}).status == 200
    finally:
        caller.close()
    for old, new in ((b"packed", b"stolen"), (b'r="', b'r="A'), (b"POST", b"PUT"), (b"v=1", b"v=2"), (b"\0", b"")):
        assert deliver(wire.upstream, wire.sent[-1].replace(old, new)).status >= 400
    request = ticket.authenticate("orders/get", b"{}").request
    for question in ("nobody", "spy", "orders/with/many/parts"):
        with pytest.raises(OrthrosError):
            shop.credentials(question)
    with pytest.raises(OrthrosError):
        estate.client("spy").credentials("orders")
    _talk_nonsense(("127.0.0.1", estate.kdc_port), request, ticket.ticket)
    _talk_nonsense(str(estate.folder / "shop.sock"), request, ticket.ticket)
    key_text = Keytab.load(estate.key_file("shop.key")).to_text()
    master_text = (estate.folder / "kdc" / "master.key").read_text().strip()
    folder = "{folder}"
    refused = f"--kdcs tcp://127.0.0.1:1 --socket {folder}/x"
    estate.run_all(
        [
            "orthros ticket orders",
            "orthros list",
            "orthros status",
            "orthros ticket nobody",
            f"orthros doctor --keytab {folder}/keys/shop.key --target orders",
            f"orthros doctor --keytab {key_text}",
            f"orthros-daemon --keytab {folder}/{key_text} {refused}",
            f"orthros-daemon --keytab {folder}/kdc/master.key {refused}",
            f"orthros-kdc serve --config {folder}/kdc/kdc.toml --master-key-file {master_text}",
            f"orthros-kdc serve --config {folder}/kdc/kdc.toml --master-key-file {folder}/keys/shop.key",
        ],
        ORTHROS_SOCKET=f"{estate.folder}/shop.sock",
    )
    estate.run_all(
        [
            f"orthros-admin --config {folder}/kdc/kdc.toml {command}"
            for command in (
                "principal show orders",
                "key list orders",
                f"principal add shop --out {folder}/again.key",
                "audit tail -n 500",
                "audit verify",
                "realm show",
                "--output json principal list",
            )
        ]
    )


def _talk_nonsense(address: tuple[str, int] | str, *messages: bytes) -> None:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    for message in (*messages, os.urandom(200), b"GET / HTTP/1.1\r\n\r\n"):
        for sent in (frame(message), message):
            with socket.socket(family) as connection, suppress(OSError):
                connection.settimeout(5)
                connection.connect(address)
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass


@pytest.fixture
def tapped(estate: Estate) -> Iterator[Tap]:
    estate.start_kdc(ORTHROS_LOG_LEVEL="debug")
    with Tap(estate.kdc_port) as tap:
        yield tap


def test_no_key_shows_in_anything_that_is_written(estate: Estate, tapped: Tap) -> None:
    estate.start_daemon(kdc=f"tcp://127.0.0.1:{tapped.port}")
    estate.start_daemon("spy")
    with Wire() as wire:
        orders = start_orders(estate, wire)
        use_everything(estate, orders, wire)
    secrets = keys_at_rest(estate) | keys_of_logins(estate, tapped) | keys_of_tickets(estate)
    assert {"TGT session key 0", "session key for orders", "JWT key", "master key", "TGT key 1"} <= set(secrets)
    eventually((estate.folder / "shop.cache").exists, "the daemon's cache file")
    for daemon in estate.daemons.values():
        daemon.send(signal.SIGHUP)
        assert daemon.stop() == 0
    assert estate.kdc is not None
    assert estate.kdc.stop() == 0
    orders.stop()

    kept = {estate.folder / "keys", estate.folder / "kdc" / "master.key"}
    written = [file for file in sorted(estate.folder.rglob("*")) if file.is_file() and not kept & {file, *file.parents}]
    names = {file.name for file in written}
    assert {"kdc.db", "kdc-1.000001.jsonl", "shop.cache"} <= names
    assert b'"code":"frame-too-large"' in (estate.folder / "kdc" / "audit" / "kdc-1.000001.jsonl").read_bytes()
    assert '"event": "refused"' in orders.text()
    assert find_leaks(secrets, written) == []


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    secret = bytes(range(100, 132))
    for number, (form, text) in enumerate(forms_of(secret).items()):
        log = tmp_path / f"{number}.log"
        log.write_bytes(b"something " + text + b" else\n")
        assert any(form in leak for leak in find_leaks({"the key": secret}, [log])), form
    for offset in range(15):
        inside = bytes(offset) + secret + bytes(7)
        for encoded in (base64.b64encode(inside), base64.b32encode(inside), inside.hex().encode()):
            log = tmp_path / "inside.log"
            log.write_bytes(encoded)
            assert find_leaks({"the key": secret}, [log]), offset
