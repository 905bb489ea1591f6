"""`orthros-admin realm validate`, `diff`, `apply`, `export`: the realm as a file.

Knows the words and where files are; `orthros_kdc.admin.realm_file` reads, compares and changes.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orthros_kdc.admin import realm_file
from orthros_kdc.policy.realm_diff import MOST_REMOVALS, Change, Plan
from orthros_kdc.policy.realm_document import RealmDocument, RealmState
from orthros_kdc.policy.realm_file import warnings_of
from orthros_protocol.errors import Misconfigured, Refused
from orthros_protocol.keys.full_disk import unwritable
from orthros_runtime.command_line import Parser
from orthros_runtime.screen import Row
from orthros_tools.admin.command_line import PROGRAM, Verbs, from_zero
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession
from orthros_tools.reasons import REALM_DIFFERS

__all__ = ["register_verbs"]

_STANDARD: Final = "-"
_WORDS: Final = {"+": "add", "-": "remove", "~": "change"}
_NEXT: Final = {
    "principal.added": "key export {name} --out FILE",
    "oauth.enabled": "oauth secret {name} --out FILE",
    "jwt.enabled": "jwt export {name} --out FILE",
}
_WHOLE: Final = (
    "The file must name the realm. Groups and rules that it does not hold are removed. Of the realm and of\n"
    "principals only what the file names is changed, and principals that it does not define stay, unless\n"
    "--prune-principals is given."
)


def register_verbs(verbs: Verbs) -> None:
    """Adds the four verbs to the noun `realm`."""
    validate = verbs.add(
        "validate",
        _validate,
        "checks a realm file by itself, without a realm",
        examples=("realm validate realm.toml", "realm validate - < realm.toml"),
        notes="Names that the file uses and does not define are listed: only a realm can tell\nwhether they are right.",
    )
    _add_file(validate)

    diff = verbs.add(
        "diff",
        _diff,
        "what `realm apply` would change",
        codes=(3,),
        examples=("realm diff realm.toml", "realm diff realm.toml --prune-principals"),
        notes=f"Ends with 3 when there is a difference, and changes nothing.\n{_WHOLE}",
    )
    _add_file(diff)
    _add_prune(diff)

    apply = verbs.add(
        "apply",
        _apply,
        "makes the realm as the file says, all at once or not at all",
        examples=(
            "realm apply realm.toml",
            "realm apply realm.toml --yes",
            "realm apply realm.toml --prune-principals --max-removals 25",
        ),
        notes=f"Shows the changes and asks first.\n{_WHOLE}\n"
        "What removes much is refused until --max-removals says how much is meant.",
    )
    _add_file(apply)
    _add_prune(apply)
    apply.add_argument(
        "--max-removals",
        metavar="N",
        type=from_zero,
        dest="most_removals",
        help="remove as many as N rules, groups, members and principals (default: "
        f"{MOST_REMOVALS}, and a tenth of each at most)",
    )
    add_yes(apply)

    export = verbs.add(
        "export",
        _export,
        "writes the realm down as a realm file, which holds no key",
        examples=("realm export", "realm export realm.toml"),
        notes="The same realm is always written the same way, and `realm diff` finds nothing in it.\n"
        "An existing file is not replaced.",
    )
    export.add_argument("file", metavar="FILE", nargs="?", default=_STANDARD, help="default: standard output")


def _add_file(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="the realm file, TOML; - for standard input")


def _add_prune(parser: Parser) -> None:
    parser.add_argument(
        "--prune-principals",
        action="store_true",
        dest="prune",
        help="delete the principals that the file does not define, with their keys",
    )


async def _validate(_desk: AdminSession, options: Namespace) -> Shown:
    document = _read(options.file)
    warnings = warnings_of(document)
    row = {
        "file": document.source.name,
        "principals": len(document.principals),
        "groups": len(document.groups),
        "rules": len(document.rules),
        "warnings": list(warnings),
    }
    counted = ", ".join(f"{row[key]} {key if row[key] != 1 else key[:-1]}" for key in ("principals", "groups", "rules"))
    return Shown(
        rows=[row],
        lines=[f"warning: {one}" for one in warnings],
        remarks=[f"{document.source.name} is in order: {counted}"],
    )


async def _diff(desk: AdminSession, options: Namespace) -> Shown:
    document = _read(options.file)
    async with desk.open_admin() as admin:
        plan = await realm_file.diff(admin, document, prune=options.prune)
    problem = Refused(REALM_DIFFERS, _counted(plan)) if plan.changes else None
    return Shown(rows=_rows(plan), lines=_lines(plan), remarks=_unchanged(plan), problem=problem)


async def _apply(desk: AdminSession, options: Namespace) -> Shown:
    document = _read(options.file)
    async with desk.open_admin() as admin:
        terms = {"prune": options.prune, "most_removals": options.most_removals}
        seen = None if options.yes else await realm_file.foresee(admin, document, **terms)
        if seen is not None and seen.changes:
            question = f"Make these changes, {_counted(seen)}?"
            require_consent(desk, _lines(seen), question, word=admin.vault.realm, yes=False)
        plan = await realm_file.apply(admin, document, seen=seen, **terms)
    steps = [f"next: {PROGRAM} {_NEXT[one.event].format(name=one.name)}" for one in plan.changes if _has_next(one)]
    made = [f"applied: {_counted(plan)}"] if plan.changes else []
    # A person who was asked has the changes on the screen already.
    lines = _lines(plan) if options.yes or not plan.changes else ()
    return Shown(rows=_rows(plan), lines=lines, remarks=[*made, *steps, *_unchanged(plan)])


async def _export(desk: AdminSession, options: Namespace) -> Shown:
    from orthros_tools.admin.realm_toml import realm_toml  # the extra `admin` is needed only here

    async with desk.open_admin() as admin:
        state = await realm_file.state(admin)
    text = realm_toml(state)
    if options.file == _STANDARD:
        return Shown(rows=[_exported(state, None, text)], lines=text.splitlines())
    _write_new(Path(options.file), text)
    counted = f"{len(state.rules)} rule{'' if len(state.rules) == 1 else 's'}"
    said = f"realm {state.realm} written to {options.file}: {counted}"
    return Shown(rows=[_exported(state, options.file, None)], remarks=[said])


def _has_next(change: Change) -> bool:
    opaque = change.event == "jwt.enabled" and change.value["alg"] == "opaque"  # its key stays with the KDC
    return change.event in _NEXT and not opaque


def _counted(plan: Plan) -> str:
    signs = [one.sign for one in plan.changes]
    rules = sum(1 for one in plan.removals if one.event == "rule.removed")
    counted = [f"{signs.count(sign)} to {word}" for sign, word in _WORDS.items() if sign in signs]
    return ", ".join(counted + ([f"rules that go: {rules}"] if plan.removals else []))


def _lines(plan: Plan) -> list[str]:
    return [*map(str, plan.changes), *(f"  left alone: {one}" for one in plan.left)]


def _unchanged(plan: Plan) -> list[str]:
    return [] if plan.changes else ["the realm is as the file says"]


def _rows(plan: Plan) -> Sequence[Row]:
    changes = [
        {"change": _WORDS[one.sign], "event": one.event, "name": one.name, "words": one.words} for one in plan.changes
    ]
    return [*changes, *({"change": "leave", "event": None, "name": None, "words": one} for one in plan.left)]


def _exported(state: RealmState, file: str | None, text: str | None) -> Row:
    return {
        "file": file,
        "principals": len(state.principals),
        "groups": len(state.groups),
        "rules": len(state.rules),
        "text": text,
    }


def _read(file: str) -> RealmDocument:
    source = "standard input" if file == _STANDARD else file
    try:
        content = sys.stdin.buffer.read() if file == _STANDARD else Path(file).read_bytes()
        text = content.decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        seen = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured("file-unreadable", f"{source}: {seen}") from None
    return realm_file.read(text, source=source)


def _write_new(path: Path, text: str) -> None:
    """The whole file, or none."""
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                os.unlink(path)
                raise
    except FileExistsError:
        raise Misconfigured("file-exists", str(path)) from None
    except OSError as error:
        raise unwritable(path, error) from None
