"""A ticket that is bound to a TLS client certificate, under a real server that asks for one."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from attrs import frozen

from orthros_protocol.primitives.derivation import digest
from orthros_protocol.testing import InMemoryRealm, ManualClock
from orthros_protocol.tickets.caveats import ChannelCaveat
from tests.support.http_caller import HttpCaller, wall_clock
from tests.support.http_servers import await_open, transfer
from workshop.stage import Stage


@frozen(kw_only=True)
class Place:
    port: int
    realm: InMemoryRealm
    mine: ssl.SSLContext
    thiefs: ssl.SSLContext
    certificate: bytes


@pytest.fixture(scope="module")
def place(programs: Path) -> Iterator[Place]:
    realm = InMemoryRealm(clock=ManualClock(wall_clock()))
    for principal in ("shop", "orders"):
        realm.add(principal)
    authority = trustme.CA()
    with Stage("orthros-tls-") as stage:

        def stored(name: str, leaf: trustme.LeafCert) -> tuple[Path, Path]:
            chain, key = stage.folder / f"{name}.pem", stage.folder / f"{name}.key"
            leaf.cert_chain_pems[0].write_to_path(chain)
            leaf.private_key_pem.write_to_path(key)
            return chain, key

        def context(name: str) -> ssl.SSLContext:
            made = ssl.create_default_context()
            authority.configure_trust(made)
            made.load_cert_chain(*stored(name, authority.issue_cert(f"{name}.example")))
            return made

        chain, key = stored("orders", authority.issue_cert("orders.example"))
        roots = stage.folder / "roots.pem"
        authority.cert_pem.write_to_path(roots)
        realm.keytab("orders").verify_only().save(stage.folder / "orders.verify.key")
        mine, thiefs = context("shop"), context("thief")
        options = f"-b 127.0.0.1:0 --certfile {chain} --keyfile {key} --ca-certs {roots} --cert-reqs 2"
        environ = {"ORTHROS_KEY_FILE": str(stage.folder / "orders.verify.key"), "PYTHONPATH": str(programs)}
        command = f'exec "$0" -m gunicorn {options} bound_service:application 2>&1'
        process = stage.start("gunicorn", "sh", "-c", command, sys.executable, environ=environ)
        port = await_open(process)
        pem = (stage.folder / "shop.pem").read_text("ascii")
        certificate = digest(ssl.PEM_cert_to_DER_cert(pem))
        yield Place(port=port, realm=realm, mine=mine, thiefs=thiefs, certificate=certificate)


@pytest.mark.parity("K9", "L14")
def test_a_stolen_ticket_is_useless_on_another_connection(place: Place) -> None:
    """The token moved to another connection fails, even with all of its keys."""
    issued = place.realm.issue("shop", "orders")
    bound = HttpCaller.of(issued, ChannelCaveat(place.certificate).to_bytes(), origin=("https", "orders.example:443"))
    first = bound.call("OPTIONS", flags=0)
    assert bound.refusal(first, transfer(place.port, first, tls=place.mine)).code == "epoch-required"
    call = bound.call()
    received = transfer(place.port, call, tls=place.mine)
    bound.open(call, received)
    assert (received.status, received.body) == (200, b"shop@test.realm")
    stolen = bound.call()
    assert bound.refusal(stolen, transfer(place.port, stolen, tls=place.thiefs)).code == "caveat-refused"
