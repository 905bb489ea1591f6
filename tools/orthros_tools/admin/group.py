"""`orthros-admin group`: list, show, add, delete, add-member, remove-member.

Knows no rules; `orthros_kdc.admin.groups` does the work.
"""

from __future__ import annotations

from argparse import Namespace

from orthros_kdc.admin import groups
from orthros_tools.admin.command_line import Nouns
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = ["register"]


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("group", "sets of principals that rules can name as group:NAME")
    verbs.add("list", _list, "every group and its members", examples=("group list",))
    for verb, run, summary, example in (
        ("show", _show, "the members of one group", "group show frontends"),
        ("add", _add, "a new, empty group", "group add frontends"),
    ):
        verbs.add(verb, run, summary, examples=(example,)).add_argument("group", metavar="GROUP")
    delete = verbs.add(
        "delete",
        _delete,
        "removes a group and the rules from it and to it",
        examples=("group delete frontends", "group delete frontends --yes"),
        notes="Says which rules go, and asks first. A rule that names the group in a condition has to\n"
        "be removed before.",
    )
    delete.add_argument("group", metavar="GROUP")
    add_yes(delete)
    for verb, run, summary, example in (
        ("add-member", _add_member, "puts a principal into a group", "group add-member frontends web"),
        ("remove-member", _remove_member, "takes a principal out of a group", "group remove-member frontends web"),
    ):
        parser = verbs.add(verb, run, summary, examples=(example,))
        parser.add_argument("group", metavar="GROUP")
        parser.add_argument("principal", metavar="PRINCIPAL")


async def _list(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        found = await groups.listed(admin)
    return Shown(
        rows=[_row(group, members) for group, members in found.items()],
        columns=("group", "members"),
        remarks=() if found else ("no groups yet",),
    )


async def _show(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        members = await groups.show(admin, options.group)
    return Shown(rows=[_row(options.group, members)], lines=sorted(members))


async def _add(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        await groups.add(admin, options.group)
    return Shown(rows=[_row(options.group, ())], remarks=[f"group {options.group} added"])


async def _delete(desk: AdminSession, options: Namespace) -> Shown:
    group = options.group
    async with desk.open_admin() as admin:
        along = await groups.foresee_deletion(admin, group)
        foretold = [f"would delete group {group}; members: {' '.join(sorted(along.members)) or 'none'}"]
        foretold += [f"would remove {rule}" for rule in along.rules]
        require_consent(desk, foretold, f"Delete group {group}?", word=group, yes=options.yes)
        await groups.delete(admin, group, seen=along)
    row = {"group": group, "deleted": True, "rules": [rule.rule_id for rule in along.rules]}
    return Shown(rows=[row], remarks=[f"group {group} deleted, rules removed with it: {len(along.rules)}"])


async def _add_member(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        await groups.add_member(admin, options.group, options.principal)
        members = await groups.show(admin, options.group)
    said = f"{options.principal} is in group {options.group}"
    return Shown(rows=[_row(options.group, members)], remarks=[said])


async def _remove_member(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        await groups.remove_member(admin, options.group, options.principal)
        members = await groups.show(admin, options.group)
    said = f"{options.principal} is no longer in group {options.group}"
    return Shown(rows=[_row(options.group, members)], remarks=[said])


def _row(group: str, members: frozenset[str] | tuple[str, ...]) -> dict[str, object]:
    return {"group": group, "members": sorted(members)}
