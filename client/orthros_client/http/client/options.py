"""The options of the authentication for every HTTP library: each has its name, its type and its words here alone.

Knows neither HTTP library nor request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypedDict

__all__ = ["AuthOptions"]


class AuthOptions(TypedDict, total=False):
    """What a caller wants of its calls. All may be left out.

    scopes: which to ask for, for all targets or by target name; None means what the rules allow unasked.
    cover: headers to bind besides content-type, content-encoding and idempotency-key.
    bearer: the origins among the targets that take a JWT. Their responses prove nothing but what TLS proves.
    forwarded: those behind a proxy with forward authentication: the target proves that it accepted, TLS the response.
    accept_unproven_bodies: accept streams that the target does not sign; status and covered headers are proven still.
    allow_unbound_bodies: send streams without Content-Digest; only targets that are not told of the body take them.
    pass_others: let requests to other origins out untouched instead of raising `origin-unknown`.
    delegable: the origins whose targets may call others on behalf of this client; where a rule allows it.
    dischargers: where discharges are asked for that tickets demand: `name` or `name@realm` -> origin. They are kept
        while they are good. Demands go to no other origin.
    traceparent: carry on the trace of the request that is being served (W3C Trace Context) where a request has no such
        header; None: where the source of credentials propagates.
    idempotency: "header" promises that the targets execute requests with the same Idempotency-Key once. Such requests
        are repeated as reads are; those that need a key and have none get a random one.
    """

    scopes: Iterable[str] | Mapping[str, Iterable[str]] | None
    cover: Iterable[str]
    bearer: Iterable[str]
    forwarded: Iterable[str]
    accept_unproven_bodies: bool
    allow_unbound_bodies: bool
    pass_others: bool
    delegable: Iterable[str]
    dischargers: Mapping[str, str] | None
    traceparent: bool | None
    idempotency: Literal["header"] | None
