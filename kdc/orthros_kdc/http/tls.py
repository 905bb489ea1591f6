"""TLS for the HTTP port, from two PEM files.

Finds out what is wrong with them before a client connects; knows no sockets.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.secret_file import read_secret_file
from orthros_protocol.primitives.instants import Timestamp

__all__ = ["load_tls"]


def load_tls(cert: str, key: str, now: Timestamp) -> ssl.SSLContext:
    """A server's context: TLS 1.2 or newer, HTTP/1.1 only.

    Raises Misconfigured: `file-unreadable`; `key-file-unsafe` for a key that others can reach; `config-invalid` for
    what is no certificate or key, for two that do not belong together, and outside the certificate's days.
    """
    try:
        chain = x509.load_pem_x509_certificates(Path(cert).read_bytes())
    except OSError as error:
        raise Misconfigured("file-unreadable", f"[http] tls_cert {cert}: {error.strerror}") from None
    except (ValueError, x509.InvalidVersion):
        raise Misconfigured("config-invalid", f"[http] tls_cert {cert} holds no PEM certificate") from None
    _check_days(chain[0], cert, datetime.fromtimestamp(now / 1000, UTC))
    if b"PRIVATE KEY-----" not in read_secret_file(key):
        raise Misconfigured("config-invalid", f"[http] tls_key {key} holds no PEM private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password of ours, OpenSSL would ask the terminal for one.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:  # of which an SSLError is one; or a file that was there a moment ago
        mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
        said = "do not belong together" if mismatch else "cannot be used"
        raise Misconfigured("config-invalid", f"[http] tls_cert {cert} and tls_key {key} {said}") from None
    return context


def _check_days(certificate: x509.Certificate, path: str, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        raise Misconfigured("config-invalid", f"[http] tls_cert {path} expired on {ends:%Y-%m-%d %H:%M} UTC")
    if now < begins:
        raise Misconfigured("config-invalid", f"[http] tls_cert {path} is not valid before {begins:%Y-%m-%d %H:%M} UTC")
