"""Policy: rules and their meaning, explanations that end in a command, expectations that hold or do not."""

import io
import shlex
import sys

import pytest

from orthros_kdc.policy.rule import CONDITIONS
from orthros_kdc.policy.rule_table import ConditionShape
from tests.tools.admin.bench import AdminBench


@pytest.fixture
def pair(bench: AdminBench) -> AdminBench:
    bench.add("billing", "orders")
    return bench


def test_allow_prints_the_rule_and_what_it_means(pair: AdminBench) -> None:
    told = pair.ok("policy allow billing orders --scope write --scope read --max-ttl 15m --jwt --delegable")
    assert told.out == (
        "rule 1: billing -> orders [read write] (max 900 s, jwt, delegable)\n"
        "billing may call orders with read write, by tickets or JWTs that live for at most 900 s, and orders may act "
        "further on its behalf; not the other way round\n"
    )
    assert pair.ok("policy allow billing orders --quiet").out == "rule 2: billing -> orders [no scopes]\n"


@pytest.mark.parity("P6")
def test_rule_says_in_whose_name_the_client_may_ask(pair: AdminBench) -> None:
    told = pair.ok("policy allow billing orders --jwt --subject 'users/*' --subject ada")
    assert told.out.startswith("rule 1: billing -> orders [no scopes] (jwt, for ada users/*)\n")
    assert "also in the name of ada, all below users/; not the other way round\n" in told.out
    assert "in the name of anybody;" in pair.ok("policy allow billing orders --jwt --subject '*'").out
    assert "also in the name of ada;" in pair.ok("policy allow billing orders --subject ada").out
    assert [row["subjects"] for row in pair.rows("policy list")] == [["ada", "users/*"], ["*"], ["ada"]]
    refused = pair.run("policy allow billing orders --subject 'users*' --output json")
    assert (refused.code, refused.error["code"]) == (1, "value-invalid")


EVERY_LIMIT = (
    "policy allow orders ledger --scope read --behalf 'users/*' --from 10.0.0.0/8 --deny-via group:edge"
    " --require-via portal --max-depth 2 --callbacks --methods GET --methods HEAD --path /entries --peer 192.0.2.7"
    " --discharge approvals=four-eyes"
)


@pytest.fixture
def three(pair: AdminBench) -> AdminBench:
    pair.add("ledger", "portal", "approvals")
    pair.ok("group add edge")
    return pair


@pytest.mark.parity("P6", "M5", "M6", "K18")
def test_rule_with_conditions_says_what_each_of_them_means(three: AdminBench) -> None:
    """In the words of the realm file, and in sentences."""
    told = three.ok(EVERY_LIMIT)
    assert told.out.splitlines()[1:] == [
        "orders may call ledger with read, by tickets that live as long as realm and principals allow; "
        "not the other way round",
        "on behalf of all below users/ too, when it proves that it was called for them",
        "only when it asks from 10.0.0.0/8",
        "never for a call that came through group:edge",
        "only for a call that came through portal, so not for its own",
        "only with at most 2 callers before it",
        "also when somebody is called again by those that it called",
        "its tickets count for GET and HEAD only",
        "its tickets count for /entries and below only",
        "its tickets count from 192.0.2.7/32 only",
        "its tickets count only when approvals attests four-eyes",
    ]
    (row,) = three.rows("policy list")
    assert {name: value for name, value in row.items() if value} == {
        "rule": 1,
        "client": "orders",
        "target": "ledger",
        "scopes": ["read"],
        "behalf": ["users/*"],
        "from": ["10.0.0.0/8"],
        "deny_via": ["group:edge"],
        "require_via": ["portal"],
        "max_depth": 2,
        "callbacks": True,
        "methods": ["GET", "HEAD"],
        "path": "/entries",
        "peers": ["192.0.2.7/32"],
        "discharges": ["approvals=four-eyes"],
    }
    assert three.run(f"{EVERY_LIMIT} --output json").error["code"] == "already-exists"


def test_table_has_columns_for_conditions_only_where_there_are_any(three: AdminBench) -> None:
    three.ok("policy allow billing orders")
    three.ok("policy allow orders ledger --max-depth 0 --path /entries")
    assert three.ok("policy list").out == (
        "RULE  CLIENT   TARGET  SCOPES  MAX_TTL_S  JWT  DELEGABLE  SUBJECTS  MAX_DEPTH  PATH\n"
        "1     billing  orders  -       -          no   no         -         -          -\n"
        "2     orders   ledger  -       -          no   no         -         0          /entries\n"
    )
    assert three.ok("policy deny orders ledger").out.startswith(
        "removed rule 2: orders -> ledger [no scopes] (at most 0 before the client, with path /entries)\n"
    )


@pytest.mark.parity("K18", "M5", "B3")
def test_call_on_behalf_is_explained_as_the_kdc_decides(three: AdminBench) -> None:
    """Evidence, the path before the client, and the address, all offline."""
    three.ok(EVERY_LIMIT)
    ask = "policy explain orders ledger --scope read --behalf users/ada"
    told = three.ok(f"{ask} --via portal --from 10.1.2.3")
    assert told.out.splitlines()[0] == (
        "orders -> ledger: asks from 10.1.2.3 on behalf of users/ada, through portal, for a ticket with read, "
        "as long as allowed"
    )
    assert "  the KDC writes into it: discharge approvals=four-eyes\n" in told.out
    away = three.run(f"{ask} --via portal --from local")
    assert (away.code, "code: source-refused" in away.err) == (3, True)
    assert "  rule 1: source: a local socket is outside 10.0.0.0/8\n" in away.out
    around = three.run(f"{ask} --via billing")
    assert (around.code, "code: chain-refused" in around.err) == (3, True)
    assert "  rule 1: chain: it did not come through portal\n" in around.out
    three.ok("group add-member edge portal")
    assert "  rule 1: chain: it came through portal\n" in three.run(f"{ask} --via portal").out


@pytest.mark.parity("K18")
def test_first_caller_is_whom_a_call_is_on_behalf_of(three: AdminBench) -> None:
    """Without a subject of its own, a chain is about who began it."""
    three.ok("policy allow orders ledger --scope read --behalf portal")
    by_via, by_behalf = (three.rows(f"policy explain orders ledger {how}")[0]["asked"]
                         for how in ("--via portal", "--behalf portal"))  # fmt: skip
    assert by_via == by_behalf
    assert (by_via["subject"], by_via["proven"], by_via["path"]) == ("portal", True, ["portal", "orders"])


@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("policy allow orders ledger --discharge nobody=four-eyes", 5, "not-found"),
        ("policy allow orders ledger --discharge approvals", 1, "value-invalid"),
        ("policy allow orders ledger --deny-via group:nobody", 5, "not-found"),
        ("policy allow orders ledger --require-via nobody", 5, "not-found"),
        ("policy allow orders ledger --deny-via portal@corp.example", 1, "value-invalid"),
        ("policy allow orders ledger --max-depth 9", 1, "value-invalid"),
        ("policy allow orders ledger --max-depth x", 1, "usage"),
        ("policy allow orders ledger --methods get", 1, "value-invalid"),
        ("policy allow orders ledger --path ../etc", 1, "value-invalid"),
        ("policy allow orders ledger --from 10.0.0.1/8", 1, "value-invalid"),
        ("policy allow orders ledger --peer example.org", 1, "value-invalid"),
        ("policy allow orders ledger --jwt --methods GET", 1, "value-invalid"),
        ("policy explain orders ledger --subject a --behalf b", 1, "usage"),
        ("policy explain orders ledger --subject a --via portal", 1, "usage"),
        ("policy explain orders ledger --via nobody", 5, "not-found"),
        ("policy explain orders ledger --behalf users/ada", 5, "not-found"),
        ("policy explain orders ledger --via portal@corp.example", 1, "value-invalid"),
        ("policy explain orders ledger --via Portal", 1, "name-invalid"),
        ("policy explain orders ledger --from example.org", 1, "value-invalid"),
    ],
)
def test_unusable_condition_changes_nothing(three: AdminBench, line: str, exit_code: int, code: str) -> None:
    before = three.snapshot()
    told = three.run(f"{line} --output json")
    assert (told.code, told.out, told.error["code"]) == (exit_code, "", code)
    assert three.snapshot() == before


def test_subject_is_explained_as_the_kdc_decides(pair: AdminBench) -> None:
    pair.ok("jwt enable orders")
    pair.ok("policy allow billing orders --scope read --jwt --subject 'users/*'")
    assert pair.run("policy explain billing orders --jwt --subject users/ada").code == 0
    told = pair.run("policy explain billing orders --jwt --subject ada")
    assert (told.code, "code: subject-refused" in told.err) == (3, True)


def test_rule_of_groups_speaks_of_members(pair: AdminBench) -> None:
    pair.ok("group add a")
    pair.ok("group add b")
    assert (
        "every member of a may call every member of b to prove who it is, with no scope, by tickets that live as "
        in (pair.ok("policy allow group:a group:b").out)
    )


def test_rules_as_json_and_as_a_table(pair: AdminBench) -> None:
    empty = {ConditionShape.SWITCH: False, ConditionShape.TEXTS: []}
    rule = {"rule": 1, "client": "billing", "target": "orders", "scopes": ["read"]}
    rule |= {row.key: empty.get(row.shape) for row in CONDITIONS} | {"max_ttl_s": 90}
    assert pair.rows("policy allow billing orders --scope read --max-ttl 90s") == [rule]
    pair.ok("policy allow orders billing")
    assert pair.rows("policy list --client billing") == [rule]
    assert pair.rows("policy list --target orders") == [rule]
    assert pair.rows("policy list --client orders --target orders") == []
    assert pair.ok("policy list").out == (
        "RULE  CLIENT   TARGET   SCOPES  MAX_TTL_S  JWT  DELEGABLE  SUBJECTS\n"
        "1     billing  orders   read    90         no   no         -\n"
        "2     orders   billing  -       -          no   no         -\n"
    )


def test_deny_removes_by_pair_or_by_number(pair: AdminBench) -> None:
    for scope in ("a", "b", "c"):
        pair.ok(f"policy allow billing orders --scope {scope}")
    assert pair.ok("policy deny --rule 2").out == (
        "removed rule 2: billing -> orders [b]\ntickets that were issued before end by themselves\n"
    )
    assert [row["rule"] for row in pair.rows("policy deny billing orders --yes")] == [1, 3]
    assert pair.ok("policy list").out == "no rule: everything is refused\n"


@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("policy allow billing nobody", 5, "not-found"),
        ("policy allow group:nobody orders", 5, "not-found"),
        ("policy allow billing orders --scope read --max-ttl 90", 1, "already-exists"),
        ("policy allow billing orders --scope Read", 1, "scope-invalid"),
        ("policy allow billing Orders", 1, "name-invalid"),
        ("policy allow billing orders --max-ttl 0", 1, "usage"),
        ("policy allow billing orders --max-ttl 1w", 1, "usage"),
        ("policy allow billing orders --max-ttl=-5", 1, "usage"),
        ("policy deny billing nobody", 5, "not-found"),
        ("policy deny --rule 9", 5, "not-found"),
        ("policy deny billing", 1, "usage"),
        ("policy deny", 1, "usage"),
        ("policy deny billing orders --rule 1", 1, "usage"),
        ("policy deny billing --rule 1", 1, "usage"),
        ("policy explain nobody orders", 5, "not-found"),
        ("policy explain billing nobody", 5, "not-found"),
        ("policy explain billing orders --scope 'read; reboot'", 1, "scope-invalid"),
        ("policy test missing.toml", 1, "file-unreadable"),
    ],
)
def test_refused_command_changes_nothing(pair: AdminBench, line: str, exit_code: int, code: str) -> None:
    pair.ok("policy allow billing orders --scope read --max-ttl 90")
    before = pair.snapshot()
    told = pair.run(f"{line} --output json")
    assert (told.code, told.out, told.error["code"]) == (exit_code, "", code)
    assert pair.snapshot() == before


def test_explanation_shows_each_cut_and_the_rule_behind_it(pair: AdminBench) -> None:
    pair.ok("policy allow billing orders --scope read --max-ttl 15m")
    told = pair.ok("policy explain billing orders --scope read --scope admin --ttl 1h")
    assert told.out == (
        "billing -> orders: asks for a ticket with read admin, 3600 s\n"
        "  rule 1: billing -> orders [read] (max 900 s)\n"
        "granted: read, 900 s (by rule 1)\n"
        "  Scope admin was not granted: the rules for this pair do not allow it.\n"
        "  The lifetime was shortened: the rules for this pair do not allow it.\n"
        "  limit 900 s: rule 1\n"
        "  limit 3600 s: the realm\n"
        "  limit 3600 s: the ticket-granting ticket\n"
    )


def test_refusal_names_the_command_that_would_allow_it(pair: AdminBench) -> None:
    told = pair.run("policy explain billing orders --scope read --ttl 15m")
    assert told.code == 3
    assert told.out == (
        "billing -> orders: asks for a ticket with read, 900 s\n"
        "  no rule names this pair, directly or by group\n"
        "refused: not-granted: No rule lets this client reach this target.\n"
        "  would allow it: orthros-admin policy allow billing orders --scope read --max-ttl 900\n"
    )
    assert told.err == (
        "orthros-admin: No rule lets this client reach this target.\n"
        "remedy: Run `orthros-admin policy allow billing orders --scope read --max-ttl 900`.\n"
        "code: not-granted\n"
    )


@pytest.mark.parametrize(
    ("before", "ask", "code"),
    [
        ([], "billing orders --scope read", "not-granted"),
        (["policy allow billing orders --scope read"], "billing orders --scope write", "no-scope-left"),
        (["policy allow billing orders --scope read"], "billing orders --jwt", "jwt-not-enabled"),
        (["policy allow billing orders", "principal disable billing"], "billing orders", "principal-disabled"),
        (["policy allow billing orders", "principal disable orders"], "billing orders", "target-unavailable"),
        (["policy allow billing orders", "key retire orders 1 --force --yes"], "billing orders", "target-unavailable"),
        (["policy allow billing orders --scope read --max-ttl 60"], "billing orders --ttl 90 --exact",
         "exact-not-possible"),
        (["policy allow billing orders --scope read"], "billing orders --scope read --delegable --exact",
         "exact-not-possible"),
    ],
)  # fmt: skip
def test_remedies_of_a_refusal_work_when_run(pair: AdminBench, before: list[str], ask: str, code: str) -> None:
    for line in before:
        pair.ok(line)
    told = pair.run(f"policy explain {ask} --output json")
    assert told.code == 3
    (row,) = told.rows
    assert row["answer"] == {"refused": code}
    assert told.error["code"] == code
    assert row["remedies"]
    for remedy in row["remedies"]:
        program, *words = shlex.split(remedy)
        assert program == "orthros-admin"
        pair.ok(shlex.join(words).replace("FILE", "new.key"))
    pair.ok(f"policy explain {ask}")


def test_explanation_as_json(pair: AdminBench) -> None:
    pair.ok("policy allow billing orders --scope read --jwt")
    pair.ok("jwt enable orders")
    (row,) = pair.rows("policy explain billing orders --jwt --ttl 10m")
    assert row["asked"] == {"kind": "jwt", "scopes": None, "ttl_s": 600, "exact": False, "delegable": False,
                            "subject": None, "proven": False, "path": [], "from": None}  # fmt: skip
    assert row["answer"] == {"scopes": ["read"], "ttl_s": 300, "delegable": False, "rules": [1], "caveats": []}
    assert row["caps"][0] == {"seconds": 300, "whose": "the realm"}


EXPECTATIONS = """\
[[expect]]
client = "billing"
target = "orders"
scopes = ["read", "admin"]
granted = ["read"]

[[expect]]
client = "orders"
target = "billing"
refused = "not-granted"
"""


def test_expectations_that_hold(pair: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.ok("policy allow billing orders --scope read")
    (pair.folder / "expected.toml").write_text(EXPECTATIONS)
    assert pair.ok("policy test expected.toml").out == "2 expectations hold\n"
    assert pair.rows("policy test expected.toml") == [{"checked": 2, "failed": 0, "failures": []}]
    monkeypatch.setattr(sys, "stdin", io.StringIO(EXPECTATIONS))
    assert pair.ok("policy test -").out == "2 expectations hold\n"


def test_expectations_that_fail_say_where_and_why(pair: AdminBench) -> None:
    pair.ok("policy allow orders billing --scope read")
    (pair.folder / "expected.toml").write_text(EXPECTATIONS)
    told = pair.run("policy test expected.toml")
    assert told.code == 3
    assert told.out.splitlines()[:2] == [
        "entry 1, line 1: expected billing -> orders granted read, found refused not-granted",
        "  billing -> orders: asks for a ticket with read admin, as long as allowed",
    ]
    assert "entry 2, line 7: expected orders -> billing refused not-granted, found granted read for 3600 s" in told.out
    assert told.err == (
        "orthros-admin: The policy does not decide as the expectations say. (2 of 2 fail)\n"
        "remedy: Correct the rules or the expectations.\n"
        "code: policy-expectation-failed\n"
    )
    (row,) = pair.run("policy test expected.toml --output json").rows
    assert [failure["line"] for failure in row["failures"]] == [1, 7]


@pytest.mark.parametrize("text", ["expect = 1", "[[expect]]\nclient = 'x'", "not toml", "\udcff"])
def test_unusable_expectations_are_refused_by_name(pair: AdminBench, text: str) -> None:
    (pair.folder / "expected.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    told = pair.run("policy test expected.toml")
    assert (told.code, "expected.toml" in told.err) == (1, True)


def test_misspelt_name_is_no_fulfilled_refusal(pair: AdminBench) -> None:
    (pair.folder / "e.toml").write_text('[[expect]]\nclient = "biling"\ntarget = "orders"\nrefused = "not-granted"\n')
    told = pair.run("policy test e.toml")
    assert (told.code, "that no principal is called biling" in told.out) == (3, True)


@pytest.mark.parity("B3")
def test_rules_that_end_are_listed_and_warned_of(pair: AdminBench) -> None:
    pair.ok("policy allow billing orders --until 1999-12-31")
    pair.ok("policy allow billing orders --until 2999-12-31")
    assert "rule 1 has ended or ends within 30 days: 1999-12-31T00:00:00Z" in pair.ok("policy list").out
    assert [row["rule"] for row in pair.rows("policy list --ending 30d")] == [1]
    assert [row["rule"] for row in pair.rows("policy list --ending 999999d")] == [1, 2]
    assert "no rule has ended" in pair.ok("policy list --target billing --ending 90m").out
    assert pair.run("policy list --ending soon").code == 1
    assert pair.run("policy allow billing orders --until soon").code == 1
