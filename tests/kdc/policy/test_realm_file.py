"""What a realm file may say, and that everything else is refused with its line and a way out."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.admin import realm_file
from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.realm_document import JwtFacts, PrincipalFacts, RealmDocument
from orthros_kdc.policy.realm_file import _RULE, warnings_of
from orthros_kdc.policy.rule import Rule
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_protocol.errors import Misconfigured

WHOLE = dedent(
    """\
    version = 1

    [realm]
    issuer = "https://kdc.example"
    max_ticket_s = 1800

    [principals]
    approvals = {}

    [principals.gateway]
    max_ticket_s = "none"
    oauth = true
    default_audience = "kdc-x/y"

    [principals."kdc-x/y"]
    disabled = false
    max_jwt_s = 60
    sources = ["10.0.0.0/8", "10.0.0.0/8", "::ffff:192.0.2.0/120"]
    jwt = { alg = "HS512", audience = "https://y.example" }
    token_claims = ["tenant", "region"]

    [groups]
    edge = []
    backends = ["orders", "kdc-x/y"]

    [[rules]]
    client = "gateway"
    target = "group:backends"
    scopes = ["write", "read"]
    max_ttl_s = 600
    delegable = true
    subjects = ["user/*"]
    behalf = ["user/*", "ada"]
    from = ["10.0.0.0/8"]
    deny_via = ["group:edge", "mallory@other.example"]
    require_via = []
    max_depth = 3
    callbacks = true
    methods = ["PUT", "GET"]
    path = "/orders"
    peers = ["10.1.2.3"]
    discharges = ["approvals=four-eyes"]

    [[rules]]
    client = "orders"
    target = "kdc-x/y"
    jwt = true
    """
)


def read(text: str) -> RealmDocument:
    return realm_file.read(text, source="realm.toml")


def refused(text: str) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        read(text)
    return caught.value


def refusal_of(text: str) -> Misconfigured | None:
    try:
        read(text)
    except Misconfigured as error:
        return error
    return None


@pytest.mark.parity("P6")
def test_everything_that_can_be_said():
    """A directional rule with scopes, lifetime, path, sources and caveats."""
    document = read(WHOLE)
    assert document == RealmDocument(
        realm={"issuer": "https://kdc.example", "max_ticket_s": 1800},
        principals={
            "approvals": {},
            "gateway": {"max_ticket_s": None, "oauth": True, "default_audience": "kdc-x/y"},
            "kdc-x/y": {
                "disabled": False,
                "max_jwt_s": 60,
                "sources": ("10.0.0.0/8", "192.0.2.0/24"),
                "jwt": JwtFacts(alg="HS512", audience="https://y.example"),
                "token_claims": ("region", "tenant"),
            },
        },
        groups={"edge": (), "backends": ("kdc-x/y", "orders")},
        rules=(
            Rule(
                rule_id=0, client=Selector("gateway"), target=Selector("backends", is_group=True),
                scopes=("read", "write"), max_ttl_s=600, delegable=True, subjects=("user/*",),
                behalf=("ada", "user/*"), sources=("10.0.0.0/8",),
                deny_via=("group:edge", "mallory@other.example"), max_depth=3, callbacks=True,
                methods=("GET", "PUT"), path="/orders", peers=("10.1.2.3/32",),
                                    discharges=(RequiredDischarge("approvals", "four-eyes"),),
            ),
            Rule(rule_id=0, client=Selector("orders"), target=Selector("kdc-x/y"), scopes=(), jwt=True),
        ),
    )  # fmt: skip


def test_only_the_version_is_needed():
    assert read("version = 1") == RealmDocument()
    assert read("version = 1\nrules = []\n[principals]\n[groups]\n[realm]\n") == RealmDocument()


def test_names_that_the_file_leaves_open_are_told():
    assert warnings_of(read(WHOLE)) == (
        "realm.toml, line 3: [realm] has no name, so that no realm takes the file",
        "realm.toml, line 24: principal orders is not defined here, so the realm must have it already",
        "realm.toml, line 45: principal orders is not defined here, so the realm must have it already",
    )
    defined = WHOLE.replace("approvals = {}", "orders = {}").replace("max_ticket_s = 1800", "name = 'kdc.example'")
    assert [line.split(": ")[:2] for line in warnings_of(read(defined))] == [
        ["realm.toml, line 42", "principal approvals is not defined here, so the realm must have it already"]
    ]


# Each: what is replaced in WHOLE, by what; line, code, and what cause and remedy say.
SLIPS = [
    ("version = 1", "", 1, "value-invalid", "the version is missing", "Begin the file with `version = 1`"),
    ("version = 1", "version = 2", 1, "value-invalid", "version 2", "Use the program that wrote the file"),
    ("version = 1", "version = true", 1, "value-invalid", "no version", "Begin the file with"),
    ("version = 1", "version = '1'", 1, "value-invalid", "no version", "Begin the file with"),
    ("[groups]", "[group]", 22, "value-invalid", "unknown key 'group'", "Did you mean `groups`?"),
    ("[realm]", "x = 1\n[realm]", 3, "value-invalid", "unknown key 'x'", "Known here: version, realm, principals,"),
    ("[realm]", "[[realm]]", 3, "value-invalid", "realm is not a table", "`[realm]`"),
    ("max_ticket_s = 1800", "max_ticket = 1800", 5, "value-invalid", "'max_ticket'", "Did you mean `max_ticket_s`?"),
    ("= 1800", "= '30m'", 5, "value-invalid", "max_ticket_s is a whole number", "`max_ticket_s = 3600`"),
    ("= 1800", "= true", 5, "value-invalid", "max_ticket_s is a whole number", "`max_ticket_s = 3600`"),
    ("= 1800", "= 90000", 5, "value-invalid", "max_ticket_s is 1 to 86400 seconds", "`max_ticket_s = 3600`"),
    ("https://kdc.example", "kdc.example", 4, "value-invalid", "not an http(s) URL", "`issuer = "),
    ("approvals = {}", "approvals = 7", 8, "value-invalid", "approvals is not a table", "`[principals.approvals]`"),
    ("approvals = {}", "Approvals = {}", 8, "name-invalid", "'Approvals'", "Write lower-case letters"),
    ("approvals = {}", '"kdc/x" = {}', 8, "conflict", "names under kdc/", "is the KDC's"),
    ("approvals = {}", "shop.orders = {}", 8, "value-invalid", "orders is a table within principal shop", "quotes"),
    ("approvals = {}", "gateway = {}", 10, "value-invalid", "gateway", "TOML"),
    ('"none"', '"never"', 11, "value-invalid", "neither seconds from 1 nor 'none'", "`max_ticket_s = 600`"),
    ('"none"', "0", 11, "value-invalid", "neither seconds from 1 nor 'none'", "`max_ticket_s = 600`"),
    ('"none"', "60.0", 11, "value-invalid", 'a whole number of seconds, or "none"', "`max_ticket_s = 600`"),
    ('"kdc-x/y"', "true", 13, "value-invalid", "true names no principal", "`default_audience ="),
    ('"kdc-x/y"', '"A B"', 13, "name-invalid", "principal 'A B'", "`default_audience ="),
    ('"kdc-x/y"', '"kdc/tgt"', 13, "conflict", "belong to the KDC", "`default_audience ="),
    ("oauth = true", "oauth = 1", 12, "value-invalid", "oauth is true or false", "`oauth = true`"),
    ("disabled = false", "uid = 17", 16, "value-invalid", "unknown key 'uid'", "Known here: disabled,"),
    ('"::ffff', '"10.0.0.1/8", "::ffff', 18, "value-invalid", "'10.0.0.1/8' is no network", "`sources = "),
    ('sources = [', "sources = [1, ", 18, "value-invalid", "sources is a list of texts", "`sources = "),
    ('"HS512"', '"RS256"', 19, "value-invalid", "JWT algorithm 'RS256'", "`jwt = { alg"),
    ('alg = "HS512", ', "algorithm = 1, ", 19, "value-invalid", "unknown key 'algorithm'", "Known here: alg, audience"),
    ("https://y.example", "a b", 19, "value-invalid", "audience 'a b'", "`jwt = { audience"),
    ('{ alg = "HS512", audience = "https://y.example" }', "true", 19, "value-invalid", "jwt is a table, or", "jwt ="),
    ('"region"', '"sub"', 20, "value-invalid", "claim sub has a meaning", "`token_claims ="),
    ("edge = []", 'edge = "orders"', 23, "value-invalid", "edge is a list of texts", '`edge = ["orders"]`'),
    ("edge = []", 'Edge = ["orders"]', 23, "name-invalid", "'Edge'", "Write lower-case letters"),
    ("edge = []", 'edge = [\n"a",\n"group:b"]', 25, "value-invalid", "groups hold no groups", "principals themselves"),
    ("edge = []", 'edge = ["a",\n"b",\n"a"]', 25, "already-exists", "a is in this group twice", "one of the two"),
    ("edge = []", 'edge = ["a",\n"kdc/tgt"]', 24, "conflict", "names under kdc/", "is the KDC's"),
    ("[[rules]]", "[rules]", 44, "value-invalid", "Cannot overwrite a value", "TOML"),
    ('client = "gateway"\n', "", 26, "value-invalid", "client is missing", 'Add client: `client = "gateway"`'),
    ('target = "group:backends"\n', "", 26, "value-invalid", "target is missing", "Add target"),
    ('"gateway"', '"Gateway"', 27, "name-invalid", "'Gateway'", '`client = "gateway"`'),
    ('"gateway"', '"kdc/admin"', 27, "conflict", "names under kdc/", "`client ="),
    ("group:backends", "group:backend", 28, "not-found", "no group is called backend", "Write group:backends"),
    ("group:backends", "group:x", 28, "not-found", "no group is called x", "Define it in the table [groups]: `x = []`"),
    ("scopes = [", "scope = [", 29, "value-invalid", "unknown key 'scope'", "Did you mean `scopes`?"),
    ('["write", "read"]', '["write",\n"Read"]', 30, "scope-invalid", "'Read'", '`scopes = ["read"]`'),
    ('["write", "read"]', '["write",\n["read"]]', 30, "value-invalid", "scopes is a list of texts", "`scopes ="),
    ("max_ttl_s = 600", "max_ttl = 600", 30, "value-invalid", "unknown key 'max_ttl'", "`max_ttl_s`"),
    ("max_ttl_s = 600", "max_ttl_s = -1", 30, "value-invalid", "max_ttl_s is 1 to", "`max_ttl_s = 600`"),
    ("delegable = true", "delegable = 'yes'", 31, "value-invalid", "true or false", "`delegable = true`"),
    ('["user/*"]', '["user*"]', 32, "value-invalid", "subject pattern 'user*'", '`subjects = ["user/*"]`'),
    ('"ada"]', '\n"a**"]', 34, "value-invalid", "subject pattern 'a**'", '`behalf = ["user/*"]`'),
    ('from = ["10.0.0.0/8"]', 'from = ["10/8"]', 34, "value-invalid", "'10/8' is no network", "`from ="),
    ('from = ["10.0.0.0/8"]', 'sources = ["10.0.0.0/8"]', 34, "value-invalid", "unknown key 'sources'", "from"),
    ('"group:edge"', '"group:egde"', 35, "not-found", "no group is called egde", "Write group:edge"),
    ('"group:edge"', '"Edge"', 35, "name-invalid", "'Edge'", "`deny_via ="),
    ("require_via = []", 'require_via = ["group:edge"]', 26, "value-invalid", "both in deny_via and in", "two rules"),
    ("max_depth = 3", "max_depth = 9", 37, "value-invalid", "max_depth is 0 to 8, not 9", "`max_depth = 3`"),
    ("callbacks = true", "callback = true", 38, "value-invalid", "unknown key 'callback'", "`callbacks`"),
    ('"PUT", "GET"', '"PUT", "get"', 39, "value-invalid", "methods", '`methods = ["GET"]`'),
    ('"/orders"', '"orders"', 40, "value-invalid", "path", '`path = "/orders"`'),
    ('"/orders"', '["/orders"]', 40, "value-invalid", "path is a text in quotes", '`path = "/orders"`'),
    ('"10.1.2.3"', '"localhost"', 41, "value-invalid", "'localhost' is no network", "`peers ="),
    ("approvals=four-eyes", "approvals", 42, "value-invalid", "write DISCHARGER=PREDICATE", "`discharges ="),
    ('"approvals=four-eyes"', '"a=1","a=2","a=3","a=4","a=5"', 42, "value-invalid", "5 discharges", "`discharges ="),
    ("delegable = true", "jwt = true", 26, "value-invalid", "a JWT cannot carry caveats", "two rules"),
    ("jwt = true\n", 'jwt = true\n[[rules]]\njwt = true\nscopes = []\ntarget = "kdc-x/y"\nclient = "orders"\n', 48,
     "already-exists", "the same rule as on line 44", "one of the two"),
    ("path = ", 'path = "/a"\npath = ', 41, "value-invalid", "overwrite", "TOML"),
    ("[realm]", "[realm", 3, "value-invalid", "Expected", "TOML"),
    ("jwt = true", "jwt = [", 47, "value-invalid", "", "TOML"),
]  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_slip_is_refused_with_its_line_and_a_way_out(slip):
    there, instead, line, code, cause, remedy = slip
    assert there in WHOLE
    error = refused(WHOLE.replace(there, instead, 1))
    assert error.code == code
    assert error.detail.startswith(f"realm.toml, line {line}: "), error.detail
    assert cause in error.detail
    assert remedy in error.remedy


@pytest.mark.parametrize("rules", ["[rules]\nclient = 'a'", "rules = 'a'", "rules = [{}, 1]"])
def test_rules_are_a_list_of_tables(rules):
    error = refused(f"version = 1\n{rules}")
    assert error.detail == "realm.toml, line 2: rules are a list of tables"
    assert error.remedy == "Begin each rule with `[[rules]]`."


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version = 1\n[principals.a]\nsecret = 'x'", 3),
        ("version = 1\n[principals.a]\nKEY = 'hunter2'", 3),
        ("version = 1\n[principals.a]\nclient-secret = 'hunter2'", 3),
        ("version = 1\n[principals.a]\nkeys = ['hunter2']", 3),
        ("version = 1\n[keys]\na = 'hunter2'", 2),
        ("version = 1\n[principals.a]\njwt = { k = 'hunter2' }", 3),
        ("version = 1\n[[rules]]\npassword = 'hunter2'", 3),
        ("version = 1\n# old: ort1k_abcdefghijklmnop\n", 2),
        ("version = 1\n[principals.ort1k_abcdefghijklmnop]\n", 2),
        ("not even TOML\nort1s_abcdefghijklmnop", 2),
    ],
)
def test_secret_is_refused_and_not_repeated(text, line):
    error = refused(text)
    assert error.detail.startswith(f"realm.toml, line {line}: ")
    assert "keys and secrets never stand in a realm file" in error.remedy
    assert not re.search("hunter2|abcdefghijklmnop", str(error))


@pytest.mark.parametrize("text", ["version = 1\nx = " + "[" * 100_000, "x = " + "9" * 5000, "x = {" * 20_000])
def test_monstrous_text_is_refused(text):
    assert refused(text).code == "value-invalid"


words = st.sampled_from(
    ["version", "realm", "principals", "groups", "rules", "client", "jwt", "from", "scopes", "a", "1", "true", '"x"',
     "[]", "{}", "=", "=", "[", "]", "[[", "]]", ".", "\n", "\n", "#", "{", "}", ",", "'''", "-1", "1979-05-27"]
)  # fmt: skip


@given(st.lists(words, max_size=30).map(" ".join) | st.text(max_size=50))
def test_any_text_is_read_or_refused_with_a_line(text):
    refusal = refusal_of(f"version = 1\n{text}")
    assert refusal is None or re.match(r"realm\.toml, line [0-9]+: ", refusal.detail)


def test_page_shows_every_key():
    """docs/realm-file.md, whose largest sample can be read."""
    page = Path(__file__).parents[3] / "docs" / "realm-file.md"
    sample = max(re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE), key=len)
    read(sample)
    facts = [one.name for kind in (RealmLimits, PrincipalFacts, JwtFacts) for one in fields(kind)]
    assert [key for key in (*_RULE, *facts) if not re.search(rf"(\n|[{{,] ){key} = ", sample)] == []
