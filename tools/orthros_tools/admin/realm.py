"""`orthros-admin realm`: show, limit.

Knows no principals; `orthros_kdc.admin.realm` does the work.
"""

from __future__ import annotations

from argparse import Namespace

from attrs import evolve

from orthros_kdc.admin import realm
from orthros_kdc.store.base import RealmRecord
from orthros_tools.admin.command_line import Nouns, duration, usage
from orthros_tools.admin.desk import Desk
from orthros_tools.admin.screen import Answer, instant

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
    limit = verbs.add("limit", _limit, "limits the life of everything that the realm issues",
                      examples=("realm limit --max-ticket-s 1h --max-jwt-s 5m",),
                      notes="What is not named stays as it is.")  # fmt: skip
    for name, what in _LIMITS:
        limit.add_argument(f"--{name.replace('_', '-')}", metavar="N", type=duration, help=f"longest life of {what}")


async def _show(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        found = await realm.show(admin)
    own = [{"role": key.role, "name": key.name, "number": key.number, "created": key.created} for key in found.keys]
    lines = [f"realm {found.record.realm}, since {instant(found.record.created)}", f"issuer: {found.record.issuer}"]
    lines += _limit_lines(found.record)
    lines += [f"key {key.role} {key.name} number {key.number}: since {instant(key.created)}" for key in found.keys]
    return Answer(rows=[_row(found.record) | {"keys": own}], lines=lines)


async def _limit(desk: Desk, options: Namespace) -> Answer:
    given = {name: getattr(options, name) for name, _ in _LIMITS if getattr(options, name) is not None}
    if not given:
        raise usage("nothing to change", "Give --max-ticket-s, --max-tgt-s or --max-jwt-s.")
    async with desk.open_admin() as admin:
        before = (await realm.show(admin)).record
        after = await realm.change(admin, limits=evolve(before.limits, **given))
    return Answer(rows=[_row(after)], remarks=_limit_lines(after))


def _row(record: RealmRecord) -> dict[str, object]:
    limits = {name: getattr(record.limits, name) for name, _ in _LIMITS}
    return {"realm": record.realm, "issuer": record.issuer, "created": record.created, **limits}


def _limit_lines(record: RealmRecord) -> list[str]:
    return [f"limit of {what}: {getattr(record.limits, name)} s" for name, what in _LIMITS]
