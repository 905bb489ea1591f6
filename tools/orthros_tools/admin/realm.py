"""`orthros-admin realm`: show, limit, issuer, its own keys, the master key; `realm_file.py` has the realm as a file.

Knows no principals; `orthros_kdc.admin.realm` and `orthros_kdc.admin.master_keys` do the work.
"""

from __future__ import annotations

from argparse import Namespace

from orthros_kdc.admin import master_keys, realm
from orthros_kdc.store.base import RealmRecord
from orthros_runtime.command_line import duration, usage
from orthros_runtime.screen import instant
from orthros_tools.admin.command_line import PROGRAM, Nouns
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.key_files import STANDARD_OUTPUT
from orthros_tools.admin.realm_file import register_verbs
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = ["register"]

_LIMITS = (
    ("max_ticket_s", "service tickets"),
    ("max_tgt_s", "ticket-granting tickets"),
    ("max_jwt_s", "JWTs"),
)


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("realm", "the realm itself")
    verbs.add("show", _show, "name, issuer, limits and the realm's own keys", examples=("realm show",))
    limit = verbs.add(
        "limit",
        _limit,
        "limits the life of everything that the realm issues",
        examples=(
            "realm limit --max-ticket-s 1h --max-jwt-s 5m",
            "realm limit --max-jwt-s 1m --yes",
            "realm limit --issuer https://kdc.corp.example",
        ),
        notes="What is not named stays as it is. Asks first when a limit gets shorter: clients that\n"
        "expect longer lives get what is left of them. --issuer is `realm issuer`.",
    )
    for name, what in _LIMITS:
        limit.add_argument(f"--{name.replace('_', '-')}", metavar="N", type=duration, help=f"longest life of {what}")
    limit.add_argument("--issuer", metavar="URL", help="the issuer as well, in the same change")
    add_yes(limit)

    issuer = verbs.add(
        "issuer",
        _issuer,
        "the URL at which OAuth clients reach the KDC, and the `iss` of its tokens",
        examples=("realm issuer https://kdc.corp.example",),
        notes="Services that check tokens must then expect the new one. Older tokens are refused,\n"
        "by the KDC and by services: best change it before the first token.",
    )
    issuer.add_argument("url", metavar="URL", help="https://HOST or https://HOST:PORT")

    register_verbs(verbs)
    verbs.add(
        "rotate-keys",
        _rotate_keys,
        "adds the next number of each of the realm's own keys",
        examples=("realm rotate-keys",),
        notes="It seals as soon as the KDC has seen it, which looks every 50 ms. Older numbers open what was\n"
        "sealed before.",
    )
    verbs.add(
        "erase-old-keys",
        _erase_old_keys,
        "erases those of the realm's own keys that no ticket needs any more",
        examples=("realm erase-old-keys",),
        notes="A number is needed for the longest ticket life after its successor was made. After lowering the\n"
        "limits, wait for the old ones first.",
    )

    new = verbs.add(
        "new-master-key",
        _new_master_key,
        "writes the next master key to a new file",
        examples=("realm new-master-key --out /var/lib/orthros/master.key.2",),
        notes="The database learns nothing of it. Copy it to a safe place, name it to every KDC as\n"
        "store.next_master_key_file, restart them, then run `realm rewrap`.",
    )
    new.add_argument("--out", metavar="FILE", required=True, help="the new file, of mode 0600")
    verbs.add(
        "rewrap",
        _rewrap,
        "seals every stored secret under the next master key",
        examples=("realm rewrap --next-master-key-file /var/lib/orthros/master.key.2",),
        notes="Every KDC must hold both master keys before this; they go on issuing meanwhile. When it is\n"
        "interrupted, both keys are still needed: run it again, and it goes on where it was.",
    )


async def _show(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        found = await realm.show(admin)
    own = [{"role": key.role, "name": key.name, "number": key.number, "created": key.created} for key in found.keys]
    lines = [f"realm {found.record.realm}, since {instant(found.record.created)}", f"issuer: {found.record.issuer}"]
    lines += _limit_lines(found.record)
    lines += [f"key {key.role} {key.name} number {key.number}: since {instant(key.created)}" for key in found.keys]
    return Shown(rows=[_row(found.record) | {"keys": own}], lines=lines)


async def _limit(desk: AdminSession, options: Namespace) -> Shown:
    given = {name: getattr(options, name) for name, _ in _LIMITS if getattr(options, name) is not None}
    if not given and options.issuer is None:
        raise usage("nothing to change", "Give --max-ticket-s, --max-tgt-s, --max-jwt-s or --issuer.")
    async with desk.open_admin() as admin:
        seen = await realm.foresee_change(admin, issuer=options.issuer, limits=given)
        if seen.shortened:
            word = seen.before.realm
            require_consent(desk, _shortened_lines(seen), "Shorten these limits?", word=word, yes=options.yes)
        after = await realm.change(admin, issuer=options.issuer, limits=given, seen=seen)
    said = _issuer_lines(seen) if options.issuer is not None else []
    return Shown(rows=[_row(after)], remarks=_limit_lines(after) + said)


def _shortened_lines(seen: realm.RealmChange) -> list[str]:
    words = dict(_LIMITS)
    pairs = seen.shortened.items()
    lines = [f"would shorten the limit of {words[name]}: {before} s to {after} s" for name, (before, after) in pairs]
    cut = " ".join(map(str, seen.cut_rules))
    return lines + ([f"would shorten the life that these rules allow: {cut}"] if cut else [])


async def _issuer(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        seen = await realm.foresee_change(admin, issuer=options.url)
        after = await realm.change(admin, issuer=options.url, seen=seen)
    return Shown(rows=[_row(after)], remarks=_issuer_lines(seen))


def _issuer_lines(seen: realm.RealmChange) -> list[str]:
    before, after = seen.before.issuer, seen.after.issuer
    return [f"issuer: {after}"] + ([f"tokens that carry {before} are refused from now on"] if after != before else [])


async def _rotate_keys(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        number = await realm.rotate_keys(admin)
        limits = (await realm.show(admin)).record.limits
    longest = max(limits.max_ticket_s, limits.max_tgt_s)
    return Shown(
        rows=[{"number": number}],
        remarks=[
            f"the realm's own keys have number {number} now",
            f"next: in {longest} s and a little, when older tickets have ended, run {PROGRAM} realm erase-old-keys",
        ],
    )


async def _erase_old_keys(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        count = await realm.erase_old_keys(admin)
    return Shown(rows=[{"erased": count}], remarks=[f"old keys of the realm erased: {count}"])


async def _new_master_key(desk: AdminSession, options: Namespace) -> Shown:
    out = options.out
    if out == STANDARD_OUTPUT:
        raise usage("a master key goes to a file only", "Name a file.")
    async with desk.open_admin() as admin:
        number = master_keys.create(admin, out)
    return Shown(
        rows=[{"number": number, "key_file": out}],
        remarks=[
            f"master key {number} written to {out}",
            "next: name it as store.next_master_key_file to every KDC and restart them, "
            f"then run {PROGRAM} realm rewrap",
        ],
    )


async def _rewrap(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        done = await master_keys.rewrap(admin)
    return Shown(
        rows=[{"number": done.number, "resealed": done.rows}],
        remarks=[
            f"master key {done.number} counts now, records sealed anew: {done.rows}",
            "next: make its file store.master_key_file everywhere, restart the KDCs, back up, "
            "and destroy the old key when no backup needs it",
        ],
    )


def _row(record: RealmRecord) -> dict[str, object]:
    limits = {name: getattr(record.limits, name) for name, _ in _LIMITS}
    return {"realm": record.realm, "issuer": record.issuer, "created": record.created, **limits}


def _limit_lines(record: RealmRecord) -> list[str]:
    return [f"limit of {what}: {getattr(record.limits, name)} s" for name, what in _LIMITS]
