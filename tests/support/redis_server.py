"""A Redis or Valkey server of a test's own, on a free loopback port: started, killed, restarted and paused at will."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from typing import Self

import redis

from tests.support.peers import REDIS, require
from tests.support.ports import free_port

__all__ = ["RedisServer"]

_PATIENCE_S = 30.0


class RedisServer:
    """One server with a folder of its own, which survives a restart."""

    def __init__(self, *options: str) -> None:
        self._binary = require(*REDIS)
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="orthros-redis-")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self, *options: str) -> None:
        """Starts it, with these options besides its own for this time."""
        words = [self._binary, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder.name]
        # The port of a cluster is 10,000 above unless it is said, and there the system's clients come and go.
        words += ["--save", "", "--daemonize", "no", "--cluster-port", str(free_port()), *self._options, *options]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.client.ping()
            except redis.ConnectionError:
                assert time.monotonic() < until, "the server does not start"
                assert self.process.poll() is None, "the server has ended"
            else:
                return

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def pause(self) -> None:
        """The server hears nothing and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
