"""What the files of Orthros say of themselves: key files, credentials, workers' logins, ticket caches, secrets in text.

Metadata alone: no key, no tail, no ticket.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_client.credentials.credential_file import parse_credentials
from orthros_client.credentials.worker_login import WorkerLogin
from orthros_client.inspection.findings import Eye, Fact, Finding, Moment
from orthros_client.inspection.messages import credential_facts
from orthros_client.inspection.tickets import look_at_ticket
from orthros_client.inspection.words import caveat_words
from orthros_protocol.errors import Malformed
from orthros_protocol.keys.keytab import KEY_FILE_PREFIX, Keytab, KeytabEntry
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.tickets.cache_file import cache_kvno
from orthros_protocol.tickets.carrying import carry

__all__ = ["look_at_cache", "look_at_credentials", "look_at_key_file", "look_at_login", "look_at_secret_text"]

_TEXTS: Final = {
    "ort1m_": ("master-key", "master key of a realm", "whoever reads it and the database has every key of the realm"),
    "ort1s_": ("oauth-secret", "OAuth secret of a client", "whoever reads it can obtain tokens as that client"),
    "ort1h_": ("handle", "opaque token (handle)", "whoever holds it can use it; the KDC knows its content"),
}


def look_at_key_file(data: bytes, _eye: Eye) -> Finding:
    """A key file in either form. Raises OrthrosError for what is none."""
    prefix = KEY_FILE_PREFIX.encode("ascii")
    is_text = data.startswith(prefix)
    keytab = Keytab.from_text(data.decode("ascii", "replace")) if is_text else Keytab.from_bytes(data)
    able = "open tickets, not log in (verify-only)" if keytab.is_verify_only else "log in, and open tickets"
    return Finding(
        kind="key-file",
        title="key file",
        size=len(data),
        facts={
            "form": "text" if is_text else "binary",
            "principal": str(keytab.principal),
            "uid": keytab.uid,
            "able_to": able,
            "keys": [_key_facts(entry) for entry in keytab.entries],
        },
        verified=("its checksum, and that each key has the id that stands with it",),
        unverified=("whether these keys are current, and the principal enabled: the KDC knows",),
        notes=("whoever reads it can be this principal",),
        secret=True,
    )


def look_at_credentials(data: bytes, eye: Eye) -> Finding:
    """A file of narrowed credentials. Raises OrthrosError for what is none."""
    credential, _offset_ms = parse_credentials(data)
    has_ended = credential.life.second <= eye.now_s
    return Finding(
        kind="credential-file",
        title="file of narrowed credentials",
        size=len(data),
        facts=credential_facts(credential),
        allows=tuple(map(caveat_words, credential.caveats)),
        verified=("its checksum: it is whole",),
        unverified=("what it says of its ticket: whoever wrote the file could write anything; the target decides",),
        sealed=("its key, which is in the file and not shown",),
        notes=("it has ended",) if has_ended else ("whoever reads it can use it until it ends, within its caveats",),
        secret=True,
        inside=(look_at_ticket(credential.ticket, eye),),
    )


def look_at_login(data: bytes, eye: Eye) -> Finding:
    """A worker's login file. Raises OrthrosError for what is none."""
    login = WorkerLogin.from_bytes(data)
    scopes = carry(login.credential.caveats, of_tgt=True).scopes
    facts: dict[str, Fact] = {
        "client": str(login.credential.client),
        "targets": [str(target) for target in sorted(login.targets)],
        "scopes": ["(all)"] if scopes is None else sorted(scopes),
        "expires": Moment(login.credential.life.second),
    }
    has_ended = login.credential.life.second <= eye.now_s
    return Finding(
        kind="login-file",
        title="login of a worker",
        size=len(data),
        facts=facts,
        allows=tuple(map(caveat_words, login.credential.caveats)),
        verified=("its checksum: it is whole",),
        unverified=("that the KDC takes it: whoever wrote the file could write anything",),
        sealed=("its key, which is in the file and not shown",),
        notes=("it has ended",) if has_ended else ("whoever reads it can obtain tickets with it until it ends",),
        secret=True,
        inside=(look_at_ticket(login.credential.ticket, eye),),
    )


def look_at_cache(data: bytes, _eye: Eye) -> Finding:
    """A daemon's ticket cache. Raises OrthrosError for what is none."""
    return Finding(
        kind="ticket-cache",
        title="a daemon's ticket cache",
        size=len(data),
        facts={"key_version": cache_kvno(data)},
        unverified=("its key version: anybody could have written it",),
        sealed=("everything else: only the key file of the daemon's principal opens it",),
    )


def look_at_secret_text(text: str) -> Finding:
    """A secret in text form. Raises Malformed for what is none."""
    if text[:6] not in _TEXTS or not text[6:].replace("_", "").replace("-", "").isalnum():
        raise Malformed("no secret in text form")
    kind, title, note = _TEXTS[text[:6]]
    return Finding(
        kind=kind,
        title=title,
        size=len(text),
        unverified=("whether it is one: only its form was looked at",),
        sealed=("nothing of it is shown",),
        notes=(note,),
        secret=True,
    )


def _key_facts(entry: KeytabEntry) -> dict[str, Any]:
    key = entry.key
    role = "root" if isinstance(key, RootKey) else key.role
    facts = {"version": key.kvno, "role": role, "id": key.kid.hex()}
    return facts | {"not_before": entry.not_before} if entry.not_before else facts
