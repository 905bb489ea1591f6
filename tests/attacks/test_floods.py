"""Traffic without any key: it must not cost the KDC more than it costs its sender."""

import trio

from orthros_kdc.config import LimitSettings
from orthros_kdc.ports.native_port import Server
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.evidence import Behalf
from tests.support.http_port import stream_pair
from tests.support.kdc_bench import REALM, open_bench

MISSHAPEN = join_caveats([encode(6, ["10.0.0.0/8", "10.0.0.0/8"])])


async def test_who_sends_too_much_is_answered_once_more_and_cut_off() -> None:
    """Otherwise five bytes buy a whole answer, for ever, and the rate limit saves the KDC nothing."""
    bench = await open_bench(burst=40)
    here, there = stream_pair()
    received = FrameReader()
    async with here, trio.open_nursery() as nursery:
        server = Server(bench.service.answer, bench.service.turn_away, bench.service.reject, LimitSettings())
        nursery.start_soon(server.serve_stream, there)
        await here.send_all(frame(b"x") * 1000)
        while data := await here.receive_some():
            received.feed(bytes(data))
    assert len(list(received.messages())) == 41
    codes = [event.to_dict()["code"] for event in bench.ledger.events]
    assert codes == ["malformed"] * 40 + ["rate-limited"]


async def test_caveats_of_strangers_are_not_read() -> None:
    """To read a set of networks takes a hundred times as long as to send it: 32 KiB without any key were 60 ms of
    the KDC. That these are misshapen shows only to whoever reads them."""
    bench = await open_bench()
    await bench.add("billing")
    wants = [Want(target=Principal(REALM, "orders"), limits=MISSHAPEN)]
    login = await bench.log_in("billing")
    shown = Behalf(evidence=b"\1\1\2" + bytes(80), caveats=MISSHAPEN, proof=bytes(32))
    junk = b"\1\1\1" + bytes(80)
    for tgt, behalf in ((junk, None), (junk, shown), (login.reply.ticket, None), (login.reply.ticket, shown)):
        pending = build_tgs_request(
            tgt, bytes(32), wants, now=bench.clock.now(), nonce=bytes(16), caveats=MISSHAPEN, behalf=behalf
        )
        await bench.send(pending.message)
        assert bench.ledger.events[-1].to_dict()["code"] in {"unknown-key", "wrong-mac"}


async def test_misshapen_caveats_cost_their_proven_sender_a_want() -> None:
    bench = await open_bench(burst=3)
    await bench.add("billing")
    login = await bench.log_in("billing")
    want = Want(target=Principal(REALM, "orders"), limits=MISSHAPEN)
    for number in range(3):
        await bench.send(bench.tgs_request(login, want).message, source=f"192.0.2.{number}")
    codes = [event.to_dict()["code"] for event in bench.ledger.events[1:]]
    assert codes == ["want-invalid", "want-invalid", "rate-limited"]
