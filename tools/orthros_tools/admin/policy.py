"""`orthros-admin policy`: allow, deny, list, explain, test.

Knows how to say what a rule means; `orthros_kdc.admin` keeps rules and the KDC's own function decides.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Final

from attrs import evolve

from orthros_kdc.admin import decisions, rules
from orthros_kdc.policy.ask_and_grant import Ask, Denial, Kind, acting_for
from orthros_kdc.policy.sources import check_address
from orthros_protocol.errors import Misconfigured, Refused
from orthros_protocol.reasons.table import reason_for
from orthros_runtime.command_line import duration, usage
from orthros_tools.admin.command_line import PROGRAM, Nouns, from_one
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.rules import add_rule_options, columns_for, described_rule, rule_remarks, rule_row
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession
from orthros_tools.reasons import POLICY_EXPECTATION_FAILED

__all__ = ["register"]

_EXPECTATIONS = """\
The file holds entries such as

  [[expect]]
  client = "billing"
  target = "orders"
  scopes = ["read", "admin"]
  granted = ["read"]

with refused = "not-granted" in place of granted for what must not be possible; also behalf, via, from, caveats."""

_REMOVE: Final = f"{PROGRAM} policy deny --rule"
_SOON_S: Final = 30 * 86_400


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("policy", "who may call whom; what no rule allows is refused")
    allow = verbs.add(
        "allow",
        _allow,
        "a new rule",
        examples=(
            "policy allow billing orders --scope read --max-ttl 15m",
            "policy allow group:frontends orders --scope read --scope write --jwt",
            "policy allow web orders",
            "policy allow portal orders --scope read --jwt --subject 'users/*'",
            "policy allow orders ledger --scope read --behalf 'users/*' --deny-via group:edge --max-depth 2",
            "policy allow billing orders --scope pay --methods POST --discharge approvals=four-eyes",
        ),
        notes="CLIENT and TARGET are a principal, or group:NAME. The rule holds in this direction only.\n"
        "Without --scope the client can prove who it is, and nothing more. --subject and --behalf take a\n"
        "name, NAME/* for all below NAME/, or * for anybody, principals included. The conditions of one\n"
        "rule hold together; another rule for the same pair goes by its own.",
    )
    _add_pair(allow)
    _add_scopes(allow)
    add_rule_options(allow)

    deny = verbs.add(
        "deny",
        _deny,
        "removes rules",
        examples=("policy deny billing orders", "policy deny --rule 7"),
        notes="By pair: every rule that names just these two; those by way of a group stay. Says which\n"
        "rules go, and asks first when they are several.",
    )
    deny.add_argument("client", metavar="CLIENT", nargs="?")
    deny.add_argument("target", metavar="TARGET", nargs="?")
    deny.add_argument("--rule", metavar="ID", type=from_one, help="one rule by its number")
    add_yes(deny)

    listing = verbs.add(
        "list", _list, "the rules", examples=("policy list", "policy list --target orders", "policy list --ending 30d")
    )
    listing.add_argument("--client", metavar="CLIENT", help="only rules that name exactly this client or group:NAME")
    listing.add_argument("--target", metavar="TARGET", help="only rules that name exactly this target or group:NAME")

    listing.add_argument(
        "--ending", metavar="TIME", type=duration, help="only rules that have ended or end within TIME: 12h, 30d"
    )

    explain = verbs.add(
        "explain",
        _explain,
        "what the KDC would answer, and why",
        codes=(3,),
        examples=(
            "policy explain billing orders",
            "policy explain billing orders --scope read --scope admin --ttl 1h",
            "policy explain billing orders --jwt --exact",
            "policy explain orders ledger --behalf users/ada --via portal --from 192.0.2.7",
        ),
        notes="The KDC decides with the same function. A refusal ends with 3, says which condition of which rule\n"
        "failed, and names the command that would allow it. Without --via whom --behalf names has called\n"
        "CLIENT, without --behalf the first of --via; without --from no network is held against it.",
    )
    _add_pair(explain)
    _add_scopes(explain)
    explain.add_argument("--ttl", metavar="TIME", type=duration, default=0, help="the life asked for: 90, 90s, 15m, 1h")
    explain.add_argument("--jwt", action="store_true", help="ask for a JWT")
    explain.add_argument("--exact", action="store_true", help="refuse rather than cut anything")
    explain.add_argument("--delegable", action="store_true", help="ask for a ticket that can be acted upon further")
    named = explain.add_mutually_exclusive_group()
    named.add_argument("--subject", metavar="NAME", help="ask in the name of NAME, by the client's word alone")
    named.add_argument("--behalf", metavar="NAME", help="ask on behalf of NAME, proven by evidence")
    explain.add_argument(
        "--via",
        metavar="NAME",
        action="append",
        default=[],
        help="who called on the way to CLIENT; may be repeated, the first caller first",
    )
    explain.add_argument("--from", metavar="ADDRESS", dest="address", help="the IP address that it asks from, or local")

    test = verbs.add(
        "test",
        _test,
        "checks a file of expectations",
        codes=(3,),
        examples=("policy test policy-expectations.toml", "policy test - < policy-expectations.toml"),
        notes=_EXPECTATIONS,
    )
    test.add_argument("file", metavar="FILE", help="TOML; - for standard input")


def _add_pair(parser: object) -> None:
    for name in ("client", "target"):
        parser.add_argument(name, metavar=name.upper())  # type: ignore[attr-defined]


def _add_scopes(parser: object) -> None:
    parser.add_argument("--scope", metavar="S", action="append", dest="scopes", help="may be repeated")  # type: ignore[attr-defined]


async def _allow(desk: AdminSession, options: Namespace) -> Shown:
    terms = described_rule(options)
    async with desk.open_admin() as admin:
        rule = await rules.allow(admin, options.client, options.target, scopes=tuple(options.scopes or ()), **terms)
    return Shown(rows=[rule_row(rule)], lines=[str(rule)], remarks=rule_remarks(rule))


async def _deny(desk: AdminSession, options: Namespace) -> Shown:
    by_pair = options.client is not None and options.target is not None
    if by_pair == (options.rule is not None) or (options.client is None) != (options.target is None):
        raise usage("give CLIENT and TARGET, or --rule ID", f"Read `{PROGRAM} policy deny --help`.")
    async with desk.open_admin() as admin:
        if by_pair:
            found = await rules.foresee_denial(admin, options.client, options.target)
            if len(found) > 1:
                question = f"Remove these {len(found)} rules?"
                foretold = [f"would remove {rule}" for rule in found]
                require_consent(desk, foretold, question, word=options.client, yes=options.yes)
            removed = await rules.deny(admin, options.client, options.target, seen=found)
        else:
            removed = (await rules.remove(admin, options.rule),)
    remarks = [f"removed {rule}" for rule in removed]
    remarks += ["tickets that were issued before end by themselves"]
    return Shown(rows=[rule_row(rule) for rule in removed], remarks=remarks)


async def _list(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        found = await rules.listed(admin, client=options.client, target=options.target, ending_s=options.ending)
        soon = await rules.listed(admin, client=options.client, target=options.target, ending_s=_SOON_S)
    rows = [rule_row(rule) for rule in found]
    remarks = [
        f"rule {one.rule_id} grants nothing: {one.unusable}; remove it with `{_REMOVE} {one.rule_id}`"
        for one in found
        if one.unusable is not None
    ]
    remarks += [f"rule {rule.rule_id} has ended or ends within 30 days: {rule.until}" for rule in soon]
    nothing = "no rule: everything is refused" if options.ending is None else "no rule has ended or ends by then"
    return Shown(rows=rows, columns=columns_for(rows), remarks=remarks if found else [nothing])


async def _explain(desk: AdminSession, options: Namespace) -> Shown:
    if options.subject is not None and options.via:
        raise usage("--subject is the client's word, which comes along no --via", "Use --behalf, or leave --via out.")
    proven, path = acting_for(options.client, behalf=options.behalf, via=options.via)
    address = None if options.address is None else check_address(options.address)
    ask = Ask(
        target=options.target,
        kind=Kind.JWT if options.jwt else Kind.TICKET,
        scopes=None if options.scopes is None else tuple(dict.fromkeys(options.scopes)),
        ttl_s=options.ttl,
        exact=options.exact,
        delegable=options.delegable,
        subject=options.subject if proven is None else proven,
        proven=proven is not None,
        path=path,
    )
    async with desk.open_admin() as admin:
        found = await decisions.explain(admin, options.client, ask, address=address)
    refusal = None
    if isinstance(found.decision, Denial):
        reason = reason_for(found.decision.code)
        commands = " and ".join(f"`{command}`" for command in found.remedies)
        refusal = Refused(evolve(reason, remedy=f"Run {commands}.") if commands else reason)
    return Shown(rows=[found.to_dict()], lines=found.lines(), problem=refusal)


async def _test(desk: AdminSession, options: Namespace) -> Shown:
    text, source = _expectations(options.file)
    async with desk.open_admin() as admin:
        report = await decisions.check(admin, text, source=source)
    row = {
        "checked": report.checked,
        "failed": len(report.failures),
        "failures": [
            {
                "entry": one.entry,
                "line": one.line,
                "expected": one.expected,
                "found": one.found,
                "explanation": one.explanation and one.explanation.to_dict(),
            }
            for one in report.failures
        ],
    }
    if not report.failures:
        return Shown(rows=[row], remarks=[f"{report.checked} expectations hold"])
    lines = [
        line
        for one in report.failures
        for line in (str(one), *(f"  {line}" for line in (one.explanation.lines() if one.explanation else ())))
    ]
    seen = f"{len(report.failures)} of {report.checked} fail"
    return Shown(rows=[row], lines=lines, problem=Refused(POLICY_EXPECTATION_FAILED, seen))


def _expectations(file: str) -> tuple[str, str]:
    try:
        return (sys.stdin.read(), "standard input") if file == "-" else (Path(file).read_text("utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        seen = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured("file-unreadable", f"{file}: {seen}") from None
