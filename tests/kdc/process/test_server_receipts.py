"""Which answers wait for their line in the audit log: in order on each connection, and none for another connection."""

from __future__ import annotations

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from orthros_kdc.audit.receipts import KEPT, Batch, Receipt
from orthros_kdc.ports.native_port import NativeAnswer, Server
from orthros_protocol.errors import OrthrosError, Unavailable
from orthros_protocol.primitives.framing import frame
from tests.kdc.process.test_server import LIMITS, connected, read_messages
from tests.support.http_port import ignored


@define(eq=False)
class Issuer:
    """A message that begins with `get` is answered with a credential, whose line is in the batch `batch`."""

    batch: Batch = field(factory=Batch)

    async def __call__(self, message: bytes, _source: str, _address: str, _connection: int) -> NativeAnswer:
        def instead(error: OrthrosError) -> NativeAnswer:
            return NativeAnswer(b"refused: " + message + b" " + error.code.encode("ascii"))

        if not message.startswith(b"get"):
            return NativeAnswer(b"no: " + message)
        return NativeAnswer(b"here: " + message, receipt=Receipt(self.batch, trio.current_time()), instead=instead)


def serving(issuer: Issuer) -> Server:
    return Server(issuer, lambda source, cause: f"{source}: {cause}".encode(), ignored, LIMITS)


async def nothing_comes(stream: trio.SocketStream) -> None:
    with pytest.raises(trio.TooSlowError), trio.fail_after(0):
        await stream.receive_some()


@pytest.mark.parity("O5")
async def test_refusals_do_not_wait_but_keep_their_place(mock_clock: MockClock) -> None:
    """What stands before a credential leaves, what stands behind it follows it."""
    issuer = Issuer()
    server = serving(issuer)
    async with connected(server) as client, connected(server) as other:
        await client.send_all(b"".join(map(frame, (b"one", b"get 1", b"two", b"get 2"))))
        assert await read_messages(client, 1) == [b"no: one"]
        await wait_all_tasks_blocked()
        await nothing_comes(client)
        await other.send_all(frame(b"three"))
        assert await read_messages(other, 1) == [b"no: three"]
        issuer.batch.settle()
        assert await read_messages(client, 3) == [b"here: get 1", b"no: two", b"here: get 2"]


@pytest.mark.parity("O5")
async def test_a_credential_without_its_line_becomes_a_refusal() -> None:
    """And what follows it on the connection is served."""
    issuer = Issuer()
    async with connected(serving(issuer)) as client:
        await client.send_all(frame(b"get 1") + frame(b"one"))
        await wait_all_tasks_blocked()
        issuer.batch.settle(Unavailable("kdc-fault", "the disk is full"))
        assert await read_messages(client, 2) == [b"refused: get 1 kdc-fault", b"no: one"]


@pytest.mark.parity("O5")
async def test_a_line_that_takes_longer_than_two_seconds_is_too_late(mock_clock: MockClock) -> None:
    """Refused when the time is over, although the disk may never answer."""
    issuer = Issuer()
    async with connected(serving(issuer)) as client:
        await client.send_all(frame(b"get 1"))
        await wait_all_tasks_blocked()
        mock_clock.jump(2.1)
        assert await read_messages(client, 1) == [b"refused: get 1 kdc-fault"]


async def test_what_needs_no_log_is_kept() -> None:
    assert KEPT.is_settled
    await KEPT.wait()
