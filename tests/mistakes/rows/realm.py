"""The realm: targets, rules and files of it, and the KDC itself."""

from __future__ import annotations

from tests.mistakes.house import House, shown
from tests.mistakes.rows.keys import start_daemon
from tests.mistakes.table import Seen, mistake
from tests.support.ports import free_port


@mistake(
    "the target's name is misspelt",
    at="caller",
    mend="Correct the name; `orthros-admin principal list` shows all.",
    caller=("not-granted", "Check the spelling of oders", "policy allow shop oders"),
    service=("shop", "oders", "not-granted"),
)
def unknown_target(house: House) -> Seen:
    return house.asked_kdc("ticket", "oders", host="shop")


@mistake(
    "no rule lets this caller reach this target",
    at="administrator",
    mend="`orthros-admin policy allow CLIENT TARGET --scope S`.",
    caller=("not-granted", "orthros-admin policy allow spy orders --scope"),
    service=("spy", "orders", "not-granted"),
)
def no_rule(house: House) -> Seen:
    start_daemon(house, "spy", house.key("spy.key"))
    return house.asked_kdc("ticket", "orders", host="spy")


@mistake(
    "the caller lacks a scope",
    at="administrator",
    mend="Add the scope to the pair's rule, or call with a ticket that carries it.",
    caller=("insufficient_scope", "shop@corp.test lacks admin"),
    service=("reason='insufficient-scope'", "shop@corp.test lacks admin"),
)
def scope_missing(house: House) -> Seen:
    return house.call("orders", path="/admin")


@mistake(
    "the KDC does not run, or at another address",
    at="caller, or the KDC",
    mend="Start the KDC, or correct `kdcs` in the daemon's configuration. Tickets in hand stay good.",
    caller=("kdc-unreachable", "tcp://127.0.0.1:", "the daemon's KDC list"),
    service=("kdc exchange failed", "code=kdc-unreachable"),
)
def no_kdc(house: House) -> Seen:
    daemon = start_daemon(house, "lost", house.key("shop.key"), f"tcp://127.0.0.1:{free_port()}")
    return Seen(house.orthros("ticket", "orders", host="lost"), daemon.errors())


@mistake(
    "the KDC has the master key of another realm",
    at="administrator",
    mend="Name the master key that `orthros-kdc init` wrote for this database.",
    caller=("master-key-wrong", "does not belong to this database", "orthros-kdc init"),
)
def master_key_of_another_realm(house: House) -> Seen:
    stage, other = house.estate.stage, house.folder / "other"
    stage.run("orthros-kdc", "init", "--realm", "corp.example", "--data", str(other)).require()
    words = ("serve", "--config", str(house.estate.config), "--master-key-file", str(other / "master.key"))
    return Seen(shown(stage.run("orthros-kdc", *words)), "")


@mistake(
    "the realm file is of another realm",
    at="administrator",
    mend="Name the configuration of the file's realm with `--config`, or the file of this realm.",
    caller=("conflict", "the file is of realm corp.example, and this realm is corp.test", "--config"),
)
def realm_file_of_another_realm(house: House) -> Seen:
    file = house.folder / "other.toml"
    file.write_text('version = 1\n[realm]\nname = "corp.example"\n', encoding="utf-8")
    return Seen(shown(house.estate.admin(f"realm apply {file} --yes")), "")


@mistake(
    "a backup of the database was put in place with its usual mode",
    at="administrator",
    mend="`chmod 600 kdc.db`; `install -m 600` copies a backup with the right mode.",
    caller=("database-unsafe", "copy.db has mode 0644", "chmod 600"),
)
def readable_database(house: House) -> Seen:
    copy = house.folder / "copy.db"
    copy.write_bytes((house.estate.folder / "kdc" / "kdc.db").read_bytes())
    copy.chmod(0o644)
    return Seen(shown(house.estate.admin(f"--store {copy} principal list")), "")
