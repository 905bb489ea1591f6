"""Founds a realm on disk: folder, master key, database, configuration, all or nothing.

The only place that creates a first master key. Serves nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orthros_kdc.admin import Admin, login_name
from orthros_kdc.admin import realm as realm_admin
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.config import KDC_SETTINGS
from orthros_kdc.realm.master_key import create_master_key_file
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.base import default_issuer
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.full_disk import unwritable
from orthros_protocol.primitives.names import check_name
from orthros_runtime.clocks import wall_clock

__all__ = ["found_realm"]

_CONFIG = """\
# Settings of this realm's KDC. `orthros-kdc config show --effective` lists all of them.
version = 1

[store]
path = "{folder}/kdc.db"
master_key_file = "{folder}/master.key"

[listen]
tcp = "{listen}"

[audit]
directory = "{folder}/audit"

# OAuth over HTTP and probes: off until it has an address. Needs the extra `http` of the wheel that you installed.
# [http]
# tcp = "127.0.0.1:8443"
# tls_cert = "{folder}/tls.pem"
# tls_key = "{folder}/tls.key"
"""


async def found_realm(realm: str, folder: str, issuer: str | None, listen: str) -> str:
    """Creates the realm and returns what to do next, as text for a person.

    Raises Misconfigured, and then leaves nothing behind: `file-exists` when the folder holds anything,
    `name-invalid`, `config-invalid`.
    """
    check_name(realm, "realm")
    target = Path(folder).absolute()
    existed = target.exists()
    if existed and (not target.is_dir() or any(target.iterdir())):
        raise Misconfigured("file-exists", f"{target} is not an empty folder")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.chmod(0o700)
    except OSError as error:
        raise unwritable(target, error) from None
    try:
        await _fill(target, realm, issuer, listen)
    except BaseException:
        _empty(target, remove=not existed)
        raise
    is_default, url = issuer is None, default_issuer(realm) if issuer is None else issuer
    return (
        f"Realm {realm} founded in {target}\n"
        f"  master key   {target}/master.key   keep a copy apart from the database's backups\n"
        f"  database     {target}/kdc.db\n"
        f"  settings     {target}/kdc.toml\n"
        f"  issuer       {url}   {'by default: ' if is_default else ''}OAuth clients reach the HTTP port at this URL\n"
        f"Next:\n"
        f"  orthros-kdc serve --config {target}/kdc.toml\n"
        f"  orthros-admin --config {target}/kdc.toml principal add NAME"
    ) + (f"\nIs that URL wrong? orthros-admin --config {target}/kdc.toml realm issuer URL" if is_default else "")


async def _fill(target: Path, realm: str, issuer: str | None, listen: str) -> None:
    config = target / "kdc.toml"
    config.write_text(_CONFIG.format(folder=target, listen=listen), encoding="utf-8")
    KDC_SETTINGS.load(config, {})
    (target / "audit").mkdir(mode=0o700)
    master = create_master_key_file(target / "master.key", entropy=os.urandom)
    store = SqliteStore.create(target / "kdc.db")
    try:
        admin = Admin(
            store=store,
            vault=Vault(realm=realm, master=master),
            audit=AdminAuditLog(),
            now_ms=wall_clock,
            actor=login_name(os.environ),
        )
        await realm_admin.init(admin, issuer=issuer)
    finally:
        await store.aclose()


def _empty(target: Path, *, remove: bool) -> None:
    for left in target.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    if remove:
        target.rmdir()
