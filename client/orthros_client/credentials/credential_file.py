"""Narrowed credentials as a protected file, to be handed to another program of this user.

Whoever reads the file can use it until it ends, within its caveats. Reading and protecting it is `secret_file.py`'s
work; knows nothing about how it is used.

Layout: b"ORTHROSN", version byte 1, canonical record, SHA-256 of all before.
"""

from __future__ import annotations

import os
from typing import Final

from orthros_client.clocks import Clock, Entropy
from orthros_client.credentials.credentials import Credentials
from orthros_client.reasons import CREDENTIAL_FILE_INVALID
from orthros_protocol import (
    HandedOver,
    Malformed,
    Misconfigured,
    Principal,
    Subject,
    is_name,
    is_scope,
    peek_unverified_header,
    read_secret_file,
    split_caveats,
    write_secret_file,
)
from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.primitives.canonical import Schema, array, binary, integer, optional, text, text_set
from orthros_protocol.primitives.derivation import digest, mac_matches
from orthros_protocol.primitives.limits import MAX_CAVEATS_BLOB_BYTES, MAX_DISCHARGES, MAX_SCOPES, MAX_TICKET_BYTES
from orthros_protocol.tickets.discharges import MAX_DEMAND_BYTES
from orthros_protocol.tickets.ticket import SUBJECT

__all__ = ["CREDENTIAL_FILE_MAGIC", "load_credentials", "parse_credentials", "read_credentials", "save_credentials"]

CREDENTIAL_FILE_MAGIC: Final = b"ORTHROSN\x01"
_DIGEST_BYTES: Final = 32
_MOST_BYTES: Final = 64 * 1024
_RECORD: Final = Schema(
    "narrowed credentials",
    text(is_name),
    text(is_name),
    integer(),
    text(is_name),
    text(is_name),
    text_set(is_scope, MAX_SCOPES),
    integer(),
    integer(),
    optional(SUBJECT),
    binary(16, MAX_TICKET_BYTES),
    binary(0, MAX_CAVEATS_BLOB_BYTES),
    binary(32),
    array(binary(1, MAX_DEMAND_BYTES), MAX_DISCHARGES),
    integer(),
    integer(),
    limit=_MOST_BYTES,
)


def save_credentials(credentials: Credentials, path: str | os.PathLike[str], *, replace: bool = False) -> None:
    """Writes `credentials` without their discharges, mode 0600, atomically.

    Raises Misconfigured `file-exists` unless `replace`, or `file-unreadable`; Refused `ticket-expired`.
    """
    one = credentials.to_handed()
    offset_ms = credentials.time.offset_ms()
    ahead, behind = max(offset_ms, 0), max(-offset_ms, 0)
    record = _RECORD.encode(
        one.target.realm,
        one.target.name,
        one.target_uid,
        one.client.realm,
        one.client.name,
        list(one.scopes),
        one.expires,
        one.ttl_s,
        None if one.subject is None else one.subject.to_items(),
        one.ticket,
        one.caveats,
        one.tail,
        list(one.demands),
        ahead,
        behind,
    )
    body = CREDENTIAL_FILE_MAGIC + record
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
    handed, offset_ms = read_credentials(path)
    offset_ms = offset_ms if realm_offset_ms is None else realm_offset_ms
    return Credentials.received(handed, realm_offset_ms=offset_ms, clock=clock, entropy=entropy)


def read_credentials(path: str | os.PathLike[str]) -> tuple[HandedOver, int]:
    """What the file holds, ended or not, and the writer's offset of the realm's clock in milliseconds.

    Raises Misconfigured as `load_credentials`.
    """
    try:
        return parse_credentials(read_secret_file(path, most_bytes=_MOST_BYTES))
    except Misconfigured as error:
        if error.code != "credential-file-invalid":
            raise
        raise Misconfigured(CREDENTIAL_FILE_INVALID, f"{path}: {error.detail}") from None


def parse_credentials(content: bytes) -> tuple[HandedOver, int]:
    """The same from the file's content. Raises Misconfigured `credential-file-invalid`."""
    body, found = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if not body.startswith(CREDENTIAL_FILE_MAGIC):
        raise Misconfigured(CREDENTIAL_FILE_INVALID, "it does not start as one of version 1")
    if not mac_matches(digest(body), found):
        raise Misconfigured(CREDENTIAL_FILE_INVALID, "its checksum is wrong: truncated or damaged")
    try:
        return _handed_in(body[len(CREDENTIAL_FILE_MAGIC) :])
    except PeerMisbehaved as error:
        raise Misconfigured(CREDENTIAL_FILE_INVALID, error.detail) from None


def _handed_in(record: bytes) -> tuple[HandedOver, int]:
    (
        realm,
        name,
        uid,
        crealm,
        cname,
        scopes,
        expires,
        ttl_s,
        subject,
        ticket,
        caveats,
        tail,
        demands,
        ahead,
        behind,
    ) = _RECORD.decode(record)
    peek_unverified_header(ticket)
    split_caveats(caveats)
    if ahead and behind:
        raise Malformed("a clock that is both ahead and behind")
    handed = HandedOver(
        ticket=ticket,
        caveats=caveats,
        tail=tail,
        target=Principal(realm, name),
        target_uid=uid,
        client=Principal(crealm, cname),
        scopes=tuple(scopes),
        expires=expires,
        ttl_s=ttl_s,
        subject=Subject.of_items(subject),
        demands=tuple(demands),
    )
    return handed, ahead - behind
