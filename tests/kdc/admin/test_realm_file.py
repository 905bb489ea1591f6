"""A realm file becomes true all at once, with the audit trail of the single commands, and the second time nothing."""

from textwrap import dedent
from typing import Any

import pytest
from attrs import asdict, define, evolve

from orthros_kdc.admin import groups, jwt_keys, keys, oauth_secrets, principals, realm, realm_file, rules
from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.policy.rule import CONDITIONS
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_protocol.errors import Misconfigured

FILE = dedent(
    """\
    version = 1
    [realm]
    name = "example.org"
    issuer = "https://kdc.example"
    max_ticket_s = 1800
    [principals.orders]
    max_ticket_s = 600
    sources = ["10.0.0.0/8"]
    jwt = { alg = "HS512" }
    token_claims = ["tenant"]
    [principals.gateway]
    oauth = true
    disabled = true
    [groups]
    edge = ["gateway"]
    empty = []
    [[rules]]
    client = "group:edge"
    target = "orders"
    scopes = ["read"]
    deny_via = ["group:empty"]
    discharges = ["gateway=four-eyes"]
    [[rules]]
    client = "orders"
    target = "gateway"
    """
)


def read(text):
    """A file that does not name its realm does so at its end, so that lines keep their numbers."""
    named = text if "[realm]" in text else f'{text}\n[realm]\nname = "example.org"\n'
    return realm_file.read(named, source="realm.toml")


def everything(tx):
    people = tx.principals()
    uids = [person.uid for person in people]
    return (
        tx.realm(), people, [tx.keys_of(uid) for uid in uids], [tx.jwt_keys_of(uid) for uid in uids],
        [tx.oauth_secrets_of(uid) for uid in uids], tx.policy(), tx.anchors(),
    )  # fmt: skip


async def applied(admin, text, most_removals=99, **options):
    options["most_removals"] = most_removals
    return [str(change) for change in (await realm_file.apply(admin, read(text), **options)).changes]


async def refused(admin, text, **options):
    before = await admin.store.read(everything)
    with pytest.raises(Misconfigured) as caught:
        await realm_file.apply(admin, read(text), **options)
    assert await admin.store.read(everything) == before
    return caught.value


@pytest.mark.parity("P6")
async def test_a_file_is_made_true_in_this_order(admin):
    planned = await realm_file.diff(admin, read(FILE))
    assert await applied(admin, FILE) == [str(change) for change in planned.changes] == [
        "~ realm: issuer https://example.org -> https://kdc.example, max_ticket_s 3600 -> 1800",
        "+ principal orders (max_ticket_s 600)",
        "~ principal orders: sources anywhere -> 10.0.0.0/8",
        "+ principal orders: jwt HS512 for orders@example.org, claims tenant",
        "+ principal gateway",
        "+ principal gateway: oauth",
        "~ principal gateway: disabled",
        "+ group edge",
        "+ group edge: gateway",
        "+ group empty",
        "+ rule group:edge -> orders [read] (never via group:empty, with discharge gateway=four-eyes)",
        "+ rule orders -> gateway [no scopes]",
    ]  # fmt: skip
    found = await realm_file.state(admin)
    assert (found.issuer, found.limits) == ("https://kdc.example", RealmLimits(max_ticket_s=1800))
    assert {name: facts.disabled for name, facts in found.principals.items()} == {"gateway": True, "orders": False}


async def test_second_time_nothing_is_left_to_do(admin, store, trail):
    await applied(admin, FILE)
    trail.events.clear()
    before = await store.read(everything)
    assert await applied(admin, FILE) == []
    assert await store.read(everything) == before
    assert trail.events == []


@pytest.mark.parity("K16")
async def test_trail_is_that_of_the_single_commands(admin, trail):
    """One event for each change, with the same facts."""
    await applied(admin, FILE)
    at_once = list(trail.events)
    await applied(admin, "version = 1", prune=True)
    await realm.change(admin, issuer="https://example.org", limits=asdict(RealmLimits()))
    trail.events.clear()

    await realm.change(admin, issuer="https://kdc.example", limits={"max_ticket_s": 1800})
    await principals.add(admin, "orders", max_ticket_s=600)
    await principals.set_caps(admin, "orders", max_ticket_s=600, max_jwt_s=None, sources=["10.0.0.0/8"])
    await jwt_keys.enable(admin, "orders", alg="HS512", claims=["tenant"])
    await principals.add(admin, "gateway")
    await oauth_secrets.enable(admin, "gateway")
    await principals.disable(admin, "gateway")
    await groups.add(admin, "edge")
    await groups.add_member(admin, "edge", "gateway")
    await groups.add(admin, "empty")
    for rule in read(FILE).rules:
        said = {row.attribute: row.of(rule) for row in CONDITIONS}
        await rules.allow(admin, str(rule.client), str(rule.target), scopes=rule.scopes, **said)

    def lasting(events):
        chance = {"uid", "kid", "secret_id", "rule"}
        return [(event, {key: fact for key, fact in facts.items() if key not in chance}) for event, facts in events]

    assert lasting(at_once) == lasting(trail.events)
    assert {frozenset(facts) for _, facts in at_once} == {frozenset(facts) for _, facts in trail.events}


async def test_removals_have_the_trail_of_the_single_commands(admin, trail):
    text = FILE.replace("disabled = true\n", "")
    await applied(admin, text)
    smaller = dedent(
        """\
        version = 1
        [principals.orders]
        jwt = false
        [principals.gateway]
        oauth = false
        disabled = false
        [groups]
        empty = ["orders"]
        """
    )
    trail.events.clear()
    assert await applied(admin, smaller) == [
        "- principal orders: jwt; its JWT keys are erased",
        "- principal gateway: oauth; its client secrets are erased",
        "+ group empty: orders",
        "- rule 1: group:edge -> orders [read] (never via group:empty, with discharge gateway=four-eyes)",
        "- rule 2: orders -> gateway [no scopes]",
        "- group edge, members: gateway",
    ]
    assert trail.names == [
        "jwt.disabled", "oauth.disabled", "group.member-added", "rule.removed", "rule.removed", "group.deleted",
    ]  # fmt: skip
    assert trail.events[3][1] == {"actor": "ops/ada", "rules": "1", "client": "group:edge", "target": "orders"}
    assert trail.events[5][1] == {"actor": "ops/ada", "group": "edge", "members": 1, "rules": ""}
    assert await applied(admin, "version = 1\n[groups]\nempty = []") == ["- group empty: orders"]


async def test_rules_that_stay_keep_their_number(admin):
    await applied(admin, FILE)
    before = await rules.listed(admin)
    extra = '[[rules]]\nclient = "gateway"\ntarget = "orders"\nscopes = ["write"]\n'
    head, first, second = FILE.split("[[rules]]\n")
    turned = f"{head}{extra}[[rules]]\n{second}[[rules]]\n{first}"
    assert await applied(admin, turned) == ["+ rule gateway -> orders [write]"]
    assert (await rules.listed(admin))[:2] == before
    changed = FILE.replace('scopes = ["read"]', 'scopes = ["read"]\nmax_ttl_s = 60')
    assert [line[:8] for line in await applied(admin, changed)] == ["+ rule g", "- rule 1", "- rule 3"]
    assert [rule.rule_id for rule in await rules.listed(admin)] == [2, 4]


OLD = """\
version = 1
[principals.old]
[groups]
older = ["old"]
[[rules]]
client = "old"
target = "group:older"
"""


class LastDrop:
    """Chance that is used up when it is needed once more."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, size: int) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise OSError("no chance is left")
        return bytes([self.left]) * size


KEYS = 6
"""How often making FILE true takes chance: for the roots of two principals, a JWT key, and the seal of each."""


async def test_nothing_has_happened_when_the_last_key_cannot_be_made(admin, store, trail):
    await applied(admin, OLD)
    before = await store.read(everything)
    trail.events.clear()
    for left in range(KEYS):
        with pytest.raises(OSError, match="no chance is left"):
            await applied(evolve(admin, vault=evolve(admin.vault, entropy=LastDrop(left))), FILE, prune=True)
        assert await store.read(everything) == before
        assert trail.events == []
    await applied(evolve(admin, vault=evolve(admin.vault, entropy=LastDrop(KEYS))), FILE, prune=True)
    assert set((await realm_file.state(admin)).principals) == {"orders", "gateway"}


@define
class FullDisk:
    """An audit trail with room for so many entries."""

    trail: Any
    room: int

    def record_all(self, tx, changes):
        if self.room < len(changes):
            raise OSError("the audit disk is full")
        self.room -= len(changes)
        self.trail.record_all(tx, changes)


@pytest.mark.parity("K16")
async def test_nothing_has_happened_when_the_last_entry_cannot_be_written(admin, store, trail):
    """No change without its event, and here no event's change without all others."""
    await applied(admin, OLD)
    before = await store.read(everything)
    entries = len((await realm_file.diff(admin, read(FILE), prune=True)).changes)
    for room in (0, 1, entries - 1):
        with pytest.raises(OSError, match="the audit disk is full"):
            await applied(evolve(admin, audit=FullDisk(trail, room)), FILE, prune=True)
        assert await store.read(everything) == before
    await applied(evolve(admin, audit=FullDisk(trail, entries)), FILE, prune=True)
    assert await applied(admin, FILE, prune=True) == []


async def test_what_changed_since_it_was_looked_at_is_not_applied(admin):
    seen = await realm_file.diff(admin, read(FILE))
    await principals.add(admin, "late")  # of no concern: the file leaves it alone
    await principals.add(admin, "orders")
    error = await refused(admin, FILE, seen=seen)
    assert (error.code, "changed meanwhile" in error.detail) == ("conflict", True)
    again = await realm_file.diff(admin, read(FILE))
    assert await realm_file.apply(admin, read(FILE), seen=again) == again


async def test_difference_is_taken_when_it_is_made(admin):
    """A rule that came between looking and applying does not survive."""
    await applied(admin, FILE)
    await rules.allow(admin, "gateway", "orders", scopes=("admin",))
    assert await applied(admin, FILE) == ["- rule 3: gateway -> orders [admin]"]


async def test_what_the_file_does_not_say_of_a_principal_stays_and_is_told(admin):
    """A switch that was thrown in need, such as `principal disable`, is not undone by a file that is silent on it."""
    await applied(admin, FILE.replace("disabled = true\n", ""))
    await principals.disable(admin, "orders")
    await principals.add(admin, "visitor")
    short = (
        "version = 1\n[principals.orders]\n[principals.gateway]\noauth = true\n[groups]\nedge=['gateway']\nempty=[]\n"
    )
    plan = await realm_file.apply(admin, read(short + "[[rules]]" + FILE.split("[[rules]]", 1)[1]))
    assert plan.changes == ()
    assert plan.left == (
        "principal orders: disabled yes",
        "principal orders: max_ticket_s 600",
        "principal orders: sources 10.0.0.0/8",
        "principal orders: jwt HS512 for orders@example.org",
        "principal orders: token_claims tenant",
        "principal visitor: not in the file",
    )


async def test_a_default_target_comes_and_goes_with_the_file(admin, trail):
    """The client may stand before its target; what the single commands record is what the file records."""
    text = "version = 1\n[principals.gateway]\noauth = true\ndefault_audience = 'orders'\n[principals.orders]\n"
    assert await applied(admin, text) == [
        "+ principal gateway", "+ principal gateway: oauth",
        "~ principal gateway: default_audience none -> orders", "+ principal orders",
    ]  # fmt: skip
    assert await applied(admin, text) == []
    events = [(name, facts) for name, facts in trail.events if name == "oauth.audience-changed"]
    trail.events.clear()
    await oauth_secrets.set_default_audience(admin, "gateway", "orders")
    assert trail.events == events
    silent = text.replace("default_audience = 'orders'\n", "")
    assert (await realm_file.apply(admin, read(silent))).left == ("principal gateway: default_audience orders",)
    assert await applied(admin, text.replace("'orders'", "false")) == [
        "~ principal gateway: default_audience orders -> none"
    ]
    await applied(admin, text)
    off = await realm_file.apply(admin, read(silent.replace("true", "false")))
    assert ([change.event for change in off.changes], off.left) == (["oauth.disabled"], ())
    assert (await realm_file.state(admin)).principals["gateway"].default_audience is None


async def test_a_default_target_needs_a_client_and_a_principal(admin):
    text = "version = 1\n[principals.gateway]\noauth = true\ndefault_audience = 'orders'\n"
    error = await refused(admin, text)
    assert (error.code, error.detail) == ("not-found", "realm.toml, line 4: no principal is called orders")
    await principals.add(admin, "orders")
    error = await refused(admin, text.replace("oauth = true", "oauth = false"))
    assert (error.code, error.remedy) == ("conflict", "Add `oauth = true`.")
    error = await refused(admin, text, prune=True)
    assert error.code == "conflict"
    assert "line 4: orders would be deleted" in error.detail


async def test_limits_are_lifted_where_the_file_says_so(admin):
    await applied(admin, FILE)
    lifted = FILE.replace("max_ticket_s = 600", 'max_ticket_s = "none"\nmax_jwt_s = 60').replace('["10.0.0.0/8"]', "[]")
    lifted = lifted.replace('["tenant"]', "[]").replace("disabled = true", "disabled = false")
    assert await applied(admin, lifted) == [
        "~ principal orders: max_ticket_s 600 -> none, max_jwt_s none -> 60, sources 10.0.0.0/8 -> anywhere",
        "~ principal orders: token_claims tenant -> none",
        "~ principal gateway: enabled",
    ]


async def test_principals_outside_the_file_are_deleted_on_demand_only(admin):
    await applied(admin, OLD)
    text = "version = 1\n[principals.new]"
    assert "- rule 1: old -> group:older [no scopes]" in await applied(admin, text)
    assert set((await realm_file.state(admin)).principals) == {"new", "old"}
    (gone,) = await applied(admin, text, prune=True)
    assert gone.startswith("- principal old: DELETED with its keys; ")
    assert set((await realm_file.state(admin)).principals) == {"new"}


async def test_nobody_is_deleted_whom_the_file_names(admin):
    await applied(admin, FILE)
    cut = FILE.replace("[principals.gateway]\noauth = true\ndisabled = true\n", "")
    assert await applied(admin, cut) == []
    error = await refused(admin, cut, prune=True)
    assert (error.code, error.detail) == (
        "conflict", "realm.toml, line 12: gateway would be deleted, for the file does not define it",
    )  # fmt: skip
    assert 'Add `[principals."gateway"]` to the file' in error.remedy


@pytest.mark.parametrize(
    ("text", "line", "near"),
    [
        ("[groups]\na = [\n'orders',\n'order']", 5, "Write orders, or add it"),
        ("[[rules]]\nclient = 'zzz'\ntarget = 'orders'", 3, "Add it to the file"),
        ("[[rules]]\nclient = 'orders'\ntarget = 'zzz'", 4, '`[principals."zzz"]`'),
        ("[[rules]]\nclient = 'orders'\ntarget = 'orders'\nrequire_via = ['orders',\n'zzz']", 6, "Add it to the file"),
        ("[[rules]]\nclient = 'orders'\ntarget = 'orders'\ndischarges = ['zzz=a']", 5, "Add it to the file"),
    ],
)
async def test_a_name_that_nobody_bears_is_refused(admin, text, line, near):
    await principals.add(admin, "orders")
    error = await refused(admin, f"version = 1\n{text}")
    assert error.code == "not-found"
    assert error.detail.startswith(f"realm.toml, line {line}: no principal is called ")
    assert near in error.remedy


async def test_a_path_through_this_realm_is_named_without_it(admin):
    await principals.add(admin, "orders")
    text = "version = 1\n[[rules]]\nclient = 'orders'\ntarget = 'orders'\ndeny_via = ['orders@example.org']"
    error = await refused(admin, text)
    assert (error.code, error.remedy) == ("value-invalid", "Write orders.")
    assert error.detail.startswith("realm.toml, line 5: orders@example.org would match nobody")
    await applied(admin, text.replace("@example.org", "@other.example"))


async def test_somebody_of_the_same_name_is_somebody_else(admin, store):
    """A principal that was deleted and comes back by the file has another uid and another key, and its rules anew."""
    await applied(admin, FILE)
    before = await keys.listed(admin, "gateway")
    for rule in await rules.listed(admin):
        await rules.remove(admin, rule.rule_id)
    await principals.delete(admin, "gateway")
    assert "+ principal gateway" in await applied(admin, FILE)
    after = await keys.listed(admin, "gateway")
    assert (after[0].kvno, after[0].state) == (1, "active")
    assert (after[0].uid, after[0].kid_as) != (before[0].uid, before[0].kid_as)
    assert [rule.rule_id for rule in await rules.listed(admin)] == [3, 4]


async def test_keys_of_new_principals_and_targets_can_be_exported(admin):
    await applied(admin, FILE)
    assert (await keys.export(admin, "orders")).kvnos == (1,)
    assert (await jwt_keys.export(admin, "orders"))["alg"] == "HS512"
    (client,) = await oauth_secrets.listed(admin)
    assert client.secrets == ()  # nobody would have received it
    await oauth_secrets.rotate(admin, "gateway")
    assert await applied(admin, FILE) == []


@pytest.mark.parametrize(("there", "instead"), [('"HS512"', '"opaque"'), ('"HS512"', '"HS512", audience = "x"')])
async def test_jwts_of_another_kind_are_enabled_anew_by_hand(admin, there, instead):
    await applied(admin, FILE)
    error = await refused(admin, FILE.replace(there, instead))
    assert (error.code, "realm.toml, line 9: orders has JWTs with " in error.detail) == ("conflict", True)
    assert "`orthros-admin jwt disable orders`" in error.remedy
    await jwt_keys.disable(admin, "orders")
    assert len(await applied(admin, FILE.replace(there, instead))) == 1


async def test_claims_need_jwts(admin):
    error = await refused(admin, FILE.replace('jwt = { alg = "HS512" }\n', ""))
    assert error.detail == (
        "realm.toml, line 9: JWTs are not enabled for orders, so that no claim can be put into them"
    )


async def test_no_file_is_applied_before_there_is_a_realm(nobodys_realm):
    with pytest.raises(Misconfigured, match="database-invalid"):
        await realm_file.apply(nobodys_realm, read(FILE))


async def test_nothing_is_stored_under_a_master_key_that_is_not_the_realms(admin, store):
    stranger = evolve(admin, vault=Vault(realm="example.org", master=MasterKey(bytes(32), number=1)))
    before = await store.read(everything)
    with pytest.raises(Misconfigured, match="master-key-wrong"):
        await realm_file.apply(stranger, read(FILE))
    assert await store.read(everything) == before


async def test_a_file_names_its_realm(admin):
    """A file of another realm would empty this one."""
    error = await refused(admin, "version = 1\n[realm]\nname = 'example.com'\n")
    assert (error.code, error.detail) == (
        "conflict", "realm.toml, line 3: the file is of realm example.com, and this realm is example.org",
    )  # fmt: skip
    error = await refused(admin, "version = 1\n[realm]\nmax_jwt_s = 60\n")
    assert (error.code, error.remedy) == ("value-invalid", 'Add `name = "example.org"` to the table [realm].')
    assert error.detail == "realm.toml, line 2: the file does not say which realm it is of"


@pytest.mark.parity("K20")
@pytest.mark.parametrize("condition", ["subjects", "behalf"])
async def test_pruning_does_not_delete_a_subject_from_under_a_rule(admin, condition):
    """A later principal of the name would be acted for."""
    rule = f"[[rules]]\nclient = 'orders'\ntarget = 'orders'\n{condition} = ['ada', 'web']"
    text = f"version = 1\n[principals.orders]\n{rule}"
    await principals.add(admin, "web")
    await applied(admin, text)  # ada is no principal, and need not be one
    error = await refused(admin, text, prune=True)
    assert (error.code, error.detail) == (
        "conflict", "realm.toml, line 6: web would be deleted, for the file does not define it",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules_there", "rules_left", "refusal"),
    [
        (1, 0, None),
        (19, 18, None),
        (19, 17, "2 of 19 rules go"),
        (20, 18, None),
        (120, 109, "11 removals, at most 10"),
        (120, 110, None),
    ],
)
async def test_few_removals_need_no_word(admin, rules_there, rules_left, refusal):
    """A file that was cut short does not empty the realm: 10 at most, and a tenth of what there is."""

    def text(count):
        each = "".join(f"[[rules]]\nclient = 'orders'\ntarget = 'orders'\nscopes = ['s{n}']\n" for n in range(count))
        return f"version = 1\n[principals.orders]\n{each}"

    await applied(admin, text(rules_there))
    gone = rules_there - rules_left
    if refusal is not None:
        error = await refused(admin, text(rules_left))
        assert (error.code, error.detail.startswith(refusal)) == ("conflict", True)
        assert f"`--max-removals {gone}`" in error.remedy
        assert (await refused(admin, text(rules_left), most_removals=gone - 1)).code == "conflict"
    assert len(await applied(admin, text(rules_left), most_removals=None if refusal is None else gone)) == gone


async def test_removals_of_each_kind_are_counted_against_that_kind(admin):
    """Many principals do not excuse the loss of most rules, nor of a group's members."""
    names = [f"p{number}" for number in range(40)]
    people = "".join(f"[principals.{name}]\noauth = true\n" for name in names)
    group = f"[groups]\nall = {names[:4]}\n"
    rules_of_it = "".join(f"[[rules]]\nclient = 'p0'\ntarget = 'p{number}'\n" for number in range(3))
    whole = f"version = 1\n{people}{group}{rules_of_it}"
    await applied(admin, whole)
    for change, refusal in (
        (whole.replace(rules_of_it, ""), "3 of 3 rules"),
        (whole.replace(str(names[:4]), "['p0', 'p1']"), "2 of 5 groups"),
        (whole.replace("oauth = true", "oauth = false", 5), "5 of 40 principals"),
    ):
        assert (await refused(admin, change)).detail.startswith(refusal)
