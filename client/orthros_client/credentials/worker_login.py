"""Logins for workers: a ticket-granting ticket narrowed to some targets and a short time, as the content of a file.

Whoever holds one obtains tickets within its caveats and can narrow it further, never widen it. Knows neither files nor
sessions.

Layout: b"ORTHROSL", version byte 1, canonical record, SHA-256 of all before.
Record: [realm, name, uid, tgt, caveats, tail32, ahead_ms, behind_ms]; the times say how far the realm's clock was ahead
of the writer's, as a first guess for the reader's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from attrs import field, frozen

from orthros_client.reasons import LOGIN_FILE_INVALID
from orthros_protocol import (
    TGT,
    Caveat,
    ExpiresCaveat,
    Misconfigured,
    OrthrosError,
    Principal,
    Refused,
    ScopesCaveat,
    TargetsCaveat,
    carry,
    is_name,
    join_caveats,
    peek_unverified_header,
    split_caveats,
    tail_after,
)
from orthros_protocol.keys.role_keys import not_exported
from orthros_protocol.primitives.canonical import Schema, binary, integer, text
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.limits import MAX_CAVEATS_BLOB_BYTES, MAX_TICKET_BYTES

__all__ = ["MAX_LOGIN_BYTES", "WorkerLogin"]

MAX_LOGIN_BYTES: Final = 24 * 1024
_MAGIC: Final = b"ORTHROSL\x01"
_DIGEST_BYTES: Final = 32
_RECORD: Final = Schema(
    "worker's login",
    text(is_name),
    text(is_name),
    integer(),
    binary(16, MAX_TICKET_BYTES),
    binary(1, MAX_CAVEATS_BLOB_BYTES),
    binary(32),
    integer(),
    integer(),
    limit=MAX_LOGIN_BYTES,
)


@frozen(eq=False, kw_only=True)
class WorkerLogin:
    """A narrowed TGT of `client` and the tail behind its caveats (32 bytes, secret).

    `expires` is the Unix second at which it ends, `targets` what it is good for. Raises Misconfigured
    `login-file-invalid` for one that has no end or names no targets.
    """

    client: Principal
    uid: int
    tgt: bytes = field(repr=False)
    caveats: bytes = field(repr=False)
    tail: bytes = field(repr=False)
    offset_ms: int = 0
    expires: int = field(init=False)
    targets: frozenset[Principal] = field(init=False)

    __getstate__ = not_exported

    def __attrs_post_init__(self) -> None:
        try:
            carried = carry(split_caveats(self.caveats), of_tgt=True)
            kind = peek_unverified_header(self.tgt).ticket_type
        except OrthrosError as error:
            raise Misconfigured(LOGIN_FILE_INVALID, error.detail) from None
        if carried.expires is None or carried.targets is None or kind != TGT:
            raise Misconfigured(LOGIN_FILE_INVALID, "it has no end, no targets, or no ticket-granting ticket")
        object.__setattr__(self, "expires", carried.expires)
        object.__setattr__(self, "targets", carried.targets)

    @classmethod
    def narrowed(
        cls,
        tgt: bytes,
        caveats: bytes,
        tail: bytes,
        *,
        client: Principal,
        uid: int,
        targets: Iterable[Principal],
        scopes: tuple[str, ...] | None,
        expires: int,
        offset_ms: int,
    ) -> Self:
        """A login within `tgt`, whose `caveats` field has the tail `tail`: for `targets`, until the Unix second
        `expires`, with `scopes` at most (None: all).

        Raises Refused `excluded-by-your-caveat` for targets outside those caveats, and LocalMisuse for more targets
        than a caveat can hold.
        """
        named = tuple(sorted(set(targets)))
        before = split_caveats(caveats)
        held = carry(before, of_tgt=True).targets
        outside = [str(target) for target in named if held is not None and target not in held]
        if outside:
            raise Refused("excluded-by-your-caveat", " ".join(outside))
        rows: list[Caveat] = [ExpiresCaveat(expires), TargetsCaveat(named)]
        if scopes is not None:
            rows.append(ScopesCaveat(scopes))
        added = [row.to_bytes() for row in rows]
        return cls(
            client=client,
            uid=uid,
            tgt=tgt,
            caveats=join_caveats((*before, *added)),
            tail=tail_after(tail, added),
            offset_ms=offset_ms,
        )

    def to_bytes(self) -> bytes:
        """The content of the file: secret."""
        ahead, behind = max(self.offset_ms, 0), max(-self.offset_ms, 0)
        content = _MAGIC + _RECORD.encode(
            self.client.realm, self.client.name, self.uid, self.tgt, self.caveats, self.tail, ahead, behind
        )
        return content + digest(content)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises Misconfigured `login-file-invalid`."""
        if not cls.is_login(data):
            raise Misconfigured(LOGIN_FILE_INVALID, "it does not start as a login file of version 1")
        content = data[:-_DIGEST_BYTES]
        if digest(content) != data[-_DIGEST_BYTES:]:
            raise Misconfigured(LOGIN_FILE_INVALID, "its checksum is wrong: it was cut short or altered")
        try:
            realm, name, uid, tgt, caveats, tail, ahead, behind = _RECORD.decode(content[len(_MAGIC) :])
        except OrthrosError as error:
            raise Misconfigured(LOGIN_FILE_INVALID, error.detail) from None
        return cls(
            client=Principal(realm, name), uid=uid, tgt=tgt, caveats=caveats, tail=tail, offset_ms=ahead - behind
        )

    @staticmethod
    def is_login(data: bytes) -> bool:
        """Whether `data` begins as a login file of this version."""
        return data.startswith(_MAGIC)
