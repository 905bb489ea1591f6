"""Forward authentication in the daemon's own process: its doors, its reload, its end."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
import trio
from attrs import define

from orthros_client.daemon.listeners.forward_auth import Verdict
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.testing import InMemoryRealm
from tests.client.daemon.listeners.test_forward_auth_listener import raw
from tests.client.daemon.test_daemon_process import configure, open_daemon, wait_for_log
from tests.client.forwarding import ORIGIN, Sender, Sent, by_envoy, by_nginx, new_forward_realm
from tests.client.house import read_response


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@define
class Host:
    """A daemon's files: a section for nginx on a Unix socket, one for Envoy on a port."""

    folder: Path
    realm: InMemoryRealm
    port: int
    config: Path

    @classmethod
    def made(cls, folder: Path, realm: InMemoryRealm) -> Host:
        config = configure(folder, realm, "tcp://127.0.0.1:1")
        host = cls(folder, realm, free_port(), config)
        host.export("orders")
        text = f'keytab = "{folder}/orders.verify.key"\norigins = ["{ORIGIN}"]\n'
        config.write_text(
            f'{config.read_text()}\n[[forward_auth]]\nsocket = "{folder}/forward.sock"\ndialect = "nginx"\n{text}'
            f'[[forward_auth]]\ntcp = "127.0.0.1:{host.port}"\ndialect = "envoy"\n{text}'
        )
        return host

    def export(self, name: str, realm: InMemoryRealm | None = None) -> None:
        keytab: Keytab = (realm or self.realm).keytab(name).verify_only()
        keytab.save(self.folder / "orders.verify.key", replace=True)

    async def ask(self, sender: Sender, sent: Sent, *, envoy: bool = False) -> Verdict:
        """One question over a connection of its own; a refusal for lack of an epoch teaches it."""
        if envoy:
            stream: trio.SocketStream = await trio.open_tcp_stream("127.0.0.1", self.port)
        else:
            stream = await trio.open_unix_socket(f"{self.folder}/forward.sock")
        async with stream:
            signed = sender.sign(sent)
            await stream.send_all(raw(by_envoy(signed) if envoy else by_nginx(signed)))
            status, headers, body = await read_response(stream)
        return Verdict(status, tuple(headers.items()), body)


@pytest.mark.parity("L16", "B7")
async def test_both_doors_serve_and_keep_their_own_memory(tmp_path: Path) -> None:
    """Without a KDC; each section has an epoch of its own; nothing is left behind."""
    host = Host.made(tmp_path, new_forward_realm())
    async with open_daemon(host.config) as daemon:
        assert daemon.ready.endswith(f", forward auth {tmp_path}/forward.sock, forward auth 127.0.0.1:{host.port}\n")
        assert (tmp_path / "forward.sock").stat().st_mode & 0o777 == 0o660
        for envoy in (False, True):
            sender = Sender.of(host.realm, "read")
            assert sender.told(await host.ask(sender, Sent(), envoy=envoy)) == "epoch-required"
            assert (await host.ask(sender, Sent(), envoy=envoy)).status == 200
            assert (await host.ask(sender, Sent(method="DELETE", host="elsewhere"), envoy=envoy)).status == 403
        code, log = await daemon.stop()
    assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "daemon.toml", "web.key", "orders.verify.key"}
    assert log.count("event=refused") == 2


@pytest.mark.parity("P16", "K2")
async def test_a_reload_takes_new_keys_and_routes(tmp_path: Path) -> None:
    """SIGHUP; a broken key file changes nothing; another socket takes a restart."""
    host = Host.made(tmp_path, new_forward_realm())
    good = host.config.read_text()
    async with open_daemon(host.config) as daemon:
        sender = Sender.of(host.realm, "read")
        assert (await host.ask(sender, Sent())).status == 401
        (tmp_path / "orders.verify.key").chmod(0o644)
        daemon.process.send_signal(signal.SIGHUP)
        assert b"key-file-unsafe" in await wait_for_log(daemon, b"reload refused")
        assert sender.told(await host.ask(sender, Sent())) == "epoch-required"
        assert (await host.ask(sender, Sent())).status == 200
        (tmp_path / "orders.verify.key").chmod(0o600)
        route = '[[forward_auth.route]]\npath = "/*"\nscopes = ["write"]\n'
        host.config.write_text(good + route)
        daemon.process.send_signal(signal.SIGHUP)
        await wait_for_log(daemon, b"reloaded")
        assert (await host.ask(sender, Sent())).status == 200  # the route is the second section's
        assert (await host.ask(sender, Sent(), envoy=True)).status == 401
        assert sender.told(await host.ask(sender, Sent(), envoy=True)) == "epoch-required"
        host.config.write_text(good.replace("forward.sock", "other.sock"))
        daemon.process.send_signal(signal.SIGHUP)
        assert b"forward_auth" in await wait_for_log(daemon, b"reloaded")
        assert sender.told(await host.ask(sender, Sent())) == "epoch-required"  # the other door's is no use here
        assert (await host.ask(sender, Sent())).status == 200
        assert (await daemon.stop())[0] == 0


@pytest.mark.parity("K17")
@pytest.mark.parametrize("damage", ["gone", "mode", "taken"])
async def test_what_cannot_be_used_is_refused_at_the_start(tmp_path: Path, damage: str) -> None:
    """Nothing is served half."""
    host = Host.made(tmp_path, new_forward_realm())
    key, code = tmp_path / "orders.verify.key", {"gone": "file-unreadable", "mode": "key-file-unsafe"}.get(damage)
    if damage == "gone":
        key.unlink()
    elif damage == "mode":
        key.chmod(0o644)
    with socket.socket() as other:
        if damage == "taken":
            other.bind(("127.0.0.1", host.port))
            other.listen()
        with pytest.raises(EOFError) as caught:
            async with open_daemon(host.config):
                pass
    assert f"code: {code or 'conflict'}" in str(caught.value)
