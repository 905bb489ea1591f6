"""The KDC from bytes to bytes: who gets what, what a refusal says, and what the audit log keeps of it."""

from __future__ import annotations

from typing import Any

import jwt as pyjwt
import pytest

from orthros_kdc.admin import jwt_keys, keys, principals, realm, rules
from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.wants import EXACT, WANT_DELEGABLE, WANT_JWT, Granted, NotGranted, Want
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import KDC_ADMIN, KDC_KEYS, Principal
from orthros_protocol.tickets.presented import open_presented
from orthros_protocol.tickets.ticket import DELEGABLE
from tests.support.kdc_bench import REALM, KdcBench, Login, open_bench


@pytest.fixture
async def bench() -> KdcBench:
    bench = await open_bench()
    await bench.add("billing", "orders", "payroll")
    await rules.allow(bench.admin, "billing", "orders", scopes=("read", "write"), max_ttl_s=600)
    return bench


@pytest.mark.parity("P1")
async def test_a_ticket_opens_with_the_targets_own_key(bench: KdcBench) -> None:
    """The target verifies offline with the one key it holds."""
    granted = await bench.ask_one(await bench.log_in("billing"), "orders", scopes=("read",))
    assert isinstance(granted, Granted)
    opened = open_presented(granted.credential, b"", bench.keytabs["orders"].verify_only())
    assert str(opened.ticket.client) == "billing@corp.test"
    assert (opened.ticket.scopes, opened.ticket.exp - opened.ticket.iat) == (("read",), 600)
    assert opened.ticket.session_key == granted.session_key


async def test_login_facts_travel_unchanged_into_every_ticket(bench: KdcBench) -> None:
    login = await bench.log_in("billing")
    bench.clock.advance(100)
    granted = await bench.ask_one(login, "orders")
    assert isinstance(granted, Granted)
    ticket = open_presented(granted.credential, b"", bench.keytabs["orders"]).ticket
    assert ticket.iat - ticket.auth_time == 100
    assert ticket.ckid == bench.as_key("billing").kid


@pytest.mark.parity("P5", "B3")
async def test_scopes_are_clamped_with_notes_and_audited(bench: KdcBench) -> None:
    """Asked broadly, granted the intersection, and told what was dropped."""
    granted = await bench.ask_one(await bench.log_in("billing"), "orders", scopes=("read", "erase"), ttl_s=9999)
    assert isinstance(granted, Granted)
    assert granted.scopes == ("read",)
    assert [(note.field, note.cause, note.index) for note in granted.notes] == [(1, 1, 1), (2, 1, None)]
    (event,) = bench.ledger.named("tgs-issued")
    assert event.to_dict()["scopes"] == ["read"]
    assert event.to_dict()["rules"] == [1]
    assert event.to_dict()["source"] == "192.0.2.1"


@pytest.mark.parity("P6")
async def test_unknown_hidden_and_forbidden_targets_look_the_same(bench: KdcBench) -> None:
    """Default deny, and policy before existence."""
    await principals.disable(bench.admin, "payroll")
    login = await bench.log_in("billing")
    answers = [await bench.ask_one(login, target) for target in ("payroll", "nobody", "kdc/tgt")]
    assert {(answer.reason.name, answer.retry_s) for answer in answers if isinstance(answer, NotGranted)} == {
        ("not-granted", 0)
    }
    assert len(answers) == len(bench.ledger.named("tgs-refused")) == 3


async def test_a_target_in_another_realm_is_not_granted(bench: KdcBench) -> None:
    reply = await bench.ask(await bench.log_in("billing"), Want(target=Principal("other.test", "orders")))
    assert isinstance(reply.results[0], NotGranted)
    assert reply.results[0].reason.name == "not-granted"


@pytest.mark.parity("K3")
async def test_a_batch_keeps_the_order_of_its_wants_and_decides_each_alone(bench: KdcBench) -> None:
    """Several targets in one exchange."""
    await rules.allow(bench.admin, "billing", "payroll", scopes=("pay",))
    wants = [Want(target=Principal(REALM, name)) for name in ("orders", "nobody", "payroll")]
    reply = await bench.ask(await bench.log_in("billing"), *wants)
    assert [type(result) for result in reply.results] == [Granted, NotGranted, Granted]
    assert [result.target for result in reply.results] == [want.target for want in wants]


@pytest.mark.parametrize(
    ("want", "code"),
    [
        ({"scopes": ("erase",)}, "no-scope-left"),
        ({"scopes": ("read", "erase"), "flags": EXACT}, "exact-not-possible"),
        ({"ttl_s": 601, "flags": EXACT}, "exact-not-possible"),
        ({"kind": WANT_JWT}, "jwt-not-enabled"),
        ({"flags": 0x80}, "unsupported-critical"),
    ],
)
async def test_where_a_rule_exists_the_refusal_says_why(bench: KdcBench, want: dict[str, Any], code: str) -> None:
    answer = await bench.ask_one(await bench.log_in("billing"), "orders", **want)
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == code
    (event,) = bench.ledger.named("tgs-refused")
    assert event.to_dict()["ref"] == answer.ref.hex()


async def test_a_disabled_target_is_unavailable_only_to_those_who_may_reach_it(bench: KdcBench) -> None:
    await principals.disable(bench.admin, "orders")
    answer = await bench.ask_one(await bench.log_in("billing"), "orders")
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == "target-unavailable"


async def test_a_delegable_ticket_needs_a_delegable_rule(bench: KdcBench) -> None:
    login = await bench.log_in("billing")
    plain = await bench.ask_one(login, "orders", flags=WANT_DELEGABLE)
    await rules.allow(bench.admin, "billing", "payroll", scopes=("pay",), delegable=True)
    handed = await bench.ask_one(login, "payroll", flags=WANT_DELEGABLE)
    assert isinstance(plain, Granted)
    assert isinstance(handed, Granted)
    assert (plain.flags & DELEGABLE, handed.flags & DELEGABLE) == (0, DELEGABLE)
    assert [note.field for note in plain.notes] == [3]


@pytest.mark.parity("P2", "P9", "H2")
async def test_a_jwt_is_accepted_by_stock_pyjwt_with_key_audience_and_issuer(bench: KdcBench) -> None:
    """Standard tooling verifies the export."""
    await rules.allow(bench.admin, "billing", "payroll", scopes=("pay", "read"), jwt=True)
    await jwt_keys.enable(bench.admin, "payroll")
    jwk = await jwt_keys.export(bench.admin, "payroll")
    granted = await bench.ask_one(await bench.log_in("billing"), "payroll", kind=WANT_JWT, scopes=("pay",))
    assert isinstance(granted, Granted)
    assert granted.session_key is None
    token = granted.credential.decode()
    checks = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}  # the test's clock is not the machine's
    claims = pyjwt.decode(
        token,
        pyjwt.PyJWK(jwk).key,
        ["HS256"],
        audience="payroll@corp.test",
        issuer="https://corp.test",
        options=checks,  # type: ignore[arg-type]
    )
    now = bench.clock.now() // 1000
    assert (claims["sub"], claims["client_id"], claims["scope"]) == ("billing@corp.test", "billing@corp.test", "pay")
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (now, now - 5, now + 300)
    assert {"jti", "txn", "auth_time"} <= claims.keys()
    assert pyjwt.get_unverified_header(token) == {"alg": "HS256", "typ": "orthros+jwt", "kid": jwk["kid"]}


async def test_a_jwt_needs_the_rules_leave_and_the_targets_record(bench: KdcBench) -> None:
    await jwt_keys.enable(bench.admin, "orders")
    answer = await bench.ask_one(await bench.log_in("billing"), "orders", kind=WANT_JWT)
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == "jwt-not-enabled"


@pytest.mark.parity("P10")
async def test_disable_works_at_the_next_request_in_both_directions(bench: KdcBench) -> None:
    """One command stops the principal as a client and as a target."""
    login = await bench.log_in("billing")
    await principals.disable(bench.admin, "billing")
    with pytest.raises(KdcRefusal, match="principal-disabled"):
        await bench.ask_one(login, "orders")
    with pytest.raises(KdcRefusal, match="principal-disabled"):
        await bench.log_in("billing")
    await principals.enable(bench.admin, "billing")
    assert isinstance(await bench.ask_one(login, "orders"), Granted)


@pytest.mark.parity("K20")
async def test_a_recreated_name_is_somebody_else(bench: KdcBench) -> None:
    """Rights and logins of the old principal die with it."""
    login = await bench.log_in("billing")
    await principals.delete(bench.admin, "billing")
    await bench.add("billing")
    with pytest.raises(KdcRefusal, match="revoked"):
        await bench.ask_one(login, "orders")
    assert isinstance(await bench.ask_one(await bench.log_in("billing"), "orders"), NotGranted)


@pytest.mark.parity("K2", "P11")
async def test_rotation_overlaps_and_retirement_is_told_under_seal(bench: KdcBench) -> None:
    """The old version works until it is retired."""
    old_key, old_login = bench.as_key("billing"), await bench.log_in("billing")
    bench.keytabs["billing"] = await keys.rotate(bench.admin, "billing")
    assert (await bench.log_in("billing")).reply.newest_kvno == 2
    await bench.log_in("billing", key=old_key)
    await keys.activate(bench.admin, "billing")
    await keys.retire(bench.admin, "billing", 1, force=True)
    with pytest.raises(KdcRefusal, match="key-retired"):
        await bench.log_in("billing", key=old_key)
    with pytest.raises(KdcRefusal, match="revoked"):
        await bench.ask_one(old_login, "orders")
    assert isinstance(await bench.ask_one(await bench.log_in("billing"), "orders"), Granted)


async def test_a_retired_key_is_told_so_for_thirty_days_and_is_a_strangers_afterwards(bench: KdcBench) -> None:
    """Section 5, with the row still there: nobody has erased it."""
    old_key = bench.as_key("billing")
    await keys.rotate(bench.admin, "billing")
    await keys.activate(bench.admin, "billing")
    await keys.retire(bench.admin, "billing", 1)
    bench.clock.advance(30 * 24 * 3600)
    with pytest.raises(KdcRefusal, match="key-retired"):
        await bench.log_in("billing", key=old_key)
    bench.clock.advance(1)
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        await bench.log_in("billing", key=old_key)
    assert bench.ledger.events[-1].to_dict()["code"] == "unknown-key"
    assert len(await keys.listed(bench.admin, "billing")) == 2


async def test_tickets_are_sealed_under_the_active_key_of_the_target(bench: KdcBench) -> None:
    login = await bench.log_in("billing")
    prepared = await keys.rotate(bench.admin, "orders")
    before = await bench.ask_one(login, "orders")
    await keys.activate(bench.admin, "orders")
    after = await bench.ask_one(login, "orders")
    assert isinstance(before, Granted)
    assert isinstance(after, Granted)
    assert (before.kvno, after.kvno) == (1, 2)
    for granted in (before, after):
        assert open_presented(granted.credential, b"", prepared).ticket.client.name == "billing"


async def test_kdc_services_come_from_the_initial_exchange_alone(bench: KdcBench) -> None:
    login = await bench.log_in("billing", service=KDC_KEYS)
    assert (login.reply.ttl_s, login.reply.service) == (120, KDC_KEYS)
    with pytest.raises(KdcRefusal, match="not-granted"):
        await bench.log_in("billing", service=KDC_ADMIN)
    with pytest.raises(KdcRefusal, match="unknown-service"):
        await bench.log_in("billing", service="orders")
    assert isinstance(await bench.ask_one(await bench.log_in("billing"), KDC_KEYS), NotGranted)


async def test_a_service_ticket_is_no_tgt(bench: KdcBench) -> None:
    """Ticket types do not mix: kdc/keys and service tickets cannot ask for tickets."""
    login = await bench.log_in("billing", service=KDC_KEYS)
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        await bench.ask_one(login, "orders")


async def test_life_is_clamped_by_what_is_left_of_the_login(bench: KdcBench) -> None:
    login = await bench.log_in("billing")
    bench.clock.advance(3600 - 100)
    granted = await bench.ask_one(login, "orders")
    assert isinstance(granted, Granted)
    assert granted.ttl_s == 100
    bench.clock.advance(100)
    with pytest.raises(KdcRefusal, match="tgt-expired"):
        await bench.ask_one(login, "orders")


async def test_realm_limits_hold_from_the_next_request_on(bench: KdcBench) -> None:
    await realm.change(bench.admin, limits={"max_ticket_s": 60, "max_tgt_s": 120, "max_jwt_s": 30})
    login = await bench.log_in("billing", ttl_s=9999)
    granted = await bench.ask_one(login, "orders")
    assert isinstance(granted, Granted)
    assert (login.reply.ttl_s, granted.ttl_s) == (120, 60)


@pytest.mark.parity("K11")
@pytest.mark.parametrize("ahead_s", [-301, 301])
async def test_a_clock_far_off_is_told_the_time_under_seal(bench: KdcBench, ahead_s: int) -> None:
    """The offset is learnt from a sealed error."""
    key = bench.as_key("billing")
    now = bench.clock.now()
    pending = build_as_request(
        key,
        service="kdc/tgt",
        ttl_s=0,
        instance=bytes(16),
        now=Timestamp(now + ahead_s * 1000),
        nonce=bytes(16),
    )
    with pytest.raises(KdcRefusal, match="clock-skew") as refusal:
        open_as_reply(pending, key, await bench.send(pending.message))
    assert refusal.value.kdc_time == now


@pytest.mark.parity("K1", "B2")
async def test_whoever_proves_nothing_gets_one_shape_and_a_reference(bench: KdcBench) -> None:
    """Unknown key, wrong MAC and garbage are indistinguishable; the log knows the reason."""
    stranger = RootKey(bytes(range(32)), principal=Principal(REALM, "billing"), uid=16, kvno=1).as_key()
    unknown = build_as_request(
        stranger, service="kdc/tgt", ttl_s=0, instance=bytes(16), now=bench.clock.now(), nonce=bytes(16)
    ).message
    known = build_as_request(
        bench.as_key("billing"), service="kdc/tgt", ttl_s=0, instance=bytes(16), now=bench.clock.now(), nonce=bytes(16)
    ).message
    wrong_mac = known[:-1] + bytes([known[-1] ^ 1])
    answers = [await bench.service.answer(message, "192.0.2.1") for message in (unknown, wrong_mac, b"garbage", b"")]
    assert {answer.message[:-8] for answer in answers} == {b"\x93\x01\x02\xc4\x08"}
    assert not any(answer.proves for answer in answers)
    rejected = [event.to_dict() for event in bench.ledger.named("request-rejected")]
    assert [event["code"] for event in rejected] == ["unknown-key", "wrong-mac", "malformed", "malformed"]
    assert [event["ref"] for event in rejected] == [answer.message[-8:].hex() for answer in answers]


async def test_a_replayed_login_is_reported_and_opens_for_its_maker_only(bench: KdcBench) -> None:
    key = bench.as_key("billing")
    pending = build_as_request(
        key, service="kdc/tgt", ttl_s=0, instance=bytes(16), now=bench.clock.now(), nonce=bytes(16)
    )
    first, second = await bench.send(pending.message), await bench.send(pending.message)
    assert open_as_reply(pending, key, first).ticket != open_as_reply(pending, key, second).ticket
    assert [event.to_dict()["exchange"] for event in bench.ledger.named("request-replayed")] == ["as"]


@pytest.mark.parity("K16")
async def test_nothing_is_issued_that_cannot_be_recorded(bench: KdcBench) -> None:
    """No audit, no ticket."""
    login = await bench.log_in("billing")
    bench.ledger.full = True
    with pytest.raises(KdcRefusal, match="kdc-fault"):
        await bench.ask_one(login, "orders")
    with pytest.raises(KdcRefusal, match="kdc-fault"):
        await bench.log_in("billing")


@pytest.mark.parity("H6")
async def test_the_bucket_counts_targets_and_guessing_costs_ten(bench: KdcBench) -> None:
    """Whoever probes for names runs out of tokens first."""
    small = await open_bench(burst=40)
    await small.add("billing", "orders")
    await rules.allow(small.admin, "billing", "orders")
    login = await small.log_in("billing")
    wants = [Want(target=Principal(REALM, f"guess{number}")) for number in range(32)]
    reply = await small.ask(login, *wants)
    codes = [result.reason.name for result in reply.results if isinstance(result, NotGranted)]
    assert codes.count("not-granted") == 4
    assert codes[4:] == ["not-attempted"] * 28
    with pytest.raises(KdcRefusal, match="rate-limited") as refusal:
        await small.ask_one(login, "orders")
    assert refusal.value.retry_s >= 1
    small.clock.advance(60)
    assert isinstance(await small.ask_one(login, "orders"), Granted)


async def test_a_batch_whose_reply_would_not_fit_is_answered_in_part(bench: KdcBench) -> None:
    scopes = tuple(f"scope-{number:02}-{'x' * 50}" for number in range(32))
    names = [f"target-{number}" for number in range(32)]
    await bench.add(*names)
    for name in names:
        await rules.allow(bench.admin, "billing", name, scopes=scopes)
    reply = await bench.ask(await bench.log_in("billing"), *(Want(target=Principal(REALM, name)) for name in names))
    granted = [result for result in reply.results if isinstance(result, Granted)]
    codes = {result.reason.name for result in reply.results if isinstance(result, NotGranted)}
    assert 8 <= len(granted) < 32
    assert codes == {"not-attempted"}
    assert all(len(result.scopes) == 32 for result in granted)


async def test_a_source_that_floods_is_turned_away_before_any_work(bench: KdcBench) -> None:
    small = await open_bench(burst=20)
    answers = [await small.service.answer(b"garbage", "192.0.2.9") for _ in range(30)]
    codes = [event.to_dict()["code"] for event in small.ledger.named("request-rejected")]
    assert len(answers) == 30
    assert codes == ["malformed"] * 20 + ["rate-limited"] * 10


@pytest.mark.parity("H5")
async def test_a_principal_is_refused_outside_its_networks(bench: KdcBench) -> None:
    """The wrong address is told so under seal, in both exchanges; a TGT carried elsewhere is of no use there."""
    networks = ["192.0.2.0/24", "2001:db8::/64"]
    await principals.set_caps(bench.admin, "billing", max_ticket_s=None, max_jwt_s=None, sources=networks)
    login = await bench.log_in("billing")
    for address in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::9"):
        bench.address = address
        login = await bench.log_in("billing")
        assert isinstance(await bench.ask_one(login, "orders"), Granted)
    for address in ("198.51.100.1", "::ffff:198.51.100.1", "2001:db8:0:1::9", "::192.0.2.9", "", "unknown"):
        bench.address = address
        with pytest.raises(KdcRefusal, match="source-refused"):
            await bench.log_in("billing")
        with pytest.raises(KdcRefusal, match="source-refused"):
            await bench.ask_one(login, "orders")
        assert isinstance(await bench.log_in("orders"), Login)  # nobody else is concerned
    codes = [event.to_dict()["code"] for name in ("as-refused", "tgs-refused") for event in bench.ledger.named(name)]
    assert codes == ["source-refused"] * 12


async def test_no_login_from_before_a_restore_counts() -> None:
    """A restored database has lost what was revoked since. The next login is as good as ever."""
    bench = await open_bench()
    await bench.add("shop", "orders")
    await rules.allow(bench.admin, "shop", "orders", scopes=("read",))
    login = await bench.log_in("shop")
    assert isinstance(await bench.ask_one(login, "orders"), Granted)
    await bench.store.change(lambda tx: tx.raise_not_before(bench.admin.now() + 1))
    with pytest.raises(KdcRefusal, match=r"revoked.*restored"):
        await bench.ask_one(login, "orders")
    bench.clock.advance(1)
    assert isinstance(await bench.ask_one(await bench.log_in("shop"), "orders"), Granted)
    await bench.store.change(lambda tx: tx.raise_not_before(0))
    with pytest.raises(KdcRefusal, match="revoked"):
        await bench.ask_one(login, "orders")


@pytest.mark.parametrize("terms", ["%%", '{"moon":"full","scopes":["read"]}', '{"scopes": ["read"]}'])
async def test_a_rule_that_cannot_be_read_grants_nothing_and_the_others_go_on(bench: KdcBench, terms: str) -> None:
    """Also beside another rule for the same pair, and in a KDC that begins with it."""
    damaged = await rules.allow(bench.admin, "billing", "payroll", scopes=("read",))

    def damage(tx: Any) -> None:
        tx._connection.execute("UPDATE rules SET terms = ? WHERE rule_id = ?", (terms, damaged.rule_id))

    await bench.store.change(damage)
    bench.restart()
    login = await bench.log_in("billing")
    wants = [Want(target=Principal(REALM, name)) for name in ("payroll", "orders")]
    refused, granted = (await bench.ask(login, *wants)).results
    assert isinstance(refused, NotGranted)
    assert refused.reason.name == "not-granted"
    assert isinstance(granted, Granted)
    await rules.allow(bench.admin, "billing", "payroll", scopes=("write",))
    granted = await bench.ask_one(login, "payroll")
    assert isinstance(granted, Granted)
    assert granted.scopes == ("write",)
