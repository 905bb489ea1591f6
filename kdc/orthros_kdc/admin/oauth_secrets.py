"""Use cases on OAuth clients: let a principal ask as one, give it client secrets and a default target, take them away.

Knows no grant and no HTTP. Secrets are generated here only; no admin can bring one along.
"""

from __future__ import annotations

from attrs import evolve, frozen

from orthros_kdc.admin.context import Admin, require_principal
from orthros_kdc.realm.vault import OAuthSecret
from orthros_kdc.reasons import ALREADY_EXISTS, NO_OAUTH_CLIENT
from orthros_kdc.store.base import OAuthSecretRecord, PrincipalRecord, Transaction
from orthros_protocol.errors import Misconfigured

__all__ = [
    "OAuthClientShown",
    "disable",
    "disable_in",
    "enable",
    "enable_without_secret_in",
    "listed",
    "retire",
    "rotate",
    "set_default_audience",
    "set_default_audience_in",
]

_LIVE = 2
_PAGE = 1000


@frozen(kw_only=True)
class OAuthClientShown:
    """A principal that may ask as an OAuth client, with its secrets, newest first and still sealed.

    `default_is_gone`: it has a default target, and there is no principal of that name; so an older program left it.
    """

    record: PrincipalRecord
    secrets: tuple[OAuthSecretRecord, ...]
    default_is_gone: bool = False


async def enable(admin: Admin, name: str, *, default_audience: str | None = None) -> OAuthSecret:
    """Lets `name` ask as an OAuth client, for tokens to `default_audience` where a request names no target. The
    returned secret is the only copy handed out.

    Raises Misconfigured `not-found` for either, or `already-exists` when it is enabled.
    """

    def work(tx: Transaction) -> OAuthSecret:
        principal = require_principal(tx, name)
        if principal.oauth:
            raise Misconfigured(
                ALREADY_EXISTS,
                f"{name} is an OAuth client: `oauth secret` makes another secret, "
                "`oauth audience` changes its default target",
            )
        if default_audience is not None:
            require_principal(tx, default_audience)
        tx.set_principal(evolve(principal, oauth=True, default_audience=default_audience))
        secret = _add(admin, tx, principal)
        admin.record(
            tx, "oauth.enabled", principal=name, uid=principal.uid, secret_id=secret.secret_id, target=default_audience
        )
        return secret

    return await admin.store.change(work)


async def disable(admin: Admin, name: str) -> None:
    """Refuses `name` as an OAuth client from now on and erases its secrets. Raises Misconfigured `not-found`."""
    await admin.store.change(lambda tx: disable_in(tx, admin, name))


def disable_in(tx: Transaction, admin: Admin, name: str) -> None:
    """`disable` within a transaction."""
    principal = _require_enabled(tx, name)
    for held in tx.oauth_secrets_of(principal.uid):
        tx.delete_oauth_secret(principal.uid, held.secret_id)
    tx.set_principal(evolve(principal, oauth=False, default_audience=None))
    admin.record(tx, "oauth.disabled", principal=name, uid=principal.uid)


def enable_without_secret_in(tx: Transaction, admin: Admin, name: str) -> None:
    """As `enable`, within a transaction and without a secret: no one receives it then. `rotate` makes
    one, and until then the client cannot ask."""
    principal = require_principal(tx, name)
    tx.set_principal(evolve(principal, oauth=True))
    admin.record(tx, "oauth.enabled", principal=name, uid=principal.uid, secret_id=None, target=None)


async def set_default_audience(admin: Admin, name: str, target: str | None) -> None:
    """Names the target of the client's requests that name none; None takes it away, and these are refused.

    It gives no right: policy decides as for a target that the request names. Raises Misconfigured `not-found`.
    """

    def work(tx: Transaction) -> None:
        if target is not None:
            require_principal(tx, target)
        set_default_audience_in(tx, admin, name, target)

    await admin.store.change(work)


def set_default_audience_in(tx: Transaction, admin: Admin, name: str, target: str | None) -> None:
    """`set_default_audience` within a transaction, with a target that is there, or will be when it ends."""
    principal = _require_enabled(tx, name)
    tx.set_principal(evolve(principal, default_audience=target))
    admin.record(tx, "oauth.audience-changed", principal=name, uid=principal.uid, target=target)


async def rotate(admin: Admin, name: str) -> OAuthSecret:
    """A fresh secret; the one before stays good until it is retired, older ones are erased.

    The returned secret is the only copy handed out. Raises Misconfigured `not-found`.
    """

    def work(tx: Transaction) -> OAuthSecret:
        principal = _require_enabled(tx, name)
        secret = _add(admin, tx, principal)
        erased = tx.oauth_secrets_of(principal.uid)[_LIVE:]
        for old in erased:
            tx.delete_oauth_secret(principal.uid, old.secret_id)
        admin.record(
            tx, "oauth.secret-added", principal=name, uid=principal.uid, secret_id=secret.secret_id, erased=len(erased)
        )
        return secret

    return await admin.store.change(work)


async def retire(admin: Admin, name: str, secret_id: str) -> int:
    """Erases one secret, which is refused from now on. Returns how many are left, which may be none.

    Raises Misconfigured `not-found`.
    """

    def work(tx: Transaction) -> int:
        principal = _require_enabled(tx, name)
        tx.delete_oauth_secret(principal.uid, secret_id)
        admin.record(tx, "oauth.secret-retired", principal=name, uid=principal.uid, secret_id=secret_id)
        return len(tx.oauth_secrets_of(principal.uid))

    return await admin.store.change(work)


async def listed(admin: Admin, name: str | None = None) -> tuple[OAuthClientShown, ...]:
    """Every OAuth client in name order, or the one called `name`. Raises Misconfigured `not-found`."""

    def work(tx: Transaction) -> tuple[OAuthClientShown, ...]:
        if name is not None:
            return (_shown(tx, _require_enabled(tx, name)),)
        found: list[OAuthClientShown] = []
        after = ""
        while page := tx.principals(after=after, most=_PAGE):
            found += [_shown(tx, record) for record in page if record.oauth]
            after = page[-1].name
        return tuple(found)

    return await admin.store.read(work)


def _add(admin: Admin, tx: Transaction, principal: PrincipalRecord) -> OAuthSecret:
    record, secret = admin.vault.new_oauth_secret(principal.uid, admin.now())
    tx.add_oauth_secret(record)
    return secret


def _shown(tx: Transaction, record: PrincipalRecord) -> OAuthClientShown:
    default = record.default_audience
    return OAuthClientShown(
        record=record,
        secrets=tx.oauth_secrets_of(record.uid),
        default_is_gone=default is not None and tx.principal_by_name(default) is None,
    )


def _require_enabled(tx: Transaction, name: str) -> PrincipalRecord:
    principal = require_principal(tx, name)
    if not principal.oauth:
        raise Misconfigured(NO_OAUTH_CLIENT.filled(PRINCIPAL=name), name)
    return principal
