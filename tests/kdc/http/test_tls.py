"""The certificate files of the HTTP port: each way in which they can be wrong is told before anybody connects."""

from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from attrs import frozen
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from orthros_kdc.http.tls import load_tls
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.instants import Timestamp

TODAY = datetime.now(UTC)
NOW = Timestamp(int(TODAY.timestamp() * 1000))


@frozen
class Files:
    cert: Path
    key: Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = trustme.CA().issue_cert("127.0.0.1", not_before=TODAY - timedelta(1), not_after=TODAY + timedelta(1))
    found = Files(tmp_path / "tls.pem", tmp_path / "tls.key")
    for pem in made.cert_chain_pems:
        found.cert.write_bytes(pem.bytes())
    found.key.touch(0o600)
    found.key.write_bytes(made.private_key_pem.bytes())
    return found


def test_good_files_give_tls_1_2_or_newer(files: Files) -> None:
    context = load_tls(str(files.cert), str(files.key), NOW)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def _no_certificate(files: Files) -> None:
    files.cert.unlink()


def _no_key(files: Files) -> None:
    files.key.unlink()


def _another_key(files: Files) -> None:
    files.key.write_bytes(trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes())


def _readable_key(files: Files) -> None:
    files.key.chmod(0o644)


def _linked_key(files: Files) -> None:
    files.key.rename(files.key.with_name("real"))
    files.key.symlink_to("real")


def _swapped(files: Files) -> None:
    files.key.write_bytes(files.cert.read_bytes())


def _nonsense(files: Files) -> None:
    files.cert.write_text("not a certificate")


def _damaged_key(files: Files) -> None:
    lines = files.key.read_text().splitlines()
    files.key.write_text("\n".join([lines[0], "AAAA", lines[-1]]))


def _encrypted_key(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    files.key.write_bytes(pem)


def _unknown_version(files: Files) -> None:
    begin, *lines, end = files.cert.read_text().splitlines()
    der = bytearray(b64decode("".join(lines)))
    der[der.index(bytes.fromhex("a003020102")) + 4] = 94
    files.cert.write_text("\n".join([begin, b64encode(der).decode(), end]))


@pytest.mark.parity("K13")
@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (_no_certificate, "file-unreadable", "tls.pem"),
        (_no_key, "file-unreadable", "tls.key"),
        (_another_key, "config-invalid", "do not belong together"),
        (_readable_key, "key-file-unsafe", "mode 0644"),
        (_linked_key, "key-file-unsafe", "symbolic link"),
        (_swapped, "config-invalid", "no PEM private key"),
        (_nonsense, "config-invalid", "no PEM certificate"),
        (_unknown_version, "config-invalid", "no PEM certificate"),
        (_damaged_key, "config-invalid", "cannot be used"),
        (_encrypted_key, "config-invalid", "cannot be used"),
    ],
)
def test_files_that_cannot_be_used_say_why(files: Files, damage: Callable[[Files], None], code: str, says: str) -> None:
    """For certificates: cause and file, and nobody is asked for a password on a terminal."""
    damage(files)
    with pytest.raises(Misconfigured) as caught:
        load_tls(str(files.cert), str(files.key), NOW)
    assert caught.value.code == code
    assert says in caught.value.detail


@pytest.mark.parametrize(("days", "says"), [(2, "expired on"), (-2, "is not valid before")])
def test_a_certificate_outside_its_days_is_refused(files: Files, days: int, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        load_tls(str(files.cert), str(files.key), Timestamp(NOW + days * 86_400_000))
