"""Narrowed credentials as a protected file, to be handed to another program of this user.

Whoever reads the file can use it until it ends, within its caveats. Reading and protecting it is `secret_file.py`'s
work; knows nothing about how it is used.

Layout: b"ORTHROSN", version byte 2, canonical record, SHA-256 of all before.
Record: the 13 items of a credential, ahead_ms, behind_ms; the last two say how far the realm's clock was ahead of the
writer's.
"""

from __future__ import annotations

import os
from typing import Final

from orthros_client.credentials.credentials import Credentials
from orthros_client.reasons import CREDENTIAL_FILE_INVALID
from orthros_protocol.errors import Misconfigured, PeerMisbehaved
from orthros_protocol.keys.secret_file import read_secret_file, write_secret_file
from orthros_protocol.primitives.derivation import digest, mac_matches
from orthros_protocol.primitives.schema import Message, binary, message, offset, spread
from orthros_protocol.tickets.credential import ISSUE, Credential
from orthros_protocol.tickets.ticket import peek_unverified_header
from orthros_runtime.clocks import Clock, Entropy

__all__ = ["CREDENTIAL_FILE_MAGIC", "load_credentials", "parse_credentials", "read_credentials", "save_credentials"]

CREDENTIAL_FILE_MAGIC: Final = b"ORTHROSN\x02"
_DIGEST_BYTES: Final = 32
_MOST_BYTES: Final = 64 * 1024


@message("narrowed credentials", limit=_MOST_BYTES)
class _NarrowedCredentials(Message):
    credential: Credential = spread(Credential, without=ISSUE, tail=binary(32))
    offset_ms: int = offset()


def save_credentials(credentials: Credentials, path: str | os.PathLike[str], *, replace: bool = False) -> None:
    """Writes `credentials` without their discharges, mode 0600, atomically.

    Raises Misconfigured `file-exists` unless `replace`, or `file-unreadable`; Refused `ticket-expired`.
    """
    credentials.require_alive()
    record = _NarrowedCredentials(credential=credentials, offset_ms=credentials.time.offset_ms())
    body = CREDENTIAL_FILE_MAGIC + record.encode()
    write_secret_file(path, body + digest(body), replace=replace)


def load_credentials(
    path: str | os.PathLike[str],
    *,
    realm_offset_ms: int | None = None,
    clock: Clock | None = None,
    entropy: Entropy = os.urandom,
) -> Credentials:
    """The credentials in a protected file, ready for use.

    `realm_offset_ms` is how far the realm's clock is ahead of this host's; by default what the file's writer knew of
    its own host. Raises Misconfigured (`file-unreadable`, `key-file-unsafe`, `credential-file-invalid`) or Refused
    `ticket-expired`.
    """
    credential, offset_ms = read_credentials(path)
    offset_ms = offset_ms if realm_offset_ms is None else realm_offset_ms
    return Credentials.of(credential, realm_offset_ms=offset_ms, clock=clock, entropy=entropy)


def read_credentials(path: str | os.PathLike[str]) -> tuple[Credential, int]:
    """What the file holds, ended or not, and the writer's offset of the realm's clock in milliseconds.

    Raises Misconfigured as `load_credentials`.
    """
    try:
        return parse_credentials(read_secret_file(path, most_bytes=_MOST_BYTES))
    except Misconfigured as error:
        if error.code != "credential-file-invalid":
            raise
        raise Misconfigured(CREDENTIAL_FILE_INVALID, f"{path}: {error.detail}") from None


def parse_credentials(content: bytes) -> tuple[Credential, int]:
    """The same from the file's content. Raises Misconfigured `credential-file-invalid`."""
    body, found = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if not body.startswith(CREDENTIAL_FILE_MAGIC):
        raise Misconfigured(CREDENTIAL_FILE_INVALID, "it does not start as one of version 2")
    if not mac_matches(digest(body), found):
        raise Misconfigured(CREDENTIAL_FILE_INVALID, "its checksum is wrong: truncated or damaged")
    try:
        record = _NarrowedCredentials.decode(body[len(CREDENTIAL_FILE_MAGIC) :])
        peek_unverified_header(record.credential.ticket)
    except PeerMisbehaved as error:
        raise Misconfigured(CREDENTIAL_FILE_INVALID, error.detail) from None
    return record.credential, record.offset_ms
