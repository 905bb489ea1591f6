"""A realm that was followed change by change is the realm that is loaded from nothing."""

import os

import trio
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.admin import groups, jwt_keys, keys, oauth_secrets, principals, realm, rules
from orthros_kdc.policy.shards import Shards
from orthros_kdc.realm.known_kids import KnownKids
from orthros_kdc.realm.view import RealmView
from orthros_protocol.errors import Misconfigured
from tests.support.kdc_bench import open_bench
from tests.support.stores import close_scratch_stores

NAMES, GROUPS = ("a", "b", "c"), ("g", "h")
name, group = st.sampled_from(NAMES), st.sampled_from(GROUPS)
either = st.one_of(name, group.map("group:{}".format))


FIRST = (
    (principals.add, "a"),
    (principals.add, "b"),
    (groups.add, "g"),
    (groups.add_member, "g", "a"),
    (rules.allow, "group:g", "b"),
    (rules.allow, "b", "group:g"),
)


async def limit(admin, seconds):
    await realm.change(admin, limits={"max_ticket_s": seconds})


STEPS = st.one_of(
    st.tuples(st.just(principals.add), name),
    st.tuples(st.just(principals.delete), name),
    st.tuples(st.just(principals.disable), name),
    st.tuples(st.just(keys.rotate), name),
    st.tuples(st.just(keys.activate), name),
    st.tuples(st.just(keys.retire), name, st.integers(1, 3)),
    st.tuples(st.just(jwt_keys.enable), name),
    st.tuples(st.just(jwt_keys.disable), name),
    st.tuples(st.just(oauth_secrets.enable), name),
    st.tuples(st.just(oauth_secrets.disable), name),
    st.tuples(st.just(groups.add), group),
    st.tuples(st.just(groups.delete), group),
    st.tuples(st.just(groups.add_member), group, name),
    st.tuples(st.just(groups.remove_member), group, name),
    st.tuples(st.just(rules.allow), either, either),
    st.tuples(st.just(rules.deny), either, either),
    st.tuples(st.just(realm.rotate_keys)),
    st.tuples(st.just(limit), st.integers(1, 100)),
)


def everything(moment):
    """All that a request can come to know, by name and by number."""
    facts = moment.facts
    targets = {one: moment.target(one) for one in NAMES}
    clients = {uid: moment.client(uid) for uid in range(16, 24)}
    kids = [kid for client in clients.values() if client is not None for kid in sorted(client.live_login_kids)]
    return (
        facts.record,
        sorted(facts.keys.tgt_keys),
        sorted(facts.keys.mac_keys),
        facts.policy.seq,
        {(one, other): facts.policy.rules_for(one, other) for one in NAMES for other in NAMES},
        {one: sorted(facts.policy.groups_of(one)) for one in NAMES},
        {one: target and (target.principal, target.facts, [key.kid for key in target.jwt_keys])
         for one, target in targets.items()},
        {uid: client and (client.principal, sorted(client.ticket_keys)) for uid, client in clients.items()},
        [(login.principal, login.newest_kvno) for kid in kids if (login := moment.login(kid)) is not None],
        [len(oauth.secrets) for one in NAMES if (oauth := moment.oauth_client(one)) is not None],
        len(moment._kids),
    )  # fmt: skip


@given(st.lists(st.lists(STEPS, min_size=1, max_size=3), max_size=5))
def test_what_was_followed_is_what_is_there(rounds):
    async def story():
        bench = await open_bench()
        followed = RealmView(bench.store, bench.admin.vault)
        await followed.loader.look()
        for round_ in (FIRST, *rounds):
            for step, *words in round_:
                try:
                    await step(bench.admin, *words)
                except Misconfigured:
                    continue  # what is refused changes nothing
            await followed.loader.look()
            fresh = RealmView(bench.store, bench.admin.vault)
            await fresh.loader.look()
            assert await followed.settled(everything) == await fresh.settled(everything)

    trio.run(story)
    close_scratch_stores()


@given(
    st.lists(
        st.dictionaries(
            st.integers(0, 40).map(lambda number: 97 * number), st.one_of(st.none(), st.text(max_size=2)), max_size=6
        )
    )
)
def test_a_changed_map_holds_what_was_changed_and_the_one_before_what_it_held(news) -> None:
    shards: Shards[int, str] = Shards()
    expected: dict[int, str] = {}
    for one in news:
        before, held = shards, dict(expected)
        shards = shards.changed(one)
        expected = {key: value for key, value in {**expected, **one}.items() if value is not None}
        assert {key: found for key in range(0, 3977, 97) if (found := shards.get(key)) is not None} == expected
        assert {key: found for key in held if (found := before.get(key)) is not None} == held
        assert len(shards) == len(expected)


@given(st.sets(st.binary(min_size=8, max_size=8)), st.lists(st.dictionaries(st.integers(0, 9), st.booleans())))
def test_key_ids_come_and_go(first, news):
    named = [bytes([number]) * 8 for number in range(10)]
    kids, expected = KnownKids.of(b"".join(sorted(first))), set(first)
    for one in news:
        kids = kids.changed({named[number]: exists for number, exists in one.items()})
        expected = expected.difference(named[number] for number, exists in one.items() if not exists)
        expected |= {named[number] for number, exists in one.items() if exists}
    assert {kid for kid in (*named, *first) if kid in kids} == expected
    assert (len(kids), b"short" in kids) == (len(expected), False)


def test_many_new_key_ids_become_a_new_array():
    kids = KnownKids.of(b"".join(sorted(os.urandom(8) for _ in range(100))))
    gone = next(iter(kids._sorted)).to_bytes(8)
    many = {number.to_bytes(8): True for number in range(5000)}
    kids = kids.changed({**many, gone: False})
    assert (len(kids._sorted), len(kids._added), gone in kids) == (5099, 0, False)
    assert all(number.to_bytes(8) in kids for number in range(5000))
