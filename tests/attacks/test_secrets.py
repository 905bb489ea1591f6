"""No secret shows in what is printed, logged or raised, over a whole run of every exchange."""

import gc
from typing import Any

import pytest

import orthros_protocol
from orthros_protocol.errors import OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import parse_ap_request
from orthros_protocol.exchanges.tgs_exchange import parse_tgs_request
from orthros_protocol.primitives.secrets import Secret
from orthros_protocol.tickets.caveats import ScopesCaveat
from tests.support.exchange_pair import ExchangePair, ask_as, ask_tgs


def secrets_of(pair: ExchangePair, *more: bytes) -> list[bytes]:
    roots = [pair.realm.root(name) for name in ("billing", "payroll", "orders")]
    derived = [key.material for root in roots for key in (root.as_key(), root.ticket_key(), root.sync_key())]
    boxes = [root.ticket_key().box_key for root in roots] + [root.as_key().reply_key for root in roots]
    return [
        *(root.material for root in roots), *derived, *boxes, pair.realm.tgt_key.material, pair.realm.mac_key.material,
        *more,
    ]  # fmt: skip


def shows(text: str, secret: bytes) -> bool:
    return secret.hex()[:16] in text.lower() or repr(secret[:8])[2:-1] in text or repr(secret[-8:])[2:-1] in text


def test_cve_2018_16889_nothing_prints_a_key() -> None:
    """Section 18: keys in repr (attrs prints them by default)."""
    pair = ExchangePair()
    login = pair.login()
    granted = pair.obtain(login, pair.want()).results[0]
    issued = pair.issue()
    pending = pair.request(issued, caveats=(ScopesCaveat(("read",)).to_bytes(),))
    accepted, reply = pair.call(pending)
    seen: list[Any] = [
        login, granted, issued, pending, accepted, reply, accepted.ticket, accepted.request, pair.target.keytab,
        pair.realm.tgt_key, pair.realm.mac_key, ask_as(pair), ask_tgs(pair), parse_ap_request(pending.message),
        parse_tgs_request(ask_tgs(pair).message), pair.target.keytab.entries, pair.target.store,
    ]  # fmt: skip
    text = "\n".join(f"{one!r} {one}" for one in seen)
    session_keys = (login.session_key, issued.session_key, issued.pop_key, pending.pop_key, accepted.pop_key)
    assert not [secret.hex() for secret in secrets_of(pair, *session_keys) if shows(text, secret)]


def test_nothing_raised_shows_a_key_or_a_right_mac() -> None:
    """Section 18: error text that contains the right MAC; compare_digest on a value that then shows up."""
    pair = ExchangePair()
    issued = pair.issue()
    pending = pair.request(issued)
    raised: list[OrthrosError] = []
    for message in (
        pending.message[:-1] + b"\0",
        pending.message[:-40],
        b"",
        issued.ticket,
        pair.request(issued, epoch=None).message,
    ):
        with pytest.raises((PeerMisbehaved, Refused)) as caught:
            pair.target.accept(message)
        raised.append(caught.value)
    text = "\n".join(f"{error} {error!r} {error.args} {error.__cause__!r}" for error in raised)
    assert not [
        secret.hex()
        for secret in secrets_of(pair, issued.session_key, issued.pop_key, pending.message[-32:])
        if shows(text, secret)
    ]


def test_public_objects_that_hold_keys_do_not_compare_them() -> None:
    """`==` on secrets is not constant-time: objects with key material compare by identity."""
    pair = ExchangePair()
    for make in (
        pair.login,
        pair.issue,
        lambda: pair.request(pair.issue()),
        lambda: pair.realm.root("billing").as_key(),
    ):
        one: Any = make()
        assert "__eq__" not in {name for kind in type(one).__mro__[:-1] for name in vars(kind)}


def test_the_facade_hands_out_no_way_to_compute_with_bare_keys() -> None:
    """Section 18: raw bytes keys everywhere. PRF, MAC and box are for the library's own modules."""
    assert not {"prf", "mac", "derive", "seal", "open_box", "require_mac"} & set(orthros_protocol.__all__)
    assert not [name for name in gc.garbage if isinstance(name, Secret)]
