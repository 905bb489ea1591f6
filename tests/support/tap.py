"""A tap on the wire between two programs: passes bytes on and keeps the frames of both directions.

Knows framing and nothing else; whoever reads what was heard brings the keys.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from orthros_protocol.primitives.framing import FrameReader

__all__ = ["Tap"]


class Tap:
    """Listens on `port` and passes everything on to `upstream` on the same host.

    `heard` are pairs of request and answer, in the order in which the answers came.
    """

    def __init__(self, upstream: int) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._upstream))
                self._sockets += [near, far]
                asked: list[bytes] = []
                for source, sink, replies in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._pass_on, args=(source, sink, asked, replies), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, asked: list[bytes], replies: bool) -> None:
        reader = FrameReader()
        with suppress(OSError):  # either side hung up
            while data := source.recv(65536):
                reader.feed(data)
                for message in reader.messages():
                    if replies:
                        self.heard.append((asked.pop(0), message))
                    else:
                        asked.append(message)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hangs up on everybody."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
