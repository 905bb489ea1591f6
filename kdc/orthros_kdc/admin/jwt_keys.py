"""Use cases on tokens for a target: enable them, rotate the key, hand it over as a JWK, name extra claims.

Knows no token format; a JWT key is a record of its own and no part of a key file.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from attrs import evolve

from orthros_kdc.admin.context import Admin, require_principal
from orthros_kdc.admin.principal_facts import check_token_claims
from orthros_kdc.realm.vault import OPAQUE
from orthros_kdc.reasons import ALREADY_EXISTS, NO_JWT
from orthros_kdc.store.base import JwtKeyRecord, PrincipalRecord, Transaction
from orthros_protocol.errors import Misconfigured

__all__ = [
    "check_audience",
    "disable",
    "disable_in",
    "enable",
    "enable_in",
    "export",
    "listed",
    "rotate",
    "set_claims",
    "set_claims_in",
]

_LIVE = 2
_AUDIENCE = re.compile(r"[!-~]{1,256}", re.ASCII)


async def enable(
    admin: Admin, target: str, *, alg: str = "HS256", audience: str | None = None, claims: Sequence[str] = ()
) -> JwtKeyRecord:
    """Lets clients whose rules grant it obtain JWTs for `target`, under a fresh key.

    `alg` opaque makes them sealed handles, to be introspected. `audience` is the one exact `aud`, by default
    `target@realm`; `claims` name what clients may have put under `ext`. Raises Misconfigured `already-exists` when
    it is enabled, `value-invalid` for another algorithm, an audience that is not printable ASCII, or a claim that
    has a meaning of its own, and `conflict` for an audience that another target has, or would have by default.
    """
    extra = check_token_claims(claims)
    exact = check_audience(f"{target}@{admin.vault.realm}" if audience is None else audience)
    return await admin.store.change(lambda tx: enable_in(tx, admin, target, alg=alg, audience=exact, claims=extra))


def enable_in(
    tx: Transaction, admin: Admin, target: str, *, alg: str, audience: str, claims: tuple[str, ...]
) -> JwtKeyRecord:
    """`enable` within a transaction, with what `check_audience` and `check_token_claims` have seen."""
    principal = require_principal(tx, target)
    if principal.jwt_alg is not None:
        raise Misconfigured(ALREADY_EXISTS, f"{target} has JWTs with {principal.jwt_alg}: disable them first")
    _require_free(tx, admin, target, audience)
    record, _ = admin.vault.new_jwt_key(principal.uid, alg, now=admin.now())
    tx.add_jwt_key(record)
    tx.set_principal(evolve(principal, jwt_alg=alg, jwt_audience=audience, token_claims=claims))
    admin.record(
        tx,
        "jwt.enabled",
        principal=target,
        uid=principal.uid,
        alg=alg,
        audience=audience,
        kid=record.kid,
        claims=" ".join(claims),
    )
    return record


def _require_free(tx: Transaction, admin: Admin, target: str, audience: str) -> None:
    """A token names its target by `aud` alone, so that two targets with one audience could not be told apart."""
    name, at, realm = audience.partition("@")
    if at and realm == admin.vault.realm and name != target:
        raise Misconfigured("conflict", f"audience {audience} is that of {name}: choose another audience for {target}")
    if tx.has_jwt_audience(audience):
        raise Misconfigured("conflict", f"another target has audience {audience}: choose another for {target}")


def check_audience(audience: str) -> str:
    """`audience` itself, or Misconfigured `value-invalid` when it is not 1 to 256 printable ASCII characters."""
    if _AUDIENCE.fullmatch(audience) is None:
        raise Misconfigured("value-invalid", f"audience {audience!r}: 1 to 256 printable ASCII characters, no blank")
    return audience


async def disable(admin: Admin, target: str) -> None:
    """Ends JWT export for `target` and erases its JWT keys. Raises Misconfigured `not-found`."""
    await admin.store.change(lambda tx: disable_in(tx, admin, target))


def disable_in(tx: Transaction, admin: Admin, target: str) -> None:
    """`disable` within a transaction."""
    principal = _require_enabled(tx, target)
    for key in tx.jwt_keys_of(principal.uid):
        tx.delete_jwt_key(principal.uid, key.kid)
    tx.set_principal(evolve(principal, jwt_alg=None, jwt_audience=None, token_claims=()))
    admin.record(tx, "jwt.disabled", principal=target, uid=principal.uid)


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


async def set_claims(admin: Admin, target: str, claims: Sequence[str]) -> PrincipalRecord:
    """Names the extra claims that clients may have put into tokens for `target`, in place of those before.

    Raises Misconfigured `not-found` or `value-invalid`.
    """
    extra = check_token_claims(claims)
    return await admin.store.change(lambda tx: set_claims_in(tx, admin, target, extra))


def set_claims_in(tx: Transaction, admin: Admin, target: str, claims: tuple[str, ...]) -> PrincipalRecord:
    """`set_claims` within a transaction, with claims that `check_token_claims` has seen."""
    after = evolve(_require_enabled(tx, target), token_claims=claims)
    tx.set_principal(after)
    admin.record(tx, "jwt.claims-changed", principal=target, uid=after.uid, claims=" ".join(claims))
    return after


async def listed(admin: Admin, target: str) -> tuple[JwtKeyRecord, ...]:
    """The live JWT keys, newest first; the first one signs."""
    return await admin.store.read(lambda tx: tx.jwt_keys_of(_require_enabled(tx, target).uid))


async def export(admin: Admin, target: str, *, kid: str | None = None) -> dict[str, str]:
    """One live JWT key as a JWK (RFC 7517), the newest unless `kid` names another: for the target alone,
    because its holder can forge JWTs to that target.

    Raises Misconfigured `conflict` for opaque tokens, whose key stays with the KDC.
    """

    def work(tx: Transaction) -> dict[str, str]:
        principal = _require_enabled(tx, target)
        if principal.jwt_alg == OPAQUE:
            detail = f"tokens for {target} are opaque, and their key stays with the KDC: {target} introspects them"
            raise Misconfigured("conflict", detail)
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
        raise Misconfigured(NO_JWT.filled(TARGET=target), f"JWT export is not enabled for {target}")
    return principal
