"""The master key: where it comes from, and the one way in which stored secrets are sealed under it.

Knows no tables and no database; `init` creates the first key, and a change of the master key the next one.

Text form: "ort1m_" and base32 (RFC 4648, lower case, no padding) of u32be number, 32 bytes of key and the
first 8 bytes of SHA-256 over both. A sealed row is u32be number, then SEAL(KEK, "rec", its context, secret),
so that a row says which master key opens it while the next one is taking over.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from orthros_kdc.reasons import DATABASE_INVALID, MASTER_KEY_INVALID, MASTER_KEY_MISSING, MASTER_KEY_WRONG
from orthros_protocol.errors import Misconfigured, PeerMisbehaved
from orthros_protocol.keys.secret_file import read_secret_file, write_secret_file
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive, digest, mac, mac_matches
from orthros_protocol.primitives.sealing import ENTROPY_BYTES, open_box, seal
from orthros_protocol.primitives.secrets import Secret

__all__ = [
    "CREDENTIAL_NAME",
    "ENVIRONMENT_NAME",
    "MASTER_KEY_PREFIX",
    "NEXT_CREDENTIAL_NAME",
    "MasterKey",
    "create_master_key_file",
    "load_master_key",
    "load_next_master_key",
]

MASTER_KEY_PREFIX: Final = "ort1m_"
ENVIRONMENT_NAME: Final = "ORTHROS_STORE_MASTER_KEY"
CREDENTIAL_NAME: Final = "orthros-master-key"
NEXT_CREDENTIAL_NAME: Final = "orthros-next-master-key"
_CHECKSUM_BYTES: Final = 8
_MOST_TEXT_BYTES: Final = 256
_MOST_BOX_BYTES: Final = 1024

Entropy = Callable[[int], bytes]


# getstate_setstate=False: attrs would write a __getstate__ that hands the material out.
@frozen(eq=False, repr=False, getstate_setstate=False)
class MasterKey(Secret):
    """32 bytes from which the key-encryption key is derived; `number` tells successive ones apart."""

    number: int = field(kw_only=True)
    _kek: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_kek", derive(self.material, "kek", encode(self.number)))

    def __repr__(self) -> str:
        return f"<MasterKey number={self.number} redacted>"

    @property
    def row_head(self) -> bytes:
        """How every row begins that this key, or another one of its number, has sealed."""
        return _numbered(self.number)

    def seal_row(self, table: str, *ids: int | str, secret: bytes, entropy: Entropy) -> bytes:
        """`secret` sealed for exactly this row: `ids` are the columns that name it and its time of creation."""
        context = encode(table, *ids)
        return self.row_head + seal(self._kek, "rec", context, secret, entropy=entropy(ENTROPY_BYTES))

    def open_row(self, table: str, *ids: int | str, sealed: bytes) -> bytes:
        """The secret of this row.

        Raises Misconfigured `master-key-wrong` for a row of another master key, `key-missing` for an erased
        one and `database-invalid` for one that was altered or belongs elsewhere.
        """
        if not sealed:
            raise Misconfigured("key-missing", f"{table} {ids} has been erased")
        if not self.may_open(sealed):
            raise Misconfigured(MASTER_KEY_WRONG, f"{table} {ids} is sealed under another master key")
        try:
            return open_box(self._kek, "rec", encode(table, *ids), sealed[4:], limit=_MOST_BOX_BYTES)
        except PeerMisbehaved:
            raise Misconfigured(DATABASE_INVALID, f"{table} {ids} does not open: altered or moved") from None

    def may_open(self, sealed: bytes) -> bool:
        """Whether this row says that a master key of this number sealed it."""
        return sealed[:4] == self.row_head

    def key_check(self, realm: str) -> bytes:
        """What a database remembers to recognise its master key by."""
        return mac(self._kek, "key-check", encode(realm))

    def is_checked_by(self, realm: str, stored: bytes) -> bool:
        """Whether `stored` is this key's check value."""
        return mac_matches(self.key_check(realm), stored)

    def require_check(self, realm: str, stored: bytes) -> None:
        """Raises Misconfigured `master-key-wrong` unless `stored` is this key's check value."""
        if not self.is_checked_by(realm, stored):
            raise Misconfigured(MASTER_KEY_WRONG, f"this one has number {self.number}")

    def to_text(self) -> str:
        """The one-line form that files, credentials and the environment hold."""
        body = self.row_head + self.material
        content = body + digest(body)[:_CHECKSUM_BYTES]
        return MASTER_KEY_PREFIX + base64.b32encode(content).decode("ascii").rstrip("=").lower()

    @classmethod
    def from_text(cls, line: str) -> MasterKey:
        """From the one-line form. Raises Misconfigured `master-key-invalid`; the line itself is never quoted."""
        stripped = line.strip()
        encoded = stripped.removeprefix(MASTER_KEY_PREFIX)
        if encoded == stripped or not encoded.isascii():
            raise Misconfigured(MASTER_KEY_INVALID, f"it does not start with {MASTER_KEY_PREFIX}")
        try:
            content = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
        except binascii.Error:
            raise Misconfigured(MASTER_KEY_INVALID, "it is not base32") from None
        body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if len(body) != 36 or digest(body)[:_CHECKSUM_BYTES] != checksum:
            raise Misconfigured(MASTER_KEY_INVALID, "its checksum is wrong: truncated or mistyped")
        key = cls(body[4:], number=int.from_bytes(body[:4], "big"))
        if key.to_text() != stripped:
            raise Misconfigured(MASTER_KEY_INVALID, "it has capitals or stray bits")
        return key


def _numbered(number: int) -> bytes:
    return number.to_bytes(4, "big")


def create_master_key_file(path: str | os.PathLike[str], *, entropy: Entropy, number: int = 1) -> MasterKey:
    """A new master key in a new file of mode 0600. It opens nothing until rows are sealed under it.

    Raises Misconfigured `file-exists`.
    """
    key = MasterKey(entropy(32), number=number)
    write_secret_file(path, key.to_text().encode("ascii") + b"\n")
    return key


def load_master_key(path: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str]) -> MasterKey:
    """The master key: from `path` if one is named, else from systemd's credential, else from the environment.

    Raises Misconfigured `master-key-missing`, `master-key-invalid` or `key-file-unsafe`. Creates nothing.
    """
    found = _load(path, CREDENTIAL_NAME, environ)
    if found is not None:
        return found
    if ENVIRONMENT_NAME in environ:
        return MasterKey.from_text(environ[ENVIRONMENT_NAME])
    raise Misconfigured(MASTER_KEY_MISSING)


def load_next_master_key(path: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str]) -> MasterKey | None:
    """The key that the master key is being changed to: from `path`, else from systemd's credential, else none.

    Raises as `load_master_key` does.
    """
    return _load(path, NEXT_CREDENTIAL_NAME, environ)


def _load(path: str | os.PathLike[str] | None, credential_name: str, environ: Mapping[str, str]) -> MasterKey | None:
    if path is not None:
        if not os.path.lexists(path):
            raise Misconfigured(MASTER_KEY_MISSING, f"{path} does not exist")
        return _from_bytes(read_secret_file(path, most_bytes=_MOST_TEXT_BYTES))
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", "")) / credential_name
    if credential.is_absolute() and os.path.lexists(credential):
        return _from_bytes(_read_credential(credential))
    return None


def _from_bytes(content: bytes) -> MasterKey:
    try:
        return MasterKey.from_text(content.decode("ascii"))
    except UnicodeDecodeError:
        raise Misconfigured(MASTER_KEY_INVALID, "it is not ASCII") from None


def _read_credential(path: Path) -> bytes:
    """A file that systemd placed: it belongs to the service's user, or to root and is opened to that user by an
    ACL, whose mask then shows as the group's read bit (0440). Hence other rules than for our own files."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Misconfigured("key-file-unsafe", f"{path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        safe = stat.S_ISREG(facts.st_mode) and facts.st_uid in (0, os.geteuid()) and not facts.st_mode & 0o037
        if not safe:
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            raise Misconfigured("key-file-unsafe", f"{path}: owner {facts.st_uid}, mode {mode}")
        return file.read(_MOST_TEXT_BYTES + 1)
