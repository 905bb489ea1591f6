"""Traffic without any key: it must not cost the KDC more than it costs its sender."""

import trio
from trio.testing import memory_stream_pair

from orthros_kdc.config import LimitSettings
from orthros_kdc.server import Server
from orthros_protocol import FrameReader, frame
from tests.support.kdc_bench import open_bench


async def test_who_sends_too_much_is_answered_once_more_and_cut_off() -> None:
    """Otherwise five bytes buy a whole answer, for ever, and the rate limit saves the KDC nothing."""
    bench = await open_bench(burst=40)
    here, there = memory_stream_pair()
    received = FrameReader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(bench.service.answer, LimitSettings()).serve_stream, there)
        await here.send_all(frame(b"x") * 1000)
        while data := await here.receive_some():
            received.feed(bytes(data))
    assert len(list(received.messages())) == 41
    codes = [event.to_dict()["code"] for event in bench.ledger.events]
    assert codes == ["malformed"] * 40 + ["rate-limited"]
