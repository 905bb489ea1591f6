"""`orthros-kdc dev`: a throw-away realm with two demo principals, and how to use it.

For trying things out: all of it lives in a temporary folder that goes away with it. Never for production.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from orthros_kdc.admin import Admin, jwt_keys, oauth_secrets, principals, rules
from orthros_kdc.admin import realm as realm_admin
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.config import KDC_SETTINGS, Config
from orthros_kdc.process.kdc import open_kdc
from orthros_kdc.process.throwaway import throwaway_folder
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.keys.secret_file import write_secret_file
from orthros_runtime.clocks import wall_clock
from orthros_runtime.extras import install_command
from orthros_runtime.logs import configure_logs
from orthros_runtime.program import announce
from orthros_runtime.serving.signals import STOPPING, open_orders

__all__ = ["serve_dev"]

_REALM: Final = "dev.test"
_FOLDERS: Final = "orthros-dev-"
_CLIENT, _TARGET = "shop", "orders"
_DAEMON_CONFIG: Final = """\
version = 1
keytab = "{folder}/{client}.key"
kdcs = ["{kdc}"]
socket = "{folder}/{client}.sock"
http_socket = "{folder}/{client}.http.sock"
cache_file = "{folder}/{client}.cache"
"""
_HOW_TO: Final = """\
orthros-kdc ready: realm {realm} at {kdc}

`{client}` may call `{target}` with the scopes read and write, as a ticket or as a JWT.
In a second terminal:
  orthros-daemon --config {folder}/{client}.toml
In a third:
  export ORTHROS_SOCKET=unix://{folder}/{client}.sock
  orthros ticket {target}
  orthros token {target} --scope read
  orthros ticket {client}            # refused, and says why
The service `{target}` verifies with {folder}/{target}.key, the JWT with {folder}/{target}.jwk.
{over_http}
Everything here is gone when this process ends (Ctrl-C)."""
_OVER_HTTP: Final = """\
Over OAuth, without a daemon (the client's secret is in {folder}/{client}.oauth-secret):
  curl -s -K {folder}/{client}.curl {http}/token -d grant_type=client_credentials -d audience={target}
  curl -s {http}/.well-known/oauth-authorization-server
  curl -s {http}/readyz"""
_NOT_OVER_HTTP: Final = """\
OAuth over HTTP needs the extra http of the wheel that you installed:
  {command}"""


async def serve_dev(tcp: str, http: str) -> None:
    """Serves until SIGINT or SIGTERM, then removes every file it made. `http` empty: no HTTP port.

    What a killed one has left is removed by the next one at its start.
    """
    if find_spec("httptools") is None:
        http = ""
    with throwaway_folder(_FOLDERS) as folder:
        config = KDC_SETTINGS.load(
            None, {}, {"listen.tcp": tcp, "http.tcp": http, "audit.directory": str(folder / "audit")}
        )
        configure_logs(config.log.format, level=config.log.level)
        store = SqliteStore.create(folder / "kdc.db", durable=False)
        try:
            await _serve(config, store, folder)
        finally:
            await store.aclose()


async def _serve(config: Config, store: SqliteStore, folder: Path) -> None:
    vault = Vault(realm=_REALM, master=MasterKey(os.urandom(32), number=1))
    admin = Admin(store=store, vault=vault, audit=AdminAuditLog(), now_ms=wall_clock, actor="dev")
    await _populate(admin, folder)
    async with open_orders(*STOPPING) as orders, open_kdc(config, store, vault) as kdc:
        if kdc.http is not None:  # known only now; discovery demands that they agree
            await realm_admin.change(admin, issuer=kdc.http.addresses[0])
            await kdc.loader.look()
        facts = {"folder": folder, "client": _CLIENT, "target": _TARGET, "kdc": kdc.addresses[0]}
        (folder / f"{_CLIENT}.toml").write_text(_DAEMON_CONFIG.format(**facts), encoding="utf-8")
        if kdc.http is None:
            over_http = _NOT_OVER_HTTP.format(command=install_command("http"))
        else:
            over_http = _OVER_HTTP.format(http=kdc.http.addresses[0], **facts)
        announce(_HOW_TO.format(realm=_REALM, over_http=over_http, **facts))
        await orders.next()


async def _populate(admin: Admin, folder: Path) -> None:
    await realm_admin.init(admin)
    for name in (_CLIENT, _TARGET):
        keytab = await principals.add(admin, name)
        (keytab if name == _CLIENT else keytab.verify_only()).save(folder / f"{name}.key")
    await rules.allow(admin, _CLIENT, _TARGET, scopes=("read", "write"), jwt=True)
    await jwt_keys.enable(admin, _TARGET)
    jwk = json.dumps(await jwt_keys.export(admin, _TARGET))
    write_secret_file(folder / f"{_TARGET}.jwk", jwk.encode("ascii"))
    secret = (await oauth_secrets.enable(admin, _CLIENT)).text
    write_secret_file(folder / f"{_CLIENT}.oauth-secret", secret.encode("ascii"))
    # A configuration file for curl: on its command line, everybody on this host could read the secret.
    write_secret_file(folder / f"{_CLIENT}.curl", f'user = "{_CLIENT}:{secret}"\n'.encode("ascii"))
