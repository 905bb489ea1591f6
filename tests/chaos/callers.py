"""An honest client under load, and an attacker who hears every request that it sends.

Calls go through `httpx` and `OrthrosAuth` as in any program; where they go to is the scene's choice, whatever their URL
says. Each has a name of its own, under which the targets note what they execute.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from typing import Final

import httpx
from attrs import define, field, frozen

from orthros_client import Client, MaybeExecuted
from orthros_client.integrations.httpx_auth import OrthrosAuth
from tests.chaos.hosts import HOST

__all__ = ["MAYBE", "Caller", "Captured", "Tally", "at_once"]

URL: Final = f"http://{HOST}"
_PATIENCE_S: Final = 20.0


@frozen
class Captured:
    """A request as it was on the wire, byte for byte."""

    name: str
    data: bytes

    def send(self, port: int) -> int:
        """Delivers a copy on a connection of its own; the status of the answer, 0 without one."""
        try:
            with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
                connection.sendall(self.data)
                response = HTTPResponse(connection)
                response.begin()
                response.read()
                return response.status
        except (OSError, EOFError, ValueError):
            return 0


def at_once(captured: Captured, ports: Iterable[int]) -> Counter[int]:
    """A copy to each of these ports, all at the same moment; how often each status came back."""
    doors = list(ports)
    gate = threading.Barrier(len(doors))

    def deliver(port: int) -> int:
        gate.wait(_PATIENCE_S)
        return captured.send(port)

    with ThreadPoolExecutor(len(doors)) as pool:
        return Counter(pool.map(deliver, doors))


class _Wire(httpx.BaseTransport):
    """Leads every request to one port, and lets the attacker hear it. `held`: it then goes no further."""

    def __init__(self, port: Callable[[], int], heard: list[Captured], kept: bool) -> None:
        self._port = port
        self._heard = heard
        self._http = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=32 if kept else 0))
        self.held = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        head = [f"{request.method} {request.url.raw_path.decode('ascii')} HTTP/1.1".encode("ascii")]
        head += [name + b": " + value for name, value in request.headers.raw if name.lower() != b"connection"]
        name = request.headers.get("x-name", "")
        self._heard.append(Captured(name, b"\r\n".join([*head, b"Connection: close", b"", request.read()])))
        if self.held:
            raise httpx.ConnectError("the attacker keeps it")
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port())
        return self._http.handle_request(request)

    def close(self) -> None:
        self._http.close()


@define
class Tally:
    """What became of the calls of one kind. `failures` are counted by what was raised, or by status."""

    calls: int = 0
    maybe: int = 0
    failures: Counter[str] = field(factory=Counter)
    words: dict[str, str] = field(factory=dict)
    slowest_s: float = 0.0
    requests: int = 0

    @property
    def failed(self) -> int:
        return self.failures.total()

    def __str__(self) -> str:
        """What failed, with the words of the first of each kind."""
        return "; ".join(f"{count} {what}: {self.words[what]}" for what, count in self.failures.most_common())


MAYBE: Final = "MaybeExecuted"
_NUMBERS: Final = itertools.count(1)


class Caller:
    """One process of a client. `port` is where its requests go; `kept`: whether its connections stay open."""

    def __init__(self, client: Client, port: int | Callable[[], int], *, kept: bool = False) -> None:
        self.heard: list[Captured] = []
        self._auth = OrthrosAuth({URL: "orders"}, client=client)
        chosen = port if callable(port) else lambda: port
        self._wire = _Wire(chosen, self.heard, kept)
        self._http = httpx.Client(auth=self._auth, transport=self._wire, timeout=_PATIENCE_S)
        self._kept = kept
        self._lock = threading.Lock()

    def call(self, method: str, tally: Tally) -> str:
        """One call, noted in `tally`; returns its name."""
        name = f"{os.getpid()}-{next(_NUMBERS)}"
        began = time.monotonic()
        failure = self._failure_of(method, name)
        took_s = time.monotonic() - began
        with self._lock:
            tally.calls += 1
            tally.slowest_s = max(tally.slowest_s, took_s)
            tally.maybe += failure is not None and failure[0].startswith(MAYBE)
            if failure is not None:
                tally.failures[failure[0]] += 1
                tally.words.setdefault(*failure)
        return name

    def _failure_of(self, method: str, name: str) -> tuple[str, str] | None:
        """What kind of failure the call ended with, and in which words."""
        headers = {"X-Name": name} | ({} if self._kept else {"Connection": "close"})
        try:
            if method == "GET":
                response = self._http.get(f"{URL}/orders/{name}", headers=headers)
            else:
                response = self._http.request(method, f"{URL}/orders", json={"name": name}, headers=headers)
        except MaybeExecuted as error:
            return f"{MAYBE} {error.refusal.code}", f"{error} (after {error.__cause__ or error.__context__!r})"
        except Exception as error:  # noqa: BLE001  # whatever it is, the call failed
            code = getattr(error, "code", None)
            return f"{type(error).__name__}{f' {code}' if code else ''}", str(error)
        return None if response.status_code == httpx.codes.OK else (f"{response.status_code}", response.text[:200])

    def calls(self, method: str, count: int, *, in_flight: int = 1) -> Tally:
        """So many calls, `in_flight` of them at the same time."""
        tally = Tally()
        before = len(self.heard)
        with ThreadPoolExecutor(in_flight) as pool:
            list(pool.map(lambda _: self.call(method, tally), range(count)))
        tally.requests = len(self.heard) - before
        return tally

    def paced(self, methods: Sequence[str], tally: Tally, ended: threading.Event, per_second: float) -> None:
        """Calls at this rate, the methods in turn, until `ended`; late ones are not made up for."""
        with ThreadPoolExecutor(32) as pool:
            for method in itertools.cycle(methods):
                if ended.wait(1 / per_second):
                    return
                pool.submit(self.call, method, tally)

    def capture(self, method: str = "POST") -> Captured:
        """A good request that the attacker keeps for itself; the target has not seen it."""
        self._wire.held = True
        try:
            self.call(method, Tally())
        finally:
            self._wire.held = False
        return self.heard[-1]

    def close(self) -> None:
        self._http.close()
        self._auth.close()
