"""Logins for workers: a ticket-granting ticket narrowed to some targets and a short time, as the content of a file.

Whoever holds one obtains tickets within its caveats and can narrow it further, never widen it. Knows neither files nor
sessions.

Layout: b"ORTHROSL", version byte 2, canonical record, SHA-256 of all before.
Record: the 13 items of a credential, uid, ahead_ms, behind_ms; the last two say how far the realm's clock was ahead
of the writer's, as a first guess for the reader's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from attrs import evolve, field

from orthros_client.reasons import LOGIN_FILE_INVALID
from orthros_protocol.errors import Misconfigured, OrthrosError, Refused
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.schema import Message, binary, integer, message, offset, spread
from orthros_protocol.tickets.carrying import carry
from orthros_protocol.tickets.caveats import Caveat, ExpiresCaveat, ScopesCaveat, TargetsCaveat
from orthros_protocol.tickets.credential import ISSUE, Credential, Life
from orthros_protocol.tickets.ticket import TGT, peek_unverified_header

__all__ = ["MAX_LOGIN_BYTES", "WorkerLogin"]

MAX_LOGIN_BYTES: Final = 24 * 1024
_MAGIC: Final = b"ORTHROSL\x02"
_DIGEST_BYTES: Final = 32


@message("worker's login", limit=MAX_LOGIN_BYTES)
class WorkerLogin(Message):
    """A narrowed TGT, which ends where its caveats say. `uid` is that of its client.

    `targets` is what the login is good for. Raises Misconfigured `login-file-invalid` for one that has no end or names
    no targets.
    """

    credential: Credential = spread(Credential, without=ISSUE, tail=binary(32))
    uid: int = integer()
    offset_ms: int = offset(default=0)
    targets: frozenset[Principal] = field(init=False)

    def __attrs_post_init__(self) -> None:
        try:
            carried = carry(self.credential.caveats, of_tgt=True)
            kind = peek_unverified_header(self.credential.ticket).ticket_type
        except OrthrosError as error:
            raise Misconfigured(LOGIN_FILE_INVALID, error.detail) from None
        if carried.expires is None or carried.targets is None or kind != TGT:
            raise Misconfigured(LOGIN_FILE_INVALID, "it has no end, no targets, or no ticket-granting ticket")
        life = Life.until(carried.expires, self.credential.life.whole_s)
        object.__setattr__(self, "credential", evolve(self.credential, life=life))
        object.__setattr__(self, "targets", carried.targets)

    @classmethod
    def narrowed(
        cls,
        tgt: Credential,
        *,
        uid: int,
        targets: Iterable[Principal],
        scopes: tuple[str, ...] | None,
        expires: int,
        offset_ms: int,
    ) -> Self:
        """A login within `tgt`: for `targets`, until the Unix second `expires`, with `scopes` at most (None: all).

        Raises Refused `excluded-by-your-caveat` for targets outside the caveats of `tgt`, and LocalMisuse for more
        targets than a caveat can hold.
        """
        named = tuple(sorted(set(targets)))
        held = carry(tgt.caveats, of_tgt=True).targets
        outside = [str(target) for target in named if held is not None and target not in held]
        if outside:
            raise Refused("excluded-by-your-caveat", " ".join(outside))
        rows: list[Caveat] = [ExpiresCaveat(expires), TargetsCaveat(named)]
        if scopes is not None:
            rows.append(ScopesCaveat(scopes))
        return cls(credential=tgt.with_caveats([row.to_bytes() for row in rows]), uid=uid, offset_ms=offset_ms)

    def to_bytes(self) -> bytes:
        """The content of the file: secret."""
        content = _MAGIC + self.encode()
        return content + digest(content)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises Misconfigured `login-file-invalid`."""
        if not data.startswith(_MAGIC):
            raise Misconfigured(LOGIN_FILE_INVALID, "it does not start as a login file of version 2")
        content = data[:-_DIGEST_BYTES]
        if digest(content) != data[-_DIGEST_BYTES:]:
            raise Misconfigured(LOGIN_FILE_INVALID, "its checksum is wrong: it was cut short or altered")
        try:
            return cls.decode(content[len(_MAGIC) :])
        except OrthrosError as error:
            raise Misconfigured(LOGIN_FILE_INVALID, error.detail) from None

    @staticmethod
    def is_login(data: bytes) -> bool:
        """Whether `data` begins as a login file, of this version or another."""
        return data.startswith(_MAGIC[:-1])
