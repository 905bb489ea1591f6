"""`orthros_kdc.testing`: a user's own rules, asked in their tests as the KDC is asked."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orthros_kdc.admin import decisions, realm_file
from orthros_kdc.policy.ask_and_grant import Ask
from orthros_kdc.testing import Realm
from orthros_protocol.errors import LocalMisuse, Misconfigured

FILE = """\
version = 1

[realm]
name = "shop.example"
max_ticket_s = 1800

[principals.web]
[principals.gateway]
sources = ["10.0.0.0/8"]
[principals.orders]
max_ticket_s = 900
[principals.ledger]
jwt = {}
[principals.legacy]
disabled = true

[groups]
frontends = ["web", "gateway"]

[[rules]]
client = "group:frontends"
target = "orders"
scopes = ["read", "write"]
delegable = true
until = "2027-01-31"

[[rules]]
client = "orders"
target = "ledger"
scopes = ["post"]
behalf = ["*"]
deny_via = ["legacy"]
methods = ["POST"]

[[rules]]
client = "orders"
target = "ledger"
scopes = ["report"]
jwt = true
behalf = ["*"]

[[rules]]
client = "legacy"
target = "orders"
"""


@pytest.fixture
def realm() -> Realm:
    return Realm.from_text(FILE, at="2027-01-01")


@pytest.mark.parity("B13")
def test_a_users_test_of_their_own_policy_in_ten_lines(tmp_path: Path) -> None:
    (tmp_path / "realm.toml").write_text(FILE)
    realm = Realm.from_file(tmp_path / "realm.toml", at="2027-01-01")
    assert realm.decide("web", "orders", scopes=["read"]).scopes == {"read"}
    assert realm.decide("web", "orders").ttl_s == 900
    assert realm.decide("web", "ledger").refused == "not-granted"
    assert realm.decide("gateway", "orders", from_address="192.0.2.1").refused == "source-refused"
    assert realm.decide("orders", "ledger", scopes=["post"], behalf="web").caveats == {"methods POST"}
    assert realm.decide("orders", "ledger", via=["web", "legacy"]).refused == "evidence-refused"
    realm.clock.advance(31 * 86_400)
    assert realm.decide("web", "orders").refused == "not-granted"


@pytest.mark.parity("B13")
async def test_it_is_what_the_kdc_answers(admin, realm: Realm) -> None:
    """The same file, applied to a store: every pair comes out the same, in the words of `policy explain`."""
    document = realm_file.read(FILE.replace("shop.example", "example.org"))
    await realm_file.apply(admin, document)
    names = ("web", "gateway", "orders", "ledger", "legacy")
    for client in names:
        for target in names:
            stored = await decisions.explain(admin, client, Ask(target=target))
            asked = realm.decide(client, target, at=admin.now())
            assert str(asked) == "\n".join(stored.lines())


def test_a_refusal_says_why_and_what_would_allow_it(realm: Realm) -> None:
    refused = realm.decide("web", "ledger", scopes=["post"])
    assert (refused.scopes, refused.ttl_s, refused.delegable, refused.caveats) == (frozenset(), 0, False, frozenset())
    assert refused.remedies == ("orthros-admin policy allow web ledger --scope post",)
    assert "no rule names this pair" in repr(refused)


def test_a_grant_says_for_how_long_and_whether_it_may_go_on(realm: Realm) -> None:
    granted = realm.decide("web", "orders", delegable=True, ttl_s=60)
    assert (granted.refused, granted.ttl_s, granted.delegable, granted.remedies) == (None, 60, True, ())
    assert realm.decide("web", "orders", scopes=["read", "admin"], exact=True).refused == "exact-not-possible"
    assert realm.decide("orders", "ledger", kind="jwt", behalf="web").scopes == {"report"}
    assert realm.decide("web", "orders", kind="jwt").refused == "jwt-not-enabled"


@pytest.mark.parametrize(
    ("at", "refused"),
    [
        ("2027-01-30", None),
        ("2027-01-31", "not-granted"),
        ("2027-01-30T23:59:59Z", None),
        (datetime(2027, 1, 31, tzinfo=UTC), "not-granted"),
        (1_801_353_599, None),
    ],
)
def test_a_moment_is_a_date_an_instant_or_a_second(realm: Realm, at, refused) -> None:
    assert realm.decide("web", "orders", at=at).refused == refused


def test_a_moment_without_a_zone_is_none(realm: Realm) -> None:
    with pytest.raises(LocalMisuse, match="no time zone"):
        realm.decide("web", "orders", at=datetime(2027, 1, 1))  # noqa: DTZ001  # what this is about


def test_unless_told_it_is_now(realm: Realm) -> None:
    assert abs(Realm.from_text(FILE).clock.now() / 1000 - time.time()) < 60


def test_a_misspelt_name_is_no_refusal_that_was_expected(realm: Realm) -> None:
    for client, target, via in (("wbe", "orders", []), ("web", "order", []), ("orders", "ledger", ["wbe"])):
        with pytest.raises(Misconfigured, match=r"did you mean (web|orders)"):
            realm.decide(client, target, via=via)
    with pytest.raises(TypeError, match="no word 'scope'"):
        realm.decide("web", "orders", scope=["read"])  # type: ignore[call-arg]
    with pytest.raises(LocalMisuse, match="scopes is a list"):
        realm.decide("web", "orders", scopes="read")
    with pytest.raises(Misconfigured, match="web -> orders: ttl_s: -1 s is negative"):
        realm.decide("web", "orders", ttl_s=-1)


@pytest.mark.parametrize(
    ("slip", "seen"),
    [
        (('target = "orders"', 'target = "order"'), "line 22: no principal is called order"),
        (("deny_via", "deny_vai"), "Did you mean `deny_via`"),
        (("version = 1", "version = 2"), "version 2"),
    ],
)
def test_a_file_that_the_kdc_would_not_take_is_not_taken(slip, seen) -> None:
    with pytest.raises(Misconfigured) as refused:
        Realm.from_text(FILE.replace(*slip), source="realm.toml")
    assert str(refused.value).count("realm.toml, line")
    assert seen in str(refused.value)


def test_who_is_in_the_realm_already_need_not_stand_in_the_file() -> None:
    part = FILE.replace("[principals.web]\n", "").replace('name = "shop.example"\n', "")
    with pytest.raises(Misconfigured, match="no principal is called web"):
        Realm.from_text(part)
    realm = Realm.from_text(part, others=["web"], at="2027-01-01")
    assert realm.decide("web", "orders").scopes == {"read", "write"}
    assert repr(realm) == "<Realm test.realm: 5 principals, 4 rules>"


def test_a_table_of_expectations_is_checked_against_the_file(realm: Realm) -> None:
    report = realm.check(
        '[[expect]]\nclient = "web"\ntarget = "orders"\ngranted = ["read"]\n'
        '[[expect]]\nclient = "web"\ntarget = "ledger"\nrefused = "not-granted"\n'
    )
    assert report.checked == 2
    assert [str(one) for one in report.failures] == [
        "entry 1, line 1: expected web -> orders granted read, found granted read write for 900 s"
    ]
    assert realm.check('[[expect]]\nclient = "web"\ntarget = "orders"\ngranted = ["read", "write"]\n').failures == ()
