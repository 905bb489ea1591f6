"""Rules on the command line: the options that describe one, the row that shows it, the words that say what it means.

Keeps nothing and decides nothing.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any, Final

from orthros_kdc.policy.model import ANY_SUBJECT, Rule, RuleCaveats, check_chain
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS
from orthros_runtime.screen import Parser
from orthros_tools.admin.command_line import duration

__all__ = ["add_rule_options", "columns_for", "described_rule", "rule_remarks", "rule_row"]

_ALWAYS: Final = ("rule", "client", "target", "scopes", "max_ttl_s", "jwt", "delegable", "subjects")
_SELDOM: Final = (
    "behalf",
    "from",
    "deny_via",
    "require_via",
    "max_depth",
    "callbacks",
    "methods",
    "path",
    "peers",
    "discharges",
)


def add_rule_options(parser: Parser) -> None:
    """Everything that a rule says besides its client, target and scopes."""

    def many(option: str, metavar: str, dest: str, words: str) -> None:
        parser.add_argument(
            option, metavar=metavar, action="append", default=[], dest=dest, help=f"{words}; may be repeated"
        )

    parser.add_argument("--max-ttl", metavar="TIME", type=duration, help="longest life of what it grants: 90, 15m, 1h")
    parser.add_argument("--jwt", action="store_true", help="also as JWTs, if they are enabled for the target")
    parser.add_argument("--delegable", action="store_true", help="the target may act further on the client's behalf")
    many("--subject", "PATTERN", "subjects", "in whose name it may ask, by its word alone")
    many("--behalf", "PATTERN", "behalf", "for whom it may act when it proves that it was called for them")
    many("--from", "CIDR", "sources", "only for asks from this network or address")
    many("--deny-via", "WHO", "deny_via", "not for calls that came through NAME, NAME@REALM or group:NAME")
    many("--require-via", "WHO", "require_via", "only for calls that came through NAME, NAME@REALM or group:NAME")
    parser.add_argument(
        "--max-depth",
        metavar="N",
        type=int,
        default=MAX_CHAIN_HOPS,
        help=f"at most N callers before the client, 0 to {MAX_CHAIN_HOPS}",
    )
    parser.add_argument("--callbacks", action="store_true", help="also for calls back to those on the way here")
    many("--methods", "METHOD", "methods", "its tickets only for this HTTP method")
    parser.add_argument("--path", metavar="PATH", help="its tickets only for this HTTP path and what lies below it")
    many("--peer", "CIDR", "peers", "its tickets only from this network or address")
    many("--discharge", "WHO=WHAT", "discharges", "its tickets only when the principal WHO attests WHAT")


def described_rule(options: Namespace) -> dict[str, Any]:
    """The arguments of `rules.allow` from these options. Raises Misconfigured `name-invalid` or `value-invalid`."""
    return {
        "max_ttl_s": options.max_ttl,
        "jwt": options.jwt,
        "delegable": options.delegable,
        "subjects": tuple(options.subjects),
        "behalf": tuple(options.behalf),
        "sources": tuple(options.sources),
        "chain": check_chain(
            deny_via=options.deny_via,
            require_via=options.require_via,
            max_depth=options.max_depth,
            callbacks=options.callbacks,
        ),
        "caveats": RuleCaveats(
            methods=options.methods, path=options.path, peers=options.peers, discharges=options.discharges
        ),
    }


def rule_row(rule: Rule) -> dict[str, object]:
    """One rule as JSON shows it, in the words of the realm file."""
    chain, caveats = rule.chain, rule.caveats
    return {
        "rule": rule.rule_id,
        "client": str(rule.client),
        "target": str(rule.target),
        "scopes": list(rule.scopes),
        "max_ttl_s": rule.max_ttl_s,
        "jwt": rule.jwt,
        "delegable": rule.delegable,
        "subjects": list(rule.subjects),
        "behalf": list(rule.behalf),
        "from": list(rule.sources),
        "deny_via": list(chain.deny_via),
        "require_via": list(chain.require_via),
        "max_depth": None if chain.max_depth == MAX_CHAIN_HOPS else chain.max_depth,
        "callbacks": chain.callbacks,
        "methods": list(caveats.methods),
        "path": caveats.path,
        "peers": list(caveats.peers),
        "discharges": list(map(str, caveats.discharges)),
    }


def columns_for(rows: Iterable[dict[str, object]]) -> tuple[str, ...]:
    """The columns of a table of rules: what is seldom said only where one of them says it."""
    shown = list(rows)
    return _ALWAYS + tuple(name for name in _SELDOM if any(_says(row[name]) for row in shown))


def _says(value: object) -> bool:
    return bool(value) or (value == 0 and value is not False)  # a depth of 0 says a lot


def rule_remarks(rule: Rule) -> list[str]:
    """What the rule means, in sentences."""
    who = f"every member of {rule.client.name}" if rule.client.is_group else rule.client.name
    whom = f"every member of {rule.target.name}" if rule.target.is_group else rule.target.name
    what = f"with {' '.join(rule.scopes)}" if rule.scopes else "to prove who it is, with no scope"
    life = "as long as realm and principals allow" if rule.max_ttl_s is None else f"for at most {rule.max_ttl_s} s"
    form = "tickets or JWTs" if rule.jwt else "tickets"
    onward = f", and {whom} may act further on its behalf" if rule.delegable else ""
    named = f", also in the name of {_subjects(rule.subjects)}" if rule.subjects else ""
    said = [f"{who} may call {whom} {what}, by {form} that live {life}{onward}{named}; not the other way round"]
    if rule.behalf:
        said += [f"on behalf of {_subjects(rule.behalf)} too, when it proves that it was called for them"]
    if rule.sources:
        said += [f"only when it asks from {' or '.join(rule.sources)}"]
    return said + _path_remarks(rule) + _caveat_remarks(rule.caveats)


def _path_remarks(rule: Rule) -> list[str]:
    chain, said = rule.chain, []
    if chain.deny_via:
        said += [f"never for a call that came through {' or '.join(chain.deny_via)}"]
    if chain.require_via:
        said += [f"only for a call that came through {' and '.join(chain.require_via)}, so not for its own"]
    if chain.max_depth < MAX_CHAIN_HOPS:
        said += [f"only with at most {chain.max_depth} callers before it"]
    return said + (["also when somebody is called again by those that it called"] if chain.callbacks else [])


def _caveat_remarks(caveats: RuleCaveats) -> list[str]:
    said = [f"its tickets count for {' and '.join(caveats.methods)} only"] if caveats.methods else []
    said += [f"its tickets count for {caveats.path} and below only"] if caveats.path is not None else []
    said += [f"its tickets count from {' or '.join(caveats.peers)} only"] if caveats.peers else []
    return said + [
        f"its tickets count only when {one.discharger} attests {one.predicate}" for one in caveats.discharges
    ]


def _subjects(patterns: tuple[str, ...]) -> str:
    if ANY_SUBJECT in patterns:
        return "anybody"
    return ", ".join(f"all below {one[:-1]}" if one.endswith("*") else one for one in patterns)
