"""What `orthros_protocol` offers is enough for a program that speaks the protocol itself: a client and its target."""

import pytest

import orthros_protocol as orthros
from orthros_protocol.testing import GrantTerms, InMemoryRealm


class Burnt:
    """A replay store of the target's own."""

    def __init__(self, realm: InMemoryRealm) -> None:
        self._realm, self._requests = realm, orthros.ReplaySet()

    def admit(self, entry: orthros.Entry) -> orthros.Standing:
        now = self._realm.clock.now()
        return orthros.Standing(self._requests.admit(entry, now), b"an epoch", orthros.Timestamp(0), now)


def test_the_public_names_are_enough_for_a_client_and_its_target() -> None:
    """Login, ticket, a narrowed call, and its proof; the second copy of the call is refused."""
    realm = InMemoryRealm(decide=lambda _onward, _want: GrantTerms(scopes=("read", "write")))
    key, target = realm.add("billing").as_key(), realm.add("orders").verify_only()
    now, chance = realm.clock.now(), realm.entropy

    asked = orthros.build_as_request(
        key, service=orthros.KDC_TGT, ttl_s=0, instance=chance(16), now=now, nonce=chance(16)
    )
    login = orthros.open_as_reply(asked, key, realm.handle(asked.message))
    tgt_key = orthros.pop_key_of(orthros.tail_of(login.session_key, login.ticket))
    wants = [orthros.Want(target=orthros.Principal(realm.name, "orders"))]
    wanted = orthros.build_tgs_request(login.ticket, tgt_key, wants, now=now, nonce=chance(16))
    (granted,) = orthros.open_tgs_reply(wanted, realm.handle(wanted.message)).results
    assert isinstance(granted, orthros.Granted)
    assert granted.session_key is not None

    caveat = orthros.ScopesCaveat(("read",)).to_bytes()
    tail = orthros.add_caveat(orthros.tail_of(granted.session_key, granted.credential), caveat)
    bind = orthros.bind_raw("orders/list", b"")
    request = orthros.ApRequest(
        use=orthros.USE_RAW,
        ticket=granted.credential,
        caveats=orthros.join_caveats([caveat]),
        ts=now,
        nonce=chance(16),
        epoch=b"an epoch",
        bind=bind,
    )
    pending, store = orthros.sign_ap_request(request, orthros.pop_key_of(tail)), Burnt(realm)

    def accepted() -> orthros.Accepted:
        return orthros.accept(
            orthros.parse_ap_request(pending.message),
            lambda ticket, caveats: orthros.open_presented(ticket, caveats, target),
            now=now,
            replay=store,
            received=orthros.Received(use=orthros.USE_RAW, bind=bind),
            rules=orthros.AcceptanceRules(max_life_s=3600),
        )

    caller = accepted()
    assert (str(caller.ticket.client), caller.scopes) == ("billing@test.realm", ("read",))
    orthros.open_ap_reply(pending, orthros.build_ap_reply(caller, now=now))
    with pytest.raises(orthros.Refused, match="replayed") as refused:
        accepted()
    with pytest.raises(orthros.TargetRefusal, match="replayed"):
        orthros.open_ap_reply(pending, refused.value.reply or b"")
