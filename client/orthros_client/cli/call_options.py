"""The options of `orthros call`, in curl's words, and what they add up to: one request and where it may go.

Reads files and standard input that the options name; knows no HTTP library and sends nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any, Final

from attrs import field, frozen

from orthros_client.cli.call_source import add_authority_options
from orthros_client.errors import LocalMisuse, Misconfigured
from orthros_client.http.client.file_body import FileBody
from orthros_runtime.command_line import Parser

__all__ = ["PlannedCall", "Targets", "load_targets", "planned", "register"]

_STDIN: Final = "-"
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})([:;])[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_METHOD = re.compile(r"[A-Za-z-]{1,32}", re.ASCII)
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"
TARGETS_VARIABLE: Final = "ORTHROS_TARGETS"


@frozen
class PlannedCall:
    """The request that the options describe. `headers` with None as value are those to leave out."""

    method: str
    url: str
    headers: tuple[tuple[str, str | None], ...] = field(repr=False)
    body: bytes | FileBody | None = field(default=None, repr=False)


@frozen
class Targets:
    """Which target answers at which origin, the origins that take tokens, and those behind forward authentication."""

    origins: Mapping[str, str]
    bearer: tuple[str, ...] = ()
    forwarded: tuple[str, ...] = ()


class _Datum(argparse.Action):
    """Remembers what kind of data it was, in the order of the command line."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        kind = {"-d": "text", "--data": "text", "--data-binary": "binary", "--json": "json"}[option or ""]
        namespace.data = [*(namespace.data or ()), (kind, values)]


def register(add: Callable[..., Parser], run: Callable[[argparse.Namespace], int]) -> None:
    """`orthros call`, which `run` does."""
    parser = add(
        examples=(
            "orthros call https://orders.example/v1/orders --target orders",
            """orthros call https://orders.example/v1/orders --target orders --json '{"item": 7}'""",
            "orthros call --credentials job.credentials --target orders https://orders.example/v1/orders/7",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("url", metavar="URL", help="https://host/path; its origin must belong to a known target")
    where = parser.add_argument_group("where it may go")
    where.add_argument("--target", metavar="NAME", help="the target at this URL's origin: name, or name@realm")
    where.add_argument("--targets", metavar="FILE", help=f"TOML file that maps origins to targets ({TARGETS_VARIABLE})")
    where.add_argument("--bearer", action="store_true", help="send a JWT: the target is proven by TLS alone")
    where.add_argument(
        "--forwarded",
        action="store_true",
        help="a proxy asks the target's daemon: it proves that it accepted, TLS proves the response",
    )
    where.add_argument("--scope", action="append", metavar="S", help="ask for this scope (repeatable)")
    where.add_argument("--cacert", metavar="FILE", help="trust these certification authorities")
    where.add_argument("--unix-socket", metavar="PATH", help="connect to this socket instead of the host")
    add_authority_options(parser)
    what = parser.add_argument_group("what is sent")
    what.add_argument("-X", "--request", metavar="METHOD", help="default: GET, POST with data, PUT with -T")
    what.add_argument("-H", "--header", action="append", default=[], metavar="LINE", help="add `Name: value`")
    what.add_argument("-I", "--head", action="store_true", help="ask for the head alone")
    for names, metavar, words in (
        (("-d", "--data"), "DATA", "form data; @FILE or @- without its line ends"),
        (("--data-binary",), "DATA", "data as it is; @FILE or @-"),
        (("--json",), "DATA", "JSON; @FILE or @-"),
    ):
        what.add_argument(*names, action=_Datum, dest="data", metavar=metavar, help=words)
    what.add_argument("-T", "--upload-file", metavar="FILE", help="send a file of any size; - is standard input")
    what.add_argument(
        "--idempotency-key",
        nargs="?",
        const="",
        metavar="VALUE",
        help="send this Idempotency-Key, or a random one, and repeat as a read: the target must honour it",
    )
    what.add_argument("--harmless", action="store_true", help="repeat as a read: running it twice does no harm")
    what.add_argument("--cover", action="append", default=[], metavar="HEADER", help="bind this header too")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("-o", "--out", metavar="FILE", help="write the body there, once all of it is proven")
    shown.add_argument("-i", "--include", action="store_true", help="show the head of the response as well")
    shown.add_argument("-v", "--verbose", action="store_true", help="show what was bound and proven, on stderr")
    shown.add_argument("-f", "--fail", action="store_true", help="for status 400 and above: no body, and an exit code")
    shown.add_argument("--accept-unproven-body", action="store_true", help="take streams that the target cannot sign")
    shown.add_argument("--explain-http", action="store_true", help="show the request's head, and send nothing")


@contextmanager
def planned(arguments: argparse.Namespace) -> Iterator[PlannedCall]:
    """The request; standard input that is uploaded lies in a temporary file until the end.

    Raises LocalMisuse for options that contradict each other, Misconfigured for files that cannot be read.
    """
    with ExitStack() as stack:
        body, content_type = _read_body(arguments, stack)
        headers: list[tuple[str, str | None]] = [_parse_header(line) for line in arguments.header]
        given = {name.lower() for name, _value in headers}
        if content_type is not None and "content-type" not in given:
            headers.append(("Content-Type", content_type))
        if content_type == _JSON and "accept" not in given:
            headers.append(("Accept", _JSON))
        if arguments.idempotency_key is not None:
            if "idempotency-key" in given:
                raise LocalMisuse("value-invalid", "the Idempotency-Key is named twice: by -H and by --idempotency-key")
            headers.append(_parse_header(f"Idempotency-Key: {arguments.idempotency_key or uuid.uuid4()}"))
        yield PlannedCall(_method(arguments), arguments.url, tuple(headers), body)


def load_targets(path: str | None, environ: Mapping[str, str] = os.environ) -> Targets:
    """The map of origins in `path`, else in ORTHROS_TARGETS; empty without either.

    A TOML file: the table `targets` maps origins to names; the lists `bearer` and `forwarded` hold the origins that
    take tokens, and those behind a proxy with forward authentication.
    Raises Misconfigured `file-unreadable` or `config-invalid`.
    """
    path = path or environ.get(TARGETS_VARIABLE)
    if not path:
        return Targets({})
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured("config-invalid", f"{path}: {error}") from None
    targets = content.pop("targets", {})
    lists = [content.pop(name, []) for name in ("bearer", "forwarded")]
    if content or not isinstance(targets, dict) or not all(isinstance(one, list) for one in lists):
        raise Misconfigured(
            "config-invalid", f"{path}: expected the table targets and the lists bearer and forwarded, nothing else"
        )
    if not all(isinstance(one, str) for one in (*targets.values(), *lists[0], *lists[1])):
        raise Misconfigured("config-invalid", f"{path}: targets and origins are texts")
    return Targets(targets, *map(tuple, lists))


def _method(arguments: argparse.Namespace) -> str:
    method: str | None = arguments.request
    if method is not None and _METHOD.fullmatch(method) is None:
        raise LocalMisuse("value-invalid", f"{method[:40]!r} is no HTTP method")
    if arguments.head:
        if arguments.data or arguments.upload_file:
            raise LocalMisuse("value-invalid", "a request for the head alone has no body")
        return (method or "HEAD").upper()
    return (method or ("PUT" if arguments.upload_file else "POST" if arguments.data else "GET")).upper()


def _parse_header(line: str) -> tuple[str, str | None]:
    """`Name: value`; `Name:` leaves a header out, `Name;` sends it empty, as in curl."""
    found = _HEADER.fullmatch(line)
    if found is None or (found[2] == ";" and found[3]):
        raise LocalMisuse("value-invalid", f"{line.partition(':')[0][:64]!r} is not a header line `Name: value`")
    return found[1], found[3].rstrip(" \t") or (None if found[2] == ":" else "")


def _read_body(arguments: argparse.Namespace, stack: ExitStack) -> tuple[bytes | FileBody | None, str | None]:
    data: list[tuple[str, str]] = arguments.data or []
    kinds = {"form" if kind in ("text", "binary") else kind for kind, _value in data}
    if len(kinds) + bool(arguments.upload_file) > 1:
        raise LocalMisuse("value-invalid", "choose one of -d, --json and -T")
    if arguments.upload_file:
        return _upload(arguments.upload_file, stack), None
    if not data:
        return None, None
    if data[0][0] == "json":
        return b"".join(_read(value) for _kind, value in data), _JSON
    if len(data) == 1 and data[0][0] == "binary" and data[0][1][:1] == "@":
        return _upload(data[0][1][1:], stack), _FORM
    return b"&".join(_strip(_read(value)) if kind == "text" else _read(value) for kind, value in data), _FORM


def _strip(content: bytes) -> bytes:
    return content.translate(None, b"\r\n\0")


def _read(value: str) -> bytes:
    if not value.startswith("@"):
        return os.fsencode(value)
    if value[1:] == _STDIN:
        return sys.stdin.buffer.read()
    try:
        with open(value[1:], "rb") as file:
            return file.read()
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{value[1:]}: {error.strerror}") from None


def _upload(path: str, stack: ExitStack) -> FileBody:
    if path == _STDIN:
        return FileBody(_spool(sys.stdin.buffer, stack))
    if not os.path.exists(path) or os.path.isfile(path):
        return FileBody(path)
    try:
        # A pipe or device can be read once; what is sent must be hashed first.
        with open(path, "rb") as file:
            return FileBody(_spool(file, stack))
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None


def _spool(source: IO[bytes], stack: ExitStack) -> str:
    copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="orthros-call-"))  # noqa: SIM115  # the stack closes it
    shutil.copyfileobj(source, copy)
    copy.flush()
    return copy.name
