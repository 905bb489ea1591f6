"""What may happen to a request between client and service, as tables: name -> change.

Each row is one line of the list of things that a verifier must reject (HTTP).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from tests.support.http_caller import Call

__all__ = ["BAD_BODIES", "MALFORMED", "TAMPERED", "UNCOVERED", "changed_proof", "replace_last"]

# What somebody between client and service may try, each after the request was bound.
TAMPERED: dict[str, Callable[[Call], Call]] = {
    "method": lambda call: evolve(call, method="PUT"),
    "path": lambda call: evolve(call, target=b"/orders/2?x=1"),
    "query": lambda call: evolve(call, target=b"/orders/1?x=2"),
    "query dropped": lambda call: evolve(call, target=b"/orders/1"),
    "escape instead of a letter": lambda call: evolve(call, target=b"/%6frders/1?x=1"),
    "covered header": lambda call: call.replaced("content-type", b"text/html"),
    "covered idempotency key": lambda call: call.replaced("idempotency-key", b"2"),
    "digest of another body": lambda call: call.replaced("content-digest", format_content_digest(digest(b"two"))),
    "digest missing": lambda call: call.without("content-digest"),
    "authority": lambda call: call.replaced("host", b"other.test"),
}


# What no well-formed request has: told to whoever sent it, without any key.
MALFORMED: dict[str, Callable[[Call], Call]] = {
    "two Authorization headers": lambda call: call.with_header("authorization", call.header("authorization")),
    "Orthros beside Bearer": lambda call: call.with_header("authorization", b"Bearer x"),
    "covered header twice": lambda call: call.with_header("content-type", b"text/plain"),
    "covered header missing": lambda call: call.without("content-type"),
    "digest twice": lambda call: call.with_header("content-digest", call.header("content-digest")),
    "digest of another kind": lambda call: call.replaced("content-digest", b"sha-512=:AAAA:"),
    "digest with stray bits": lambda call: call.replaced("content-digest", b"sha-256=:" + b"A" * 42 + b"B=:"),
    "method override": lambda call: call.with_header("x-http-method-override", b"DELETE"),
    "other method override": lambda call: call.with_header("x-method-override", b"DELETE"),
    "path override": lambda call: call.with_header("x-original-url", b"/admin"),
    "host of somebody else": lambda call: call.replaced("host", b"evil.test"),
    "no host": lambda call: call.without("host"),
    "two hosts": lambda call: call.with_header("host", b"evil.test"),
    "base64 garbage": lambda call: changed_proof(call, lambda text: text[:50] + b"!" + text[51:]),
    "base64 padding": lambda call: changed_proof(call, lambda text: text + b"="),
    "base64 of the other alphabet": lambda call: changed_proof(call, lambda text: text[:50] + b"+" + text[51:]),
    "base64 of impossible length": lambda call: changed_proof(call, lambda text: text + b"A" * ((-len(text) % 4) + 1)),
    "another version": lambda call: call.replaced(
        "authorization", call.header("authorization").replace(b"v=1", b"v=2")
    ),
    "length and chunks": lambda call: call.with_header("transfer-encoding", b"chunked"),
    "two lengths": lambda call: call.with_header("content-length", b"3"),
    "no length": lambda call: call.replaced("content-length", b"+3"),
    "encoded dot segment": lambda call: evolve(call, target=b"/orders/%2e%2e/admin"),
    "dot segment": lambda call: evolve(call, target=b"/orders/../admin"),
    "encoded slash": lambda call: evolve(call, target=b"/orders%2fadmin"),
    "encoded backslash": lambda call: evolve(call, target=b"/orders%5cadmin"),
    "encoded NUL": lambda call: evolve(call, target=b"/orders%00"),
    "double slash": lambda call: evolve(call, target=b"//orders"),
    "encoded percent": lambda call: evolve(call, target=b"/orders%252e"),
    "escapes that are not UTF-8": lambda call: evolve(call, target=b"/orders%ff"),
    "absolute form": lambda call: evolve(call, target=b"http://orders.test/orders/1"),
    "asterisk form": lambda call: evolve(call, target=b"*"),
}


def changed_proof(call: Call, change: Callable[[bytes], bytes]) -> Call:
    start, proof = call.header("authorization").rsplit(b'r="', 1)
    return call.replaced("authorization", start + b'r="' + change(proof[:-1]) + b'"')


def replace_last(letter: bytes) -> Callable[[bytes], bytes]:
    return lambda text: text[:-1] + letter


UNCOVERED: dict[str, tuple[dict[str, Any], Callable[[Call], Call], str]] = {
    "content type": ({"headers": [("content-type", b"text/plain")], "cover": ()}, lambda call: call, "content-type"),
    "content encoding added": ({}, lambda call: call.with_header("content-encoding", b"gzip"), "content-encoding"),
    "idempotency key added": ({}, lambda call: call.with_header("idempotency-key", b"9"), "idempotency-key"),
    "header of the route": ({}, lambda call: call.with_header("x-tenant", b"other"), "x-tenant"),
    "body without digest": ({"body": b"one", "sha256": b""}, lambda call: call, "Content-Digest"),
    "chunked body": ({"body": b"one", "sized": False}, lambda call: call, "Content-Length"),
    "chunked body without digest": ({"body": b"one", "sha256": b"", "sized": False}, lambda call: call, "Digest"),
}  # fmt: skip


BAD_BODIES: dict[str, dict[str, Any]] = {
    "another one": {"pieces": [b"hello WORLD"]},
    "another one in pieces": {"pieces": [b"hel", b"lo ", b"WORLD"]},
    "ends early": {"pieces": [b"hel", b"lo"]},
    "empty": {"pieces": [b""]},
    "longer": {"pieces": [b"hello world!"]},
    "other ending, end on its own": {"pieces": [b"hello worlD"], "last_empty": True},
}
