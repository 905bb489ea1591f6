import re

import pytest

from orthros_kdc.policy.ask_and_grant import TargetFacts
from orthros_kdc.policy.expectations import run_expectations
from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.store.base import PolicyRows
from orthros_protocol.errors import Misconfigured
from tests.kdc.policy.rows import NOW, rule

PEOPLE = {"billing": TargetFacts(), "ledger": TargetFacts(jwt_alg="HS256"), "web": TargetFacts(), "gate": TargetFacts(),
          "approvals": TargetFacts(), "shut": TargetFacts(disabled=True)}  # fmt: skip


def run(text: str, *rules):
    policy = PolicySnapshot(PolicyRows(seq=1, rules=rules, groups={}))
    return run_expectations(text, policy, facts_of=PEOPLE.get, limits=RealmLimits(), now=NOW, source="wishes.toml")


@pytest.mark.parity("B3")
def test_expectations_that_hold() -> None:
    """Policy test, offline."""
    report = run(
        """
        [[expect]]
        client = "billing"
        target = "ledger"
        scopes = ["read", "admin"]
        granted = ["read"]
        granted_ttl_s = 600

        [[expect]]
        client = "ledger"
        target = "billing"
        refused = "not-granted"

        [[expect]]
        client = "billing"
        target = "ledger"
        kind = "jwt"
        refused = "jwt-not-enabled"

        [[expect]]
        client = "billing"
        target = "ledger"
        delegable = true
        exact = true
        refused = "exact-not-possible"

        [[expect]]
        client = "billing"
        target = "shut"
        refused = "target-unavailable"
        """,
        rule(1, "read", max_ttl_s=600),
        rule(2, "read", target="shut"),
    )
    assert (report.checked, report.failures) == (5, ())


@pytest.mark.parity("P8", "B3")
def test_expectations_about_subjects() -> None:
    """In whose name a client may ask can be held to a table too."""
    entry = """
    [[expect]]
    client = "web"
    target = "ledger"
    kind = "jwt"
    subject = "%s"
    refused = "%s"
    """
    rules = rule(1, "read", client="web", jwt=True, subjects=["user/*"]), rule(2, "write", client="web", jwt=True)
    wishes = entry % ("root", "subject-refused") + entry % ("user/ada", "not-granted")
    report = run(wishes, *rules)
    assert [str(failure) for failure in report.failures] == [
        "entry 2, line 9: expected web -> ledger for user/ada refused not-granted, found granted read for 300 s"
    ]


@pytest.mark.parity("K18", "M5", "B3")
def test_expectations_about_evidence_paths_and_addresses() -> None:
    """Whom a client may act for, through whom and from where can be held to a table too."""
    entry = """
    [[expect]]
    client = "billing"
    target = "ledger"
    behalf = "user/ada"
    via = ["%s"]
    from = "%s"
    refused = "%s"
    """
    away = rule(1, "read", behalf=["user/*"], sources=["10.0.0.0/8"], deny_via=["web"])
    right = entry % ("web", "10.1.2.3", "chain-refused") + entry % ("web", "192.0.2.1", "source-refused")
    right += entry % ("gate", "local", "source-refused")
    assert run(right, away).failures == ()
    wrong = entry % ("gate", "10.1.2.3", "chain-refused") + entry % ("wbe", "10.1.2.3", "chain-refused")
    assert [str(failure) for failure in run(wrong, away).failures] == [
        "entry 1, line 2: expected billing -> ledger for user/ada through gate from 10.1.2.3 refused chain-refused, "
        "found granted read for 3600 s",
        "entry 2, line 10: expected billing -> ledger for user/ada through wbe from 10.1.2.3 refused chain-refused, "
        "found that no principal is called wbe",
    ]


@pytest.mark.parity("P6", "B3")
def test_expectations_about_caveats() -> None:
    """A table says under which caveats a grant comes; a set, and none is a set as well."""
    entry = """
    [[expect]]
    client = "billing"
    target = "ledger"
    caveats = %s
    """
    bound = rule(1, "read", methods=["GET"], discharges=["approvals=four-eyes"])
    assert run(entry % '["discharge approvals=four-eyes", "methods GET"]', bound).failures == ()
    assert run(entry % "[]", rule(1, "read")).failures == ()
    for fewer in ("[]", '["methods GET"]'):
        (failure,) = run(entry % fewer, bound).failures
        assert failure.found == "granted read for 3600 s under methods GET, discharge approvals=four-eyes"
    (failure,) = run(entry % '["methods GET"]', rule(1, "read")).failures
    assert failure.expected == "billing -> ledger granted under methods GET"


@pytest.mark.parity("B3", "K17")
def test_each_failure_names_its_entry_and_line() -> None:
    """Expected and found, side by side."""
    report = run(
        """
[[expect]]
client = "billing"
target = "ledger"
granted = ["read", "write"]
[[expect]]
client = "billing"
target = "ledger"
refused = "not-granted"
[[ expect ]]  # three
client = "ledger"
target = "billing"
granted_ttl_s = 5
[[expect]]
client = "biling"
target = "ledger"
refused = "not-granted"
""",
        rule(1, "read"),
    )
    assert report.checked == 4
    assert [str(failure) for failure in report.failures] == [
        "entry 1, line 2: expected billing -> ledger granted read write, found granted read for 3600 s",
        "entry 2, line 6: expected billing -> ledger refused not-granted, found granted read for 3600 s",
        "entry 3, line 10: expected ledger -> billing granted for 5 s, found refused not-granted",
        "entry 4, line 14: expected biling -> ledger refused not-granted, found that no principal is called biling",
    ]
    assert report.failures[0].explanation is not None
    assert report.failures[3].explanation is None


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("[[expect]\n", "wishes.toml: .*line 1"),
        ("version = 1\n", "unknown key 'version'.*\\[\\[expect\\]\\]"),
        ("expect = 5\n", "\\[\\[expect\\]\\] tables and nothing else"),
        ("", "\\[\\[expect\\]\\] tables and nothing else"),
        ('\n[[expect]]\nclient = "a"\n', "wishes.toml: entry 1, line 2: target is missing"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\n', "say what to expect"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nrefused = "nope"\n', "'nope' is not the code of a refusal"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nscope = []\n', "unknown key 'scope'; known: client, "),
        ('[[expect]]\nclient = 3\ntarget = "b"\n', "client must be a string"),
        ('[[expect]]\nclient = "a"\ntarget = "B"\n', "entry 1, line 1: target: "),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nttl_s = true\n', "ttl_s must be a whole number"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nttl_s = -1\n', "negative"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nkind = "tgt"\n', "neither ticket nor jwt"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nsubject = "User:1"\n', "subject: .*'User:1'"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nfrom = "example.org"\n', "from: 'example.org' is no IP address"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nrefused = "not-granted"\nvia = ["Web"]\n', "via: .*'Web'"),
        (
            '[[expect]]\nclient = "a"\ntarget = "b"\nrefused = "not-granted"\nvia = ["w"]\nsubject = "s"\n',
            "subject is the client's word",
        ),
        (
            '[[expect]]\nclient = "a"\ntarget = "b"\nrefused = "not-granted"\ncaveats = []\n',
            "either refused or granted",
        ),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nscopes = [[]]\n', "scopes: expected a list of strings"),
        ('[[expect]]\nclient = "a"\ntarget = "b"\nscopes = ["*"]\n', "scopes: '\\*'"),
        (
            '[[expect]]\nclient = "a"\ntarget = "b"\nrefused = "not-granted"\ngranted = []\n',
            "either refused or granted",
        ),
        ('expect = [{client = "a"}]\n', "entry 1: target is missing"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(text: str, detail: str) -> None:
    """Entry, line and what is allowed."""
    with pytest.raises(Misconfigured) as caught:
        run(text)
    assert re.search(detail, caught.value.detail)
    assert caught.value.detail.startswith("wishes.toml: ")


@pytest.mark.parity("B3")
def test_a_fresh_ticket_granting_ticket_is_assumed() -> None:
    """Offline, no principal holds a TGT."""
    entry = '[[expect]]\nclient = "billing"\ntarget = "ledger"\nscopes = ["read"]\ngranted_ttl_s = 3600'
    assert run(entry, rule(1, "read")).failures == ()


def test_a_rule_that_ended_grants_nothing_to_an_expectation() -> None:
    entry = '[[expect]]\nclient = "billing"\ntarget = "ledger"\nrefused = "not-granted"'
    assert run(entry, rule(1, "read", until="2026-12-01")).failures == ()
    assert run(entry, rule(1, "read", until="2026-12-02")).failures != ()
