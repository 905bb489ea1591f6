"""`orthros-admin key`: list, rotate, activate, retire, export, erase-tombstones.

Knows the order in which a key is changed without a failed call; `orthros_kdc.admin.keys` does each step.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable

from orthros_kdc.admin import keys
from orthros_kdc.store.base import KEY_ACTIVE, KEY_RETIRED, KeyRecord
from orthros_tools.admin.command_line import PROGRAM, Nouns, from_one
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.key_files import Destination
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = ["key_row", "register"]

_COLUMNS = ("kvno", "state", "created", "retired", "kid_as", "kid_ticket")


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("key", "versions of a principal's key")
    listing = verbs.add("list", _list, "every version and its state", examples=("key list orders",))
    listing.add_argument("name", metavar="NAME")

    rotate = verbs.add(
        "rotate",
        _rotate,
        "prepares the next version",
        examples=("key rotate orders --out orders.key.new",),
        notes="The file holds every live version. Tickets stay under the old one until `key activate`, so that\n"
        "there is time to install the file on every host of NAME.",
    )
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument("--out", metavar="FILE", required=True, help="the new key file; - for standard output")

    activate = verbs.add(
        "activate",
        _activate,
        "seals new tickets under the prepared version",
        examples=("key activate orders",),
        notes="Versions before it drain: they open tickets and log in until retired.",
    )
    activate.add_argument("name", metavar="NAME")

    retire = verbs.add(
        "retire",
        _retire,
        "erases one version for good",
        examples=("key retire orders 1", "key retire orders 2 --force"),
        notes="A login with it is refused with `key-retired` for 30 days, and then as unknown. The\n"
        "active version needs --force, which asks first: after that, nobody obtains tickets for\n"
        "NAME until another version is active.",
    )
    retire.add_argument("name", metavar="NAME")
    retire.add_argument("kvno", metavar="KVNO", type=from_one)
    retire.add_argument("--force", action="store_true", help="also when the version is active")
    add_yes(retire)

    export = verbs.add(
        "export",
        _export,
        "hands the key file out again",
        examples=("key export orders --out orders.key", "key export orders --verify-only --out orders.verify.key"),
        notes="Each export leaves an audit event: whoever holds the full file is NAME.",
    )
    export.add_argument("name", metavar="NAME")
    export.add_argument("--out", metavar="FILE", required=True, help="the key file; - for standard output")
    export.add_argument("--verify-only", action="store_true", help="a file that opens tickets and cannot log in")

    verbs.add(
        "erase-tombstones",
        _erase_tombstones,
        "forgets every version retired more than 30 days ago",
        examples=("key erase-tombstones",),
        notes="A tombstone tells late users `key-retired`; after 30 days they are strangers anyway.\n"
        "`key rotate` and `key retire` erase old ones too.",
    )


def key_row(key: KeyRecord) -> dict[str, object]:
    """One version as JSON shows it."""
    return {
        "kvno": key.kvno,
        "state": key.state,
        "created": key.created,
        "retired": key.retired,
        "kid_as": key.kid_as.hex(),
        "kid_ticket": key.kid_ticket.hex(),
    }


async def _list(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        held = await keys.listed(admin, options.name)
    return Shown(rows=[key_row(key) for key in held], columns=_COLUMNS)


async def _rotate(desk: AdminSession, options: Namespace) -> Shown:
    name = options.name
    destination = Destination.examined(options.out, json=desk.screen.json)
    async with desk.open_admin() as admin:
        keytab = await keys.rotate(admin, name)
    destination.hand_over_keytab(keytab, recover=f"{PROGRAM} key export {name} --out FILE")
    newest = keytab.kvnos[-1]
    return Shown(
        rows=[{"name": name, "kvno": newest, "state": "prepared", "key_file": str(destination)}],
        remarks=[
            f"version {newest} of {name} prepared, key file written to {destination}",
            f"next: install it on every host of {name}, then run {PROGRAM} key activate {name}",
        ],
        handed_over=destination.path is None,
    )


async def _activate(desk: AdminSession, options: Namespace) -> Shown:
    name = options.name
    async with desk.open_admin() as admin:
        kvno = await keys.activate(admin, name)
        draining = [key.kvno for key in await keys.listed(admin, name) if key.state == "draining"]
    remarks = [f"new tickets for {name} are sealed under version {kvno}"]
    remarks += [
        f"next: once the tickets under version {old} have ended, run {PROGRAM} key retire {name} {old}"
        for old in draining
    ]
    return Shown(rows=[{"name": name, "kvno": kvno, "state": "active", "draining": draining}], remarks=remarks)


async def _retire(desk: AdminSession, options: Namespace) -> Shown:
    name, kvno = options.name, options.kvno
    async with desk.open_admin() as admin:
        held = {key.kvno: key for key in await keys.listed(admin, name)}
        if options.force and kvno in held and held[kvno].state == KEY_ACTIVE:
            foretold = [
                f"would erase key version {kvno} of {name}, which is the active one",
                f"versions that {name} could still log in with: {_others(held.values(), kvno)}",
                f"would issue no ticket for {name} until another version is active",
            ]
            require_consent(desk, foretold, f"Retire the active key of {name}?", word=name, yes=options.yes)
        await keys.retire(admin, name, kvno, force=options.force)
    row = {"name": name, "kvno": kvno, "state": "retired"}
    return Shown(rows=[row], remarks=[f"version {kvno} of {name} retired"])


def _others(held: Iterable[KeyRecord], kvno: int) -> str:
    return " ".join(str(key.kvno) for key in held if key.state != KEY_RETIRED and key.kvno != kvno) or "none"


async def _export(desk: AdminSession, options: Namespace) -> Shown:
    name, verify_only = options.name, options.verify_only
    destination = Destination.examined(options.out, json=desk.screen.json)
    async with desk.open_admin() as admin:
        keytab = await keys.export(admin, name, verify_only=verify_only)
    again = f"{PROGRAM} key export {name} {'--verify-only ' if verify_only else ''}--out FILE"
    destination.hand_over_keytab(keytab, recover=again)
    kind = "verify-only" if verify_only else "full"
    row = {"name": name, "kind": kind, "kvnos": list(keytab.kvnos), "key_file": str(destination)}
    said = f"{kind} key file of {name}, version {' '.join(map(str, keytab.kvnos))}, written to {destination}"
    return Shown(rows=[row], remarks=[said], handed_over=destination.path is None)


async def _erase_tombstones(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        count = await keys.erase_tombstones(admin)
    return Shown(rows=[{"erased": count}], remarks=[f"tombstones erased: {count}"])
