"""`orthros-admin principal`: add, list, show, limit, disable, enable, delete.

Knows the words and the rows that people see; `orthros_kdc.admin.principals` does the work.
"""

from __future__ import annotations

from argparse import Namespace

from orthros_kdc.admin import principals
from orthros_kdc.store.base import PrincipalRecord
from orthros_runtime.command_line import duration, usage
from orthros_runtime.screen import instant
from orthros_tools.admin.command_line import PROGRAM, Nouns, duration_or_none
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.key import key_row
from orthros_tools.admin.key_files import Destination, require_apart
from orthros_tools.admin.rules import rule_row
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = ["register"]

_PAGE = 1000
_ANYWHERE = "any"
_COLUMNS = ("name", "uid", "state", "created", "max_ticket_s", "max_jwt_s", "jwt_alg")


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("principal", "who can log in and be called")
    add = verbs.add(
        "add",
        _add,
        "a new principal, and its key file",
        examples=(
            "principal add billing --out /etc/orthros/billing.key",
            "principal add orders --verify-only-out orders.verify.key",
            "principal add orders --out orders.key --verify-only-out orders.verify.key",
            "principal add batch --out - | ssh host 'umask 077; cat > batch.key'",
        ),
        notes="The key file is written with mode 0600 and never over another file. Whoever holds it is NAME.\n"
        "A service that only answers calls needs the verify-only file: it opens tickets and cannot log in.",
    )
    add.add_argument("name", metavar="NAME", help="lower case, such as billing or shop/orders")
    add.add_argument(
        "--out",
        metavar="FILE",
        help="where the key file goes; - for its text form on standard output "
        "(default: NAME.key here, with - for each /)",
    )
    add.add_argument(
        "--verify-only-out",
        metavar="FILE",
        help="a file that cannot log in; without --out the only one that is written",
    )
    add.add_argument("--max-ticket-s", metavar="N", type=duration, help="longest life of its tickets (90, 15m, 1h)")
    add.add_argument("--max-jwt-s", metavar="N", type=duration, help="longest life of its JWTs")

    verbs.add("list", _list, "every principal", examples=("principal list", "principal list --output json"))
    show = verbs.add(
        "show", _show, "its limits, keys, secrets' ids, groups and rules", examples=("principal show billing",)
    )
    show.add_argument("name", metavar="NAME")

    limit = verbs.add(
        "limit",
        _limit,
        "limits the life of its tickets and JWTs, and where it may ask from",
        examples=(
            "principal limit billing --max-ticket-s 15m",
            "principal limit billing --max-jwt-s none",
            "principal limit billing --from 10.1.0.0/16 --from 2001:db8::/32",
            "principal limit billing --from any",
        ),
        notes="What is not named stays as it is; none and any remove a limit.",
    )
    limit.add_argument("name", metavar="NAME")
    limit.add_argument("--max-ticket-s", metavar="N", type=duration_or_none, default=..., help="90, 15m, 1h or none")
    limit.add_argument("--max-jwt-s", metavar="N", type=duration_or_none, default=..., help="90, 5m, 1h or none")
    limit.add_argument(
        "--from",
        metavar="CIDR",
        action="append",
        dest="sources",
        help="a network that it may ask from, in place of those before; may be repeated",
    )

    disable = verbs.add(
        "disable",
        _disable,
        "refuses it everything new, as client and as target",
        examples=("principal disable billing",),
        notes="Tickets that were issued before live on until they end by themselves.",
    )
    disable.add_argument("name", metavar="NAME")
    enable = verbs.add("enable", _enable, "undoes disable", examples=("principal enable billing",))
    enable.add_argument("name", metavar="NAME")

    delete = verbs.add(
        "delete",
        _delete,
        "removes it with its keys, its memberships, and the rules from it and to it",
        examples=("principal delete billing", "principal delete billing --yes"),
        notes="A rule that names it in a condition stops the deletion. A later principal of the same "
        "name is another principal and inherits nothing.",
    )
    delete.add_argument("name", metavar="NAME")
    add_yes(delete)


async def _add(desk: AdminSession, options: Namespace) -> Shown:
    name = options.name
    out = options.out
    if out is None and options.verify_only_out is None:
        out = f"{name.replace('/', '-')}.key"
    full, verify = (
        None if path is None else Destination.examined(path, json=desk.screen.json)
        for path in (out, options.verify_only_out)
    )
    wanted = [one for one in (full, verify) if one is not None]
    require_apart(*wanted)
    async with desk.open_admin() as admin:
        keytab = await principals.add(admin, name, max_ticket_s=options.max_ticket_s, max_jwt_s=options.max_jwt_s)
    if full is not None:
        full.hand_over_keytab(keytab, recover=f"{PROGRAM} key export {name} --out FILE")
    if verify is not None:
        recover = f"{PROGRAM} key export {name} --verify-only --out FILE"
        verify.hand_over_keytab(keytab.verify_only(), recover=recover)
    row = {
        "name": name,
        "uid": keytab.uid,
        "kvno": keytab.kvnos[-1],
        "key_file": None if full is None else str(full),
        "verify_only_file": None if verify is None else str(verify),
    }
    written = "" if full is None else f" written to {full}"
    remarks = [f"principal {keytab.principal} (uid {keytab.uid}) added, key version {row['kvno']}{written}"]
    if verify is not None:
        remarks.append(f"verify-only keys written to {verify}")
    remarks += [f"next: {PROGRAM} policy allow {name} TARGET --scope SCOPE"]
    return Shown(rows=[row], remarks=remarks, handed_over=None in [place.path for place in wanted])


async def _list(desk: AdminSession, options: Namespace) -> Shown:
    records: list[PrincipalRecord] = []
    async with desk.open_admin() as admin:
        while page := await principals.page(admin, after=records[-1].name if records else "", most=_PAGE):
            records += page
    return Shown(
        rows=[_row(record) for record in records], columns=_COLUMNS, remarks=() if records else ("no principals yet",)
    )


async def _show(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        found = await principals.show(admin, options.name)
    record = found.record
    row = _row(record) | {
        "groups": list(found.groups),
        "keys": [key_row(key) for key in found.keys],
        "jwt_keys": [{"kid": key.kid, "alg": key.alg, "created": key.created} for key in found.jwt_keys],
        "oauth_secrets": [{"secret_id": held.secret_id, "created": held.created} for held in found.oauth_secrets],
        "rules": [rule_row(rule) for rule in found.rules],
    }
    lines = [f"{record.name} (uid {record.uid}), {row['state']}, since {instant(record.created)}"]
    lines += [f"limits: tickets {_cap(record.max_ticket_s)}, JWTs {_cap(record.max_jwt_s)}"]
    lines += [f"asks from: {_sources(record)}", f"groups: {' '.join(found.groups) or 'none'}"]
    lines += [f"key {key.kvno}: {key.state}, since {instant(key.created)}" for key in found.keys]
    jwt = f"{record.jwt_alg} for audience {record.jwt_audience}" if record.jwt_alg else "not enabled"
    lines += [f"jwt: {jwt}"]
    lines += [f"extra claims: {' '.join(record.token_claims)}"] if record.token_claims else []
    lines += [f"jwt key {key.kid}: since {instant(key.created)}" for key in found.jwt_keys]
    default = f", default target {record.default_audience}" if record.default_audience else ""
    lines += [f"oauth: {'client' if record.oauth else 'not enabled'}{default}"]
    lines += [f"client secret {held.secret_id}: since {instant(held.created)}" for held in found.oauth_secrets]
    lines += [str(rule) for rule in found.rules] or ["no rule names it: it can call nobody, and nobody can call it"]
    return Shown(rows=[row], lines=lines)


async def _limit(desk: AdminSession, options: Namespace) -> Shown:
    if options.max_ticket_s is ... and options.max_jwt_s is ... and options.sources is None:
        raise usage("nothing to change", "Give --max-ticket-s, --max-jwt-s or --from.")
    sources = [] if options.sources == [_ANYWHERE] else options.sources
    async with desk.open_admin() as admin:
        after = await principals.set_caps(
            admin, options.name, max_ticket_s=options.max_ticket_s, max_jwt_s=options.max_jwt_s, sources=sources
        )
    said = [f"{after.name}: tickets {_cap(after.max_ticket_s)}, JWTs {_cap(after.max_jwt_s)}"]
    said += [f"{after.name} may ask from {_sources(after)}"] if options.sources else []
    return Shown(rows=[_row(after)], remarks=said)


async def _disable(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        changed = await principals.disable(admin, options.name)
    return _switched(options.name, "disabled", changed)


async def _enable(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        changed = await principals.enable(admin, options.name)
    return _switched(options.name, "enabled", changed)


async def _delete(desk: AdminSession, options: Namespace) -> Shown:
    name = options.name
    async with desk.open_admin() as admin:
        along = await principals.foresee_deletion(admin, name)
        foretold = [f"would delete principal {name} with its keys; its key files would be worth nothing"]
        foretold += [f"would remove {rule}" for rule in along.rules]
        foretold += [f"would remove {name} from group {group}" for group in along.groups]
        foretold += [f"would remove the default target of {client}" for client in along.clients]
        require_consent(desk, foretold, f"Delete {name}?", word=name, yes=options.yes)
        await principals.delete(admin, name, seen=along)
    said = [f"principal {name} deleted"]
    said += [
        f"it was the default target of {one}; next: {PROGRAM} oauth audience {one} TARGET" for one in along.clients
    ]
    row = {"name": name, "deleted": True, "rules": [rule.rule_id for rule in along.rules]}
    return Shown(rows=[row], remarks=said)


def _switched(name: str, state: str, changed: bool) -> Shown:
    said = f"principal {name} {state}" if changed else f"principal {name} was {state} already"
    return Shown(rows=[{"name": name, "state": state, "changed": changed}], remarks=[said])


def _row(record: PrincipalRecord) -> dict[str, object]:
    return {
        "name": record.name,
        "uid": record.uid,
        "state": "disabled" if record.disabled else "enabled",
        "created": record.created,
        "max_ticket_s": record.max_ticket_s,
        "max_jwt_s": record.max_jwt_s,
        "jwt_alg": record.jwt_alg,
        "jwt_audience": record.jwt_audience,
        "sources": list(record.sources),
        "oauth": record.oauth,
        "token_claims": list(record.token_claims),
        "default_audience": record.default_audience,
    }


def _sources(record: PrincipalRecord) -> str:
    return " ".join(record.sources) or "anywhere"


def _cap(seconds: int | None) -> str:
    return "without a limit of its own" if seconds is None else f"at most {seconds} s"
