"""The operations of frames, clocks and shares: JSON in, the library called, JSON out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from orthros_protocol.exchanges.authenticators import measure_offset
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from workshop.vectors.parties import Inputs, Vector, unhex


def _frames(given: Inputs) -> Vector:
    reader = FrameReader()
    messages: list[bytes] = []
    for piece in given["pieces"]:
        reader.feed(unhex(piece))
        messages += reader.messages()
    if given["ended"]:
        reader.end()
    return {"messages": [one.hex() for one in messages]}


def _offset(given: Inputs) -> Vector:
    found = measure_offset(
        Timestamp(given["peer_time"]), sent=Timestamp(given["sent"]),
        round_trip_ms=given["round_trip_ms"], most_ms=given["most_ms"],
    )  # fmt: skip
    return {"offset": found}


STREAM_OPERATIONS: Final[dict[str, Callable[[Inputs], Any]]] = {
    "frame": lambda i: {"frame": frame(unhex(i["message"])).hex()},
    "frames": _frames,
    "offset": _offset,
}
