"""Use cases on JWT export: enable it for a target, rotate its JWT key, hand the key over as a JWK.

Knows no token format; a JWT key is a record of its own and no part of a key file.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode

from attrs import evolve

from orthros_kdc.admin.context import Admin, require_principal
from orthros_kdc.store.base import JwtKeyRecord, PrincipalRecord, Transaction
from orthros_protocol import Misconfigured

__all__ = ["disable", "enable", "export", "listed", "rotate"]

_LIVE = 2
_AUDIENCE = re.compile(r"[!-~]{1,256}", re.ASCII)


async def enable(admin: Admin, target: str, *, alg: str = "HS256", audience: str | None = None) -> JwtKeyRecord:
    """Lets clients whose rules grant it obtain JWTs for `target`, under a fresh key.

    `audience` is the one exact `aud`, by default `target@realm`. Raises Misconfigured `already-exists` when
    it is enabled, `value-invalid` for another algorithm or an audience that is not printable ASCII.
    """
    exact = f"{target}@{admin.vault.realm}" if audience is None else audience
    if _AUDIENCE.fullmatch(exact) is None:
        raise Misconfigured("value-invalid", f"audience {exact!r}")

    def work(tx: Transaction) -> JwtKeyRecord:
        principal = require_principal(tx, target)
        if principal.jwt_alg is not None:
            raise Misconfigured("already-exists", f"{target} has JWTs with {principal.jwt_alg}: disable them first")
        record, _ = admin.vault.new_jwt_key(principal.uid, alg, now=admin.now())
        tx.add_jwt_key(record)
        tx.set_principal(evolve(principal, jwt_alg=alg, jwt_audience=exact))
        admin.record(tx, "jwt.enabled", principal=target, uid=principal.uid, alg=alg, audience=exact, kid=record.kid)
        return record

    return await admin.store.change(work)


async def disable(admin: Admin, target: str) -> None:
    """Ends JWT export for `target` and erases its JWT keys. Raises Misconfigured `not-found`."""

    def work(tx: Transaction) -> None:
        principal = _require_enabled(tx, target)
        for key in tx.jwt_keys_of(principal.uid):
            tx.delete_jwt_key(principal.uid, key.kid)
        tx.set_principal(evolve(principal, jwt_alg=None, jwt_audience=None))
        admin.record(tx, "jwt.disabled", principal=target, uid=principal.uid)

    await admin.store.change(work)


async def rotate(admin: Admin, target: str) -> JwtKeyRecord:
    """A fresh JWT key that signs from now on; the one before stays live, older ones are erased.

    A target that pins its keys sees an unknown `kid` until it has the new one: export it at once.
    """

    def work(tx: Transaction) -> JwtKeyRecord:
        principal = _require_enabled(tx, target)
        record, _ = admin.vault.new_jwt_key(principal.uid, str(principal.jwt_alg), now=admin.now())
        tx.add_jwt_key(record)
        for key in tx.jwt_keys_of(principal.uid)[_LIVE:]:
            tx.delete_jwt_key(principal.uid, key.kid)
        admin.record(tx, "jwt.rotated", principal=target, uid=principal.uid, kid=record.kid)
        return record

    return await admin.store.change(work)


async def listed(admin: Admin, target: str) -> tuple[JwtKeyRecord, ...]:
    """The live JWT keys, newest first; the first one signs."""
    return await admin.store.read(lambda tx: tx.jwt_keys_of(_require_enabled(tx, target).uid))


async def export(admin: Admin, target: str, *, kid: str | None = None) -> dict[str, str]:
    """One live JWT key as a JWK (RFC 7517), the newest unless `kid` names another: for the target alone,
    because whoever holds it can forge JWTs to that target."""

    def work(tx: Transaction) -> dict[str, str]:
        principal = _require_enabled(tx, target)
        held = tx.jwt_keys_of(principal.uid)
        record = next((key for key in held if kid in (None, key.kid)), None)
        if record is None:
            raise Misconfigured("not-found", f"{target} has no JWT key {kid}")
        key = admin.vault.jwt_key(record)
        admin.record(tx, "jwt.exported", principal=target, uid=principal.uid, kid=key.kid)
        encoded = urlsafe_b64encode(key.material).decode("ascii").rstrip("=")
        return {"kty": "oct", "k": encoded, "alg": key.alg, "kid": key.kid, "use": "sig"}

    return await admin.store.change(work)


def _require_enabled(tx: Transaction, target: str) -> PrincipalRecord:
    principal = require_principal(tx, target)
    if principal.jwt_alg is None:
        raise Misconfigured("not-found", f"JWT export is not enabled for {target}")
    return principal
