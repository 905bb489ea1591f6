"""`orthros-admin policy`: allow, deny, list, explain, test.

Knows how to say what a rule means; `orthros_kdc.admin` keeps rules and the KDC's own function decides.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from attrs import evolve

from orthros_kdc.admin import decisions, rules
from orthros_kdc.policy.decide import Ask, Denial, Kind
from orthros_kdc.policy.model import ANY_SUBJECT, Rule
from orthros_protocol import Misconfigured, Refused, reason_for
from orthros_tools.admin.command_line import PROGRAM, Nouns, duration, from_one, usage
from orthros_tools.admin.desk import Desk
from orthros_tools.admin.screen import Answer

__all__ = ["register", "rule_row"]

_COLUMNS = ("rule", "client", "target", "scopes", "max_ttl_s", "jwt", "delegable", "subjects")

_EXPECTATIONS = """\
The file holds entries such as

  [[expect]]
  client = "billing"
  target = "orders"
  scopes = ["read", "admin"]
  granted = ["read"]

with refused = "not-granted" in place of granted for what must not be possible."""


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("policy", "who may call whom; what no rule allows is refused")
    allow = verbs.add(
        "allow", _allow, "a new rule",
        examples=("policy allow billing orders --scope read --max-ttl 15m",
                  "policy allow group:frontends orders --scope read --scope write --jwt",
                  "policy allow web orders", "policy allow portal orders --scope read --jwt --subject 'users/*'"),
        notes="CLIENT and TARGET are a principal, or group:NAME. The rule holds in this direction only.\n"
              "Without --scope the client can prove who it is, and nothing more. --subject adds in whose name the\n"
              "client may ask: one name, NAME/* for all below NAME/, or * for anybody, principals included.",
    )  # fmt: skip
    _add_pair(allow)
    _add_scopes(allow)
    allow.add_argument("--max-ttl", metavar="TIME", type=duration, help="longest life of what it grants: 90, 15m, 1h")
    allow.add_argument("--jwt", action="store_true", help="also as JWTs, if they are enabled for the target")
    allow.add_argument("--delegable", action="store_true", help="the target may act further on the client's behalf")

    allow.add_argument("--subject", metavar="PATTERN", action="append", default=[], dest="subjects",
                       help="in whose name it may ask; may be repeated")  # fmt: skip

    deny = verbs.add("deny", _deny, "removes rules",
                     examples=("policy deny billing orders", "policy deny --rule 7"),
                     notes="By pair: every rule that names just these two; those by way of a group stay.")  # fmt: skip
    deny.add_argument("client", metavar="CLIENT", nargs="?")
    deny.add_argument("target", metavar="TARGET", nargs="?")
    deny.add_argument("--rule", metavar="ID", type=from_one, help="one rule by its number")

    listing = verbs.add("list", _list, "the rules", examples=("policy list", "policy list --target orders"))
    listing.add_argument("--client", metavar="CLIENT", help="only rules that name exactly this client or group:NAME")
    listing.add_argument("--target", metavar="TARGET", help="only rules that name exactly this target or group:NAME")

    explain = verbs.add(
        "explain", _explain, "what the KDC would answer, and why", codes=(3,),
        examples=("policy explain billing orders", "policy explain billing orders --scope read --scope admin --ttl 1h",
                  "policy explain billing orders --jwt --exact"),
        notes="The KDC decides with the same function. A refusal ends with 3 and names the command that would\n"
              "allow it.",
    )  # fmt: skip
    _add_pair(explain)
    _add_scopes(explain)
    explain.add_argument("--ttl", metavar="TIME", type=duration, default=0, help="the life asked for: 90, 90s, 15m, 1h")
    explain.add_argument("--jwt", action="store_true", help="ask for a JWT")
    explain.add_argument("--exact", action="store_true", help="refuse rather than cut anything")
    explain.add_argument("--delegable", action="store_true", help="ask for a ticket that can be acted upon further")
    explain.add_argument("--subject", metavar="NAME", help="ask in the name of NAME, which takes --jwt as well")

    test = verbs.add("test", _test, "checks a file of expectations", codes=(3,),
                     examples=("policy test policy-expectations.toml", "policy test - < policy-expectations.toml"),
                     notes=_EXPECTATIONS)  # fmt: skip
    test.add_argument("file", metavar="FILE", help="TOML; - for standard input")


def _add_pair(parser: object) -> None:
    for name in ("client", "target"):
        parser.add_argument(name, metavar=name.upper())  # type: ignore[attr-defined]


def _add_scopes(parser: object) -> None:
    parser.add_argument("--scope", metavar="S", action="append", dest="scopes", help="may be repeated")  # type: ignore[attr-defined]


def rule_row(rule: Rule) -> dict[str, object]:
    """One rule as JSON shows it."""
    return {
        "rule": rule.rule_id,
        "client": str(rule.client),
        "target": str(rule.target),
        "scopes": list(rule.scopes),
        "max_ttl_s": rule.max_ttl_s,
        "jwt": rule.jwt,
        "delegable": rule.delegable,
        "subjects": list(rule.subjects),
    }


async def _allow(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        rule = await rules.allow(
            admin, options.client, options.target, scopes=tuple(options.scopes or ()), max_ttl_s=options.max_ttl,
            jwt=options.jwt, delegable=options.delegable, subjects=tuple(options.subjects),
        )  # fmt: skip
    remarks = [_meaning(rule)]
    if rule.subjects and not rule.jwt:
        remarks += ["but tickets carry no subject: only a rule with --jwt lets it ask in somebody's name"]
    return Answer(rows=[rule_row(rule)], lines=[str(rule)], remarks=remarks)


def _meaning(rule: Rule) -> str:
    who = f"every member of {rule.client.name}" if rule.client.is_group else rule.client.name
    whom = f"every member of {rule.target.name}" if rule.target.is_group else rule.target.name
    what = f"with {' '.join(rule.scopes)}" if rule.scopes else "to prove who it is, with no scope"
    life = "as long as realm and principals allow" if rule.max_ttl_s is None else f"for at most {rule.max_ttl_s} s"
    form = "tickets or JWTs" if rule.jwt else "tickets"
    onward = f", and {whom} may act further on its behalf" if rule.delegable else ""
    named = f", also in the name of {_subjects(rule)}" if rule.subjects else ""
    return f"{who} may call {whom} {what}, by {form} that live {life}{onward}{named}; not the other way round"


def _subjects(rule: Rule) -> str:
    if ANY_SUBJECT in rule.subjects:
        return "anybody"
    return ", ".join(f"all below {one[:-1]}" if one.endswith("*") else one for one in rule.subjects)


async def _deny(desk: Desk, options: Namespace) -> Answer:
    by_pair = options.client is not None and options.target is not None
    if by_pair == (options.rule is not None) or (options.client is None) != (options.target is None):
        raise usage("give CLIENT and TARGET, or --rule ID", f"Read `{PROGRAM} policy deny --help`.")
    async with desk.open_admin() as admin:
        if by_pair:
            removed = await rules.deny(admin, options.client, options.target)
        else:
            removed = (await rules.remove(admin, options.rule),)
    remarks = [f"removed {rule}" for rule in removed]
    remarks += ["tickets that were issued before end by themselves"]
    return Answer(rows=[rule_row(rule) for rule in removed], remarks=remarks)


async def _list(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        found = await rules.listed(admin, client=options.client, target=options.target)
    return Answer(rows=[rule_row(rule) for rule in found], columns=_COLUMNS,
                  remarks=() if found else ("no rule: everything is refused",))  # fmt: skip


async def _explain(desk: Desk, options: Namespace) -> Answer:
    ask = Ask(
        target=options.target,
        kind=Kind.JWT if options.jwt else Kind.TICKET,
        scopes=None if options.scopes is None else tuple(dict.fromkeys(options.scopes)),
        ttl_s=options.ttl,
        exact=options.exact,
        delegable=options.delegable,
        subject=options.subject,
    )
    async with desk.open_admin() as admin:
        found = await decisions.explain(admin, options.client, ask)
    refusal = None
    if isinstance(found.decision, Denial):
        reason = reason_for(found.decision.code)
        commands = " and ".join(f"`{command}`" for command in found.remedies)
        refusal = Refused(evolve(reason, remedy=f"Run {commands}.") if commands else reason)
    return Answer(rows=[found.to_dict()], lines=found.lines(), problem=refusal)


async def _test(desk: Desk, options: Namespace) -> Answer:
    text, source = _expectations(options.file)
    async with desk.open_admin() as admin:
        report = await decisions.check(admin, text, source=source)
    row = {"checked": report.checked, "failed": len(report.failures), "failures": [
        {"entry": one.entry, "line": one.line, "expected": one.expected, "found": one.found,
         "explanation": one.explanation and one.explanation.to_dict()} for one in report.failures
    ]}  # fmt: skip
    if not report.failures:
        return Answer(rows=[row], remarks=[f"{report.checked} expectations hold"])
    lines = [line for one in report.failures for line in (
        str(one), *(f"  {line}" for line in (one.explanation.lines() if one.explanation else ()))
    )]  # fmt: skip
    seen = f"{len(report.failures)} of {report.checked} fail"
    return Answer(rows=[row], lines=lines, problem=Refused("policy-expectation-failed", seen))


def _expectations(file: str) -> tuple[str, str]:
    try:
        return (sys.stdin.read(), "standard input") if file == "-" else (Path(file).read_text("utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        seen = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured("file-unreadable", f"{file}: {seen}") from None
