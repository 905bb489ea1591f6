"""Client secrets, what is used once or revoked, and the facts that tokens rest on, on every store."""

import pytest
import trio
from attrs import evolve

from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.store.base import (
    MOST_REMEMBERED,
    REMEMBER_ASSERTION,
    REMEMBER_MARGIN_S,
    REMEMBER_REVOKED,
    AuditAnchor,
    JwtKeyRecord,
    OAuthSecretRecord,
)
from orthros_protocol.errors import LocalMisuse, Misconfigured, Refused

NOW = 1_800_000_000


@pytest.fixture
async def billing(store):
    return await store.change(lambda tx: tx.add_principal(name="billing", created=1))


@pytest.fixture
async def payroll(store, billing):
    return await store.change(lambda tx: tx.add_principal(name="payroll", created=1))


def secret(uid, secret_id, **changes):
    record = OAuthSecretRecord(uid=uid, secret_id=secret_id, created=5, sealed=b"sealed " + secret_id.encode())
    return evolve(record, **changes)


def remembering(digest, *, uid=16, kind=REMEMBER_ASSERTION, until=NOW + 60, now=NOW):
    return lambda tx: tx.remember(kind, uid, digest, until=until, now=now)


def recalling(digest, *, kind=REMEMBER_ASSERTION, now=NOW):
    return lambda tx: tx.recalls(kind, digest, now=now)


async def test_the_newest_secret_comes_first_even_within_one_second(store, billing):
    for secret_id in ("old", "new"):
        await store.change(lambda tx, secret_id=secret_id: tx.add_oauth_secret(secret(billing.uid, secret_id)))
    found = await store.read(lambda tx: tx.oauth_secrets_of(billing.uid))
    assert found == (secret(billing.uid, "new"), secret(billing.uid, "old"))


async def test_secrets_are_named_once_per_principal(store, billing, payroll):
    await store.change(lambda tx: tx.add_oauth_secret(secret(billing.uid, "a")))
    await store.change(lambda tx: tx.add_oauth_secret(secret(payroll.uid, "a")))
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_oauth_secret(secret(billing.uid, "a", sealed=b"other")))
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.add_oauth_secret(secret(payroll.uid + 1, "a")))


async def test_a_deleted_secret_is_gone_and_the_other_stays(store, billing):
    for secret_id in ("a", "b"):
        await store.change(lambda tx, secret_id=secret_id: tx.add_oauth_secret(secret(billing.uid, secret_id)))
    before = store.peek_head()
    await store.change(lambda tx: tx.delete_oauth_secret(billing.uid, "b"))
    assert store.peek_head() != before
    assert await store.read(lambda tx: tx.oauth_secrets_of(billing.uid)) == (secret(billing.uid, "a"),)
    with pytest.raises(Misconfigured, match="not-found"):
        await store.change(lambda tx: tx.delete_oauth_secret(billing.uid, "b"))


async def test_secrets_go_with_their_principal(store, billing):
    await store.change(lambda tx: tx.add_oauth_secret(secret(billing.uid, "a")))
    await store.change(lambda tx: tx.delete_principal(billing.uid))
    assert await store.read(lambda tx: tx.oauth_secrets_of(billing.uid)) == ()
    assert await store.read(lambda tx: tx.count_secrets_without(b"new")) == 0


@pytest.mark.parity("K13")
async def test_sealed_secrets_are_counted_and_not_shown(store, billing):
    """Lesson 11."""
    await store.change(lambda tx: tx.add_oauth_secret(secret(billing.uid, "a", sealed=b"old bytes")))
    assert await store.read(lambda tx: tx.count_secrets_without(b"new")) == 1
    assert await store.read(lambda tx: tx.count_secrets_without(b"old")) == 0
    assert "old bytes" not in repr(secret(billing.uid, "a", sealed=b"old bytes"))


async def test_the_facts_of_a_principal_come_back_as_they_were_set(store, billing):
    assert (billing.sources, billing.oauth, billing.token_claims) == ((), False, ())
    full = evolve(billing, sources=("10.0.0.0/8", "2001:db8::/32"), oauth=True, token_claims=("region", "tenant"))
    for record in (full, billing):
        await store.change(lambda tx, record=record: tx.set_principal(record))
        assert await store.read(lambda tx: tx.principal_by_name("billing")) == record


@pytest.mark.parity("P6")
async def test_the_subjects_of_a_rule_come_back_in_order(store, billing):
    """A rule says in whose name its client may ask."""

    def allow(tx, *subjects):
        tx.add_rules([Rule(rule_id=0, client=Selector("billing"), target=Selector("billing"), scopes=(), jwt=True,
                           subjects=subjects)])  # fmt: skip

    await store.change(lambda tx: allow(tx, "users/*", "ada"))
    (rule,) = (await store.read(lambda tx: tx.policy())).rules
    assert rule.subjects == ("ada", "users/*")
    with pytest.raises(Misconfigured, match="value-invalid"):
        await store.change(lambda tx: allow(tx, "users*"))
    assert (await store.read(lambda tx: tx.policy())).rules == (rule,)


async def test_what_was_remembered_is_not_new_until_it_ends(store, billing):
    assert await store.change(remembering(b"a"))
    assert not await store.change(remembering(b"a"))
    assert not await store.change(remembering(b"a", uid=billing.uid + 1, now=NOW + 59))
    assert await store.read(recalling(b"a", now=NOW + 59))
    assert not await store.read(recalling(b"a", now=NOW + 60))
    assert await store.change(remembering(b"a", now=NOW + 60, until=NOW + 120))
    assert await store.read(recalling(b"a", now=NOW + 119))


async def test_kinds_and_digests_do_not_mix(store):
    await store.change(remembering(b"a"))
    assert not await store.read(recalling(b"b"))
    assert not await store.read(recalling(b"a", kind=REMEMBER_REVOKED))
    assert await store.change(remembering(b"a", kind=REMEMBER_REVOKED))


@pytest.mark.parametrize("until", [NOW, NOW - 1])
async def test_what_has_ended_is_never_new(store, until):
    """Whoever asks with an old assertion is refused rather than let through unremembered."""
    assert not await store.change(remembering(b"a", until=until))
    assert not await store.read(recalling(b"a", now=until - 1))


async def test_a_clock_that_steps_back_brings_nothing_back(store, billing):
    """Protocol, section 17: a replay after a clock step back. Somebody else's clock was ahead when it cleared up."""
    await store.change(remembering(b"a"))
    await store.change(remembering(b"b", now=NOW + 100, until=NOW + 600))
    assert not await store.change(remembering(b"a", now=NOW + 59))
    assert await store.read(recalling(b"a", now=NOW + 59))


async def test_remembering_is_no_change(store, billing):
    """Else every token would empty every cache of the realm."""
    before = store.peek_head(), (await store.read(lambda tx: tx.policy())).seq
    await store.change(remembering(b"a"))
    await store.change(remembering(b"b", now=NOW + 100, until=NOW + 200))
    assert (store.peek_head(), (await store.read(lambda tx: tx.policy())).seq) == before


async def test_remembering_does_not_hide_a_change_beside_it(store):
    def work(tx):
        tx.remember(REMEMBER_REVOKED, 16, b"a", until=NOW + 1, now=NOW)
        tx.add_principal(name="billing", created=1)
        tx.remember(REMEMBER_REVOKED, 16, b"b", until=NOW + 1, now=NOW)

    before = store.peek_head()
    await store.change(work)
    assert store.peek_head() != before


async def test_a_change_that_raises_remembers_nothing(store):
    def work(tx):
        assert tx.remember(REMEMBER_ASSERTION, 16, b"a", until=NOW + 60, now=NOW)
        tx.set_anchor(AuditAnchor(writer="kdc-1", seq=1, head="aa"))
        raise ValueError("the answer could not be recorded")

    with pytest.raises(ValueError, match="recorded"):
        await store.change(work)
    assert not await store.read(recalling(b"a"))
    assert await store.change(remembering(b"a"))


async def test_a_read_cannot_remember(store):
    with pytest.raises(LocalMisuse, match="wrong-state"):
        await store.read(remembering(b"a"))


async def test_what_was_revoked_stays_so_when_its_holder_is_deleted(store, billing):
    await store.change(remembering(b"a", kind=REMEMBER_REVOKED, uid=billing.uid))
    await store.change(lambda tx: tx.delete_principal(billing.uid))
    assert await store.read(recalling(b"a", kind=REMEMBER_REVOKED))
    assert not await store.change(remembering(b"a", kind=REMEMBER_REVOKED, uid=billing.uid + 1))


async def test_one_holder_cannot_fill_the_store_or_lock_out_another(store, monkeypatch):
    """Whoever fills it is the one who is refused. The cap is lower here, for the sake of time."""
    assert MOST_REMEMBERED == 10_000
    monkeypatch.setattr("orthros_kdc.store.sqlite_tokens.MOST_REMEMBERED", 50)

    def fill(tx):
        news = [
            tx.remember(REMEMBER_ASSERTION, 16, at.to_bytes(4, "big"), until=NOW + 60 + at % 2, now=NOW)
            for at in range(50)
        ]
        assert all(news)

    await store.change(fill)
    with pytest.raises(Refused, match="busy"):
        await store.change(remembering(b"one more"))
    assert not await store.read(recalling(b"one more"))
    assert not await store.change(remembering(bytes(4)))
    assert await store.change(remembering(b"one more", uid=17))
    assert await store.change(remembering(b"one more", kind=REMEMBER_REVOKED))
    assert await store.change(remembering(b"later", now=NOW + 60, until=NOW + 99))
    over = NOW + 60 + REMEMBER_MARGIN_S
    assert await store.change(remembering(b"last", now=over, until=over + 9))
    assert not await store.read(recalling(bytes(4), now=NOW))


async def test_of_many_who_present_one_thing_one_is_first(store):
    """Single use holds also when the same assertion arrives many times at once."""
    answers = []

    async def present():
        answers.append(await store.change(remembering(b"a")))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(present)
    assert sorted(answers) == [False] * 19 + [True]


async def test_a_store_of_this_version_needs_no_upgrade(store, billing):
    before = store.peek_head()
    await store.upgrade()
    assert store.peek_head() == before
    assert await store.read(lambda tx: tx.principal_by_name("billing")) == billing


async def test_a_target_is_found_by_the_id_of_a_jwt_key(store, billing, payroll):
    def keys(tx):
        tx.add_jwt_key(JwtKeyRecord(uid=billing.uid, kid="aa", alg="HS256", created=1, sealed=b"x"))
        tx.add_jwt_key(JwtKeyRecord(uid=billing.uid, kid="bb", alg="HS256", created=2, sealed=b"x"))
        tx.add_jwt_key(JwtKeyRecord(uid=payroll.uid, kid="bb", alg="HS256", created=2, sealed=b"x"))

    await store.change(keys)
    found = await store.read(lambda tx: [tx.principal_by_jwt_kid(kid) for kid in ("aa", "bb", "cc", "")])
    assert found == [billing, None, None, None]


async def test_a_target_is_found_by_its_audience_if_that_is_its_own(store, billing, payroll):
    def audiences(tx):
        tx.set_principal(evolve(billing, jwt_alg="HS256", jwt_audience="https://billing.test/"))
        tx.set_principal(evolve(payroll, jwt_alg="HS256", jwt_audience="https://shared.test/"))
        other = tx.add_principal(name="other", created=1)
        tx.set_principal(evolve(other, jwt_alg="HS256", jwt_audience="https://shared.test/"))

    await store.change(audiences)
    asked = ("https://billing.test/", "https://shared.test/", "https://billing.test", "")
    found = await store.read(lambda tx: [tx.principal_by_jwt_audience(one) for one in asked])
    assert [one and one.name for one in found] == ["billing", None, None, None]
