"""`orthros-admin group`: list, show, add, delete, add-member, remove-member.

Knows no rules; `orthros_kdc.admin.groups` does the work.
"""

from __future__ import annotations

from argparse import Namespace

from orthros_kdc.admin import groups
from orthros_tools.admin.command_line import Nouns
from orthros_tools.admin.desk import Desk
from orthros_tools.admin.screen import Answer

__all__ = ["register"]


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("group", "sets of principals that rules can name as group:NAME")
    verbs.add("list", _list, "every group and its members", examples=("group list",))
    for verb, run, summary, example in (
        ("show", _show, "the members of one group", "group show frontends"),
        ("add", _add, "a new, empty group", "group add frontends"),
        ("delete", _delete, "removes a group and the rules that name it", "group delete frontends"),
    ):
        verbs.add(verb, run, summary, examples=(example,)).add_argument("group", metavar="GROUP")
    for verb, run, summary, example in (
        ("add-member", _add_member, "puts a principal into a group", "group add-member frontends web"),
        ("remove-member", _remove_member, "takes a principal out of a group", "group remove-member frontends web"),
    ):
        parser = verbs.add(verb, run, summary, examples=(example,))
        parser.add_argument("group", metavar="GROUP")
        parser.add_argument("principal", metavar="PRINCIPAL")


async def _list(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        found = await groups.listed(admin)
    return Answer(
        rows=[_row(group, members) for group, members in found.items()],
        columns=("group", "members"),
        remarks=() if found else ("no groups yet",),
    )


async def _show(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        members = await groups.show(admin, options.group)
    return Answer(rows=[_row(options.group, members)], lines=sorted(members))


async def _add(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        await groups.add(admin, options.group)
    return Answer(rows=[_row(options.group, ())], remarks=[f"group {options.group} added"])


async def _delete(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        await groups.delete(admin, options.group)
    row = {"group": options.group, "deleted": True}
    return Answer(rows=[row], remarks=[f"group {options.group} deleted, with the rules that named it"])


async def _add_member(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        await groups.add_member(admin, options.group, options.principal)
        members = await groups.show(admin, options.group)
    said = f"{options.principal} is in group {options.group}"
    return Answer(rows=[_row(options.group, members)], remarks=[said])


async def _remove_member(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        await groups.remove_member(admin, options.group, options.principal)
        members = await groups.show(admin, options.group)
    said = f"{options.principal} is no longer in group {options.group}"
    return Answer(rows=[_row(options.group, members)], remarks=[said])


def _row(group: str, members: frozenset[str] | tuple[str, ...]) -> dict[str, object]:
    return {"group": group, "members": sorted(members)}
