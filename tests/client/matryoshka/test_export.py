"""A verified caller's chain for systems that read nested tokens: outward only."""

from __future__ import annotations

import pytest
from attrs import frozen

from orthros_client.matryoshka import WRITING, AuthStack, SigningKey, StackLimits, export_caller, nest, read_stack
from orthros_client.verifier import VerifiedCaller, Verifier
from orthros_client.verifier.bearer import BearerVerifier
from orthros_kdc.oauth.assertions import BadAssertion, parse_assertion
from orthros_kdc.oauth.client_authentication import CLIENT_ASSERTION_TYPES
from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import (
    USE_RAW,
    ApRequest,
    PendingAp,
    TargetRefusal,
    open_ap_reply,
    sign_ap_request,
)
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.tickets.ticket import Hop, Subject
from tests.client.matryoshka.tokens import MATERIAL, claims_of, encoded

KEY = SigningKey(material=MATERIAL, kid="edge")
REALM = "corp.test"


def verified_caller(realm: InMemoryRealm) -> VerifiedCaller:
    """orders, called by `gateway` for a user, as ledger's verifier sees it."""
    for name in ("user", "gateway", "orders", "ledger"):
        realm.add(name)
    chain = (Hop(realm.principal("user"), 1_700_000_000), Hop(realm.principal("gateway"), 1_700_000_100))
    subject = Subject(realm.principal("user"), realm.root("user").uid, 1)
    ticket = realm.issue("orders", "ledger", scopes=("post",), chain=chain, subject=subject)
    verifier = Verifier(realm.keytab("ledger").verify_only(), clock=realm.clock.now, monotonic_ms=realm.clock.now)

    def pending(epoch: bytes | None) -> PendingAp:
        request = ApRequest(
            use=USE_RAW, ticket=ticket.ticket, bind=bind_raw("ledger/post", b""), ts=realm.clock.now(),
            nonce=realm.entropy(16), epoch=epoch,
        )  # fmt: skip
        return sign_ap_request(request, ticket.pop_key)

    first = pending(None)
    with pytest.raises(Refused, match="epoch-required") as refused:
        verifier.accept(first.message, "ledger/post", accept_user=True)
    with pytest.raises(TargetRefusal) as learnt:
        open_ap_reply(first, refused.value.reply or b"")
    return verifier.accept(pending(learnt.value.epoch).message, "ledger/post", accept_user=True)


@pytest.mark.parity("M1")
def test_the_chain_of_a_verified_caller_in_nested_form() -> None:
    """Native `chain` to nested JSON, oldest innermost, one layer a hop."""
    realm = InMemoryRealm()
    caller = verified_caller(realm)
    now_s = seconds_of(realm.clock.now())
    token = export_caller(caller, key=KEY, issuer="ledger@test.realm", now_s=now_s)
    stack = read_stack(token, {"edge": KEY}, now_s=now_s)
    assert stack.verified
    assert stack.hops == ("user@test.realm", "gateway@test.realm", "orders@test.realm")
    assert dict(stack.layers[0].claims) == {
        "iss": "ledger@test.realm", "sub": "user@test.realm", "client_id": "orders@test.realm",
        "txn": caller.transaction_id, "iat": now_s, "exp": caller.expires_at,
    }  # fmt: skip
    assert dict(stack.layers[2].claims) == {"client_id": "user@test.realm", "auth_time": 1_700_000_000}
    # One signature of one exporter: no hop is proven by a key of its own.
    assert [layer.signer for layer in stack.layers] == [None, None, None]
    onward = nest({"iss": "ledger"}, KEY, previous=stack, sid="ledger")
    assert read_stack(onward, KEY, now_s=now_s).depth == 3
    with pytest.raises(Refused, match="token-expired"):
        read_stack(token, KEY, now_s=caller.expires_at + 60)


@frozen(kw_only=True)
class Caller:
    client: Principal
    chain: tuple[Hop, ...] = ()
    subject: Subject | None = None
    transaction_id: str = "ab" * 16
    expires_at: int = 2_000_000_000


def caller_of(hops: int) -> Caller:
    chain = tuple(Hop(Principal(REALM, f"service-{number}"), 1_800_000_000) for number in range(hops))
    return Caller(client=Principal(REALM, "last"), chain=chain)


def exported(hops: int, limits: StackLimits = WRITING) -> AuthStack:
    token = export_caller(caller_of(hops), key=KEY, issuer="edge", now_s=1_900_000_000, limits=limits)
    return read_stack(token, KEY, now_s=1_900_000_000)


def test_without_a_chain_there_is_one_layer() -> None:
    stack = exported(0)
    assert (stack.depth, stack.hops) == (0, ("last@corp.test",))
    assert stack.layers[0].claims["sub"] == "last@corp.test"


@pytest.mark.parity("M7")
def test_long_chains_meet_the_header_limit_before_the_protocols() -> None:
    """Eight hops are native; nested they need a limit that the caller raises on purpose."""
    assert exported(5).depth == 5
    with pytest.raises(Refused, match="chain-refused"):
        exported(8)
    assert exported(8, StackLimits(max_chars=16 * 1024)).depth == 8


def test_a_callback_that_policy_allowed_is_exported_as_it_was() -> None:
    hop = Hop(Principal(REALM, "orders"), 1_800_000_000)
    caller = Caller(client=Principal(REALM, "orders"), chain=(hop, Hop(Principal(REALM, "ledger"), 1_800_000_000), hop))
    token = export_caller(caller, key=KEY, issuer="edge", now_s=1_900_000_000)
    assert read_stack(token, KEY, now_s=1_900_000_000).loops == ("orders@corp.test",)


def test_an_ended_ticket_is_not_exported() -> None:
    with pytest.raises(Refused, match="ticket-expired"):
        export_caller(caller_of(1), key=KEY, issuer="edge", now_s=2_000_000_000)


def test_one_services_own_key_cannot_speak_for_the_hops() -> None:
    with pytest.raises(LocalMisuse, match="key-misuse"):
        export_caller(caller_of(1), key=SigningKey(material=MATERIAL, sid="edge"), issuer="edge", now_s=1_900_000_000)


def test_a_nested_token_is_never_a_bearer_token_here() -> None:
    """Not even when somebody signs it with a service's own JWT key, with every claim that a real one has; and the KDC
    takes it for no assertion either."""
    jwk = {"kty": "oct", "k": encoded(MATERIAL), "alg": "HS256", "kid": "edge", "use": "sig"}
    now = 1_900_000_000
    verifier = BearerVerifier(jwk, audience="ledger", issuer="kdc", now_s=lambda: now)
    claims = {
        "iss": "kdc", "aud": "ledger", "sub": "shop@corp.test", "client_id": "shop@corp.test", "scope": "post",
        "iat": now, "nbf": now, "exp": now + 60, "jti": "ab" * 16,
    }  # fmt: skip
    token = nest(claims, KEY)
    assert claims_of(token) == claims
    for one in (token, nest(claims, KEY, previous=token, sid="edge")):
        with pytest.raises(PeerMisbehaved, match=r"token-invalid.*another kind of token"):
            verifier.accept(one)
        with pytest.raises(BadAssertion, match="typ names another kind"):
            parse_assertion(one, types=CLIENT_ASSERTION_TYPES)
