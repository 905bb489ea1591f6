"""Writing nested tokens, strictly: one layer around a previous token, and a verified caller's chain as layers.

Knows no policy. What it writes carries names to systems that know nothing else; no KDC and no verifier takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict, Unpack

from attrs import evolve

from orthros_client.matryoshka import jose
from orthros_client.matryoshka.claims import frozen_claims, to_json
from orthros_client.matryoshka.inflation import Compression, deflate
from orthros_client.matryoshka.reading import CLAIM, PROSE_CLAIM, peek_unverified
from orthros_client.matryoshka.values import READING, WRITING, AuthStack, ReaderKey, SigningKey, StackLimits, is_label
from orthros_client.options import check_options
from orthros_protocol.errors import LocalMisuse, Malformed, Refused
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.ticket import Hop, Subject

__all__ = ["CallerLike", "export_caller", "nest"]

_COMPRESSIONS: Final = ("gzip", "brotli", None)


class CallerLike(Protocol):
    """What is exported of a caller; `VerifiedCaller` has it."""

    @property
    def client(self) -> Principal:
        """Who called."""

    @property
    def chain(self) -> Sequence[Hop]:
        """Earlier callers, oldest first."""

    @property
    def subject(self) -> Subject | None:
        """On whose behalf, if anybody's."""

    @property
    def transaction_id(self) -> str:
        """The id of the whole transaction, as hex."""

    @property
    def expires_at(self) -> int:
        """When the caller's ticket ends, in Unix seconds."""


class NestOptions(TypedDict, total=False):
    """How a previous token is carried.

    seal_for: seals it for this reader. compress: used only where it makes the container smaller; gzip by default.
    tell_depth: False hides how many tokens are inside. allow_loops: a sid may occur twice.
    """

    seal_for: ReaderKey | None
    compress: Compression | None
    tell_depth: bool
    allow_loops: bool


def nest(
    claims: Mapping[str, Any],
    key: SigningKey,
    *,
    previous: AuthStack | str | None = None,
    sid: str | None = None,
    limits: StackLimits = WRITING,
    **options: Unpack[NestOptions],
) -> str:
    """A JWT with `claims`, signed with `key`, around the previous token: as it was read, or its text.

    A text is only looked at for its shape: whoever signs around it vouches for what is inside, so read it first.
    sid: who signs, needed with a previous token. `options` are those of `NestOptions`.

    The result is a bearer token for others, and evidence of nothing: no KDC and no Orthros verifier accepts it.
    Raises Refused `chain-refused` beyond `limits` (8 inside, 6144 characters) or when a sid would occur twice;
    Malformed for a previous text that is no stack; LocalMisuse for claims that JSON cannot hold or that would nest by
    themselves, a sid that cannot be one, and weak keys.
    """
    check_options(options, NestOptions)
    if key.weak:
        raise LocalMisuse("key-misuse", "a token is signed with a key of full length")
    content = _checked_claims(claims)
    if previous is not None:
        content[CLAIM] = _member(previous, key, sid, limits, options)
    elif sid is not None or options.get("seal_for") is not None:
        raise LocalMisuse("value-invalid", "sid and seal_for go with a previous token")
    token = jose.sign(to_json(content), key)
    if len(token) > limits.max_chars:
        raise Refused("chain-refused", f"the token has {len(token)} characters, at most {limits.max_chars}")
    return token


def _checked_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content = dict(frozen_claims(claims))
    except Malformed as error:
        raise LocalMisuse("value-invalid", error.detail) from None
    if CLAIM in content or PROSE_CLAIM in content:
        raise LocalMisuse("value-invalid", f"{CLAIM} and {PROSE_CLAIM} are written from the previous token")
    return content


def _member(
    previous: AuthStack | str, key: SigningKey, sid: str | None, limits: StackLimits, options: NestOptions
) -> dict[str, Any]:
    """The object that carries the previous token."""
    compress = options.get("compress", "gzip")
    if not is_label(sid) or (key.sid is not None and key.sid != sid):
        raise LocalMisuse("value-invalid", "sid is 1 to 256 visible characters, and the key's own if it has one")
    if compress not in _COMPRESSIONS:
        raise LocalMisuse("value-invalid", "compress is gzip, brotli or None")
    text = previous.text if isinstance(previous, AuthStack) else previous
    # Always by the text itself: nothing but whole tokens may come under our hash, see `jose.container_hash`.
    seen = [peek_unverified(text, evolve(limits, max_chars=max(limits.max_chars, READING.max_chars)))]
    # Who opened sealed layers knows more of the path than the text shows.
    seen += [previous] if isinstance(previous, AuthStack) else []
    depth = _checked_depth(seen, sid, options.get("allow_loops", False), limits)
    carried = _container(text, options.get("seal_for"), compress, limits)
    said = {"sid": sid, "depth": depth} if options.get("tell_depth", True) else {"sid": sid}
    return carried | said | {"hash": jose.container_hash(carried["container"], key)}


def _checked_depth(seen: Sequence[AuthStack], sid: str | None, allow_loops: bool, limits: StackLimits) -> int:
    depth = 1 + max(before.depth for before in seen)
    if depth > limits.max_depth:
        raise Refused("chain-refused", f"{depth} tokens inside the outermost, at most {limits.max_depth}")
    for before in seen:
        again = [*before.loops, *(layer.sid for layer in before.layers if layer.sid == sid)]
        if again and not allow_loops:
            raise Refused("chain-refused", f"{again[0]!r} would be on the path twice")
    return depth


def _container(
    text: str, seal_for: ReaderKey | None, compress: Compression | None, limits: StackLimits
) -> dict[str, str]:
    """`fmt`, `cmp` where there is one, and `container`."""
    if seal_for is not None:
        if jose.token_kind(text) != "jwt":
            raise LocalMisuse("value-invalid", "the previous token is sealed already")
        text = jose.seal(text, seal_for)
    fmt = jose.token_kind(text) or ""
    packed = None if compress is None else deflate(text, compress, limits)
    if packed is None:
        return {"fmt": fmt, "container": text}
    return {"fmt": fmt, "cmp": packed[1], "container": packed[0]}


def export_caller(
    caller: CallerLike,
    *,
    key: SigningKey,
    issuer: str,
    now_s: int,
    compress: Compression | None = "gzip",
    limits: StackLimits = WRITING,
) -> str:
    """The path of a verified caller in nested form: a layer for each hop and one for the caller, the oldest innermost.

    All layers carry the exporter's one signature: they say what `issuer`, who verified the caller, was told by the
    KDC, and nothing that the hops signed themselves. `client_id` names each hop; the outermost adds `iss`, `sub`
    (the subject, else the caller), `txn`, `iat` and `exp` (the end of the caller's ticket).

    A one-way street: no KDC and no Orthros verifier accepts the result, as evidence or otherwise. now_s: Unix seconds.
    Raises as `nest` does, and Refused `ticket-expired` when the caller's ticket has ended.
    """
    if key.sid is not None:
        raise LocalMisuse("key-misuse", "the layers of an export name several services: use a key without sid")
    if caller.expires_at <= now_s:
        raise Refused("ticket-expired")
    hops = [{"client_id": str(hop.principal), "auth_time": hop.auth_time} for hop in caller.chain]
    subject = caller.client if caller.subject is None else caller.subject.principal
    outermost = {
        "iss": issuer,
        "sub": str(subject),
        "client_id": str(caller.client),
        "txn": caller.transaction_id,
        "iat": now_s,
        "exp": caller.expires_at,
    }
    token: str | None = None
    for claims in (*hops, outermost):
        # What repeats on this path, the realm's policy has allowed.
        token = nest(
            claims,
            key,
            previous=token,
            sid=None if token is None else str(claims["client_id"]),
            compress=compress,
            allow_loops=True,
            limits=limits,
        )
    assert token is not None  # noqa: S101  # there is always the caller
    return token
