"""Key files: the keys of one principal, full or verify-only, as bytes or as one line of text.

Parses and writes bytes; reading and protecting the file itself is `secret_file.py`'s work.

Layout: b"ORTHROSK", version byte 1, records (u16be length, canonical bytes), u16be 0, SHA-256 of all before.
Text form: "ort1k_" and the same bytes in lower-case base32 (RFC 4648) without padding.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured, PeerMisbehaved
from orthros_protocol.keys.role_keys import AsKey, RootKey, SyncKey, TicketKey
from orthros_protocol.keys.secret_file import read_secret_file, write_secret_file
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.limits import MAX_U32
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    binary,
    extensions,
    integer,
    message,
    optional,
    principal,
    secret,
    text,
)
from orthros_protocol.primitives.secrets import Secret

__all__ = ["KEY_FILE_PREFIX", "Keytab", "KeytabEntry"]

_MAGIC: Final = b"ORTHROSK\x01"
KEY_FILE_PREFIX: Final = "ort1k_"
_ROOT, _ROLE = 0, 1
_ROLES: Final = {"as": AsKey, "ticket": TicketKey, "sync": SyncKey}
_MOST_RECORDS: Final = 64


def _is_role(role: str) -> bool:
    return role in _ROLES


@message("key record", limit=2048)
class _KeyRecord(Message):
    principal: Principal = principal()
    uid: int = integer()
    kvno: int = integer(MAX_U32, 1)
    kind: int = integer(1)
    role: str | None = optional(text(_is_role))
    kid: bytes = binary(8)
    material: bytes = secret(32)
    not_before: int = integer()
    ext: tuple[Extension, ...] = extensions(default=())


@frozen(eq=False)
class KeytabEntry:
    """One record: a root or role key and the Unix second before which it is not used."""

    key: RootKey | AsKey | TicketKey | SyncKey
    not_before: int = 0


@frozen(eq=False, repr=False)
class Keytab:
    """The keys of one principal. A key id selects exactly one key; nothing is ever tried in turn."""

    principal: Principal
    uid: int
    entries: tuple[KeytabEntry, ...]
    _ticket_keys: dict[bytes, TicketKey] = field(init=False)
    _as_keys: dict[bytes, AsKey] = field(init=False)
    _sync_keys: dict[bytes, SyncKey] = field(init=False)

    def __attrs_post_init__(self) -> None:
        by_kid: dict[bytes, Secret] = {}
        for entry in self.entries:
            key = entry.key
            if key.principal != self.principal or key.uid != self.uid:
                raise Misconfigured("key-file-invalid", "it holds keys of more than one principal")
            held: list[Any] = [key]
            if isinstance(key, RootKey):
                held = [key, key.as_key(), key.ticket_key(), key.sync_key()]
            for each in held:
                if each.kid in by_kid:
                    raise Misconfigured("key-file-invalid", f"key id {each.kid.hex()} occurs twice")
                by_kid[each.kid] = each
        for name, kind in (("_ticket_keys", TicketKey), ("_as_keys", AsKey), ("_sync_keys", SyncKey)):
            object.__setattr__(self, name, {kid: key for kid, key in by_kid.items() if isinstance(key, kind)})

    def __repr__(self) -> str:
        kind = "verify-only" if self.is_verify_only else "full"
        return f"<Keytab {self.principal} {kind} kvno={self.kvnos} redacted>"

    @property
    def kvnos(self) -> tuple[int, ...]:
        """The key versions held, oldest first."""
        return tuple(sorted({entry.key.kvno for entry in self.entries}))

    @property
    def is_verify_only(self) -> bool:
        """Whether the file can only open tickets, never log in."""
        return not self._as_keys

    def ticket_key(self, kid: bytes) -> TicketKey | None:
        """The ticket key with this id, if it is held."""
        return self._ticket_keys.get(kid)

    def as_key(self) -> AsKey:
        """The newest key that can log in. Raises Misconfigured `key-missing` for a verify-only file."""
        if not self._as_keys:
            raise Misconfigured("key-missing", f"the key file of {self.principal} is verify-only: it cannot log in")
        return max(self._as_keys.values(), key=lambda key: key.kvno)

    def root_key(self) -> RootKey:
        """The newest root. Raises Misconfigured `key-missing` for a verify-only file."""
        roots = [entry.key for entry in self.entries if isinstance(entry.key, RootKey)]
        if not roots:
            raise Misconfigured("key-missing", f"the key file of {self.principal} is verify-only: it has no root")
        return max(roots, key=lambda key: key.kvno)

    def verify_only(self) -> Keytab:
        """The same versions with ticket and sync keys only."""
        kept = []
        for entry in self.entries:
            if isinstance(entry.key, RootKey):
                kept += [KeytabEntry(entry.key.ticket_key(), entry.not_before)]
                kept += [KeytabEntry(entry.key.sync_key(), entry.not_before)]
            elif not isinstance(entry.key, AsKey):
                kept.append(entry)
        return Keytab(self.principal, self.uid, tuple(kept))

    @classmethod
    def of(cls, *keys: RootKey | AsKey | TicketKey | SyncKey) -> Keytab:
        """A keytab of these keys, which belong to one principal."""
        if not keys:
            raise LocalMisuse("value-invalid", "a keytab holds at least one key")
        return cls(keys[0].principal, keys[0].uid, tuple(KeytabEntry(key) for key in keys))

    def to_bytes(self) -> bytes:
        """The binary form."""
        body = bytearray(_MAGIC)
        for entry in self.entries:
            key = entry.key
            kind, role = (_ROOT, None) if isinstance(key, RootKey) else (_ROLE, key.role)
            record = _KeyRecord(
                principal=key.principal,
                uid=key.uid,
                kvno=key.kvno,
                kind=kind,
                role=role,
                kid=key.kid,
                material=key.material,
                not_before=entry.not_before,
            ).encode()
            body += len(record).to_bytes(2, "big") + record
        body += b"\0\0"
        return bytes(body) + digest(bytes(body))

    def to_text(self) -> str:
        """The one-line text form, for environment variables and secret stores."""
        return KEY_FILE_PREFIX + base64.b32encode(self.to_bytes()).decode("ascii").rstrip("=").lower()

    @classmethod
    def from_bytes(cls, content: bytes) -> Keytab:
        """From the binary form. Raises Misconfigured `key-file-invalid`."""
        body, found = content[:-32], content[-32:]
        if len(content) < len(_MAGIC) + 34 or not body.startswith(_MAGIC):
            raise Misconfigured("key-file-invalid", "it does not start as a key file of version 1")
        if digest(body) != found:
            raise Misconfigured("key-file-invalid", "its checksum is wrong: truncated or damaged")
        entries: list[KeytabEntry] = []
        at = len(_MAGIC)
        while size := int.from_bytes(body[at : at + 2], "big"):
            record = body[at + 2 : at + 2 + size]
            if len(record) != size or len(entries) == _MOST_RECORDS:
                raise Misconfigured("key-file-invalid", "a record is cut short, or there are too many")
            entries.append(_entry_of(record))
            at += 2 + size
        if at + 2 != len(body) or not entries:
            raise Misconfigured("key-file-invalid", "its records do not end where they should")
        return cls(entries[0].key.principal, entries[0].key.uid, tuple(entries))

    @classmethod
    def from_text(cls, line: str) -> Keytab:
        """From the text form. Raises Misconfigured `key-file-invalid`."""
        stripped = line.strip()
        encoded = stripped.removeprefix(KEY_FILE_PREFIX)
        if encoded == stripped or not encoded.isascii() or encoded != encoded.lower():
            raise Misconfigured("key-file-invalid", f"the text form starts with {KEY_FILE_PREFIX} and is lower-case")
        try:
            content = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
        except binascii.Error:
            raise Misconfigured("key-file-invalid", "the text form is not base32") from None
        if base64.b32encode(content).decode("ascii").rstrip("=").lower() != encoded:
            raise Misconfigured("key-file-invalid", "the text form has stray bits")
        return cls.from_bytes(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Keytab:
        """From a protected file in either form.

        Raises Misconfigured `file-unreadable`, `key-file-unsafe` or `key-file-invalid`.
        """
        content = read_secret_file(path)
        if content.startswith(KEY_FILE_PREFIX.encode("ascii")):
            try:
                return cls.from_text(content.decode("ascii"))
            except UnicodeDecodeError:
                raise Misconfigured("key-file-invalid", f"{path}: the text form is not ASCII") from None
        return cls.from_bytes(content)

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Writes the binary form, mode 0600, atomically. Raises Misconfigured `file-exists` unless `replace`."""
        write_secret_file(path, self.to_bytes(), replace=replace)


def keytab_of_roots(roots: Iterable[RootKey]) -> Keytab:
    """A full keytab of one principal's roots, oldest version first."""
    return Keytab.of(*sorted(roots, key=lambda root: root.kvno))


def _entry_of(encoded: bytes) -> KeytabEntry:
    try:
        record = _KeyRecord.decode(encoded)
    except (Malformed, PeerMisbehaved) as error:
        raise Misconfigured("key-file-invalid", error.detail) from None
    if (record.kind == _ROOT) != (record.role is None):
        raise Misconfigured("key-file-invalid", "a record's kind and role contradict each other")
    make: Any = RootKey if record.role is None else _ROLES[record.role]
    key = make(record.material, principal=record.principal, uid=record.uid, kvno=record.kvno)
    if key.kid != record.kid:
        raise Misconfigured("key-file-invalid", f"key id {record.kid.hex()} does not belong to its key")
    return KeytabEntry(key, record.not_before)
