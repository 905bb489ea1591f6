"""Principals as requests see them: who a login key belongs to, a client, a target, an OAuth client.

Made from the rows of one moment; keys are opened when they are first used. Reads nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from attrs import field, frozen

from orthros_kdc.policy.ask_and_grant import PrincipalCaps, TargetFacts
from orthros_kdc.realm.vault import JwtKey, OAuthSecret, Vault
from orthros_kdc.store.base import (
    KEY_ACTIVE,
    KEY_RETIRED,
    JwtKeyRecord,
    KeyRecord,
    OAuthSecretRecord,
    PrincipalRecord,
    Transaction,
)
from orthros_protocol.keys.role_keys import AsKey, TicketKey
from orthros_protocol.primitives.limits import MAX_INT

__all__ = [
    "ClientView",
    "Key",
    "KnownPrincipal",
    "LoginView",
    "OAuthClientView",
    "PrincipalRows",
    "TargetView",
    "rows_of",
]

Key = tuple[Literal["uid"], int] | tuple[Literal["kid"], bytes] | tuple[Literal["name", "jwt", "audience"], str]
"""What a principal is looked up by: its number, the id of a login key, its name, the id of a JWT key, or its `aud`."""

_NOBODY = 0


@frozen(eq=False, kw_only=True)
class LoginView:
    """Who a login key belongs to. A retired key only serves to say so under seal; `retired` is since when."""

    principal: PrincipalRecord
    key: AsKey
    is_retired: bool
    retired: int | None
    newest_kvno: int


@frozen(eq=False, kw_only=True)
class ClientView:
    """A client of the ticket-granting exchange and the ids of the login keys that still count.

    `ticket_keys` are its own by kid, those of draining versions too: evidence that it shows opens with one of them.
    `logins_since` is the Unix second from which its oldest live version can have logged in.
    """

    principal: PrincipalRecord
    caps: PrincipalCaps
    live_login_kids: frozenset[bytes]
    ticket_keys: Mapping[bytes, TicketKey] = field(repr=False)
    logins_since: int = 0


@frozen(eq=False, kw_only=True)
class OAuthClientView:
    """A client that authenticates by secret: newest first, and none unless OAuth is enabled for it. Whether it may
    ask at all (disabled, sources) is for the caller to judge by `principal`."""

    principal: PrincipalRecord
    caps: PrincipalCaps
    secrets: tuple[OAuthSecret, ...]


@frozen(eq=False, kw_only=True)
class TargetView:
    """A target: what policy must know of it, and the keys that its credentials are sealed or signed with.

    `jwt_keys` are all that live, newest first; the first one, `jwt_key`, signs.
    """

    principal: PrincipalRecord
    facts: TargetFacts
    ticket_key: TicketKey | None
    jwt_keys: tuple[JwtKey, ...] = ()

    @property
    def jwt_key(self) -> JwtKey | None:
        """The key that signs, if JWTs are enabled."""
        return self.jwt_keys[0] if self.jwt_keys else None


@frozen(eq=False, kw_only=True)
class PrincipalRows:
    """A principal and all that hangs on it, as stored at one moment."""

    principal: PrincipalRecord
    keys: tuple[KeyRecord, ...]
    jwt_keys: tuple[JwtKeyRecord, ...]
    oauth_secrets: tuple[OAuthSecretRecord, ...]


def rows_of(tx: Transaction, key: Key) -> PrincipalRows | None:
    """Whom `key` stands for; None when that is no principal, or more than one."""
    principal = _found(tx, key)
    # Also for no principal: names can be guessed, unlike keys, so what is asked must not depend on who is there.
    uid = _NOBODY if principal is None else principal.uid
    keys, jwt_keys, secrets = tx.keys_of(uid), tx.jwt_keys_of(uid), tx.oauth_secrets_of(uid)
    if principal is None:
        return None
    return PrincipalRows(principal=principal, keys=keys, jwt_keys=jwt_keys, oauth_secrets=secrets)


def _found(tx: Transaction, key: Key) -> PrincipalRecord | None:
    match key:
        case ("uid", uid):
            return tx.principal_by_uid(uid)
        case ("kid", kid):
            row = tx.key_by_as_kid(kid)
            return None if row is None else tx.principal_by_uid(row.uid)
        case ("name", name):
            return tx.principal_by_name(name)
        case ("jwt", kid):
            return tx.principal_by_jwt_kid(kid)
        case ("audience", audience):
            return tx.principal_by_jwt_audience(audience)


class KnownPrincipal:
    """One principal; each of its views is made once. What does not open raises Misconfigured `database-invalid`."""

    def __init__(self, rows: PrincipalRows, vault: Vault) -> None:
        self._vault = vault
        self._rows = rows
        self._logins: dict[bytes, LoginView | None] = {}
        self.principal = rows.principal

    @property
    def login_kids(self) -> list[bytes]:
        """The ids of its login keys, retired ones included."""
        return [row.kid_as for row in self._rows.keys]

    def login(self, kid: bytes) -> LoginView | None:
        """The login key `kid`; None for one that it does not have, or that is erased."""
        if kid not in self._logins:
            self._logins[kid] = self._login(kid)
        return self._logins[kid]

    def _login(self, kid: bytes) -> LoginView | None:
        row = next((row for row in self._rows.keys if row.kid_as == kid), None)
        if row is None or (row.state == KEY_RETIRED and not row.sealed_as):
            return None
        return LoginView(
            principal=self.principal,
            key=self._vault.as_key(self.principal, row),
            is_retired=row.state == KEY_RETIRED,
            retired=row.retired,
            newest_kvno=max(key.kvno for key in self._rows.keys),
        )

    @cached_property
    def client(self) -> ClientView:
        """It as a client."""
        live = [row for row in self._rows.keys if row.state != KEY_RETIRED]
        return ClientView(
            principal=self.principal,
            caps=self._caps,
            live_login_kids=frozenset(row.kid_as for row in live),
            ticket_keys={row.kid_ticket: self._vault.ticket_key(self.principal, row) for row in live},
            logins_since=min((row.created for row in live), default=MAX_INT),
        )

    @cached_property
    def oauth_client(self) -> OAuthClientView:
        """It as an OAuth client."""
        rows = self._rows.oauth_secrets if self.principal.oauth else ()
        secrets = tuple(map(self._vault.oauth_secret, rows))
        return OAuthClientView(principal=self.principal, caps=self._caps, secrets=secrets)

    @cached_property
    def target(self) -> TargetView:
        """It as a target."""
        principal = self.principal
        active = [row for row in self._rows.keys if row.state == KEY_ACTIVE]
        ticket_key = self._vault.ticket_key(principal, max(active, key=lambda row: row.kvno)) if active else None
        jwt_keys = tuple(map(self._vault.jwt_key, self._rows.jwt_keys if principal.jwt_alg else ()))
        return TargetView(
            principal=principal,
            facts=TargetFacts(
                max_ticket_s=principal.max_ticket_s,
                max_jwt_s=principal.max_jwt_s,
                disabled=principal.disabled,
                has_key=ticket_key is not None,
                jwt_alg=jwt_keys[0].alg if jwt_keys else None,
            ),
            ticket_key=ticket_key,
            jwt_keys=jwt_keys,
        )

    @property
    def _caps(self) -> PrincipalCaps:
        return PrincipalCaps(max_ticket_s=self.principal.max_ticket_s, max_jwt_s=self.principal.max_jwt_s)
