"""A change of the master key as tests see it: two keys, a realm full of secrets, a store that can be interrupted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from orthros_kdc.admin import Admin, jwt_keys, keys, oauth_secrets, principals, realm, rules
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.base import KEY_RETIRED, Store, Transaction
from orthros_protocol.errors import OrthrosError

__all__ = ["BOTH", "NEXT", "OLD", "WRONG", "Between", "fill", "secrets"]

OLD = MasterKey(bytes(range(32)), number=1)
NEXT = MasterKey(bytes(range(100, 132)), number=2)
WRONG = MasterKey(bytes(range(200, 232)), number=2)
BOTH = Vault(realm="example.org", master=OLD, next_master=NEXT)


@frozen
class Between:
    """A store that runs `then` after each change of another."""

    store: Store
    then: Callable[[], Awaitable[None]]

    def peek_head(self) -> int:
        return self.store.peek_head()

    async def read(self, work: Callable[[Transaction], Any]) -> Any:
        return await self.store.read(work)

    async def change(self, work: Callable[[Transaction], Any]) -> Any:
        outcome = await self.store.change(work)
        await self.then()
        return outcome

    async def upgrade(self) -> None:
        await self.store.upgrade()

    async def aclose(self) -> None:
        await self.store.aclose()


async def fill(admin: Admin) -> None:
    """Secrets of every kind and state."""
    for name in ("billing", "orders", "payroll"):
        await principals.add(admin, name)
    await rules.allow(admin, "billing", "orders", scopes=("read",))
    await rules.allow(admin, "billing", "payroll", scopes=("pay",), jwt=True)
    for _ in range(2):
        await keys.rotate(admin, "orders")
        await keys.activate(admin, "orders")
    await keys.retire(admin, "orders", 1)
    await keys.rotate(admin, "orders")
    await principals.add(admin, "gone")
    await principals.disable(admin, "gone")
    await jwt_keys.enable(admin, "payroll")
    await jwt_keys.rotate(admin, "payroll")
    await oauth_secrets.enable(admin, "billing")
    await oauth_secrets.rotate(admin, "billing")
    await realm.rotate_keys(admin)


async def secrets(store: Store, vault: Vault) -> list[Any]:
    """Every secret, opened, in the store's own order; or the codes of what does not open."""
    found: list[Any] = []

    def opened(opener: Callable[..., Any], *records: Any) -> None:
        try:
            found.append(opener(*records).material)
        except OrthrosError as error:
            found.append(error.code)

    own: dict[str, Callable[..., Any]] = {
        "tgt": vault.tgt_key, "ticket": vault.service_key, "kdcmac": vault.kdcmac_key,
    }  # fmt: skip

    def look(tx: Transaction) -> None:
        for row in tx.realm_keys():
            opened(own[row.role], row)
        for principal in tx.principals():
            for key in tx.keys_of(principal.uid):
                opened(vault.as_key if key.state == KEY_RETIRED else vault.root_key, principal, key)
            for jwt_row in tx.jwt_keys_of(principal.uid):
                opened(vault.jwt_key, jwt_row)
            for secret_row in tx.oauth_secrets_of(principal.uid):
                opened(vault.oauth_secret, secret_row)

    await store.read(look)
    return found
