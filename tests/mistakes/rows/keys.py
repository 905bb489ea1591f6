"""Wrong keys: at the service, and at the daemon of the caller."""

from __future__ import annotations

from pathlib import Path

from tests.mistakes.house import House
from tests.mistakes.table import Seen, mistake
from workshop.stage import Process, StageError

_CONFIG = """\
version = 1
keytab = "{keytab}"
kdcs = ["{kdc}"]
socket = "{folder}/{name}.sock"
"""
_ENDS_S = 20.0


def start_daemon(house: House, name: str, keytab: Path, kdc: str | None = None) -> Process:
    """A daemon with this key file, which is ready or has ended."""
    config = house.folder / f"{name}.toml"
    kdc = kdc or f"unix://{house.folder}/kdc.sock"
    config.write_text(_CONFIG.format(keytab=keytab, kdc=kdc, folder=house.folder, name=name), "utf-8")
    process = house.estate.stage.start(name, "orthros-daemon", "--config", str(config))
    try:
        process.await_line("^orthros-daemon ready: ")
    except StageError:
        assert process.ends(_ENDS_S)
    return process


@mistake(
    "the service has the key file of another service",
    at="service",
    mend="Install the file of `orthros-admin key export orders --verify-only --out FILE`, and restart the service.",
    caller=("cannot open the ticket for orders@corp.test, sealed under key version 1", "of another service",
            "key export orders --verify-only", "reference"),
    service=("reason='unknown-key'", "sealed under kvno 1", "the key file here is of ledger@corp.test",
             "for another service than ledger@corp.test", "If this service is not ledger", "key export"),
)  # fmt: skip
def key_of_another_service(house: House) -> Seen:
    return house.call("ledgers-key")


@mistake(
    "the service still has the key file from before a rotation",
    at="service",
    mend="Install the new key file on every host before `orthros-admin key activate`; restart the service.",
    caller=("cannot open the ticket for reports@corp.test, sealed under key version 2", "has other versions",
            "key export reports --verify-only"),
    service=("sealed under kvno 2", "of reports@corp.test, kvno 1", "this file is older than the rotation"),
)  # fmt: skip
def key_before_the_rotation(house: House) -> Seen:
    return house.call("old-key", target="reports")


@mistake(
    "a key version was retired while tickets under it lived",
    at="administrator",
    mend="Retire a version only when the longest ticket life is over since `key activate`.",
    caller=("cannot open the ticket for archive@corp.test, sealed under key version 1", "has other versions"),
    service=("sealed under kvno 1", "of archive@corp.test, kvno 2", "this version was retired"),
)
def key_retired_too_early(house: House) -> Seen:
    return house.call("new-key", target="archive")


@mistake(
    "the daemon's key file is of a principal that was deleted and added again",
    at="caller",
    mend="Install the key file that `orthros-admin principal add` wrote last.",
    caller=("unauthenticated-refusal", "orthros-admin explain ", "removed or added again", "key export"),
    service=("unknown-key",),
)
def key_of_a_deleted_principal(house: House) -> Seen:
    start_daemon(house, "temp", house.key("temp.key"))
    return house.asked_kdc("ticket", "orders", host="temp")


@mistake(
    "the daemon has the verify-only key file of a service",
    at="caller",
    mend="Give the daemon the full key file of its own host; verify-only files are for services.",
    caller=("the key file of orders@corp.test is verify-only: it cannot log in", "key export"),
)
def key_file_for_verifying(house: House) -> Seen:
    return Seen(start_daemon(house, "mixed", house.key("orders.verify.key")).errors(), "")


@mistake(
    "two hosts' key files were mixed up",
    at="caller",
    mend="Name the daemon's own key file in its setting `keytab`. `orthros doctor --keytab FILE` compares.",
    caller=("conflict", "the daemon runs as shop@corp.test, the key file is of spy@corp.test", "`keytab`"),
)
def key_files_mixed_up(house: House) -> Seen:
    return Seen(house.orthros("doctor", "--keytab", str(house.key("spy.key"))), "")


@mistake(
    "others may read the daemon's key file",
    at="caller",
    mend="`chmod 600 FILE`; the file belongs to the daemon's user.",
    caller=("key-file-unsafe", "loose.key has mode 0644", "mode 0600"),
)
def key_file_with_a_wide_mode(house: House) -> Seen:
    loose = house.folder / "loose.key"
    loose.write_bytes(house.key("spy.key").read_bytes())
    loose.chmod(0o644)
    return Seen(start_daemon(house, "loose", loose).errors(), "")
