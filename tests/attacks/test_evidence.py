"""Evidence that was stolen, borrowed, outdated or led in a circle, and chains that no rule allows."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from orthros_kdc.admin import groups, jwt_keys, keys, principals, rules
from orthros_protocol.errors import Malformed, PeerMisbehaved
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, WANT_JWT, Granted, NotGranted, Want
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
)
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from tests.support.behalf_bench import Journey, open_journey, principal
from tests.support.naive import dec, enc, kd, mac

USER = Behalf(subject=principal("user/ada"))
NOT_CARRIED = {
    "methods": MethodsCaveat(("GET",)).to_bytes(),
    "path": PathCaveat("/orders").to_bytes(),
    "targets": TargetsCaveat((principal("ledger"),)).to_bytes(),
    "peer": PeerCaveat(("192.0.2.0/24",)).to_bytes(),
    "channel": ChannelCaveat(bytes(32)).to_bytes(),
    "third-party": ThirdPartyCaveat(principal("ledger"), bytes(16), None, bytes(32)).to_bytes(),
    "app": AppCaveat("corp/rows", b"9").to_bytes(),
}


@pytest.fixture
async def journey() -> Journey:
    return await open_journey()


async def is_turned_away(journey: Journey, client: str, target: str, behalf: Behalf) -> str:
    """The true reason of a refusal that tells the sender nothing."""
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        await journey.ask(client, target, behalf=behalf)
    return str(journey.events("request-rejected")[-1]["code"])


# Whose evidence


@pytest.mark.parity("K18")
async def test_sniffed_evidence_is_worthless_without_its_key(journey: Journey) -> None:
    """Evidence whose key is not known. The ticket travels in clear; opening it is the proof."""
    granted = await journey.obtain("web", "orders")
    for guess in (bytes(32), granted.credential[:32], journey.logins["web"].reply.session_key):
        sniffed = Behalf(evidence=granted.credential, proof=evidence_proof(guess, granted.credential))
        assert await is_turned_away(journey, "orders", "ledger", sniffed) == "wrong-mac"


async def test_evidence_beside_a_request_in_the_own_name(journey: Journey) -> None:
    """The key of a plain request does not open the way for one with evidence, nor the other way round."""
    granted = await journey.obtain("web", "orders")
    shown = journey.evidence(granted)
    login = await journey.login("orders")
    mixed = journey.kdc.tgs_request(login, Want(target=principal("ledger")), behalf=shown)
    plain = journey.kdc.tgs_request(login, Want(target=principal("ledger")))
    for body, proof in ((mixed.message[:-32], plain.message[-32:]), (plain.message[:-32], mixed.message[-32:])):
        answer = await journey.kdc.send(body + proof)
        assert answer[:3] == b"\x93\x01\x02"
    # What answers a request with evidence opens for nobody who only has the TGT.
    answer = await journey.kdc.send(mixed.message)
    with pytest.raises((PeerMisbehaved, Malformed)):
        open_tgs_reply(evolve(mixed, key=login.pop_key, behalf=None), answer)
    assert isinstance(open_tgs_reply(mixed, answer).results[0], Granted)


@pytest.mark.parity("K18")
async def test_evidence_of_somebody_else(journey: Journey) -> None:
    """A ticket for ledger shown by orders, by its client, and with the key that belongs to it."""
    await rules.allow(journey.kdc.admin, "web", "ledger", scopes=("read",), delegable=True)
    granted = await journey.obtain("web", "ledger")
    shown = Behalf(evidence=granted.credential, proof=evidence_proof(granted.session_key or b"", granted.credential))
    for thief in ("orders", "web", "vault"):
        assert await is_turned_away(journey, thief, "ledger", shown) == "unknown-key"


async def test_a_tgt_is_no_evidence(journey: Journey) -> None:
    """Ticket types do not mix."""
    login = await journey.login("web")
    tgt = login.reply.ticket
    shown = Behalf(evidence=tgt, proof=evidence_proof(login.reply.session_key, tgt))
    assert await is_turned_away(journey, "orders", "ledger", shown) == "wrong-ticket-type"


# Evidence that does not count any more


@pytest.mark.parity("L23")
async def test_evidence_that_is_not_delegable(journey: Journey) -> None:
    plain = await journey.obtain("web", "orders", flags=0)
    code = await journey.refusal("orders", "ledger", behalf=journey.evidence(plain))
    assert code == "evidence-refused: it is not delegable"


async def test_evidence_that_has_expired(journey: Journey) -> None:
    """There is no grace, neither for the ticket nor for its caveat."""
    short = await journey.obtain("web", "orders", ttl_s=60)
    long = await journey.obtain("web", "orders")
    soon = ExpiresCaveat(journey.kdc.clock.now() // 1000 + 60).to_bytes()
    shown = [journey.evidence(short), journey.evidence(long, [soon])]
    journey.kdc.clock.advance(59)
    for behalf in shown:
        second = await journey.obtain("orders", "ledger", behalf=behalf)
        assert second.ttl_s == 1
    journey.kdc.clock.advance(1)
    for behalf in shown:
        assert (await journey.refusal("orders", "ledger", behalf=behalf)).startswith("evidence-refused")
    assert isinstance(await journey.ask("orders", "ledger", behalf=journey.evidence(long)), Granted)


@pytest.mark.parity("P11")
async def test_a_caller_whose_login_key_was_retired(journey: Journey) -> None:
    """A stolen login does not live on in what it had obtained."""
    shown = journey.evidence(await journey.obtain("web", "orders"))
    admin = journey.kdc.admin
    await keys.rotate(admin, "web")
    await keys.activate(admin, "web")
    assert isinstance(await journey.ask("orders", "ledger", behalf=shown), Granted)
    await keys.retire(admin, "web", 1)
    code = await journey.refusal("orders", "ledger", behalf=shown)
    assert code == "evidence-refused: web@corp.test: the key of its login has been retired"


@pytest.mark.parity("P11")
async def test_a_retired_login_key_stops_the_chain_further_on(journey: Journey) -> None:
    """Nor does it in what others had obtained for it; who logged in again afterwards goes on."""
    admin, clock = journey.kdc.admin, journey.kdc.clock
    first = await journey.obtain("web", "orders")
    shown = journey.evidence(await journey.obtain("orders", "ledger", behalf=journey.evidence(first)))
    clock.advance(5)
    journey.kdc.keytabs["web"] = await keys.rotate(admin, "web")
    await keys.activate(admin, "web")
    assert isinstance(await journey.ask("ledger", "vault", behalf=shown), Granted)
    await keys.retire(admin, "web", 1)
    code = await journey.refusal("ledger", "vault", behalf=shown)
    assert code == "evidence-refused: web@corp.test: the key of its login has been retired"
    del journey.logins["web"]
    first = await journey.obtain("web", "orders")
    shown = journey.evidence(await journey.obtain("orders", "ledger", behalf=journey.evidence(first)))
    assert isinstance(await journey.ask("ledger", "vault", behalf=shown), Granted)


@pytest.mark.parity("K2")
async def test_evidence_under_a_key_that_was_retired(journey: Journey) -> None:
    """Its key is erased, so nobody can tell what it said."""
    shown = journey.evidence(await journey.obtain("web", "orders"))
    admin = journey.kdc.admin
    journey.kdc.keytabs["orders"] = await keys.rotate(admin, "orders")
    await keys.activate(admin, "orders")
    await keys.retire(admin, "orders", 1)
    assert await is_turned_away(journey, "orders", "ledger", shown) == "unknown-key"


@pytest.mark.parity("P10")
@pytest.mark.parametrize("who", ["web", "orders"])
async def test_a_disabled_member_of_the_chain_stops_the_chain(journey: Journey, who: str) -> None:
    """The one who asked first, and the one in between; and nobody else is concerned."""
    first = await journey.obtain("web", "orders")
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    shown = journey.evidence(second)
    await principals.disable(journey.kdc.admin, who)
    code = await journey.refusal("ledger", "vault", behalf=shown)
    assert code == f"evidence-refused: {who}@corp.test is disabled"
    assert isinstance(await journey.ask("ledger", "vault"), Granted)
    await principals.enable(journey.kdc.admin, who)
    assert isinstance(await journey.ask("ledger", "vault", behalf=shown), Granted)


@pytest.mark.parity("K20")
@pytest.mark.parametrize("who", ["web", "orders"])
async def test_a_recreated_member_of_the_chain_is_somebody_else(journey: Journey, who: str) -> None:
    """Neither as subject nor as caller nor in the chain does a new principal inherit what an old one began."""
    first = await journey.obtain("web", "orders", behalf=USER)
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    shown = journey.evidence(second)
    await principals.delete(journey.kdc.admin, who)
    code = await journey.refusal("ledger", "vault", behalf=shown)
    assert code == f"evidence-refused: {who}@corp.test no longer exists"
    journey.kdc.clock.advance(5)
    await journey.kdc.add(who)
    code = await journey.refusal("ledger", "vault", behalf=shown)
    assert code.startswith(f"evidence-refused: {who}@corp.test ")


@pytest.mark.parity("K20")
async def test_a_recreated_subject_is_somebody_else_in_the_same_second(journey: Journey) -> None:
    """The number tells, not the time."""
    first = await journey.obtain("web", "orders")
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    await principals.delete(journey.kdc.admin, "web")
    await journey.kdc.add("web")
    code = await journey.refusal("ledger", "vault", behalf=journey.evidence(second))
    assert code == "evidence-refused: web@corp.test no longer exists"


# Caveats shed on the way


@pytest.mark.parity("B4")
@pytest.mark.parametrize("kind", NOT_CARRIED)
async def test_a_caveat_that_would_be_lost_stops_the_chain(journey: Journey, kind: str) -> None:
    """An honest service called by a restricted worker must not shed the restriction."""
    granted = await journey.obtain("web", "orders")
    shown = journey.evidence(granted, [ScopesCaveat(("read",)).to_bytes(), NOT_CARRIED[kind]])
    assert (await journey.refusal("orders", "ledger", behalf=shown)).startswith("caveat-not-carried")


@pytest.mark.parity("B4", "L7")
async def test_scopes_that_were_given_up_stay_so_at_every_hop(journey: Journey) -> None:
    """A restricted worker gains nothing by a longer way: the limit is in each ticket that can go further."""
    first = await journey.obtain("web", "orders")
    read = ScopesCaveat(("read",)).to_bytes()
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first, [read]))
    assert journey.opened(second).caveats == (read,)
    last = await journey.obtain("ledger", "vault", behalf=journey.evidence(second), flags=0)
    assert (second.scopes, last.scopes) == (("read",), ("read",))
    assert journey.opened(last).caveats == ()
    none_left = await journey.refusal("ledger", "vault", behalf=journey.evidence(second), scopes=("write",))
    assert none_left == "no-scope-left"
    nothing = journey.evidence(second, [ScopesCaveat(("write",)).to_bytes()])
    assert (await journey.obtain("ledger", "vault", behalf=nothing, flags=0)).scopes == ()


@pytest.mark.parity("B4")
async def test_a_token_that_can_be_exchanged_does_not_shed_scopes_either(journey: Journey) -> None:
    """A JWT carries no caveats, so under one it is not made for exchange."""
    admin = journey.kdc.admin
    await jwt_keys.enable(admin, "ledger")
    await rules.allow(admin, "orders", "ledger", scopes=("read",), jwt=True, delegable=True, behalf=("*",))
    shown = journey.evidence(await journey.obtain("web", "orders"), [ScopesCaveat(("read",)).to_bytes()])
    assert isinstance(await journey.ask("orders", "ledger", behalf=shown, kind=WANT_JWT), Granted)
    wanted = {"kind": WANT_JWT, "flags": WANT_DELEGABLE}
    assert await journey.refusal("orders", "ledger", behalf=shown, **wanted) == "caveat-not-carried"


@pytest.mark.parity("B4")
@pytest.mark.parametrize("kind", ["methods", "path", "peer", "channel", "app"])
async def test_a_caveat_inside_the_ticket_cannot_be_shed_by_anybody(journey: Journey, kind: str) -> None:
    """It is under the KDC's mark, so not showing it is no way around it."""
    granted = await journey.obtain("web", "orders", limits=join_caveats([NOT_CARRIED[kind]]))
    code = await journey.refusal("orders", "ledger", behalf=journey.evidence(granted))
    assert code.startswith("caveat-not-carried")


@pytest.mark.parity("L24")
async def test_an_unknown_caveat_stops_the_chain(journey: Journey) -> None:
    """Types are always critical."""
    granted = await journey.obtain("web", "orders")
    shown = journey.evidence(granted, [encode(77, "later")])
    assert (await journey.refusal("orders", "ledger", behalf=shown)).startswith("caveat-unsupported")


async def test_a_misshapen_caveat_is_no_message(journey: Journey) -> None:
    granted = await journey.obtain("web", "orders")
    for broken in (b"\x91", encode(1), encode(1, 2, 3), encode("1", 2), b"\x92\x01\xcc\x05"):
        shown = journey.evidence(granted, [broken])
        assert await is_turned_away(journey, "orders", "ledger", shown) == "malformed"


# Circles and depth


@pytest.mark.parity("M6")
async def test_the_target_is_in_the_chain_already(journey: Journey) -> None:
    """Loops die at the KDC."""
    admin = journey.kdc.admin
    await rules.allow(admin, "ledger", "orders", scopes=("read",), delegable=True, behalf=("*",))
    await rules.allow(admin, "ledger", "web", scopes=("read",), delegable=True, behalf=("*",))
    first = await journey.obtain("web", "orders")
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    for target in ("orders", "web"):
        assert await journey.refusal("ledger", target, behalf=journey.evidence(second)) == "chain-refused"
        assert isinstance(await journey.ask("ledger", target), Granted)


@pytest.mark.parity("M6")
async def test_oneself_in_the_chain(journey: Journey) -> None:
    """Whoever was called back, where that is allowed, does not go round again."""
    admin = journey.kdc.admin
    back: dict[str, Any] = {"callbacks": True}
    await rules.allow(admin, "ledger", "orders", scopes=("read",), delegable=True, behalf=("*",), **back)
    first = await journey.obtain("web", "orders")
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    third = await journey.obtain("ledger", "orders", behalf=journey.evidence(second))
    assert await journey.refusal("orders", "ledger", behalf=journey.evidence(third)) == "chain-refused"
    await rules.allow(admin, "orders", "vault", scopes=("read",), behalf=("*",))
    assert await journey.refusal("orders", "vault", behalf=journey.evidence(third)) == "chain-refused"


@pytest.mark.parity("M6")
async def test_a_service_that_calls_itself_with_its_own_evidence(journey: Journey) -> None:
    """A ticket to oneself is evidence of nothing but oneself."""
    await rules.allow(journey.kdc.admin, "orders", "orders", scopes=("read",), delegable=True, behalf=("*",))
    own = await journey.obtain("orders", "orders")
    assert await journey.refusal("orders", "ledger", behalf=journey.evidence(own)) == "chain-refused"


@pytest.mark.parity("M6")
async def test_a_ninth_hop(journey: Journey) -> None:
    """Depth 9, also where everybody may call everybody back."""
    admin = journey.kdc.admin
    back: dict[str, Any] = {"callbacks": True}
    for client, target in (("orders", "ledger"), ("ledger", "orders")):
        await rules.allow(admin, client, target, scopes=("ping",), delegable=True, behalf=("*",), **back)
    granted = await journey.obtain("web", "orders")
    sides = ["orders", "ledger"]
    for _ in range(8):
        granted = await journey.obtain(*sides, behalf=journey.evidence(granted))
        sides.reverse()
    assert len(journey.opened(granted).chain) == 8
    code = await journey.refusal(*sides, behalf=journey.evidence(granted))
    assert code.startswith("chain-refused: ")


@pytest.mark.parity("M6", "B5")
@pytest.mark.parametrize(("depth", "allowed"), [(0, False), (1, False), (2, True)])
async def test_a_rule_may_want_shorter_paths(journey: Journey, depth: int, allowed: bool) -> None:
    admin = journey.kdc.admin
    await rules.deny(admin, "ledger", "vault")
    await rules.allow(admin, "ledger", "vault", behalf=("*",), max_depth=depth)
    first = await journey.obtain("web", "orders")
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    answer = await journey.ask("ledger", "vault", behalf=journey.evidence(second))
    assert isinstance(answer, Granted if allowed else NotGranted)


@pytest.mark.parity("M5")
@pytest.mark.parametrize("via", ["orders", "web", "group:edge"])
async def test_a_path_that_is_forbidden(journey: Journey, via: str) -> None:
    """deny-via, by name and by group, wherever on the path; a direct call is none of it."""
    admin = journey.kdc.admin
    await groups.add(admin, "edge")
    await groups.add_member(admin, "edge", "web")
    await rules.deny(admin, "ledger", "vault")
    await rules.allow(admin, "ledger", "vault", behalf=("*",), deny_via=(via,))
    first = await journey.obtain("web", "orders")
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    assert await journey.refusal("ledger", "vault", behalf=journey.evidence(second)) == "chain-refused"
    assert isinstance(await journey.ask("ledger", "vault"), Granted)


@pytest.mark.parity("M5")
async def test_a_path_that_is_demanded(journey: Journey) -> None:
    """require-via: neither the own call, nor one on behalf of a name, nor one by another way."""
    admin = journey.kdc.admin
    await rules.deny(admin, "ledger", "vault")
    only: dict[str, Any] = {"require_via": ("orders",)}
    await rules.allow(admin, "ledger", "vault", behalf=("*",), subjects=("user/*",), **only)
    await rules.allow(admin, "web", "ledger", scopes=("read",), delegable=True)
    first = await journey.obtain("web", "orders")
    second = await journey.obtain("orders", "ledger", behalf=journey.evidence(first))
    beside = await journey.obtain("web", "ledger")
    assert isinstance(await journey.ask("ledger", "vault", behalf=journey.evidence(second)), Granted)
    for behalf in (journey.evidence(beside), USER, None):
        assert await journey.refusal("ledger", "vault", behalf=behalf) == "chain-refused"


# In whose name


@pytest.mark.parity("P8")
async def test_a_subject_that_no_rule_names(journey: Journey) -> None:
    """The client of the evidence, or the name that it asserts; the KDC's own names never."""
    admin = journey.kdc.admin
    await rules.deny(admin, "orders", "ledger")
    await rules.allow(admin, "orders", "ledger", scopes=("read",), behalf=("user/*",), subjects=("guest/*",))
    own, for_ada = await journey.obtain("web", "orders"), await journey.obtain("web", "orders", behalf=USER)
    assert await journey.refusal("orders", "ledger", behalf=journey.evidence(own)) == "subject-refused"
    assert isinstance(await journey.ask("orders", "ledger", behalf=journey.evidence(for_ada)), Granted)
    for name in ("user/ada", "web", "orders", "kdc/tgt", "guest"):
        said = Behalf(subject=principal(name))
        assert await journey.refusal("orders", "ledger", behalf=said) == "subject-refused"
    foreign = Behalf(subject=evolve(principal("guest/bob"), realm="other.test"))
    assert await journey.refusal("orders", "ledger", behalf=foreign) == "subject-refused"


async def test_evidence_and_an_assertion_together_are_no_message(journey: Journey) -> None:
    """Exactly one of them; and nobody asserts that something was proven, or a principal's number."""
    granted = await journey.obtain("web", "orders")
    login = await journey.login("orders")
    pending = journey.kdc.tgs_request(login, Want(target=principal("ledger")))
    body = dec(dec(pending.message)[0])
    evidence = granted.credential
    key = kd(login.pop_key, "evmix", evidence_proof(granted.session_key or b"", evidence))
    said = ["corp.test", "user/ada", 0, 2]
    for behalf in (
        [evidence, b"", said], [None, b"", None], [None, b"\x91\xc4\x01\x00", said], [None, b"", [*said[:3], 1]],
        [None, b"", ["corp.test", "web", 16, 2]],
    ):  # fmt: skip
        body[8] = behalf
        packed = enc(*body)
        for secret in (key, login.pop_key):
            answer = await journey.kdc.send(enc(packed, mac(secret, "tgs-req", packed)))
            assert answer[:3] == b"\x93\x01\x02"
    assert {event["code"] for event in journey.events("request-rejected")} == {"malformed"}


async def test_a_narrowed_login_acts_for_nobody(journey: Journey) -> None:
    """Else a restricted worker and a colluding target reach a third service as the delegator."""
    shown = journey.evidence(await journey.obtain("web", "orders"))
    narrowed = [ScopesCaveat(("read",)).to_bytes()]
    login = await journey.login("orders")
    for behalf in (shown, USER):
        with pytest.raises(KdcRefusal, match="subject-refused"):
            await journey.kdc.ask_one(login, "ledger", behalf=behalf, caveats=narrowed)
    assert isinstance(await journey.kdc.ask_one(login, "ledger", caveats=narrowed), Granted)


async def test_no_result_is_ever_in_another_name(journey: Journey) -> None:
    """Own, proven and asserted calls of one login, in any order, each get what they asked for."""
    admin = journey.kdc.admin
    await rules.allow(admin, "orders", "ledger", scopes=("say",), subjects=("user/*",))
    own, for_ada = await journey.obtain("web", "orders"), await journey.obtain("web", "orders", behalf=USER)
    other = Behalf(subject=principal("user/eve"))
    calls = {None: None, "web": journey.evidence(own), "user/ada": journey.evidence(for_ada), "user/eve": other}
    for names in (list(calls), list(reversed(calls))):
        for name in names:
            granted = await journey.ask("orders", "ledger", behalf=calls[name])
            assert isinstance(granted, Granted)
            subject = journey.opened(granted).subject
            assert (None if subject is None else subject.principal.name) == name
            assert granted.subject == subject


@pytest.mark.parity("K10")
async def test_a_copied_request_with_evidence_opens_for_its_maker_alone(journey: Journey) -> None:
    """It is answered and reported; the copier holds neither key."""
    shown = journey.evidence(await journey.obtain("web", "orders"))
    login = await journey.login("orders")
    pending = journey.kdc.tgs_request(login, Want(target=principal("ledger"), flags=WANT_DELEGABLE), behalf=shown)
    first, second = await journey.kdc.send(pending.message), await journey.kdc.send(pending.message)
    assert first != second
    assert [event["exchange"] for event in journey.events("request-replayed")] == ["tgs"]
    assert isinstance(open_tgs_reply(pending, second).results[0], Granted)
    stranger = build_tgs_request(
        login.reply.ticket, bytes(32), pending.wants, now=journey.kdc.clock.now(), nonce=pending.nonce, behalf=shown
    )
    with pytest.raises((PeerMisbehaved, Malformed)):
        open_tgs_reply(evolve(stranger, context=pending.context), second)
