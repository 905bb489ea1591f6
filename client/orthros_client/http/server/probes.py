"""The start-up self-test: requests that must be refused, and what counts as a refusal.

A middleware that was forgotten, or stands behind something that answers first, shows before anybody calls. Does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

from attrs import frozen

from orthros_client.http.server.routes import Route
from orthros_client.reasons import UNPROTECTED
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import check_list, check_texts

__all__ = ["PROBE", "Probe", "judge_probe", "probes_of"]

PROBE: Final = "orthros.probe"
"""Marks a request of the self-test: a key of the ASGI scope and of the WSGI environ."""

_UNKNOWN: Final = "/orthros-self-test"
_REFUSALS: Final = (401, 403)
# Neither is a credential: one is none at all, the other proves nothing.
_CREDENTIALS: Final = (None, b'Orthros v=1, h="", r="AAAA"')


@frozen
class Probe:
    """One request to the application itself. `host` is one of its own, `authorization` worthless or None."""

    path: str
    host: str
    authorization: bytes | None

    @property
    def decoded_path(self) -> str:
        """The path as the application routes it."""
        return unquote(self.path)

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers of the request."""
        sent = [("host", self.host.encode("ascii"))]
        if self.authorization is not None:
            sent.append(("authorization", self.authorization))
        return tuple(sent)


def probes_of(routes: Iterable[Route], host: str, paths: Iterable[str] = (), mount: str = "") -> Iterator[Probe]:
    """A request for each of `paths`, for each route that is not public, and for a path that the application has not.

    Routes are below `mount`, where the application is mounted; `paths` are whole. Raises Misconfigured `config-invalid`
    for a route that is written with `mount`: it would never match.
    """
    rows, mount = list(check_list(routes, "routes")), mount.rstrip("/")
    for row in rows:
        if mount and (row.path + "/").startswith(mount + "/"):
            below = row.path.removeprefix(mount) or "/"
            raise Misconfigured(
                "config-invalid", f"route {row.path}: the application is mounted at {mount}, so write {below}"
            )
    wanted = [*check_texts(paths, "paths")]
    wanted += [mount + row.path.removesuffix("/*") or "/" for row in rows if not row.public]
    if not any(row.public and row.path == "/*" for row in rows):
        wanted.append(mount + _UNKNOWN)
    for path in dict.fromkeys(wanted):
        for authorization in _CREDENTIALS:
            yield Probe(path, host, authorization)


def judge_probe(probe: Probe, status: int | None) -> None:
    """Raises Misconfigured `unprotected` unless the answer was a refusal. `status` None: there was no answer."""
    if status in _REFUSALS or (probe.authorization is not None and status == 400):
        return
    answered = "did not answer" if status is None else f"answered {status}"
    sent = "without credentials" if probe.authorization is None else "with worthless credentials"
    raise Misconfigured(UNPROTECTED, f"GET {probe.path} {sent}: the application {answered}, 401 or 403 expected")
